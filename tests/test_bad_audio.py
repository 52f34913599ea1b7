"""Sound files damaged in any way, and arrays of anything: finite audio, or an error by name."""

import numpy as np
import pytest
import soundfile
from audio_files import FORMATS, bell, write, write_float
from bad_input import DAMAGE, attempt, damaged, settings
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hmic_keras.data import load_audio
from hmic_keras.data.audio import read_header, to_waveform

KINDS = (*FORMATS, "aiff", "float.wav", "caf", "w64", "au")
SUFFIXES = ("", ".wav", ".mp3", ".raw", ".txt", ".ogg")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """One short file of each format, as bytes."""
    folder = tmp_path_factory.mktemp("sounds")
    samples = bell(0.3, 16000)
    for kind in KINDS:
        path = folder / f"a.{kind}"
        if kind in FORMATS:
            write(path, samples, 16000)
        elif kind == "float.wav":
            write_float(path, samples)
        else:
            soundfile.write(path, samples, 16000)
    return {kind: (folder / f"a.{kind}").read_bytes() for kind in KINDS}


def usable(waveform):
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform)
    assert np.isfinite(waveform).all()
    assert np.abs(waveform).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
@settings(25)
@given(
    changes=DAMAGE,
    suffix=st.sampled_from(SUFFIXES),
    rate=st.sampled_from([8000, 16000, 44100]),
    silence=st.booleans(),
)
def test_damaged_files(tmp_path, sounds, kind, changes, suffix, rate, silence):
    path = tmp_path / f"sound{suffix or '.' + kind}"
    path.write_bytes(damaged(sounds[kind], changes))
    waveform = attempt(
        lambda: load_audio(path, rate, allow_silence=silence), path, folder=tmp_path
    )
    if waveform is not None:
        usable(waveform)
    attempt(lambda: read_header(path), path, folder=tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_headers_alone(tmp_path, sounds, kind):
    path = tmp_path / f"a.{kind}"
    for length in (0, 1, 4, 11, 12, 13, 28, 36, 44, 45, 58, 80, 128):
        path.write_bytes(sounds[kind][:length])
        assert attempt(lambda: load_audio(path), path, folder=tmp_path) is None


@settings(50)
@given(
    rate=st.sampled_from([1, 999, 1000, 4001, 16000, 192_000, 768_000, 768_001]),
    channels=st.integers(1, 9),
    seconds=st.sampled_from([0.0, 0.0999, 0.1, 0.2]),
    values=st.lists(
        st.sampled_from([0.0, 1e-7, 0.5, -1.0, 4.0, 5.0, 3e38, np.inf, -np.inf, np.nan]),
        min_size=1,
        max_size=3,
    ),
)
def test_sound_of_any_kind(tmp_path, rate, channels, seconds, values):
    samples = np.resize(np.float32(values), (round(seconds * rate), channels))
    path = write_float(tmp_path / "sound.wav", samples, rate)
    for silence in (True, False):
        waveform = attempt(
            lambda silence=silence: load_audio(path, allow_silence=silence),
            path,
            folder=tmp_path,
        )
        if waveform is not None:
            usable(waveform)


@settings(60)
@given(
    array=arrays.arrays(
        st.sampled_from(
            ["f2", "f4", "f8", "i2", "i4", "u1", "i8", "?", "c8", "U3", "O", "M8[s]"]
        ),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    repeats=st.sampled_from([1, 2000]),
    rate=st.sampled_from([0, -1, 1000, 16000, 10**9, 10**400, 16000.0, None, "16000"]),
)
@example(np.float64([[1e308], [1e308]]), 2000, 16000)
@example(np.float64([[1e308, 1e308]]), 2000, 16000)
def test_arrays_of_anything(array, repeats, rate):
    if array.ndim:
        array = np.repeat(array, repeats, axis=0)
    waveform = attempt(lambda: to_waveform(array, rate, 8000), "array", "sample_rate")
    if waveform is not None:
        usable(waveform)
