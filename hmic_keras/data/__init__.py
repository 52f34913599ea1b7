"""Audio, label tables, corpora and `tf.data` pipelines.

Names load on first use, so importing this package loads neither TensorFlow nor a decoder.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audio import load_audio as load_audio
    from .augmentation import HostAugmentation as HostAugmentation
    from .feature_sets import FeatureSet as FeatureSet
    from .feature_sets import FeatureSplits as FeatureSplits
    from .pipeline import make_dataset as make_dataset
    from .prepare import prepare_clips as prepare_clips
    from .prepared import PreparedClips as PreparedClips
    from .prepared import open_clips as open_clips
    from .resampling import resample as resample
    from .sources.demo import demo_clips as demo_clips
    from .sources.folder import LabelledClips as LabelledClips
    from .sources.folder import read_clips as read_clips
    from .synthesis import render_corpus as render_corpus

_HOMES = {
    "FeatureSet": ".feature_sets",
    "FeatureSplits": ".feature_sets",
    "HostAugmentation": ".augmentation",
    "LabelledClips": ".sources.folder",
    "PreparedClips": ".prepared",
    "demo_clips": ".sources.demo",
    "load_audio": ".audio",
    "make_dataset": ".pipeline",
    "open_clips": ".prepared",
    "prepare_clips": ".prepare",
    "read_clips": ".sources.folder",
    "render_corpus": ".synthesis",
    "resample": ".resampling",
}

__all__ = [
    "FeatureSet",
    "FeatureSplits",
    "HostAugmentation",
    "LabelledClips",
    "PreparedClips",
    "demo_clips",
    "load_audio",
    "make_dataset",
    "open_clips",
    "prepare_clips",
    "read_clips",
    "render_corpus",
    "resample",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
