"""Feature extractors, one per file, and the registry of their names.

A backbone is a function from a symbolic tensor to features: `(batch, time, dim)` where the
input has a time axis, `(batch, dim)` otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ModelError
from .conv import conv
from .mlp import mlp

Backbone = Callable[..., Any]

BACKBONES: Mapping[str, Backbone] = {"conv": conv, "mlp": mlp}

__all__ = ["BACKBONES", "Backbone", "conv", "get", "mlp"]


def get(name: str) -> Backbone:
    """Returns the backbone called `name`.

    Raises:
        ModelError: If there is none.
    """
    if name not in BACKBONES:
        raise ModelError(f"`backbone` must be one of {sorted(BACKBONES)}. Received: {name!r}")
    return BACKBONES[name]
