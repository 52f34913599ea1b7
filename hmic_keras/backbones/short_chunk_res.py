"""The short-chunk CNN with residual connections."""

from typing import Any

from keras import layers

from ..layers import BatchNormalization
from ._common import as_sequence, check_counts, check_log_mel, check_rate, standardised_image

# Blocks of the original: channels in multiples of the width. The first three halve time.
_CHANNELS = (1, 1, 2, 2, 2, 2, 4)
_TIME_HALVINGS = 3


def short_chunk_res(inputs: Any, *, width: int = 16, dropout: float = 0.2) -> Any:
    """Extracts features with seven residual blocks of 3 x 3 convolutions (Won et al., 2020).

    Each block halves frequency; its shortcut is a strided convolution too, as in the authors'
    code. Deviations: only the first three blocks halve time, where the original ends in two
    steps for a chunk of 3.7 s, so that the features keep a sequence to attend to and to
    localise with; pooling and the classifier are left to `build_model` and the method; and the
    default width is an eighth of the original 128, which suits a CPU.

    Args:
        inputs: Symbolic log-mel spectrogram `(batch, frames, mels)`. Up to 128 mel bands end
            in a single one.
        width: Channels of the first block; the last has four times as many.
        dropout: Rate of dropout on the features.

    Returns:
        Symbolic features `(batch, ceil(frames / 8), ceil(mels / 128) * 4 * width)`.

    Raises:
        ModelError: If the input has no time axis or an option is out of range.

    Example:
        >>> import keras
        >>> short_chunk_res(keras.Input((400, 80)), width=8).shape
        (None, 50, 32)

    References:
        Won, Ferraro, Bogdanov and Serra, "Evaluation of CNN-based Automatic Music Tagging
        Models", SMC 2020 (arXiv 2006.00751).
    """
    check_log_mel("short_chunk_res", inputs)
    check_counts(width=width)
    check_rate("dropout", dropout)
    x = standardised_image(inputs)
    for index, multiple in enumerate(_CHANNELS, start=1):
        strides = (2 if index <= _TIME_HALVINGS else 1, 2)
        x = _block(x, multiple * width, strides, f"block{index}")
    x = as_sequence(x, "join_bands")
    return layers.Dropout(dropout, name="features_dropout")(x)


def _block(x: Any, channels: int, strides: tuple[int, int], name: str) -> Any:
    y = _conv(x, channels, strides, f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(y)
    y = _conv(y, channels, (1, 1), f"{name}_conv2")
    shortcut = _conv(x, channels, strides, f"{name}_shortcut")
    y = layers.Add(name=f"{name}_sum")([y, shortcut])
    return layers.ReLU(name=name)(y)


def _conv(x: Any, channels: int, strides: tuple[int, int], name: str) -> Any:
    x = layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False, name=name)(
        x
    )
    return BatchNormalization(name=f"{name}_norm")(x)
