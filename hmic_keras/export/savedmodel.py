"""TensorFlow SavedModel."""

import os
from typing import Any

import keras

from .._files import atomic_path
from .precision import as_float32


def export_saved_model(
    model: Any,
    path: str | os.PathLike[str],
    *,
    batch_size: int | None = None,
    samples: int | None = None,
) -> None:
    """Writes a SavedModel whose endpoint `serve` returns a dict of probabilities by level.

    Goes through `model.export`, which tracks the variables; the folder is written whole or
    not at all. A model trained with mixed precision is exported in float32.

    Args:
        model: A waveform model.
        path: The folder to write; an existing one is replaced.
        batch_size: Fixed batch size; any by default.
        samples: Fixed length in samples; any by default.
    """
    model = as_float32(model)
    (tensor,) = model.inputs
    shape = (batch_size, *tensor.shape[1:])
    if samples is not None:
        shape = (batch_size, samples)
    signature = [keras.InputSpec(shape=shape, dtype="float32", name=tensor.name)]
    with atomic_path(path) as temporary:
        model.export(
            temporary, format="tf_saved_model", verbose=False, input_signature=signature
        )
