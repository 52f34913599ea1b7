"""Tests of `hmic_keras.data.audio`."""

import logging

import librosa
import numpy as np
import pytest
import soundfile
from audio_files import FORMATS, bell, cut, tone, without_mp3_tag, write, write_float

from hmic_keras.data.audio import frame, frame_starts, load_audio, read_header, to_waveform
from hmic_keras.errors import AudioError, HmicError

RATES = {"wav": 48000, "flac": 96000, "ogg": 22050, "opus": 48000, "mp3": 44100}


# Decoding


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_mean_of_its_channels_at_the_wanted_rate(tmp_path, kind):
    rate = RATES[kind]
    path = write(tmp_path / f"a.{kind}", tone(1.5, rate, 2), rate)
    waveform = load_audio(path)
    expected = tone(1.5, 16000, 2).mean(axis=1)
    assert waveform.dtype == np.float32
    assert waveform.shape == (24000,)
    error = (waveform - expected)[1600:-1600]
    bound = 3e-4 if kind in ("wav", "flac") else 0.05  # Lossy codecs change the samples.
    assert np.sqrt(np.mean(error**2)) < bound * np.sqrt(np.mean(expected**2))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 192000])
def test_resampling_agrees_with_librosa(tmp_path, rate):
    path = write(tmp_path / "a.flac", bell(2.0, rate), rate)
    expected = librosa.resample(
        bell(2.0, rate), orig_sr=rate, target_sr=16000, res_type="soxr_vhq"
    )
    waveform = load_audio(path)
    assert len(waveform) == len(expected)
    np.testing.assert_allclose(waveform, expected, atol=2e-5)


def test_content_above_the_new_nyquist_does_not_alias(tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0, 44100, 1, (12000.0,)))
    assert np.abs(load_audio(path)[400:-400]).max() < 1e-3


@pytest.mark.parametrize("channels", [1, 6])
def test_any_number_of_channels(tmp_path, channels):
    samples = tone(1.0, 16000, channels)
    path = write_float(tmp_path / "a.wav", samples)
    np.testing.assert_allclose(load_audio(path), samples.mean(axis=1), atol=1e-6)


def test_offset_and_duration_select_a_part(tmp_path):
    path = write_float(tmp_path / "a.wav", tone(3.0, 16000, 1)[:, 0])
    whole = load_audio(path)
    np.testing.assert_array_equal(
        load_audio(path, offset=1.25, duration=0.5), whole[20000:28000]
    )
    np.testing.assert_array_equal(load_audio(path, offset=2.5, duration=9), whole[40000:])
    with pytest.raises(AudioError, match=r"a\.wav: `offset` is 3 s, .* ends at 3\.00 s"):
        load_audio(path, offset=3.0)


def test_a_file_longer_than_one_block_is_whole(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 700_000).astype(np.float32)
    np.testing.assert_array_equal(load_audio(write_float(tmp_path / "a.wav", samples)), samples)


def test_overshoot_is_clipped_and_unscaled_samples_are_refused(tmp_path):
    samples = tone(1.0, 16000, 1)[:, 0]
    loud = load_audio(write_float(tmp_path / "loud.wav", 4 * samples))
    np.testing.assert_allclose(loud, np.clip(4 * samples, -1, 1), atol=1e-6)
    assert np.abs(loud).max() == 1
    with pytest.raises(AudioError, match=r"raw\.wav: samples reach .* must be in \[-1, 1\]"):
        load_audio(write_float(tmp_path / "raw.wav", 32768 * samples))


def test_header_states_format_rate_channels_and_length(tmp_path):
    header = read_header(write(tmp_path / "a.flac", tone(1.0, 22050, 2), 22050))
    assert (header.format, header.subtype) == ("FLAC", "PCM_24")
    assert (header.sample_rate, header.channels, header.frames) == (22050, 2, 22050)


# Bad files


def refused(path, found):
    """Asserts one line that starts with the file's name and says what was `found`."""
    with pytest.raises(AudioError, match=found) as caught:
        load_audio(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert message.endswith(".")


def test_missing_file_and_folder(tmp_path):
    refused(tmp_path / "none.wav", "no such file")
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize("suffix", ["wav", "mp3", "ogg", "raw"])
def test_what_is_not_audio(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.touch()
    refused(path, "is empty")
    path.write_bytes(np.random.default_rng(1).bytes(40_000))
    refused(path, "not audio")
    path.write_text("path,violin\n" * 100)
    refused(path, "not audio")


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_off(tmp_path, kind, share):
    noise = np.random.default_rng(0).normal(0, 0.1, (480_000, 1))
    path = write(tmp_path / f"a.{kind}", noise, 48000)
    assert len(load_audio(path)) == 160_000
    refused(cut(path, share), "is cut off")


def test_a_header_cut_off(tmp_path):
    refused(cut(write(tmp_path / "a.wav", tone()), 20 / 264_644), "cut off|not audio")
    refused(cut(write(tmp_path / "a.ogg", tone()), 0.002), "cut off|not audio")


def test_a_wav_from_a_pipe_does_not_count_as_cut_off(tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0))
    whole = load_audio(path)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    path.write_bytes(data)
    np.testing.assert_array_equal(load_audio(path), whole)


def test_an_mp3_that_does_not_state_its_length(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 882_000)
    samples[:441_000] *= 0  # Small frames come first: the estimate is then far too long.
    path = tmp_path / "a.mp3"
    soundfile.write(path, samples, 44100, bitrate_mode="VARIABLE")
    without_mp3_tag(path)
    assert read_header(path).frames > 1.2 * len(samples)
    assert len(load_audio(path)) / 16000 == pytest.approx(20.0, abs=0.1)


def test_an_mp3_behind_an_id3_tag_is_still_checked(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (441_000, 1))
    path = write(tmp_path / "a.mp3", noise)
    tag = b"ID3\x03\x00\x00\x00\x00\x10\x00" + bytes(16 << 7)
    path.write_bytes(tag + path.read_bytes())
    assert len(load_audio(path)) == 160_000
    refused(cut(path, 0.7), "is cut off")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers(tmp_path, value):
    samples = tone(1.0, 16000, 2)
    samples[800, 1] = value
    refused(write_float(tmp_path / "a.wav", samples), "NaN or infinite")
    samples[800] = np.inf, -np.inf
    refused(write_float(tmp_path / "b.wav", samples), "NaN or infinite")


def test_no_samples_and_too_few(tmp_path):
    refused(write_float(tmp_path / "none.wav", np.zeros(0)), "holds no samples")
    refused(write_float(tmp_path / "few.wav", np.full(1599, 0.1)), "lasts 0.100 s")


def test_an_impossible_sample_rate(tmp_path):
    refused(
        write_float(tmp_path / "a.wav", np.full(1599, 0.1), rate=10), "sample rate of 10 Hz"
    )


def test_silence_is_answered_with_a_warning_or_refused(tmp_path, caplog):
    path = write_float(tmp_path / "a.wav", np.zeros(16000))
    with caplog.at_level(logging.WARNING, "hmic_keras"):
        assert not load_audio(path).any()
    assert f"{path} is silent" in caplog.text
    with pytest.raises(AudioError, match=r"a\.wav: is silent"):
        load_audio(path, allow_silence=False)


def test_the_quietest_16_bit_tone_is_not_silent(tmp_path, caplog):
    samples = np.zeros(16000, np.int16)
    samples[::2] = 1
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    assert load_audio(path, allow_silence=False).any()
    assert not caplog.records


def test_a_short_clip_is_read_with_a_warning(tmp_path, caplog):
    path = write_float(tmp_path / "hit.wav", np.full(8000, 0.1))
    assert load_audio(path).shape == (8000,)
    assert "hit.wav lasts 0.50 s" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"sample_rate": 16000.0}, "sample_rate"),
        ({"offset": -1}, "offset"),
        ({"offset": np.nan}, "offset"),
        ({"duration": 0}, "duration"),
        ({"duration": np.inf}, "duration"),
    ],
)
def test_arguments_out_of_range(tmp_path, arguments, name):
    path = write(tmp_path / "a.wav", tone())
    with pytest.raises(HmicError, match=f"`{name}` must be .* Received: "):
        load_audio(path, **arguments)


# Arrays


def test_an_array_equals_the_file_of_it(tmp_path):
    samples = np.round(tone(1.0, 44100, 2) * 32767).astype(np.int16)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 44100, subtype="PCM_16")
    expected = load_audio(path)
    wide = samples.astype(np.int32) << 16
    for array in (samples, wide, samples / 32768, (samples / 32768).astype(np.float32)):
        np.testing.assert_allclose(to_waveform(array, 44100), expected, atol=1e-6)


def test_integers_fill_the_range_and_the_input_stays_as_it_was():
    samples = np.full(1600, -32768, np.int16)
    np.testing.assert_array_equal(to_waveform(samples, 16000), -1.0)
    floats = np.full(1600, 1.5, np.float32)
    np.testing.assert_array_equal(to_waveform(floats, 16000), 1.0)
    np.testing.assert_array_equal(floats, 1.5)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((2, 3, 4)), "shape"),
        (np.zeros(0), "shape"),
        (np.float32(1.0), "shape"),
        (np.ones((2, 16000), np.float32), "transpose"),
        (np.ones(16000, np.int64), "int64"),
        (np.ones(16000, np.uint8), "uint8"),
        (np.ones(16000, bool), "bool"),
        (np.ones(16000, complex), "complex"),
        (np.full(16000, np.nan), "NaN"),
        (np.full(16000, 20000.0), "32768"),
        (np.full(100, 0.1), "lasts"),
    ],
)
def test_arrays_that_cannot_be_audio(array, found):
    with pytest.raises(AudioError, match=found):
        to_waveform(array, 16000)


def test_silent_arrays_follow_the_same_rule():
    with pytest.raises(AudioError, match="is silent"):
        to_waveform(np.zeros(16000), 16000, allow_silence=False)


# Windows


@pytest.mark.parametrize("samples", [1, 5, 16, 17, 31, 32, 33, 100])
@pytest.mark.parametrize("hop", [1, 7, 16])
def test_windows_are_slices_that_cover_the_clip(samples, hop):
    window = 16
    clip = np.arange(samples)
    windows = frame(clip, window, hop)
    starts = frame_starts(samples, window, hop)
    padded = np.resize(clip, max(samples, window))  # numpy.resize repeats.
    np.testing.assert_array_equal(windows, [padded[s : s + window] for s in starts])
    assert set(windows.ravel()) == set(clip)
    assert starts[0] == 0
    assert windows[-1, -1] == padded[-1]
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= hop).all()
    windows[:] = -1
    np.testing.assert_array_equal(clip, np.arange(samples))


@pytest.mark.parametrize("case", [(0, 4, 4), (9, 0, 1), (9, 4, 0), (9, 4, 5)])
def test_window_lengths_out_of_range(case):
    samples, window, hop = case
    with pytest.raises(HmicError, match="Received"):
        frame(np.zeros(samples), window, hop)


def test_only_one_dimension_is_framed():
    with pytest.raises(HmicError, match="1-D"):
        frame(np.zeros((2, 8)), 4, 4)
