"""`ScoreCalibration` against the formula in double precision."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_contract import check_layer
from tflite_models import convert, run

from hmic_keras.layers import ScoreCalibration

RNG = np.random.default_rng(0)
SCALE, OFFSET = [0.5, 1.0, 2.5], [0.3, 0.0, -2.0]


def oracle(scores, scale, offset):
    odds = (scores / (1 - scores)) ** np.asarray(scale) * np.exp(offset)
    return odds / (1 + odds)


def test_contract():
    scores = RNG.uniform(0.02, 0.98, (4, 3)).astype("float32")
    check_layer(lambda **kwargs: ScoreCalibration(SCALE, OFFSET, **kwargs), scores)


@settings(deadline=None, max_examples=40)
@given(
    scores=st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1, max_size=6),
    scale=st.floats(0.2, 5),
    offset=st.floats(-5, 5),
)
def test_it_is_the_formula_and_keeps_the_order(scores, scale, offset):
    scores = np.sort(np.array(scores))[:, np.newaxis]
    found = np.asarray(ScoreCalibration([scale], [offset])(scores.astype("float32")))
    np.testing.assert_allclose(found, oracle(scores, scale, offset), atol=2e-5)
    assert (np.diff(found[:, 0]) >= 0).all()


def test_certain_scores_stay_finite_and_certain():
    layer = ScoreCalibration([5.0, 0.2], [3.0, -3.0])
    found = np.asarray(layer(np.array([[0.0, 0.0], [1.0, 1.0]], "float32")))
    assert np.isfinite(found).all()
    assert (found[0] < 0.01).all()
    assert (found[1] > 0.5).all()


def test_tflite_agrees(tmp_path):
    inputs = keras.Input((3,), name="scores")
    model = keras.Model(inputs, {"fine": ScoreCalibration(SCALE, OFFSET)(inputs)})
    scores = np.array([[0.0, 0.4, 1.0]], "float32")
    content = convert(model, tmp_path)
    found = run(content, scores=scores)["fine"]
    np.testing.assert_allclose(found, model(scores)["fine"], atol=1e-6)


@pytest.mark.parametrize(
    ("scale", "offset", "message"),
    [
        ([1.0, 0.0], [0.0, 0.0], r"`scale` must be positive.*Received: \[1.0, 0.0\]"),
        ([1.0], [0.0, 0.0], "one number for each class. Received: 1 and 2"),
        ([1.0], [np.nan], "`offset` must be finite numbers"),
        ("wide", [1.0], "`scale` must be finite numbers.*'wide'"),
        ([], [], "`scale` must be finite numbers"),
    ],
)
def test_bad_arguments_are_refused(scale, offset, message):
    with pytest.raises(ValueError, match=message):
        ScoreCalibration(scale, offset)


def test_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="must be the 3 classes of `scale`"):
        ScoreCalibration(SCALE, OFFSET)(np.ones((1, 4), "float32"))
