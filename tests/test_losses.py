"""Losses leave unobserved labels out, and are Keras' own on the rest."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from hmic_keras.losses import (
    MaskedBinaryCrossentropy,
    MaskedLoss,
    ObservedMean,
    mask_unobserved,
    observed,
)

NAMES = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "log_cosh",
    "poisson",
)
INSTANCES = {
    "from_logits": keras.losses.BinaryCrossentropy(from_logits=True),
    "smoothed": keras.losses.BinaryCrossentropy(label_smoothing=0.1),
    "balanced": keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, gamma=1.5),
}
LOSSES = {**{name: name for name in NAMES}, **INSTANCES}


def batch(seed=0, shape=(6, 5), unobserved=0.4):
    """Labels (0, 1, probabilities and unobserved ones), scores and what is observed."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0.0, 1.0, 0.3, 0.8], shape).astype("float32")
    scores = rng.uniform(0.02, 0.98, shape).astype("float32")
    known = rng.random(shape) >= unobserved
    labels[~known] = rng.choice([-1.0, np.nan], int((~known).sum()))
    return labels, scores, known


def value_and_gradient(loss, labels, scores, **kwargs):
    scores = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = loss(labels, scores, **kwargs)
    return float(value), tape.gradient(value, scores).numpy()


def each_label(loss, labels, scores):
    """Keras' own loss of single labels."""
    own = keras.losses.get(loss)
    own = own if callable(own) and not isinstance(own, keras.losses.Loss) else own.call
    return np.array([float(own([[y]], [[p]])[0]) for y, p in zip(labels, scores, strict=True)])


def test_what_is_observed():
    labels = np.array([0.0, 1.0, 0.4, -1.0, -0.5, np.nan])
    assert np.asarray(observed(labels)).tolist() == [True, True, True, False, False, False]
    assert np.asarray(observed(np.array([[0, 1, -1]]))).tolist() == [[True, True, False]]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
class TestEveryLoss:
    def test_equals_keras_where_all_is_observed(self, loss):
        labels, scores, _ = batch(unobserved=0.0)
        own = keras.losses.get(loss)
        expected = np.mean(own(labels, scores))
        np.testing.assert_allclose(MaskedLoss(loss)(labels, scores), expected, rtol=1e-6)

    def test_is_the_mean_over_observed_labels(self, loss):
        labels, scores, known = batch()
        expected = each_label(loss, labels[known], scores[known]).mean()
        np.testing.assert_allclose(MaskedLoss(loss)(labels, scores), expected, rtol=1e-5)

    def test_sample_weights_weigh_clips_or_labels(self, loss):
        labels, scores, known = batch()
        weights = np.random.default_rng(1).random(labels.shape).astype("float32")
        for given_weights, by_label in (
            (weights, weights),
            (weights[:, 0], np.repeat(weights[:, :1], 5, axis=1)),
            (weights[:, :1], np.repeat(weights[:, :1], 5, axis=1)),
        ):
            found = MaskedLoss(loss)(labels, scores, sample_weight=given_weights)
            losses = each_label(loss, labels[known], scores[known])
            expected = np.average(losses, weights=by_label[known])
            np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_nothing_observed_gives_zero_and_no_gradient(self, loss):
        for missing in (-1.0, np.nan):
            labels = np.full((4, 3), missing, "float32")
            scores = np.array([[0.0, 1.0, 0.5]] * 4, "float32")
            value, gradient = value_and_gradient(MaskedLoss(loss), labels, scores)
            assert value == 0
            np.testing.assert_array_equal(gradient, np.zeros((4, 3)))

    def test_survives_serialisation(self, loss):
        masked = MaskedLoss(loss, name="mine")
        config = json.loads(json.dumps(keras.losses.serialize(masked)))
        again = keras.losses.deserialize(config)
        assert type(again) is MaskedLoss
        assert again.name == "mine"
        assert again.get_config() == masked.get_config()
        labels, scores, _ = batch()
        assert float(again(labels, scores)) == float(masked(labels, scores))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    unobserved=st.floats(0, 1),
    loss=st.sampled_from(list(LOSSES)),
)
def test_an_unobserved_label_changes_neither_loss_nor_gradient(seed, shape, unobserved, loss):
    labels, scores, known = batch(seed, shape, unobserved)
    masked = MaskedLoss(LOSSES[loss])
    value, gradient = value_and_gradient(masked, labels, scores)
    rng = np.random.default_rng(seed)
    other = np.where(known, labels, rng.choice([-1.0, -7.0, np.nan], shape)).astype("float32")
    # Scores no model should give; where nothing is observed they must not matter.
    wild = rng.choice([0.0, 1.0, -3.0, 1e30, np.inf, np.nan], shape)
    moved = np.where(known, scores, wild).astype("float32")
    value_after, gradient_after = value_and_gradient(masked, other, moved)
    assert value_after == value
    np.testing.assert_array_equal(gradient_after, gradient)
    np.testing.assert_array_equal(gradient[~known], 0)
    assert np.isfinite(value)
    assert value >= 0 or loss == "poisson"


def test_labels_may_be_integers():
    labels, scores, _ = batch(unobserved=0.0)
    labels = np.round(labels)
    labels[0] = -1
    expected = float(MaskedLoss()(labels, scores))
    for dtype in ("int8", "int64", "float16", "float64"):
        assert float(MaskedLoss()(labels.astype(dtype), scores)) == expected
    assert float(MaskedLoss()(labels[1:] == 1, scores[1:])) == pytest.approx(expected)


def test_works_compiled_and_in_half_precision():
    labels, scores, _ = batch()
    expected = float(MaskedLoss()(labels, scores))
    compiled = tf.function(MaskedLoss(), jit_compile=True)
    assert float(compiled(tf.constant(labels), tf.constant(scores))) == pytest.approx(expected)
    half = MaskedLoss()(labels, scores.astype("float16"))
    assert float(half) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("from_logits", [False, True])
def test_masked_binary_crossentropy(from_logits):
    labels, scores, known = batch()
    loss = MaskedBinaryCrossentropy(from_logits=from_logits)
    probabilities = 1 / (1 + np.exp(-scores)) if from_logits else scores
    y, p = labels[known], probabilities[known]
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    np.testing.assert_allclose(loss(labels, scores), expected, rtol=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is MaskedBinaryCrossentropy
    assert again.get_config() == loss.get_config()
    assert float(again(labels, scores)) == float(loss(labels, scores))


def test_keras_default_loss_would_go_far_below_zero():
    labels = np.full((4, 10), -1.0, "float32")
    labels[:, 0] = 1.0
    sure = np.where(labels == 1, 0.999, 0.001).astype("float32")
    plain = keras.losses.BinaryCrossentropy()(labels, sure)
    assert float(plain) < -1
    assert float(MaskedLoss()(labels, sure)) == pytest.approx(-np.log(0.999), rel=1e-3)


@pytest.mark.parametrize("loss", ["mse", "MSE", "mae", "BinaryCrossentropy", "Huber"])
def test_every_spelling_keras_knows(loss):
    labels, scores, known = batch()
    found = MaskedLoss(loss)(labels, scores)
    expected = each_label(loss, labels[known], scores[known]).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        "categorical_crossentropy",
        "sparse_categorical_crossentropy",
        "cosine_similarity",
        "kl_divergence",
        "no_such_loss",
        keras.losses.CategoricalCrossentropy(),
        keras.losses.categorical_crossentropy,
        keras.losses.Dice(),
        keras.losses.CTC(),
        None,
        3,
    ],
)
def test_refuses_losses_that_mix_classes(loss):
    with pytest.raises(
        ValueError, match=r"every class by itself.*BinaryCrossentropy.*Received"
    ):
        MaskedLoss(loss)


@pytest.mark.parametrize("reduction", ["sum", "none", None])
def test_refuses_a_reduction_it_would_ignore(reduction):
    with pytest.raises(ValueError, match="reduce to a mean"):
        MaskedLoss(keras.losses.BinaryCrossentropy(reduction=reduction))


def test_refuses_an_axis_that_mixes_classes():
    with pytest.raises(ValueError, match="axis=1"):
        MaskedLoss(keras.losses.BinaryCrossentropy(axis=1))


@pytest.mark.parametrize("labels", [(4, 1), (1, 3), (4,), (3, 3), (4, 3, 1)])
@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy"])
def test_refuses_labels_that_would_broadcast(loss, labels):
    with pytest.raises(ValueError, match=r"shape of the predictions.*\(4, 3\)"):
        MaskedLoss(loss)(np.zeros(labels, "float32"), np.full((4, 3), 0.5, "float32"))


class TestMaskUnobserved:
    @pytest.mark.parametrize(
        "loss",
        [
            "binary_crossentropy",
            keras.losses.BinaryCrossentropy(),
            keras.losses.binary_crossentropy,
            keras.losses.BinaryCrossentropy,
        ],
    )
    def test_masks_what_keras_offers(self, loss):
        assert isinstance(mask_unobserved(loss), ObservedMean)

    def test_keeps_parameters(self):
        logits = keras.losses.BinaryCrossentropy(from_logits=True)
        labels, scores, known = batch()
        found = mask_unobserved(logits)(labels, scores * 20 - 10)
        expected = each_label(logits, labels[known], scores[known] * 20 - 10).mean()
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_leaves_the_users_own_alone(self):
        class Own(keras.losses.Loss):
            def call(self, y_true, y_pred):
                return y_pred

        masked, own = MaskedBinaryCrossentropy(), Own()

        def function(y_true, y_pred):
            return y_pred

        for loss in (masked, own, function):
            assert mask_unobserved(loss) is loss
