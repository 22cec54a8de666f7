"""A thousand MIDI files read and gridded, against pretty_midi; frames a second that a GRU writes, against reading all anew."""

from benchmarks import generation_reading, generation_sampling


def run() -> None:
    """Print both."""
    print(generation_reading.__doc__, flush=True)
    generation_reading.read_1000()
    print(f"\n{generation_sampling.__doc__}", flush=True)
    generation_sampling.run()
