"""Hierarchical multi-label music instrument classification with Keras.

Everything public is reachable from here and loaded when first used, so importing the package
costs no TensorFlow::

    import hmic_keras as hk

    taxonomy = hk.Taxonomy.load("openmic")
    model = hk.build_model(taxonomy, backbone="conv", method="f2ca", input="waveform")
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

_HOMES = {
    "HmicError": "errors",
    "LabelMap": "label_map",
    "Predictor": "inference",
    "Taxonomy": "taxonomy",
    "build_model": "models",
    "ensemble": "ensembles",
    "load_model": "zoo",
}

__all__ = [
    "HmicError",
    "LabelMap",
    "Predictor",
    "Taxonomy",
    "__version__",
    "build_model",
    "config",
    "data",
    "ensemble",
    "errors",
    "evaluation",
    "explain",
    "export",
    "fine_tuning",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "recipe",
    "training",
    "zoo",
]

if TYPE_CHECKING:
    from . import (
        config,
        data,
        errors,
        evaluation,
        explain,
        export,
        fine_tuning,
        layers,
        losses,
        metrics,
        recipe,
        training,
        zoo,
    )
    from .ensembles import ensemble
    from .errors import HmicError
    from .inference import Predictor
    from .label_map import LabelMap
    from .models import build_model
    from .taxonomy import Taxonomy
    from .zoo import load_model


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_HOMES.get(name, name)}", __name__)
    value = getattr(module, name) if name in _HOMES else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
