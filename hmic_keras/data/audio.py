"""Audio files and arrays to mono waveforms, and waveforms to windows.

A waveform is float32, mono, in [-1, 1]. Files are decoded by libsndfile (python-soundfile),
so WAV, FLAC, Ogg (Vorbis, Opus) and MP3 all work, and resampled as `resampling` says. What
cannot be used is refused here, with the file's name, so that nothing downstream has to guess
why a score is odd.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AudioError, HmicError
from .resampling import resample

logger = logging.getLogger("hmic_keras")

MIN_SECONDS = 0.1
"""Shorter audio is refused."""
SHORT_SECONDS = 1.0
"""Audio below this is accepted with a logged warning; it is repeated to fill a window."""

# Under half a 16-bit step: nothing that was ever audible is this quiet.
SILENCE_PEAK = 1e-5
# Lossy codecs overshoot full scale a little; float samples far beyond it are integers that
# were never scaled, and clipping those would turn music into a square wave.
MAX_PEAK = 4.0
_MIN_RATE, _MAX_RATE = 1_000, 768_000
_BLOCK_FRAMES = 1 << 18
_MAX_CHANNELS = 64


@dataclass(frozen=True)
class AudioHeader:
    """What an audio file says of itself.

    Attributes:
        format: Container, as libsndfile names it: `"WAV"`, `"FLAC"`, `"OGG"`, `"MP3"`.
        subtype: Encoding, as libsndfile names it: `"PCM_16"`, `"VORBIS"`.
        sample_rate: In Hz.
        channels: Number of channels.
        frames: Samples per channel; an estimate for an MP3 without a Xing or Info tag.
    """

    format: str
    subtype: str
    sample_rate: int
    channels: int
    frames: int


def read_header(path: str | os.PathLike[str]) -> AudioHeader:
    """Reads a file's header and refuses a file that cannot hold usable audio.

    Args:
        path: The audio file.

    Returns:
        Its header.

    Raises:
        AudioError: If the file is missing, empty, cut off, not audio, or holds no samples.
            Damage further in is found when the file is decoded.
    """
    with _open(Path(path)) as sound:
        return AudioHeader(
            sound.format, sound.subtype, sound.samplerate, sound.channels, sound.frames
        )


def load_audio(
    path: str | os.PathLike[str],
    sample_rate: int = 16000,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    allow_silence: bool = True,
    resampler: str = "soxr",
) -> np.ndarray:
    """Decodes an audio file to a mono waveform at one sample rate.

    Channels are averaged; soxr (HQ) resamples, or what `resampler` names. Samples beyond full
    scale, as lossy codecs produce them, are clipped to [-1, 1]; float files that exceed it by
    more than 12 dB are refused, since their samples are not scaled audio.

    Args:
        path: WAV, FLAC, Ogg (Vorbis, Opus) or MP3, of any rate and number of channels.
        sample_rate: Rate of the result, in Hz.
        offset: Where to start, in seconds.
        duration: How much to read, in seconds; less where the file ends. None reads to the
            end.
        allow_silence: Whether a silent waveform is returned, with a logged warning (right
            for prediction), or refused (right for training).
        resampler: `"soxr"` or `"mediapipe"`, see `hmic_keras.data.resample`.

    Returns:
        Float32 array `(samples,)` in [-1, 1].

    Raises:
        AudioError: If the file is missing, a folder, empty, cut off, not audio, without
            samples, shorter than 0.1 s, holds NaN or infinity, or is silent where that is
            not allowed.
        HmicError: If `sample_rate`, `offset` or `duration` is out of range, or `resampler`
            is unknown.

    Example:
        >>> import tempfile, numpy as np, soundfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     soundfile.write(f"{folder}/a.flac", np.full((44100, 2), 0.25), 44100)
        ...     load_audio(f"{folder}/a.flac").shape
        (16000,)
    """
    check_rate("sample_rate", sample_rate)
    if not (np.isfinite(offset) and offset >= 0):
        raise HmicError(f"`offset` must be a number of seconds from 0 up. Received: {offset!r}")
    if duration is not None and not (np.isfinite(duration) and duration > 0):
        raise HmicError(f"`duration` must be positive seconds or None. Received: {duration!r}")
    path = Path(path)
    with _open(path) as sound:
        start = round(offset * sound.samplerate)
        if start and start >= sound.frames:
            raise AudioError(
                f"{path}: `offset` is {offset:g} s, but the file ends at "
                f"{sound.frames / sound.samplerate:.2f} s. Start earlier."
            )
        wanted = sound.frames - start
        if duration is not None:
            wanted = min(wanted, max(1, round(duration * sound.samplerate)))
        mono = _read_mono(sound, path, start, wanted)
        return _finish(mono, str(path), sound.samplerate, sample_rate, allow_silence, resampler)


def to_waveform(
    array: Any,
    sample_rate: int,
    target: int = 16000,
    *,
    allow_silence: bool = True,
    resampler: str = "soxr",
) -> np.ndarray:
    """Turns an array of samples into a mono waveform at one sample rate.

    Args:
        array: `(samples,)` or `(samples, channels)`. int16 and int32 count as full-scale
            PCM; floats are taken to be in [-1, 1].
        sample_rate: Rate of `array`, in Hz.
        target: Rate of the result, in Hz.
        allow_silence: As for `load_audio`.
        resampler: As for `load_audio`.

    Returns:
        Float32 array `(samples,)` in [-1, 1].

    Raises:
        AudioError: If the array has another type or shape, is empty or shorter than 0.1 s,
            holds NaN or infinity, is not scaled to [-1, 1], or is silent where that is not
            allowed.
        HmicError: If a sample rate is out of range, or `resampler` is unknown.

    Example:
        >>> import numpy as np
        >>> to_waveform(np.full((48000, 2), -16384, np.int16), 48000).shape
        (16000,)
    """
    check_rate("sample_rate", sample_rate)
    check_rate("target", target)
    samples = np.asarray(array)
    if samples.ndim not in (1, 2) or 0 in samples.shape:
        raise AudioError(
            "An array of audio must be (samples,) or (samples, channels) and not empty. "
            f"Received shape: {samples.shape}"
        )
    if samples.ndim == 2 and samples.shape[1] > _MAX_CHANNELS:
        raise AudioError(
            f"An array of audio must be (samples, channels), with at most {_MAX_CHANNELS} "
            f"channels. Received shape: {samples.shape}; transpose (channels, samples)."
        )
    if samples.dtype in (np.int16, np.int32):
        samples = samples.astype(np.float64) / -float(np.iinfo(samples.dtype).min)
    elif samples.dtype.kind != "f":
        raise AudioError(
            "An array of audio must be int16, int32 or a float type. "
            f"Received: {samples.dtype}. Convert it to float in [-1, 1]."
        )
    if samples.ndim == 2:
        with np.errstate(invalid="ignore", over="ignore"):
            samples = samples.mean(axis=1)
    return _finish(samples, "The array", sample_rate, target, allow_silence, resampler)


def frame_starts(samples: int, window: int, hop: int) -> np.ndarray:
    """Returns where the windows of a clip start, in samples.

    Windows advance by `hop`; the last one is moved back to end where the clip ends, so every
    sample is covered. A clip of at most one window has one start, 0.

    Args:
        samples: Length of the clip.
        window: Length of a window, in samples.
        hop: Advance between windows, 1 to `window`, in samples.

    Returns:
        Increasing int64 array `(n,)`.

    Raises:
        HmicError: If a length is out of range.

    Example:
        >>> frame_starts(10, window=4, hop=4).tolist()
        [0, 4, 6]
    """
    if samples < 1 or window < 1 or not 1 <= hop <= window:
        raise HmicError(
            "`samples` and `window` must be positive and `hop` in 1..window. "
            f"Received: samples={samples}, window={window}, hop={hop}"
        )
    last = max(samples - window, 0)
    starts = np.arange(0, last + 1, hop, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)


def frame(waveform: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Cuts a waveform into windows that together cover all of it.

    Args:
        waveform: `(samples,)`. One shorter than a window is repeated to fill it.
        window: Length of a window, in samples.
        hop: Advance between windows, 1 to `window`, in samples.

    Returns:
        Array `(n, window)`; row `i` starts at `frame_starts(samples, window, hop)[i]`.

    Raises:
        HmicError: If the waveform is not 1-D, is empty, or a length is out of range.

    Example:
        >>> import numpy as np
        >>> frame(np.arange(5), window=3, hop=3).tolist()
        [[0, 1, 2], [2, 3, 4]]
        >>> frame(np.arange(2), window=5, hop=5).tolist()
        [[0, 1, 0, 1, 0]]
    """
    waveform = np.asarray(waveform)
    if waveform.ndim != 1:
        raise HmicError(f"`waveform` must be 1-D. Received shape: {waveform.shape}")
    starts = frame_starts(len(waveform), window, hop)
    windows = np.lib.stride_tricks.sliding_window_view(repeat_to(waveform, window), window)
    return windows[starts]


def repeat_to(waveform: np.ndarray, length: int) -> np.ndarray:
    """Repeats samples or frames until they are at least `length` long, or returns them."""
    if len(waveform) >= length:
        return waveform
    return waveform[np.arange(length) % len(waveform)]


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Opens a sound file, or says why that is not possible."""
    import soundfile

    _check_file(path)
    # As bytes, since soundfile refuses a name that is no Unicode.
    name = os.fsencode(path) if os.name == "posix" else path
    try:
        sound = soundfile.SoundFile(name)
    # TypeError: soundfile takes the suffix `.raw` for samples without a header.
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError(
            f"{path}: not audio that can be decoded. Convert it to WAV, FLAC, Ogg (Vorbis, "
            "Opus) or MP3."
        ) from error
    with sound:
        if not _MIN_RATE <= sound.samplerate <= _MAX_RATE:
            raise AudioError(
                f"{path}: the header states a sample rate of {sound.samplerate} Hz; it must "
                f"be {_MIN_RATE} to {_MAX_RATE} Hz. Correct the file's header."
            )
        if sound.frames < 1:
            raise AudioError(f"{path}: holds no samples. Remove the file or record it again.")
        if sound.frames >= 1 << 62:
            raise AudioError(
                f"{path}: the header does not state the length, as in a stream that was "
                "saved. Encode the file again."
            )
        yield sound


def _check_file(path: Path) -> None:
    """Refuses what can be told from the file system and the container's outer layer."""
    # `os.path` answers for any name, pathlib raises for those that are too long.
    if os.path.isdir(path):
        raise AudioError(f"{path}: is a folder. Name an audio file.")
    if not os.path.isfile(path):
        found = "is not a regular file" if os.path.exists(path) else "no such file"
        raise AudioError(f"{path}: {found}. Check the path.")
    try:
        size = path.stat().st_size
        cut_off = size > 0 and _is_cut_off(path, size)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}).") from error
    if size == 0:
        raise AudioError(f"{path}: is empty (0 bytes). Copy or record the file again.")
    if cut_off:
        raise AudioError(_cut_off_message(path, "the file ends before its audio does"))


def _cut_off_message(path: Path, found: str) -> str:
    return (
        f"{path}: is cut off: {found}. Copy or download the file again, or encode what is left."
    )


def _is_cut_off(path: Path, size: int) -> bool:
    """Says whether a RIFF, AIFF or Ogg file lacks its end; libsndfile does not tell."""
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[:4] in (b"RIFF", b"FORM") and len(head) == 12:
            declared = int.from_bytes(head[4:8], "little" if head[0:1] == b"R" else "big")
            # Encoders writing to a pipe leave a huge placeholder; careless ones are a few
            # bytes off.
            return declared < 0x7FFF_FF00 and 8 + declared - size > 64
        if head[:4] != b"OggS":
            return False
        stream.seek(max(0, size - (1 << 17)))  # A page has at most 65,307 bytes.
        tail = stream.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    ends_stream = bool(page[5] & 4)
    return not ends_stream or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _read_mono(sound: Any, path: Path, start: int, wanted: int) -> np.ndarray:
    """Reads `wanted` frames from `start` on and averages the channels, block by block."""
    import soundfile

    blocks: list[np.ndarray] = []
    read = 0
    try:
        if start:
            sound.seek(start)
        while read < wanted:
            block = sound.read(
                min(_BLOCK_FRAMES, wanted - read), dtype="float32", always_2d=True
            )
            if not len(block):
                break
            read += len(block)
            with np.errstate(invalid="ignore", over="ignore"):
                blocks.append(block.mean(axis=1))
    except soundfile.SoundFileError as error:
        raise AudioError(
            _cut_off_message(
                path, f"decoding stopped {(start + read) / sound.samplerate:.2f} s in"
            )
        ) from error
    missing = wanted - read
    if sound.format == "MP3":
        # Decoders differ by the encoder's delay, up to two MP3 frames; and without a Xing or
        # Info tag the length is an estimate that can be far too long.
        missing = missing - 2304 if _states_mp3_length(path) else 0
    if missing > 0 or not blocks:
        raise AudioError(
            _cut_off_message(path, f"it announces {wanted} samples and holds {read}")
        )
    return np.concatenate(blocks)


def _states_mp3_length(path: Path) -> bool:
    """Says whether an MP3's first frame is a Xing or Info tag, which counts the frames."""
    with path.open("rb") as stream:
        head = stream.read(10)
        skip = 0
        if head[:3] == b"ID3" and len(head) == 10:
            # An ID3v2 tag's length comes in four bytes of seven bits.
            skip = 10 + sum(
                (byte & 0x7F) << shift
                for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
            )
        stream.seek(skip)
        first = stream.read(256)
    return b"Xing" in first or b"Info" in first


def _finish(
    mono: np.ndarray, name: str, rate: int, target: int, allow_silence: bool, resampler: str
) -> np.ndarray:
    """Checks mono samples and resamples them; what files and arrays have in common."""
    seconds = len(mono) / rate
    if seconds < MIN_SECONDS:
        raise AudioError(
            f"{name}: lasts {seconds:.3f} s; at least {MIN_SECONDS:g} s are needed. "
            "Use a longer clip."
        )
    peak = float(np.max(np.abs(mono)))
    if not np.isfinite(peak):
        raise AudioError(f"{name}: holds NaN or infinite samples. Export the audio again.")
    if peak > MAX_PEAK:
        raise AudioError(
            f"{name}: samples reach {peak:g}, but float audio must be in [-1, 1]. Divide by "
            "full scale (32768 for 16-bit values)."
        )
    if peak < SILENCE_PEAK:
        if not allow_silence:
            raise AudioError(f"{name}: is silent. Remove the clip or replace the recording.")
        logger.warning("%s is silent; its scores mean nothing.", name)
    if seconds < SHORT_SECONDS:
        logger.warning(
            "%s lasts %.2f s; it is repeated to fill a window of the model.", name, seconds
        )
    return np.clip(resample(mono, rate, target, resampler=resampler), -1.0, 1.0)


def check_rate(name: str, rate: int) -> None:
    """Refuses a sample rate, the argument called `name`, that no audio has."""
    if not isinstance(rate, int | np.integer) or not _MIN_RATE <= rate <= _MAX_RATE:
        raise HmicError(
            f"`{name}` must be a whole number of Hz from {_MIN_RATE} to {_MAX_RATE}. "
            f"Received: {rate!r}"
        )
