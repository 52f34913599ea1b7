"""Tests of the packaged demo corpus and of `hmic_keras.data.sources.demo`."""

import csv
import hashlib
import json
from collections import defaultdict

import numpy as np
import pytest
import soundfile

import hmic_keras.data.sources.demo as demo
from hmic_keras.errors import HmicError, LabelError
from hmic_keras.taxonomy import Taxonomy

OPENMIC = Taxonomy.load("openmic")
SPLITS = ("train", "test")
SIZES = {"train": 410, "test": 100}
RATE, FRAMES = 16_000, 48_000


def folder(split):
    return demo.demo_clips(split).paths[0].parent.parent


def manifest(split):
    return json.loads((folder(split) / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def audio():
    return {
        split: np.stack([soundfile.read(p, dtype="float32")[0] for p in clips.paths])
        for split, clips in ((split, demo.demo_clips(split)) for split in SPLITS)
    }


def test_unknown_split_and_taxonomy():
    with pytest.raises(HmicError, match=r"split must be .*Received: 'valid'"):
        demo.demo_clips("valid")
    with pytest.raises(LabelError, match="accordion"):
        demo.demo_clips("test", Taxonomy.from_dict({"brass": ["trumpet"]}))


def test_size_on_disk():
    files = [path for path in folder("train").parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 6_000_000


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_complete_sparse_and_balanced(split):
    clips = demo.demo_clips(split)
    fine = clips.labels["fine"]
    assert fine.shape == (SIZES[split], 20)
    assert set(np.unique(fine)) == {0.0, 1.0}
    assert (clips.labels["coarse"].max(axis=1) == 1).all()
    counts = fine.sum(axis=0)
    assert counts.max() <= 1.2 * counts.min()
    assert 1.8 < fine.sum(axis=1).mean() < 2.4
    assert set(fine.sum(axis=1)) == {1.0, 2.0, 3.0, 4.0}


@pytest.mark.parametrize("split", SPLITS)
def test_tables_match_the_manifest(split):
    told = manifest(split)
    assert told["taxonomy"]["hash"] == OPENMIC.hash
    assert told["unobserved"] == []
    for name in ("labels.csv", "activity.csv"):
        digest = hashlib.sha256((folder(split) / name).read_bytes()).hexdigest()
        assert told["sha256"][name] == digest
    fine = demo.demo_clips(split).labels["fine"]
    assert list(told["clips_per_class"].values()) == fine.sum(axis=0).tolist()


@pytest.mark.parametrize("split", SPLITS)
def test_every_labelled_class_sounds(split):
    clips = demo.demo_clips(split)
    heard = defaultdict(lambda: defaultdict(float))
    with (folder(split) / "activity.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            onset, offset = float(row["onset"]), float(row["offset"])
            assert 0 <= onset < offset <= 3.0
            heard[row["path"]][row["class"]] += offset - onset
    for path, labels in zip(clips.paths, clips.labels["fine"], strict=True):
        seconds = heard[f"clips/{path.name}"]
        assert set(seconds) == {OPENMIC.classes("fine")[i] for i in np.flatnonzero(labels)}
        assert min(seconds.values()) >= 0.04


@pytest.mark.parametrize("split", SPLITS)
def test_audio_is_whole_and_distinct(audio, split):
    for path in demo.demo_clips(split).paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "VORBIS")
        assert info.frames == FRAMES
    peaks = np.abs(audio[split]).max(axis=1)
    assert peaks.min() > 0.1
    assert peaks.max() < 1.3  # Vorbis may overshoot a little
    everything = np.concatenate([audio["train"], audio["test"]])
    assert len({clip.tobytes() for clip in everything}) == len(everything)


def test_upper_band_survives_the_encoding(audio):
    clips = demo.demo_clips("train")
    cymbals = clips.labels["fine"][:, OPENMIC.index("fine")["cymbals"]] == 1
    power = (np.abs(np.fft.rfft(audio["train"][cymbals])) ** 2).mean(axis=0)
    hertz = np.fft.rfftfreq(FRAMES, 1 / RATE)
    band = power[(hertz > 6000) & (hertz < 7000)]
    assert 10 * np.log10(band.mean() / power.mean()) > -15


def test_notices_travel_with_the_clips():
    text = (folder("train").parent / "LICENSES.txt").read_text(encoding="utf-8")
    for needed in ("Frank Wen", "S. Christian Collins", "Permission is hereby granted"):
        assert needed in text


def average_spectra(waveforms):
    """Mean, spread and peak over time of the log spectrum in 64 bands, at one loudness."""
    frames = waveforms.reshape(len(waveforms), -1, 750) * np.hanning(750)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(2, power.shape[-1], 65).astype(int))
    bands = np.log10(np.add.reduceat(power, edges[:-1], axis=-1) + 1e-4)
    bands -= bands.max(axis=(1, 2), keepdims=True)
    return np.concatenate([bands.mean(axis=1), bands.std(axis=1), bands.max(axis=1)], axis=1)


@pytest.mark.slow
def test_one_soundfont_teaches_about_the_other(audio):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, unseen = (average_spectra(audio[split]) for split in SPLITS)
    fine, truth = (demo.demo_clips(split).labels["fine"] for split in SPLITS)

    def mean_average_precision(labels):
        scores = [
            make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=500))
            .fit(known, column)
            .decision_function(unseen)
            for column in labels.T
        ]
        return average_precision_score(truth, np.stack(scores, axis=1), average="macro")

    prevalence = truth.mean()
    assert mean_average_precision(fine) > 3 * prevalence
    # With ten positives in a hundred clips, chance itself averages 1.4 times the prevalence.
    shuffled = [np.random.default_rng(seed).permutation(fine) for seed in range(3)]
    assert np.mean([mean_average_precision(labels) for labels in shuffled]) < 2 * prevalence


def test_readme_names_the_version_that_rendered_the_clips():
    text = (folder("train").parent / "README.md").read_text(encoding="utf-8")
    versions = {manifest(split)["versions"]["hmic_keras"] for split in SPLITS}
    assert len(versions) == 1
    assert f"hmic_keras {versions.pop()}" in text
