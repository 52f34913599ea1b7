"""The one schema of a record: a clip's sound, labels and notes as a `tf.train.Example`.

========================  ========  =========================================================
feature                   kind      content
========================  ========  =========================================================
`schema`                  int64     1, the version of this table
`id`                      bytes     path of the source file below the corpus's root, UTF-8
`sample_rate`             int64     in Hz
`shape`                   int64     `(samples,)` or `(frames, mels)`
`labels/<level>`          float     one a class, closed over the hierarchy; -1 unobserved
`events/class`            int64     finest class of each labelled note; absent without events
`events/start`            float     its start, in seconds
`events/end`              float     its end, in seconds
`waveform` or `log_mel`   bytes     16-bit PCM, or float16 row by row; little-endian
========================  ========  =========================================================

Anybody with TensorFlow reads them::

    dataset = tf.data.TFRecordDataset(sorted(glob.glob("records/*.tfrecord")))
    features = {
        "waveform": tf.io.FixedLenFeature((), tf.string),
        "labels/fine": tf.io.FixedLenFeature((20,), tf.float32),
    }
    example = tf.io.parse_single_example(next(iter(dataset)), features)
    waveform = tf.cast(tf.io.decode_raw(example["waveform"], tf.int16), tf.float32) / 32768

The sound comes last in the message, so its bytes are the last of the record: a reader that
knows where a record lies cuts out a stretch with one small read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import RecordError
from ._tfrecord import Value, decode_example, encode_example

SCHEMA = 1
Features = Literal["waveform", "log_mel"]
STORED: Mapping[str, np.dtype] = {"waveform": np.dtype("<i2"), "log_mel": np.dtype("<f2")}
"""What a sample of each kind of feature is stored as."""
_FULL_SCALE = 32768.0


@dataclass(frozen=True, eq=False)
class Record:
    """One clip, as a record holds it.

    Attributes:
        id: Path of the source file below the corpus's root, with forward slashes.
        features: `"waveform"` or `"log_mel"`.
        sample_rate: In Hz.
        values: Float32 waveform `(samples,)` in [-1, 1] or log-mel `(frames, mels)`.
        labels: Level name to float32 `(classes,)`.
        events: Float32 `(notes, 3)` as in `LabelledClips`, or None.
    """

    id: str
    features: Features
    sample_rate: int
    values: np.ndarray
    labels: Mapping[str, np.ndarray]
    events: np.ndarray | None = None


def encode(record: Record) -> bytes:
    """Encodes a record as a serialised `tf.train.Example`.

    A waveform is rounded to 16 bits; a log-mel spectrogram to float16, which leaves values
    between -16 and 16 within 0.004.

    Args:
        record: The record.

    Raises:
        RecordError: If the values do not have the shape of their kind or the record exceeds
            2 GiB, which 18 hours at 16 kHz do.

    Example:
        >>> labels = {"fine": np.float32([1, -1])}
        >>> record = Record("a.wav", "waveform", 16000, np.float32([0, 0.5, -1]), labels)
        >>> decode(encode(record)).values.tolist()
        [0.0, 0.5, -1.0]
    """
    stored = STORED.get(record.features)
    if stored is None or record.values.ndim != 1 + (record.features == "log_mel"):
        raise RecordError(
            f"{record.id}: a record holds a waveform (samples,) or a log_mel (frames, mels). "
            f"Received: {record.features!r} of shape {record.values.shape}"
        )
    values: dict[str, Value] = {
        "schema": np.array([SCHEMA]),
        "id": record.id.encode(),
        "sample_rate": np.array([record.sample_rate]),
        "shape": np.array(record.values.shape),
    }
    for level, labels in record.labels.items():
        values[f"labels/{level}"] = np.asarray(labels, np.float32)
    if record.events is not None:
        values["events/class"] = record.events[:, 0].astype(np.int64)
        values["events/start"] = record.events[:, 1].astype(np.float32)
        values["events/end"] = record.events[:, 2].astype(np.float32)
    values[record.features] = to_stored(record.values, record.features).tobytes()
    try:
        return encode_example(values)
    except RecordError as error:
        raise RecordError(f"{record.id}: {error}") from error


def decode(data: bytes) -> Record:
    """Decodes a serialised `tf.train.Example` of this schema.

    Args:
        data: What `encode` returned.

    Raises:
        RecordError: If the data are no such message, or of another schema.
    """
    values = decode_example(data)
    try:
        (schema,) = values["schema"]
        if schema != SCHEMA:
            raise RecordError(
                f"The record has schema {schema}; this version reads schema {SCHEMA}. Prepare "
                "the corpus again."
            )
        features: Features = "log_mel" if "log_mel" in values else "waveform"
        stored = np.frombuffer(bytes(values[features]), STORED[features])
        events = None
        if "events/class" in values:
            columns = ("events/class", "events/start", "events/end")
            events = np.stack([np.asarray(values[c], np.float32) for c in columns], axis=1)
        return Record(
            id=bytes(values["id"]).decode(),
            features=features,
            sample_rate=int(np.asarray(values["sample_rate"])[0]),
            values=from_stored(stored).reshape(np.asarray(values["shape"])),
            labels={
                name.removeprefix("labels/"): np.asarray(labels)
                for name, labels in values.items()
                if name.startswith("labels/")
            },
            events=events,
        )
    except (KeyError, IndexError, TypeError, UnicodeDecodeError) as error:
        raise RecordError(
            f"The record lacks a feature of schema {SCHEMA} or holds one of another type: "
            f"{error}. Prepare the corpus again."
        ) from error
    except ValueError as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(
            f"A feature of the record has another size than the schema says ({error}). Prepare "
            "the corpus again."
        ) from error


def to_stored(values: np.ndarray, features: Features) -> np.ndarray:
    """Turns float32 values into the type that records store."""
    if features == "waveform":
        values = np.clip(np.rint(values * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    return np.ascontiguousarray(values, STORED[features])


def from_stored(stored: np.ndarray) -> np.ndarray:
    """Turns stored values back into float32."""
    if stored.dtype.kind == "i":
        return np.multiply(stored, np.float32(1 / _FULL_SCALE), dtype=np.float32)
    return stored.astype(np.float32)
