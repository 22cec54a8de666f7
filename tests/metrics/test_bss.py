"""Our BSSEval v4 against museval 0.4.1 itself, whose metrics module needs no ffmpeg when loaded by its path."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

from tasks.metrics import bss
from tasks.metrics.bss import filters

RATE, TAPS = 1000, 24
NAMES = ("sdr", "isr", "sir", "sar")


@pytest.fixture(scope="module")
def museval():
    package = importlib.util.find_spec("museval")
    if package is None:
        pytest.skip("museval is not installed")
    spec = importlib.util.spec_from_file_location("museval_metrics", Path(package.origin).parent / "metrics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def evaluate(reference, estimate, window=RATE, hop=RATE, taps=TAPS):
        return bss.WindowScores(*module.bss_eval(reference, estimate, window=window, hop=hop, filters_len=taps)[:4])

    return evaluate


def sounds(sources=3, seconds=3.4, channels=2, seed=0):
    """White sources, and estimates of them with leakage, an echo and noise: none of the four scores is trivial."""
    random = np.random.default_rng(seed)
    reference = random.standard_normal((sources, round(seconds * RATE), channels)) * (0.05 + random.random((sources, 1, 1)))
    estimate = 0.9 * reference + 0.1 * reference[::-1, :, ::-1] + 0.01 * random.standard_normal(reference.shape)
    estimate[:, 40:] += 0.2 * reference[:, :-40]
    return reference, estimate


def assert_equal(ours, theirs, names=NAMES):
    for name in names:
        tolerance = 1e-6 if name == "sdr" else 1e-3
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=tolerance, rtol=0, err_msg=name)


@pytest.mark.parametrize(("sources", "channels"), [(1, 2), (2, 1), (3, 2), (4, 2), (2, 3)])
@pytest.mark.parametrize("seconds", [3.0, 3.4])
def test_all_four_scores_equal_museval(museval, sources, channels, seconds):
    reference, estimate = sounds(sources, seconds, channels)
    ours = bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS)
    assert ours.sdr.shape == (sources, 3)  # a short last frame is dropped
    some = NAMES if sources > 1 else ("sdr", "isr", "sar")  # one source has no interference: both sides divide by rounding errors
    assert_equal(ours, museval(reference, estimate), some)


def test_sdr_alone_equals_museval_and_leaves_the_others_open(museval):
    reference, estimate = sounds(4)
    alone = bss.evaluate(reference, estimate, RATE)
    assert_equal(alone, museval(reference, estimate), ["sdr"])
    assert all(np.isnan(getattr(alone, name)).all() for name in NAMES[1:])


def test_filters_of_512_taps_equal_museval(museval):
    reference, estimate = sounds(2, seconds=3.0)
    assert_equal(bss.evaluate(reference, estimate, RATE, mode="full"), museval(reference, estimate, taps=512))


def silenced(case):
    """Sounds whose second of five frames is silent for one source in one of museval's ways; two more are as good as silent."""
    reference, estimate = sounds(3, 5.0)
    side = estimate if "estimate" in case else reference
    frame = slice(RATE, 2 * RATE)
    if "antiphase" in case:
        side[1, frame, 1] = -side[1, frame, 0]
    else:
        side[1, frame] = 0
    side[1, 3 * RATE : 4 * RATE - 7] = 0  # seven samples sound: not silent
    side[1, 4 * RATE + 7 :] = 0
    return reference, estimate


@pytest.mark.parametrize("case", ["reference", "estimate", "antiphase reference", "antiphase estimate"])
def test_a_silent_source_takes_the_frame_from_all_as_in_museval(museval, case):
    reference, estimate = silenced(case)
    theirs = museval(reference, estimate)
    ours = bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS)
    assert np.isnan(theirs.sdr[:, 1]).all() and np.isfinite(theirs.sdr[:, [0, 2, 3, 4]]).all()
    assert_equal(ours, theirs)
    assert_equal(bss.evaluate(reference, estimate, RATE), theirs, ["sdr"])


@pytest.mark.parametrize(("window", "hop"), [(1.0, 0.5), (0.25, 1.0), (0.1234, 0.3), (3.4, 1.0), (5.0, 1.0), (np.inf, np.inf)])
def test_windows_are_cut_as_in_museval(museval, window, hop):
    reference, estimate = sounds(2)
    ours = bss.evaluate(reference, estimate, RATE, window, hop, mode="full", taps=TAPS)
    samples = [x if np.isinf(x) else int(x * RATE) for x in (window, hop)]
    assert_equal(ours, museval(reference, estimate, *samples))


def test_a_track_of_one_frame_and_one_shorter_than_the_filters(museval):
    for seconds in (1.0, 0.3):
        reference, estimate = sounds(2, seconds)
        assert_equal(bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS), museval(reference, estimate))
    reference, estimate = sounds(2, 0.05)
    ours = bss.evaluate(reference, estimate, RATE, mode="full", taps=64)
    assert_equal(ours, museval(reference, estimate, taps=64), ["sdr"])  # 50 samples do not determine 256 taps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_of_either_precision_in_any_memory_order(museval, dtype):
    reference, estimate = (x.astype(dtype) for x in sounds(2))
    theirs = museval(reference.astype(np.float64), estimate.astype(np.float64))
    turned = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in (reference, estimate)]
    for pair in ((reference, estimate), turned):
        assert_equal(bss.evaluate(*pair, RATE, mode="full", taps=TAPS), theirs)


def test_blocks_and_kept_spectra_change_nothing(monkeypatch):
    reference, estimate = sounds(3)
    whole = bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS)
    monkeypatch.setattr(filters, "BLOCKS", 1)
    monkeypatch.setattr(filters, "CACHE_BYTES", 0)
    assert_equal(bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS), whole)


def low_passed(reference, estimate):
    from scipy.signal import firwin, lfilter

    taps = firwin(127, 0.4)
    return [lfilter(taps, 1.0, x, axis=1) for x in (reference, estimate)]


def test_band_limited_sources_are_close_to_museval(museval):
    """There the system is singular to the last digit, and museval against itself moves by hundredths of a dB."""
    reference, estimate = low_passed(*sounds(2, 6.0))
    ours, theirs = bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS), museval(reference, estimate)
    assert_equal(ours, theirs, ["sdr"])
    for name in NAMES[1:]:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=0.2, rtol=0)


@pytest.mark.parametrize("level", [1.0, 1e-3])
def test_mono_sources_in_stereo_files_equal_museval(museval, level):
    """Half of all stems are: channels alike make the system exactly singular; a quiet stem must outlive what mends it."""
    reference, estimate = sounds(3, 5.0)
    reference[:2] = reference[:2].mean(-1, keepdims=True)
    reference[1] *= level
    estimate[1] *= level
    ours = bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS)
    assert_equal(ours, museval(reference, estimate))


def test_a_reference_given_twice_still_gets_scores():
    reference, estimate = sounds(3)
    reference[1] = reference[0]
    frames = bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS)
    assert np.isfinite(frames.sdr).all() and np.isfinite(frames.isr).all()


@pytest.mark.parametrize("antiphase", [False, True])
@pytest.mark.parametrize("side", ["reference", "estimate"])
def test_a_source_that_is_silent_all_along_is_named_and_the_others_go_on(museval, side, antiphase):
    reference, estimate = sounds(3)
    silent = {"reference": reference, "estimate": estimate}[side]
    silent[1] = silent[1] * [[1, 0]] - silent[1][:, ::-1] * [[0, 1]] if antiphase else 0
    with pytest.raises(ValueError, match="silent"):
        museval(reference, estimate)
    with pytest.warns(UserWarning, match=f"bass: its {side} is silent"):
        ours = bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS, names=["drums", "bass", "vocals"])
    assert np.isnan(np.stack(ours)[:, 1]).all()
    alone = museval(reference[::2], estimate[::2])
    # A true source that sounds stays an interferer: SIR and SAR know of it.
    some = NAMES if side == "reference" and not antiphase else ("sdr", "isr")
    assert_equal(bss.WindowScores(*(x[::2] for x in ours)), alone, some)


def test_the_reference_of_a_silent_estimate_stays_an_interferer(museval):
    reference, estimate = sounds(3)
    estimate[2] += 0.3 * reference[1]
    estimate[1] = 0
    with pytest.warns(UserWarning, match="source 1"):
        ours = bss.evaluate(reference, estimate, RATE, mode="full", taps=TAPS)
    estimate[1, ::100] = 1e-9  # no longer silent: museval accepts it
    theirs = museval(reference, estimate)
    assert_equal(bss.WindowScores(*(x[::2] for x in ours)), bss.WindowScores(*(x[::2] for x in theirs)))


def test_all_silent_is_nan_throughout():
    reference, estimate = sounds(2)
    with pytest.warns(UserWarning, match="silent"):
        frames = bss.evaluate(reference, 0 * estimate, RATE, mode="full", taps=TAPS)
    assert np.isnan(np.stack(frames)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(frames.medians()).all()


def test_a_perfect_estimate_is_infinite_and_missing_in_the_medians():
    reference, _ = sounds(2)
    frames = bss.evaluate(reference, reference, RATE)
    assert np.isposinf(frames.sdr).all()
    assert np.isnan(frames.medians()).all()  # as in museval's JSON


def test_wrong_arrays_are_refused():
    reference, estimate = sounds(2)
    holed = estimate.copy()
    holed[1, 5, 0] = np.nan
    for wrong, said in (
        (lambda: bss.evaluate(reference, holed, RATE), "estimate 1 .* not finite"),
        (lambda: bss.evaluate(holed * np.inf, estimate, RATE), "reference 0 .* not finite"),
        (lambda: bss.evaluate(reference, estimate[:, :-1], RATE), "samples, channels"),
        (lambda: bss.evaluate(reference[0], estimate[0], RATE), "samples, channels"),
        (lambda: bss.evaluate(reference, (1000 * estimate).astype(np.int16), RATE), "int16"),
        (lambda: bss.evaluate(reference, estimate, RATE, mode="v3"), "v3"),
        (lambda: bss.evaluate(reference, estimate, RATE, window=1e-9), "at least one sample"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()


def test_medians_are_those_of_five_decimals():
    values = np.array([[1.0000049, 2.0, np.inf, np.nan, -np.inf], [3.00000501, 3.1, 3.2, 3.3, np.nan]])
    np.testing.assert_array_equal(bss.as_written(values)[0], [1.0, 2.0, np.nan, np.nan, np.nan])
    frames = bss.WindowScores(values, values + 1, values + 2, values * np.nan)
    np.testing.assert_allclose(frames.medians()[:, 0], [1.5, 3.15])
    assert frames.medians().shape == (2, 4)
    tracks = np.stack([[1.0, np.nan], [2.0, np.nan], [9.0, np.nan]])
    np.testing.assert_array_equal(bss.median_over_tracks(tracks), [2.0, np.nan])


def test_usdr_is_one_ratio_over_the_track():
    reference, estimate = sounds(3)
    reference[2] = 0
    energy, error = (np.sum(x[:2] ** 2, axis=(1, 2)) for x in (reference, reference - estimate))
    found = bss.usdr(reference, estimate)
    np.testing.assert_allclose(found[:2], 10 * np.log10((energy + 1e-7) / (error + 1e-7)), atol=1e-9)
    assert np.isnan(found[2])
    np.testing.assert_allclose(bss.usdr(reference, 0 * reference)[:2], 0, atol=1e-12)
    np.testing.assert_allclose(bss.usdr(reference.astype(np.float32), estimate.astype(np.float32))[:2], found[:2], atol=1e-5)
