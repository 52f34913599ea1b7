"""Calibration fitted on simulated scores, and built into a model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import hmic_keras as hk
from hmic_keras import metrics
from hmic_keras.calibration import (
    Calibration,
    above_silence,
    apply_calibration,
    calibrated,
    choose_thresholds,
    fit_calibration,
)
from hmic_keras.errors import LabelError, ModelError

TREE = hk.Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})
WAVES = np.random.default_rng(5).normal(0, 0.1, (3, 16000)).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logit(p):
    return np.log(p) - np.log1p(-p)


def drawn(scale, offset, clips=4000, windows=1, seed=0):
    """Labels and the scores of a model that is wrong by a known line."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1.5, 2.0, (clips, 1))
    spread = rng.normal(0, 0.3, (clips, windows))
    chances = sigmoid(truth + spread)
    labels = (rng.random(clips) < chances.mean(axis=1)).astype(float)
    return labels[:, None], sigmoid((truth + spread - offset) / scale).reshape(-1, 1)


def line(labels, scores, clips=None):
    taxonomy = hk.Taxonomy.from_dict({"brass": ["horn"]})
    found = fit_calibration(
        taxonomy,
        dict.fromkeys(taxonomy.levels, labels),
        dict.fromkeys(taxonomy.levels, scores),
        clips,
    )
    return found.scale["fine"][0], found.offset["fine"][0]


@pytest.mark.parametrize(("scale", "offset"), [(0.4, 1.0), (1.0, 0.0), (2.0, -1.0)])
def test_the_line_a_model_is_wrong_by_is_found(scale, offset):
    labels, scores = drawn(scale, offset)
    found = line(labels, scores)
    assert found == pytest.approx((scale, offset), abs=0.15)
    # Unpenalised logistic regression on the logits is the same problem.
    peer = LogisticRegression(C=1e9).fit(logit(scores), labels[:, 0])
    assert found == pytest.approx((peer.coef_[0, 0], peer.intercept_[0]), abs=0.01)


def test_windows_of_a_clip_count_as_their_mean():
    labels, scores = drawn(0.5, 1.0, windows=3)
    clips = np.repeat(np.arange(len(labels)), 3)
    assert line(labels, scores, clips) == pytest.approx((0.5, 1.0), abs=0.15)


def test_the_error_falls_and_the_order_stays():
    labels, scores = drawn(0.4, 1.0)
    scale, offset = line(labels, scores)
    test_labels, test_scores = drawn(0.4, 1.0, seed=1)
    better = sigmoid(scale * logit(test_scores) + offset)
    assert metrics.calibration_error(test_labels, test_scores) > 0.1
    assert metrics.calibration_error(test_labels, better) < 0.03
    np.testing.assert_array_equal(
        metrics.average_precision(test_labels, better),
        metrics.average_precision(test_labels, test_scores),
    )


def test_a_rare_class_stays_near_its_level():
    labels, scores = drawn(0.5, 1.0, clips=2000)
    rare = np.zeros_like(labels)
    rare[:3] = 1
    both = {"fine": np.hstack([labels, labels, rare]), "coarse": np.hstack([labels, rare])}
    windows = {"fine": np.hstack([scores, scores, scores]), "coarse": np.hstack([scores] * 2)}
    unobserved = {level: np.where(values > 2, 0, values) for level, values in both.items()}
    unobserved["fine"][6:, 2] = -1
    found = fit_calibration(TREE, unobserved, windows)
    assert found.scale["fine"][2] == pytest.approx(found.scale["fine"][0], rel=0.8)


def model(method):
    built = hk.build_model(TREE, "conv", method, backbone_options={"width": 4})
    built.update_manifest(thresholds={"fine": [0.5] * 3, "coarse": [0.5] * 2})
    return built


@pytest.mark.parametrize("method", ["gmp", "f2ca"])
def test_a_model_gives_calibrated_scores_in_every_way(method, tmp_path):
    built = model(method)
    before = built.predict(WAVES, verbose=0)
    calibration = Calibration(
        {"fine": [0.5, 1.5, 2.0], "coarse": [0.7, 1.0]},
        {"fine": [0.4, -1.0, 0.5], "coarse": [-1.0, 0.3]},
        consistent=method == "gmp",
    )
    result = calibrated(built, calibration)
    after = result.predict(WAVES, verbose=0)
    expected = {
        level: sigmoid(
            np.array(calibration.scale[level]) * logit(before[level])
            + np.array(calibration.offset[level])
        )
        for level in TREE.levels
    }
    if method == "gmp":
        highest = np.stack([expected["fine"][:, :2].max(1), expected["fine"][:, 2]], 1)
        expected["coarse"] = np.maximum(expected["coarse"], highest)
        assert metrics.violation_rate(TREE, after) == 0
    alone = apply_calibration(TREE, before, calibration)
    for level in TREE.levels:
        np.testing.assert_allclose(after[level], expected[level], atol=1e-5)
        np.testing.assert_allclose(alone[level], expected[level], atol=1e-5)
    assert result.manifest["calibration"] == calibration.to_dict()
    assert result.manifest["thresholds"] == built.manifest["thresholds"]
    assert "calibration" not in built.manifest
    result.save(tmp_path / "model.keras")
    again = hk.load_model(tmp_path / "model.keras")
    for level, values in again.predict(WAVES, verbose=0).items():
        np.testing.assert_allclose(values, after[level], atol=1e-6)
    with pytest.raises(ModelError, match="is calibrated already"):
        calibrated(result, calibration)


def test_a_calibrated_attention_model_still_explains():
    calibration = Calibration(
        {"fine": [1.0] * 3, "coarse": [1.0] * 2},
        {"fine": [0.0] * 3, "coarse": [0.0] * 2},
        False,
    )
    built = model("f2ca")
    wanted = hk.explain.attention_maps(built, WAVES)
    found = hk.explain.attention_maps(calibrated(built, calibration), WAVES)
    for level, maps in wanted.items() if isinstance(wanted, dict) else [("", wanted)]:
        other = found[level] if level else found
        np.testing.assert_allclose(other, maps, atol=1e-6)


def test_consistency_follows_from_the_scores():
    labels = {"fine": [[1, 0, 0], [0, 0, 1]], "coarse": [[1, 0], [0, 1]]}
    fine = np.array([[0.9, 0.1, 0.2], [0.3, 0.2, 0.8]])
    kept = {"fine": fine, "coarse": np.array([[0.9, 0.2], [0.3, 0.8]])}
    broken = {"fine": fine, "coarse": np.array([[0.8, 0.2], [0.3, 0.8]])}
    assert fit_calibration(TREE, labels, kept).consistent
    assert not fit_calibration(TREE, labels, broken).consistent


def test_bad_input_is_refused():
    labels = {"fine": np.zeros((2, 3)), "coarse": np.zeros((2, 2))}
    scores = {"fine": np.full((2, 3), 0.5), "coarse": np.full((2, 2), 0.5)}
    with pytest.raises(LabelError, match="leaving none out"):
        fit_calibration(TREE, labels, scores, clips=[0, 0])
    with pytest.raises(LabelError, match=r"must be probabilities"):
        fit_calibration(TREE, labels, {**scores, "coarse": scores["coarse"] + 1})
    with pytest.raises(LabelError, match="No label of 'fine' is observed"):
        fit_calibration(TREE, {**labels, "fine": labels["fine"] - 1}, scores)
    with pytest.raises(ModelError, match=r"must cover the levels \['fine', 'coarse'\]"):
        calibrated(model("gmp"), Calibration({"fine": [1.0] * 3}, {"fine": [0.0] * 3}, False))


def test_thresholds_are_the_best_within_bounds():
    labels = {"fine": np.array([[1, 0]] * 6 + [[0, 1]] * 6)}
    scores = {"fine": np.array([[0.99, 0.001]] * 6 + [[0.97, 0.002]] * 6)}
    assert choose_thresholds(labels, scores) == {"fine": [0.9, 0.1]}


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), allowed=st.sampled_from([0.0, 0.01, 0.1]))
def test_silence_gets_no_tag(seed, allowed):
    rng = np.random.default_rng(seed)
    silence = {"fine": rng.random((200, 3)) ** 4, "coarse": rng.random((200, 2)) ** 4}
    before = {level: [0.5] * values.shape[1] for level, values in silence.items()}
    after = above_silence(before, silence, allowed)
    tagged = np.zeros(200, bool)
    for level, values in silence.items():
        assert (np.array(after[level]) >= 0.5).all()
        tagged |= (values >= after[level]).any(axis=1)
    # A score above the highest threshold there is stays a tag.
    certain = sum((values > 0.9989).any(axis=1).sum() for values in silence.values())
    assert tagged.sum() <= allowed * 200 + certain


def test_thresholds_that_silence_does_not_reach_stay():
    assert above_silence({"fine": [0.3, 0.6]}, {"fine": [[0.1, 0.2]]}) == {"fine": [0.3, 0.6]}
    with pytest.raises(LabelError, match=r"silence\['fine'\]"):
        above_silence({"fine": [0.3]}, {"fine": [[0.1, 0.2]]})
