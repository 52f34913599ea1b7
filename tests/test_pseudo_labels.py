"""Filling in unobserved labels through the hierarchy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taxonomy_strategies import taxonomies
from test_hierarchical_layers import column, draw_labels, draw_scores, family

from hmic_keras import Taxonomy
from hmic_keras.errors import LabelError
from hmic_keras.pseudo_labels import pseudo_labels

TAXONOMY = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"], "voice": []})


def drawn(taxonomy, seed):
    return draw_labels(taxonomy, seed), draw_scores(taxonomy, seed)


@settings(max_examples=60, deadline=None)
@given(taxonomies(), st.integers(0, 999), st.booleans(), st.sampled_from([0.0, 0.25, 1.0]))
def test_what_was_observed_bounds_what_was_not(taxonomy, seed, cover, weight):
    labels, scores = drawn(taxonomy, seed)
    found = pseudo_labels(taxonomy, labels, scores, weight=weight, children_cover=cover)
    for level in taxonomy.levels:
        known = labels[level] >= 0
        values = found.labels[level]
        assert values.dtype == found.weights[level].dtype == np.float32
        np.testing.assert_array_equal(values[known], labels[level][known])
        np.testing.assert_array_equal(found.weights[level], np.where(known, 1, weight))
        assert ((values >= 0) & (values <= 1)).all()
        for name in taxonomy.classes(level):
            own = column(taxonomy, found.labels, (level, name))
            open_ = column(taxonomy, labels, (level, name)) < 0
            for key in family(taxonomy, level, name, "parents"):
                above = column(taxonomy, labels, key)
                assert (own <= above)[open_ & (above >= 0)].all()
            for key in family(taxonomy, level, name, "children"):
                # Nothing below is above: neither what was observed nor what was filled in.
                assert (own >= column(taxonomy, found.labels, key))[open_].all()


@settings(max_examples=30, deadline=None)
@given(taxonomies(), st.integers(0, 999))
def test_only_the_model_speaks_where_nothing_was_observed(taxonomy, seed):
    labels = {k: np.full_like(v, -1) for k, v in draw_labels(taxonomy, seed).items()}
    scores = draw_scores(taxonomy, seed)
    finest = taxonomy.levels[0]
    found = pseudo_labels(taxonomy, labels, scores)
    np.testing.assert_array_equal(found.labels[finest], scores[finest])


@settings(max_examples=30, deadline=None)
@given(taxonomies(), st.integers(0, 999))
def test_how_unobserved_is_written_and_what_was_scored_beside_it_do_not_matter(taxonomy, seed):
    labels, scores = drawn(taxonomy, seed)
    expected = pseudo_labels(taxonomy, labels, scores)
    written = {level: np.where(v < 0, np.nan, v) for level, v in labels.items()}
    rng = np.random.default_rng(seed)
    # A score beside an observed label is not looked at.
    other = {
        level: np.where(labels[level] < 0, v, rng.random(v.shape))
        for level, v in scores.items()
    }
    found = pseudo_labels(taxonomy, written, other)
    for level in taxonomy.levels:
        np.testing.assert_array_equal(found.labels[level], expected.labels[level])
        np.testing.assert_array_equal(found.weights[level], expected.weights[level])


def test_one_child_of_a_present_class_is_present():
    labels = {"fine": [[-1, -1, -1]], "coarse": [[1, -1, -1]]}
    scores = {"fine": [[0.4, 0.2, 0.3]], "coarse": [[0.5, 0.1, 0.6]]}
    found = pseudo_labels(TAXONOMY, labels, scores).labels
    # Bayes' rule over the four ways in which two independent children may sound.
    any_child = 0.4 * 0.2 + 0.4 * 0.8 + 0.6 * 0.2
    np.testing.assert_allclose(found["fine"], [[0.4 / any_child, 0.2 / any_child, 0.3]])
    np.testing.assert_allclose(found["coarse"], [[1, 0.3, 0.6]])
    plain = pseudo_labels(TAXONOMY, labels, scores, children_cover=False).labels
    np.testing.assert_allclose(plain["fine"], scores["fine"])


@pytest.mark.parametrize(
    ("cello", "expected"), [(0, 1.0), (1, 0.4)], ids=["the only one left", "explained"]
)
def test_an_observed_child_counts_as_what_it_is(cello, expected):
    labels = {"fine": [[-1, cello, -1]], "coarse": [[1, -1, -1]]}
    scores = {"fine": [[0.4, 0.2, 0.3]], "coarse": [[0.5, 0.1, 0.6]]}
    found = pseudo_labels(TAXONOMY, labels, scores).labels
    assert found["fine"][0, 0] == pytest.approx(expected)


def test_a_model_sure_that_no_child_sounds_divides_by_no_zero():
    labels = {"fine": [[-1, -1, -1]], "coarse": [[1, -1, 0]]}
    scores = {"fine": [[0.0, 0.0, 0.0]], "coarse": [[0.0, 0.0, 0.0]]}
    found = pseudo_labels(TAXONOMY, labels, scores).labels
    np.testing.assert_array_equal(found["fine"], [[0, 0, 0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": 1.5}, "`weight` must be a number from 0 to 1. Received: 1.5"),
        ({"weight": True}, "`weight`"),
        (
            {"labels": {"fine": [[0, 0, 0]]}},
            r"`labels` must be a dict with every level.*'fine'",
        ),
        ({"scores": [[0, 0, 0]]}, "`scores` must be a dict with every level"),
        ({"labels": {"fine": [[0, 2, 0]], "coarse": [[0, 0, 0]]}}, "Labels of 'fine', row 0"),
        ({"scores": {"fine": [[0, -1, 0]], "coarse": [[0, 0, 0]]}}, "scores of 'fine' must be"),
        (
            {"scores": {"fine": [[0, 0, 0]], "coarse": [[0, 0, 0]] * 2}},
            r"scores of 'coarse'.*\(1, 3\)",
        ),
    ],
)
def test_refuses(change, message):
    given_values = {
        "labels": {"fine": [[-1, 0, 0]], "coarse": [[0, 0, 0]]},
        "scores": {"fine": [[0, 0, 0]], "coarse": [[0, 0, 0]]},
        **change,
    }
    labels, scores = given_values.pop("labels"), given_values.pop("scores")
    with pytest.raises(LabelError, match=message):
        pseudo_labels(TAXONOMY, labels, scores, **given_values)
