"""Tests of `hmic_keras.zoo` and of the model that comes with the package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hmic_keras as hk
from hmic_keras import zoo
from hmic_keras.data import demo_clips
from hmic_keras.errors import ModelError

ROOT = Path(hk.__file__).parents[1]


def run(code, cwd):
    """Runs Python code in a new process that finds the package."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


# Any exported model


def test_a_model_is_loaded_from_its_folder_or_its_file(tiny, tiny_bundle):
    for path in (tiny_bundle, str(tiny_bundle), tiny_bundle / "model.keras"):
        model = hk.load_model(path)
        assert model.taxonomy == tiny.model.taxonomy
        assert model.manifest == tiny.model.manifest
        for found, expected in zip(model.get_weights(), tiny.model.get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_resolve_gives_back_paths(tiny_bundle, tmp_path, monkeypatch):
    assert zoo.resolve(tiny_bundle) == tiny_bundle
    monkeypatch.chdir(tiny_bundle)
    assert zoo.resolve("model.tflite") == Path("model.tflite")


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match=r"'hmic-nothing'.*packaged models"):
        hk.load_model("hmic-nothing")


def test_a_folder_without_a_keras_file_is_refused(bundle):
    (bundle / "model.keras").unlink()
    with pytest.raises(ModelError, match=f"{bundle}' holds no 'model.keras'"):
        hk.load_model(bundle)


def test_a_changed_keras_file_is_refused(bundle):
    with (bundle / "model.keras").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelError, match=r"model.keras' does not have the SHA-256"):
        hk.load_model(bundle)


def test_keras_loads_our_files_once_the_layers_are_imported(tiny, tiny_bundle, tmp_path):
    code = f"""
import keras, numpy as np
import hmic_keras.layers
model = keras.saving.load_model({str(tiny_bundle / "model.keras")!r}, safe_mode=True)
noise = np.random.default_rng(0).normal(0, 0.1, (1, 32000)).astype("float32")
print(type(model).__name__, float(model(noise, training=False)["fine"][0, 3]))
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    kind, score = done.stdout.split()
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 32000)).astype("float32")
    assert kind == "HierarchicalModel"
    assert float(score) == pytest.approx(float(tiny.model(noise)["fine"][0, 3]), abs=1e-5)


def test_looking_up_names_loads_no_tensorflow(tmp_path):
    code = """
import sys
from hmic_keras import zoo
zoo.names(), zoo.resolve(".")
print([name for name in ("tensorflow", "keras", "matplotlib") if name in sys.modules])
"""
    assert run(code, tmp_path).stdout.strip() == "[]"


# The packaged model


def test_the_default_model_is_packaged():
    assert zoo.DEFAULT_MODEL in zoo.names()
    assert zoo.resolve() == zoo.resolve("hmic-demo")
    assert zoo.resolve().parent.name == "saved_models"


def test_every_name_has_all_files_and_a_true_manifest():
    assert zoo.names()
    for name in zoo.names():
        folder = zoo.resolve(name)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert set(manifest["sha256"]) == {"model.keras", "saved_model", "model.tflite"}
        for entry in (
            "taxonomy",
            "class_order",
            "audio",
            "thresholds",
            "versions",
            "provenance",
            "training",
            "window_seconds",
        ):
            assert manifest[entry], entry
        for file in manifest["sha256"]:
            zoo.verify(folder / file)


@pytest.mark.parametrize("form", ["keras", "savedmodel", "tflite"])
def test_the_packaged_model_hears_the_test_clips(form):
    predictor = hk.Predictor(format=form)
    assert predictor.taxonomy == hk.Taxonomy.load("openmic")
    clips = demo_clips("test").subset(range(0, 100, 2))
    report = hk.evaluation.evaluate(predictor, clips)
    for level, factor in (("fine", 2.5), ("coarse", 1.5)):
        scores = report.results["levels"][level]
        assert scores["map"] > factor * scores["map_baseline"]


def test_the_packaged_model_loads_by_name(openmic):
    model = hk.load_model("hmic-demo")
    assert model.taxonomy == openmic
    assert model.manifest["method"]["name"] == "f2ca"
