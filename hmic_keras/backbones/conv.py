"""Plain convolutions on a log-mel spectrogram."""

from typing import Any

from keras import layers

from ..errors import ModelError
from ..layers import BatchNormalization
from ._common import as_sequence, check_counts, check_log_mel, check_rate, standardised_image


def conv(
    inputs: Any, *, width: int = 16, blocks: int = 0, squeeze: int = 1, dropout: float = 0.2
) -> Any:
    """Extracts features with plain 3 x 3 convolutions that reduce time early.

    Four stages halve time and frequency; time is then reduced by 8 in all. Plain convolutions
    train several times faster on a CPU than depthwise ones of the same cost. `blocks` makes the
    network deeper where the image is small already (He et al., 2016), so that a feature has
    heard more than a third of a second; `squeeze` says what that costs.

    Args:
        inputs: Symbolic log-mel spectrogram `(batch, frames, mels)`.
        width: Channels of the first stage; the others are multiples of it.
        blocks: Residual blocks after each stage but the first.
        squeeze: 1 for blocks of two 3 x 3 convolutions; above 1 for bottlenecks, whose only
            3 x 3 convolution has `1 / squeeze` of the channels, rounded down.
        dropout: Rate of dropout on the features.

    Returns:
        Symbolic features `(batch, ceil(frames / 8), 6 * width)`.

    Raises:
        ModelError: If the input has no time axis or an option is out of range.

    Example:
        >>> import keras
        >>> conv(keras.Input((400, 80)), width=8).shape
        (None, 50, 48)

    References:
        He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
    check_log_mel("conv", inputs)
    check_counts(width=width, squeeze=squeeze)
    check_counts(at_least=0, blocks=blocks)
    if squeeze > 2 * width:
        raise ModelError(
            f"`squeeze` must leave a channel of the {2 * width} of the second stage. Received: "
            f"{squeeze}"
        )
    check_rate("dropout", dropout)
    x = standardised_image(inputs)
    stages = ((width, 2, 5), (2 * width, 2, 3), (4 * width, 2, 3), (6 * width, 1, 3))
    for index, (channels, time_stride, kernel) in enumerate(stages, start=1):
        x = _normalised(x, channels, kernel, str(index), strides=(time_stride, 2))
        x = layers.ReLU(name=f"relu{index}")(x)
        for number in range(1, blocks + 1 if index > 1 else 1):
            x = _block(x, squeeze, f"{index}_block{number}")
    # Where in frequency a feature stands matters for timbre, so bands are mixed, not averaged.
    x = as_sequence(x, "join_bands")
    x = layers.Dense(6 * width, use_bias=False, name="mix_bands")(x)
    x = BatchNormalization(name="features_norm")(x)
    x = layers.ReLU(name="features")(x)
    return layers.Dropout(dropout, name="features_dropout")(x)


def _block(x: Any, squeeze: int, name: str) -> Any:
    channels = x.shape[-1]
    inner = channels // squeeze
    plain, bottleneck = [(channels, 3)] * 2, [(inner, 1), (inner, 3), (channels, 1)]
    y = x
    for number, (filters, kernel) in enumerate(plain if squeeze == 1 else bottleneck, start=1):
        if number > 1:
            y = layers.ReLU(name=f"relu{name}_{number - 1}")(y)
        y = _normalised(y, filters, kernel, f"{name}_{number}")
    return layers.ReLU(name=f"relu{name}")(layers.Add(name=f"add{name}")([x, y]))


def _normalised(
    x: Any, channels: int, kernel: int, name: str, strides: tuple[int, int] = (1, 1)
) -> Any:
    x = layers.Conv2D(
        channels, kernel, strides=strides, padding="same", use_bias=False, name=f"conv{name}"
    )(x)
    return BatchNormalization(name=f"norm{name}")(x)
