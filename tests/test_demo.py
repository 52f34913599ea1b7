"""Tests of the whole path, as `hmic demo` runs it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import hmic_keras as hk
from hmic_keras import demo
from hmic_keras.config import TrainConfig
from hmic_keras.data import demo_clips
from hmic_keras.errors import ModelError
from hmic_keras.recipe import Recipe

pytestmark = pytest.mark.xdist_group("demo")
ROOT = Path(hk.__file__).parents[1]
METHODS = ("gmp", "f2ca")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder and the output of `hmic demo`, run once."""
    out = tmp_path_factory.mktemp("run") / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "hmic_keras.cli", "demo", "--out", str(out)],
        cwd=out.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.fixture(scope="module")
def report(run):
    return json.loads((run[0] / "report.json").read_text(encoding="utf-8"))


def paths(files):
    """Every path in the report's `files`, however deep."""
    for value in files.values():
        if isinstance(value, dict):
            yield from paths(value)
        else:
            yield value


@pytest.mark.slow
def test_the_report_has_the_promised_fields(report):
    assert set(report) == {"methods", "parity", "files"}
    assert set(report["methods"]) == set(METHODS)
    for scores in report["methods"].values():
        assert set(scores) == {"fine", "coarse", "violation_rate", "seconds"}
        for level in ("fine", "coarse"):
            assert set(scores[level]) == {"map", "map_baseline", "f1"}
            assert all(0 < value < 1 for value in scores[level].values())
        assert 0 <= scores["violation_rate"] <= 1
        assert scores["seconds"] > 0
    assert set(report["parity"]) == {"savedmodel", "float32"}
    assert all(0 <= difference < 1e-4 for difference in report["parity"].values())


@pytest.mark.slow
def test_both_methods_learn_what_carries_over_to_another_soundfont(report):
    for scores in report["methods"].values():
        assert scores["fine"]["map"] >= 2 * scores["fine"]["map_baseline"]
        assert scores["coarse"]["map"] >= 1.5 * scores["coarse"]["map_baseline"]
    # By rule, a family never scores below its member; attention is free to.
    assert report["methods"]["gmp"]["violation_rate"] == 0


@pytest.mark.slow
def test_every_file_of_the_report_exists_and_no_other(run, report):
    out, _ = run
    listed = set(paths(report["files"]))
    assert len(listed) > 10
    for path in listed:
        assert not os.path.isabs(path)
        found = out / path
        assert found.is_file() or (found / "saved_model.pb").is_file(), path
    for path in out.rglob("*"):
        if path.is_file() and path.name != "report.json":
            relative = path.relative_to(out).as_posix()
            assert any(relative == p or relative.startswith(f"{p}/") for p in listed), relative


@pytest.mark.slow
def test_the_pictures_are_pictures(run, report):
    out, _ = run
    pictures = [path for path in paths(report["files"]) if path.endswith(".png")]
    assert len(pictures) == 2
    for path in pictures:
        pixels = matplotlib.image.imread(out / path)[..., :3]
        assert min(pixels.shape[:2]) > 400
        assert len(np.unique(pixels[::3, ::3].reshape(-1, 3), axis=0)) > 30
        # Something is drawn over most of the width and the height.
        drawn = (pixels < 0.99).any(axis=-1)
        assert drawn.any(axis=0).mean() > 0.8
        assert drawn.any(axis=1).mean() > 0.8


@pytest.mark.slow
def test_the_models_it_leaves_give_the_scores_it_states(run, report):
    out, _ = run
    for method in METHODS:
        found = hk.evaluation.evaluate(out / method / "model.tflite", demo_clips("test"))
        for level in ("fine", "coarse"):
            stated = report["methods"][method][level]
            for key in ("map", "map_baseline", "f1"):
                assert found.results["levels"][level][key] == pytest.approx(
                    stated[key], abs=0.005
                )
        manifest = json.loads((out / method / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["method"]["name"] == method
        assert "FluidR3" in manifest["provenance"]["soundfont"]


@pytest.mark.slow
def test_every_format_predicts_the_example_alike(run, report):
    out, _ = run
    predictions = json.loads((out / report["files"]["predictions"]).read_text())
    clips = demo_clips("test")
    (row,) = [i for i, path in enumerate(clips.paths) if path.name == predictions["file"]]
    for level, names in predictions["true"].items():
        present = clips.labels[level][row] > 0.5
        assert names == list(np.array(clips.taxonomy.classes(level))[present])
    for method in METHODS:
        answers = predictions[method]
        assert set(answers) == {"keras", "savedmodel", "float32"}
        for form in ("savedmodel", "float32"):
            for level, scores in answers["keras"].items():
                assert answers[form][level] == pytest.approx(scores, abs=1e-4)


@pytest.mark.slow
def test_the_history_shows_the_loss_falling(run, report):
    out, _ = run
    for method in METHODS:
        with (out / report["files"][method]["history"]).open(newline="") as stream:
            losses = [float(row["loss"]) for row in csv.DictReader(stream)]
        assert len(losses) == Recipe.load("demo").training.epochs
        assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_a_person_sees_the_scores_and_where_the_files_are(run, report):
    out, done = run
    for method in METHODS:
        for level in ("fine", "coarse"):
            row = next(
                line
                for line in done.stdout.splitlines()
                if line.replace("│", " ").split()[:2] == [method, level]
            )
            assert f"{report['methods'][method][level]['map']:.3f}" in row
    assert done.stdout.rstrip().endswith(str(out))
    assert "train gmp" in done.stderr
    assert "100/100" in done.stderr
    assert "Traceback" not in done.stderr
    assert "WARNING" not in done.stderr.upper()


def test_a_folder_with_other_things_is_refused_before_anything_runs(tmp_path):
    steps = []
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"notes\.txt"):
        demo.run_demo(tmp_path, progress=lambda *step: steps.append(step))
    (tmp_path / "notes.txt").rename(tmp_path / "report.json")
    (tmp_path / "f2ca").mkdir()
    (tmp_path / "f2ca" / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"f2ca' holds \['notes\.txt'\]"):
        demo.run_demo(tmp_path, progress=lambda *step: steps.append(step))
    assert steps == []
    assert (tmp_path / "f2ca" / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_demo_replaces_an_earlier_one(run, tmp_path):
    out = shutil.copytree(run[0], tmp_path / "demo")
    config = TrainConfig(epochs=1, batch_size=64, crop_seconds=1.0)
    report = demo.run_demo(out, methods=("gmp",), config=config)
    assert set(report["methods"]) == {"gmp"}
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == report
    assert hk.load_model(out / "gmp").manifest["training"]["config"]["epochs"] == 1
    assert os.listdir(tmp_path) == ["demo"]
