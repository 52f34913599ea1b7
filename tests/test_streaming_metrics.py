"""Streaming metrics skip unobserved labels, and are Keras' or scikit-learn's on the rest."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hmic_keras import metrics as exact
from hmic_keras.streaming_metrics import (
    BestF1,
    CalibrationError,
    MaskedMetric,
    MeanAveragePrecision,
    RocAuc,
    mask_unobserved,
)

COUNTING = (
    "binary_accuracy",
    "AUC",
    "precision",
    "recall",
    "true_positives",
    "true_negatives",
    "false_positives",
    "false_negatives",
)
GRADUAL = (
    "binary_crossentropy",
    "mean_squared_error",
    "mean_absolute_error",
    "root_mean_squared_error",
)
INSTANCES = {
    "pr": lambda: keras.metrics.AUC(curve="PR", num_thresholds=50),
    "threshold": lambda: keras.metrics.BinaryAccuracy(threshold=0.7),
    "recall_at": lambda: keras.metrics.Recall(thresholds=0.2),
    "several": lambda: keras.metrics.Precision(thresholds=[0.3, 0.6]),
}
BINNED = {
    "map": MeanAveragePrecision,
    "roc_auc": RocAuc,
    "best_f1": BestF1,
    "calibration_error": CalibrationError,
}
METRICS = {**{name: name for name in (*COUNTING, *GRADUAL)}, **INSTANCES}


def make(metric):
    """A metric of Keras, from its name or factory."""
    if callable(metric):
        return metric()
    known = {name.lower(): name for name in dir(keras.metrics)}
    return getattr(keras.metrics, known[metric.replace("_", "").lower()])()


def batch(seed=0, shape=(8, 6), unobserved=0.4, soft=False):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0.0, 1.0, 0.3, 0.8] if soft else [0.0, 1.0], shape)
    scores = rng.uniform(0.01, 0.99, shape)
    known = rng.random(shape) >= unobserved
    labels[~known] = rng.choice([-1.0, np.nan], int((~known).sum()))
    return labels.astype("float32"), scores.astype("float32"), known


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
class TestEveryMetric:
    def masked(self, metric):
        return MaskedMetric(metric() if callable(metric) else metric)

    def test_equals_keras_on_the_observed_labels(self, metric):
        masked, own = self.masked(metric), make(metric)
        for seed in range(3):
            labels, scores, known = batch(seed)
            masked.update_state(labels, scores)
            own.update_state(labels[known][:, None], scores[known][:, None])
        np.testing.assert_allclose(masked.result(), own.result(), rtol=1e-5)
        masked.reset_state()
        labels, scores, known = batch(9)
        own = make(metric)
        own.update_state(labels[known][:, None], scores[known][:, None])
        masked.update_state(labels, scores)
        np.testing.assert_allclose(masked.result(), own.result(), rtol=1e-5)

    def test_weights_clips(self, metric):
        masked, own = self.masked(metric), make(metric)
        labels, scores, known = batch()
        weights = np.arange(len(labels)).astype("float32")
        masked.update_state(labels, scores, sample_weight=weights)
        each = np.repeat(weights[:, None], labels.shape[1], axis=1)
        own.update_state(labels[known][:, None], scores[known][:, None], each[known])
        np.testing.assert_allclose(masked.result(), own.result(), rtol=1e-5)

    def test_nothing_observed_changes_nothing(self, metric):
        masked = self.masked(metric)
        labels, scores, _ = batch()
        masked.update_state(labels, scores)
        before = np.asarray(masked.result())
        masked.update_state(np.full_like(labels, -1), scores)
        masked.update_state(np.full_like(labels, np.nan), scores)
        np.testing.assert_array_equal(masked.result(), before)

    def test_survives_serialisation(self, metric):
        masked = self.masked(metric)
        config = json.loads(json.dumps(keras.metrics.serialize(masked)))
        again = keras.metrics.deserialize(config)
        assert type(again) is MaskedMetric
        assert again.get_config() == masked.get_config()
        labels, scores, _ = batch()
        for copy in (masked, again):
            copy.update_state(labels, scores)
        np.testing.assert_array_equal(again.result(), masked.result())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from([*COUNTING, *GRADUAL, *BINNED]))
def test_an_unobserved_label_or_its_score_changes_nothing(seed, metric):
    labels, scores, known = batch(seed, soft=True)
    rng = np.random.default_rng(seed)
    other = np.where(known, labels, rng.choice([-1.0, -2.0, np.nan], labels.shape))
    moved = np.where(known, scores, rng.random(scores.shape))
    results = []
    for y, p in ((labels, scores), (other.astype("float32"), moved.astype("float32"))):
        measure = BINNED[metric](6) if metric in BINNED else MaskedMetric(metric)
        results.append(float(measure(y, p)))
    assert results[0] == results[1]
    assert np.isfinite(results[0])


@pytest.mark.parametrize("metric", COUNTING)
def test_where_it_counts_a_probability_is_present_above_a_half(metric):
    labels, scores, known = batch(soft=True)
    hard = np.where(known, (labels > 0.5).astype("float32"), -1)
    found = float(MaskedMetric(metric)(labels, scores))
    assert found == float(MaskedMetric(metric)(hard, scores))


@pytest.mark.parametrize("metric", GRADUAL)
def test_where_it_does_not_count_a_probability_is_itself(metric):
    labels, scores, known = batch(soft=True)
    own = make(metric)
    own.update_state(labels[known][:, None], scores[known][:, None])
    np.testing.assert_allclose(MaskedMetric(metric)(labels, scores), own.result(), rtol=1e-5)


def test_auc_is_near_scikit_learn():
    labels, scores, known = batch(shape=(400, 5))
    expected = roc_auc_score(labels[known], scores[known])
    assert float(MaskedMetric("auc")(labels, scores)) == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(
    ("metric", "name"),
    [("accuracy", "accuracy"), ("acc", "acc"), ("AUC", "auc"), ("mse", "mse"), ("mae", "mae")],
)
def test_is_called_what_the_user_called_it(metric, name):
    assert [MaskedMetric(metric).name for _ in range(2)] == [name] * 2
    assert MaskedMetric(metric, name="mine").name == "mine"


@pytest.mark.parametrize(
    "metric",
    [
        "categorical_accuracy",
        "f1_score",
        "top_k_categorical_accuracy",
        "no_such_metric",
        keras.metrics.F1Score(),
        keras.metrics.CategoricalAccuracy(),
        keras.metrics.categorical_accuracy,
        keras.metrics.Mean(),
        None,
    ],
)
def test_refuses_metrics_that_mix_classes(metric):
    with pytest.raises(
        ValueError, match=r"every label by itself.*MeanAveragePrecision.*Received"
    ):
        MaskedMetric(metric)


@pytest.mark.parametrize(
    "metric",
    [
        lambda: keras.metrics.AUC(multi_label=True),
        lambda: keras.metrics.Precision(class_id=1),
        lambda: keras.metrics.Recall(top_k=2),
    ],
)
def test_refuses_options_about_single_classes(metric):
    with pytest.raises(ValueError, match="every label alike"):
        MaskedMetric(metric())


class TestMaskUnobserved:
    @pytest.mark.parametrize(
        "metric", ["accuracy", keras.metrics.AUC(), keras.metrics.binary_accuracy]
    )
    def test_masks_what_keras_offers(self, metric):
        assert isinstance(mask_unobserved(metric), MaskedMetric)

    def test_leaves_the_users_own_alone(self):
        def function(y_true, y_pred):
            return y_pred

        for metric in (MaskedMetric("auc"), MeanAveragePrecision(3), function):
            assert mask_unobserved(metric) is metric


EXACT = {
    "map": exact.mean_average_precision,
    "roc_auc": exact.roc_auc,
    "best_f1": exact.best_f1,
    "calibration_error": exact.calibration_error,
}


def centred(scores, bins):
    """The scores at the middle of the bins they fall into, far from every edge."""
    logits = np.log(scores / (1 - scores))
    middle = (np.floor((logits + 16) / 32 * bins) + 0.5) / bins * 32 - 16
    return (1 / (1 + np.exp(-middle))).astype("float32")


def bin_shares(labels, scores, bins):
    """Positives and negatives of one class in each bin, `(2, bins)`."""
    known = labels >= 0
    cells = np.asarray(RocAuc(1, num_bins=bins).bins_of(scores[known]))
    present = labels[known] > 0.5
    return np.stack([np.bincount(cells[kind], minlength=bins) for kind in (present, ~present)])


def streamed(metric, labels, scores, parts=3):
    for rows in np.array_split(np.arange(len(labels)), parts):
        metric.update_state(labels[rows], scores[rows])
    return float(metric.result())


cases = {
    "seed": st.integers(0, 2**32 - 1),
    "shape": st.tuples(st.integers(3, 60), st.integers(1, 5)),
    "unobserved": st.floats(0, 1),
}


@settings(deadline=None, max_examples=40)
@given(metric=st.sampled_from(["map", "roc_auc", "best_f1"]), **cases)
def test_equals_the_exact_metric_where_no_two_scores_share_a_bin(
    metric, seed, shape, unobserved
):
    labels, scores, _ = batch(seed, shape, unobserved, soft=True)
    scores = centred(scores, 64)
    expected = np.nan_to_num(EXACT[metric](labels, scores))
    found = streamed(BINNED[metric](shape[1], num_bins=64), labels, scores)
    assert found == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(bins=st.sampled_from([1, 4, 15, 40]), round_to=st.sampled_from([1, 2, 6]), **cases)
def test_the_calibration_error_equals_the_exact_one(bins, round_to, seed, shape, unobserved):
    labels, scores, _ = batch(seed, shape, unobserved, soft=True)
    scores = scores.round(round_to)  # onto the edges of bins, too
    expected = np.nan_to_num(exact.calibration_error(labels, scores, bins))
    found = streamed(CalibrationError(shape[1], num_bins=bins), labels, scores)
    assert found == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(bins=st.sampled_from([4, 16, 128, 2048]), sharpness=st.floats(0.2, 6), **cases)
def test_stays_within_the_stated_distance_of_the_exact_metric(
    bins, sharpness, seed, shape, unobserved
):
    labels, scores, _ = batch(seed, (shape[0], 1), unobserved * 0.8)
    odds = (scores / (1 - scores)) ** sharpness
    scores = (odds / (1 + odds)).astype("float32").clip(1e-6, 1 - 1e-6)
    positives, negatives = bin_shares(labels[:, 0], scores[:, 0], bins)
    if not positives.sum() or not negatives.sum():
        return
    found = {name: streamed(BINNED[name](1, num_bins=bins), labels, scores) for name in EXACT}
    best, area = exact.best_f1(labels, scores), exact.roc_auc(labels, scores)
    pairs = positives.sum() * negatives.sum()
    limit = 0.5 * (positives * negatives).sum() / pairs
    assert abs(found["roc_auc"] - area) <= limit + 1e-6
    assert best - negatives.max() / positives.sum() - 1e-6 <= found["best_f1"] <= best + 1e-6
    # Average precision: in a bin, precision lies between all negatives first and all last.
    below = above = 0.0
    hits, seen = 0, 0
    for p, n in zip(positives[::-1], negatives[::-1], strict=True):
        steps = np.arange(1, p + 1)
        worst, top = (hits + steps) / (seen + n + steps), (hits + steps) / (seen + steps)
        last = (hits + p) / max(seen + n + p, 1)
        below += p * min(worst.min(initial=1), last) if p else 0
        above += p * max(top.max(initial=0), last) if p else 0
        hits, seen = hits + p, seen + n + p
    total = positives.sum()
    precision = exact.mean_average_precision(labels, scores)
    assert below / total - 1e-6 <= precision <= above / total + 1e-6
    assert abs(found["map"] - precision) <= (above - below) / total + 1e-6


@pytest.mark.parametrize("metric", BINNED)
@pytest.mark.parametrize("sharpness", [0.5, 2.0, 4.0])
def test_the_default_bins_are_fine_enough(metric, sharpness):
    rng = np.random.default_rng(1)
    labels = (rng.random((2000, 6)) < [0.02, 0.05, 0.1, 0.3, 0.5, 0.9]).astype("float32")
    labels[rng.random(labels.shape) < 0.5] = -1
    # Rare classes score low, as trained ones do.
    logits = sharpness * (labels + rng.normal(-2, 1, labels.shape))
    scores = (1 / (1 + np.exp(-logits))).astype("float32")
    found = streamed(BINNED[metric](6), labels, scores)
    assert found == pytest.approx(EXACT[metric](labels, scores), abs=3e-3)


@pytest.mark.parametrize("metric", BINNED)
class TestBinned:
    def test_weights_count_clips_as_if_repeated(self, metric):
        labels, scores, _ = batch()
        times = np.arange(len(labels)) % 3
        weighted = BINNED[metric](6)
        weighted.update_state(labels, scores, sample_weight=times.astype("float32"))
        repeated = BINNED[metric](6)
        repeated.update_state(np.repeat(labels, times, 0), np.repeat(scores, times, 0))
        assert float(weighted.result()) == pytest.approx(float(repeated.result()), abs=1e-6)

    def test_counts_beyond_what_float32_can(self, metric):
        labels, scores = (
            np.array([[1.0], [0.0]], "float32"),
            np.array([[0.9], [0.6]], "float32"),
        )
        measure = BINNED[metric](1)
        measure.update_state(labels, scores)
        for state in measure.variables:
            state.assign(state * 2.0**24)
        before = [np.asarray(state).sum() for state in measure.variables]
        measure.update_state(labels, scores)
        for state, old in zip(measure.variables, before, strict=True):
            assert keras.backend.standardize_dtype(state.dtype) == "float64"
            assert np.asarray(state).sum() == pytest.approx(old * (1 + 2.0**-24), rel=1e-12)
            assert np.asarray(state).sum() != old

    def test_nothing_to_score_gives_zero(self, metric):
        measure = BINNED[metric](3)
        assert float(measure.result()) == 0
        labels = np.array([[-1.0, -1.0, np.nan]], "float32")
        assert float(measure(labels, np.full((1, 3), np.nan, "float32"))) == 0

    def test_survives_scores_at_the_ends_and_none_at_all(self, metric):
        labels = np.array([[1], [0], [1], [0], [1]], "float32")
        scores = np.array([[1.0], [0.0], [1.5], [-0.5], [np.nan]], "float32")
        assert np.isfinite(float(BINNED[metric](1)(labels[:4], scores[:4])))
        if metric != "calibration_error":  # where a model that gives NaN ought to show
            assert 0 <= float(BINNED[metric](1)(labels, scores)) <= 1

    def test_reset_and_serialisation(self, metric):
        labels, scores, _ = batch()
        measure = BINNED[metric](6, num_bins=100, name="mine")
        config = json.loads(json.dumps(keras.metrics.serialize(measure)))
        again = keras.metrics.deserialize(config)
        assert type(again) is BINNED[metric]
        assert again.get_config() == measure.get_config()
        first = float(measure(labels, scores))
        assert first > 0
        assert float(again(labels, scores)) == first
        measure.reset_state()
        assert float(measure.result()) == 0
        assert float(measure(labels, scores)) == first

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_works_compiled(self, metric, jit_compile):
        labels, scores, _ = batch()
        measure, eager = BINNED[metric](6), BINNED[metric](6)

        @tf.function(jit_compile=jit_compile)
        def update(y, p):
            measure.update_state(y, p)
            return measure.result()

        found = update(tf.constant(labels), tf.constant(scores))
        assert float(found) == pytest.approx(float(eager(labels, scores)), abs=1e-6)

    def test_takes_half_precision_and_integer_labels(self, metric):
        labels, scores, _ = batch(unobserved=0.0)
        labels[0] = -1
        half = scores.astype("float16")
        expected = float(BINNED[metric](6)(labels, half.astype("float32")))
        assert float(BINNED[metric](6)(labels.astype("int8"), half)) == expected
        assert BINNED[metric](6).name == metric

    @pytest.mark.parametrize(
        "arguments", [{"num_classes": 0}, {"num_classes": 2, "num_bins": 0}]
    )
    def test_refuses_bad_arguments(self, metric, arguments):
        with pytest.raises(ValueError, match=r"`num_classes` must be at least 1.*Received"):
            BINNED[metric](**arguments)


def test_sums_of_replicas_add_up():
    labels, scores, _ = batch()
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        metric = RocAuc(6)
    for state in metric.variables:
        assert state.aggregation == "sum"
    strategy.run(lambda: metric.update_state(labels, scores))
    assert float(metric.result()) == pytest.approx(float(RocAuc(6)(labels, scores)))


def test_classes_that_cannot_be_scored_are_left_out():
    labels = np.array([[1, 0, 1], [0, 0, 1]], "float32")
    scores = np.array([[0.9, 0.9, 0.2], [0.1, 0.1, 0.4]], "float32")
    assert float(MeanAveragePrecision(3)(labels, scores)) == 1
    assert float(BestF1(3)(labels, scores)) == 1
    assert float(RocAuc(3)(labels, scores)) == 1
    # A class without positives is badly calibrated if it scores high.
    expected = np.mean([0.1, 0.5, 0.7])
    assert float(CalibrationError(3)(labels, scores)) == pytest.approx(expected)
