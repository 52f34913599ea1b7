"""Fine-to-coarse attention: a parent class as a learned mixture of child classes."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from ._functional import attention_maps, residual_attention, weighted_children
from ._hierarchy import mask_config, parse_mask

# How far the prior lowers the logit of a child outside the parent's group: a factor of about
# 150 in the map, which training can still overcome.
_PRIOR_LOGIT = 5.0
_LARGEST = float(np.finfo(np.float32).max)


@keras.saving.register_keras_serializable(package="hmic_keras")
class FineToCoarseAttention(keras.layers.Layer):
    """Scores parent classes as attention-weighted sums of child probabilities.

    A residual attention layer turns the representation into one feature for each parent and
    head; compared with one key for each child it gives a softmax map over the children. The
    maps are averaged over the heads, and the parent's probability is exactly
    `sum(maps * children)` over the last axis, so the maps explain the decision. They are
    learned from data; the hierarchy enters only through the labels, or through `prior_mask`.

    Of the paper only the abstract and a figure could be followed. Deviations and choices:
    residual attention is taken as class-specific residual attention over time (Zhu and Wu,
    2021); a representation without a time axis is one step long, with nothing to attend to;
    the map logits are factorised through `key_dim`, so weights grow with parents plus
    children, apart from one bias for each pair.

    Args:
        num_parents: Number of parent classes.
        num_heads: Number of attention heads.
        key_dim: Width of queries and keys in each head.
        residual_weight: Weight of the attended mean over time beside the plain mean.
        prior_mask: Optional boolean array-like `(num_parents, num_children)`, or index pairs
            as in `GroupedMaxPool`. Children outside a parent's group then start about 150
            times lower in its map. Off by default.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Call arguments:
        representation: `(batch, dim)` or `(batch, time, dim)`.
        children: Child probabilities `(batch, num_children)`.
        return_attention_scores: Whether to return the maps as well.

    Output shape:
        `(batch, num_parents)`; with `return_attention_scores=True` also the maps
        `(batch, num_parents, num_children)`, whose rows sum to 1.

    Raises:
        ValueError: If an argument is out of range, an input has another rank, or `prior_mask`
            does not fit the number of parents and children.

    Example:
        >>> import numpy as np
        >>> layer = FineToCoarseAttention(2)
        >>> hidden, fine = np.ones((1, 8)), np.full((1, 5), 0.25)
        >>> coarse, maps = layer(hidden, fine, return_attention_scores=True)
        >>> maps.shape, np.asarray(coarse).round(4).tolist()
        (TensorShape([1, 2, 5]), [[0.25, 0.25]])

    References:
        Zhong et al., "An Attention-based Approach to Hierarchical Multi-label Music Instrument
        Classification", ICASSP 2023 (arXiv 2302.08136).
        Zhu and Wu, "Residual Attention: A Simple but Effective Method for Multi-Label
        Recognition", ICCV 2021.
    """

    def __init__(
        self,
        num_parents: int,
        num_heads: int = 4,
        key_dim: int = 32,
        residual_weight: float = 1.0,
        prior_mask: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for argument, value in (
            ("num_parents", num_parents),
            ("num_heads", num_heads),
            ("key_dim", key_dim),
        ):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or value < 1:
                raise ValueError(
                    f"`{argument}` must be a positive integer. Received: {value!r}"
                )
        real = isinstance(residual_weight, int | float | np.number)
        if not real or not 0 <= residual_weight <= _LARGEST:
            raise ValueError(
                "`residual_weight` must be a finite number that is not negative. "
                f"Received: {residual_weight!r}"
            )
        self.num_parents = int(num_parents)
        self.num_heads = int(num_heads)
        self.key_dim = int(key_dim)
        self.residual_weight = float(residual_weight)
        self._prior = None
        if prior_mask is not None:
            self._prior = parse_mask(prior_mask)
            if self._prior[1][0] != self.num_parents:
                raise ValueError(
                    f"`prior_mask` must have one row for each of the {self.num_parents} "
                    f"parents. Received: shape {self._prior[1]}"
                )

    def build(
        self,
        representation_shape: Sequence[Any],
        children_shape: Sequence[int | None],
    ) -> None:
        """Creates the projection, queries, keys and map bias."""
        self._check_shapes(representation_shape, children_shape)
        num_children = children_shape[-1]
        head = (self.num_heads, self.key_dim)
        self._projection = self.add_weight(
            shape=(representation_shape[-1], *head),
            # Variance scaling would take the heads for a receptive field.
            initializer=keras.initializers.RandomNormal(
                stddev=float(representation_shape[-1]) ** -0.5
            ),
            name="projection",
        )
        unit = keras.initializers.RandomNormal(stddev=1.0)
        if len(representation_shape) == 3:
            self._time_queries = self.add_weight(
                shape=(self.num_heads, self.num_parents, self.key_dim),
                initializer=unit,
                name="time_queries",
            )
        self._map_queries = self.add_weight(
            shape=(self.num_heads, self.num_parents, self.key_dim),
            initializer=unit,
            name="map_queries",
        )
        self._keys = self.add_weight(
            shape=(self.num_heads, num_children, self.key_dim),
            # Small, so that the maps start even and what they show was learned.
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="keys",
        )
        self._bias = self.add_weight(
            shape=(1, self.num_parents, num_children),
            initializer="zeros" if self._prior is None else _prior_initializer(self._prior[0]),
            name="map_bias",
        )
        super().build(representation_shape)

    def call(
        self, representation: Any, children: Any, return_attention_scores: bool = False
    ) -> Any:
        """Returns parent probabilities and, if asked for, the attention maps."""
        # TensorFlow's gradient of the same einsum takes as long as a convolution on a CPU.
        values = keras.ops.tensordot(representation, self._projection, axes=1)
        if len(representation.shape) == 2:
            features = keras.ops.expand_dims(values, axis=2) * (1.0 + self.residual_weight)
        else:
            features = residual_attention(values, self._time_queries, self.residual_weight)
        maps = attention_maps(features, self._map_queries, self._keys, self._bias)
        parents = weighted_children(maps, children)
        return (parents, maps) if return_attention_scores else parents

    def compute_output_shape(
        self, representation_shape: Sequence[int | None], children_shape: Sequence[int | None]
    ) -> tuple[int | None, int]:
        """Returns the shape of the parent probabilities."""
        self._check_shapes(representation_shape, children_shape)
        return (children_shape[0], self.num_parents)

    def compute_output_spec(
        self, representation: Any, children: Any, return_attention_scores: bool = False
    ) -> Any:
        """Describes the outputs without running the layer."""
        shape = self.compute_output_shape(representation.shape, children.shape)
        parents = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return parents
        maps = keras.KerasTensor((*shape, children.shape[-1]), dtype=self.compute_dtype)
        return parents, maps

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_parents": self.num_parents,
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "residual_weight": self.residual_weight,
            "prior_mask": None if self._prior is None else mask_config(*self._prior),
        }

    def _check_shapes(
        self, representation: Sequence[int | None], children: Sequence[int | None]
    ) -> None:
        if len(representation) not in (2, 3) or representation[-1] is None:
            raise ValueError(
                "`representation` must have the shape (batch, dim) or (batch, time, dim) with "
                f"a known dim. Received: {tuple(representation)}"
            )
        if len(children) != 2 or children[-1] is None:
            raise ValueError(
                "`children` must be probabilities of the shape (batch, num_children). "
                f"Received: {tuple(children)}"
            )
        if self._prior is not None and self._prior[1][1] != children[-1]:
            raise ValueError(
                f"`prior_mask` has {self._prior[1][1]} columns and must have one for each "
                f"child. Received: children of shape {tuple(children)}"
            )


def _prior_initializer(links: np.ndarray) -> Callable[..., Any]:
    def initialize(shape: Sequence[int], dtype: Any = None) -> Any:
        bias = np.full(shape, -_PRIOR_LOGIT, "float32")
        bias[0, links[:, 0], links[:, 1]] = 0.0
        return keras.ops.convert_to_tensor(bias, dtype=dtype)

    return initialize
