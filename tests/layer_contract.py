"""What every layer of the package promises, as one check a layer's own tests call."""

import json

import keras
import numpy as np
import tensorflow as tf

# Rounding of the half-precision types relative to the size of the result.
HALF_TOLERANCE = {"mixed_float16": 4e-3, "mixed_bfloat16": 3e-2}


def check_layer(make, *inputs, outputs=1, weights=(), half_tolerance=HALF_TOLERANCE):
    """Runs the whole contract.

    Args:
        make: Makes a new layer of the same arguments; takes `dtype`.
        inputs: float32 arrays the layer is called with, in order.
        outputs: How many arrays a call returns.
        weights: Names of the layer's weights, all of them trainable.
        half_tolerance: Error allowed under each mixed policy, relative to the largest value.
    """
    layer = make()
    expected = call(layer, inputs, outputs)
    assert sorted(weight.name for weight in layer.trainable_weights) == sorted(weights)
    assert not layer.non_trainable_weights
    check_config(layer, inputs, outputs, expected)
    check_shapes(make, inputs, outputs, expected)
    check_training(make, inputs, weights)
    check_mixed_precision(layer, inputs, outputs, expected, half_tolerance)
    check_compiled(layer, inputs, outputs, expected)


def call(layer, inputs, outputs):
    results = layer(*inputs)
    results = [results] if outputs == 1 else list(results)
    assert len(results) == outputs
    return [keras.ops.convert_to_numpy(result) for result in results]


def twin(layer, inputs, outputs, **config):
    """A layer from the first one's config, through JSON, with its weights."""
    text = json.dumps(layer.get_config(), allow_nan=False)
    other = type(layer).from_config({**json.loads(text), **config})
    other(*inputs)
    other.set_weights(layer.get_weights())
    return other


def check_config(layer, inputs, outputs, expected):
    other = twin(layer, inputs, outputs)
    assert other.get_config() == layer.get_config()
    for wanted, got in zip(expected, call(other, inputs, outputs), strict=True):
        np.testing.assert_array_equal(got, wanted)
    restored = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(layer))), safe_mode=True
    )
    assert type(restored) is type(layer)


def check_shapes(make, inputs, outputs, expected):
    for unknown in (slice(0, 0), slice(0, 1)):
        symbols = []
        for array in inputs:
            shape = list(array.shape)
            shape[unknown] = [None] * len(shape[unknown])
            symbols.append(keras.KerasTensor(tuple(shape), dtype="float32"))
        results = make()(*symbols)
        results = [results] if outputs == 1 else list(results)
        for wanted, result in zip(expected, results, strict=True):
            assert keras.backend.standardize_dtype(result.dtype) == wanted.dtype
            assert len(result.shape) == wanted.ndim
            for known, size in zip(result.shape, wanted.shape, strict=True):
                assert known in (size, None)
            start = 1 if unknown.stop else 0
            assert tuple(result.shape[start:]) == wanted.shape[start:]
    shape = make().compute_output_shape(*(array.shape for array in inputs))
    assert tuple(shape) == expected[0].shape


def check_training(make, inputs, weights):
    layer = make()
    tensors = [tf.constant(array) for array in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        result = layer(*tensors)
        result = result[0] if isinstance(result, tuple | list) else result
        value = tf.reduce_sum(tf.square(result))
    for gradient in tape.gradient(value, tensors):
        gradient = gradient.numpy()
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0
    symbols = [keras.Input(array.shape[1:]) for array in inputs]
    result = make()(*symbols)
    result = result[0] if isinstance(result, tuple | list) else result
    model = keras.Model(symbols, result)
    if not weights:
        assert model.count_params() == 0
        return
    model.compile(keras.optimizers.SGD(0.5), "mse")
    before = [weight.numpy() for weight in model.trainable_weights]
    target = np.ones((len(inputs[0]), *result.shape[1:]), "float32")
    loss = model.train_on_batch(list(inputs), target)
    assert np.isfinite(loss)
    for old, new in zip(before, model.trainable_weights, strict=True):
        assert np.isfinite(new.numpy()).all()
        assert not np.array_equal(old, new.numpy()), f"{new.path} did not change"


def check_mixed_precision(layer, inputs, outputs, expected, tolerances):
    for policy, tolerance in tolerances.items():
        half = twin(layer, inputs, outputs, dtype=policy)
        results = half(*inputs)
        results = [results] if outputs == 1 else results
        for wanted, result in zip(expected, results, strict=True):
            assert keras.backend.standardize_dtype(result.dtype) == policy[len("mixed_") :]
            result = keras.ops.cast(result, "float32").numpy()
            assert np.isfinite(result).all()
            error = np.abs(result - wanted).max() / max(np.abs(wanted).max(), 1e-6)
            assert error < tolerance, f"{policy}: relative error {error}"


def check_compiled(layer, inputs, outputs, expected):
    symbols = [keras.Input(array.shape[1:]) for array in inputs]
    model = keras.Model(symbols, layer(*symbols))
    model.compile(jit_compile=True)
    results = model.predict(list(inputs), verbose=0)
    results = [results] if outputs == 1 else results
    for wanted, result in zip(expected, results, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-5)


def check_random_layer(make, inputs, jit=False):
    """What a layer that changes its inputs by chance, in training only, promises.

    Args:
        make: Makes a new layer of the same arguments with some seed; takes `dtype`.
        inputs: What the layer is called with: an array, or a nest of arrays.
        jit: Whether the layer is also compiled by XLA, which takes seconds.
    """
    layer = make()
    first, second = run(layer, inputs), run(layer, inputs)
    assert differ(first, inputs), "training changes nothing"
    assert differ(first, second), "two calls draw the same"
    assert not differ(layer(inputs), inputs), "inference changes something"
    assert not differ(layer(inputs, training=False), inputs)
    assert not layer.weights
    text = json.dumps(keras.saving.serialize_keras_object(layer), allow_nan=False)
    restored = keras.saving.deserialize_keras_object(json.loads(text), safe_mode=True)
    assert restored.get_config() == layer.get_config()
    for again in (restored, make(dtype="mixed_float16")):
        assert not differ(run(again, inputs), first), "one seed gives two sequences"
        assert not differ(run(again, inputs), second)
    symbols = keras.tree.map_structure(
        lambda one: keras.KerasTensor((None, *one.shape[1:]), "float32"), inputs
    )
    for symbol, one in zip(
        keras.tree.flatten(layer(symbols)), keras.tree.flatten(inputs), strict=True
    ):
        assert symbol.shape == (None, *one.shape[1:])
        assert symbol.dtype == "float32"
    check_graphs(make, inputs, (first, second), jit)


def check_graphs(make, inputs, expected, jit):
    unknown = keras.tree.map_structure(
        lambda one: tf.TensorSpec((None,) * one.ndim, tf.float32), inputs
    )
    training = graph(make(), True, input_signature=[unknown])
    for wanted in expected:
        pairs = zip(
            keras.tree.flatten(training(inputs)), keras.tree.flatten(wanted), strict=True
        )
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    inference = graph(make(), False, input_signature=[unknown]).get_concrete_function()
    kinds = {operation.type for operation in inference.graph.get_operations()}
    assert kinds <= {"Placeholder", "Identity", "NoOp"}, "inference pays for what is not done"
    if jit:
        # XLA has a random generator of its own, so its numbers are others.
        function = graph(make(), True, input_signature=[unknown], jit_compile=True)
        first, second = (
            check_like(function(inputs), inputs),
            check_like(function(inputs), inputs),
        )
        assert differ(first, inputs)
        assert differ(first, second)


def graph(layer, training, **options):
    return tf.function(lambda x: layer(x, training=training), **options)


def run(layer, inputs):
    """Calls a layer for training."""
    return check_like(layer(inputs, training=True), inputs)


def check_like(result, inputs):
    """Checks that a result is finite and of the shapes of the inputs; returns it as arrays."""
    result = keras.tree.map_structure(np.asarray, result)
    for one, given in zip(keras.tree.flatten(result), keras.tree.flatten(inputs), strict=True):
        assert one.shape == given.shape
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
    return result


def differ(left, right):
    pairs = zip(keras.tree.flatten(left), keras.tree.flatten(right), strict=True)
    return any(not np.array_equal(np.asarray(one), np.asarray(other)) for one, other in pairs)
