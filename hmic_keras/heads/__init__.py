"""Joint-training methods, one per file, and the registry of their names in the literature.

A head is a function from `Features` and a `Taxonomy` to symbolic probabilities by level.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ModelError
from ._common import Children, Features, children_of
from .f2ca import f2ca
from .gmp import gmp
from .multitask import multitask

Head = Callable[..., dict[str, Any]]

HEADS: Mapping[str, Head] = {"f2ca": f2ca, "gmp": gmp, "multitask": multitask}

__all__ = [
    "HEADS",
    "Children",
    "Features",
    "Head",
    "children_of",
    "f2ca",
    "get",
    "gmp",
    "multitask",
]


def get(name: str) -> Head:
    """Returns the method called `name`.

    Raises:
        ModelError: If there is none.
    """
    if name not in HEADS:
        raise ModelError(f"`method` must be one of {sorted(HEADS)}. Received: {name!r}")
    return HEADS[name]
