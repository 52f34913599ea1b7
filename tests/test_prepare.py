"""Tests of `hmic_keras.data.prepare` and `hmic_keras.data.prepared`."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from audio_files import bell, write, write_float

from hmic_keras.config import AudioConfig
from hmic_keras.data import (
    PreparedClips,
    load_audio,
    make_dataset,
    open_clips,
    prepare_clips,
    read_clips,
)
from hmic_keras.data._features import log_mel
from hmic_keras.data._tfrecord import read_records
from hmic_keras.data.events import write_events
from hmic_keras.data.records import decode
from hmic_keras.data.sources.folder import LabelledClips, write_labels
from hmic_keras.errors import AudioError, HmicError, LabelError, RecordError
from hmic_keras.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["trumpet"]})
RATE = 1000
AUDIO = AudioConfig(sample_rate=RATE, fmax=500.0)
MELS = AudioConfig(
    sample_rate=4000, n_fft=256, window_length=200, hop_length=80, n_mels=12, fmax=2000.0
)


def make_corpus(folder, count=7, events=True):
    """Writes `count` ramps of 1.0 s and more, `labels.csv` and `events.csv`."""
    folder.mkdir(exist_ok=True)
    names = [f"sub/{i}.wav" if i % 2 else f"{i}.wav" for i in range(count)]
    (folder / "sub").mkdir(exist_ok=True)
    for i, name in enumerate(names):
        samples = (1 + np.arange(RATE + 10 * i) + 37 * i) % 2000 / 2048
        write_float(folder / name, samples, RATE)
    random = np.random.default_rng(0)
    labels = random.choice([-1.0, 0.0, 0.25, 1.0], (count, 3)).astype(np.float32)
    labels[:, 2] = 1
    write_labels(folder / "labels.csv", names, TAXONOMY, {"fine": labels})
    if events:
        notes = {name: [(2, 0.01 * i, 0.5)] * (i % 3) for i, name in enumerate(names)}
        write_events(folder / "events.csv", TAXONOMY, notes)
    return read_clips(folder / "labels.csv", TAXONOMY)


@pytest.fixture
def clips(tmp_path):
    return make_corpus(tmp_path / "corpus")


def run(clips, out, **options):
    return prepare_clips(
        clips, out, **{"audio": AUDIO, "clips_per_shard": 3, "processes": 1, **options}
    )


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_what_comes_back_is_what_went_in(clips, tmp_path):
    prepared = run(clips, tmp_path / "out")
    assert prepared.ids == tuple(f"sub/{i}.wav" if i % 2 else f"{i}.wav" for i in range(7))
    assert (len(prepared), prepared.features, prepared.sample_rate) == (7, "waveform", RATE)
    assert prepared.taxonomy == TAXONOMY
    for level, values in clips.labels.items():
        np.testing.assert_array_equal(prepared.labels[level], values)
    for mine, theirs in zip(prepared.events, clips.events, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for i, path in enumerate(clips.paths):
        whole = load_audio(path, RATE)
        np.testing.assert_array_equal(prepared.read(i), whole)
        np.testing.assert_array_equal(prepared.read(i, 100, 230), whole[100:230])
        np.testing.assert_array_equal(prepared.read(i, 990, 5000), whole[990:])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["clips"] == 7
    assert manifest["skipped"] == 0
    assert manifest["seconds"] == pytest.approx(7.2)
    counts = manifest["class_counts"]["fine"]["violin"]
    column = clips.labels["fine"][:, 0]
    assert counts == {"present": (column > 0.5).sum(), "observed": (column >= 0).sum()}
    assert [shard["clips"] for shard in manifest["shards"]] == [3, 3, 1]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "index.npz",
        "manifest.json",
        *(f"shard-0000{i}-of-00003.tfrecord" for i in range(3)),
    ]


def test_others_read_the_records_in_order(clips, tmp_path):
    run(clips, tmp_path / "out")
    files = sorted(map(str, (tmp_path / "out").glob("*.tfrecord")))
    for i, data in enumerate(tf.data.TFRecordDataset(files)):
        record = decode(data.numpy())
        assert clips.paths[i].as_posix().endswith(f"corpus/{record.id}")
        np.testing.assert_array_equal(record.values, load_audio(clips.paths[i], RATE))
        np.testing.assert_array_equal(record.events, clips.events[i])
        for level, values in clips.labels.items():
            np.testing.assert_array_equal(record.labels[level], values[i])
    assert i == 6


def test_the_same_bytes_from_one_process_and_two_and_another_place(clips, tmp_path):
    run(clips, tmp_path / "one")
    run(clips, tmp_path / "two", processes=2)
    run(make_corpus(tmp_path / "elsewhere"), tmp_path / "three")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_a_second_run_does_nothing(clips, tmp_path):
    out = tmp_path / "out"
    run(clips, out)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    seen = []
    again = run(clips, out, progress=lambda *done: seen.append(done), processes=2)
    assert len(again) == 7
    assert seen == []
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_progress_counts_clips(clips, tmp_path):
    seen = []
    run(clips, tmp_path / "out", progress=lambda *done: seen.append(done))
    assert seen == [(0, 7), (3, 7), (6, 7), (7, 7)]


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(tmp_path):
    clips = make_corpus(tmp_path / "corpus", 200, events=False)
    out = tmp_path / "out"
    process = subprocess.Popen(
        shlex.split(
            f"{sys.executable} -m hmic_keras.cli prepare --data {tmp_path}/corpus/labels.csv "
            f"--out {out} --taxonomy {taxonomy_file(tmp_path)} --sample-rate {RATE} "
            "--clips-per-shard 1 --processes 2"
        ),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (out / "unfinished" / "00005.json").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The workers, children of nobody now, must not go on writing.
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.01)
    else:
        pytest.fail("the workers are still there")
    assert not (out / "manifest.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.tfrecord")}
    assert 2 < len(kept) < 200
    with pytest.raises(RecordError, match=r"holds no manifest\.json"):
        PreparedClips.open(out)
    options = {"audio": AudioConfig(sample_rate=RATE, fmax=500.0), "clips_per_shard": 1}
    run(clips, out, **options)
    finished = [path for path, time in kept.items() if path.stat().st_mtime_ns == time]
    assert len(finished) >= len(kept) - 2
    run(clips, tmp_path / "fresh", **options)
    assert contents(out) == contents(tmp_path / "fresh")


def taxonomy_file(folder):
    path = folder / "band.yaml"
    path.write_text("strings: [violin, cello]\nbrass: [trumpet]\n")
    return path


class Stopped(Exception):
    """Stands for whatever ends a run."""


def stop_after(clips):
    def progress(done, total):
        if done >= clips:
            raise Stopped

    return progress


def test_a_stopped_run_keeps_what_is_finished_and_makes_anew_what_changed(clips, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        run(clips, out, progress=stop_after(6))
    first, second = sorted(out.glob("*.tfrecord"))
    kept = first.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:-1])
    seen = []
    run(clips, out, progress=lambda *done: seen.append(done))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert first.stat().st_mtime_ns == kept
    with pytest.raises(Stopped):
        run(clips, tmp_path / "other", progress=stop_after(6))
    write_float(clips.paths[4], np.full(3000, 0.5), RATE)
    seen.clear()
    prepared = run(clips, tmp_path / "other", progress=lambda *done: seen.append(done))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    np.testing.assert_array_equal(prepared.read(4), np.full(3000, 0.5, np.float32))


# Bad files


@pytest.fixture
def spoilt(clips):
    """Of seven clips, one is silent, one is no audio and one has disappeared."""
    write_float(clips.paths[1], np.zeros(2000), RATE)
    clips.paths[3].write_text("not audio")
    clips.paths[4].unlink()
    return clips


def test_a_bad_file_ends_the_run_and_mended_it_goes_on(spoilt, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(AudioError, match=r"^.*sub/1\.wav: is silent"):
        run(spoilt, out)
    assert not (out / "manifest.json").exists()
    for i in (1, 3, 4):
        write_float(spoilt.paths[i], np.full(2000, 0.25), RATE)
    assert len(run(spoilt, out)) == 7


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_files_are_skipped_on_request_and_listed(spoilt, tmp_path, processes):
    out = tmp_path / "out"
    prepared = run(spoilt, out, on_error="skip", processes=processes)
    good = [0, 2, 5, 6]
    assert prepared.ids == ("0.wav", "2.wav", "sub/5.wav", "6.wav")
    np.testing.assert_array_equal(prepared.labels["fine"], spoilt.labels["fine"][good])
    assert [len(notes) for notes in prepared.events] == [i % 3 for i in good]
    for i, row in enumerate(good):
        np.testing.assert_array_equal(prepared.read(i), load_audio(spoilt.paths[row], RATE))
    with (out / "skipped.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == ["sub/1.wav", "sub/3.wav", "4.wav"]
    reasons = ("is silent", "not audio that can be decoded", "no such file")
    for row, reason in zip(rows, reasons, strict=True):
        assert row["reason"].startswith(f"{row['path']}: {reason}")
    assert prepared.manifest["skipped"] == 3
    # The same again does nothing; to insist on every file is refused.
    assert len(run(spoilt, out, on_error="skip")) == 4
    with pytest.raises(AudioError, match=r"lacks 3 files .*skipped\.csv"):
        run(spoilt, out)


def test_what_was_skipped_before_is_reported_when_asked(spoilt, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        run(spoilt, out, on_error="skip", progress=stop_after(6))
    with pytest.raises(AudioError, match="is silent"):
        run(spoilt, out)


def test_nothing_usable(spoilt, tmp_path):
    with pytest.raises(AudioError, match=r"None of the 3 files can be used: sub/1\.wav: is s"):
        run(spoilt.subset([1, 3, 4]), tmp_path / "out", on_error="skip")


# Folders and arguments


def test_a_folder_prepared_otherwise_is_refused(clips, tmp_path):
    out = tmp_path / "out"
    run(clips, out)
    other = LabelledClips(TAXONOMY, clips.paths, {"fine": np.ones((7, 3))})
    for given, options, differing in (
        (clips, {"clips_per_shard": 4}, "clips_per_shard"),
        (clips, {"audio": AudioConfig(sample_rate=2000, fmax=500.0)}, "audio"),
        (clips, {"features": "log_mel", "audio": MELS}, "audio, features"),
        (clips.subset(range(6)), {}, "events, files, labels"),
        (other, {}, "events, labels"),
    ):
        with pytest.raises(RecordError, match=f"was prepared with other {differing}\\."):
            run(given, out, **options)
    write_float(clips.paths[0], np.full(3000, 0.5), RATE)
    with pytest.raises(RecordError, match=r"was prepared with other files\."):
        run(clips, out)
    with pytest.raises(Stopped):
        run(clips, tmp_path / "half", progress=stop_after(3))
    with pytest.raises(RecordError, match=r"is being prepared with other clips_per_shard\."):
        run(clips, tmp_path / "half", clips_per_shard=2)
    for name in ("00000.json", "plan.json"):
        (tmp_path / "half" / "unfinished" / name).write_text("{")
        with pytest.raises(RecordError, match=f"{name}: is damaged"):
            run(clips, tmp_path / "half")


def test_somebody_elses_folder_stays_as_it_is(clips, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "final.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("thesis", "file"):
        with pytest.raises(RecordError, match="exists and is no folder of records"):
            run(clips, tmp_path / name)
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["final.txt"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"features": "cqt"}, "features"),
        ({"clips_per_shard": 0}, "clips_per_shard"),
        ({"processes": 1.5}, "processes"),
        ({"on_error": "ignore"}, "on_error"),
    ],
)
def test_arguments_out_of_range(clips, tmp_path, options, name):
    with pytest.raises(HmicError, match=f"`{name}` must be .*Received: "):
        run(clips, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_no_clips(clips, tmp_path):
    with pytest.raises(HmicError, match="at least one clip"):
        run(clips.subset([]), tmp_path / "out")
    with pytest.raises(HmicError, match=r"LabelledClips\. Received: 'str'"):
        run("labels.csv", tmp_path / "out")


# Opening


def test_subset_and_split_are_those_of_the_table(clips, tmp_path):
    prepared = run(clips, tmp_path / "out")
    part = prepared.subset([5, 0]).subset([1, 0])
    assert part.ids == ("0.wav", "sub/5.wav")
    np.testing.assert_array_equal(part.read(1), load_audio(clips.paths[5], RATE))
    np.testing.assert_array_equal(part.labels["fine"], clips.labels["fine"][[0, 5]])
    assert [len(notes) for notes in part.events] == [0, 2]
    for mine, theirs in zip(prepared.split(0.4, 3), clips.split(0.4, 3), strict=True):
        assert [name.split("/")[-1] for name in mine.ids] == [p.name for p in theirs.paths]


def test_without_notes_there_are_no_events(tmp_path):
    plain = make_corpus(tmp_path / "plain", 3, events=False)
    assert run(plain, tmp_path / "out").events is None
    assert run(plain, tmp_path / "out").subset([1]).events is None


def test_open_clips_takes_a_table_or_a_folder(clips, tmp_path):
    out = tmp_path / "out"
    run(clips, out)
    table = tmp_path / "corpus" / "labels.csv"
    assert open_clips(table, TAXONOMY).paths == clips.paths
    assert open_clips(out).ids == open_clips(out, TAXONOMY).ids
    with pytest.raises(LabelError, match="needs a taxonomy"):
        open_clips(table)
    with pytest.raises(RecordError, match="was prepared with taxonomy"):
        open_clips(out, Taxonomy.from_dict({"strings": ["violin"], "brass": ["trumpet"]}))
    with pytest.raises(RecordError, match=r"holds no manifest\.json"):
        open_clips(tmp_path / "corpus", TAXONOMY)


def change_manifest(**changes):
    def change(folder):
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


SHARD = "shard-00001-of-00003.tfrecord"


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda f: (f / "manifest.json").unlink(), "holds no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json: is damaged"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json: is damaged"),
        (lambda f: (f / "manifest.json").write_bytes(b"\xff"), "manifest.json: is damaged"),
        (change_manifest(format="x"), r"is damaged or no manifest .*format"),
        (change_manifest(schema=9), "has schema 9; this version reads schema 1"),
        (change_manifest(taxonomy={"a": ["b"]}), "taxonomy_hash"),
        (change_manifest(taxonomy={}), "is damaged"),
        (lambda f: (f / "index.npz").unlink(), "index.npz: is missing"),
        (lambda f: (f / "index.npz").write_bytes(b"PK"), "index.npz: is damaged"),
        (lambda f: (f / SHARD).unlink(), f"{SHARD}: is missing"),
        (lambda f: (f / SHARD).write_bytes(b"short"), f"{SHARD}: has 5 bytes"),
    ],
)
def test_a_damaged_folder_is_refused(clips, tmp_path, damage, found):
    run(clips, tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(RecordError, match=found):
        PreparedClips.open(tmp_path / "out")


def test_verify_finds_one_wrong_byte_and_a_read_what_was_cut_off(clips, tmp_path):
    prepared = run(clips, tmp_path / "out")
    prepared.verify()
    shard = tmp_path / "out" / SHARD
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    damaged = PreparedClips.open(tmp_path / "out")
    with pytest.raises(RecordError, match=f"damaged: {SHARD}. Copy"):
        damaged.verify()
    shard.write_bytes(data[:50])
    with pytest.raises(RecordError, match=rf"{SHARD}: ends within clip 'sub/3\.wav'"):
        damaged.read(3)
    shard.unlink()
    with pytest.raises(RecordError, match=f"{SHARD}: cannot be read"):
        damaged.read(3)


# Log-mel spectrograms


def test_a_long_spectrogram_is_computed_in_blocks_as_if_at_once(monkeypatch):
    from hmic_keras.layers import LogMelSpectrogram

    waveform = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    layer = LogMelSpectrogram(**MELS.to_dict())
    for samples in (100, 128, 129, 777, 800, 1599, 1600, 1601, 2000, 2401, 4000):
        monkeypatch.setattr("hmic_keras.data._features._BLOCK_FRAMES", 10)
        found = log_mel(waveform[:samples], MELS)
        whole = np.resize(waveform[:samples], max(samples, 129))
        np.testing.assert_allclose(found, layer(whole[np.newaxis])[0], atol=2e-5)


@pytest.mark.slow
def test_log_mel_records_hold_what_the_layer_computes(tmp_path):
    paths = [write(tmp_path / f"{i}.flac", bell(1.0 + i, 8000), 8000) for i in range(2)]
    clips = LabelledClips(TAXONOMY, tuple(paths), {"fine": [[1, 0, 0], [0, 1, -1]]})
    prepared = run(clips, tmp_path / "out", features="log_mel", audio=MELS)
    assert prepared.features == "log_mel"
    assert prepared.lengths.tolist() == [51, 101]
    assert prepared.manifest["seconds"] == pytest.approx(3.0, abs=0.05)
    for i, path in enumerate(paths):
        expected = log_mel(load_audio(path, 4000), MELS)
        np.testing.assert_allclose(prepared.read(i), expected, atol=0.005)
        np.testing.assert_array_equal(prepared.read(i, 7, 20), prepared.read(i)[7:20])
    with (tmp_path / "out" / "shard-00000-of-00001.tfrecord").open("rb") as stream:
        for i, data in enumerate(read_records(stream, "shard")):
            np.testing.assert_array_equal(decode(data).values, prepared.read(i))
    # As from the same files as waveforms: as many frames as the layer makes of the crop.
    crops, _ = next(iter(make_dataset(prepared, sample_rate=4000, crop_seconds=1.5)))
    assert crops.shape == (2, 76, 12)
    np.testing.assert_array_equal(crops[1], prepared.read(1)[13:89])
    np.testing.assert_array_equal(crops[0], np.resize(prepared.read(0), (76, 12)))
    with pytest.raises(HmicError, match="`augment` changes waveforms"):
        make_dataset(prepared, sample_rate=4000, training=True, augment=lambda x, random: x)


# The command


def test_the_command_prepares_and_says_what_it_did(spoilt, tmp_path, hmic):
    common = ("prepare", "--data", tmp_path / "corpus" / "labels.csv", "--out", tmp_path / "o")
    common += ("--taxonomy", taxonomy_file(tmp_path), "--sample-rate", RATE, "--processes", 1)
    code, _, err = hmic(*common)
    assert code == 2
    assert "1 of 7 audio files are missing" in err
    write_float(spoilt.paths[4], np.full(2000, 0.5), RATE)
    code, _, err = hmic(*common)
    assert code == 2
    assert "sub/1.wav: is silent" in err
    code, out, _ = hmic(*common, "--skip-bad")
    assert code == 0
    assert out.splitlines()[0].startswith("5 clips, ")
    assert "2 files skipped; see " in out
    code, out, _ = hmic(*common, "--skip-bad", "--json")
    found = json.loads(out)
    assert (found["clips"], found["skipped"], found["features"]) == (5, 2, "waveform")
    assert found["out"] == str(tmp_path / "o")
    assert len(open_clips(tmp_path / "o")) == 5
