"""Grouped max-pooling: a parent class scores as its highest child."""

from typing import Any

import keras
import numpy as np

from ._functional import grouped_max, pooling_plan
from ._hierarchy import mask_config, parse_mask


@keras.saving.register_keras_serializable(package="hmic_keras")
class GroupedMaxPool(keras.layers.Layer):
    """Reduces child-class scores to parent scores by a per-group maximum.

    Parent class `c` scores as its highest-scoring member, so no member can exceed its group.
    The layer has no weights; the gradient flows to the winning member. Scores may be logits or
    probabilities: nothing outside the group, and no fill value, enters the maximum. Time and
    memory grow with the number of links, not with the number of cells of the mask.

    Args:
        mask: Boolean array-like `(num_parents, num_children)`. Row `c` marks the members of
            parent `c`. Every row needs a member; a child may belong to several groups or to
            none. A large mask is better given as index pairs,
            `{"links": [[parent, child], ...], "shape": [num_parents, num_children]}`, which is
            also the form that `get_config` returns.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        `(..., num_children)`, columns ordered as in `mask`.

    Output shape:
        `(..., num_parents)`, ordered as the rows of `mask`.

    Raises:
        ValueError: If `mask` is not 2-D and binary, has an empty row, or its width differs
            from the last input axis.

    Example:
        >>> import numpy as np
        >>> pool = GroupedMaxPool([[1, 1, 0], [0, 0, 1]])
        >>> print(np.asarray(pool(np.array([[-3.0, -1.0, 2.0]]))))
        [[-1.  2.]]

    References:
        Zhong et al., "An Attention-based Approach to Hierarchical Multi-label Music Instrument
        Classification", ICASSP 2023 (arXiv 2302.08136).
    """

    def __init__(self, mask: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._links, self._shape = parse_mask(mask)
        # Rows beyond the number of links cannot all have one; more are not worth looking at.
        rows = min(self._shape[0], len(self._links) + 10)
        empty = np.setdiff1d(np.arange(rows), self._links[:, 0])
        if len(empty):
            raise ValueError(
                "Every row of `mask` needs at least one member, since the maximum over none "
                f"is undefined. Received: no member in row(s) {empty[:10].tolist()}"
            )
        self._plan = pooling_plan(self._links, self._shape[0])
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks the width of the input against the mask."""
        if input_shape[-1] != self._shape[1]:
            raise ValueError(
                f"The last axis of the input must be the {self._shape[1]} children of `mask`. "
                f"Received: input shape {tuple(input_shape)}"
            )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the maximum of each group."""
        return grouped_max(inputs, self._plan)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """Replaces the children on the last axis by the parents."""
        return (*input_shape[:-1], self._shape[0])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "mask": mask_config(self._links, self._shape)}
