"""`BatchNormalization` against NumPy and against the layer of Keras."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from hmic_keras.layers import BatchNormalization

SHAPES = [(6, 5), (4, 7, 5), (3, 6, 4, 5), (2, 3, 4, 2, 5), (1, 2, 16), (1, 5)]
VARIANTS = {
    "default": {},
    "plain": {"center": False, "scale": False},
    "scale": {"center": False, "momentum": 0.9},
    "center": {"scale": False, "epsilon": 1e-2},
    "last_axis": {"axis": 3},
    "mixed_float16": {"dtype": "mixed_float16"},
    "mixed_bfloat16": {"dtype": "mixed_bfloat16"},
    # What is left to Keras.
    "first_axis": {"axis": 1},
    "renorm": {"renorm": True},
    "float64": {"dtype": "float64"},
    "tiny_epsilon": {"epsilon": 1e-6},
}


def batch(shape, seed=0, offset=3.0):
    return np.random.default_rng(seed).normal(offset, 2.0, shape).astype("float32")


def pair(shape, **config):
    """Our layer and Keras', with the same random weights."""
    layers = BatchNormalization(**config), keras.layers.BatchNormalization(**config)
    rng = np.random.default_rng(1)
    layers[0].build(shape)
    layers[1].build(shape)
    weights = [
        rng.uniform(0.5, 1.5, w.shape).astype("float32") for w in layers[0].get_weights()
    ]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def step(layer, x, training=True, **kwargs):
    """The output, and the gradients to the input and to the weights."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training, **kwargs)
        weight = tf.cos(tf.range(tf.size(y), dtype="float32"))
        value = tf.reduce_sum(tf.reshape(tf.cast(y, "float32"), [-1]) * weight)
    variables = [w.value for w in layer.trainable_weights]
    return [np.asarray(a, "float32") for a in (y, *tape.gradient(value, [x, *variables]))]


def same(ours, theirs, x, tolerance=1e-5, **kwargs):
    found, expected = step(ours, x, **kwargs), step(theirs, x, **kwargs)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            got, wanted, rtol=tolerance, atol=tolerance * max(1.0, np.abs(wanted).max())
        )
    for got, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def operations(layer, shape, training=True):
    function = tf.function(lambda x: layer(x, training=training))
    graph = function.get_concrete_function(tf.TensorSpec(shape, tf.float32)).graph
    return {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_an_oracle(shape):
    layer, _ = pair(shape, momentum=0.9, epsilon=1e-2)
    gamma, beta, moving_mean, moving_variance = layer.get_weights()
    x = batch(shape)
    axes = tuple(range(len(shape) - 1))
    mean, variance = x.astype("float64").mean(axis=axes), x.astype("float64").var(axis=axes)
    expected = (x - mean) / np.sqrt(variance + 1e-2) * gamma + beta
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-4, atol=1e-5)
    weights = layer.get_weights()
    np.testing.assert_allclose(weights[2], 0.9 * moving_mean + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(weights[3], 0.9 * moving_variance + 0.1 * variance, rtol=1e-5)
    inference = (x - weights[2]) / np.sqrt(weights[3] + 1e-2) * gamma + beta
    np.testing.assert_allclose(layer(x), inference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_trains_as_keras_does(variant):
    shape = (3, 6, 4, 5)
    ours, theirs = pair(shape, **variant)
    half = {"mixed_float16": 2e-3, "mixed_bfloat16": 2e-2}
    for seed in range(2):
        same(ours, theirs, batch(shape, seed), half.get(variant.get("dtype"), 1e-5))
    same(ours, theirs, batch(shape), half.get(variant.get("dtype"), 1e-5), training=False)


@settings(max_examples=12, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple),
    offset=st.floats(-10, 10),
    seed=st.integers(0, 99),
)
def test_trains_as_keras_does_on_any_shape(shape, offset, seed):
    ours, theirs = pair(shape)
    # Of one sample the variance is 0, and the gradient is what rounding leaves of nothing.
    same(ours, theirs, batch(shape, seed, offset), 1e-4)


def test_leaves_masked_steps_out_as_keras_does():
    ours, theirs = pair((4, 7, 5))
    mask = tf.constant(np.arange(7) < np.array([[7], [3], [1], [5]]))
    same(ours, theirs, batch((4, 7, 5)), mask=mask)
    unmasked, _ = pair((4, 7, 5))
    unmasked(batch((4, 7, 5)), training=True)
    assert not np.allclose(unmasked.get_weights()[2], ours.get_weights()[2])


def test_is_fused_in_training_only_and_where_it_can_be():
    fused = "FusedBatchNormV3"
    for shape in ((None, 5), (None, None, 5), (None, 6, None, 5)):
        assert fused in operations(BatchNormalization(), shape)
        assert fused not in operations(BatchNormalization(), shape, training=False)
    frozen = BatchNormalization()
    frozen.trainable = False
    assert fused not in operations(frozen, (None, 5))
    for options in ({"axis": 1}, {"renorm": True}, {"epsilon": 1e-6}, {"synchronized": True}):
        assert fused not in operations(BatchNormalization(**options), (None, 6, 5))


def test_frozen_statistics_stay():
    ours, theirs = pair((4, 5))
    ours.trainable = theirs.trainable = False
    before = ours.get_weights()
    np.testing.assert_array_equal(ours(batch((4, 5)), training=True), theirs(batch((4, 5))))
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_config_and_weights_are_those_of_keras():
    ours, theirs = pair((4, 5), momentum=0.8, center=False, name="norm")
    assert ours.get_config() == {**theirs.get_config(), "dtype": ours.get_config()["dtype"]}
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    text = json.dumps(keras.saving.serialize_keras_object(ours), allow_nan=False)
    restored = keras.saving.deserialize_keras_object(json.loads(text), safe_mode=True)
    assert type(restored) is BatchNormalization
    assert restored.get_config() == ours.get_config()


def networks(jit):
    """The same small network with our layer and with Keras', compiled."""
    models = []
    for norm in (BatchNormalization, keras.layers.BatchNormalization):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((None, 6))
        x = norm(center=False, scale=False)(inputs)
        x = norm()(keras.layers.Dense(8)(x))
        x = keras.layers.GlobalAveragePooling1D()(keras.layers.ReLU()(x))
        model = keras.Model(inputs, keras.layers.Dense(1)(x))
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit)
        models.append(model)
    return models


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_a_network_trains_as_with_the_layer_of_keras(jit):
    ours, theirs = networks(jit)
    for seed, size in enumerate((8, 8, 3)):
        x, y = batch((size, 9, 6), seed), batch((size, 1), seed + 10, offset=0)
        loss = ours.train_on_batch(x, y)
        np.testing.assert_allclose(loss, theirs.train_on_batch(x, y), rtol=1e-4)
    for got, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)
    x = batch((4, 9, 6), 5)
    np.testing.assert_allclose(
        ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-3, atol=1e-4
    )


def test_weights_of_keras_models_fit(tmp_path):
    ours, theirs = networks(False)
    x = batch((4, 9, 6))
    theirs.train_on_batch(x, batch((4, 1)))
    theirs.save(tmp_path / "keras.keras")
    ours.load_weights(tmp_path / "keras.keras")
    np.testing.assert_array_equal(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))
    ours.save(tmp_path / "ours.keras")
    loaded = keras.saving.load_model(tmp_path / "ours.keras", safe_mode=True)
    assert type(loaded.layers[1]) is BatchNormalization
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), ours.predict(x, verbose=0))
