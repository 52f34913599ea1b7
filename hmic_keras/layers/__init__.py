"""Reusable Keras layers of hierarchical multi-label classification.

Importing this package registers everything a saved model of ours refers to, so that
`keras.saving.load_model(path)` works on it with `safe_mode=True`.
"""

from .. import hierarchical_model as _hierarchical_model
from .. import losses as _losses
from .. import streaming_metrics as _streaming_metrics
from .fine_to_coarse_attention import FineToCoarseAttention
from .grouped_max_pool import GroupedMaxPool
from .log_mel_spectrogram import LogMelSpectrogram
from .spec_augment import SpecAugment

__all__ = [
    "FineToCoarseAttention",
    "GroupedMaxPool",
    "LogMelSpectrogram",
    "SpecAugment",
]

_REGISTERED = (_hierarchical_model, _losses, _streaming_metrics)
