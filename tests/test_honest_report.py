"""Intervals, doubtful labels and learning curves, against what they claim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from hmic_keras import metrics
from hmic_keras.fine_tuning import _honesty as honesty
from hmic_keras.fine_tuning._crops import Examples, Windows, joined_labels
from hmic_keras.fine_tuning._linear import (
    Rows,
    cross_fit,
    fit_rows,
    fold_of_groups,
    moments,
    sigmoid,
)


def examples_of(x, y, weights=None):
    weights = np.ones(len(x)) if weights is None else weights
    parents = np.repeat(np.arange(len(x))[:, np.newaxis], 2, axis=1)
    new = np.ones(y.shape[1], bool)
    return Examples(x.astype(np.float32), y.astype(np.float32), weights, parents, new)


def nothing(columns, dim):
    return Rows(np.zeros((columns, dim), np.float32), np.zeros(columns, np.float32))


def test_the_fit_is_penalised_logistic_regression_as_scikit_learn_solves_it():
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, [1.0, 5.0, 0.2], (120, 3))
    y = (sigmoid(x @ [1.0, -0.4, 3.0]) > rng.random(120)).astype(float)[:, np.newaxis]
    weights = rng.uniform(0.2, 2.0, 120)
    examples = examples_of(x, y, weights)
    found = fit_rows(examples, nothing(1, 3), 0.05)
    mean, spread = moments(examples)
    peer = LogisticRegression(C=1 / (0.05 * weights.sum()), tol=1e-9, max_iter=2000)
    peer.fit((x - mean) / spread, y[:, 0], sample_weight=weights)
    expected = peer.predict_proba((x - mean) / spread)[:, 1]
    np.testing.assert_allclose(found.probabilities(x)[:, 0], expected, atol=2e-3)


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_the_fit_finds_the_minimum_with_fewer_examples_than_features(strength):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(20, 6)) @ rng.normal(size=(6, 50)) + 0.1 * rng.normal(size=(20, 50))
    y = (rng.random((20, 1)) < 0.4).astype(float)
    prior = Rows(rng.normal(0, 0.1, (1, 50)).astype(np.float32), np.zeros(1, np.float32))
    examples = examples_of(x, y, rng.uniform(0.2, 2.0, 20))
    _, spread = moments(examples)
    shares = examples.weights / examples.weights.sum()

    def cost(rows):
        scores = rows.probabilities(x)[:, 0]
        fit = -(shares * np.log(np.where(y[:, 0] > 0.5, scores, 1 - scores))).sum()
        return fit + strength / 2 * np.square((rows.weights - prior.weights) * spread).sum()

    found = fit_rows(examples, prior, strength)
    again = fit_rows(examples, prior, strength, start=Rows(found.weights + 0.2, found.biases))
    lowest = cost(found)
    assert cost(again) == pytest.approx(lowest, abs=1e-5)
    for _ in range(200):
        step = rng.normal(0, 0.01, (1, 50)).astype(np.float32)
        shift = rng.normal(0, 0.05, 1).astype(np.float32)
        assert cost(Rows(found.weights + step, found.biases + shift)) > lowest - 1e-6
    assert lowest < cost(prior)


def test_unobserved_labels_teach_nothing_and_a_kept_row_stays_where_it_is_right():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    true = np.array([[2.0, -1.0, 0.0, 0.5]])
    y = (sigmoid(x @ true.T) > rng.random((200, 1))).astype(float)
    half = y.copy()
    half[100:] = -1
    # Half of the labels weigh half as much against the penalty; and features are standardised
    # over all clips, so the two are near, not equal.
    first = fit_rows(examples_of(x[:100], y[:100]), nothing(1, 4), 0.02)
    both = fit_rows(examples_of(x, half), nothing(1, 4), 0.01)
    np.testing.assert_allclose(first.weights, both.weights, atol=0.1)
    prior = Rows(true.astype(np.float32), np.zeros(1, np.float32))
    strong = fit_rows(examples_of(x, y), prior, 100.0)
    np.testing.assert_allclose(strong.weights, true, atol=0.02)
    blank = fit_rows(examples_of(x, -np.ones_like(y)), prior, 0.01)
    np.testing.assert_array_equal(blank.weights, prior.weights)


def test_cross_validation_prefers_the_old_row_where_it_is_right_and_clips_are_few():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(30, 60)).astype(np.float32)
    true = rng.normal(size=(1, 60)).astype(np.float32)
    y = (sigmoid(x @ true.T) > 0.5).astype(float)
    windows = Windows(np.zeros((30, 1), np.int16), np.arange(30))
    fold = fold_of_groups(y, np.arange(30), 5, 0)
    scores = {}
    for name, prior in (
        ("kept", Rows(true, np.zeros(1, np.float32))),
        ("new", nothing(1, 60)),
    ):
        fit = cross_fit(examples_of(x, y), windows, x, y, fold, prior)
        scores[name] = min(fit.losses.values())
    assert scores["kept"] < 0.5 * scores["new"]


@given(st.integers(2, 6), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_folds_split_no_group_and_spread_every_class(folds, seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 25, 60)
    labels = (rng.random((60, 4)) < 0.3).astype(float)
    fold = fold_of_groups(labels, groups, folds, seed)
    for group in np.unique(groups):
        assert len(set(fold[groups == group])) == 1
    assert set(fold) == set(range(folds))
    for column in labels.T:
        holders = len(set(groups[column > 0]))
        assert len(set(fold[column > 0])) >= min(2, holders)


def test_two_sounds_together_have_what_either_has():
    values = np.array([1.0, 0.0, -1.0])
    table = joined_labels(values[:, np.newaxis], values[np.newaxis])
    np.testing.assert_array_equal(table, [[1, 1, 1], [1, 0, -1], [1, -1, -1]])


def test_windows_are_averaged_by_clip():
    windows = Windows(np.zeros((4, 1), np.int16), np.array([0, 0, 2, 2]))
    means = windows.means(np.array([[1.0], [3.0], [5.0], [6.0]]), 3)
    np.testing.assert_array_equal(means[[0, 2], 0], [2.0, 5.5])
    assert np.isnan(means[1, 0])


def binormal(rng, clips, share=0.125, distance=2.0):
    present = np.zeros(clips)
    present[: max(2, round(share * clips))] = 1
    return present[:, np.newaxis], sigmoid(rng.normal(distance * present - 2, 1))[:, np.newaxis]


def test_the_interval_holds_the_score_on_fresh_clips():
    inside, trials = 0, 80
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        labels, scores = binormal(rng, 80)
        fold = np.arange(80) % 5
        found = honesty.level_scores(["a"], labels, scores, fold, np.arange(80), 100, trial)
        fresh = metrics.average_precision(*binormal(rng, 200))[0]
        interval = found.classes["a"]["ap"]
        inside += interval.low <= fresh <= interval.high
    assert inside >= 0.9 * trials


@given(st.floats(0, 1), st.floats(0, 0.2), st.integers(1, 500))
def test_an_interval_holds_its_value_and_stays_a_score(value, spread, examples):
    draws = np.clip(value + spread * np.linspace(-1, 1, 50), 0, 1)
    found = honesty.prediction_interval(value, draws, examples)
    assert 0 <= found.low <= value <= found.high <= 1
    assert found.high - found.low > 0


def test_what_a_learning_curve_promises_of_the_clips_held_out_moves_the_upper_end_only():
    sizes = np.array([2.0, 4.0, 6.0, 8.0])
    scores = np.repeat((1 - 0.8 / sizes)[:, np.newaxis], 3, axis=1)  # 0.6, 0.8, 0.867, 0.9
    curve = honesty.Curve(sizes, scores, scores[:, :, np.newaxis])
    gain = honesty.gain_of_all_clips(curve, 5, 0)  # from 8 to 10: 0.02 if the curve goes on
    assert 0.005 < gain <= 0.021
    assert honesty.gain_of_all_clips(None, 5, 0) == 0.0
    draws = 0.9 + 0.02 * np.linspace(-1, 1, 50)
    plain = honesty.prediction_interval(0.9, draws, 80)
    moved = honesty.prediction_interval(0.9, draws, 80, gain)
    assert moved.low == plain.low
    assert plain.high < moved.high < plain.high + 2 * gain
    wide = honesty.prediction_interval(0.9, draws, 80, gain, spreads=3.0)
    assert wide.low < moved.low
    assert wide.high > moved.high


def test_more_clips_give_a_narrower_interval():
    widths = []
    for clips in (60, 240, 960):
        labels, scores = binormal(np.random.default_rng(3), clips)
        found = honesty.level_scores(
            ["a"], labels, scores, np.arange(clips) % 5, np.arange(clips), 200, 0
        )
        widths.append(found.map.high - found.map.low)
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


def test_copies_are_resampled_together():
    labels, scores = binormal(np.random.default_rng(4), 60)
    thrice = np.repeat(labels, 3, axis=0), np.repeat(scores, 3, axis=0)
    fold = np.repeat(np.arange(60) % 5, 3)
    apart = honesty.level_scores(["a"], *thrice, fold, np.arange(180), 300, 0)
    together = honesty.level_scores(["a"], *thrice, fold, np.repeat(np.arange(60), 3), 300, 0)
    assert together.map.high - together.map.low > 1.2 * (apart.map.high - apart.map.low)


def test_nothing_can_be_scored_without_both_kinds_of_labels():
    ones = np.ones((10, 1))
    assert (
        honesty.level_scores(["a"], ones, ones, np.arange(10) % 2, ones[:, 0], 100, 0) is None
    )


def test_wrong_labels_are_found_and_right_ones_left_alone():
    rng = np.random.default_rng(5)
    labels, scores = binormal(rng, 400, share=0.3, distance=6.0)
    flipped = rng.choice(400, 20, replace=False)
    given_labels = labels.copy()
    given_labels[flipped] = 1 - given_labels[flipped]
    found = honesty.doubtful_labels(["a"], given_labels, scores)
    rows = [row for row, *_ in found]
    assert len(set(rows) & set(flipped)) >= 16
    assert len(set(rows) - set(flipped)) <= 4
    for row, name, present, probability in found:
        assert name == "a"
        assert present == (given_labels[row, 0] > 0.5)
        assert present == (probability < 0.5)
    # The most doubtful first.
    doubts = [p if present else 1 - p for _, _, present, p in found]
    assert doubts == sorted(doubts)


@pytest.mark.parametrize("exponent", [0.4, 0.8])
def test_a_learning_curve_is_continued_as_it_began(exponent):
    rng = np.random.default_rng(6)
    sizes = np.array([4.0, 8.0, 12.0, 16.0])

    def truth(size):
        return 1 - (0.05 + 0.9 * size**-exponent)

    scores = truth(sizes)[:, np.newaxis] + 0.005 * rng.normal(size=(4, 3))
    twice, four = honesty.extrapolate(sizes, scores, [32.0, 64.0], seed=0)
    assert twice.low - 0.02 <= truth(32.0) <= twice.high + 0.02
    assert four.high - four.low > twice.high - twice.low
    assert four.value >= twice.value >= scores[-1].mean()


def test_a_flat_curve_promises_nothing():
    scores = np.full((4, 2), 0.8)
    (twice,) = honesty.extrapolate(np.array([4.0, 8.0, 12.0, 16.0]), scores, [32.0], seed=0)
    assert (twice.value, twice.low, twice.high) == pytest.approx((0.8, 0.8, 0.8), abs=1e-6)


def test_more_examples_lists_the_classes_that_gain_most_first():
    sizes = np.array([4.0, 8.0, 12.0, 16.0])
    steep = 1 - sizes**-0.5
    by_class = np.stack([np.full_like(steep, 0.9), steep], axis=1)[:, np.newaxis, :]
    curve = honesty.Curve(sizes, by_class.mean(axis=2), by_class)
    found = honesty.more_examples(curve, ["flat", "steep"], 0)
    assert list(found["gains"]) == ["steep", "flat"]
    assert found["gains"]["flat"]["value"] == pytest.approx(0.0, abs=1e-3)
    assert set(found["expected"]) == {"2 times", "4 times"}
