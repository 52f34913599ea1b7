"""Losses that leave unobserved labels out.

A label of 1 is present, 0 absent, in between a probability; -1 or NaN is unobserved. An
unobserved label adds nothing to a loss and nothing to a gradient. Every loss is the mean over
the observed labels of a batch.
"""

from ._binary import (
    NAMES,
    MaskedAsymmetricLoss,
    MaskedBinaryCrossentropy,
    MaskedFocalLoss,
    get,
)
from ._hierarchy import consistency_penalty, link_violations
from ._masked import MaskedLoss, mask_unobserved
from ._observed import ObservedMean, label_weights, observed
from ._weights import class_weights, positive_weights

__all__ = [
    "NAMES",
    "MaskedAsymmetricLoss",
    "MaskedBinaryCrossentropy",
    "MaskedFocalLoss",
    "MaskedLoss",
    "ObservedMean",
    "class_weights",
    "consistency_penalty",
    "get",
    "label_weights",
    "link_violations",
    "mask_unobserved",
    "observed",
    "positive_weights",
]
