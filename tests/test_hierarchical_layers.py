"""The layers over all levels: closure, max-constraint with its loss, top-down product."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taxonomy_strategies import taxonomies

from hmic_keras import Taxonomy
from hmic_keras.layers import AncestorClosure, MaxConstraint, TopDownProduct

LAYERS = (AncestorClosure, MaxConstraint, TopDownProduct)
TREE = [["middle", "fine", [[0, 0], [0, 1]]], ["coarse", "middle", [[0, 0]]]]
SIZES = {"fine": 3, "middle": 2, "coarse": 2}
FEW = settings(max_examples=25, deadline=None)


def links_of(taxonomy):
    return [
        [parent, child, pairs.tolist()] for parent, child, pairs in taxonomy.linked_levels()
    ]


def draw_scores(taxonomy, seed, rows=3):
    rng = np.random.default_rng(seed)
    return {
        level: rng.uniform(0.05, 0.95, (rows, len(taxonomy.classes(level)))).astype("float32")
        for level in taxonomy.levels
    }


def draw_labels(taxonomy, seed, rows=3):
    """Labels that no class contradicts, with gaps."""
    rng = np.random.default_rng(seed)
    finest = taxonomy.levels[0]
    drawn = {
        level: rng.choice([0, 1, -1], (rows, len(taxonomy.classes(level)))).astype("float32")
        for level in taxonomy.levels
    }
    closed = taxonomy.close_labels({finest: np.abs(drawn[finest])})
    return {
        level: np.where(rng.random(values.shape) < 0.3, -1, values).astype("float32")
        for level, values in closed.items()
    }


def family(taxonomy, level, name, direction):
    """The class and all its descendants, or ancestors, found link by link."""
    found, open_ = {(level, name)}, [(level, name)]
    while open_:
        at, one = open_.pop()
        for key in getattr(taxonomy, direction)(one, at):
            if key not in found:
                found.add(key)
                open_.append(key)
    return found


def column(taxonomy, scores, key):
    level, name = key
    return scores[level][:, taxonomy.index(level)[name]]


def highest_below(taxonomy, scores):
    return {
        level: np.stack(
            [
                np.max(
                    [
                        column(taxonomy, scores, key)
                        for key in family(taxonomy, level, name, "children")
                    ],
                    axis=0,
                )
                for name in taxonomy.classes(level)
            ],
            axis=1,
        )
        for level in taxonomy.levels
    }


def products(taxonomy, scores):
    """P(class) = q(class) * the least P of its parents, by recursion."""

    def probability(level, name):
        own = column(taxonomy, scores, (level, name))
        above = [probability(*key) for key in taxonomy.parents(name, level)]
        return own * np.min(above, axis=0) if above else own

    return {
        level: np.stack([probability(level, name) for name in taxonomy.classes(level)], axis=1)
        for level in taxonomy.levels
    }


def published_view(taxonomy, labels, scores):
    """What MCLoss compares: max of y h over a present class's family, max of h elsewhere."""
    present = {level: values > 0.5 for level, values in labels.items()}
    vouched = highest_below(
        taxonomy, {level: present[level] * scores[level] for level in scores}
    )
    highest = highest_below(taxonomy, scores)
    return {level: np.where(present[level], vouched[level], highest[level]) for level in scores}


def constrained_view(taxonomy, labels, scores, unscored):
    """The same where some classes have no score of their own, class by class and row by row."""

    def voucher(level, name, row):
        """The highest score of the best known group of classes that have one."""
        members = [
            (labels[k[0]][row, taxonomy.index(k[0])[k[1]]], k)
            for k in sorted(family(taxonomy, level, name, "children"))
            if taxonomy.index(k[0])[k[1]] not in unscored.get(k[0], ())
        ]
        groups = [members]
        if labels[level][row, taxonomy.index(level)[name]] > 0.5:
            present = [one for one in members if one[0] > 0.5]
            possible = [one for one in members if not 0 <= one[0] <= 0.5]
            groups = [present, possible, members]
        best = next(group for group in groups if group)
        return max(column(taxonomy, scores, key)[row] for _, key in best)

    return {
        level: np.array(
            [
                [voucher(level, name, row) for name in taxonomy.classes(level)]
                for row in range(len(scores[level]))
            ]
        )
        for level in taxonomy.levels
    }


def inner_classes(taxonomy):
    """Indices by level of the classes that have children."""
    found = {level: set() for level in taxonomy.levels}
    for parent, _, links in taxonomy.linked_levels():
        found[parent] |= set(links[:, 0].tolist())
    return {level: sorted(which) for level, which in found.items()}


def assert_close(found, expected, atol=1e-6):
    assert list(found) == list(expected)
    for level in expected:
        np.testing.assert_allclose(found[level], expected[level], atol=atol, err_msg=level)


@FEW
@given(taxonomies(), st.integers(0, 999))
def test_closure_is_the_highest_descendant(taxonomy, seed):
    scores = draw_scores(taxonomy, seed)
    closed = AncestorClosure(links_of(taxonomy))(scores)
    assert_close(closed, highest_below(taxonomy, scores), atol=0)
    again = AncestorClosure(links_of(taxonomy))(closed)
    assert_close(again, {level: np.asarray(values) for level, values in closed.items()}, atol=0)


@FEW
@given(taxonomies(), st.integers(0, 999))
def test_products_go_down_the_least_likely_path(taxonomy, seed):
    scores = draw_scores(taxonomy, seed)
    found = TopDownProduct(links_of(taxonomy))(scores)
    assert_close(found, products(taxonomy, scores))


@FEW
@given(taxonomies(), st.integers(0, 999))
def test_no_class_is_above_an_ancestor(taxonomy, seed):
    for make in LAYERS:
        layer = make(links_of(taxonomy))
        answers = layer(draw_scores(taxonomy, seed))
        for i, low in enumerate(taxonomy.levels):
            for high in taxonomy.levels[i + 1 :]:
                parents, children = taxonomy.links(high, low).T
                above = np.asarray(answers[high])[:, parents]
                assert (above >= np.asarray(answers[low])[:, children]).all()


@FEW
@given(taxonomies(), st.integers(0, 999))
def test_the_loss_of_the_constraint_is_the_published_one(taxonomy, seed):
    scores, labels = draw_scores(taxonomy, seed), draw_labels(taxonomy, seed)
    layer = MaxConstraint(links_of(taxonomy))
    given_scores = layer(scores, training=True)
    assert_close(given_scores, scores, atol=0)
    same, compared, weights = layer.loss_view(labels, given_scores, 0.5)
    assert same is labels
    assert weights == 0.5
    assert_close(compared, published_view(taxonomy, labels, scores), atol=0)


@FEW
@given(taxonomies(), st.integers(0, 999))
def test_classes_without_a_score_are_as_high_as_their_descendants(taxonomy, seed):
    scores, labels = draw_scores(taxonomy, seed), draw_labels(taxonomy, seed)
    inner = inner_classes(taxonomy)
    layer = MaxConstraint(links_of(taxonomy), inner)
    given_scores = layer(scores, training=True)
    without = {level: values.copy() for level, values in scores.items()}
    for level, which in inner.items():
        without[level][:, which] = 0
    assert_close(layer(scores), highest_below(taxonomy, without), atol=0)
    compared = layer.loss_view(labels, given_scores)[1]
    assert_close(compared, constrained_view(taxonomy, labels, scores, inner), atol=0)


def test_who_vouches_for_a_present_class_without_a_score():
    layer = MaxConstraint([["coarse", "fine", [[0, 0], [0, 1], [0, 2]]]], {"coarse": [0]})
    scores = {"fine": np.array([[0.2, 0.5, 0.8]] * 3), "coarse": np.full((3, 1), 0.9)}
    labels = {
        # Known to be present; not known to be absent; all known to be absent.
        "fine": np.array([[1, -1, 0], [-1, -1, 0], [0, 0, 0]], "float32"),
        "coarse": np.ones((3, 1), "float32"),
    }
    layer(scores)
    compared = np.asarray(layer.loss_view(labels, scores)[1]["coarse"])
    np.testing.assert_allclose(compared[:, 0], [0.2, 0.5, 0.8], atol=1e-6)
    assert layer.get_config()["unscored"] == {"coarse": [0]}


@pytest.mark.parametrize(
    ("unscored", "message"),
    [
        ({"coarse": [1]}, r"`unscored` must name classes of the input.*'coarse': \[1\]"),
        ({"other": [0]}, "'other'"),
        ({"coarse": [0], "fine": [0, 1]}, "must leave each class a score"),
    ],
)
def test_unscored_classes_that_cannot_be(unscored, message):
    layer = MaxConstraint([["coarse", "fine", [[0, 0], [0, 1]]]], unscored)
    with pytest.raises(ValueError, match=message):
        layer({"fine": np.zeros((1, 2)), "coarse": np.zeros((1, 1))})


@FEW
@given(taxonomies(), st.integers(0, 999))
def test_top_down_learns_only_where_all_parents_are_present(taxonomy, seed):
    scores, labels = draw_scores(taxonomy, seed), draw_labels(taxonomy, seed)
    layer = TopDownProduct(links_of(taxonomy))
    given_scores = layer(scores, training=True)
    asked, compared, _ = layer.loss_view(labels, given_scores)
    assert_close(compared, scores, atol=0)
    for level in taxonomy.levels:
        for i, name in enumerate(taxonomy.classes(level)):
            own = labels[level][:, i]
            above = [
                column(taxonomy, labels, key) > 0.5 for key in taxonomy.parents(name, level)
            ]
            counts = (own > 0.5) | np.all(above, axis=0) if above else np.ones(3, bool)
            expected = np.where(counts, own, -1)
            np.testing.assert_array_equal(np.asarray(asked[level])[:, i], expected)


@pytest.mark.parametrize("make", [MaxConstraint, TopDownProduct])
def test_how_unobserved_is_written_does_not_matter(make):
    taxonomy = Taxonomy.from_dict({"a": ["x", "y"], "b": ["y", "z"]})
    scores, labels = draw_scores(taxonomy, 0, rows=30), draw_labels(taxonomy, 0, rows=30)
    layer = make(links_of(taxonomy))
    layer(scores)
    views = []
    for missing in (-1.0, np.nan, -7.0):
        written = {k: np.where(v < 0, missing, v).astype("float32") for k, v in labels.items()}
        found, compared, _ = layer.loss_view(written, scores)
        known = {k: np.where(np.asarray(v) >= 0, v, -1) for k, v in found.items()}
        views.append((known, compared))
    # A level that is not labelled is one where nothing was observed.
    labels["coarse"][:] = -1
    without = layer.loss_view({"fine": labels["fine"]}, scores)[1]
    expected = layer.loss_view(labels, scores)[1]
    assert_close(without, {k: np.asarray(v) for k, v in expected.items()}, atol=0)
    for known, compared in views[1:]:
        for level in labels:
            np.testing.assert_array_equal(known[level], views[0][0][level])
            np.testing.assert_array_equal(compared[level], views[0][1][level])


def test_the_gradient_goes_to_the_score_that_vouches():
    import tensorflow as tf

    layer = MaxConstraint([["coarse", "fine", [[0, 0], [0, 1]]]])
    fine, coarse = tf.constant([[0.2, 0.7]]), tf.constant([[0.1]])
    labels = {"fine": tf.constant([[1.0, 0.0]]), "coarse": tf.constant([[1.0]])}
    layer({"fine": fine, "coarse": coarse})
    with tf.GradientTape() as tape:
        tape.watch([fine, coarse])
        compared = layer.loss_view(labels, {"fine": fine, "coarse": coarse})[1]["coarse"]
    gradients = tape.gradient(compared, [fine, coarse])
    # "y" scores higher and is absent: it must not be taught to stand for the parent.
    np.testing.assert_array_equal(gradients[0], [[1.0, 0.0]])
    np.testing.assert_array_equal(gradients[1], [[0.0]])


@pytest.mark.parametrize("make", LAYERS)
class TestContract:
    def layer(self, make, **kwargs):
        return make(TREE, **kwargs)

    def scores(self, *axes):
        rng = np.random.default_rng(1)
        return {k: rng.random((*axes, n)).astype("float32") for k, n in SIZES.items()}

    def test_config(self, make):
        layer = self.layer(make)
        text = json.dumps(keras.saving.serialize_keras_object(layer), allow_nan=False)
        restored = keras.saving.deserialize_keras_object(json.loads(text), safe_mode=True)
        assert restored.get_config() == layer.get_config()
        assert restored.get_config()["links"] == TREE
        scores = self.scores(4)
        expected = {k: np.asarray(v) for k, v in layer(scores).items()}
        assert_close(restored(scores), expected, atol=0)
        assert not layer.weights

    def test_in_a_graph_with_any_batch(self, make):
        inputs = {k: keras.Input((n,), name=k) for k, n in SIZES.items()}
        layer = self.layer(make)
        model = keras.Model(inputs, layer(inputs))
        assert {k: tuple(v.shape) for k, v in model.output.items()} == {
            k: (None, n) for k, n in SIZES.items()
        }
        scores = self.scores(5)
        expected = {k: np.asarray(v) for k, v in layer(scores).items()}
        found = model.predict(scores, verbose=0)
        assert_close({k: found[k] for k in expected}, expected)

    def test_more_axes(self, make):
        scores = self.scores(2, 4)
        layer = self.layer(make)
        found = layer(scores)
        for row in range(2):
            one = layer({k: v[row] for k, v in scores.items()})
            for level in SIZES:
                np.testing.assert_array_equal(found[level][row], one[level])

    def test_half_precision(self, make):
        scores = self.scores(4)
        expected = self.layer(make)(scores)
        half = self.layer(make, dtype="mixed_float16")(scores)
        for level in SIZES:
            assert keras.backend.standardize_dtype(half[level].dtype) == "float16"
            np.testing.assert_allclose(half[level], expected[level], atol=2e-3)

    @pytest.mark.parametrize(
        ("links", "message"),
        [
            ("tree", "must be a list of"),
            ([["coarse", "fine"]], "must be a list of"),
            ([["coarse", 1, [[0, 0]]]], "must be a list of"),
            ([["coarse", "fine", [[0, 0, 0]]]], "pairs of a parent's and a child's index"),
            ([["coarse", "fine", []]], "one or more pairs"),
            ([["coarse", "fine", [[0, -1]]]], "none below 0"),
            ([["coarse", "fine", [[0, 0.5]]]], "pairs of a parent's"),
            ([["coarse", "fine", [[0], [0, 1]]]], "must hold index pairs"),
        ],
    )
    def test_links_are_refused(self, make, links, message):
        with pytest.raises(ValueError, match=f"`links`.*{message}.*Received"):
            make(links)

    @pytest.mark.parametrize(
        ("links", "scores", "message"),
        [
            ([["top", "fine", [[0, 0]]]], SIZES, r"name the level 'top'.*\['fine'"),
            ([["coarse", "fine", [[2, 0]]]], SIZES, "within their 2 and 3 classes"),
            (
                [["coarse", "fine", [[0, 0]]], ["fine", "coarse", [[0, 0]]]],
                SIZES,
                "must not run in a circle",
            ),
            (TREE, None, "must be a dict of scores by level"),
        ],
    )
    def test_inputs_are_refused(self, make, links, scores, message):
        given_scores = np.zeros((1, 3)) if scores is None else self.scores(1)
        with pytest.raises(ValueError, match=message):
            make(links)(given_scores)


def test_without_links_nothing_changes():
    scores = {"fine": np.array([[0.1, 0.9]], "float32")}
    for make in LAYERS:
        assert_close(make([])(scores), scores, atol=0)


def test_steps_stay_linear_in_the_links():
    """In a deep tree, what is carried from step to step is never more than the links."""
    from hmic_keras.layers._functional import propagation_plan

    size = 3000
    rng = np.random.default_rng(0)
    parents = [int(rng.integers(max(0, i - 40), i)) for i in range(1, size)]
    links = np.stack([parents, np.arange(1, size)], axis=1)
    for upward in (True, False):
        plan = propagation_plan(links, size, upward=upward)
        assert len(plan) > 100
        gathered = sum(table.size for step in plan for _, table in step.groups)
        assert gathered <= 2 * (len(links) + size)
        assert sum(len(step.kept) for step in plan) <= len(links) + 1
