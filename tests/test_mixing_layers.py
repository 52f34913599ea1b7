"""`Mixup` and `StemRemix` by brute force over the examples of a batch."""

import itertools

import numpy as np
import pytest
import scipy.stats
from layer_contract import check_random_layer

from hmic_keras import Taxonomy
from hmic_keras.layers import Mixup, StemRemix
from hmic_keras.layers import augmentation_math as maths

TAXONOMY = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn", "tuba"]})
PARENT_OF = [0, 0, 1, 1]


def labels_of(batch, seed=0):
    """Labels as `Taxonomy.close_labels` gives them, some parents observed by themselves."""
    rng = np.random.default_rng(seed)
    fine = rng.integers(-1, 2, (batch, 4)).astype("float32")
    coarse = TAXONOMY.close_labels({"fine": fine})["coarse"]
    alone = rng.integers(-1, 2, coarse.shape).astype("float32")
    return TAXONOMY.close_labels({"fine": fine, "coarse": np.where(coarse < 0, alone, coarse)})


def batch(size=6, samples=50, seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, (size, samples)).astype("float32")
    return x, labels_of(size, seed)


def train(layer, inputs):
    x, labels = layer(inputs, training=True)
    return np.asarray(x), {level: np.asarray(values) for level, values in labels.items()}


@pytest.mark.parametrize("kind", [Mixup, StemRemix], ids=lambda kind: kind.__name__)
def test_contract(kind):
    check_random_layer(lambda **kwargs: kind(seed=1, probability=0.9, **kwargs), batch())


@pytest.mark.parametrize("size", [1, 2, 7])
def test_nobody_meets_himself_or_somebody_twice(size):
    draws = np.random.default_rng(0).random(size).astype("float32")
    found = [np.asarray(maths.partners(draws, step)) for step in range(size)]
    np.testing.assert_array_equal(found[0], np.arange(size))
    for one, met in enumerate(np.transpose(found)):
        assert len(set(met)) == size
        assert met[0] == one


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 5.0])
def test_weights_are_beta_distributed(alpha):
    first, second = np.random.default_rng(0).random((2, 4000)).astype("float32")
    found = np.asarray(maths.symmetric_beta(first, second, alpha))
    assert np.isfinite(found).all()
    # Near 0 and 1 float32 is too coarse for the small `alpha`.
    places = np.linspace(0.001, 0.999, 200)
    shares = (found[:, np.newaxis] <= places).mean(axis=0)
    error = np.abs(shares - scipy.stats.beta(alpha, alpha).cdf(places)).max()
    assert scipy.stats.kstwo(len(found)).sf(error) > 1e-3
    ends = maths.symmetric_beta(np.float32([0.0, 0.0, 1.0]), np.float32([0.0, 0.5, 0.3]), alpha)
    np.testing.assert_allclose(ends, [1.0, 0.0, 0.5], atol=1e-6)


def test_mixed_label_lies_within_what_is_known():
    values, shares = [-1.0, 0.0, 0.25, 1.0], np.linspace(0, 1, 32)
    cases = np.array(list(itertools.product(values, values, shares)), "float32")
    first, second, share = cases.T[:, :, np.newaxis]
    mixed = np.asarray(maths.mixed_labels(first, second, share, 0.1))[:, 0]
    for (one, other, weight), found in zip(cases, mixed, strict=True):
        known = [
            (1 - weight) * a + weight * b
            for a in ([one] if one >= 0 else [0.0, 1.0])
            for b in ([other] if other >= 0 else [0.0, 1.0])
        ]
        expected = -1.0 if max(known) - min(known) > 0.1 else min(known)
        assert found == pytest.approx(expected, abs=1e-6)


def test_union_is_the_probability_of_any():
    triples = np.array(
        list(itertools.product([-1.0, 0.0, 0.25, 0.5, 1.0], repeat=3)), "float32"
    )
    first, second, third = triples.T[:, :, np.newaxis]
    union = np.asarray(maths.union_labels(maths.union_labels(first, second), third))[:, 0]
    for triple, found in zip(triples, union, strict=True):
        known = triple[triple >= 0]
        if 1.0 in known:
            expected = 1.0
        elif len(known) < 3:
            expected = -1.0
        else:
            # Over all outcomes of independent events.
            expected = sum(
                np.prod(np.where(outcome, known, 1 - known))
                for outcome in itertools.product([False, True], repeat=3)
                if any(outcome)
            )
        assert found == pytest.approx(expected, abs=1e-6)


def test_mixup_mixes_labels_as_it_mixes_sounds():
    x, labels = batch(16, 40)
    labels["fine"] = np.abs(labels["fine"])
    mixed, found = train(Mixup(alpha=1.0, seed=0), (x, labels))
    for one in range(16):
        share, other = share_and_partner(mixed[one], x, one)
        for level, values in labels.items():
            a, b = values[one], values[other]
            known = (1 - share) * np.maximum(a, 0) + share * np.maximum(b, 0)
            missing = (1 - share) * (a < 0) + share * (b < 0)
            expected = np.where(missing <= 0.1, known, -1)
            np.testing.assert_allclose(found[level][one], expected, atol=1e-4)
    assert np.abs(mixed).max() <= 1.0


def share_and_partner(mixed, x, one):
    """Reads from a mean of two which other example it holds, and with what weight."""
    for other in set(range(len(x))) - {one}:
        direction = x[other] - x[one]
        share = (mixed - x[one]) @ direction / (direction @ direction)
        if np.abs(x[one] + share * direction - mixed).max() < 1e-5:
            return share, other
    raise AssertionError(f"{one} is no mean of two examples")


def test_mixup_takes_embeddings_and_any_nest_of_labels():
    x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype("float32")
    labels = np.eye(4, dtype="float32")
    mixed, soft = Mixup(seed=0)((x, labels), training=True)
    np.testing.assert_allclose(np.einsum("ij,jkl->ikl", soft, x), mixed, atol=1e-5)


@pytest.mark.parametrize("kind", [Mixup, StemRemix], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_probability(kind, probability):
    inputs = batch(400, 8)
    x, labels = train(kind(probability=probability, seed=0), inputs)
    changed = (np.abs(x - inputs[0]) > 1e-6).any(axis=1)
    np.testing.assert_array_equal(labels["fine"][~changed], inputs[1]["fine"][~changed])
    # A remix of one example is that example; a mean may leave next to nothing of one partner.
    share = probability * (2 / 3 if kind is StemRemix else 0.99)
    assert abs(changed.mean() - share) < 0.08


def test_a_single_example_stays_as_it_is():
    inputs = batch(1)
    x, labels = train(Mixup(seed=0), inputs)
    np.testing.assert_allclose(x, inputs[0], atol=1e-6)
    np.testing.assert_array_equal(labels["fine"], inputs[1]["fine"])


def test_remix_equals_a_sum_and_a_union():
    size = 8
    x, labels = np.eye(size, dtype="float32") * 0.1, labels_of(size)
    layer = StemRemix(max_stems=3, level_db=(-12.0, -6.0), seed=0)
    counts = []
    for _ in range(20):
        mixed, found = train(layer, (x, labels))
        weights = mixed / 0.1
        for one, row in enumerate(weights):
            stems = np.flatnonzero(row)
            counts.append(len(stems))
            assert one in stems
            gains = 20 * np.log10(row[stems])
            if len(stems) == 1:
                np.testing.assert_allclose(gains, 0.0, atol=1e-4)
            else:
                assert gains.min() >= -12.001
                assert gains.max() <= -5.999
            for level, values in labels.items():
                present = (values[stems] == 1).any(axis=0)
                absent = (values[stems] == 0).all(axis=0)
                expected = np.where(present, 1.0, np.where(absent, 0.0, -1.0))
                np.testing.assert_array_equal(found[level][one], expected)
    shares = np.bincount(counts, minlength=4)[1:] / len(counts)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.12)


def test_remix_stays_within_full_scale():
    x, labels = np.ones((4, 20), "float32"), labels_of(4)
    mixed, _ = train(StemRemix(4, (0.0, 0.0), seed=0), (x, labels))
    np.testing.assert_allclose(mixed, 1.0, atol=1e-6)


def test_remix_of_a_small_batch():
    x, labels = batch(2)
    mixed, _ = train(StemRemix(5, (0.0, 0.0), seed=3), (0.1 * x, labels))
    for one in range(2):
        alone = np.allclose(mixed[one], 0.1 * x[one], atol=1e-6)
        assert alone or np.allclose(mixed[one], 0.1 * x.sum(axis=0), atol=1e-6)
    x, labels = batch(1)
    mixed, union = train(StemRemix(seed=3), (x, labels))
    np.testing.assert_array_equal(mixed, x)
    np.testing.assert_array_equal(union["fine"], labels["fine"])


@pytest.mark.parametrize("layer", [Mixup(1.0, 0.3, seed=0), StemRemix(seed=0)], ids=str)
def test_no_child_exceeds_its_parent(layer):
    inputs = batch(400, 8, seed=5)
    for level, values in inputs[1].items():
        assert {-1.0, 0.0, 1.0} == set(np.unique(values)), level
    for _ in range(5):
        _, labels = train(layer, inputs)
        child, parent = labels["fine"], labels["coarse"][:, PARENT_OF]
        observed = (child >= 0) & (parent >= 0)
        assert observed.any()
        assert (child <= parent + 1e-6)[observed].all()


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (Mixup, {"alpha": 0}, "`alpha`.*above 0.*0"),
        (Mixup, {"tolerance": 0.5}, "`tolerance`.*0.5"),
        (Mixup, {"probability": 2}, "`probability`.*2"),
        (StemRemix, {"max_stems": 1}, "`max_stems`.*1"),
        (StemRemix, {"level_db": (0, -10)}, "`level_db`.*least, greatest"),
        (StemRemix, {"seed": 1.5}, "`seed`.*1.5"),
    ],
)
def test_refuses_bad_arguments(kind, config, message):
    with pytest.raises(ValueError, match=message):
        kind(**config)


def test_refuses_what_is_no_pair_of_waveforms_and_labels():
    x, labels = batch()
    for kind in (Mixup, StemRemix):
        with pytest.raises(ValueError, match=r"pair \(x, labels\)"):
            kind()(x)
    with pytest.raises(ValueError, match=r"\(batch, samples\).*\(6, 50, 1\)"):
        StemRemix()((x[..., None], labels))
