"""`SpecAugment` against masks read back from its output."""

import keras
import numpy as np
import pytest
from layer_contract import check_random_layer

from hmic_keras.layers import SpecAugment
from hmic_keras.layers.augmentation_math import stripes

RNG = np.random.default_rng(0)
LOG_MEL = RNG.normal(size=(64, 60, 40)).astype("float32")


def masks(layer, inputs=LOG_MEL):
    """Which frames and which bands are covered, `(batch, frames)` and `(batch, mels)`."""
    changed = np.asarray(layer(inputs, training=True)) != inputs
    time, frequency = changed.all(axis=2), changed.all(axis=1)
    # Nothing but whole stripes is covered.
    np.testing.assert_array_equal(changed, time[:, :, None] | frequency[:, None, :])
    return time, frequency


def runs(row):
    """Lengths of the stripes in a row of booleans."""
    edges = np.diff(np.concatenate([[0], row.astype(int), [0]]))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)


def test_contract():
    check_random_layer(lambda **kwargs: SpecAugment(seed=5, **kwargs), LOG_MEL[:4], jit=True)


@pytest.mark.parametrize(("width", "greatest"), [(0.25, 15), (7, 7), (100, 60)])
def test_stripes_of_time(width, greatest):
    layer = SpecAugment(1, width, 0, seed=1)
    time, frequency = masks(layer)
    assert not frequency.any() or greatest == 60
    assert all(len(runs(row)) <= 1 for row in time)
    widths = time.sum(axis=1)
    assert widths.max() <= greatest
    assert widths.max() > 0.8 * greatest
    assert abs(widths.mean() - greatest / 2) < 4 * greatest / np.sqrt(12 * len(time))


def test_stripes_of_frequency_reach_both_ends():
    layer = SpecAugment(0, 0, 2, 0.2, seed=1)
    time, frequency = masks(layer)
    assert not time.any()
    assert max(len(runs(row)) for row in frequency) == 2
    assert max(runs(row).max(initial=0) for row in frequency if len(runs(row)) == 2) <= 8
    assert frequency[:, 0].any()
    assert frequency[:, -1].any()
    # Each stripe is 4 of 40 bands wide on average.
    assert abs(frequency.mean() - 0.2) < 0.05


def test_stripes_equal_a_loop():
    sizes, places = RNG.random((2, 50, 3)).astype("float32")
    found = np.asarray(stripes(20.0, 6.0, sizes, places))
    expected = np.zeros((50, 20), bool)
    for row, size, place in zip(expected, sizes, places, strict=True):
        for one, other in zip(size, place, strict=True):
            width = int(one * 7)
            start = int(other * (20 - width + 1))
            row[start : start + width] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("fill", "value"), [("mean", np.mean), ("minimum", np.min)])
def test_fill(fill, value):
    masked = np.asarray(SpecAugment(fill=fill, seed=2)(LOG_MEL, training=True))
    for before, after in zip(LOG_MEL, masked, strict=True):
        covered = after[after != before]
        np.testing.assert_allclose(covered, value(before), atol=1e-5)


def test_mean_of_half_precision_does_not_overflow():
    inputs = np.full((2, 300, 300), 2.0, "float16")
    inputs[:, ::2] = 10.0
    masked = SpecAugment(2, 0.9, 0, seed=0, dtype="mixed_float16")(inputs, training=True)
    assert masked.dtype == "float16"
    assert set(np.unique(masked)) == {2.0, 6.0, 10.0}


def test_probability():
    layer = SpecAugment(1, 0.5, 0, probability=0.25, seed=0)
    time, _ = masks(layer, np.tile(LOG_MEL, (10, 1, 1)))
    assert abs(time.any(axis=1).mean() - 0.25 * 30 / 31) < 0.07


def test_in_a_model_it_masks_in_training_only():
    inputs = keras.Input((None, 40))
    model = keras.Model(inputs, SpecAugment(seed=0)(inputs))
    np.testing.assert_array_equal(model.predict(LOG_MEL, verbose=0), LOG_MEL)
    assert (np.asarray(model(LOG_MEL, training=True)) != LOG_MEL).any()
    assert model.count_params() == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"time_masks": -1}, "`time_masks`.*-1"),
        ({"frequency_masks": 1.0}, "`frequency_masks`.*1.0"),
        ({"time_width": 1.5}, "`time_width`.*1.5"),
        ({"time_width": True}, "`time_width`.*True"),
        ({"frequency_width": -3}, "`frequency_width`.*-3"),
        ({"frequency_width": float("nan")}, "`frequency_width`.*nan"),
        ({"fill": "zero"}, "`fill`.*'zero'"),
        ({"probability": 1.1}, "`probability`.*1.1"),
        ({"seed": -1}, "`seed`.*-1"),
        ({"seed": 2**31}, "`seed`.*2147483648"),
    ],
)
def test_refuses_bad_arguments(config, message):
    with pytest.raises(ValueError, match=message):
        SpecAugment(**config)


def test_refuses_bad_shapes():
    with pytest.raises(ValueError, match=r"\(batch, frames, mels\).*\(2, 60\)"):
        SpecAugment()(np.zeros((2, 60), "float32"))
