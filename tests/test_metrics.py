import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)

from hmic_keras import metrics
from hmic_keras.errors import LabelError, TaxonomyError
from hmic_keras.taxonomy import Taxonomy

DAG = Taxonomy.from_dict(
    {
        "levels": ["fine", "mid", "top"],
        "classes": {
            "fine": ["flute", "sax", "snare", "kazoo"],
            "mid": ["wood", "reed", "bell"],
            "top": ["wind", "drums"],
        },
        "parents": {
            "fine": {"flute": ["wood"], "sax": ["wood", "reed"], "snare": ["top:drums"]},
            "mid": {"wood": ["wind"], "reed": ["wind"]},
        },
    }
)
FLAT = Taxonomy.from_dict({"levels": ["fine"], "classes": {"fine": ["a", "b"]}})
PAIR = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})


def random_case(seed, rows=60, tags=5, decimals=1):
    """Labels with every tag seen both ways, and scores rounded so that many tie."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, tags)) < 0.3).astype(float)
    labels[0], labels[1] = 1, 0
    scores = np.clip(0.3 * labels + rng.random((rows, tags)) * 0.7, 0, 1).round(decimals)
    return labels, scores


def random_scores(taxonomy, seed, rows):
    rng = np.random.default_rng(seed)
    return {
        lv: rng.random((rows, len(taxonomy.classes(lv)))).round(2) for lv in taxonomy.levels
    }


def hidden(labels, seed):
    """Hides about half of the labels, a different half in each column."""
    rng = np.random.default_rng(seed)
    masked = labels.copy()
    masked[2:][rng.random(labels[2:].shape) < 0.5] = -1
    return masked


# Against scikit-learn


@pytest.mark.parametrize("seed", range(5))
def test_fully_observed_metrics_equal_scikit_learn(seed):
    labels, scores = random_case(seed)
    limits = np.array([0.2, 0.4, 0.5, 0.6, 0.3])
    np.testing.assert_allclose(
        metrics.average_precision(labels, scores),
        average_precision_score(labels, scores, average=None),
    )
    predicted = scores >= limits
    np.testing.assert_allclose(
        metrics.f1_per_class(labels, scores, limits), f1_score(labels, predicted, average=None)
    )
    for average in ("macro", "micro"):
        assert metrics.mean_average_precision(labels, scores, average) == pytest.approx(
            average_precision_score(labels, scores, average=average)
        )
        assert metrics.f1(labels, scores, limits, average) == pytest.approx(
            f1_score(labels, predicted, average=average)
        )


@pytest.mark.parametrize("seed", range(5))
def test_masked_metrics_equal_scikit_learn_on_the_observed_clips(seed):
    labels, scores = random_case(seed)
    masked = hidden(labels, seed)
    precisions, f1s = [], []
    for tag in range(labels.shape[1]):
        seen = masked[:, tag] >= 0
        precisions.append(average_precision_score(labels[seen, tag], scores[seen, tag]))
        f1s.append(f1_score(labels[seen, tag], scores[seen, tag] >= 0.5))
    np.testing.assert_allclose(metrics.average_precision(masked, scores), precisions)
    np.testing.assert_allclose(metrics.f1_per_class(masked, scores), f1s)
    assert metrics.mean_average_precision(masked, scores) == pytest.approx(np.mean(precisions))
    assert metrics.f1(masked, scores) == pytest.approx(np.mean(f1s))
    seen = masked >= 0
    assert metrics.mean_average_precision(masked, scores, "micro") == pytest.approx(
        average_precision_score(labels[seen], scores[seen])
    )
    assert metrics.f1(masked, scores, average="micro") == pytest.approx(
        f1_score(labels[seen], scores[seen] >= 0.5)
    )
    as_nan = np.where(seen, masked, np.nan)
    np.testing.assert_array_equal(
        metrics.average_precision(as_nan, scores), metrics.average_precision(masked, scores)
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("hide", [False, True])
def test_roc_auc_equals_scikit_learn_on_the_observed_clips(seed, hide):
    labels, scores = random_case(seed)
    masked = hidden(labels, seed) if hide else labels
    seen = masked >= 0
    expected = [
        roc_auc_score(labels[known, tag], scores[known, tag])
        for tag, known in enumerate(seen.T)
    ]
    np.testing.assert_allclose(metrics.roc_auc_per_class(masked, scores), expected)
    assert metrics.roc_auc(masked, scores) == pytest.approx(np.mean(expected))
    assert metrics.roc_auc(masked, scores, "micro") == pytest.approx(
        roc_auc_score(labels[seen], scores[seen])
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_best_f1_equals_that_of_scikit_learns_curve(seed):
    labels, scores = random_case(seed)
    masked = hidden(labels, seed)
    expected = []
    for tag in range(labels.shape[1]):
        seen = masked[:, tag] >= 0
        precision, recall, _ = precision_recall_curve(labels[seen, tag], scores[seen, tag])
        expected.append(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-9)))
    found = metrics.best_f1_per_class(masked, scores)
    np.testing.assert_allclose(found, expected)
    assert metrics.best_f1(masked, scores) == pytest.approx(np.mean(expected))
    limits = metrics.best_thresholds(masked, scores, min_positives=1)
    np.testing.assert_allclose(metrics.f1_per_class(masked, scores, limits), found)


def curve_error(labels, scores, bins, strategy):
    """The calibration error from scikit-learn's curve and the sizes of its bins."""
    shares, means = calibration_curve(labels, scores, n_bins=bins, strategy=strategy)
    edges = np.linspace(0, 1, bins + 1)
    if strategy == "quantile":
        edges = np.percentile(scores, 100 * edges)
    _, sizes = np.unique(np.searchsorted(edges[1:-1], scores), return_counts=True)
    return np.sum(sizes * np.abs(shares - means)) / len(scores)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("bins", [1, 7, 15])
@pytest.mark.parametrize("decimals", [1, 5])
def test_the_calibration_error_is_that_of_scikit_learns_curve(strategy, bins, decimals):
    labels, scores = random_case(3, rows=90, decimals=decimals)
    masked = hidden(labels, 3)
    seen = masked >= 0
    expected = [
        curve_error(labels[known, tag], scores[known, tag], bins, strategy)
        for tag, known in enumerate(seen.T)
    ]
    found = metrics.calibration_error_per_class(masked, scores, bins, strategy)
    np.testing.assert_allclose(found, expected)
    options = {"bins": bins, "strategy": strategy}
    assert metrics.calibration_error(masked, scores, **options) == pytest.approx(
        np.mean(expected)
    )
    assert metrics.calibration_error(
        masked, scores, average="micro", **options
    ) == pytest.approx(curve_error(labels[seen], scores[seen], bins, strategy))


def test_the_brier_score_equals_scikit_learn():
    labels, scores = random_case(4)
    masked = hidden(labels, 4)
    seen = masked >= 0
    expected = [
        brier_score_loss(labels[known, tag], scores[known, tag])
        for tag, known in enumerate(seen.T)
    ]
    np.testing.assert_allclose(metrics.brier_score_per_class(masked, scores), expected)
    assert metrics.brier_score(masked, scores) == pytest.approx(np.mean(expected))
    micro = metrics.brier_score(masked, scores, "micro")
    assert micro == pytest.approx(brier_score_loss(labels[seen], scores[seen]))


# Rules


def test_scores_drawn_from_themselves_are_calibrated():
    rng = np.random.default_rng(0)
    scores = rng.random((20_000, 2))
    labels = (rng.random(scores.shape) < scores).astype(float)
    assert metrics.calibration_error(labels, scores) < 0.02
    assert metrics.calibration_error(labels, scores**3) > 0.1
    assert metrics.brier_score(labels, scores) == pytest.approx(1 / 6, abs=0.01)


def test_a_perfect_ranking_and_its_reverse():
    labels, scores = [[1], [0], [1], [-1]], [[0.8], [0.3], [0.9], [0.1]]
    assert metrics.roc_auc(labels, scores) == 1
    assert metrics.roc_auc(labels, 1 - np.array(scores)) == 0
    assert metrics.roc_auc(labels, np.full((4, 1), 0.4)) == 0.5


def test_roc_auc_needs_both_kinds_and_calibration_only_one():
    labels = np.array([[1, 1, 0, -1], [0, 1, 0, -1]])
    scores = np.array([[0.9, 0.8, 0.25, 0.7], [0.1, 0.6, 0.75, 0.7]])
    found = metrics.roc_auc_per_class(labels, scores)
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, True])
    found = metrics.best_f1_per_class(labels, scores)
    np.testing.assert_array_equal(found, [1, 1, np.nan, np.nan])
    for function in (metrics.calibration_error_per_class, metrics.brier_score_per_class):
        np.testing.assert_array_equal(
            np.isnan(function(labels, scores)), [False, False, False, True]
        )
    assert metrics.calibration_error_per_class(labels, scores)[2] == 0.5


def test_probabilities_count_as_present_above_one_half():
    scores = [[0.9], [0.5], [0.1]]
    soft, hard = [[0.51], [0.5], [0.2]], [[1], [0], [0]]
    assert metrics.average_precision(soft, scores) == metrics.average_precision(hard, scores)
    assert metrics.f1(soft, scores) == metrics.f1(hard, scores) == pytest.approx(2 / 3)
    assert metrics.prevalence_baseline(soft) == pytest.approx(1 / 3)


def test_tags_without_positives_are_dropped_not_zero():
    labels = np.array([[1, 0, -1], [0, 0, -1], [-1, 0, -1]])
    scores = np.array([[0.9, 0.8, 0.7], [0.1, 0.6, 0.7], [0.95, 0.2, 0.7]])
    precisions = metrics.average_precision(labels, scores)
    np.testing.assert_array_equal(np.isnan(precisions), [False, True, True])
    assert metrics.scored_tags(labels).tolist() == [True, False, False]
    assert metrics.mean_average_precision(labels, scores) == 1
    assert metrics.prevalence_baseline(labels) == 0.5
    assert metrics.f1(labels, scores) == 1
    # All observed labels stay in the micro ranking: 0.9 is the only positive and the first.
    assert metrics.mean_average_precision(labels, scores, "micro") == 1
    assert metrics.f1(labels, scores, average="micro") == pytest.approx(2 * 1 / (3 + 1))


def test_a_tag_without_negatives_scores_one():
    assert metrics.average_precision([[1], [1], [-1]], [[0.1], [0.2], [0.9]]).tolist() == [1]


def test_nothing_observed_gives_nan_without_a_warning():
    labels, scores = [[-1, 0]], [[0.5, 0.9]]
    for average in ("macro", "micro"):
        assert np.isnan(metrics.mean_average_precision(labels, scores, average))
        assert np.isnan(metrics.f1(labels, scores, average=average))
        assert np.isnan(metrics.roc_auc(labels, scores, average))
        unseen = [[-1, -1]]
        assert np.isnan(metrics.calibration_error(unseen, scores, average=average))
        assert np.isnan(metrics.brier_score(unseen, scores, average=average))
    assert np.isnan(metrics.best_f1(labels, scores))
    assert np.isnan(metrics.prevalence_baseline(labels))
    assert np.isnan(metrics.mean_average_precision(np.zeros((0, 2)), np.zeros((0, 2))))


def test_the_baseline_is_what_random_rankings_reach():
    rng = np.random.default_rng(0)
    labels = (rng.random((4000, 3)) < [0.05, 0.3, 0.6]).astype(float)
    reached = metrics.mean_average_precision(labels, rng.random(labels.shape))
    assert metrics.prevalence_baseline(labels) == pytest.approx(labels.mean())
    assert reached == pytest.approx(metrics.prevalence_baseline(labels), abs=0.02)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_scores_of_unobserved_labels_change_nothing(seed, other):
    labels, scores = random_case(seed, rows=12)
    masked = hidden(labels, seed)
    noise = np.random.default_rng(other).random(scores.shape)
    changed = np.where(masked < 0, noise, scores)
    for function in (
        metrics.average_precision,
        metrics.mean_average_precision,
        metrics.f1,
        metrics.f1_per_class,
        lambda y, s: metrics.best_thresholds(y, s, min_positives=1),
        lambda y, s: metrics.mean_average_precision(y, s, "micro"),
        lambda y, s: metrics.f1(y, s, average="micro"),
        metrics.roc_auc_per_class,
        lambda y, s: metrics.roc_auc(y, s, "micro"),
        metrics.best_f1_per_class,
        metrics.calibration_error_per_class,
        lambda y, s: metrics.calibration_error(y, s, strategy="quantile", average="micro"),
        metrics.brier_score_per_class,
        lambda y, s: metrics.brier_score(y, s, "micro"),
    ):
        np.testing.assert_array_equal(function(masked, scores), function(masked, changed))


# Thresholds


@pytest.mark.parametrize("seed", range(5))
def test_best_thresholds_beat_every_other_threshold(seed):
    labels, scores = random_case(seed, rows=40, decimals=2)
    masked = hidden(labels, seed)
    found = metrics.best_thresholds(masked, scores, min_positives=1)
    reached = metrics.f1_per_class(masked, scores, found)
    for limit in np.linspace(0, 1, 201):
        assert (metrics.f1_per_class(masked, scores, limit) <= reached + 1e-12).all()
    order = np.random.default_rng(seed).permutation(len(labels))
    np.testing.assert_array_equal(
        metrics.best_thresholds(masked[order], scores[order], min_positives=1), found
    )


def test_best_thresholds_lie_between_scores_and_prefer_the_highest_tie():
    labels = [[1], [0], [0], [1]]
    # Both {0.8} and all four clips give F1 2/3.
    scores = [[0.8], [0.6], [0.4], [0.2]]
    assert metrics.best_thresholds(labels, scores, min_positives=2).tolist() == pytest.approx(
        [0.7]
    )
    all_in = metrics.best_thresholds([[1], [0], [1], [1]], [[0.2], [0.3], [0.2], [0.2]], 1)
    assert all_in.tolist() == [0.1]


def test_best_thresholds_separate_neighbouring_floats():
    low = 0.5
    high = np.nextafter(low, 1)
    found = metrics.best_thresholds([[1], [0]], [[high], [low]], min_positives=1)
    assert metrics.f1([[1], [0]], [[high], [low]], found) == 1


def test_best_thresholds_fall_back_where_there_is_too_little_to_go_by():
    labels = np.array([[1, 1, 1], [1, 0, 1], [0, 0, -1]])
    scores = np.array([[0.2, 0.2, 0.2], [0.2, 0.1, 0.2], [0.1, 0.1, 0.1]])
    found = metrics.best_thresholds(labels, scores, min_positives=2)
    assert found.tolist() == [pytest.approx(0.15), 0.5, 0.5]


# Hierarchy


def set_oracle(taxonomy, truth, scores, limits):
    """Hierarchical precision, recall and F with Python sets and no library code."""

    def ancestors(key):
        found = set()
        for parent in taxonomy.parents(key[1], key[0]):
            found |= {parent} | ancestors(parent)
        return found

    keys = [(lv, name) for lv in taxonomy.levels for name in taxonomy.classes(lv)]
    hits = claims = positives = 0
    for row in range(len(scores[taxonomy.levels[0]])):
        label = {key: truth[key[0]][row][taxonomy.index(key[0])[key[1]]] for key in keys}
        score = {key: scores[key[0]][row][taxonomy.index(key[0])[key[1]]] for key in keys}
        seen = {key for key in keys if label[key] >= 0}
        claimed = {key for key in seen if score[key] >= limits[key[0]]}
        claimed |= {up for key in claimed for up in ancestors(key)}
        claimed &= seen
        present = {key for key in seen if label[key] > 0.5}
        hits += len(claimed & present)
        claims += len(claimed)
        positives += len(present)
    precision, recall = hits / claims, hits / positives
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("hide", [False, True])
def test_hierarchical_f_equals_a_set_based_oracle(seed, hide):
    labels, _ = random_case(seed, rows=20, tags=4)
    truth = DAG.close_labels({"fine": hidden(labels, seed) if hide else labels})
    scores = random_scores(DAG, seed, 20)
    limits = {"fine": 0.6, "mid": 0.8, "top": 0.7}
    found = metrics.hierarchical_precision_recall_f(
        DAG, {"fine": truth["fine"]}, scores, limits
    )
    np.testing.assert_allclose(found, set_oracle(DAG, truth, scores, limits))


def test_hierarchical_f_of_closed_decisions_equals_scikit_learn_micro():
    labels, _ = random_case(3, rows=30, tags=3)
    decisions, _ = random_case(4, rows=30, tags=3)
    truth, predicted = (
        PAIR.close_labels({"fine": labels}),
        PAIR.close_labels({"fine": decisions}),
    )
    expected = precision_recall_fscore_support(
        np.hstack([truth["fine"], truth["coarse"]]),
        np.hstack([predicted["fine"], predicted["coarse"]]),
        average="micro",
    )[:3]
    found = metrics.hierarchical_precision_recall_f(PAIR, truth, predicted)
    np.testing.assert_allclose(found, expected)


def test_empty_predictions_and_empty_truth_give_zero():
    nothing = {"fine": np.zeros((2, 3)), "coarse": np.zeros((2, 2))}
    some = {"fine": [[1, 0, 0], [0, 0, 0]]}
    assert metrics.hierarchical_precision_recall_f(PAIR, some, nothing) == (0, 0, 0)
    assert metrics.hierarchical_precision_recall_f(PAIR, nothing, nothing) == (0, 0, 0)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_unobserved_classes_take_no_part_in_the_hierarchical_metrics(seed, other):
    labels, _ = random_case(seed, rows=12, tags=4)
    truth = DAG.close_labels({"fine": hidden(labels, seed)})
    scores, noise = random_scores(DAG, seed, 12), random_scores(DAG, other, 12)
    changed = {lv: np.where(truth[lv] < 0, noise[lv], scores[lv]) for lv in DAG.levels}
    assert metrics.hierarchical_precision_recall_f(
        DAG, truth, scores
    ) == metrics.hierarchical_precision_recall_f(DAG, truth, changed)


def test_violation_rates_count_direct_pairs_and_clips():
    # The direct links: flute-wood, sax-wood, sax-reed, snare-drums, wood-wind, reed-wind.
    scores = {
        "fine": [[0.9, 0.6, 0.5, 1.0], [0.1, 0.1, 0.1, 1.0], [0.4, 0.3, 0.0, 0.0]],
        "mid": [[0.7, 0.5, 1.0], [0.2, 0.2, 1.0], [0.3, 0.3, 0.0]],
        "top": [[0.7, 0.4], [0.2, 0.2], [0.3, 0.0]],
    }
    # First clip: flute, sax-reed, snare; second: none (equal is allowed); third: flute.
    assert metrics.violation_rate(DAG, scores) == pytest.approx(4 / 18)
    assert metrics.violation_rate(DAG, scores, tolerance=0.15) == pytest.approx(1 / 18)
    # At 0.5 only snare without drums is left.
    assert metrics.clip_violation_rate(DAG, scores) == pytest.approx(1 / 3)


def test_scores_at_the_threshold_count_as_predicted():
    scores = {"fine": [[0.5, 0.0, 0.0]], "coarse": [[0.5, 0.0]]}
    assert metrics.clip_violation_rate(PAIR, scores) == 0
    assert metrics.f1([[1]], [[0.5]]) == 1


def test_parents_by_maximum_never_violate():
    scores = random_scores(PAIR, 1, 50)
    fine = scores["fine"]
    scores["coarse"] = np.stack([fine[:, :2].max(axis=1), fine[:, 2]], axis=1)
    assert metrics.violation_rate(PAIR, scores) == 0
    assert metrics.clip_violation_rate(PAIR, scores) == 0


# evaluate


def test_evaluate_gathers_the_metrics_as_json():
    labels, _ = random_case(0, rows=30, tags=4)
    labels = hidden(labels, 0)
    labels[:, 3] = -1
    scores = random_scores(DAG, 0, 30)
    limits = {"fine": np.array([0.2, 0.4, 0.6, 0.5]), "top": 0.3}
    result = metrics.evaluate(DAG, {"fine": labels}, scores, limits)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert set(result) == {"levels", "hierarchical", "violation_rate", "clip_violation_rate"}
    truth = DAG.close_labels({"fine": labels})
    for level, limit in (("fine", limits["fine"]), ("mid", 0.5), ("top", 0.3)):
        known, guess, found = truth[level], scores[level], result["levels"][level]
        assert found["map"] == metrics.mean_average_precision(known, guess)
        assert found["map_micro"] == metrics.mean_average_precision(known, guess, "micro")
        assert found["map_baseline"] == metrics.prevalence_baseline(known)
        assert found["f1"] == metrics.f1(known, guess, limit)
        assert found["f1_micro"] == metrics.f1(known, guess, limit, "micro")
        assert found["roc_auc"] == metrics.roc_auc(known, guess)
        assert found["best_f1"] == metrics.best_f1(known, guess)
        assert found["calibration_error"] == metrics.calibration_error(known, guess)
        micro = metrics.calibration_error(known, guess, average="micro")
        assert found["calibration_error_micro"] == micro
        assert found["brier_score"] == metrics.brier_score(known, guess)
        assert found["tags_without_negatives"] == 0
        assert list(found["per_class"]) == list(DAG.classes(level))
    assert (
        result["levels"]["fine"]["tags_scored"],
        result["levels"]["fine"]["tags_dropped"],
    ) == (3, 1)
    assert result["levels"]["fine"]["per_class"]["kazoo"] == {
        "ap": None,
        "roc_auc": None,
        "f1": None,
        "best_f1": None,
        "best_threshold": None,
        "calibration_error": None,
        "brier_score": None,
        "positives": 0,
        "observed": 0,
    }
    flute = result["levels"]["fine"]["per_class"]["flute"]
    assert flute["observed"] == (labels[:, 0] >= 0).sum()
    assert flute["ap"] == metrics.average_precision(labels, scores["fine"])[0]
    assert flute["roc_auc"] == metrics.roc_auc_per_class(labels, scores["fine"])[0]
    again = metrics.f1_per_class(labels[:, :1], scores["fine"][:, :1], flute["best_threshold"])
    assert flute["best_f1"] == again[0]
    expected = metrics.hierarchical_precision_recall_f(DAG, truth, scores, limits)
    assert tuple(result["hierarchical"].values()) == expected
    assert result["violation_rate"] == metrics.violation_rate(DAG, scores)
    assert result["clip_violation_rate"] == metrics.clip_violation_rate(DAG, scores)


def test_evaluate_without_links_or_positives_holds_none():
    result = metrics.evaluate(FLAT, {"fine": [[0, -1]]}, {"fine": [[0.7, 0.2]]})
    assert result["levels"]["fine"]["map"] is None
    assert result["levels"]["fine"]["f1_micro"] is None
    assert result["violation_rate"] is None
    assert result["clip_violation_rate"] is None
    assert result["hierarchical"] == {"precision": 0, "recall": 0, "f": 0}


def test_evaluate_counts_tags_that_are_always_present():
    result = metrics.evaluate(FLAT, {"fine": [[1, 1], [1, 0]]}, {"fine": [[0.7, 0.2]] * 2})
    fine = result["levels"]["fine"]
    assert (fine["tags_scored"], fine["tags_without_negatives"]) == (2, 1)
    assert fine["per_class"]["a"]["roc_auc"] is None
    assert fine["per_class"]["a"]["best_threshold"] is None
    assert fine["roc_auc"] == fine["per_class"]["b"]["roc_auc"] == 0.5


def test_a_perfect_answer_is_perfect():
    labels, _ = random_case(1, rows=30, tags=3)
    truth = PAIR.close_labels({"fine": labels})
    result = metrics.evaluate(PAIR, {"fine": labels}, truth)
    for level in PAIR.levels:
        assert [
            result["levels"][level][key]
            for key in ("map", "map_micro", "f1", "f1_micro", "roc_auc", "best_f1")
        ] == [1] * 6
        for key in ("calibration_error", "calibration_error_micro", "brier_score"):
            assert result["levels"][level][key] == 0
    assert set(result["hierarchical"].values()) == {1}
    assert result["violation_rate"] == 0


# Faults

GOOD = {"fine": [[0.1, 0.2, 0.3]], "coarse": [[0.4, 0.5]]}


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([[1, 0]], [[0.5]], "same shape"),
        ([[1], [0]], [[0.5]], "same shape"),
        ([1, 0], [0.5, 0.5], "shape"),
        ([[1]], [0.5], "shape"),
        ([[1]], [[np.nan]], r"probabilities in \[0, 1\].*nan"),
        ([[-1]], [[np.nan]], r"probabilities in \[0, 1\]"),
        ([[1]], [[np.inf]], "inf in row 0, column 0"),
        ([[1]], [[1.01]], "1.01"),
        ([[1]], [[-0.01]], "-0.01"),
        ([[1]], [["high"]], "must be numbers"),
        ([[3]], [[0.5]], "label must be"),
    ],
)
def test_unusable_arrays_are_refused(labels, scores, message):
    for function in (
        metrics.average_precision,
        metrics.mean_average_precision,
        metrics.f1,
        metrics.best_thresholds,
        metrics.roc_auc,
        metrics.best_f1,
        metrics.calibration_error,
        metrics.brier_score,
    ):
        with pytest.raises(LabelError, match=message):
            function(labels, scores)


def test_a_rounding_error_above_one_is_accepted():
    above = np.nextafter(np.float32(1), np.float32(2))
    assert metrics.mean_average_precision([[1], [0]], [[above], [0]]) == 1


@pytest.mark.parametrize("thresholds", [1.5, -0.1, np.nan, [0.5], [[0.5, 0.5]], "half"])
def test_unusable_thresholds_are_refused(thresholds):
    with pytest.raises(LabelError, match="thresholds"):
        metrics.f1([[1, 0]], [[0.5, 0.5]], thresholds)


def test_an_unknown_average_is_refused():
    for function in (
        metrics.mean_average_precision,
        metrics.f1,
        metrics.roc_auc,
        metrics.calibration_error,
        metrics.brier_score,
    ):
        with pytest.raises(LabelError, match="'macro' or 'micro'"):
            function([[1]], [[0.5]], average="weighted")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 0}, "'bins' must be a positive integer"),
        ({"bins": 2.5}, "'bins'.*2.5"),
        ({"bins": True}, "'bins'.*True"),
        ({"strategy": "adaptive"}, "'uniform' or 'quantile'.*'adaptive'"),
    ],
)
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_unusable_bins_are_refused(options, message, average):
    with pytest.raises(LabelError, match=message):
        metrics.calibration_error([[1]], [[0.5]], average=average, **options)


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        ({"fine": GOOD["fine"]}, LabelError, "Missing: coarse"),
        ({**GOOD, "mid": [[1]]}, TaxonomyError, "no level 'mid'"),
        ({**GOOD, "coarse": [[0.4]]}, LabelError, "shape \\(1, 2\\)"),
        ({**GOOD, "coarse": [[0.4, 0.5]] * 2}, LabelError, "shape \\(1, 2\\)"),
        ({**GOOD, "coarse": [[0.4, np.nan]]}, LabelError, "'coarse' must be probabilities"),
    ],
)
def test_unusable_score_dicts_are_refused(scores, error, message):
    for function in (
        metrics.violation_rate,
        metrics.clip_violation_rate,
        lambda taxonomy, s: metrics.evaluate(taxonomy, {"fine": [[1, 0, 0]]}, s),
    ):
        with pytest.raises(error, match=message):
            function(PAIR, scores)


def test_evaluate_refuses_what_does_not_fit_together():
    with pytest.raises(LabelError, match="same number of rows"):
        metrics.evaluate(PAIR, {"fine": [[1, 0, 0]] * 2}, GOOD)
    with pytest.raises(LabelError, match="no clips"):
        metrics.evaluate(
            PAIR,
            {"fine": np.zeros((0, 3))},
            {"fine": np.zeros((0, 3)), "coarse": np.zeros((0, 2))},
        )
    with pytest.raises(TaxonomyError, match="no level 'mid'"):
        metrics.evaluate(PAIR, {"fine": [[1, 0, 0]]}, GOOD, {"mid": 0.5})
