"""`FrequencyMixStyle` against statistics computed with NumPy."""

import numpy as np
import pytest
from layer_contract import check_random_layer

from hmic_keras.layers import FrequencyMixStyle
from hmic_keras.layers.augmentation_math import mixed_style

RNG = np.random.default_rng(0)
# Each example has a level and a spread of its own in every band.
LOG_MEL = RNG.normal(size=(64, 60, 40)) * RNG.uniform(0.5, 2, (64, 1, 40))
LOG_MEL = (LOG_MEL + RNG.normal(-5, 3, (64, 1, 40))).astype("float32")


def statistics(x):
    return x.mean(axis=1), x.std(axis=1)


def test_contract():
    make = lambda **kwargs: FrequencyMixStyle(probability=1.0, seed=5, **kwargs)  # noqa: E731
    check_random_layer(make, LOG_MEL[:4], jit=True)


def test_statistics_lie_between_the_two_and_the_course_stays():
    others = np.roll(np.arange(64), 7)
    share = RNG.uniform(0, 1, (64, 1, 1)).astype("float32")
    found = np.asarray(mixed_style(LOG_MEL, others, share))
    (mean, deviation), part = statistics(LOG_MEL), share[:, 0]
    found_mean, found_deviation = statistics(found)
    wanted = (1 - part) * mean + part * mean[others]
    np.testing.assert_allclose(found_mean, wanted, atol=1e-4)
    wanted = (1 - part) * deviation + part * deviation[others]
    np.testing.assert_allclose(found_deviation, wanted, rtol=3e-3)
    course = (LOG_MEL - mean[:, None]) / deviation[:, None]
    again = (found - found_mean[:, None]) / found_deviation[:, None]
    np.testing.assert_allclose(again, course, atol=1e-3)


def test_a_share_of_nothing_changes_nothing():
    found = mixed_style(LOG_MEL, np.arange(64), np.zeros((64, 1, 1), "float32"))
    np.testing.assert_allclose(found, LOG_MEL, atol=1e-4)


def test_a_band_that_never_changes_stays_finite():
    silent = np.full((2, 30, 8), -9.0, "float32")
    silent[1, :, :4] = RNG.normal(size=(30, 4))
    found = np.asarray(FrequencyMixStyle(1.0, 1.0, seed=0)(silent, training=True))
    assert np.isfinite(found).all()
    # What is flat has no course to lend a spread to.
    assert np.ptp(found[0], axis=0).max() == 0


def test_probability_and_strength():
    layer = FrequencyMixStyle(strength=0.5, probability=0.25, seed=1)
    inputs = np.tile(LOG_MEL, (20, 1, 1))
    found = np.asarray(layer(inputs, training=True))
    moved = np.abs(found - inputs).max(axis=(1, 2)) > 1e-3
    assert abs(moved.mean() - 0.25) < 0.05
    # The level of an example and of its partner are known, so the share can be read back.
    levels = np.zeros((400, 30, 8), "float32") + RNG.normal(size=(400, 30, 1))
    levels[::2] += 1000.0
    half = FrequencyMixStyle(strength=0.5, probability=1.0, seed=2)(levels, training=True)
    moved = np.abs(np.asarray(half) - levels).mean(axis=(1, 2)) / 1000.0
    assert 0.45 < moved.max() <= 0.51


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"strength": 1.1}, "`strength`.*1.1"),
        ({"strength": True}, "`strength`.*True"),
        ({"probability": -0.1}, "`probability`.*-0.1"),
        ({"seed": 0.5}, "`seed`.*0.5"),
    ],
)
def test_refuses_bad_arguments(config, message):
    with pytest.raises(ValueError, match=message):
        FrequencyMixStyle(**config)


def test_refuses_bad_shapes():
    with pytest.raises(ValueError, match=r"\(batch, frames, mels\).*\(2, 60\)"):
        FrequencyMixStyle()(np.zeros((2, 60), "float32"))
