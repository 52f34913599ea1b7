"""Real audio files, good and broken, for the tests of everything that reads audio."""

import numpy as np
import soundfile

# Name, soundfile's format and subtype, and whether decoding gives back the samples.
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_24"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def tone(seconds=1.5, rate=44100, channels=2, frequencies=(220.0, 440.0, 1000.0, 2500.0)):
    """A steady mixture `(samples, channels)` below 3 kHz; each channel is quieter by half."""
    time = np.arange(round(seconds * rate)) / rate
    mono = sum(np.sin(2 * np.pi * f * time + f) for f in frequencies) / len(frequencies)
    return np.stack([0.5 * mono * 0.5**c for c in range(channels)], axis=1)


def bell(seconds=2.0, rate=44100, frequencies=(220.0, 440.0, 1000.0, 2500.0)):
    """A mono mixture `(samples,)` that swells and fades, so that its ends are silent."""
    time = np.arange(round(seconds * rate)) / rate
    envelope = np.exp(-(((time - seconds / 2) / (seconds / 10)) ** 2))
    return envelope * tone(seconds, rate, 1, frequencies)[:, 0]


def write(path, samples, rate=44100, kind=None):
    """Writes `samples` as the format that `kind`, or else the suffix, names."""
    form, subtype = FORMATS[kind or path.suffix[1:]]
    soundfile.write(path, samples, rate, format=form, subtype=subtype)
    return path


def write_float(path, samples, rate=16000):
    """Writes a float WAV, which can hold what other formats cannot."""
    soundfile.write(path, np.asarray(samples, np.float32), rate, format="WAV", subtype="FLOAT")
    return path


def cut(path, share):
    """Drops the end of a file, so that `share` of its bytes stay."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def without_mp3_tag(path):
    """Removes an MP3's first frame, the tag that states its length."""
    data = path.read_bytes()
    path.write_bytes(data[data.index(data[:2], 100) :])
    return path
