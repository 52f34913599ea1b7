"""Tests of `hmic_keras.data.records` and of the formats beneath it."""

import io
from contextlib import suppress

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmic_keras.data import records
from hmic_keras.data._tfrecord import (
    decode_example,
    encode_example,
    read_records,
    write_record,
)
from hmic_keras.data.records import Record, decode, encode
from hmic_keras.errors import RecordError

INTEGERS = hnp.arrays(np.int64, st.integers(0, 4))
FLOATS = hnp.arrays(
    np.float32, st.integers(0, 4), elements=st.floats(-1e6, 1e6, width=32, allow_nan=False)
)
FEATURES = st.dictionaries(
    st.text(max_size=6), st.one_of(st.binary(max_size=300), INTEGERS, FLOATS), max_size=5
)


def parsed(data):
    """The features of an Example, as TensorFlow's own protocol buffers read them."""
    found = {}
    for name, feature in tf.train.Example.FromString(data).features.feature.items():
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value)
        found[name] = values[0] if kind == "bytes_list" else values
    return found


@given(FEATURES)
@settings(max_examples=60, deadline=None)
def test_examples_are_what_tensorflow_reads_and_writes(features):
    encoded = encode_example(features)
    seen = parsed(encoded)
    assert seen.keys() == features.keys()
    theirs = tf.train.Example.FromString(encoded).SerializeToString()
    for decoded in (decode_example(encoded), decode_example(theirs)):
        assert decoded.keys() == features.keys()
        for name, value in features.items():
            if isinstance(value, bytes):
                assert decoded[name] == seen[name] == value
            else:
                np.testing.assert_array_equal(decoded[name], value)
                assert decoded[name].dtype == value.dtype
                np.testing.assert_array_equal(np.array(seen[name], value.dtype), value)


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_decoded_or_refused(data):
    with suppress(RecordError):
        decode_example(data)
    with pytest.raises(RecordError, match="Prepare"):
        decode(data)


def test_files_are_what_tensorflow_reads_and_writes(tmp_path):
    items = [b"", b"a", bytes(range(256)) * 500]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with ours.open("wb") as stream:
        sizes = [write_record(stream, item) for item in items]
    assert sum(sizes) == ours.stat().st_size
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for item in items:
            writer.write(item)
    assert ours.read_bytes() == theirs.read_bytes()
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(ours))] == items
    with theirs.open("rb") as stream:
        assert list(read_records(stream, "theirs")) == items


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=40, deadline=None)
def test_one_wrong_byte_in_a_file_is_found(place, flip):
    stream = io.BytesIO()
    for item in (b"one", b"twenty-two"):
        write_record(stream, item)
    data = bytearray(stream.getvalue())
    data[place % len(data)] ^= flip
    with pytest.raises(RecordError, match=r"^shard: "):
        list(read_records(io.BytesIO(data), "shard"))
    cut = stream.getvalue()[: 1 + place % (len(data) - 1)]
    if len(cut) != 19:  # where the first record ends
        with pytest.raises(RecordError, match=r"^shard: "):
            list(read_records(io.BytesIO(cut), "shard"))


LABELS = hnp.arrays(np.float32, 3, elements=st.sampled_from([-1.0, 0.0, 0.25, 1.0]))
EVENTS = st.none() | hnp.arrays(
    np.float32, st.tuples(st.integers(0, 4), st.just(3)), elements=st.integers(0, 50)
)


@st.composite
def any_record(draw):
    features = draw(st.sampled_from(["waveform", "log_mel"]))
    if features == "waveform":
        stored = draw(hnp.arrays(np.int16, st.integers(0, 50)))
    else:
        shape = st.tuples(st.integers(0, 4), st.just(5))
        finite = st.floats(-20, 20, width=16)
        stored = draw(hnp.arrays(np.float16, shape, elements=finite))
    return Record(
        draw(st.text(st.characters(codec="utf-8"), max_size=20)),
        features,
        draw(st.integers(1000, 48000)),
        records.from_stored(stored),
        {"fine": draw(LABELS), "coarse": draw(LABELS)[:2]},
        draw(EVENTS),
    )


@given(any_record())
@settings(max_examples=60, deadline=None)
def test_a_record_survives(record):
    data = encode(record)
    again = decode(data)
    assert (again.id, again.features, again.sample_rate) == (
        record.id,
        record.features,
        record.sample_rate,
    )
    np.testing.assert_array_equal(again.values, record.values)
    assert again.values.dtype == np.float32
    assert list(again.labels) == ["fine", "coarse"]
    for level, labels in record.labels.items():
        np.testing.assert_array_equal(again.labels[level], labels)
    if record.events is None:
        assert again.events is None
    else:
        np.testing.assert_array_equal(again.events, record.events)
    stored = records.to_stored(record.values, record.features).tobytes()
    assert data.endswith(stored)


@given(hnp.arrays(np.float32, 20, elements=st.floats(-1, 1, width=32)))
@settings(max_examples=40, deadline=None)
def test_a_waveform_is_kept_to_sixteen_bits_and_a_spectrogram_to_half_precision(values):
    again = records.from_stored(records.to_stored(values, "waveform"))
    # Full scale itself, +1, has no 16-bit value: the highest is a step below.
    expected = np.minimum(values, 32767 / 32768)
    assert np.abs(again - expected).max() <= 0.5 / 32768
    again = records.from_stored(records.to_stored(16 * values, "log_mel"))
    assert np.abs(again - 16 * values).max() <= 0.004


def test_the_documented_recipe_of_tensorflow_reads_a_record():
    wave = np.float32([0.5, -0.25, 0])
    events = np.float32([[1, 0.5, 2]])
    data = encode(Record("é/a.wav", "waveform", 8000, wave, {"fine": np.ones(20)}, events))
    example = tf.io.parse_single_example(
        data,
        {
            "waveform": tf.io.FixedLenFeature((), tf.string),
            "id": tf.io.FixedLenFeature((), tf.string),
            "labels/fine": tf.io.FixedLenFeature((20,), tf.float32),
            "events/start": tf.io.VarLenFeature(tf.float32),
            "schema": tf.io.FixedLenFeature((), tf.int64),
        },
    )
    decoded = tf.cast(tf.io.decode_raw(example["waveform"], tf.int16), tf.float32) / 32768
    np.testing.assert_array_equal(decoded, wave)
    assert example["id"].numpy().decode() == "é/a.wav"
    assert example["schema"] == 1
    np.testing.assert_array_equal(example["events/start"].values, [0.5])


def test_what_does_not_fit_the_schema_is_refused():
    with pytest.raises(RecordError, match=r"^a\.wav: a record holds .*\(2, 2\)"):
        encode(Record("a.wav", "waveform", 8000, np.zeros((2, 2)), {}))
    with pytest.raises(RecordError, match=r"^a\.wav: .*'cqt'"):
        encode(Record("a.wav", "cqt", 8000, np.zeros(2), {}))
    good = decode_example(encode(Record("a", "waveform", 8000, np.zeros(2, "f4"), {})))
    for name, value, found in (
        ("schema", np.array([2]), "schema 2"),
        ("schema", b"1", "schema 49"),
        ("shape", np.array([3]), "another size"),
        ("sample_rate", np.array([], np.int64), "another type"),
        ("id", b"\xff", "another type"),
        ("waveform", b"123", "another size"),
    ):
        with pytest.raises(RecordError, match=found):
            decode(encode_example({**good, name: value}))
    del good["waveform"]
    with pytest.raises(RecordError, match=r"lacks a feature of schema 1.*waveform"):
        decode(encode_example(good))
