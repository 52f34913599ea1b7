"""`FineToCoarseAttention` against its equations in plain NumPy loops."""

import keras
import numpy as np
import pytest
from layer_contract import check_layer
from tflite_models import convert, run

from hmic_keras.layers import FineToCoarseAttention

RNG = np.random.default_rng(0)
WEIGHTS = ("projection", "map_queries", "keys", "map_bias")
PRIOR = [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 1]]


def softmax(logits):
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def oracle(layer, representation, children):
    """One clip, head, parent and child at a time, in double precision."""
    weights = {weight.name: weight.numpy().astype("float64") for weight in layer.weights}
    heads, parents, dim = weights["map_queries"].shape
    num_children = weights["keys"].shape[1]
    steps = representation if representation.ndim == 3 else representation[:, None]
    maps = np.zeros((len(steps), parents, num_children))
    for clip, head, parent in np.ndindex(len(steps), heads, parents):
        values = steps[clip] @ weights["projection"][:, head]
        attention = np.ones(1)
        if representation.ndim == 3:
            query = weights["time_queries"][head, parent]
            attention = softmax(values @ query / np.sqrt(dim))
        feature = values.mean(axis=0) + layer.residual_weight * (attention @ values)
        logits = np.empty(num_children)
        for child in range(num_children):
            gated = feature * weights["map_queries"][head, parent]
            logits[child] = gated @ weights["keys"][head, child] / np.sqrt(dim)
        maps[clip, parent] += softmax(logits + weights["map_bias"][0, parent]) / heads
    scores = np.zeros((len(steps), parents))
    for clip, parent, child in np.ndindex(maps.shape):
        scores[clip, parent] += maps[clip, parent, child] * children[clip, child]
    return scores, maps


def inputs(batch=3, steps=6, dim=8, children=5):
    shape = (batch, dim) if steps is None else (batch, steps, dim)
    hidden = RNG.normal(size=shape).astype("float32")
    return hidden, RNG.random((batch, children)).astype("float32")


class Returning(FineToCoarseAttention):
    """Returns the maps too, so that the contract covers them."""

    def call(self, representation, children):
        return super().call(representation, children, return_attention_scores=True)

    def compute_output_spec(self, representation, children):
        return super().compute_output_spec(representation, children, True)


@pytest.mark.parametrize("steps", [None, 6])
@pytest.mark.parametrize("prior", [None, PRIOR])
def test_contract(steps, prior):
    def make(**kwargs):
        keras.utils.set_random_seed(1)
        return FineToCoarseAttention(
            3, num_heads=2, key_dim=4, residual_weight=0.5, prior_mask=prior, **kwargs
        )

    weights = WEIGHTS if steps is None else (*WEIGHTS, "time_queries")
    tolerance = {"mixed_float16": 1e-2, "mixed_bfloat16": 5e-2}
    check_layer(make, *inputs(steps=steps), weights=weights, half_tolerance=tolerance)


@pytest.mark.parametrize("steps", [None, 6])
def test_maps_have_the_shape_and_dtype_they_announce(steps):
    hidden, fine = inputs(steps=steps)
    for policy in ("float32", "mixed_bfloat16"):
        layer = FineToCoarseAttention(4, dtype=policy)
        symbols = [keras.Input(hidden.shape[1:]), keras.Input(fine.shape[1:])]
        coarse, maps = layer(*symbols, return_attention_scores=True)
        assert (coarse.shape, maps.shape) == ((None, 4), (None, 4, 5))
        found = layer(hidden, fine, return_attention_scores=True)
        assert [tuple(array.shape) for array in found] == [(3, 4), (3, 4, 5)]
        dtypes = [keras.backend.standardize_dtype(array.dtype) for array in found]
        assert dtypes == [coarse.dtype, maps.dtype] == [layer.compute_dtype] * 2


@pytest.mark.parametrize("steps", [None, 1, 2, 9])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("residual_weight", [0.0, 1.0, 2.5])
def test_equals_the_plain_loop(steps, heads, residual_weight):
    hidden, fine = inputs(steps=steps)
    layer = FineToCoarseAttention(4, heads, key_dim=7, residual_weight=residual_weight)
    layer(hidden, fine)
    # The bias starts at zero; what it does shows only where it is not.
    (bias,) = (weight for weight in layer.weights if weight.name == "map_bias")
    bias.assign(RNG.normal(size=bias.shape))
    coarse, maps = layer(hidden, fine, return_attention_scores=True)
    expected, expected_maps = oracle(layer, hidden, fine)
    np.testing.assert_allclose(maps, expected_maps, atol=2e-6)
    np.testing.assert_allclose(coarse, expected, atol=2e-6)


@pytest.mark.parametrize("steps", [None, 6])
def test_parents_are_exactly_the_children_weighted_by_the_maps(steps):
    hidden, fine = inputs(batch=64, steps=steps, children=20)
    layer = FineToCoarseAttention(7)
    coarse, maps = layer(hidden, fine, return_attention_scores=True)
    np.testing.assert_array_equal(coarse, keras.ops.sum(maps * fine[:, None], axis=-1))
    np.testing.assert_array_equal(coarse, layer(hidden, fine))
    maps = maps.numpy()
    assert maps.min() > 0
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-6)
    # So the parent lies between the lowest and the highest child.
    assert (coarse.numpy() <= fine.max(axis=1, keepdims=True) + 1e-6).all()
    assert (coarse.numpy() >= fine.min(axis=1, keepdims=True) - 1e-6).all()


def test_maps_look_at_the_representation_and_not_at_the_children():
    hidden, fine = inputs()
    layer = FineToCoarseAttention(3)
    _, maps = layer(hidden, fine, return_attention_scores=True)
    _, same = layer(hidden, 1 - fine, return_attention_scores=True)
    _, other = layer(hidden[::-1], fine, return_attention_scores=True)
    np.testing.assert_array_equal(maps, same)
    assert np.abs(maps.numpy() - other.numpy()).max() > 1e-3


def test_one_child_takes_all_attention():
    hidden, fine = inputs(children=1)
    coarse, maps = FineToCoarseAttention(2)(hidden, fine, return_attention_scores=True)
    np.testing.assert_array_equal(maps, np.ones((3, 2, 1)))
    np.testing.assert_array_equal(coarse, np.repeat(fine, 2, axis=1))


def test_a_prior_lowers_the_odds_of_every_child_outside_the_group():
    hidden, fine = inputs()
    prior = FineToCoarseAttention(3, num_heads=1, prior_mask=PRIOR)
    plain = FineToCoarseAttention(3, num_heads=1)
    for layer in (prior, plain):
        layer(hidden, fine)
    for old, new in zip(plain.weights, prior.weights, strict=True):
        if new.name != "map_bias":
            new.assign(old)
    _, maps = prior(hidden, fine, return_attention_scores=True)
    _, before = plain(hidden, fine, return_attention_scores=True)
    member = np.asarray(PRIOR, bool)
    ratio = np.log(maps.numpy() / before.numpy())
    assert (ratio[:, member] > 0).all()
    assert (ratio[:, ~member] < 0).all()
    for parent in range(3):
        inside, outside = ratio[:, parent, member[parent]], ratio[:, parent, ~member[parent]]
        np.testing.assert_allclose(inside.min(1) - outside.max(1), 5, atol=1e-4)


def test_the_hierarchy_plays_no_part_by_default():
    hidden, fine = inputs()
    layer = FineToCoarseAttention(3)
    layer(hidden, fine)
    assert layer.get_config()["prior_mask"] is None
    (bias,) = (weight for weight in layer.weights if weight.name == "map_bias")
    np.testing.assert_array_equal(bias, np.zeros((1, 3, 5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_parents": 0}, "`num_parents`.*0"),
        ({"num_parents": 2.0}, "`num_parents`.*2.0"),
        ({"num_parents": True}, "`num_parents`.*True"),
        ({"num_parents": 2, "num_heads": 0}, "`num_heads`.*0"),
        ({"num_parents": 2, "key_dim": -1}, "`key_dim`.*-1"),
        ({"num_parents": 2, "residual_weight": -0.1}, "`residual_weight`.*-0.1"),
        ({"num_parents": 2, "residual_weight": float("nan")}, "`residual_weight`.*nan"),
        ({"num_parents": 2, "prior_mask": PRIOR}, r"each of the 2 parents.*\(3, 5\)"),
        ({"num_parents": 3, "prior_mask": [[2, 0, 0]] * 3}, "binary"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FineToCoarseAttention(**arguments)


@pytest.mark.parametrize(
    ("hidden", "fine", "message"),
    [
        ((2,), (2, 5), "`representation`"),
        ((2, 3, 4, 8), (2, 5), "`representation`"),
        ((2, 8), (2, 1, 5), "`children`"),
        ((2, 8), (2, 4), "`prior_mask` has 5 columns"),
    ],
)
def test_refuses_bad_shapes(hidden, fine, message):
    layer = FineToCoarseAttention(3, prior_mask=PRIOR)
    with pytest.raises(ValueError, match=message):
        layer(np.zeros(hidden, "float32"), np.zeros(fine, "float32"))


@pytest.mark.parametrize("steps", [None, 6])
def test_runs_in_tflite_on_builtin_operations(steps, tmp_path):
    hidden, fine = inputs(steps=steps)
    symbols = [keras.Input(hidden.shape[1:], name="hidden"), keras.Input((5,), name="fine")]
    coarse, maps = FineToCoarseAttention(3, prior_mask=PRIOR)(
        *symbols, return_attention_scores=True
    )
    inputs_by_name = dict(zip(("hidden", "fine"), symbols, strict=True))
    model = keras.Model(inputs_by_name, {"coarse": coarse, "maps": maps})
    found = run(convert(model, tmp_path), hidden=hidden, fine=fine)
    expected = model({"hidden": hidden, "fine": fine})
    np.testing.assert_allclose(found["coarse"], expected["coarse"], atol=1e-6)
    np.testing.assert_allclose(found["maps"], expected["maps"], atol=1e-6)
