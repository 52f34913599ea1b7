"""TensorFlow SavedModel."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from .._files import atomic_path
from .extras import extra_outputs
from .precision import as_float32


def export_saved_model(
    model: Any,
    path: str | os.PathLike[str],
    *,
    batch_size: int | None = None,
    input_shape: Sequence[int | None] | None = None,
    extras: Sequence[str] = (),
) -> None:
    """Writes a SavedModel whose endpoint `serve` returns a dict of probabilities by level.

    The variables are tracked, and the folder is written whole or not at all. A model trained
    with mixed precision is exported in float32.

    Args:
        model: A model from `build_model`.
        path: The folder to write; an existing one is replaced.
        batch_size: Fixed batch size; any by default.
        input_shape: Shape of one input without the batch axis, such as `(160000,)`; that of
            the model by default, which leaves the length open.
        extras: Further endpoints: `"attention_maps"`, from a level to its maps
            `(batch, classes, children)`, and `"embedding"`, `(batch, dim)` by that name.

    Raises:
        ModelError: If the model has no such extra.
    """
    model = as_float32(model)
    (tensor,) = model.inputs
    shape = (batch_size, *(tensor.shape[1:] if input_shape is None else input_shape))
    signature = [keras.InputSpec(shape=shape, dtype="float32", name=tensor.name)]
    archive = keras.export.ExportArchive()
    _add(archive, "serve", model, signature)
    for name in extras:
        outputs = extra_outputs(model, [name])
        if name == "attention_maps":
            outputs = {key.removeprefix("attention_"): value for key, value in outputs.items()}
        _add(archive, name, keras.Model(model.input, outputs), signature)
    with atomic_path(path) as temporary:
        archive.write_out(temporary, verbose=False)


def _add(archive: Any, name: str, model: Any, signature: Any) -> None:
    if keras.config.backend() == "tensorflow":
        # The archive finds the variables that an endpoint uses; told of the model besides, it
        # writes every weight twice.
        archive.add_endpoint(name, model.__call__, signature)
    else:
        archive.track_and_add_endpoint(name, model, signature)


def with_extras(model: Any, extras: Sequence[str]) -> Any:
    """Returns the model with extras among its outputs: `attention_LEVEL`, `embedding`."""
    if not extras:
        return model
    outputs: Mapping[str, Any] = {**model.output, **extra_outputs(model, extras)}
    return keras.Model(model.input, outputs, name=model.name)
