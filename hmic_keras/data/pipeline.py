"""Labelled clips to `tf.data` batches of waveform crops and label dicts.

Which clips a batch holds and where their crops lie is drawn by NumPy from `(seed, epoch)`, so
a seed gives the same batches under every TensorFlow version and global seed, whatever the
number of threads. Decoding and cropping then run in parallel.
"""

import itertools
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ..errors import AudioError, HmicError, MissingDependencyError
from .audio import (
    MAX_PEAK,
    MIN_SECONDS,
    SILENCE_PEAK,
    AudioHeader,
    check_rate,
    load_audio,
    read_header,
    repeat_to,
)
from .sources.folder import LabelledClips

DECODERS = ("soundfile", "tfio")


def make_dataset(
    clips: LabelledClips,
    *,
    sample_rate: int = 16000,
    crop_seconds: float = 4.0,
    batch_size: int = 32,
    training: bool = False,
    seed: int = 0,
    decoder: str = "soundfile",
    cache: bool = True,
    num_parallel_calls: int | None = None,
) -> tf.data.Dataset:
    """Builds a dataset of waveform crops and labels, ready for `fit` and `evaluate`.

    In training, each pass over the dataset shuffles the clips and takes a random crop of each;
    passes differ, and two datasets with one seed yield the same batches pass by pass. Without
    training, clips come in order, each by its central crop. (To score whole recordings, give
    the files to a `Predictor`.) No clip is dropped: the last batch may be smaller. A clip
    shorter than the crop is repeated to fill it.

    A file that cannot be used, silent ones included, is an `AudioError` from this call if
    `cache=True`. With `cache=False` this call reads the headers only, and damage that shows
    when a file is decoded surfaces in the pass that meets it; `audio_errors` turns
    TensorFlow's report of that into an `AudioError`.

    `decoder="tfio"` decodes and resamples inside the TensorFlow graph with tensorflow-io. It
    reads WAV (8, 16, 24 bit, float), FLAC (16, 24 bit), Ogg Vorbis and MP3. The decoded
    samples equal libsndfile's. Its resampler has a softer filter than soxr's: they agree to
    1e-4 up to three quarters of the lower Nyquist frequency; above that it falls off, at
    16 kHz by 0.4 dB at 7 kHz and 11 dB at 7.5 kHz.

    Args:
        clips: Files and labels.
        sample_rate: Rate of the waveforms, in Hz.
        crop_seconds: Length of a crop, from 1 s up.
        batch_size: Clips in a batch.
        training: Whether to shuffle and crop at random.
        seed: Seed of order and crops, from 0 up; without `training` it has no effect.
        decoder: `"soundfile"` (libsndfile and soxr) or `"tfio"`.
        cache: Whether to decode every clip once, in this call, and keep the waveforms: 4 bytes
            a sample, so 64 kB a second at 16 kHz and 13 GB for 20,000 clips of ten seconds.
            Otherwise every pass decodes again, and memory holds a few clips a thread.
        num_parallel_calls: Files decoded at a time; None lets the machine decide.

    Returns:
        Dataset of `(waveform, labels)`: float32 `(B, samples)` and a dict of float32
        `(B, classes)` by level name.

    Raises:
        AudioError: If a file cannot be used; the message names it.
        HmicError: If an argument is out of range or there are no clips.
        MissingDependencyError: If `decoder="tfio"` and tensorflow-io does not load.

    Example:
        >>> import tempfile, soundfile
        >>> from hmic_keras.taxonomy import Taxonomy
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin"], "brass": ["horn"]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.wav")
        ...     soundfile.write(path, np.full(32000, 0.1), 16000)
        ...     clips = LabelledClips(taxonomy, (path,), {"fine": [[1, 0]]})
        ...     dataset = make_dataset(clips, crop_seconds=1.0)
        >>> waveform, labels = next(iter(dataset))
        >>> tuple(waveform.shape), labels["coarse"].numpy().tolist()
        ((1, 16000), [[1.0, 0.0]])
    """
    check_rate("sample_rate", sample_rate)
    _check_arguments(clips, crop_seconds, batch_size, seed, decoder, num_parallel_calls)
    size = round(crop_seconds * sample_rate)
    workers = num_parallel_calls or os.cpu_count() or 1
    parallel = num_parallel_calls or tf.data.AUTOTUNE

    def decode(path: Path) -> np.ndarray:
        return load_audio(path, sample_rate, allow_silence=False)

    if decoder == "tfio":
        files = _GraphFiles(clips.paths, sample_rate, workers)
        batch = _held(files.decode_all(parallel), size) if cache else files.batch(size)
    elif cache:
        batch = _held(_for_all(decode, clips.paths, workers), size)
    else:
        _for_all(read_header, clips.paths, workers)
        batch = _in_python(lambda index: decode(clips.paths[index]), size)

    labels = {level: tf.constant(values) for level, values in clips.labels.items()}

    def load(indices: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        waveform = tf.ensure_shape(batch(indices, positions), (None, size))
        return waveform, {
            level: tf.ensure_shape(tf.gather(values, indices), (None, values.shape[1]))
            for level, values in labels.items()
        }

    plan = _plan(len(clips), batch_size, seed if training else None)
    return plan.map(load, num_parallel_calls=parallel, deterministic=True).prefetch(
        tf.data.AUTOTUNE
    )


@contextmanager
def audio_errors() -> Iterator[None]:
    """Turns TensorFlow's report of a file that failed within a dataset into an `AudioError`.

    Wrap the loop over, or the `fit` on, a dataset made with `cache=False` in it.

    Raises:
        AudioError: In place of the `tf.errors.OpError` that stems from one.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if found := _named_failure(error):
            raise AudioError(found) from None
        raise


def _named_failure(error: tf.errors.OpError) -> str | None:
    found = re.search(r"AudioError: (.+)", error.message)
    return found[1] if found else None


def _check_arguments(
    clips: LabelledClips,
    crop_seconds: float,
    batch_size: int,
    seed: int,
    decoder: str,
    num_parallel_calls: int | None,
) -> None:
    def whole(value: Any, least: int) -> bool:
        is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return is_integer and bool(value >= least)

    rules = [
        (
            "crop_seconds",
            "a number of seconds from 1 up",
            crop_seconds,
            1 <= crop_seconds < 1e5,
        ),
        ("batch_size", "a positive integer", batch_size, whole(batch_size, 1)),
        ("seed", "an integer from 0 up", seed, whole(seed, 0)),
        ("decoder", f"one of {', '.join(DECODERS)}", decoder, decoder in DECODERS),
        (
            "num_parallel_calls",
            "a positive integer or None",
            num_parallel_calls,
            num_parallel_calls is None or whole(num_parallel_calls, 1),
        ),
    ]
    for name, rule, value, holds in rules:
        if not holds:
            raise HmicError(f"`{name}` must be {rule}. Received: {value!r}")
    if not len(clips):
        raise HmicError("`clips` must hold at least one clip. Received none")


def _plan(clips: int, batch_size: int, seed: int | None) -> tf.data.Dataset:
    """Yields, batch by batch, clip indices and crop positions: 0 leftmost, below 1.

    Args:
        clips: Number of clips.
        batch_size: Clips in a batch.
        seed: Seed of random order and positions; None keeps the order and the centre.
    """
    passes = itertools.count()

    def one_pass() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if seed is None:
            order, positions = np.arange(clips), np.full(clips, 0.5)
        else:
            random = np.random.default_rng([seed, next(passes)])
            order, positions = random.permutation(clips), random.random(clips)
        for start in range(0, clips, batch_size):
            chosen = slice(start, start + batch_size)
            yield order[chosen], positions[chosen]

    signature = (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.float64))
    plan = tf.data.Dataset.from_generator(one_pass, output_signature=signature)
    # A generator hides its length, which progress bars and `steps_per_epoch` ask for.
    return plan.apply(tf.data.experimental.assert_cardinality(math.ceil(clips / batch_size)))


def _held(
    waveforms: list[np.ndarray], size: int
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    return _in_python(lambda index: waveforms[index], size)


def _in_python(
    get: Callable[[int], np.ndarray], size: int
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a graph function that crops a batch of waveforms that Python provides."""

    def crops(indices: np.ndarray, positions: np.ndarray) -> np.ndarray:
        batch = np.empty((len(indices), size), np.float32)
        for row, index, position in zip(batch, indices, positions, strict=True):
            waveform = repeat_to(get(int(index)), size)
            start = int(position * (len(waveform) - size + 1))
            row[:] = waveform[start : start + size]
        return batch

    return lambda indices, positions: tf.numpy_function(crops, [indices, positions], tf.float32)


def _for_all(act: Callable[[Path], Any], paths: tuple[Path, ...], workers: int) -> list[Any]:
    """Applies `act` to every file in threads; reports all files that fail in one error."""

    def attempt(path: Path) -> Any:
        try:
            return act(path)
        except AudioError as error:
            return error

    # Decoders and resampler release the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(attempt, paths))
    _raise_failures([result for result in results if isinstance(result, AudioError)], paths)
    return results


def _raise_failures(failures: list[AudioError], paths: tuple[Path, ...]) -> None:
    if len(failures) == 1:
        raise failures[0]
    if failures:
        shown = " | ".join(str(failure) for failure in failures[:3])
        more = " | ..." if len(failures) > 3 else ""
        raise AudioError(f"{len(failures)} of {len(paths)} files cannot be used: {shown}{more}")


# Decoding inside the graph


def _graph_decoders(tfio: Any) -> dict[tuple[str, str], Callable[[tf.Tensor], tf.Tensor]]:
    """Maps a header's format and subtype to an op: bytes to float32 `(samples, channels)`."""
    audio = tfio.audio

    def pcm(
        decode: Callable[..., tf.Tensor], dtype: tf.DType, scale: float, zero: float
    ) -> Any:
        return lambda data: (tf.cast(decode(data, dtype=dtype), tf.float32) - zero) / scale

    wav = {
        "PCM_U8": pcm(audio.decode_wav, tf.uint8, 2.0**7, 2.0**7),
        "PCM_16": pcm(audio.decode_wav, tf.int16, 2.0**15, 0.0),
        "PCM_24": pcm(audio.decode_wav, tf.int32, 2.0**31, 0.0),
        "FLOAT": pcm(audio.decode_wav, tf.float32, 1.0, 0.0),
    }
    return {
        **{(form, subtype): op for form in ("WAV", "WAVEX") for subtype, op in wav.items()},
        ("FLAC", "PCM_16"): pcm(audio.decode_flac, tf.int16, 2.0**15, 0.0),
        ("FLAC", "PCM_24"): pcm(audio.decode_flac, tf.int32, 2.0**31, 0.0),
        ("OGG", "VORBIS"): audio.decode_vorbis,
        ("MP3", "MPEG_LAYER_III"): audio.decode_mp3,
    }


class _GraphFiles:
    """Files that tensorflow-io decodes and resamples.

    Headers are read once, here: the ops need a file's format and rate beforehand.
    """

    def __init__(self, paths: tuple[Path, ...], sample_rate: int, workers: int) -> None:
        self._tfio = _import_tfio()
        self._decoders = _graph_decoders(self._tfio)
        self._paths = paths
        self._rate = sample_rate
        headers = _for_all(self._readable_header, paths, workers)
        kinds = list(self._decoders)
        self._files = {
            "path": tf.constant([str(path) for path in paths]),
            "kind": tf.constant(
                [kinds.index((h.format, h.subtype)) for h in headers], tf.int32
            ),
            **{
                name: tf.constant(values, tf.int64)
                for name, values in zip(
                    ("rate", "lead", "tail", "cut"),
                    zip(
                        *(_resampling(h.sample_rate, sample_rate) for h in headers), strict=True
                    ),
                    strict=True,
                )
            },
        }

    def _readable_header(self, path: Path) -> AudioHeader:
        header = read_header(path)
        if (header.format, header.subtype) not in self._decoders:
            raise AudioError(
                f'{path}: decoder="tfio" does not read {header.format} {header.subtype}. '
                'Use decoder="soundfile" or convert the file.'
            )
        if header.frames < MIN_SECONDS * header.sample_rate:
            raise AudioError(f"{path}: lasts less than {MIN_SECONDS:g} s. Use a longer clip.")
        return header

    def decode_all(self, parallel: int) -> list[np.ndarray]:
        """Decodes every file through the graph and returns the waveforms."""
        every = tf.data.Dataset.range(len(self._paths))
        decoded = every.map(self._decode, num_parallel_calls=parallel, deterministic=True)
        waveforms: list[np.ndarray] = []
        try:
            for waveform in decoded:
                waveforms.append(waveform.numpy())
        except tf.errors.OpError as error:
            # Order is kept, so the file that failed is the next one.
            found = _named_failure(error) or (
                f"{self._paths[len(waveforms)]}: tensorflow-io cannot decode it "
                f"({error.message.splitlines()[0]}). Convert or replace the file."
            )
            raise AudioError(found) from error
        return waveforms

    def batch(self, size: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Returns a graph function that decodes and crops a batch of files."""

        def crop(element: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            index, position = element
            waveform = self._decode(index)
            repeats = tf.maximum(1, -(-size // tf.shape(waveform)[0]))
            # Without the cut, a repeated clip would be longer than its crop and move it.
            waveform = tf.cond(
                repeats > 1,
                lambda: tf.tile(waveform, [repeats])[:size],
                lambda: waveform,
            )
            room = tf.cast(tf.shape(waveform)[0] - size + 1, tf.float64)
            start = tf.cast(position * room, tf.int32)
            return waveform[start : start + size]

        return lambda indices, positions: tf.map_fn(
            crop, (indices, positions), fn_output_signature=tf.TensorSpec((size,), tf.float32)
        )

    def _decode(self, index: tf.Tensor) -> tf.Tensor:
        """Returns one file's waveform, as `load_audio` would; built into the caller's graph."""
        file = {name: values[index] for name, values in self._files.items()}
        data = tf.io.read_file(file["path"])
        branches = [lambda op=op: op(data) for op in self._decoders.values()]
        mono = tf.reduce_mean(tf.switch_case(file["kind"], branches), axis=1)
        peak = tf.reduce_max(tf.abs(mono))
        usable = tf.math.is_finite(peak) & (peak >= SILENCE_PEAK) & (peak <= MAX_PEAK)
        fault = tf.strings.join(
            [
                "AudioError: ",
                file["path"],
                ": is silent, holds NaN or infinite samples, or is not scaled to [-1, 1]. "
                "Replace the clip.",
            ]
        )
        with tf.control_dependencies([tf.debugging.Assert(usable, [fault], summarize=1)]):
            mono = tf.identity(mono)
        mono = tf.cond(
            file["rate"] == self._rate, lambda: mono, lambda: self._resample(mono, file)
        )
        return tf.clip_by_value(tf.reshape(mono, [-1]), -1.0, 1.0)

    def _resample(self, mono: tf.Tensor, file: dict[str, tf.Tensor]) -> tf.Tensor:
        samples = tf.size(mono, out_type=tf.int64)
        padded = tf.pad(mono, [[file["lead"], file["tail"]]])
        resampled = self._tfio.audio.resample(padded[:, tf.newaxis], file["rate"], self._rate)
        # Half up, as soxr rounds the length.
        length = (2 * samples * self._rate + file["rate"]) // (2 * file["rate"])
        return resampled[file["cut"] : file["cut"] + length, 0]


def _resampling(rate: int, target: int) -> tuple[int, int, int, int]:
    """Works out the padding that cancels the delay of tensorflow-io's resampler.

    The op runs Speex's resampler at quality 4 and keeps the delay of its filter: half of 64
    taps, and of proportionally more when the rate falls. Zeros in front make the delay a
    whole number of output samples, which can be cut off; zeros behind push out the end.

    Returns:
        The rate, the zeros in front, the zeros behind, and the output samples to cut.
    """
    common = math.gcd(rate, target)
    step_in, step_out = rate // common, target // common
    taps = 64
    if rate > target:
        taps = -(-(taps * step_in // step_out) // 8) * 8
    delay = taps // 2
    lead = -delay % step_in
    tail = delay + 2 * math.ceil(rate / target)
    return rate, lead, tail, (lead + delay) // step_in * step_out


def _import_tfio() -> Any:
    """Imports tensorflow-io and makes sure that its native library works."""
    try:
        # It warns of what the error below says better.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow_io as tfio

            tfio.audio.encode_wav(tf.zeros((1, 1), tf.int16), 16000)
    except (ImportError, NotImplementedError, AttributeError, tf.errors.NotFoundError) as error:
        raise MissingDependencyError(
            'decoder="tfio" needs tensorflow-io 0.37.1, which loads with TensorFlow 2.16 only. '
            f"This is TensorFlow {tf.__version__}. Install hmic-keras[io] in an environment of "
            'its own, which brings TensorFlow 2.16.2, or use decoder="soundfile".'
        ) from error
    return tfio
