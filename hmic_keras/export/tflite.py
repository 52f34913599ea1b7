"""TensorFlow Lite."""

import os
import tempfile
from pathlib import Path
from typing import Any

from .._files import atomic_path
from .savedmodel import export_saved_model


def export_tflite(model: Any, path: str | os.PathLike[str], *, samples: int) -> None:
    """Writes a float32 TensorFlow Lite file for one window at a time.

    The batch is fixed at 1, only built-in operations are used, and the signature's outputs
    carry the names of the levels. The model is converted from the SavedModel that
    `model.export` writes, which works on every supported TensorFlow version; converting a
    Keras model directly aborts the process on TensorFlow 2.16.

    Args:
        model: A waveform model.
        path: The file to write; an existing one is replaced.
        samples: Length of the window in samples.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        saved_model = Path(folder) / "saved_model"
        export_saved_model(model, saved_model, batch_size=1, samples=samples)
        converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(saved_model))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
