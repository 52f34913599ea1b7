"""Joint-training methods, one per file, and the registry of their names in the literature.

A head is a function from `Features` and a `Taxonomy` to symbolic probabilities by level; one
named in `SEPARATE` takes `Features` by level.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ModelError
from ._common import Children, Features, children_of
from .c_hmcnn import c_hmcnn
from .chorus import chorus
from .f2ca import f2ca
from .gmp import gmp
from .hmcn_f import hmcn_f
from .independent import independent
from .multitask import multitask
from .top_down import top_down

Head = Callable[..., dict[str, Any]]

HEADS: Mapping[str, Head] = {
    "c_hmcnn": c_hmcnn,
    "chorus": chorus,
    "f2ca": f2ca,
    "gmp": gmp,
    "hmcn_f": hmcn_f,
    "independent": independent,
    "multitask": multitask,
    "top_down": top_down,
}
# Methods whose levels share nothing: they are given `Features` by level, each from a backbone
# of its own.
SEPARATE = frozenset({"independent"})
# Methods that take an embedding `(batch, num_voices, dim)` where the backbone can give one.
VOICED = frozenset({"chorus"})

__all__ = [
    "HEADS",
    "SEPARATE",
    "VOICED",
    "Children",
    "Features",
    "Head",
    "c_hmcnn",
    "children_of",
    "chorus",
    "f2ca",
    "get",
    "gmp",
    "hmcn_f",
    "independent",
    "multitask",
    "top_down",
]


def get(name: str) -> Head:
    """Returns the method called `name`.

    Raises:
        ModelError: If there is none.
    """
    if name not in HEADS:
        raise ModelError(f"`method` must be one of {sorted(HEADS)}. Received: {name!r}")
    return HEADS[name]
