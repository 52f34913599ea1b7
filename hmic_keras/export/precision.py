"""Models trained with mixed precision, for runtimes that know float32 only."""

from collections.abc import Iterator
from typing import Any


def as_float32(model: Any) -> Any:
    """Returns the model with every layer computing in float32.

    The weights of a mixed-precision model are float32 already, so nothing is lost. TensorFlow
    Lite has no kernels for half-precision arithmetic.

    Args:
        model: A functional model.

    Returns:
        The model itself if it computes in float32, else a copy with the same weights.
    """
    if all(layer.compute_dtype == "float32" for layer in _layers(model)):
        return model
    copy = type(model).from_config(_in_float32(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy


def _layers(model: Any) -> Iterator[Any]:
    """Yields the layers of a model and of the models in it."""
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else [layer]


def _in_float32(config: Any) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": "float32"}}
        if config.get("class_name") == "InputLayer":
            # A model within the model, which would round what it is given.
            return {**config, "config": {**config["config"], "dtype": "float32"}}
        return {key: _in_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_in_float32(value) for value in config)
    return config
