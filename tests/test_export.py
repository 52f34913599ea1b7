"""Tests of `hmic_keras.export`: the formats answer as the Keras model does."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import hmic_keras as hk
from hmic_keras._files import sha256
from hmic_keras.errors import ModelError
from hmic_keras.export import _exporter, export_model, export_saved_model, parity

FILES = {"keras": "model.keras", "savedmodel": "saved_model", "float32": "model.tflite"}
WINDOW = 32000


def make_model(method="gmp", seed=0, **options):
    """An untrained model of one-second windows; its weights are random, hence its answers."""
    keras.utils.set_random_seed(seed)
    taxonomy = hk.Taxonomy.from_dict(
        {"strings": ["violin", "cello"], "brass": ["horn"], "drums": []}
    )
    model = hk.build_model(taxonomy, method=method, backbone_options={"width": 2}, **options)
    # Random statistics too, so that every layer takes part in the answer.
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            rng = np.random.default_rng(seed)
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    model.update_manifest(window_seconds=1.0)
    return model


@pytest.fixture(scope="module")
def small_model():
    return make_model()


@pytest.fixture(scope="module")
def waveforms():
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 1, (3, WINDOW)) * np.array([[0.3], [0.01], [0.1]])
    return np.clip(noise, -1, 1).astype("float32")


def tree(folder):
    """Every file below a folder with its content's checksum."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


# What is written


def test_a_bundle_holds_every_format_and_its_manifest(tiny_bundle):
    assert sorted(path.name for path in tiny_bundle.iterdir()) == [
        "manifest.json",
        "model.keras",
        "model.tflite",
        "saved_model",
    ]
    assert (tiny_bundle / "saved_model" / "saved_model.pb").is_file()


def test_the_manifest_holds_all_that_is_needed_to_use_the_files(tiny_bundle, tiny, openmic):
    manifest = json.loads((tiny_bundle / "manifest.json").read_text(encoding="utf-8"))
    trained = tiny.model.manifest
    assert hk.Taxonomy.from_dict(manifest["taxonomy"]) == openmic
    assert manifest["taxonomy_hash"] == openmic.hash
    assert manifest["class_order"] == {lv: list(openmic.classes(lv)) for lv in openmic.levels}
    assert manifest["input"] == "waveform"
    assert manifest["window_seconds"] == 2.0
    assert hk.config.AudioConfig.from_dict(manifest["audio"]).sample_rate == 16000
    for entry in ("thresholds", "versions", "provenance", "training", "method", "backbone"):
        assert manifest[entry] == trained[entry]
    assert manifest["provenance"]
    assert manifest["files"] == FILES
    assert set(manifest["parity"]) == {"savedmodel", "float32"}
    for differences in manifest["parity"].values():
        assert set(differences) == {"fine", "coarse"}
        assert 0 <= max(differences.values()) < 1e-5
    assert manifest["sha256"] == {name: sha256(tiny_bundle / name) for name in FILES.values()}


@pytest.mark.parametrize("method", ["multitask", "gmp", "f2ca"])
def test_every_method_answers_alike_in_every_format(tmp_path, caplog, method):
    model = make_model(method)
    rng = np.random.default_rng(0)
    music = np.cumsum(rng.normal(0, 0.01, (4, 16000)), axis=1).clip(-1, 1).astype("float32")
    manifest = export_model(model, tmp_path / "out", waveforms=music)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest
    assert [record for record in caplog.records if record.name == "hmic_keras"] == []
    expected = model(music, training=False)
    for level in ("fine", "coarse"):
        values = np.asarray(expected[level])
        assert np.ptp(values, axis=0).max() > 1e-4  # the answer depends on the audio
        for form in FILES:
            found = hk.Predictor(tmp_path / "out", format=form).score_windows(music)[level]
            np.testing.assert_allclose(found, values, atol=1e-5)
            if form != "keras":
                largest = np.abs(found - values).max()
                assert manifest["parity"][form][level] == pytest.approx(largest, abs=1e-6)


def test_a_tflite_file_has_builtin_operations_one_window_and_named_outputs(tiny_bundle, tiny):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    loaded = interpreter.Interpreter(model_path=os.fspath(tiny_bundle / "model.tflite"))
    operations = {op["op_name"] for op in loaded._get_ops_details()}
    assert "CONV_2D" in operations
    assert not [name for name in operations if name.startswith(("Flex", "CUSTOM"))]
    signatures = loaded.get_signature_list()
    assert list(signatures) == ["serving_default"]
    assert signatures["serving_default"]["inputs"] == ["waveform"]
    assert sorted(signatures["serving_default"]["outputs"]) == ["coarse", "fine"]
    runner = loaded.get_signature_runner()
    details = runner.get_input_details()["waveform"]
    assert details["shape"].tolist() == [1, WINDOW]
    assert details["dtype"] is np.float32
    shapes = {name: d["shape"].tolist() for name, d in runner.get_output_details().items()}
    assert shapes == {"fine": [1, 20], "coarse": [1, 7]}
    window = np.random.default_rng(0).normal(0, 0.1, (1, WINDOW)).astype("float32")
    found, expected = runner(waveform=window), tiny.model(window, training=False)
    for level in ("fine", "coarse"):
        np.testing.assert_allclose(found[level], expected[level], atol=1e-5)


def test_a_savedmodel_answers_in_plain_tensorflow(tiny_bundle, tiny, waveforms, tmp_path):
    lengths = {"long": waveforms, "short": waveforms[:1, :16000], "odd": waveforms[:2, :17777]}
    np.savez(tmp_path / "in.npz", **lengths)
    code = f"""
import sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load({os.fspath(tiny_bundle / "saved_model")!r})
given = np.load("in.npz")
answers = {{}}
for name in given:
    for level, scores in model.serve(given[name]).items():
        answers[name + "-" + level] = scores.numpy()
assert not [name for name in sys.modules if name.startswith("hmic_keras")]
np.savez("out.npz", **answers)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "out.npz")
    for name, given in lengths.items():
        expected = tiny.model(given, training=False)
        for level in ("fine", "coarse"):
            found = answers[f"{name}-{level}"]
            assert found.shape == expected[level].shape
            np.testing.assert_allclose(found, expected[level], atol=1e-5)


def test_a_savedmodel_holds_every_weight_once(small_model, tmp_path):
    export_saved_model(small_model, tmp_path / "once")
    (stored,) = (tmp_path / "once" / "variables").glob("variables.data*")
    # And a graph of the objects, which is no weight.
    assert stored.stat().st_size < 1.5 * 4 * small_model.count_params() + 20_000


def test_a_savedmodel_can_have_a_fixed_shape(small_model, tmp_path):
    import tensorflow as tf

    export_saved_model(small_model, tmp_path / "fixed", batch_size=2, input_shape=(16000,))
    loaded = tf.saved_model.load(os.fspath(tmp_path / "fixed"))
    (given,) = loaded.signatures["serve"].structured_input_signature[1].values()
    assert given.shape.as_list() == [2, 16000]


def test_only_the_formats_asked_for_are_written(small_model, tmp_path):
    manifest = export_model(small_model, tmp_path / "out", formats=("keras",))
    assert sorted(os.listdir(tmp_path / "out")) == ["manifest.json", "model.keras"]
    assert manifest["files"] == {"keras": "model.keras"}
    assert manifest["parity"] == {}


def test_an_export_replaces_an_earlier_one_as_a_whole(bundle):
    (bundle / "history.csv").write_text("epoch,loss\n1,0.5\n")
    other = make_model(seed=5)
    export_model(other, bundle, formats=("keras",))
    assert sorted(os.listdir(bundle)) == ["manifest.json", "model.keras"]
    assert hk.load_model(bundle).taxonomy == other.taxonomy
    assert os.listdir(bundle.parent) == [bundle.name]


def test_a_model_can_be_exported_onto_its_own_folder(bundle):
    manifest = export_model(hk.load_model(bundle), bundle, formats=("keras",))
    assert sorted(os.listdir(bundle)) == ["manifest.json", "model.keras"]
    assert manifest["sha256"] == {"model.keras": sha256(bundle / "model.keras")}
    assert hk.Predictor(bundle).window_seconds == 2.0


# Refusals


def with_another_model_inside(monkeypatch, **kind):
    """Makes `export_model` write another model's TensorFlow Lite file."""
    other = make_model(seed=99, **kind)
    monkeypatch.setattr(_exporter, "with_extras", lambda model, extras: other)


def test_an_export_that_answers_differently_is_not_kept(small_model, bundle, monkeypatch):
    with_another_model_inside(monkeypatch)
    before = tree(bundle)
    for out in (bundle.parent / "new", bundle):
        with pytest.raises(ModelError, match=r"float32 file answers differently.*was not kept"):
            export_model(small_model, out, formats=("keras", "tflite"))
    assert tree(bundle) == before
    assert os.listdir(bundle.parent) == [bundle.name]


def test_parity_counts_nan_as_a_difference(bundle, tiny):
    broken = hk.load_model(bundle)
    broken.set_weights([np.full_like(w, np.nan) for w in tiny.model.get_weights()])
    noise = np.random.default_rng(0).normal(0, 0.1, (1, WINDOW)).astype("float32")
    assert parity(broken, bundle / "model.tflite", noise) == {"fine": np.inf, "coarse": np.inf}
    assert max(parity(tiny.model, bundle / "model.tflite", noise).values()) < 1e-5


@pytest.mark.parametrize("shape", [(0, WINDOW), (WINDOW,), (2, 0)])
def test_parity_needs_something_to_compare_on(tiny, tiny_bundle, shape):
    with pytest.raises(ModelError, match="at least one waveform"):
        parity(tiny.model, tiny_bundle / "model.tflite", np.zeros(shape, "float32"))


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": "mine"},
        {"manifest.json": "{}", "clips.txt": "mine"},  # as of a rendered corpus
        {"manifest.json": '{"name": "a web page"}'},
        {"model.keras": "not an export"},
        {".git": "mine"},
    ],
)
def test_a_folder_that_is_no_earlier_export_is_left_alone(small_model, tmp_path, files):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    before = tree(folder)
    with pytest.raises(ModelError, match=r"mine' holds .*which no export wrote"):
        export_model(small_model, folder, formats=("keras",))
    assert tree(folder) == before
    assert os.listdir(tmp_path) == ["mine"]


def test_an_export_with_files_of_the_user_beside_it_is_left_alone(small_model, bundle):
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"holds \['notes.txt'\]"):
        export_model(small_model, bundle, formats=("keras",))
    assert (bundle / "notes.txt").read_text() == "mine"
    assert (bundle / "model.tflite").is_file()


def test_files_and_the_current_folder_are_refused(small_model, tmp_path, monkeypatch):
    (tmp_path / "a").write_text("mine")
    for out in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(ModelError, match="is a file, or lies below one"):
            export_model(small_model, out)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for out in (".", "..", tmp_path / "here"):
        with pytest.raises(ModelError, match="current folder"):
            export_model(small_model, out)
    assert sorted(os.listdir(tmp_path)) == ["a", "here"]


@pytest.mark.parametrize(
    ("formats", "match"),
    [(("keras", "tfjs"), r"unknown \['tfjs'\]"), ((), "at least one")],
)
def test_unknown_formats_are_refused(small_model, tmp_path, formats, match):
    with pytest.raises(ModelError, match=match):
        export_model(small_model, tmp_path / "out", formats=formats)
    assert os.listdir(tmp_path) == []


def test_models_that_are_not_ours_are_refused(tmp_path):
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match=r"built by .*Received: Sequential"):
        export_model(plain, tmp_path / "out")
    assert os.listdir(tmp_path) == []
