"""Generation: reading of 1,000 MIDI files vs. pretty_midi, and sampling speed of a GRU."""

from benchmarks import generation_reading, generation_sampling


def run() -> None:
    """Run both benchmarks."""
    print(generation_reading.__doc__, flush=True)
    generation_reading.read_1000()
    print(f"\n{generation_sampling.__doc__}", flush=True)
    generation_sampling.run()
