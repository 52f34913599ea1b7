"""Labelled clips to `tf.data` batches of crops and label dicts.

Which clips a batch holds and where their crops lie is one plan (`_plan.py`), whether the sound
comes from memory, from files decoded in each pass, from tensorflow-io or from records.
Decoding and cropping then run in parallel.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ..errors import HmicError
from ._crops import Augmented, Window, batch_of, events_of, from_records, from_waveforms
from ._failures import for_all, named_failure
from ._graph_files import GraphFiles
from ._plan import Draw, Onsets, Plan, class_weights, clip_weights
from .audio import check_rate, load_audio, read_header
from .prepared import PreparedClips
from .sources.folder import LabelledClips

DECODERS = ("soundfile", "tfio")
CROPS = ("uniform", "onset")
_DRAW = Draw(
    *(
        tf.TensorSpec((None,), kind)
        for kind in (tf.int64, tf.float64, tf.float64, tf.int64, tf.int64)
    )
)


def make_dataset(
    clips: LabelledClips | PreparedClips,
    *,
    sample_rate: int = 16000,
    crop_seconds: float = 4.0,
    batch_size: int = 32,
    training: bool = False,
    seed: int = 0,
    first_epoch: int = 0,
    balance: float = 0.0,
    crops: str = "uniform",
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    decoder: str = "soundfile",
    cache: bool = True,
    num_parallel_calls: int | None = None,
) -> tf.data.Dataset:
    """Builds a dataset of crops and labels, ready for `fit` and `evaluate`.

    In training, each pass over the dataset shuffles the clips and takes a random crop of each;
    passes differ, and two datasets with one seed yield the same batches pass by pass. Without
    training, clips come in order, each by its central crop. (To score whole recordings, give
    the files to a `Predictor`.) No clip is dropped: the last batch may be smaller. A clip
    shorter than the crop is repeated to fill it.

    With `balance` above 0, a pass still has as many crops as there are clips, but a clip whose
    rarest present class of the finest level occurs in `n` clips is drawn in proportion to
    `(m / n) ** balance`, where `m` counts the most frequent class; a clip in which nothing is
    known to be present counts as one of that class. Each clip comes as often as it is due,
    rounded up or down at random, so at 1 a pass may leave common clips out. Only observed
    labels above 0.5 count.

    With `crops="onset"`, each crop contains the start of a labelled note, at least 0.25 s from
    its end: first one of the classes that have notes in the clip is drawn (in proportion to
    `(m / n) ** balance`), then one of its notes, then where in the crop it lies. A clip without
    notes gives a uniform crop.

    A file that cannot be used, silent ones included, is an `AudioError` from this call if
    `cache=True`. With `cache=False` this call reads the headers only, and damage that shows
    when a file is decoded surfaces in the pass that meets it; `audio_errors` turns
    TensorFlow's report of that into an `AudioError`.

    Records are read crop by crop in every pass, whatever `cache`: the operating system keeps
    what fits into memory. Records of log-mel spectrograms give crops `(frames, mels)` of
    `1 + samples // hop_length` frames, as many as a crop of the waveform would.

    `decoder="tfio"` decodes and resamples files inside the TensorFlow graph with
    tensorflow-io. It reads WAV (8, 16, 24 bit, float), FLAC (16, 24 bit), Ogg Vorbis and MP3.
    The decoded samples equal libsndfile's. Its resampler has a softer filter than soxr's: they
    agree to 1e-4 up to three quarters of the lower Nyquist frequency; above that it falls off,
    at 16 kHz by 0.4 dB at 7 kHz and 11 dB at 7.5 kHz.

    Args:
        clips: Files, or records, and their labels.
        sample_rate: Rate of the waveforms, in Hz; that of the records, if `clips` are records.
        crop_seconds: Length of a crop, from 1 s up.
        batch_size: Clips in a batch.
        training: Whether to shuffle and crop at random. Without it, `seed`, `first_epoch`,
            `balance`, `crops` and `augment` have no effect.
        seed: Seed of order and crops, from 0 up.
        first_epoch: Number of the first pass; a run that goes on after `n` passes gives `n`
            and sees the passes it would have seen.
        balance: From 0, every clip once a pass, to 1, rare classes as often as common ones,
            as far as clips that hold both allow.
        crops: `"uniform"`, anywhere in the clip, or `"onset"`.
        augment: Called for each training crop with a waveform `(samples,)` and a
            `numpy.random.Generator` seeded by `(seed, pass, place in the pass)`; returns a
            waveform, which is cut or repeated to the length of the crop. If it has an
            attribute `context` of 1 or more, it is given that many times the crop's length,
            mirrored where the clip ends before.
        decoder: `"soundfile"` (libsndfile and soxr) or `"tfio"`; of no effect on records.
        cache: Whether to decode every clip once, in this call, and keep the waveforms: 4 bytes
            a sample, so 64 kB a second at 16 kHz and 13 GB for 20,000 clips of ten seconds.
            Otherwise every pass decodes again, and memory holds a few clips a thread.
        num_parallel_calls: Files decoded at a time; None lets the machine decide.

    Returns:
        Dataset of `(waveform, labels)`: float32 `(B, samples)`, or `(B, frames, mels)` from
        records of log-mel spectrograms, and a dict of float32 `(B, classes)` by level name.

    Raises:
        AudioError: If a file cannot be used; the message names it.
        HmicError: If an argument is out of range or does not suit the clips, or there are no
            clips.
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
    _check_arguments(
        clips,
        crop_seconds=crop_seconds,
        batch_size=batch_size,
        seed=seed,
        first_epoch=first_epoch,
        balance=balance,
        crops=crops,
        decoder=decoder,
        num_parallel_calls=num_parallel_calls,
    )
    workers = num_parallel_calls or os.cpu_count() or 1
    parallel = num_parallel_calls or tf.data.AUTOTUNE
    augmented = Augmented(augment, seed) if training and augment is not None else None
    if isinstance(clips, PreparedClips):
        batch, shape = _from_records(clips, sample_rate, crop_seconds, augmented)
    else:
        size = round(crop_seconds * sample_rate)
        shape = (size,)
        if decoder == "tfio" and not cache:
            files = GraphFiles(clips.paths, sample_rate, workers)
            batch = _in_graph(files, size, augmented)
        else:
            window = _from_files(clips.paths, sample_rate, decoder, cache, workers)
            batch = _in_python(batch_of(window, size, None, augmented))

    labels = {level: tf.constant(values) for level, values in clips.labels.items()}

    def load(*draw: tf.Tensor) -> tuple[tf.Tensor, dict[str, Any]]:
        drawn = Draw(*draw)
        return tf.ensure_shape(batch(drawn), (None, *shape)), {
            level: tf.ensure_shape(tf.gather(values, drawn.row), (None, values.shape[1]))
            for level, values in labels.items()
        }

    plan = (
        _training_plan(clips, batch_size, seed, balance, crops, crop_seconds)
        if training
        else Plan(len(clips), batch_size)
    )
    return (
        _draws(plan, first_epoch)
        .map(load, num_parallel_calls=parallel, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


@contextmanager
def audio_errors() -> Iterator[None]:
    """Turns TensorFlow's report of what failed within a dataset back into our own error.

    Wrap the loop over, or the `fit` on, a dataset that decodes or augments in each pass in it.

    Raises:
        AudioError: In place of the `tf.errors.OpError` that stems from one, as from a file
            that cannot be decoded.
        RecordError: Likewise, as from a record that has been cut off.
        HmicError: Likewise, as from an `augment` that returns no waveform.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if found := named_failure(error.message):
            raise found from None
        raise


Batch = Callable[[Draw], tf.Tensor]


def _from_records(
    clips: PreparedClips, sample_rate: int, crop_seconds: float, augmented: Augmented | None
) -> tuple[Batch, tuple[int, ...]]:
    """Returns what reads crops from records, and the shape of one."""
    if sample_rate != clips.sample_rate:
        raise HmicError(
            f"`sample_rate` must be that of the records in {clips.folder}, "
            f"{clips.sample_rate} Hz. Received: {sample_rate}"
        )
    size = round(crop_seconds * sample_rate)
    if clips.features == "waveform":
        window = from_records(clips, sample_rate)
        return _in_python(batch_of(window, size, None, augmented)), (size,)
    if augmented is not None:
        raise HmicError(
            f"`augment` changes waveforms, but {clips.folder} holds log-mel spectrograms. "
            "Prepare waveforms, or leave it out."
        )
    hop, mels = clips.manifest["audio"]["hop_length"], clips.manifest["audio"]["n_mels"]
    frames = 1 + size // hop
    window = from_records(clips, sample_rate / hop)
    return _in_python(batch_of(window, frames, mels, None)), (frames, mels)


def _from_files(
    paths: tuple[Path, ...], sample_rate: int, decoder: str, cache: bool, workers: int
) -> Window:
    """Returns what cuts crops from files, decoded now or in each pass."""

    def decode(path: Path) -> np.ndarray:
        return load_audio(path, sample_rate, allow_silence=False)

    if not cache:
        for_all(read_header, paths, workers)
        return from_waveforms(lambda row: decode(paths[row]), sample_rate)
    if decoder == "tfio":
        waveforms = GraphFiles(paths, sample_rate, workers).decode_all(workers)
    else:
        waveforms = for_all(decode, paths, workers)
    return from_waveforms(lambda row: waveforms[row], sample_rate)


def _in_python(crops: Callable[[Draw], np.ndarray]) -> Batch:
    return lambda draw: tf.numpy_function(lambda *one: crops(Draw(*one)), draw, tf.float32)


def _in_graph(files: GraphFiles, size: int, augmented: Augmented | None) -> Batch:
    if augmented is None:
        return lambda draw: files.crops(draw, size, size)
    wanted = augmented.context_size(size)

    def change(waveforms: np.ndarray, epochs: np.ndarray, ordinals: np.ndarray) -> np.ndarray:
        changed = [
            augmented(waveform, size, int(epoch), int(ordinal))
            for waveform, epoch, ordinal in zip(waveforms, epochs, ordinals, strict=True)
        ]
        return np.stack(changed).astype(np.float32)

    def batch(draw: Draw) -> tf.Tensor:
        waveforms = files.crops(draw, size, wanted)
        return tf.numpy_function(change, [waveforms, draw.epoch, draw.ordinal], tf.float32)

    return batch


def _training_plan(
    clips: LabelledClips | PreparedClips,
    batch_size: int,
    seed: int,
    balance: float,
    crops: str,
    crop_seconds: float,
) -> Plan:
    finest = clips.labels[clips.taxonomy.levels[0]]
    weights = clip_weights(finest, balance) if balance > 0 else None
    onsets = None
    if crops == "onset":
        events = events_of(clips.events)
        sounding = np.zeros_like(finest)
        for row, notes in zip(sounding, events, strict=True):
            row[notes[:, 0].astype(np.int64)] = 1.0
        onsets = Onsets(events, class_weights(sounding, balance), crop_seconds)
    return Plan(len(clips), batch_size, seed, weights, onsets)


def _draws(plan: Plan, first_epoch: int) -> tf.data.Dataset:
    """Yields the plan's batches; each pass over the dataset is the next one of the plan."""
    passes = itertools.count(first_epoch)
    draws = tf.data.Dataset.from_generator(
        lambda: (tuple(draw) for draw in plan.batches(next(passes))),
        output_signature=tuple(_DRAW),
    )
    # A generator hides its length, which progress bars and `steps_per_epoch` ask for.
    return draws.apply(
        tf.data.experimental.assert_cardinality(math.ceil(plan.clips / plan.batch_size))
    )


def _check_arguments(
    clips: LabelledClips | PreparedClips,
    *,
    crop_seconds: float,
    batch_size: int,
    seed: int,
    first_epoch: int,
    balance: float,
    crops: str,
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
        ("first_epoch", "an integer from 0 up", first_epoch, whole(first_epoch, 0)),
        ("balance", "a number from 0 to 1", balance, 0 <= balance <= 1),
        ("crops", f"one of {', '.join(CROPS)}", crops, crops in CROPS),
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
