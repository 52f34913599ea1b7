"""Tests of `hmic_keras.data.sources.openmic`, on a small archive of the published layout."""

import json
import os

import numpy as np
import pytest
from audio_files import tone, write

from hmic_keras.data import load_audio
from hmic_keras.data.sources.openmic import openmic_clips, openmic_features
from hmic_keras.errors import HmicError, LabelError
from hmic_keras.taxonomy import Taxonomy

TAGS = [
    "accordion",
    "banjo",
    "bass",
    "cello",
    "clarinet",
    "cymbals",
    "drums",
    "flute",
    "guitar",
    "mallet_percussion",
    "mandolin",
    "organ",
    "piano",
    "saxophone",
    "synthesizer",
    "trombone",
    "trumpet",
    "ukulele",
    "violin",
    "voice",
]
KEYS = ["000046_3840", "000135_483840", "000139_119040", "001000_0", "078500_7680"]
TEST = [1, 4]
TRAIN = [0, 2, 3]


def make_archive(folder, audio=False):
    """Writes what of the archive matters: as its own script wrote it, plus the tables."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    truth = np.full((len(KEYS), 20), 0.5)
    mask = np.zeros((len(KEYS), 20), bool)
    features = random.integers(0, 256, (len(KEYS), 10, 128))
    lines = ["sample_key,instrument,relevance,num_responses"]
    for row, key in enumerate(KEYS):
        for tag in random.permutation(20)[: 2 + row % 2]:
            truth[row, tag] = random.uniform()
            mask[row, tag] = True
            lines.append(f"{key},{TAGS[tag]},{truth[row, tag]:.5f},3")
    (folder / "openmic-2018-aggregated-labels.csv").write_text("\n".join(lines) + "\n")
    (folder / "class-map.json").write_text(json.dumps({t: i for i, t in enumerate(TAGS)}))
    np.savez(
        folder / "openmic-2018.npz",
        X=features,
        Y_true=truth,
        Y_mask=mask,
        sample_key=np.array(KEYS, object),
    )
    (folder / "partitions").mkdir()
    for name, rows in (("train", TRAIN), ("test", TEST)):
        text = "".join(f"{KEYS[row]}\n" for row in rows)
        (folder / "partitions" / f"split01_{name}.csv").write_text(text)
    for key in KEYS if audio else ():
        (folder / "audio" / key[:3]).mkdir(parents=True, exist_ok=True)
        write(folder / "audio" / key[:3] / f"{key}.ogg", tone(1.0, 44100), 44100)
    return features, truth, mask


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "openmic-2018", *make_archive(tmp_path / "openmic-2018", audio=True)


def test_clips_follow_the_official_split(archive):
    folder, _, truth, mask = archive
    for place in (folder, folder.parent):
        train, test = openmic_clips(place, "train"), openmic_clips(place, "test")
    assert [path.stem for path in train.paths] == [KEYS[row] for row in TRAIN]
    assert [path.stem for path in test.paths] == [KEYS[row] for row in TEST]
    assert load_audio(test.paths[1]).shape == (16000,)
    assert train.taxonomy == Taxonomy.load("openmic")
    # The taxonomy keeps the data set's order of tags.
    for clips, rows in ((train, TRAIN), (test, TEST)):
        expected = np.where(mask, truth, -1).astype(np.float32)[rows]
        np.testing.assert_array_equal(clips.labels["fine"], expected)
    voice = train.labels["fine"][:, TAGS.index("voice")]
    np.testing.assert_array_equal(train.labels["coarse"][:, -1], voice)


def test_features_come_scaled_with_closed_labels(archive):
    folder, features, _, _ = archive
    found, labels = openmic_features(folder, "test")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, features[TEST] / 255)
    clips = openmic_clips(folder, "test")
    assert list(labels) == ["fine", "coarse"]
    for level, values in clips.labels.items():
        np.testing.assert_array_equal(labels[level], values)


def test_features_need_no_audio(tmp_path):
    make_archive(tmp_path / "openmic-2018")
    assert openmic_features(tmp_path, "train")[0].shape == (3, 10, 128)
    with pytest.raises(LabelError, match=r"3 of 3 audio files are missing: .*046_3840\.ogg"):
        openmic_clips(tmp_path, "train")


def test_tags_are_found_by_name(archive):
    folder, _, truth, mask = archive
    shuffled = TAGS[::-1]
    taxonomy = Taxonomy.from_dict({"low": [*shuffled[:9], "tuba"], "high": shuffled[9:]})
    labels = openmic_clips(folder, "train", taxonomy).labels["fine"]
    expected = np.where(mask, truth, -1).astype(np.float32)[TRAIN][:, ::-1]
    np.testing.assert_array_equal(np.delete(labels, 9, axis=1), expected)
    assert (labels[:, 9] == -1).all()
    with pytest.raises(LabelError, match=r"lacks tags of OpenMIC-2018 .*'voice'"):
        openmic_clips(folder, "train", Taxonomy.from_dict({"all": TAGS[:-1]}))


def test_a_model_trains_on_the_features(archive, openmic):
    import hmic_keras as hk

    features, labels = openmic_features(archive[0], "train")
    model = hk.build_model(
        openmic, backbone="mlp", method="gmp", input="embedding", input_shape=(10, 128)
    )
    model.compile("adam", "binary_crossentropy")
    before = [weight.copy() for weight in model.get_weights()]
    history = model.fit(features, labels, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


class Exploit:
    """What a tampered archive might hold: unpickling it calls a function."""

    def __reduce__(self):
        return os.mkdir, ("exploited",)


def rewrite(folder, **changes):
    with np.load(folder / "openmic-2018.npz", allow_pickle=True) as arrays:
        held = {**arrays, **changes}
    np.savez(folder / "openmic-2018.npz", **{k: v for k, v in held.items() if v is not None})


def test_a_tampered_archive_runs_nothing(archive, tmp_path, monkeypatch):
    folder = archive[0]
    monkeypatch.chdir(tmp_path)
    rewrite(folder, sample_key=np.array([*KEYS[:4], Exploit()], object))
    with pytest.raises(LabelError, match=r"is damaged .*names posix\.mkdir"):
        openmic_features(folder, "train")
    assert not (tmp_path / "exploited").exists()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda f: (f / "openmic-2018.npz").unlink(), r"npz: no such file\. Download .*zenodo"),
        (lambda f: (f / "openmic-2018.npz").write_text("x"), "npz: is damaged"),
        (lambda f: rewrite(f, Y_mask=None), "npz: is damaged .*Y_mask"),
        (lambda f: rewrite(f, Y_mask=np.zeros((5, 19), bool)), r"Received: .*\(5, 19\)"),
        (lambda f: rewrite(f, X=np.zeros((5, 128))), r"Received: .*\(5, 128\)"),
        (lambda f: rewrite(f, sample_key=np.array(list("abcde"), object)), "unknown: '0000"),
        (lambda f: (f / "class-map.json").write_text("{"), "class-map.json: must map"),
        (lambda f: (f / "class-map.json").write_text('["a"]'), "class-map.json: must map"),
        (lambda f: (f / "partitions" / "split01_train.csv").unlink(), "train.csv: no such"),
        (
            lambda f: (f / "partitions" / "split01_train.csv").write_text(""),
            "Received 0, unknown: none",
        ),
    ],
)
def test_a_damaged_archive_is_refused(archive, spoil, found):
    spoil(archive[0])
    with pytest.raises(LabelError, match=found):
        openmic_features(archive[0], "train")


def test_an_unknown_split():
    with pytest.raises(HmicError, match=r"split must be .*'valid'"):
        openmic_clips("nowhere", "valid")


def test_keys_written_as_plain_text_are_read_too(archive):
    folder = archive[0]
    before, _ = openmic_features(folder, "train")
    rewrite(folder, sample_key=np.array(KEYS))
    np.testing.assert_array_equal(openmic_features(folder, "train")[0], before)
