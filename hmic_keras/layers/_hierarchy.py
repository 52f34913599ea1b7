"""Reading a hierarchy mask given as a dense array or as index pairs."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def parse_mask(mask: Any) -> tuple[np.ndarray, tuple[int, int]]:
    """Reads a hierarchy mask into sorted links.

    Args:
        mask: Boolean array-like `(num_parents, num_children)`, or a mapping
            `{"links": [[parent, child], ...], "shape": [num_parents, num_children]}`, which
            does not grow with the number of cells.

    Returns:
        Links, int32 `(num_links, 2)`, sorted and distinct, and the shape of the mask.

    Raises:
        ValueError: If `mask` is neither, is not binary, or an index is out of range.
    """
    if isinstance(mask, Mapping):
        return _parse_links(mask)
    dense = _array("mask", mask)
    if dense.ndim != 2 or not dense.size:
        raise ValueError(
            "`mask` must have the shape (num_parents, num_children), both at least 1. "
            f"Received: shape={dense.shape}"
        )
    if dense.dtype.kind not in "biuf" or not np.isin(dense, (0, 1)).all():
        raise ValueError(
            "`mask` must be binary: True or 1 where the child belongs to the parent, False "
            f"or 0 elsewhere. Received: dtype={dense.dtype}, {_other_values(dense)}"
        )
    return np.argwhere(dense).astype("int32"), (dense.shape[0], dense.shape[1])


def mask_config(links: np.ndarray, shape: tuple[int, int]) -> dict[str, Any]:
    """Returns the JSON form of a mask that `parse_mask` reads; it grows with the links only."""
    return {"links": links.tolist(), "shape": list(shape)}


def _parse_links(mask: Mapping[str, Any]) -> tuple[np.ndarray, tuple[int, int]]:
    if set(mask) != {"links", "shape"}:
        raise ValueError(
            "`mask` as a mapping must hold exactly 'links' and 'shape'. "
            f"Received keys: {list(mask)}"
        )
    links, sizes = (
        _array("mask['links']", mask["links"]),
        _array("mask['shape']", mask["shape"]),
    )
    whole = sizes.shape == (2,) and sizes.dtype.kind in "iu"
    if not whole or not ((sizes >= 1) & (sizes < 2**31)).all():
        raise ValueError(
            "`mask['shape']` must be (num_parents, num_children), whole numbers from 1 to "
            f"2**31 - 1. Received: {mask['shape']!r}"
        )
    shape = (int(sizes[0]), int(sizes[1]))
    if links.ndim != 2 or links.shape[1] != 2 or links.dtype.kind not in "iu":
        raise ValueError(
            "`mask['links']` must be integer pairs (parent, child). "
            f"Received: shape={links.shape}, dtype={links.dtype}"
        )
    if (links < 0).any() or (links >= shape).any():
        raise ValueError(
            f"`mask['links']` must lie within the shape {shape}. Received: "
            f"indices from {links.min(axis=0).tolist()} to {links.max(axis=0).tolist()}"
        )
    return np.unique(links, axis=0).astype("int32"), shape


def _array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise ValueError(
            f"`{name}` must be an array, its rows of one length. Received: {values!r}"
        ) from error


def _other_values(dense: np.ndarray) -> str:
    if dense.dtype.kind not in "biuf":
        return "not numbers"
    values = np.unique(dense[~np.isin(dense, (0, 1))])
    return f"values such as {values[:3].tolist()}"
