"""Streaming metrics skip unobserved labels, and are Keras' or scikit-learn's on the rest."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from hmic_keras.streaming_metrics import MaskedMetric, MeanAveragePrecision, mask_unobserved

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
@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from([*COUNTING, *GRADUAL, "map"]))
def test_an_unobserved_label_or_its_score_changes_nothing(seed, metric):
    labels, scores, known = batch(seed, soft=True)
    rng = np.random.default_rng(seed)
    other = np.where(known, labels, rng.choice([-1.0, -2.0, np.nan], labels.shape))
    moved = np.where(known, scores, rng.random(scores.shape))
    results = []
    for y, p in ((labels, scores), (other.astype("float32"), moved.astype("float32"))):
        measure = MeanAveragePrecision(6) if metric == "map" else MaskedMetric(metric)
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


def macro_ap(labels, scores):
    """scikit-learn's average precision, over classes with an observed positive."""
    found = []
    for y, p in zip(labels.T, scores.T, strict=True):
        known = y >= 0
        if (y[known] > 0.5).any():
            found.append(average_precision_score(y[known] > 0.5, p[known]))
    return np.mean(found) if found else 0.0


class TestMeanAveragePrecision:
    @settings(deadline=None, max_examples=40)
    @given(
        seed=st.integers(0, 2**32 - 1),
        shape=st.tuples(st.integers(1, 60), st.integers(1, 5)),
        unobserved=st.floats(0, 1),
    )
    def test_equals_scikit_learn_on_scores_rounded_to_bins(self, seed, shape, unobserved):
        labels, scores, _ = batch(seed, shape, unobserved, soft=True)
        metric = MeanAveragePrecision(shape[1], num_bins=64)
        # The middle of a bin, so that no score sits on an edge.
        scores = ((np.floor(scores * 64) + 0.5) / 64).astype("float32")
        half = shape[0] // 2
        for rows in (slice(half), slice(half, None)):
            metric.update_state(labels[rows], scores[rows])
        assert float(metric.result()) == pytest.approx(macro_ap(labels, scores), abs=1e-5)

    def test_is_close_to_scikit_learn_on_any_scores(self):
        labels, scores, _ = batch(shape=(500, 8))
        found = float(MeanAveragePrecision(8)(labels, scores))
        assert found == pytest.approx(macro_ap(labels, scores), abs=5e-3)

    def test_scores_at_and_beyond_the_ends(self):
        labels = np.array([[1], [0], [1], [0]], "float32")
        scores = np.array([[1.0], [0.0], [1.5], [-0.5]], "float32")
        assert float(MeanAveragePrecision(1)(labels, scores)) == 1

    def test_nothing_to_find_gives_zero(self):
        metric = MeanAveragePrecision(3)
        assert float(metric.result()) == 0
        labels = np.array([[0.0, -1.0, np.nan]], "float32")
        assert float(metric(labels, np.full((1, 3), 0.7, "float32"))) == 0

    def test_a_class_without_positives_is_left_out(self):
        labels = np.array([[1, 0], [0, 0]], "float32")
        scores = np.array([[0.9, 0.9], [0.1, 0.1]], "float32")
        assert float(MeanAveragePrecision(2)(labels, scores)) == 1

    def test_reset_and_serialisation(self):
        labels, scores, _ = batch()
        metric = MeanAveragePrecision(6, num_bins=100, name="mine")
        config = json.loads(json.dumps(keras.metrics.serialize(metric)))
        again = keras.metrics.deserialize(config)
        assert again.get_config() == metric.get_config()
        first = float(metric(labels, scores))
        assert float(again(labels, scores)) == first
        metric.reset_state()
        assert float(metric.result()) == 0
        assert float(metric(labels, scores)) == first

    def test_works_compiled(self):
        labels, scores, _ = batch()
        metric, eager = MeanAveragePrecision(6), MeanAveragePrecision(6)

        @tf.function(jit_compile=True)
        def update(y, p):
            metric.update_state(y, p)
            return metric.result()

        found = update(tf.constant(labels), tf.constant(scores))
        assert float(found) == pytest.approx(float(eager(labels, scores)), abs=1e-6)

    @pytest.mark.parametrize(
        "arguments", [{"num_classes": 0}, {"num_classes": 2, "num_bins": 1}]
    )
    def test_refuses_bad_arguments(self, arguments):
        with pytest.raises(ValueError, match="`num_classes` must be at least 1"):
            MeanAveragePrecision(**arguments)
