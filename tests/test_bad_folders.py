"""Folders that were damaged: records, runs, models, archives; and batches with bad files."""

import json
import shutil

import numpy as np
import pytest
from audio_files import bell, tone, write, write_float
from bad_input import DAMAGE, WRONG, attempt, damaged, listing, settings, wrong_trees
from hypothesis import example, given
from hypothesis import strategies as st
from test_openmic import make_archive

from hmic_keras import build_model, zoo
from hmic_keras.config import AudioConfig
from hmic_keras.data import PreparedClips, prepare_clips, read_clips
from hmic_keras.data.events import write_events
from hmic_keras.data.sources.folder import write_labels
from hmic_keras.data.sources.openmic import openmic_features
from hmic_keras.errors import AudioError
from hmic_keras.inference import Predictor
from hmic_keras.layers import FineToCoarseAttention, GroupedMaxPool
from hmic_keras.taxonomy import Taxonomy
from hmic_keras.training._run import Run

TAXONOMY = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})
RATE = 1000


def corpus(folder, bad=()):
    """Writes five short clips with labels and notes; those numbered `bad` are no audio."""
    folder.mkdir(parents=True)
    names = [f"{i}.wav" for i in range(5)]
    for i, name in enumerate(names):
        if i in bad:
            (folder / name).write_bytes(b"RIFF of nothing")
        else:
            write_float(folder / name, bell(1 + 0.1 * i, RATE, (100.0, 200.0)), RATE)
    labels = {"fine": np.float32([[i % 2, 1, -1] for i in range(5)])}
    write_labels(folder / "labels.csv", names, TAXONOMY, labels)
    write_events(folder / "events.csv", TAXONOMY, {"1.wav": np.float32([[1, 0, 0.5]])})
    return read_clips(folder / "labels.csv", TAXONOMY)


def prepare(clips, out, on_error="raise"):
    audio = AudioConfig(sample_rate=RATE, fmax=500.0)
    return prepare_clips(
        clips, out, audio=audio, clips_per_shard=2, processes=1, on_error=on_error
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The clips and the folder of their records."""
    folder = tmp_path_factory.mktemp("prepared")
    clips = corpus(folder / "corpus")
    prepare(clips, folder / "records")
    return clips, folder / "records"


def copied(source, target):
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(source, target)


def use(clips):
    """Does everything with records that needs no TensorFlow."""
    assert clips.features in ("waveform", "log_mel")
    assert clips.sample_rate > 0
    clips.verify()
    for i in range(len(clips)):
        assert np.isfinite(clips.read(i, 10, 500)).all()
    clips.subset([0]).read(0)
    return clips


RECORDS = ("manifest.json", "index.npz", "shard-00000-of-00003.tfrecord")


@settings(80)
@given(name=st.sampled_from(RECORDS), other=st.sampled_from([None, *RECORDS]), changes=DAMAGE)
def test_damaged_records(tmp_path, prepared, name, other, changes):
    clips, good = prepared
    folder = copied(good, tmp_path / "records")
    if other is None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(damaged(content, changes))
    elif name == other:
        (folder / name).unlink()
    else:
        shutil.copy(folder / other, folder / name)
    attempt(lambda: use(PreparedClips.open(folder)), folder, folder=folder)
    attempt(
        lambda: prepare(clips, folder), folder, folder=None if name == RECORDS[0] else folder
    )


@settings(100)
@given(data=st.data())
def test_wrong_manifests_of_records(tmp_path, prepared, data):
    clips, good = prepared
    folder = copied(good, tmp_path / "records")
    path = folder / "manifest.json"
    path.write_text(json.dumps(data.draw(wrong_trees(json.loads(path.read_text())))))
    attempt(lambda: use(PreparedClips.open(folder)), folder, folder=folder)
    attempt(lambda: prepare(clips, folder), folder, folder=folder)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The clips, the records of all, and of a run that stopped at a bad file."""
    folder = tmp_path_factory.mktemp("stopped")
    clips = corpus(folder / "corpus", bad=[4])
    with pytest.raises(AudioError, match=r"4\.wav"):
        prepare(clips, folder / "records")
    write_float(folder / "corpus" / "4.wav", bell(1.4, RATE, (100.0, 200.0)), RATE)
    prepare(clips, folder / "whole")
    return clips, listing(folder / "whole"), folder / "records"


@settings(40)
@given(name=st.sampled_from(["plan.json", "00000.json", "00001.json"]), data=st.data())
@example(name="00000.json", data="{}")
@example(name="00000.json", data="[[]]")
@example(name="00000.json", data="[" * 100_000)
@example(name="plan.json", data="[" * 100_000)
def test_a_stopped_preparation_that_was_damaged(tmp_path, stopped, name, data):
    clips, whole, good = stopped
    folder = copied(good, tmp_path / "records")
    path = folder / "unfinished" / name
    content = path.read_bytes()
    if isinstance(data, str):
        path.write_text(data)
    else:
        cut = data.draw(st.integers(0, len(content) - 2), "cut")
        path.write_bytes(content[:cut] + data.draw(st.sampled_from([b"", b"\xff", b"}"])))
    if attempt(lambda: prepare(clips, folder), path) is not None:
        assert listing(folder) == whole


# Runs


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run that stopped after an epoch."""
    out = tmp_path_factory.mktemp("run") / "model"
    run = Run(out)
    run.start({"seed": 1}, {"versions": {}})
    arrays = {"model": [np.ones((2, 3), np.float32)], "best": []}
    run.save(arrays, {"epochs": [{"loss": 1.0}], "seconds": 1.0})
    return out


@settings(100)
@given(name=st.sampled_from(["run.json", "checkpoint.npz"]), changes=DAMAGE)
@example(name="run.json", changes=[("set", 0, b"\xff")])
@example(name="run.json", changes=[("set", 0, b"[" * 100_000)])
@example(name="checkpoint.npz", changes=[("set", 0, b"\x93NUMPY\1\0")])
def test_damaged_runs(tmp_path, run_folder, name, changes):
    out = copied(run_folder, tmp_path / "model")
    path = out / "run" / name
    path.write_bytes(damaged(path.read_bytes(), changes))
    run = Run(out)
    attempt(lambda: run.state, out, folder=out)
    attempt(run.refuse_unfinished, out, folder=out)
    attempt(lambda: run.check({"seed": 1}), out, folder=out)
    found = attempt(run.load, out, folder=out)
    if found is not None:
        arrays, facts = found
        assert len(facts["epochs"]) >= 0
        assert all(isinstance(value, np.ndarray) for a in arrays.values() for value in a)


# The archive of OpenMIC-2018

ARCHIVE = ("openmic-2018.npz", "class-map.json", "partitions/split01_train.csv")


@pytest.fixture(scope="module")
def openmic_archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive") / "openmic-2018"
    make_archive(folder)
    return folder


@settings(120)
@given(name=st.sampled_from(ARCHIVE), changes=DAMAGE)
@example(name=ARCHIVE[0], changes=[("set", 80, b"\0")])
@example(name=ARCHIVE[1], changes=[("set", 0, b"[" * 100_000)])
@example(name=ARCHIVE[1], changes=[("set", 0, b'{"piano": 99, "x": [')])
@example(name=ARCHIVE[2], changes=[("set", 0, b"\xff")])
def test_damaged_archives(tmp_path, openmic_archive, name, changes):
    folder = copied(openmic_archive, tmp_path / "openmic-2018")
    path = folder / name
    path.write_bytes(damaged(path.read_bytes(), changes))
    found = attempt(lambda: openmic_features(folder, "train"), folder, "OpenMIC", folder=folder)
    if found is not None:
        features, labels = found
        assert len(features) == len(labels["fine"])
        assert ((labels["fine"] == -1) | (labels["fine"] >= 0)).all()


@pytest.mark.parametrize("column", [20, -1, 10**30, 1.5, None, True, "x", [0]])
def test_class_maps_that_name_no_column(tmp_path, openmic_archive, column):
    folder = copied(openmic_archive, tmp_path / "openmic-2018")
    path = folder / "class-map.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "piano": column}))
    assert attempt(lambda: openmic_features(folder, "train"), path, folder=folder) is None


# Models


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """The manifest and the smallest file of the smallest packaged model."""
    folder = tmp_path_factory.mktemp("model")
    for name in ("manifest.json", "model.tflite"):
        shutil.copy(zoo.resolve("hmic-demo") / name, folder)
    return folder


@settings(120)
@given(data=st.data())
def test_wrong_manifests_of_models(tmp_path, model_folder, data):
    folder = copied(model_folder, tmp_path / "model")
    path = folder / "manifest.json"
    path.write_text(json.dumps(data.draw(wrong_trees(json.loads(path.read_text())))))
    predictor = attempt(lambda: Predictor(folder), folder, folder=folder)
    if predictor is not None:
        attempt(lambda: predictor.predict(tone(1.0, 8000)[:, 0], 8000))


@settings(20)
@given(name=st.sampled_from(["manifest.json", "model.tflite"]), changes=DAMAGE)
@example(name="manifest.json", changes=[("set", 0, b"[" * 100_000)])
def test_damaged_models(tmp_path, model_folder, name, changes):
    folder = copied(model_folder, tmp_path / "model")
    path = folder / name
    path.write_bytes(damaged(path.read_bytes(), changes))
    attempt(lambda: Predictor(folder), folder, folder=folder)


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    model = build_model(
        TAXONOMY, backbone="mlp", method="gmp", input="embedding", input_shape=(4,)
    )
    model.save(path)
    return path.read_bytes()


@settings(60)
@given(changes=DAMAGE)
def test_damaged_keras_files(tmp_path, keras_file, changes):
    path = tmp_path / "model.keras"
    path.write_bytes(damaged(keras_file, changes))
    attempt(lambda: zoo.load_model(path), path, folder=tmp_path)


# Hierarchy masks

MASKS = (
    *([[1, 0], [0, 1]], [[True, False]], [[0, 0], [1, 1]], [[1, 0], [1]], [[2, 0]], [["x"]]),
    *([[1.0, float("nan")]], [[[1]]], [[]], [[1j]], [[None]], [{1}], "x", 1, None, b"11"),
    *({"links": [[0, 0]], "shape": [1, 1]}, {"links": [[0, 0]]}, {1: 2, "x": 3}, {}),
)


@settings(120)
@given(
    mask=st.one_of(
        st.sampled_from(MASKS),
        wrong_trees({"links": [[0, 0], [1, 1]], "shape": [2, 2]}),
        wrong_trees([[1, 0], [0, 1]]),
        st.builds(
            lambda links, shape: {"links": links, "shape": shape},
            st.sampled_from(
                [[[0, 0]], [], [[0]], [[0, 0.5]], [[-1, 0]], [[0, 2**40]], [[0, []]]]
            ),
            st.sampled_from(
                [[1, 1], [1, 2**41], [2**50, 1], [1], [1, 1, 1], ["1", "1"], [1.5, 1]]
            ),
        ),
    )
)
def test_masks(mask):
    layer = attempt(lambda: GroupedMaxPool(mask), "mask", kind=ValueError)
    if layer is not None:
        parents, children = layer.get_config()["mask"]["shape"]
        assert layer.compute_output_shape((None, children)) == (None, parents)
    attempt(lambda: FineToCoarseAttention(2, prior_mask=mask), "mask", kind=ValueError)


@pytest.mark.parametrize("argument", ["num_parents", "num_heads", "key_dim", "residual_weight"])
def test_numbers_of_the_attention_layer(argument):
    for value in WRONG:
        given = {"num_parents": 2, argument: value}
        attempt(lambda given=given: FineToCoarseAttention(**given), argument, kind=ValueError)


# Batches


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Two folders with the same good files; the second has bad ones, too."""
    root = tmp_path_factory.mktemp("album")
    for name in ("good", "mixed"):
        for i in range(3):
            (root / name).mkdir(exist_ok=True)
            write(root / name / f"{i}.flac", tone(1.0 + i, 8000), 8000)
    bad = root / "mixed"
    (bad / "0-empty.wav").touch()
    (bad / "1-text.mp3").write_text("no sound")
    (bad / "2-cut.flac").write_bytes((bad / "2.flac").read_bytes()[:4000])
    write_float(bad / "3-nan.wav", np.full(16000, np.nan))
    write_float(bad / "4-loud.wav", np.full(16000, 1e4))
    return root


def test_predicting_a_folder_leaves_bad_files_out(hmic, album, model_folder, tmp_path):
    tables = {}
    for name, code in (("good", 0), ("mixed", 1)):
        table = tmp_path / f"{name}.csv"
        before = listing(album)
        done = hmic("predict", album / name, "--model", model_folder, "--out", table, "--json")
        assert done.code == code, done.err
        tables[name] = table.read_text().splitlines()
        assert listing(album) == before
        counts = json.loads(done.out)
    assert (counts["ok"], counts["failed"]) == (3, 5)
    assert done.err.count("error: ") == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.csv", "mixed.csv"]
    good = [line.replace(f"{album}/good", "") for line in tables["good"]]
    kept = [line.replace(f"{album}/mixed", "") for line in tables["mixed"]]
    assert [line for line in kept if ",failed," not in line] == good


def test_preparing_leaves_bad_files_out(tmp_path, caplog):
    clips = corpus(tmp_path / "corpus", bad=[0, 3])
    with_bad = prepare(clips, tmp_path / "mixed", on_error="skip")
    without_bad = prepare(clips.subset([1, 2, 4]), tmp_path / "good")
    assert with_bad.ids == without_bad.ids == ("1.wav", "2.wav", "4.wav")
    assert with_bad.manifest["skipped"] == 2
    for i in range(3):
        np.testing.assert_array_equal(with_bad.read(i), without_bad.read(i))
    assert not (tmp_path / "mixed" / "unfinished").exists()


# The command line


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("evaluate", "MODEL", "--data", "x" * 5000), "no such file"),
        (("predict", "a.wav", "--model", "x" * 5000), "There is no model"),
        (("train", "--out", "OUT", "--data", "x" * 5000), "no such file"),
        (("train", "--out", "OUT", "--recipe", "x" * 5000), "There is no recipe"),
        (("train", "--out", "OUT", "--recipe", "RECIPE"), "month must be"),
        (("train", "--out", "OUT", "--set", "training.seed=2020-13-45"), "--set"),
        (("train", "--out", "OUT", "--set", "training.epochs=1" + "0" * 400), "epochs"),
        (("train", "--resume", "BROKEN"), "run.json"),
        (("prepare", "--data", "NULL", "--out", "OUT"), "labels.csv"),
        (("taxonomy", "DEEP"), "nested deeper"),
    ],
)
def test_a_mistake_is_one_line(hmic, tmp_path, model_folder, arguments, named):
    files = {
        "RECIPE": ("recipe.yaml", b"description: 2020-13-45\n"),
        "NULL": ("labels.csv", b"path,violin\na\0.wav,1\n"),
        "DEEP": ("deep.json", b"[" * 100_000),
        "BROKEN": ("model/run/run.json", b"\xff"),
    }
    (tmp_path / "model" / "run").mkdir(parents=True)
    (tmp_path / "model" / "run" / "recipe.yaml").write_text("taxonomy: openmic\n")
    for name, content in files.values():
        (tmp_path / name).write_bytes(content)
    known = {key: tmp_path / name for key, (name, _) in files.items()}
    known |= {"OUT": tmp_path / "out", "MODEL": model_folder, "BROKEN": tmp_path / "model"}
    before = listing(tmp_path)
    assert named in hmic(*(known.get(argument, argument) for argument in arguments)).message()
    assert listing(tmp_path) == before
