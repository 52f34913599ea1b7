"""Links between two levels as arrays of index pairs `(parent, child)`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sorted_pairs(pairs: NDArray[np.int64], num_children: int) -> NDArray[np.int64]:
    """Sorts pairs by parent, then child, and drops repeats; the result is read-only."""
    keys = np.unique(pairs[:, 0] * num_children + pairs[:, 1])
    ordered = np.stack(np.divmod(keys, num_children), axis=1)
    ordered.setflags(write=False)
    return ordered


def join_pairs(upper: NDArray[np.int64], lower: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins `(parent, middle)` with `(middle, child)` pairs to `(parent, child)` pairs."""
    upper = upper[np.argsort(upper[:, 1], kind="stable")]
    start = np.searchsorted(upper[:, 1], lower[:, 0], side="left")
    counts = np.searchsorted(upper[:, 1], lower[:, 0], side="right") - start
    # Each lower pair is repeated once for every upper pair that shares its middle.
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    parents = upper[np.repeat(start, counts) + within, 0]
    return np.stack([parents, np.repeat(lower[:, 1], counts)], axis=1)


def reduce_groups(
    function: np.ufunc, values: NDArray[Any], groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Reduces the columns of `values` that share a group; `groups` is sorted, not empty.

    Returns:
        The distinct groups, and one reduced column for each.
    """
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return groups[starts], function.reduceat(values, starts, axis=1)
