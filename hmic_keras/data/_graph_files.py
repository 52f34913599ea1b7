"""Decoding and resampling files inside the TensorFlow graph, with tensorflow-io."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ..errors import AudioError, MissingDependencyError
from ._failures import for_all, named_failure
from ._plan import Draw
from .audio import MAX_PEAK, MIN_SECONDS, SILENCE_PEAK, AudioHeader, read_header


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


class GraphFiles:
    """Files that tensorflow-io decodes and resamples.

    Headers are read once, here: the ops need a file's format and rate beforehand.
    """

    def __init__(self, paths: tuple[Path, ...], sample_rate: int, workers: int) -> None:
        self._tfio = _import_tfio()
        self._decoders = _graph_decoders(self._tfio)
        self._paths = paths
        self._rate = sample_rate
        headers = for_all(self._readable_header, paths, workers)
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
            found = named_failure(error.message) or AudioError(
                f"{self._paths[len(waveforms)]}: tensorflow-io cannot decode it "
                f"({error.message.splitlines()[0]}). Convert or replace the file."
            )
            raise found from error
        return waveforms

    def crops(self, draw: Draw, size: int, wanted: int) -> tf.Tensor:
        """Decodes the files of a batch and cuts `wanted` samples from each, see `Window`."""

        def crop(element: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
            index, position, second = element
            waveform = self._decode(index)
            repeats = tf.maximum(1, -(-size // tf.shape(waveform)[0]))
            # Without the cut, a repeated clip would be longer than its crop and move it.
            waveform = tf.cond(
                repeats > 1,
                lambda: tf.tile(waveform, [repeats])[:size],
                lambda: waveform,
            )
            room = tf.shape(waveform)[0] - size
            start = tf.cond(
                tf.math.is_nan(second),
                lambda: tf.cast(position * tf.cast(room + 1, tf.float64), tf.int32),
                lambda: tf.clip_by_value(
                    tf.cast(tf.round(second * self._rate), tf.int32), 0, room
                ),
            )
            piece = waveform[start : start + wanted]
            steps = tf.range(wanted) % (2 * tf.size(piece))
            return tf.gather(piece, tf.minimum(steps, 2 * tf.size(piece) - 1 - steps))

        return tf.map_fn(
            crop,
            (draw.row, draw.position, draw.start),
            fn_output_signature=tf.TensorSpec((wanted,), tf.float32),
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
