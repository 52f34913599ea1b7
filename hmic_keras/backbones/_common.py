"""What the backbones share: checks of their arguments and the way into an image."""

import math
from typing import Any

from keras import layers

from ..errors import ModelError
from ..layers import BatchNormalization


def check_log_mel(backbone: str, inputs: Any) -> None:
    """Refuses anything but a log-mel spectrogram `(batch, frames, mels)`.

    Raises:
        ModelError: If `inputs` has another rank.
    """
    if len(inputs.shape) != 3:
        raise ModelError(
            f"The backbone {backbone!r} takes a log-mel spectrogram (batch, frames, mels); for "
            f"embeddings choose backbone='mlp'. Received: shape {tuple(inputs.shape)}"
        )


def check_counts(at_least: int = 1, **values: Any) -> None:
    """Refuses a named value that is not an integer of at least `at_least`.

    Raises:
        ModelError: Naming the first such value.
    """
    wanted = "a positive integer" if at_least == 1 else f"an integer of at least {at_least}"
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise ModelError(f"`{name}` must be {wanted}. Received: {value!r}")


def check_rate(name: str, value: Any) -> None:
    """Refuses a rate of dropout outside 0 to below 1.

    Raises:
        ModelError: If it is.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value < 1:
        raise ModelError(f"`{name}` must be a rate from 0 to below 1. Received: {value!r}")


def check_positive(name: str, value: Any) -> None:
    """Refuses what is no positive number.

    Raises:
        ModelError: If it is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ModelError(f"`{name}` must be a positive number. Received: {value!r}")


def check_switches(**values: Any) -> None:
    """Refuses what is neither True nor False.

    Raises:
        ModelError: If one is something else.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ModelError(f"`{name}` must be True or False. Received: {value!r}")


def standardised_image(inputs: Any) -> Any:
    """Turns a log-mel spectrogram into an image `(batch, frames, mels, 1)`.

    Each mel band is standardised with the statistics of the training set. Nothing is learned
    here: the gradient of the first convolution to its input, the largest image of the network,
    is then never computed.
    """
    x = BatchNormalization(center=False, scale=False, name="input_norm")(inputs)
    return as_image(x)


def as_image(x: Any) -> Any:
    """Appends a channel: `(batch, frames, mels)` to `(batch, frames, mels, 1)`."""
    return layers.Reshape((-1, x.shape[-1], 1), name="as_image")(x)


def as_sequence(x: Any, name: str) -> Any:
    """Joins bands and channels: `(batch, time, bands, dim)` to `(batch, time, bands * dim)`."""
    return layers.Reshape((-1, x.shape[2] * x.shape[3]), name=name)(x)
