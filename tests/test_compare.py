"""Tests of `hmic_keras.evaluation.compare` and `hmic compare`."""

import csv
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from scipy import stats
from test_openmic import make_archive

from hmic_keras import Taxonomy, metrics
from hmic_keras.data import FeatureSet, FeatureSplits
from hmic_keras.errors import HmicError, LabelError, ModelError
from hmic_keras.evaluation import (
    Comparison,
    Contender,
    TrialSettings,
    compare,
    holm,
    interval,
    mean_ranks,
    paired_tests,
)
from hmic_keras.evaluation._baselines import PerClassBaseline
from hmic_keras.evaluation._networks import _Best
from hmic_keras.evaluation._trials import digest
from hmic_keras.hierarchical_model import HierarchicalModel

pytestmark = pytest.mark.xdist_group("compare")
TREE = Taxonomy.from_dict(
    {
        "levels": ["fine", "mid", "top"],
        "classes": {"fine": ["a", "b", "c"], "mid": ["p", "q", "r"], "top": ["u", "v"]},
        "parents": {
            "fine": {"a": ["p"], "b": ["p", "q"], "c": ["top:v"]},
            "mid": {"p": ["u"], "q": ["v"]},
        },
    }
)
FAST = {"units": (8,), "epochs": 3, "patience": 2, "batch_size": 16}


def draw(rows, seed, hidden=0.0):
    """Features whose signs are the fine labels, some of them unobserved."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 5)).astype(np.float32)
    fine = (x[:, :3] + 0.5 * random.normal(size=(rows, 3)) > 0).astype(np.float32)
    closed = TREE.close_labels({"fine": fine, "mid": np.full((rows, 3), -1)})
    # `r` has no children and follows a feature of its own.
    closed["mid"][:, 2] = x[:, 3] > 0
    fine[random.random(fine.shape) < hidden] = -1
    mid = np.where(random.random((rows, 3)) < hidden, -1, closed["mid"])
    return FeatureSet(TREE, x, {"fine": fine, "mid": mid, "top": closed["top"]})


@pytest.fixture(scope="module")
def data():
    return FeatureSplits("signs", train=draw(80, 0, 0.3), test=draw(60, 1))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A small comparison and its folder. Do not change its files."""
    folder = tmp_path_factory.mktemp("comparison")
    methods = {
        "gmp": {},
        "wide": {"method": "multitask", "settings": {"units": (16, 16)}, "consistent": True},
        "logistic_regression": {},
        "random_forest": {"options": {"n_estimators": 5}},
    }
    done = []
    result = compare(
        data, methods, folder, seeds=3, settings=FAST, progress=lambda *n: done.append(n)
    )
    assert done[-1] == (12, 12)
    return result, folder, methods


def test_every_trial_is_a_file_with_all_measures(finished):
    result, folder, methods = finished
    for name in methods:
        for seed in range(3):
            trial = json.loads((folder / "trials" / name / f"seed{seed}.json").read_text())
            assert (trial["contender"], trial["seed"]) == (name, seed)
    for measure in ("map.fine", "map.mid", "map.top", "f1.fine", "hierarchical_f", "au_prc"):
        scores = result.scores(measure)
        assert list(scores) == list(methods)
        assert all(len(values) == 3 and (values > 0.3).all() for values in scores.values())
    assert {"violation_rate", "clip_violation_rate", "parameters", "seconds"} <= set(
        result.measures
    )
    assert "epochs" not in result.measures  # a baseline has none
    # 5 inputs, normalised (10), 16 and 16 hidden units, 3 + 3 + 2 classes.
    assert result.trials["wide"][0]["parameters"] == 10 + 6 * 16 + 17 * 16 + 17 * 8
    assert result.trials["logistic_regression"][0]["parameters"] == 8 * 6
    assert result.about["examples"] == {"train": 80, "valid": None, "test": 60}


def test_the_rule_and_the_switch_leave_no_violation(finished):
    result, _, _ = finished
    assert not result.scores("violation_rate")["gmp"].any()
    assert not result.scores("violation_rate")["wide"].any()
    assert result.scores("violation_rate")["logistic_regression"].all()


def test_logistic_regression_does_not_depend_on_the_seed(finished):
    result, _, _ = finished
    assert len(set(result.scores("map.fine")["logistic_regression"])) == 1
    assert len(set(result.scores("map.fine")["random_forest"])) == 3
    assert len(set(result.scores("map.fine")["gmp"])) == 3


def test_tables_hold_what_the_trials_say(finished):
    result, folder, methods = finished
    with (folder / "summary.csv").open(newline="") as stream:
        rows = {(row["measure"], row["contender"]): row for row in csv.DictReader(stream)}
    values = result.scores("map.fine")["gmp"]
    row = rows["map.fine", "gmp"]
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert float(row["mean"]) == pytest.approx(values.mean())
    assert (float(row["low"]), float(row["high"])) == pytest.approx((low, high))
    with (folder / "trials.csv").open(newline="") as stream:
        trials = list(csv.DictReader(stream))
    assert [(t["contender"], t["seed"]) for t in trials[:4]] == [
        *(("gmp", str(seed)) for seed in range(3)),
        ("wide", "0"),
    ]
    assert float(trials[1]["map.fine"]) == values[1]
    with (folder / "tests.csv").open(newline="") as stream:
        tests = [row for row in csv.DictReader(stream) if row["measure"] == "au_prc"]
    assert len(tests) == len(methods) * (len(methods) - 1) // 2
    loaded = Comparison.load(folder)
    assert loaded.report() == result.report()
    for name in ("scores", "differences"):
        image = matplotlib.image.imread(folder / f"{name}.png")
        assert image.shape[0] > 200
        assert np.ptp(image[..., :3]) > 0.5
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_it_goes_on_where_it_stopped(finished, data, tmp_path):
    import shutil

    _, folder, methods = finished
    again = shutil.copytree(folder, tmp_path / "again")
    lost = again / "trials" / "gmp" / "seed1.json"
    before = json.loads(lost.read_text())
    lost.unlink()
    kept = {path: path.read_bytes() for path in again.rglob("seed*.json")}
    done = []
    compare(data, methods, again, seeds=3, settings=FAST, progress=lambda *n: done.append(n))
    assert done == [(1, 1)]
    after = json.loads(lost.read_text())
    assert after["results"] == before["results"]  # the same seed gives the same network
    assert {path: path.read_bytes() for path in kept} == kept


def test_another_comparison_in_the_folder_is_refused(finished, data):
    _, folder, _ = finished
    with pytest.raises(HmicError, match=r"seed0\.json: is the result of another data set"):
        compare(data, ["gmp"], folder, seeds=1, settings={**FAST, "epochs": 4})


def test_time_that_is_over_leaves_what_is_done(data, tmp_path):
    with pytest.raises(HmicError, match="The time was over before all contenders"):
        compare(data, ["gmp", "logistic_regression"], tmp_path, settings=FAST, seconds=0)
    result = compare(data, ["logistic_regression"], tmp_path, seeds=2, settings=FAST)
    assert result.about["complete"]


def test_a_contender_that_fails_does_not_cost_the_others(data, tmp_path):
    methods = {
        "bad": {"method": "logistic_regression", "options": {"depth": 3}},
        "logistic_regression": {},
    }
    with pytest.raises(ModelError, match="must be arguments of scikit-learn"):
        compare(data, methods, tmp_path, seeds=1)
    assert (tmp_path / "trials" / "logistic_regression" / "seed0.json").exists()
    assert not (tmp_path / "trials" / "bad").exists()


@pytest.mark.slow
def test_processes_give_the_same_as_one(finished, data, tmp_path):
    result, _, methods = finished
    both = compare(data, methods, tmp_path, seeds=2, settings=FAST, jobs=2)
    for name in ("logistic_regression", "random_forest"):
        expected = result.scores("map.fine")[name][:2]
        np.testing.assert_array_equal(both.scores("map.fine")[name], expected)
    # Threads add in another order.
    np.testing.assert_allclose(
        both.scores("map.fine")["gmp"], result.scores("map.fine")["gmp"][:2], atol=0.05
    )


def test_without_patience_all_of_training_and_validation_part_is_fitted(tmp_path):
    parts = {"train": draw(40, 0), "valid": draw(40, 2), "test": draw(30, 1)}
    whole = FeatureSplits(
        "signs", train=parts["train"].join(parts["valid"]), test=parts["test"]
    )
    one = compare(
        FeatureSplits("signs", **parts), ["logistic_regression"], tmp_path / "a", seeds=1
    )
    two = compare(whole, ["logistic_regression"], tmp_path / "b", seeds=1)
    assert one.trials["logistic_regression"][0]["au_prc"] == pytest.approx(
        two.trials["logistic_regression"][0]["au_prc"]
    )
    fixed = compare(
        FeatureSplits("signs", **parts),
        ["multitask"],
        tmp_path / "c",
        seeds=1,
        settings={**FAST, "patience": 0},
    )
    assert fixed.trials["multitask"][0]["epochs"] == 3
    assert fixed.trials["multitask"][0]["validation"] is None


def test_the_step_of_a_network_is_traced_once(data, tmp_path, monkeypatch):
    traced, step = [], HierarchicalModel.train_step
    monkeypatch.setattr(
        HierarchicalModel, "train_step", lambda *args: traced.append(1) or step(*args)
    )
    compare(data, ["multitask"], tmp_path / "out", seeds=1, settings=FAST)
    assert len(traced) == 1


@pytest.mark.slow
def test_other_tests_are_scored_as_a_test_of_their_own_would_be(data, tmp_path):
    away = draw(50, 7, 0.1)
    several = FeatureSplits(
        "signs", train=data.train, test=data.test, other_tests={"away": away, "home": data.test}
    )
    several.save(tmp_path / "several.npz")
    given, several = several, FeatureSplits.load(tmp_path / "several.npz")
    assert digest(given) == digest(several)
    assert list(several.other_tests) == ["away", "home"]
    methods = {
        "closed": {"method": "multitask", "consistent": True},
        "logistic_regression": {},
    }
    found = compare(several, methods, tmp_path / "several", seeds=2, settings=FAST)
    for name, test in (("", data.test), ("away:", away), ("home:", data.test)):
        alone = FeatureSplits("signs", train=data.train, test=test)
        folder = tmp_path / f"alone_{name[:-1]}"
        expected = compare(alone, methods, folder, seeds=2, settings=FAST)
        for measure in ("map.fine", "f1.top", "hierarchical_f", "au_prc", "violation_rate"):
            for method, values in expected.scores(measure).items():
                got = found.scores(name + measure)[method]
                np.testing.assert_allclose(got, values, atol=1e-6)
        assert not [m for m in expected.measures if ":" in m]
    assert found.about["examples"]["other_tests"] == {"away": 50, "home": 60}
    assert "away:map.mid" in (tmp_path / "several" / "summary.csv").read_text()
    scaled = several.standardise()
    np.testing.assert_array_equal(scaled.other_tests["home"].features, scaled.test.features)
    # Another set of this name is another comparison.
    other = dataclasses.replace(several, other_tests={"away": data.test})
    with pytest.raises(HmicError, match="another data set"):
        compare(other, methods, tmp_path / "several", seeds=2, settings=FAST)


def test_other_tests_of_a_file_that_lack_their_features_are_named(data, tmp_path):
    path = tmp_path / "several.npz"
    dataclasses.replace(data, other_tests={"away": data.test}).save(path)
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    del arrays["other_tests/away/features"]
    np.savez(path, **arrays)
    with pytest.raises(LabelError, match="lacks the array 'other_tests/away/features'"):
        FeatureSplits.load(path)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", 3])
def test_other_tests_need_a_name_that_can_stand_before_a_measure(data, name):
    with pytest.raises(LabelError, match=f"without `/` and `:`. Received: {name!r}"):
        FeatureSplits("signs", data.train, data.test, other_tests={name: data.test})


@pytest.mark.slow
def test_inner_classes_are_scored_by_themselves_where_labels_end_at_one(tmp_path):
    ends = TREE.close_labels(
        {"fine": [[0, 0, 0], [1, 0, 0]], "mid": [[1, 0, 0], [1, 0, 0]], "top": [[1, 0]] * 2}
    )
    unknown = TREE.close_labels({"fine": [[-1, 0, 0]], "mid": [[1, 0, 0]], "top": [[1, 0]]})
    skips = TREE.close_labels({"fine": [[0, 0, -1]], "mid": [[0, 0, 0]], "top": [[0, 1]]})
    for labels, expected in ((ends, True), (unknown, False), (skips, False)):
        rows = FeatureSet(TREE, np.zeros((len(labels["fine"]), 5)), labels)
        assert rows.ends_at_inner_classes() is expected
    inner = FeatureSet(TREE, draw(2, 2).features, ends).join(draw(60, 0))
    methods = {"gmp": {}, "by_rule": {"method": "gmp", "options": {"own_scores": False}}}
    methods |= {"c_hmcnn": {}, "random_forest": {"options": {"n_estimators": 5}}}
    for train, expected in ((inner, {"own_scores": True}), (draw(60, 0), {})):
        data = FeatureSplits("ends", train=train, test=draw(40, 1))
        found = compare(data, methods, tmp_path / str(bool(expected)), seeds=1, settings=FAST)
        options = {one["name"]: one["options"] for one in found.about["contenders"]}
        assert options["gmp"] == expected
        assert options["by_rule"] == {"own_scores": False}
        assert options["c_hmcnn"] == {}
        sizes = {name: values[0] for name, values in found.scores("parameters").items()}
        assert bool(sizes["gmp"] > sizes["by_rule"]) is bool(expected)


@pytest.mark.parametrize(
    "backbone", ["conv", pytest.param("MobileNetV3Small", marks=pytest.mark.slow)]
)
def test_networks_on_spectrograms_are_trained_end_to_end(tmp_path, backbone):
    random = np.random.default_rng(0)

    def clips(rows, seed):
        # Each class is a band that sounds.
        labels = draw(rows, seed)
        x = random.normal(scale=0.1, size=(rows, 32, 40))
        for band in range(3):
            x[:, :, 10 * band : 10 * band + 10] += labels.labels["fine"][:, band, None, None]
        return FeatureSet(TREE, x, labels.labels)

    data = FeatureSplits("bands", train=clips(96, 0), test=clips(40, 1))
    contender = Contender("gmp", "end_to_end", backbone=backbone)
    assert contender.to_dict()["backbone"] == backbone
    assert "backbone" not in Contender("gmp").to_dict()
    settings = {"epochs": 8 if backbone == "conv" else 1, "patience": 0, "learning_rate": 0.01}
    found = compare(data, [contender], tmp_path, seeds=1, settings={"dropout": 0.0, **settings})
    if backbone == "conv":
        assert found.scores("map.fine")["end_to_end"][0] > 0.95
    else:
        assert found.scores("parameters")["end_to_end"][0] > 500_000


@pytest.mark.slow
def test_self_training_learns_from_what_nobody_observed(data, tmp_path):
    methods = {
        "plain": {"method": "multitask"},
        "weightless": {"method": "multitask", "self_training": {"weight": 0.0}},
        "taught": {"method": "multitask", "self_training": {"children_cover": False}},
    }
    settings = {**FAST, "patience": 0}
    result = compare(data, methods, tmp_path, seeds=1, settings=settings)
    scores = {name: values[0] for name, values in result.scores("au_prc").items()}
    # Filled-in labels of weight 0 are as good as unobserved.
    assert scores["weightless"] == pytest.approx(scores["plain"], abs=1e-4)
    assert scores["taught"] != scores["plain"]


def test_the_best_look_counts_and_patience_ends_each_network_by_itself():
    best = _Best(2, patience=2)
    assert best.update(1, [0.1, 0.5]) == [True, True]
    assert best.update(2, [0.3, 0.4]) == [True, False]
    assert best.update(3, [0.2, 0.4]) == [False, False]
    # The second has stopped; what it would reach later does not count.
    assert best.update(4, [0.4, 0.9]) == [True, False]
    assert not best.stopped
    best.update(5, [0.0, 0.0])
    best.update(6, [0.0, 0.0])
    assert best.stopped
    assert (best.values, best.epochs) == ([0.4, 0.5], [4, 1])


@pytest.mark.parametrize("method", ["logistic_regression", "random_forest"])
def test_baselines_fit_each_class_on_its_observed_examples(method):
    rows = draw(50, 3, hidden=0.4)
    other = {level: values.copy() for level, values in rows.labels.items()}
    found = PerClassBaseline(method, {}, 0).fit(rows).predict(rows.features)
    for level, labels in rows.labels.items():
        assert found[level].shape == labels.shape
        for tag in range(labels.shape[1]):
            seen = labels[:, tag] >= 0
            part = FeatureSet(
                Taxonomy.from_dict({"levels": ["one"], "classes": {"one": ["x"]}}),
                rows.features[seen],
                {"one": labels[seen, tag : tag + 1]},
            )
            alone = PerClassBaseline(method, {}, 0).fit(part).predict(rows.features)["one"]
            np.testing.assert_allclose(found[level][:, tag], alone[:, 0], atol=1e-6)
    assert all(np.array_equal(other[level], rows.labels[level]) for level in other)


def test_a_class_with_one_answer_scores_it():
    fine = np.array([[1, 0, -1]] * 6)
    rows = FeatureSet(TREE, np.random.default_rng(0).normal(size=(6, 2, 2)), {"fine": fine})
    found = PerClassBaseline("logistic_regression", {}, 0).fit(rows).predict(rows.features)
    assert found["fine"][0].tolist() == [1, 0, 0]


def test_tests_are_those_of_scipy():
    random = np.random.default_rng(5)
    scores = {
        name: random.normal(mean, 1, 10) for name, mean in (("a", 0), ("b", 1), ("c", 0.2))
    }
    rows = paired_tests(scores)
    assert len(rows) == 3
    for row in rows:
        first, second = scores[row["first"]], scores[row["second"]]
        assert first.mean() > second.mean()
        test = stats.ttest_rel(first, second)
        assert row["p_t"] == pytest.approx(test.pvalue)
        assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval()))
        assert row["p_wilcoxon"] == pytest.approx(stats.wilcoxon(first, second).pvalue)
    smallest = min(rows, key=lambda row: row["p_t"])
    assert smallest["p_t_holm"] == pytest.approx(min(1, 3 * smallest["p_t"]))


def test_tests_of_equal_or_single_scores_are_defined():
    same = paired_tests({"a": [0.5] * 5, "b": [0.5] * 5})[0]
    assert (same["difference"], same["p_t"], same["p_wilcoxon"]) == (0, 1, 1)
    shifted = paired_tests({"a": [1.0, 2, 3, 4, 5], "b": [0.5, 1.5, 2.5, 3.5, 4.5]})[0]
    assert shifted["p_t"] == 0
    assert np.isnan(paired_tests({"a": [0.5], "b": [0.4]})[0]["p_t"])
    assert np.isnan(interval([0.3])[1])


def test_holm_steps_down():
    """Against the definition: the largest of (n - rank) * p over the smaller ones."""
    p = [0.01, 0.2, 0.03, 0.04, float("nan"), 0.03]
    found = holm(p)
    known = sorted(x for x in p if x == x)
    for value, adjusted in zip(p, found, strict=True):
        if value != value:
            assert adjusted != adjusted
            continue
        below = [min(1, (len(known) - i) * x) for i, x in enumerate(known) if x <= value]
        # Of equal p-values, the later one is adjusted by less but may not be the smaller.
        assert adjusted == pytest.approx(max(below))


def test_ranks_are_shared_by_equal_scores():
    ranks = mean_ranks([{"a": 0.5, "b": 0.5, "c": 0.1}, {"a": 0.9, "b": 0.1, "c": 0.2}])
    assert ranks == {"a": 1.25, "b": 2.25, "c": 2.5}


def test_area_over_all_levels_is_scikit_learns_micro_average():
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(2)
    labels = draw(40, 7).labels
    scores = {level: random.random(values.shape).round(1) for level, values in labels.items()}
    found = metrics.hierarchical_average_precision(TREE, labels, scores)
    truth = np.concatenate([labels[level] for level in TREE.levels], axis=1)
    guess = np.concatenate([scores[level] for level in TREE.levels], axis=1)
    assert found == pytest.approx(average_precision_score(truth, guess, average="micro"))
    hidden = {level: values.copy() for level, values in draw(40, 7, 0.5).labels.items()}
    changed = {
        level: np.where(hidden[level] < 0, random.random(values.shape), values)
        for level, values in scores.items()
    }
    assert metrics.hierarchical_average_precision(
        TREE, hidden, scores
    ) == metrics.hierarchical_average_precision(TREE, hidden, changed)


def test_closed_scores_are_the_highest_of_all_descendants():
    random = np.random.default_rng(4)
    scores = {level: random.random((20, len(TREE.classes(level)))) for level in TREE.levels}
    closed = metrics.ancestor_closed(TREE, scores)
    for parent in TREE.levels:
        expected = scores[parent].copy()
        for child in TREE.levels[: TREE.levels.index(parent)]:
            for p, c in TREE.links(parent, child):
                expected[:, p] = np.maximum(expected[:, p], scores[child][:, c])
        np.testing.assert_array_equal(closed[parent], expected)
    assert metrics.violation_rate(TREE, closed) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"methods": []}, ModelError, "at least one contender"),
        ({"methods": "gmp"}, ModelError, "must be a list"),
        ({"methods": ["gmp", "gmp"]}, ModelError, "each name once"),
        ({"methods": ["svm"]}, ModelError, "`method` must be one of"),
        (
            {"methods": {"random_forest": {"self_training": {}}}},
            ModelError,
            "`self_training` is for networks",
        ),
        ({"methods": {"gmp": {"depth": 3}}}, ModelError, r"`methods\['gmp'\]` may hold"),
        ({"methods": {"a/b": {"method": "gmp"}}}, ModelError, "`name` of a contender"),
        ({"settings": {"rate": 1}}, ModelError, "`settings` may hold"),
        ({"settings": {"epochs": 0}}, ModelError, "`epochs` must be a positive integer"),
        ({"settings": {"patience": -1}}, ModelError, "`patience` must be"),
        ({"settings": {"learning_rate": 0}}, ModelError, "`learning_rate` must be"),
        ({"settings": {"level_weights": "deep"}}, ModelError, "`level_weights` must be"),
        ({"seeds": 0}, HmicError, "`seeds` must be"),
        ({"seeds": [1, 1]}, HmicError, "`seeds` must be"),
        ({"jobs": 0}, HmicError, "`jobs` must be"),
        ({"together": 1.5}, HmicError, "`together` must be"),
        ({"monitor": "loss"}, ModelError, "`monitor` must be one of"),
        ({"validation": 1}, ModelError, "`validation` must be"),
    ],
)
def test_wrong_arguments_are_named(data, tmp_path, call, error, message):
    with pytest.raises(error, match=message):
        compare(data, **{"methods": ["gmp"], "out": tmp_path, **call})
    assert list(tmp_path.iterdir()) == []


def test_missing_values_and_measures_are_refused(data, finished, tmp_path):
    x = data.train.features.copy()
    x[0, 0] = np.nan
    holes = FeatureSplits("holes", train=FeatureSet(TREE, x, data.train.labels), test=data.test)
    with pytest.raises(HmicError, match=r"must have no missing values"):
        compare(holes, ["gmp"], tmp_path)
    with pytest.raises(LabelError, match="`measure` must be one of"):
        finished[0].scores("loss")
    with pytest.raises(HmicError, match="is no comparison"):
        Comparison.load(tmp_path)
    assert Contender("gmp").settings == {}
    assert TrialSettings().replace({"units": [3, 4]}).units == (3, 4)


class TestFeatureSplits:
    def test_a_file_keeps_everything(self, data, tmp_path):
        parts = FeatureSplits("signs", train=data.train, test=data.test, valid=draw(9, 5, 0.2))
        parts.save(tmp_path / "signs.npz")
        again = FeatureSplits.load(tmp_path / "signs.npz")
        assert again.name == "signs"
        assert again.taxonomy == TREE
        for name in ("train", "test", "valid"):
            one, two = getattr(parts, name), getattr(again, name)
            np.testing.assert_array_equal(one.features, two.features)
            for level in TREE.levels:
                np.testing.assert_array_equal(one.labels[level], two.labels[level])

    def test_a_file_that_cannot_be_used_is_named(self, data, tmp_path):
        with pytest.raises(LabelError, match=r"must end in \.npz"):
            data.save(tmp_path / "signs.csv")
        with pytest.raises(LabelError, match="no such file"):
            FeatureSplits.load(tmp_path / "signs.npz")
        data.save(tmp_path / "signs.npz")
        content = (tmp_path / "signs.npz").read_bytes()
        (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
        with pytest.raises(LabelError, match=r"cut\.npz: is damaged"):
            FeatureSplits.load(tmp_path / "cut.npz")
        np.savez(tmp_path / "bare.npz", name="x")
        with pytest.raises(LabelError, match="lacks the array 'taxonomy"):
            FeatureSplits.load(tmp_path / "bare.npz")

    def test_parts_must_fit_together(self, data):
        other = FeatureSet(TREE, np.zeros((2, 4)), {"fine": np.zeros((2, 3))})
        with pytest.raises(LabelError, match="features of one shape"):
            FeatureSplits("x", train=data.train, test=other)
        with pytest.raises(LabelError, match="the same number of rows"):
            FeatureSet(TREE, np.zeros((3, 4)), {"fine": np.zeros((2, 3))})
        with pytest.raises(LabelError, match="must be numbers of the shape"):
            FeatureSet(TREE, np.zeros(3), {"fine": np.zeros((3, 3))})
        with pytest.raises(LabelError, match="infinity in row 1"):
            FeatureSet(TREE, [[0.0], [np.inf]], {"fine": np.zeros((2, 3))})


class TestCommand:
    def test_openmic_in_the_layout_of_the_archive(self, hmic, tmp_path, monkeypatch):
        make_archive(tmp_path / "openmic-2018")
        monkeypatch.chdir(tmp_path)
        done = hmic(
            *("compare", "--dataset", "openmic", "--root", tmp_path),
            *("--methods", "gmp, logistic_regression", "--seeds", 2, "--epochs", 2),
            *("--units", 8, "--patience", 0, "--json"),
        )
        assert done.code == 0, done.err
        report = json.loads(done.out)
        assert report["about"]["data"] == "openmic"
        assert report["about"]["examples"] == {"train": 3, "valid": None, "test": 2}
        assert report["about"]["taxonomy"] == {"fine": 20, "coarse": 7}
        # mAP as PaSST counts it: over the tags that the test part has positives of.
        trial = json.loads(Path("comparison-openmic/trials/gmp/seed0.json").read_text())
        fine = trial["results"]["levels"]["fine"]
        assert fine["tags_scored"] + fine["tags_dropped"] == 20
        assert report["summary"]["map.fine"]["gmp"]["mean"] > 0

    def test_a_table_is_shown_for_a_file_of_features(self, hmic, data, tmp_path, monkeypatch):
        data.save(tmp_path / "signs.npz")
        arguments = (
            *("compare", "--dataset", tmp_path / "signs.npz", "--out", tmp_path / "out"),
            *("--methods", "logistic_regression,random_forest", "--seeds", 2),
        )
        done = hmic(*arguments)
        assert done.code == 0, done.err
        assert "random_forest" in done.out
        assert "is ahead of" in done.out
        assert "95 % of 2 seeds" in done.out
        assert hmic(*arguments).out == done.out
        # However narrow the terminal is, no number is cut.
        monkeypatch.setattr("hmic_keras.cli._terminal.out.width", 60)
        narrow = hmic(*arguments).out
        summary = json.loads(hmic(*arguments, "--json").out)["summary"]
        shown = [m for m in summary if m.startswith(("map.", "f1.")) or m == "au_prc"]
        assert len(shown) > 4
        for measure in shown:
            for found in summary[measure].values():
                assert f" {found['mean']:.3f} " in narrow
        assert "…" not in narrow
        assert max(map(len, narrow.splitlines()[:-2])) <= 60

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--dataset", "mnist"), "`--dataset` must be 'openmic'"),
            (("--dataset", "openmic"), "`--root` is needed"),
            (("--dataset", "enron", "--root", "."), "must hold Enron_corr_trainvalid.arff"),
            (("--dataset", "none.npz"), "no such file"),
            (("--dataset", "none.npz", "--units", "0"), "none.npz"),
        ],
    )
    def test_a_fault_is_one_line(self, hmic, tmp_path, monkeypatch, arguments, message):
        monkeypatch.chdir(tmp_path)
        done = hmic("compare", "--out", tmp_path / "out", *arguments)
        assert done.code == 2
        assert message in done.err


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_seeds_trained_together_on_jax_are_those_trained_alone(data, tmp_path):
    """Fast path against one seed at a time, and without TensorFlow."""
    data.save(tmp_path / "signs.npz")
    code = f"""
import sys
sys.modules["tensorflow"] = None  # whoever imports it fails
import pathlib, numpy as np
from hmic_keras.data import FeatureSplits
from hmic_keras.evaluation import compare
data = FeatureSplits.load({str(tmp_path / "signs.npz")!r})
settings = {{"units": (8,), "epochs": 3, "patience": 2, "batch_size": 16}}
found = [compare(data, ["gmp", "c_hmcnn"], {str(tmp_path)!r} + f"/{{n}}", seeds=2,
                 settings=settings, together=n) for n in (1, 2)]
for name in ("gmp", "c_hmcnn"):
    one, two = (result.scores("au_prc")[name] for result in found)
    np.testing.assert_allclose(one, two, atol=1e-3)
    assert one[0] != one[1]
assert any(pathlib.Path({str(tmp_path)!r}, "1", "compiled").iterdir())
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env=environment,
        cwd=Path(__file__).resolve().parents[1],
    )
