"""Image models of `keras.applications` on log-mel spectrograms."""

import os
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from ..errors import ModelError, first_line
from ._common import check_log_mel, check_rate, standardised_image

# Standard deviations of a mel band from the darkest to the brightest grey.
_CONTRAST = 4.0


def names() -> list[str]:
    """Returns the names of the image models that the installed Keras has.

    Example:
        >>> "MobileNetV3Small" in names()
        True
    """
    found = vars(keras.applications).items()
    return sorted(name for name, value in found if name[:1].isupper() and callable(value))


def application(name: str) -> Callable[..., Any]:
    """Returns the image model called `name` as a backbone.

    The spectrogram, each band standardised, becomes a grey image (time downwards, in all
    three channels) in the range that the model's own preprocessing gives; the features are
    averaged over frequency and keep their time axis.

    Args:
        name: As in `keras.applications`, such as `"MobileNetV3Small"`.

    Returns:
        A backbone: a function from a symbolic log-mel spectrogram `(batch, frames, mels)` to
        features `(batch, time, dim)`, for most models a step for every 32 frames. Its options
        are `weights` (None, `"imagenet"`, which Keras downloads, or a path of weights without
        the top), `dropout` and `trainable`.

    Raises:
        ModelError: If Keras has no such model; by the backbone, if the model cannot take
            that many mel bands.

    Example:
        >>> import keras
        >>> application("MobileNetV3Small")(keras.Input((400, 80))).shape
        (None, 12, 576)
    """
    if name not in names():
        raise ModelError(
            f"`name` must be an image model of keras.applications: one of {names()}. "
            f"Received: {name!r}"
        )

    def extract(
        inputs: Any,
        *,
        weights: str | os.PathLike[str] | None = None,
        dropout: float = 0.2,
        trainable: bool = True,
    ) -> Any:
        check_log_mel(name, inputs)
        check_rate("dropout", dropout)
        network = _network(name, inputs.shape[-1], weights)
        network.trainable = trainable
        x = standardised_image(inputs)
        x = layers.Concatenate(name="as_rgb")([x, x, x])
        x = network(_preprocess(name, x))
        bands = x.shape[2]
        x = layers.AveragePooling2D((1, bands), name="mean_of_bands")(x)
        x = layers.Reshape((-1, x.shape[-1]), name="sequence")(x)
        return layers.Dropout(dropout, name="features_dropout")(x)

    extract.__name__ = name
    return extract


def _network(name: str, mels: int, weights: str | os.PathLike[str] | None) -> Any:
    if weights not in (None, "imagenet") and not os.path.isfile(weights):
        raise ModelError(
            f"`weights` must be None, 'imagenet' or the path of a file. Received: {weights!r}"
        )
    weights = None if weights is None else os.fspath(weights)
    build = getattr(keras.applications, name)
    try:
        return build(
            include_top=False, weights=weights, input_shape=(None, mels, 3), name=name.lower()
        )
    except (ValueError, OSError) as error:
        raise ModelError(
            f"keras.applications.{name} cannot be built for {mels} mel bands with "
            f"weights={weights!r}: {first_line(error)} Choose another `n_mels`, other weights "
            "or another model."
        ) from error


def _preprocess(name: str, image: Any) -> Any:
    # Each family wants its own range of pixels. Asking its preprocessing what it makes of
    # black and white gives the straight line between, without a table that could go stale.
    module = sys.modules[getattr(keras.applications, name).__module__]
    ends = np.array([0.0, 255.0], "float32").reshape(2, 1, 1, 1) * np.ones((1, 1, 1, 3))
    black, white = np.asarray(module.preprocess_input(ends.astype("float32"))).reshape(2, 3)
    return layers.Rescaling(
        scale=((white - black) / _CONTRAST).tolist(),
        offset=((white + black) / 2).tolist(),
        name="as_pixels",
    )(image)
