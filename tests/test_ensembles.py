"""`LogitMean` against plain NumPy, and `ensemble` as a model among models."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_contract import check_layer
from scipy.special import expit, logit

import hmic_keras as hk
from hmic_keras import metrics
from hmic_keras.calibration import Calibration, calibrated
from hmic_keras.config import AudioConfig
from hmic_keras.errors import ModelError
from hmic_keras.export import export_model
from hmic_keras.export.precision import as_float32
from hmic_keras.layers import LogitMean, LogMelSpectrogram

RNG = np.random.default_rng(0)
TREE = hk.Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})
WAVES = RNG.normal(0, 0.1, (3, 16000)).astype("float32")


# The layer


@pytest.mark.parametrize("weights", [None, [1.0, 0.0, 2.5]])
def test_contract(weights):
    scores = RNG.uniform(0.05, 0.95, (4, 3, 5)).astype("float32")
    check_layer(lambda **kwargs: LogitMean(weights, **kwargs), scores)


@settings(deadline=None, max_examples=40)
@given(
    scores=st.lists(st.lists(st.floats(1e-4, 1 - 1e-4), min_size=2, max_size=2), min_size=1),
    seed=st.integers(0, 99),
)
def test_it_is_the_mean_of_the_logits(scores, seed):
    scores = np.array(scores, "float32")
    weights = np.random.default_rng(seed).uniform(0.1, 3, len(scores))
    expected = expit(np.average(logit(scores.astype("float64")), axis=0, weights=weights))
    found = np.asarray(LogitMean(weights.tolist())(scores))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    # Between the least and the most sure of them, as any mean.
    assert (found >= scores.min(axis=0) - 2e-5).all()
    assert (found <= scores.max(axis=0) + 2e-5).all()


def test_certain_scores_stay_finite():
    found = np.asarray(LogitMean()(np.array([[0.0, 1.0], [1.0, 1.0]], "float32")))
    # 1 - 1e-7 is rounded in float32, so the two are not quite as sure of the contrary.
    np.testing.assert_allclose(found, [0.5, 1.0], atol=0.03)


@pytest.mark.parametrize("weights", [[], [0.0, 0], [1, -1], [1, np.nan], [np.inf], ["1"]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="`weights` must be numbers from 0"):
        LogitMean(weights)


@pytest.mark.parametrize(("weights", "shape"), [([1, 2], (1, 3, 4)), (None, (3,))])
def test_another_number_of_models_is_refused(weights, shape):
    with pytest.raises(ValueError, match=r"must be \(\.\.\., num_models, num_classes\)"):
        LogitMean(weights)(np.ones(shape, "float32"))


# The model


def member(method="gmp", seed=0, **options):
    keras.utils.set_random_seed(seed)
    settings = {"backbone_options": {"width": 4}, "audio": AudioConfig(n_mels=32), **options}
    return hk.build_model(TREE, method=method, **settings)


@pytest.fixture(scope="module")
def members():
    return [
        member("f2ca"),
        member("gmp", seed=1),
        member("multitask", seed=2, backbone="short_chunk_res"),
    ]


@pytest.mark.parametrize("weights", [None, [3, 1, 2]])
def test_it_answers_the_mean_of_its_members(members, weights, tmp_path):
    both = hk.ensemble(members, weights=weights, name="three")
    assert sum(isinstance(layer, LogMelSpectrogram) for layer in both.layers) == 1
    answers = [one.predict(WAVES, verbose=0) for one in members]
    found = both.predict(WAVES, verbose=0)
    for level in TREE.levels:
        logits = [logit(answer[level].astype("float64")) for answer in answers]
        expected = expit(np.average(logits, axis=0, weights=weights))
        np.testing.assert_allclose(found[level], expected, atol=1e-5)
    assert both.count_params() == sum(one.count_params() for one in members)
    both.save(tmp_path / "model.keras")
    again = hk.load_model(tmp_path / "model.keras")
    for level, values in again.predict(WAVES, verbose=0).items():
        np.testing.assert_allclose(values, found[level], atol=1e-6)
    assert again.manifest == both.manifest
    shares = [one["weight"] for one in both.manifest["members"]]
    assert shares == pytest.approx([1 / 3] * 3 if weights is None else [1 / 2, 1 / 6, 1 / 3])
    assert both.manifest["method"]["name"] == "f2ca + gmp + multitask"
    assert both.taxonomy == TREE


def test_it_obeys_the_hierarchy_if_all_members_do():
    both = hk.ensemble([member(seed=seed) for seed in (3, 4, 5)], weights=[1, 5, 2])
    assert metrics.violation_rate(TREE, both.predict(WAVES, verbose=0)) == 0


@pytest.mark.slow
def test_it_exports_and_is_calibrated_like_any_model(members, tmp_path):
    both = hk.ensemble(members[:2])
    line = Calibration(
        {"fine": [0.5, 1.5, 2.0], "coarse": [0.7, 1.0]},
        {"fine": [0.4, -1.0, 0.5], "coarse": [-1.0, 0.3]},
        consistent=False,
    )
    model = calibrated(both, line)
    model.update_manifest(window_seconds=1.0)
    manifest = export_model(model, tmp_path / "both")
    assert max(manifest["parity"]["float32"].values()) < 1e-4
    expected = hk.Predictor(tmp_path / "both", format="keras").score_windows(WAVES)
    before = both.predict(WAVES, verbose=0)
    for level in TREE.levels:
        raw = np.array(line.scale[level]) * logit(before[level].astype("float64"))
        np.testing.assert_allclose(
            expected[level], expit(raw + np.array(line.offset[level])), atol=1e-5
        )
    for form in ("savedmodel", "float32"):
        found = hk.Predictor(tmp_path / "both", format=form).score_windows(WAVES)
        for level, values in expected.items():
            np.testing.assert_allclose(found[level], values, atol=1e-4)


def test_members_in_mixed_precision_are_exported_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = [member(seed=7), member(seed=8)]
    finally:
        keras.config.set_dtype_policy("float32")
    both = hk.ensemble(mixed)
    plain = as_float32(both)
    assert plain is not both
    pending, kinds = list(plain.layers), set()
    while pending:
        layer = pending.pop()
        pending += getattr(layer, "layers", [])
        kinds.add(layer.compute_dtype)
    assert kinds == {"float32"}
    expected = hk.ensemble([as_float32(one) for one in mixed]).predict(WAVES, verbose=0)
    for level, values in plain.predict(WAVES, verbose=0).items():
        np.testing.assert_allclose(values, expected[level], atol=1e-6)


def test_models_of_embeddings_join_too():
    shape = {"backbone": "mlp", "input": "embedding", "input_shape": (16,)}
    pair = [hk.build_model(TREE, method=m, **shape) for m in ("gmp", "independent")]
    inputs = RNG.normal(size=(4, 16)).astype("float32")
    found = hk.ensemble(pair).predict(inputs, verbose=0)["fine"]
    logits = [logit(one.predict(inputs, verbose=0)["fine"].astype("float64")) for one in pair]
    np.testing.assert_allclose(found, expit(np.mean(logits, axis=0)), atol=1e-5)


def test_models_that_do_not_belong_together_are_refused(members):
    first = members[0]
    for models in ([], [first], [first, "hmic-mobile"], [first, keras.Sequential()]):
        with pytest.raises(ModelError, match="at least two models built by"):
            hk.ensemble(models)
    other = hk.build_model(hk.Taxonomy.from_dict({"brass": ["horn"]}), audio=AudioConfig())
    log_mel = member(input="log_mel")
    finer = hk.build_model(TREE, audio=AudioConfig(n_mels=40))
    long = member()
    long.update_manifest(window_seconds=4.0)
    fixed = member(input_shape=(16000,))
    for stranger, rule in (
        (other, "be of one taxonomy"),
        (log_mel, "take the same kind of input"),
        (finer, "have the same audio settings"),
        (long, "windows of the same length"),
        (fixed, "take inputs of one shape"),
    ):
        with pytest.raises(ModelError, match=rule):
            hk.ensemble([first, stranger])
    for weights in ([1], [1, 2, 3], [0, 0], [1, -1], "ab", 3):
        with pytest.raises(ModelError, match="`weights` must be one number for each of the 2"):
            hk.ensemble(members[:2], weights=weights)
