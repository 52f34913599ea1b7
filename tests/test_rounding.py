"""Rounding weights for what they multiply, and keeping a tolerance by it."""

import keras
import numpy as np
import pytest

import hmic_keras as hk
from hmic_keras.export import export_model
from hmic_keras.export._rounding import _layers, round_weights, with_weights
from hmic_keras.export.tflite import convert

pytest.importorskip("ai_edge_quantizer", reason="needs the extra [export]")
from ai_edge_litert.interpreter import Interpreter

pytestmark = pytest.mark.xdist_group("export_formats")


def answers(content, inputs):
    runner = Interpreter(model_content=content).get_signature_runner()
    ((name, _),) = runner.get_input_details().items()
    found = [next(iter(runner(**{name: one[np.newaxis]}).values())) for one in inputs]
    return np.concatenate(found)


def network(strides, padding, dilation):
    keras.utils.set_random_seed(0)
    given = keras.Input((12, 9, 3))
    x = keras.layers.Conv2D(
        5, (3, 2), strides=strides, padding=padding, dilation_rate=dilation, name="convolution"
    )(given)
    return keras.Model(given, {"out": x})


@pytest.mark.parametrize(
    ("strides", "padding", "dilation"),
    [
        *[(strides, padding, 1) for strides in (1, 2, (2, 3)) for padding in ("same", "valid")],
        (1, "valid", (2, 3)),
    ],
)
def test_patches_times_weights_are_the_convolution(strides, padding, dilation):
    content = convert(network(strides, padding, dilation), (12, 9, 3))
    inputs = np.random.default_rng(0).normal(0, 1, (1, 12, 9, 3)).astype("float32")
    expected = answers(content, inputs)
    (layer,) = _layers(content, Everything()).values()
    found = layer.patches(inputs) @ layer.weights.reshape(5, -1).T  # its bias is zero
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5)


class Everything(dict):
    """Wants every operation, with 8 bits."""

    def __contains__(self, name):
        return True

    def __getitem__(self, name):
        return 8


@pytest.fixture(scope="module")
def dense():
    """A dense layer of correlated inputs, as features of music are."""
    keras.utils.set_random_seed(0)
    given = keras.Input((40,))
    model = keras.Model(given, {"out": keras.layers.Dense(16, use_bias=False)(given)})
    random = np.random.default_rng(0)
    mixing = random.normal(0, 1, (6, 40))
    inputs = random.normal(0, 1, (300, 6)) @ mixing + random.normal(0, 0.1, (300, 40))
    return convert(model, (40,)), inputs.astype("float32")


@pytest.mark.parametrize("bits", [4, 8])
def test_rounded_weights_lie_on_the_steps_and_err_less_than_the_nearest(dense, bits):
    content, inputs = dense
    (name,) = _layers(content, Everything())
    weights = _layers(content, Everything())[name].weights
    last = 2 ** (bits - 1) - 1
    step = np.abs(weights).max(axis=1, keepdims=True) / last
    rounded = round_weights(content, inputs[:200], {name: bits})[name]
    whole = rounded / step
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-4)
    # So that a quantizer finds the same steps.
    np.testing.assert_allclose(np.abs(rounded).max(axis=1), np.abs(weights).max(axis=1))
    nearest = np.rint(weights / step) * step

    def error(values):
        return np.square(inputs[200:] @ (values - weights).T).sum()

    assert error(rounded) < 0.5 * error(nearest)
    # In the model, too, on inputs that it was not rounded for.
    expected = answers(content, inputs[200:])
    found = answers(with_weights(content, {name: rounded}), inputs[200:])
    np.testing.assert_allclose(np.square(found - expected).sum(), error(rounded), rtol=1e-2)


def test_silent_inputs_leave_the_weights(dense):
    content, inputs = dense
    ((name, layer),) = _layers(content, Everything()).items()
    found = round_weights(content, np.zeros_like(inputs[:3]), {name: 8})[name]
    np.testing.assert_array_equal(found, layer.weights)


def test_a_tolerance_is_kept_with_few_bytes(tiny, tiny_clips, tmp_path):
    clips = [np.resize(hk.data.load_audio(path), 2 * 16000) for path in tiny_clips.paths[:24]]
    waveforms = np.stack(clips)

    def export(folder, limit):
        return export_model(
            tiny.model,
            tmp_path / folder,
            formats=["float32", "dynamic_int8"],
            waveforms=waveforms[::2],
            calibration=waveforms[1::2],
            tolerance={"dynamic_int8": limit},
        )["exports"]

    loose = export("loose", 1.0)["dynamic_int8"]
    largest = max(loose["parity"]["max"].values())
    tight = export("tight", largest / 8)
    found, whole = tight["dynamic_int8"], tight["float32"]
    assert max(found["parity"]["max"].values()) <= largest / 8
    assert [rule for rule in found["quantisation"] if rule["regex"].startswith("^")]
    assert loose["size_bytes"] <= found["size_bytes"] < whole["size_bytes"]
