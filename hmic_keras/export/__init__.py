"""Exporting a trained model to formats that run without this package."""

from ._exporter import TOLERANCES
from .bundle import export_model
from .compression import compress
from .parity import parity
from .savedmodel import export_saved_model
from .tflite import export_tflite

__all__ = [
    "TOLERANCES",
    "compress",
    "export_model",
    "export_saved_model",
    "export_tflite",
    "parity",
]
