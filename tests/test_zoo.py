"""Tests of `hmic_keras.zoo` and of the model that comes with the package."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hmic_keras as hk
from hmic_keras import zoo
from hmic_keras.data import demo_clips
from hmic_keras.data.audio import frame, load_audio
from hmic_keras.errors import ModelError
from hmic_keras.model_card import model_card

ROOT = Path(hk.__file__).parents[1]
PACKAGED = sorted(p.parent.name for p in (ROOT / "saved_models").glob("*/manifest.json"))
PUBLISHED = [name for name in PACKAGED if name != "hmic-demo"]
# Mean average precision that these models must reach on recordings.
REAL = {
    "hmic-base": {"fine": 0.66, "coarse": 0.77},
    "hmic-mobile": {"fine": 0.62, "coarse": 0.74},
}


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


def test_an_exported_file_is_no_model_to_train_or_export(tiny_bundle, hmic, tmp_path):
    path = tiny_bundle / "model.tflite"
    with pytest.raises(ModelError, match=r"model.tflite' is an exported file.*'.keras' file"):
        hk.load_model(path)
    done = hmic("export", path, "--out", tmp_path / "out")
    assert done.code == 2
    assert "is an exported file" in done.err
    assert len(done.err.strip().splitlines()) == 1


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


# A zoo of one's own


@pytest.fixture
def own(tiny_bundle, tmp_path):
    """A zoo with a model of its own name and one that hides a packaged one."""
    for name in ("mine", "hmic-demo"):
        shutil.copytree(tiny_bundle, tmp_path / "zoo" / name)
    (tmp_path / "zoo" / "notes").mkdir()
    return tmp_path / "zoo"


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_a_zoo_of_your_own_goes_first(own, way, monkeypatch):
    given = {"zoo": own} if way == "argument" else {}
    if way == "variable":
        monkeypatch.setenv("HMIC_ZOO", str(own))
    assert zoo.names(**given) == sorted({"mine", *PACKAGED})
    for name in ("mine", "hmic-demo"):
        assert zoo.resolve(name, **given) == own / name
    model = hk.load_model("mine", **given)
    predictor = hk.Predictor("mine", **given)
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 32000)).astype("float32")
    np.testing.assert_allclose(
        predictor.score_windows(noise)["fine"], model(noise)["fine"], atol=1e-5
    )
    (found,) = (one for one in zoo.models(**given) if one.name == "mine")
    assert found.folder == own / "mine"
    assert found.files["keras"] == (own / "mine" / "model.keras").stat().st_size
    assert (found.missing, found.parameters, dict(found.results)) == ((), None, {})


def test_the_argument_goes_before_the_variable(own, tmp_path, monkeypatch):
    monkeypatch.setenv("HMIC_ZOO", str(tmp_path / "nowhere"))
    assert "mine" in zoo.names(own)
    with pytest.raises(ModelError, match=r"environment variable HMIC_ZOO names '.*nowhere'"):
        zoo.names()
    with pytest.raises(ModelError, match=r"`zoo` names '.*nowhere', which is no folder"):
        zoo.load_model("hmic-demo", zoo=tmp_path / "nowhere")


def test_a_changed_file_in_a_zoo_is_refused(own):
    with (own / "mine" / "model.tflite").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelError, match=r"mine/model.tflite' does not have the SHA-256"):
        hk.Predictor("mine", format="tflite", zoo=own)


def test_an_unknown_name_is_answered_with_the_folders(own):
    with pytest.raises(ModelError, match=rf"no model 'yours'.*'mine'.* in '{own}' and '"):
        hk.load_model("yours", zoo=own)


def test_a_model_that_is_described_but_not_installed_says_how_to_get_it(own, monkeypatch):
    (own / "mine" / "model.keras").unlink()
    with pytest.raises(ModelError, match=f"{own / 'mine'}' holds no 'model.keras'"):
        hk.load_model("mine", zoo=own)
    monkeypatch.setattr(zoo, "_folder", lambda: own)  # as in a wheel
    (found,) = (one for one in zoo.models() if one.name == "mine")
    assert found.missing == ("keras",)
    for use in (hk.load_model, lambda name: hk.Predictor(name, format="keras")):
        with pytest.raises(ModelError, match=r"Copy the folder 'saved_models/mine'.*HMIC_ZOO"):
            use("mine")


def test_a_manifest_that_describes_nothing_is_named(own):
    (own / "mine" / "manifest.json").write_text('{"taxonomy": 3}', encoding="utf-8")
    with pytest.raises(ModelError, match=r"mine/manifest.json' does not describe a model"):
        zoo.models(own)


def test_the_command_lists_them(own, hmic):
    done = hmic("models", "--zoo", own)
    assert done.code == 0
    assert "mine" in done.out
    assert "hmic-mobile ●" in done.out
    # However many tests there are, no name of one is cut.
    tests = {test for one in zoo.models(own) for test in one.results}
    assert tests
    assert all(test in done.out for test in tests)
    listed = json.loads(hmic("models", "--zoo", own, "--json").out)
    assert [one["name"] for one in listed] == zoo.names(own)
    assert [one["name"] for one in listed if one["default"]] == [zoo.DEFAULT_MODEL]
    assert "is no folder" in hmic("models", "--zoo", own / "nowhere").message()


# The packaged models


def manifest_of(name):
    return json.loads((zoo.resolve(name) / "manifest.json").read_text(encoding="utf-8"))


def test_the_default_model_is_packaged():
    assert zoo.DEFAULT_MODEL in zoo.names()
    assert zoo.resolve() == zoo.resolve(zoo.DEFAULT_MODEL)
    assert zoo.resolve().parent.name == "saved_models"


@pytest.mark.parametrize("name", PACKAGED)
def test_every_model_has_all_files_and_a_true_manifest(name):
    folder, manifest = zoo.resolve(name), manifest_of(name)
    assert set(manifest["sha256"]) == set(manifest["files"].values())
    assert {"keras", "savedmodel"} <= set(manifest["files"])
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
        assert (folder / file).exists()
        zoo.verify(folder / file)


@pytest.mark.parametrize("name", PACKAGED)
def test_every_model_loads_and_its_formats_agree(name):
    manifest = manifest_of(name)
    predictor = hk.Predictor(name, format="keras")
    clip = demo_clips("test").paths[0]
    expected = predictor.predict(clip).probabilities
    assert set(expected) == set(manifest["class_order"])
    for form in set(manifest["files"]) - {"keras"}:
        found = hk.Predictor(name, format=form).predict(clip).probabilities
        for level, values in expected.items():
            # What the export measured on its own windows, and some more for this clip.
            allowed = 0.1 if "int8" in form else 5e-3
            np.testing.assert_allclose(found[level], values, atol=allowed, err_msg=form)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_reaches_what_is_promised(name):
    results = json.loads((zoo.resolve(name) / "results.json").read_text(encoding="utf-8"))
    assert results["silence"]["clips"] >= 500
    assert results["silence"]["untagged"] >= 0.99
    for level in results["tests"]["timgm6mb"]["levels"].values():
        assert level["map"] > 1.5 * level["map_baseline"]
        assert level["calibration_error_micro"] < 0.05
    for level, value in REAL.get(name, {}).items():
        assert results["tests"]["real"]["levels"][level]["map"] >= value


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_is_described_by_what_was_measured(name):
    folder, manifest = zoo.resolve(name), manifest_of(name)
    assert {"keras", "savedmodel", "float16", "dynamic_int8"} <= set(manifest["files"])
    assert (folder / "README.md").read_text(encoding="utf-8") == model_card(folder)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for test, levels in manifest["zoo"]["results"].items():
        for level, value in levels.items():
            # Four digits in the oldest of them, six since.
            measured = results["tests"][test]["levels"][level]["map"]
            assert value == pytest.approx(measured, abs=6e-5)
    assert manifest["zoo"]["parameters"] == hk.load_model(name).count_params()
    assert manifest["calibration"]


def test_the_tables_in_the_documentation_are_those_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import zoo_table

    for document in zoo_table.DOCUMENTS:
        assert document.read_text("utf-8") == zoo_table.with_table(document)


def test_the_mobile_model_is_small():
    assert manifest_of("hmic-mobile")["zoo"]["parameters"] <= 600_000
    (found,) = (one for one in zoo.models() if one.name == "hmic-mobile")
    assert found.files["float32"] <= 3_000_000


@pytest.mark.slow
def test_the_shipped_int8_file_answers_the_test_clips_as_keras():
    """Of all test clips, none of which exporting looked at; `benchmarks/export_figures.py`."""
    exact, predictor = hk.Predictor(format="keras"), hk.Predictor(format="dynamic_int8")
    assert (zoo.resolve() / "model_dynamic_int8.tflite").stat().st_size <= 1_200_000
    report = manifest_of(zoo.DEFAULT_MODEL)["exports"]["dynamic_int8"]["parity"]
    assert report["compared"] == {"waveforms": len(demo_clips("train"))}
    clips = demo_clips("test")
    length = round(exact.window_seconds * exact.sample_rate)
    cut = [frame(load_audio(p, exact.sample_rate), length, length) for p in clips.paths]
    assert {len(windows) for windows in cut} == {1}
    wanted, found = (p.score_windows(np.concatenate(cut)) for p in (exact, predictor))
    maps = [
        hk.metrics.evaluate(clips.taxonomy, clips.labels, scores)["levels"]
        for scores in (wanted, found)
    ]
    recorded = json.loads(
        (ROOT / "benchmarks" / "results" / "export_figures.json").read_text("utf-8")
    )["formats"]["dynamic_int8, as shipped"]
    assert (
        recorded["sha256"]
        == manifest_of(zoo.DEFAULT_MODEL)["sha256"]["model_dynamic_int8.tflite"]
    )
    for level, values in wanted.items():
        largest = np.abs(found[level] - values).max()
        assert largest < 0.01
        # The two runtimes round otherwise on another processor.
        assert largest == pytest.approx(recorded["test"][level]["max"], abs=1e-3)
        assert maps[0][level]["map"] - maps[1][level]["map"] < 0.003


@pytest.mark.parametrize("form", ["keras", "savedmodel", "tflite"])
def test_the_packaged_model_hears_the_test_clips(form):
    predictor = hk.Predictor(format=form)
    assert predictor.taxonomy == hk.Taxonomy.load("openmic")
    clips = demo_clips("test").subset(range(0, 100, 4))
    report = hk.evaluation.evaluate(predictor, clips)
    for level, factor in (("fine", 2.5), ("coarse", 1.5)):
        scores = report.results["levels"][level]
        assert scores["map"] > factor * scores["map_baseline"]


def test_the_packaged_model_loads_by_name(openmic):
    model = hk.load_model()
    assert model.taxonomy == openmic
    assert model.name == hk.load_model("hmic-mobile").name
    assert model.manifest["method"]["name"] == "f2ca"
