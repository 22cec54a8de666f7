"""Streaming separation equals separation of the whole recording."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from models.blocks.stft import STFT
from models.separation.overlap_add import OverlapAdd, RingSignal
from models.separation.separator import MaskSeparator
from models.separation.stream import MaskStream
from models.separation.wiener import wiener
from tasks.separation.inference import Audio2Stems, SeparationOptions, Stream2Stems, check_seams
from tests.helpers.stub_separators import EqualMasks, EqualWaves, LocalMasks, StandIn


def noise(samples, channels=2, seed=0):
    return 0.3 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))


LENGTHS = [0, 1, 80, 255, 256, 257, 511, 512, 513, 1000, 12_800, 20_480, 20_481, 30_011]


@pytest.mark.parametrize("context", [0.0, 0.3])
@pytest.mark.parametrize("samples", LENGTHS)
def test_equal_masks_rebuild_the_mixture_across_all_seams(samples, context):
    audio = noise(samples)
    stems = Audio2Stems(EqualMasks(), SeparationOptions(niter=0, window=20, chunk=0.6, context=context)).native(audio)
    assert stems.shape == (4, 2, samples)
    torch.testing.assert_close(stems.sum(0), audio, rtol=0, atol=1e-6)
    torch.testing.assert_close(stems[1], audio / 4, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 256), (512, 100), (400, 150)])
def test_any_hop(n_fft, hop):
    audio = noise(9000)
    net = EqualMasks(n_fft=n_fft, hop=hop)
    stems = Audio2Stems(net, SeparationOptions(niter=0, window=7, chunk=0.4, context=0.0)).native(audio)
    torch.testing.assert_close(stems.sum(0), audio, rtol=0, atol=1e-5)


@pytest.mark.parametrize("niter", [0, 1, 2])
def test_chunks_do_not_change_the_stems_of_a_network_that_hears_no_further_than_the_context(niter):
    audio, net = noise(40_000), LocalMasks(reach=3)
    how = SeparationOptions(niter=niter, window=20, chunk=math.inf, context=3 * 128 / 8000)
    whole = Audio2Stems(net, how).native(audio)
    for chunk in (0.1, 0.5, 0.65, 1.0, 2.0):
        parts = Audio2Stems(net, dataclasses.replace(how, chunk=chunk)).native(audio)
        torch.testing.assert_close(parts, whole, rtol=0, atol=2e-6)
    if niter == 0:
        torch.testing.assert_close(whole, net.separate(audio[None])[0], rtol=0, atol=1e-6)
        wrong = Audio2Stems(net, dataclasses.replace(how, chunk=0.5, context=0.0)).native(audio)
        assert (wrong - whole).abs().max() > 1e-4  # the context is what does it


def test_wiener_windows_lie_on_the_grid_of_the_recording_and_have_their_own_scale():
    audio, net = noise(20_000) * torch.linspace(0, 60, 20_000), LocalMasks(reach=1)
    spectrum = net.stft(audio)
    magnitudes = net(spectrum.abs()[None])[0].detach() * spectrum.abs()
    pieces = zip(magnitudes.split(30, dim=-1), spectrum.split(30, dim=-1), strict=True)
    expected = net.stft.inverse(torch.cat([wiener(m, s, 1) for m, s in pieces], dim=-1), audio.shape[-1])
    stems = Audio2Stems(net, SeparationOptions(niter=1, window=30, chunk=1.0, context=0.1)).native(audio)
    torch.testing.assert_close(stems, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("net", [LocalMasks(), EqualWaves(reach=5)])
def test_blocks_of_any_length_give_the_same(net):
    audio, how = noise(23_456), SeparationOptions(window=20, chunk=0.5, context=0.1)
    whole = Audio2Stems(net, how).native(audio)
    for lengths in (777, [1] * 50 + [10_000, 0, 0, 13_406], [23_451, 5]):
        blocks = audio.split(lengths, dim=-1)
        assert torch.equal(torch.cat(list(Stream2Stems(net, how)(blocks)), dim=-1), whole)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("samples", [0, 1, 100, 3999, 4000, 4001, 7000, 7001, 19_000, 30_011])
def test_waveform_chunks_fade_into_one_another(samples, overlap):
    audio, net = noise(samples), EqualWaves()
    stems = Audio2Stems(net, SeparationOptions(overlap=overlap)).native(audio)
    assert stems.shape == (4, 2, samples)
    torch.testing.assert_close(stems.sum(0), audio, rtol=0, atol=1e-6)
    assert max(net.lengths, default=0) <= net.segment


def test_waveform_edges_within_the_discarded_quarter_are_not_heard():
    audio, how = noise(30_000), SeparationOptions(overlap=0.25)
    net = EqualWaves(reach=200)
    torch.testing.assert_close(Audio2Stems(net, how).native(audio), net.separate(audio[None])[0], rtol=0, atol=1e-6)
    far = EqualWaves(reach=600)
    assert (Audio2Stems(far, how).native(audio) - far.separate(audio[None])[0]).abs().max() > 1e-4


def test_waveform_chunks_start_on_the_networks_grid():
    net = EqualWaves(segment=4001, align=64)
    stream = Stream2Stems(net, SeparationOptions(overlap=0.3)).start()
    assert stream.stride % 64 == 0
    starts = []
    run = stream._run
    stream._run = lambda begin, stop: starts.append((begin, stop)) or run(begin, stop)
    list(stream.push(noise(30_011))), list(stream.push(noise(0), last=True))
    assert all(begin % 64 == 0 for begin, _ in starts)
    assert all(stop - begin == 4001 for begin, stop in starts[:-1])
    assert 4001 - 64 < starts[-1][1] - starts[-1][0] <= 4001  # the last reaches back


def test_delays_and_exchanged_channels_are_averaged():
    audio = noise(9000)
    net = EqualWaves(reach=5)
    plain, averaged = (Audio2Stems(net, SeparationOptions(shifts=shifts, swap=shifts > 0)).native(audio) for shifts in (0, 3))
    torch.testing.assert_close(plain, averaged, rtol=0, atol=1e-6)

    class LeftAlone(EqualMasks):
        def forward(self, magnitude):
            return super().forward(magnitude) * torch.tensor([1.0, 0.0])[:, None, None]

    stems = Audio2Stems(LeftAlone(), SeparationOptions(niter=0, window=20, chunk=0.5, swap=True)).native(audio)
    torch.testing.assert_close(stems.sum(0), audio / 2, rtol=0, atol=1e-6)


def test_seams_are_measured():
    audio = noise(40_000)
    how = SeparationOptions(niter=0, window=20, chunk=0.65, context=0.1)
    assert check_seams(StandIn(EqualMasks(), how), audio) < -120
    assert check_seams(StandIn(LocalMasks(reach=3), how), audio) < -100
    poor = check_seams(StandIn(LocalMasks(reach=30), dataclasses.replace(how, context=0.0)), audio)
    better = check_seams(StandIn(LocalMasks(reach=30), dataclasses.replace(how, context=0.5)), audio)
    assert -60 < poor < 0
    assert better < -100
    assert check_seams(StandIn(EqualMasks(), how), torch.zeros(2, 40_000)) == -math.inf


def test_memory_does_not_grow_with_the_recording():
    """What a stream holds, and the largest input of the network, after 5 and after 50 chunks."""

    class Counting(EqualMasks):
        largest = 0

        def forward(self, magnitude):
            self.largest = max(self.largest, magnitude.shape[-1])
            return super().forward(magnitude)

    held = []
    for chunks in (5, 50):
        net = Counting()
        stream = MaskStream(net, SeparationOptions(niter=0, window=20, chunk=0.64, context=0.2))
        most = 0
        for block in noise(chunks * 5120).split(1000, dim=-1):
            pieces = list(stream.push(block))
            most = max(most, sum(b.shape[-1] for b in stream.buffer.blocks) + max((p.shape[-1] for p in pieces), default=0))
        held.append((most, net.largest))
    assert held[0] == held[1]
    assert held[0][1] <= 40 + 2 * math.ceil(0.2 * 8000 / 128)


def test_the_network_runs_in_the_autocast_of_where_the_stream_was_made():
    seen = []

    class Looking(LocalMasks):
        def forward(self, magnitude):
            masks = super().forward(magnitude)
            seen.append(masks.dtype)
            return masks

    net, how, audio = Looking(), SeparationOptions(niter=1, window=20, chunk=0.5), noise(9000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stream = Stream2Stems(net, how).start()
    pieces = [*stream.push(audio), *stream.push(noise(0), last=True)]
    assert {piece.dtype for piece in pieces} == {torch.float32}
    half = set(seen)
    seen.clear()
    Audio2Stems(net, how).native(audio)
    assert set(seen) == {torch.float32}
    assert half == {torch.bfloat16}


class Recurrent(MaskSeparator):
    def __init__(self):
        super().__init__(2, 8000, 1, STFT(256, 64))
        self.lstm, self.out = nn.LSTM(129, 16, bidirectional=True, batch_first=True), nn.Linear(32, 258)

    def forward(self, magnitude):
        frames = self.out(self.lstm(0.1 * magnitude[:, 0].transpose(1, 2))[0]).sigmoid()
        return frames.transpose(1, 2).unflatten(1, (2, 1, 129))


def test_more_context_makes_the_seams_of_a_recurrent_network_smaller():
    torch.manual_seed(0)
    module = StandIn(Recurrent())
    audio = noise(30_000, channels=1)
    worst = [check_seams(module, audio, SeparationOptions(0, 20, 0.5, context)) for context in (0.0, 0.05, 0.2)]
    assert worst[0] > worst[1] + 3
    assert worst[1] > worst[2] + 10


def test_overlap_add_is_the_inverse_transform():
    stft = STFT(512, 128)
    audio = noise(10_000)
    spectrum = stft(audio)
    adder = OverlapAdd(512, 128, stft.window)
    pieces = [adder.push(part) for part in spectrum.split([1, 2, 30, spectrum.shape[-1] - 33], dim=-1)]
    mended = torch.cat([*pieces, adder.flush()], dim=-1)[:, 256 : 256 + 10_000]
    torch.testing.assert_close(mended, audio, rtol=0, atol=1e-6)


def test_a_tape_keeps_what_it_is_asked_to():
    tape = RingSignal()
    signal = torch.from_numpy(np.arange(100.0))[None]
    for part in signal.split(10, dim=-1):
        tape.append(part)
    assert torch.equal(tape.read(15, 42), signal[:, 15:42])
    tape.forget(35)
    assert (tape.start, tape.end) == (30, 100)
    assert torch.equal(tape.read(30, 100), signal[:, 30:])
    with pytest.raises(ValueError, match=r"which has 30 \.\. 100"):
        tape.read(29, 31)


@pytest.mark.parametrize("wrong", [{"niter": -1}, {"window": 0}, {"chunk": 0.0}, {"context": -1.0}, {"overlap": 0.6}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="inference: "):
        SeparationOptions(**wrong)
