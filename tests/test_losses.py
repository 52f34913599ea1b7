"""Losses leave unobserved labels out, and are Keras' own on the rest."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from hmic_keras import losses as masked_losses
from hmic_keras.errors import HmicError, LabelError
from hmic_keras.losses import (
    MaskedAsymmetricLoss,
    MaskedBinaryCrossentropy,
    MaskedFocalLoss,
    MaskedLoss,
    ObservedMean,
    class_weights,
    consistency_penalty,
    link_violations,
    mask_unobserved,
    observed,
    positive_weights,
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

    @pytest.mark.parametrize(
        ("name", "cls"), [("focal", MaskedFocalLoss), ("asymmetric", MaskedAsymmetricLoss)]
    )
    def test_knows_the_names_of_this_package(self, name, cls):
        assert type(mask_unobserved(name)) is cls


# Losses of binary decisions


def cross_entropy(y, p, w=1.0):
    return -(y * w * np.log(p) + (1 - y) * np.log(1 - p))


def focal(y, p, gamma, alpha=None, w=1.0):
    """Lin et al., equation 5, with labels between 0 and 1 mixed as Keras mixes them."""
    p_t = y * p + (1 - y) * (1 - p)
    balance = 1.0 if alpha is None else y * alpha + (1 - y) * (1 - alpha)
    return balance * (1 - p_t) ** gamma * cross_entropy(y, p, w)


def asymmetric(y, p, plus, minus, margin, w=1.0):
    """Ridnik et al., equations 4, 6 and 7."""
    shifted = np.maximum(p - margin, 0)
    present = (1 - p) ** plus * np.log(p)
    absent = shifted**minus * np.log(1 - shifted)
    return -(w * y * present + (1 - y) * absent)


W = np.array([3.0, 1.0, 0.5, 2.0, 10.0])
BINARY = {
    "plain": (
        lambda **k: MaskedBinaryCrossentropy(**k),
        lambda y, p, w: cross_entropy(y, p, w),
    ),
    "focal": (lambda **k: MaskedFocalLoss(**k), lambda y, p, w: focal(y, p, 2.0, w=w)),
    "balanced": (
        lambda **k: MaskedFocalLoss(gamma=0.5, alpha=0.25, **k),
        lambda y, p, w: focal(y, p, 0.5, 0.25, w),
    ),
    "unfocused": (
        lambda **k: MaskedFocalLoss(gamma=0.0, **k),
        lambda y, p, w: cross_entropy(y, p, w),
    ),
    "asymmetric": (
        lambda **k: MaskedAsymmetricLoss(**k),
        lambda y, p, w: asymmetric(y, p, 0.0, 4.0, 0.05, w),
    ),
    "steep": (
        lambda **k: MaskedAsymmetricLoss(gamma_pos=0.5, gamma_neg=0.5, clip=0.2, **k),
        lambda y, p, w: asymmetric(y, p, 0.5, 0.5, 0.2, w),
    ),
    "unclipped": (
        lambda **k: MaskedAsymmetricLoss(gamma_pos=1.0, gamma_neg=0.0, clip=0.0, **k),
        lambda y, p, w: asymmetric(y, p, 1.0, 0.0, 0.0, w),
    ),
}


@pytest.mark.parametrize(("make", "oracle"), BINARY.values(), ids=BINARY.keys())
class TestBinaryLosses:
    @pytest.mark.parametrize("from_logits", [False, True])
    def test_equals_the_papers_on_observed_labels(self, make, oracle, from_logits):
        labels, scores, known = batch()
        given_scores = np.log(scores / (1 - scores)) if from_logits else scores
        expected = oracle(labels[known], scores[known].astype(float), 1.0).mean()
        found = make(from_logits=from_logits)(labels, given_scores)
        np.testing.assert_allclose(found, expected, rtol=2e-5)

    def test_positive_weights_are_factors_of_present_labels(self, make, oracle):
        labels, scores, known = batch()
        each = oracle(np.where(known, labels, 0), scores.astype(float), W)
        found = make(positive_weights=W)(labels, scores)
        np.testing.assert_allclose(found, each[known].mean(), rtol=2e-5)

    def test_class_weights_weigh_the_mean(self, make, oracle):
        labels, scores, known = batch()
        each = oracle(np.where(known, labels, 0), scores.astype(float), 1.0)
        clips = np.arange(1.0, 7.0)
        for weights in (W, W * 7):  # only ratios count
            expected = np.average(each[known], weights=np.tile(weights, (6, 1))[known])
            found = make(class_weights=weights.tolist())(labels, scores)
            np.testing.assert_allclose(found, expected, rtol=2e-5)
        expected = np.average(each[known], weights=np.outer(clips, W)[known])
        found = make(class_weights=W)(labels, scores, sample_weight=clips)
        np.testing.assert_allclose(found, expected, rtol=2e-5)

    def test_smooths_observed_labels_only(self, make, oracle):
        labels, scores, known = batch()
        smoothed = np.where(known, labels * 0.8 + 0.1, 0)
        expected = oracle(smoothed, scores.astype(float), 1.0)[known].mean()
        found = make(label_smoothing=0.2)(labels, scores)
        np.testing.assert_allclose(found, expected, rtol=2e-5)

    @settings(deadline=None, max_examples=15)
    @given(
        seed=st.integers(0, 2**32 - 1),
        shape=st.tuples(st.integers(1, 6), st.just(5)),
        unobserved=st.floats(0, 1),
        from_logits=st.booleans(),
    )
    def test_an_unobserved_label_has_no_gradient(
        self, make, oracle, seed, shape, unobserved, from_logits
    ):
        labels, scores, known = batch(seed, shape, unobserved)
        # The ends of the range, where a logarithm or a root is steepest.
        rng = np.random.default_rng(seed)
        ends = [-80.0, 80.0] if from_logits else [0.0, 1.0]
        scores = np.where(rng.random(shape) < 0.5, rng.choice(ends, shape), scores)
        wild = rng.choice([-3.0, 1e30, np.inf, np.nan], shape)
        scores = np.where(known, scores, wild).astype("float32")
        loss = make(from_logits=from_logits, positive_weights=W, class_weights=W)
        value, gradient = value_and_gradient(loss, labels, scores)
        assert np.isfinite(value)
        assert value >= 0
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[~known], 0)
        if not known.any():
            assert value == 0

    def test_every_observed_label_has_a_gradient_of_the_right_sign(self, make, oracle):
        labels, scores, known = batch()
        labels = np.where(known, np.round(np.nan_to_num(labels)), -1).astype("float32")
        scores = np.clip(scores, 0.3, 0.9)
        _, gradient = value_and_gradient(make(), labels, scores)
        assert (gradient[labels == 1] < 0).all()
        assert (gradient[labels == 0] > 0).all()

    def test_survives_serialisation(self, make, oracle):
        loss = make(from_logits=True, label_smoothing=0.1, class_weights=W, name="mine")
        config = json.loads(json.dumps(keras.losses.serialize(loss)))
        again = keras.losses.deserialize(config)
        assert type(again) is type(loss)
        assert again.name == "mine"
        assert again.get_config() == loss.get_config()
        labels, scores, _ = batch()
        assert float(again(labels, scores)) == float(loss(labels, scores))

    def test_half_precision_scores_stay_finite(self, make, oracle):
        labels = np.array([[0.0, 1.0, 0.0, 1.0, -1.0]], "float32")
        for scores in ([[1.0, 0.0, 0.5, 0.5, 0.5]], [[0.0, 1.0, 0.5, 0.5, 0.5]]):
            half = tf.constant(scores, "float16")
            for loss in (make(), make(dtype="float16")):
                value, gradient = value_and_gradient(loss, labels, half)
                assert np.isfinite(value)
                assert np.isfinite(gradient).all()
            single = float(make()(labels, np.array(scores, "float32")))
            assert float(make()(labels, half)) == pytest.approx(single, rel=1e-3)

    def test_works_compiled(self, make, oracle):
        labels, scores, _ = batch()
        loss = make(positive_weights=W, class_weights=W)
        expected = float(loss(labels, scores))
        compiled = tf.function(loss)
        found = float(compiled(tf.constant(labels), tf.constant(scores)))
        assert found == pytest.approx(expected, rel=1e-5)

    def test_refuses_weights_of_another_number_of_classes(self, make, oracle):
        labels, scores, _ = batch()
        for argument in ("positive_weights", "class_weights"):
            with pytest.raises(HmicError, match=f"`{argument}`.*each of the 5.*2 weights"):
                make(**{argument: [1.0, 2.0]})(labels, scores)


@pytest.mark.parametrize(
    "options", [{}, {"gamma": 1.0}, {"alpha": 0.3}, {"label_smoothing": 0.1, "alpha": 0.6}]
)
@pytest.mark.parametrize("from_logits", [False, True])
def test_focal_loss_equals_keras_where_all_is_observed(options, from_logits):
    labels, scores, _ = batch(unobserved=0.0)
    scores = scores * 8 - 4 if from_logits else scores
    keras_options = {"apply_class_balancing": "alpha" in options, **options}
    own = keras.losses.BinaryFocalCrossentropy(from_logits=from_logits, **keras_options)
    found = MaskedFocalLoss(from_logits=from_logits, **options)(labels, scores)
    np.testing.assert_allclose(found, own(labels, scores), rtol=2e-5)


def test_positive_weights_equal_tensorflows():
    labels, scores, _ = batch(unobserved=0.0)
    logits = (scores * 8 - 4).astype("float32")
    expected = tf.nn.weighted_cross_entropy_with_logits(labels, logits, W.astype("float32"))
    loss = MaskedBinaryCrossentropy(from_logits=True, positive_weights=W)
    np.testing.assert_allclose(loss(labels, logits), np.mean(expected), rtol=1e-5)


def test_easy_labels_count_less_in_focal_and_asymmetric_loss():
    labels, easy, hard = [[0.0]], [[0.1]], [[0.9]]
    ratios = [
        float(loss(labels, hard)) / float(loss(labels, easy))
        for loss in (MaskedBinaryCrossentropy(), MaskedFocalLoss(), MaskedAsymmetricLoss())
    ]
    assert ratios[0] < ratios[1] < ratios[2]
    assert float(MaskedAsymmetricLoss(clip=0.2)([[0.0]], [[0.19]])) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaskedFocalLoss(gamma=-1), "`gamma` must be a number from 0.*-1"),
        (lambda: MaskedFocalLoss(alpha=2), "`alpha`.*2"),
        (lambda: MaskedFocalLoss(gamma="2"), "`gamma`.*'2'"),
        (lambda: MaskedAsymmetricLoss(clip=1.0), "`clip`.*1.0"),
        (lambda: MaskedAsymmetricLoss(gamma_neg=np.nan), "`gamma_neg`.*nan"),
        (lambda: MaskedBinaryCrossentropy(label_smoothing=1.5), "`label_smoothing`.*1.5"),
        (lambda: MaskedBinaryCrossentropy(label_smoothing=True), "`label_smoothing`.*True"),
        (lambda: MaskedFocalLoss(class_weights=[0.0, 0.0]), "`class_weights`.*not all 0"),
        (lambda: MaskedFocalLoss(class_weights=[]), "`class_weights`"),
        (lambda: MaskedFocalLoss(class_weights=2.0), "`class_weights` must be a list.*2.0"),
        (lambda: MaskedFocalLoss(positive_weights=[-1.0]), "`positive_weights`.*-1"),
        (lambda: MaskedFocalLoss(positive_weights=[np.inf]), "`positive_weights`.*inf"),
        (lambda: MaskedFocalLoss(positive_weights=["a"]), "`positive_weights`.*'a'"),
        (lambda: masked_losses.get("focla"), r"`loss` must be one of \['asymmetric'.*'focla'"),
        (lambda: masked_losses.get(None), "`loss` must be one of.*None"),
        (
            lambda: masked_losses.get("focal", gama=2),
            r"no option \['gama'\].*gamma",
        ),
        (lambda: masked_losses.get("focal", gamma=-2), "`gamma`.*-2"),
    ],
)
def test_refuses_bad_options(make, message):
    with pytest.raises(HmicError, match=message):
        make()


def test_a_recipe_names_a_loss():
    assert set(masked_losses.NAMES) == {"binary_crossentropy", "focal", "asymmetric"}
    loss = masked_losses.get("asymmetric", gamma_neg=2, clip=0.0)
    assert type(loss) is MaskedAsymmetricLoss
    assert (loss.gamma_neg, loss.clip, loss.gamma_pos) == (2.0, 0.0, 0.0)
    assert type(masked_losses.get("binary_crossentropy")) is MaskedBinaryCrossentropy


# Weights from labels


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    unobserved=st.floats(0, 1),
    power=st.floats(0, 1),
    limit=st.floats(1, 50),
)
def test_weights_count_observed_labels(seed, unobserved, power, limit):
    labels, _, known = batch(seed, (30, 4), unobserved)
    rarity, share = positive_weights(labels, power, limit), class_weights(labels, power, limit)
    counts = known.sum(axis=0)
    average = counts[counts > 0].mean() if counts.any() else 1
    for tag in range(4):
        present = int((labels[known[:, tag], tag] > 0.5).sum())
        absent = int(counts[tag]) - present
        ratio = absent / present if present and absent else 1.0
        expected = min(max(ratio**power, 1 / limit), limit)
        assert rarity[tag] == pytest.approx(expected, rel=1e-5)
        ratio = average / counts[tag] if counts[tag] else 1.0
        expected = min(max(ratio**power, 1 / limit), limit)
        assert share[tag] == pytest.approx(expected, rel=1e-5)


def test_full_weights_balance_a_loss():
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 3)) < [0.3, 0.5, 0.8]).astype("float32")
    labels[rng.random(labels.shape) < [0.0, 0.5, 0.8]] = -1
    known = labels >= 0
    weights = positive_weights(labels)
    sums = (labels == 1).sum(axis=0) * weights
    np.testing.assert_allclose(sums, (labels == 0).sum(axis=0), rtol=1e-5)
    shares = known.sum(axis=0) * class_weights(labels)
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)


@pytest.mark.parametrize("make", [positive_weights, class_weights])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0],), "shape"),
        (([[3]],), "label must be"),
        (([[1]], 1.5), "`power`.*1.5"),
        (([[1]], np.nan), "`power`.*nan"),
        (([[1]], 1.0, 0.5), "`limit`.*0.5"),
        (([[1]], 1.0, np.inf), "`limit`.*inf"),
    ],
)
def test_unusable_labels_and_powers_are_refused(make, arguments, message):
    with pytest.raises(LabelError, match=message):
        make(*arguments)


# The hierarchy


LINKS = [
    ("coarse", "fine", np.array([[0, 0], [0, 1], [1, 2]])),
    ("top", "fine", np.array([[0, 2]])),
    ("top", "coarse", np.array([[0, 0]])),
]


def level_scores(seed, rows=4):
    rng = np.random.default_rng(seed)
    sizes = {"fine": 3, "coarse": 2, "top": 1}
    return {lv: rng.random((rows, size)).astype("float32") for lv, size in sizes.items()}


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5))
def test_the_penalty_is_the_mean_squared_hinge_over_links(seed, rows):
    scores = level_scores(seed, rows)
    hinges = [
        max(0.0, float(scores[child][row, j]) - float(scores[parent][row, i]))
        for row in range(rows)
        for parent, child, pairs in LINKS
        for i, j in pairs
    ]
    found = consistency_penalty(link_violations(scores, LINKS))
    np.testing.assert_allclose(found, np.mean(np.square(hinges)), rtol=1e-5, atol=1e-9)


def test_the_penalty_lowers_the_child_and_raises_the_parent():
    scores = {
        "fine": tf.constant([[0.9, 0.1, 0.2]]),
        "coarse": tf.constant([[0.4, 0.6]]),
        "top": tf.constant([[0.5]]),
    }
    with tf.GradientTape() as tape:
        tape.watch(scores)
        penalty = consistency_penalty(link_violations(scores, LINKS))
    gradient = {level: g.numpy()[0] for level, g in tape.gradient(penalty, scores).items()}
    # Of five links only the first is broken, by 0.5.
    assert float(penalty) == pytest.approx(0.25 / 5)
    np.testing.assert_allclose(gradient["fine"], [2 * 0.5 / 5, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(gradient["coarse"], [-2 * 0.5 / 5, 0], rtol=1e-6)
    np.testing.assert_array_equal(gradient["top"], 0)
