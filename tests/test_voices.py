"""`EnsembleDense` and `VoiceMean`: several voices, trained one by one."""

import json

import keras
import numpy as np
import pytest
from layer_contract import check_layer

from hmic_keras.layers import EnsembleDense, VoiceMean

RNG = np.random.default_rng(0)
FLAT = RNG.normal(size=(5, 4)).astype("float32")
VOICES = RNG.normal(size=(5, 3, 4)).astype("float32")


@pytest.mark.parametrize(
    ("separate", "inputs"), [(False, FLAT), (True, VOICES)], ids=["shared", "separate"]
)
def test_dense_contract(separate, inputs):
    def make(**kwargs):
        return EnsembleDense(6, 3, separate=separate, activation="tanh", **kwargs)

    weights = ["kernel", "bias"] if separate else ["kernel", "bias", "inner", "outer"]
    check_layer(make, inputs, weights=weights)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("inputs", [FLAT, VOICES], ids=["flat", "voices"])
def test_each_voice_is_a_dense_layer(separate, inputs, training):
    layer = EnsembleDense(6, 3, separate=separate, activation="relu", seed=1)
    found = layer(inputs)
    for weight in layer.weights:
        noise = np.random.default_rng(2).normal(size=weight.shape)
        weight.assign(weight + noise.astype("float32"))
    found = np.asarray(layer(inputs, training=training))
    values = {weight.name: np.asarray(weight) for weight in layer.weights}
    for voice in range(3):
        x = inputs if inputs.ndim == 2 else inputs[:, voice]
        if separate:
            expected = x @ values["kernel"][voice] + values["bias"][voice]
        else:
            expected = (x * values["inner"][voice]) @ values["kernel"]
            expected = expected * values["outer"][voice] + values["bias"][voice]
        np.testing.assert_allclose(found[:, voice], np.maximum(expected, 0), atol=1e-5)


def test_voices_start_apart_by_signs_or_alike():
    layer = EnsembleDense(2, 50, seed=3)
    layer(FLAT)
    signs = np.asarray(layer._inner)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert 0.3 < np.mean(signs > 0) < 0.7
    alike = EnsembleDense(2, 5, random_signs=False)
    found = np.asarray(alike(FLAT))
    # Rows of one matrix product may be rounded differently.
    np.testing.assert_allclose(found, np.repeat(found[:, :1], 5, axis=1), atol=1e-5)
    again = EnsembleDense(2, 50, seed=3)
    again(FLAT)
    np.testing.assert_array_equal(np.asarray(again._inner), signs)


@pytest.mark.parametrize("separate", [False, True])
def test_the_first_kernels_have_the_variance_asked_for(separate):
    glorot = 2 / (300 + 200)
    for scale in (1.0, 1 / 3):
        layer = EnsembleDense(200, 3, separate=separate, initial_scale=scale, seed=1)
        layer(np.zeros((1, 300), "float32"))
        kernel = np.asarray(layer._kernel)
        assert kernel.var() == pytest.approx(scale * glorot, rel=0.03)
        assert abs(kernel).max() <= (3 * scale * glorot) ** 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "`units` must be a positive integer. Received: 0"),
        ({"num_voices": 2.5}, "`num_voices` must be a positive integer. Received: 2.5"),
        ({"num_voices": True}, "`num_voices`"),
        ({"initial_scale": 0}, "`initial_scale` must be a positive number. Received: 0"),
        ({"initial_scale": "1"}, "`initial_scale`"),
    ],
)
def test_dense_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        EnsembleDense(**{"units": 2, "num_voices": 2, **arguments})


def test_dense_refuses_other_shapes():
    for shape in ((5, 2, 4), (5,), (5, 3, 4, 1)):
        with pytest.raises(ValueError, match="The input must be"):
            EnsembleDense(2, 3)(np.zeros(shape, "float32"))


def voices(rows=4):
    rng = np.random.default_rng(5)
    return {
        "fine": rng.random((rows, 3, 2)).astype("float32"),
        "coarse": rng.random((rows, 3, 1)).astype("float32"),
    }


@pytest.mark.parametrize("weights", [None, [1.0, 0.0, 3.0]])
def test_the_answer_is_the_weighted_mean(weights):
    layer = VoiceMean(weights)
    scores = voices()
    for level, found in layer(scores).items():
        expected = np.average(scores[level], axis=1, weights=weights)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    restored = keras.saving.deserialize_keras_object(json.loads(text), safe_mode=True)
    assert restored.get_config() == layer.get_config()
    assert restored.get_config()["weights"] == weights


def test_in_training_each_voice_meets_the_labels():
    layer, scores = VoiceMean(), voices()
    stacked = layer(scores, training=True)
    labels = {"fine": np.arange(8.0).reshape(4, 2), "coarse": np.arange(4.0).reshape(4, 1)}
    weights = np.arange(4.0)
    for given_weights in (None, weights, {"fine": weights, "coarse": labels["coarse"]}):
        repeated, compared, per_row = layer.loss_view(labels, stacked, given_weights)
        assert compared is stacked
        for voice in range(3):
            rows = slice(4 * voice, 4 * voice + 4)
            for level in scores:
                np.testing.assert_array_equal(compared[level][rows], scores[level][:, voice])
                np.testing.assert_array_equal(repeated[level][rows], labels[level])
            if isinstance(given_weights, dict):
                np.testing.assert_array_equal(per_row["coarse"][rows], labels["coarse"])
            elif given_weights is not None:
                np.testing.assert_array_equal(per_row[rows], weights)
    assert per_row is not None
    for level, found in layer.answer(stacked, 4).items():
        np.testing.assert_allclose(found, scores[level].mean(axis=1), atol=1e-6)
    # One answer a clip, as in evaluation, stays as it is.
    answers = layer(scores)
    for level, found in layer.answer(answers, 4).items():
        np.testing.assert_array_equal(found, answers[level])
    same, _, _ = layer.loss_view(labels, answers, None)
    np.testing.assert_array_equal(same["fine"], labels["fine"])


@pytest.mark.parametrize(
    "weights", [[], [0.0, 0.0], [1.0, -1.0], ["1"], [True], [float("inf")], [float("nan")]]
)
def test_mean_refuses_weights(weights):
    with pytest.raises(ValueError, match=r"`weights` must be numbers from 0.*Received"):
        VoiceMean(weights)


@pytest.mark.parametrize(
    ("weights", "shapes"),
    [
        ([1.0, 1.0], {"fine": (4, 3, 2)}),
        (None, {"fine": (4, 3, 2), "coarse": (4, 2, 1)}),
        (None, {"fine": (4, 2)}),
    ],
)
def test_mean_refuses_shapes(weights, shapes):
    scores = {level: np.zeros(shape, "float32") for level, shape in shapes.items()}
    with pytest.raises(ValueError, match="must be a dict by level of"):
        VoiceMean(weights)(scores)
