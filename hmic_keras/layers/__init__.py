"""Reusable Keras layers of hierarchical multi-label classification.

Importing this package registers everything a saved model of ours refers to, so that
`keras.saving.load_model(path)` works on it with `safe_mode=True`.
"""

from .. import hierarchical_model as _hierarchical_model
from .. import losses as _losses
from .. import streaming_metrics as _streaming_metrics
from .ancestor_closure import AncestorClosure
from .augmentation import Augmentation
from .batch_normalization import BatchNormalization
from .ensemble_dense import EnsembleDense
from .fine_to_coarse_attention import FineToCoarseAttention
from .frequency_mix_style import FrequencyMixStyle
from .grouped_max_pool import GroupedMaxPool
from .log_mel_spectrogram import LogMelSpectrogram
from .logit_mean import LogitMean
from .max_constraint import MaxConstraint
from .mixup import Mixup
from .random_band_limit import RandomBandLimit
from .random_clipping import RandomClipping
from .random_equalizer import RandomEqualizer
from .random_gain import RandomGain
from .random_noise import RandomNoise
from .random_reverb import RandomReverb
from .score_calibration import ScoreCalibration
from .spec_augment import SpecAugment
from .stem_remix import StemRemix
from .top_down_product import TopDownProduct
from .voice_mean import VoiceMean

__all__ = [
    "AncestorClosure",
    "Augmentation",
    "BatchNormalization",
    "EnsembleDense",
    "FineToCoarseAttention",
    "FrequencyMixStyle",
    "GroupedMaxPool",
    "LogMelSpectrogram",
    "LogitMean",
    "MaxConstraint",
    "Mixup",
    "RandomBandLimit",
    "RandomClipping",
    "RandomEqualizer",
    "RandomGain",
    "RandomNoise",
    "RandomReverb",
    "ScoreCalibration",
    "SpecAugment",
    "StemRemix",
    "TopDownProduct",
    "VoiceMean",
]

_REGISTERED = (_hierarchical_model, _losses, _streaming_metrics)
