"""Tests of `hmic_keras.evaluation`."""

import csv
import json
import os

import matplotlib.image
import numpy as np
import pytest

import hmic_keras as hk
from hmic_keras.data import LabelledClips, load_audio
from hmic_keras.errors import AudioError, LabelError, ModelError
from hmic_keras.evaluation import Report, evaluate, plot_results, predict_clips


@pytest.fixture(scope="module")
def predictor(tiny_bundle):
    return hk.Predictor(tiny_bundle, format="tflite")


@pytest.fixture(scope="module")
def clips(tiny_clips):
    """Clips with some labels unobserved and a class that is never present."""
    some = tiny_clips.subset(range(12))
    fine = some.labels["fine"].copy()
    fine[::5, 3] = -1
    fine[:, 7] = 0
    return LabelledClips(some.taxonomy, some.paths, {"fine": fine})


@pytest.fixture(scope="module")
def report(predictor, clips):
    return evaluate(predictor, clips)


def test_scores_are_those_of_the_predictor_in_the_order_of_the_clips(predictor, clips):
    done = []
    scores = predict_clips(predictor, clips, done.append)
    assert done == list(range(1, len(clips) + 1))
    for row in (0, 5, 11):
        expected = predictor.predict(clips.paths[row]).probabilities
        for level in ("fine", "coarse"):
            np.testing.assert_allclose(scores[level][row], expected[level], atol=1e-6)
    assert scores["fine"].shape == (12, 20)


def test_results_are_the_metrics_of_scores_computed_by_the_bare_model(tiny, clips, report):
    # Three-second clips make two windows of two seconds: from the start, and to the end.
    scores = {level: [] for level in ("fine", "coarse")}
    for path in clips.paths:
        waveform = load_audio(path)
        answer = tiny.model(np.stack([waveform[:32000], waveform[-32000:]]), training=False)
        for level, values in answer.items():
            scores[level].append(np.asarray(values).mean(axis=0))
    expected = hk.metrics.evaluate(
        clips.taxonomy,
        clips.labels,
        {level: np.stack(values) for level, values in scores.items()},
        thresholds=tiny.model.manifest["thresholds"],
    )
    assert report.results["clips"] == 12
    for level in ("fine", "coarse"):
        found, wanted = report.results["levels"][level], expected["levels"][level]
        keys = ("map", "map_micro", "map_baseline", "roc_auc", "best_f1", "f1", "f1_micro")
        for key in (*keys, "calibration_error", "calibration_error_micro", "brier_score"):
            assert found[key] == pytest.approx(wanted[key], abs=1e-6), key
        assert found["tags_dropped"] == wanted["tags_dropped"]
    assert report.results["hierarchical"] == pytest.approx(expected["hierarchical"])
    assert report.results["violation_rate"] == pytest.approx(expected["violation_rate"])


def test_classes_without_a_positive_are_dropped_and_counted(clips, report):
    present = (clips.labels["fine"] > 0.5).any(axis=0)
    fine = report.results["levels"]["fine"]
    assert not present[7]
    assert fine["tags_dropped"] == (~present).sum()
    assert fine["tags_scored"] == present.sum()
    precisions = [row["ap"] for row in fine["per_class"].values()]
    assert [value is not None for value in precisions] == present.tolist()
    assert fine["map"] == pytest.approx(np.mean([v for v in precisions if v is not None]))


def test_a_report_writes_three_files(report, clips, tmp_path):
    paths = report.write(tmp_path / "new" / "report")
    assert [path.name for path in paths] == ["report.json", "per_class.csv", "results.png"]
    assert sorted(os.listdir(tmp_path / "new" / "report")) == sorted(p.name for p in paths)
    assert json.loads(paths[0].read_text(encoding="utf-8")) == report.results
    with paths[1].open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 27
    by_class = {(row["level"], row["class"]): row for row in rows}
    assert len(by_class) == 27
    for (level, name), row in by_class.items():
        column = clips.labels[level][:, clips.taxonomy.index(level)[name]]
        assert int(row["positives"]) == (column > 0.5).sum()
        assert int(row["observed"]) == (column >= 0).sum()
        stated = report.results["levels"][level]["per_class"][name]["ap"]
        assert row["ap"] == "" if stated is None else float(row["ap"]) == stated
        full = report.results["levels"][level]["per_class"][name]
        assert set(row) == {"level", "class", *full}
        for key, value in full.items():
            assert row[key] == ("" if value is None else str(value))
    picture = matplotlib.image.imread(paths[2])
    assert min(picture.shape[:2]) > 400
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 10


def test_a_report_replaces_an_earlier_one(report, tmp_path):
    Report({**report.results, "clips": 1}).write(tmp_path)
    report.write(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["clips"] == 12
    assert len(os.listdir(tmp_path)) == 3


def test_a_level_without_any_positive_still_makes_a_report(predictor, clips, tmp_path):
    fine = np.zeros((2, 20), np.float32)
    silent = LabelledClips(clips.taxonomy, clips.paths[:2], {"fine": fine})
    report = evaluate(predictor, silent)
    assert report.results["levels"]["fine"]["map"] is None
    assert report.results["levels"]["fine"]["tags_dropped"] == 20
    assert all(path.stat().st_size for path in report.write(tmp_path))


def test_the_plot_shows_a_bar_for_every_class_and_model(report):
    figure = plot_results({"one": report.results, "two": report.results})
    fine, coarse = figure.axes
    names = [label.get_text() for label in fine.get_yticklabels()]
    assert names == list(report.results["levels"]["fine"]["per_class"])
    assert len(coarse.patches) == 2 * 7
    widths = [bar.get_width() for bar in fine.patches[:20]]
    for width, row in zip(
        widths, report.results["levels"]["fine"]["per_class"].values(), strict=True
    ):
        assert np.isnan(width) if row["ap"] is None else width == row["ap"]
    legend = [text.get_text() for text in fine.get_legend().get_texts()]
    assert "chance" in legend
    assert any(text.startswith("one (mAP 0.") for text in legend)


def test_a_model_or_a_path_will_do(tiny, tiny_bundle, clips, report):
    two = clips.subset([0, 1])
    by_path, by_model = evaluate(tiny_bundle, two), evaluate(tiny.model, two)
    for level in ("fine", "coarse"):
        found = by_model.results["levels"][level]["map"]
        assert by_path.results["levels"][level]["map"] == pytest.approx(found)


def test_clips_of_another_taxonomy_are_refused(predictor, clips):
    other = hk.Taxonomy.from_dict({"strings": ["violin"], "brass": ["horn"]})
    foreign = LabelledClips(other, clips.paths[:1], {"fine": [[1, 0]]})
    with pytest.raises(LabelError, match="read the clips with the model's taxonomy"):
        evaluate(predictor, foreign)


def test_a_clip_that_cannot_be_decoded_is_named(predictor, clips, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_text("not audio")
    paths = (*clips.paths[:2], broken)
    with pytest.raises(AudioError, match=f"^{broken}: "):
        evaluate(
            predictor,
            LabelledClips(clips.taxonomy, paths, {"fine": clips.labels["fine"][:3]}),
        )


def test_no_clips_and_no_model_are_refused(predictor, clips):
    with pytest.raises(LabelError, match="no clips"):
        evaluate(predictor, clips.subset([]))
    with pytest.raises(ModelError, match="no-such-model"):
        evaluate("no-such-model", clips)
