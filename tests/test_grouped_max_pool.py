"""`GroupedMaxPool` against a plain loop over groups."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_contract import check_layer
from tflite_models import convert, run

from hmic_keras.layers import GroupedMaxPool
from hmic_keras.layers._functional import pooling_plan

RNG = np.random.default_rng(0)
DAG = [[1, 1, 0, 0, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1]]


def oracle(scores, mask):
    mask = np.asarray(mask)
    result = np.empty((*scores.shape[:-1], len(mask)), scores.dtype)
    for position in np.ndindex(scores.shape[:-1]):
        for parent, row in enumerate(mask):
            members = [scores[position][child] for child in range(len(row)) if row[child]]
            result[(*position, parent)] = max(members)
    return result


@st.composite
def masks(draw):
    """Uneven hierarchies: several parents to a child, children without any."""
    parents, children = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    shares = rng.random((parents, 1)) ** draw(st.integers(1, 4))
    mask = rng.random((parents, children)) < shares
    mask[np.arange(parents), rng.integers(0, children, parents)] = True
    return mask


@pytest.mark.parametrize(
    "mask",
    [DAG, [[1]], np.eye(3, dtype=bool), np.ones((2, 9))],
    ids=["dag", "1", "eye", "full"],
)
def test_contract(mask):
    scores = RNG.normal(size=(4, np.shape(mask)[1])).astype("float32")
    check_layer(lambda **kwargs: GroupedMaxPool(mask, **kwargs), scores)


def test_contract_of_uneven_groups():
    links = [(0, child) for child in range(40)] + [(p, 39 + p) for p in range(1, 9)]
    mask = {"links": links, "shape": [9, 60]}
    scores = RNG.normal(size=(3, 2, 60)).astype("float32")
    check_layer(lambda **kwargs: GroupedMaxPool(mask, **kwargs), scores)


@settings(deadline=None, max_examples=60)
@given(mask=masks(), seed=st.integers(0, 2**32 - 1), logits=st.booleans())
def test_equals_the_plain_loop(mask, seed, logits):
    rng = np.random.default_rng(seed)
    scores = rng.random((3, mask.shape[1])).astype("float32")
    if logits:
        # Far below zero, where a fill value or a product with the mask would win.
        scores = (scores * 10.0 ** rng.integers(-3, 8) - 1e6).astype("float32")
    np.testing.assert_array_equal(GroupedMaxPool(mask)(scores), oracle(scores, mask))


@settings(deadline=None, max_examples=60)
@given(mask=masks())
def test_plan_holds_every_group_and_stays_within_twice_the_links(mask):
    links = np.argwhere(mask)
    plan = pooling_plan(links, len(mask))
    assert sum(table.size for _, table in plan) <= 2 * len(links)
    groups = {
        int(parent): set(row.tolist())
        for parents, table in plan
        for parent, row in zip(parents, table, strict=True)
    }
    assert groups == {p: set(np.flatnonzero(row).tolist()) for p, row in enumerate(mask)}


@pytest.mark.parametrize("leading", [(), (1,), (2, 3), (2, 1, 3, 2)])
def test_any_leading_axes(leading):
    scores = RNG.normal(size=(*leading, 5)).astype("float32")
    result = np.asarray(GroupedMaxPool(DAG)(scores))
    assert result.shape == (*leading, 3)
    np.testing.assert_array_equal(result, oracle(scores, DAG))


def test_links_and_dense_mask_are_the_same_layer():
    links = np.argwhere(DAG)[::-1]
    layer = GroupedMaxPool({"links": [*links.tolist(), links[0].tolist()], "shape": [3, 5]})
    assert layer.get_config()["mask"] == GroupedMaxPool(DAG).get_config()["mask"]


def test_gradient_goes_to_the_winner_of_each_group_once():
    scores = tf.constant([[3.0, 1.0, 9.0, 2.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        parents = GroupedMaxPool(DAG)(scores)
        value = tf.reduce_sum(parents * [[1.0, 10.0, 100.0]])
    # Child 2 has no parent, child 3 wins group 1, child 4 is all of group 2.
    gradient = tape.gradient(value, scores)
    np.testing.assert_allclose(gradient, [[1.0, 0.0, 0.0, 10.0, 100.0]], rtol=1e-6)


class TestScale:
    """10,000 classes under 1,000 parents, one group of 9,001 members."""

    # Shuffled: neither parents nor children may need to come in order.
    children = np.random.default_rng(1).permutation(10_000)
    pairs = np.stack([np.r_[np.zeros(9001, int), np.arange(1, 1000)], children], axis=1)

    @pytest.fixture
    def layer(self):
        mask = {"links": self.pairs[::-1].tolist(), "shape": [1000, 10_000]}
        return GroupedMaxPool(mask)

    def test_equals_the_oracle_at_batch_64(self, layer):
        scores = RNG.normal(-50, 20, (64, 10_000)).astype("float32")
        expected = np.full((64, 1000), -np.inf, "float32")
        for parent, child in self.pairs:
            np.maximum(expected[:, parent], scores[:, child], out=expected[:, parent])
        np.testing.assert_array_equal(layer(scores), expected)

    def test_work_and_config_grow_with_the_links(self, layer):
        assert sum(table.size for _, table in layer._plan) <= 2 * len(self.pairs)
        assert len(layer._plan) <= 16
        config = json.dumps(layer.get_config())
        assert len(config) < 20 * len(self.pairs)
        again = GroupedMaxPool.from_config(json.loads(config))
        assert again.get_config() == layer.get_config()

    def test_gradient_goes_to_the_winner(self, layer):
        scores = RNG.normal(size=(2, 10_000)).astype("float32")
        # Once the first member of the largest group wins: tables are filled up from there.
        scores[1, self.pairs[self.pairs[:, 0] == 0, 1].min()] = 10.0
        scores = tf.constant(scores)
        with tf.GradientTape() as tape:
            tape.watch(scores)
            value = tf.reduce_sum(layer(scores))
        gradient = tape.gradient(value, scores).numpy()
        expected = np.zeros_like(gradient)
        for parent in range(1000):
            members = self.pairs[self.pairs[:, 0] == parent, 1]
            winners = members[scores.numpy()[:, members].argmax(axis=1)]
            expected[[0, 1], winners] += 1
        np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([1, 0, 1], r"shape \(num_parents, num_children\).*\(3,\)"),
        (np.zeros((0, 3)), "at least 1"),
        ([[1, 0], [0, 0]], r"row\(s\) \[1\]"),
        ([[1, 2]], "binary.*2"),
        ([[1, -1]], "binary.*-1"),
        ([[0.5, 1.0]], "binary.*0.5"),
        ([[1.0, np.nan]], "binary"),
        ([["a", "b"]], "binary.*not numbers"),
        ({"links": [[0, 0]]}, "exactly 'links' and 'shape'"),
        ({"links": [[0, 0]], "shape": [1]}, r"mask\['shape'\]"),
        ({"links": [[0, 3]], "shape": [1, 3]}, "within the shape"),
        ({"links": [[0, -1]], "shape": [1, 3]}, "within the shape"),
        ({"links": [[0.5, 1]], "shape": [1, 3]}, "integer pairs"),
        ({"links": [0, 1], "shape": [1, 3]}, "integer pairs"),
        ({"links": [[1, 1]], "shape": [3, 3]}, r"row\(s\) \[0, 2\]"),
    ],
)
def test_refuses_a_bad_mask(mask, message):
    with pytest.raises(ValueError, match=message):
        GroupedMaxPool(mask)


@pytest.mark.parametrize("width", [4, 6, 1])
def test_refuses_another_number_of_children(width):
    with pytest.raises(ValueError, match="the 5 children of `mask`"):
        GroupedMaxPool(DAG)(np.zeros((2, width), "float32"))
    with pytest.raises(ValueError, match="the 5 children of `mask`"):
        GroupedMaxPool(DAG)(keras.Input((width,)))


UNEVEN = np.zeros((4, 21), int)
UNEVEN[0, :14] = UNEVEN[1, 13:17] = UNEVEN[2, [17, 2]] = UNEVEN[3, 20] = 1


@pytest.mark.parametrize("mask", [DAG, UNEVEN], ids=["one_table", "several_tables"])
@pytest.mark.parametrize("integer_io", [False, True])
def test_survives_full_integer_quantisation(mask, integer_io, tmp_path):
    mask = np.asarray(mask)
    inputs = keras.Input((mask.shape[1],), name="scores")
    model = keras.Model(inputs, {"parents": GroupedMaxPool(mask)(inputs)})
    # Logits of widely different scale: every group's maximum is known to one step only if
    # nothing but the scores themselves decides the quantised range.
    spread = np.geomspace(0.05, 12.0, mask.shape[1])
    scores = (RNG.normal(-0.3, 1.0, (200, mask.shape[1])) * spread).astype("float32")
    content = convert(model, tmp_path, representative=scores, integer_io=integer_io)
    found = run(content, scores=scores)["parents"]
    step = (scores.max() - scores.min()) / 255
    assert np.abs(found - oracle(scores, mask)).max() < 2 * step
