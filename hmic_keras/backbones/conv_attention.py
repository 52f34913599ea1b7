"""Convolutions for what is near, self-attention for what is far."""

from typing import Any

from keras import layers

from ..errors import ModelError
from ._common import check_counts
from .conv import conv


def conv_attention(
    inputs: Any,
    *,
    width: int = 16,
    blocks: int = 2,
    num_heads: int = 4,
    dropout: float = 0.2,
) -> Any:
    """Extracts features with `conv` and relates them over time by self-attention.

    After Won et al. (2019), whose convolutional front end feeds the encoder of a Transformer.
    Choices of our own: layer normalisation comes before each sublayer, which trains without
    a warm-up; the order of time comes from a convolution over the sequence instead of a table
    of positions (Baevski et al., 2020), so that clips of any length will do; the clip is
    pooled by `build_model`, not read from an extra token.

    Args:
        inputs: Symbolic log-mel spectrogram `(batch, frames, mels)`.
        width: Channels of the first stage of `conv`; features are `6 * width` wide.
        blocks: Number of self-attention blocks.
        num_heads: Attention heads in each; they divide the width of the features.
        dropout: Rate of dropout on the features and inside the blocks.

    Returns:
        Symbolic features `(batch, ceil(frames / 8), 6 * width)`.

    Raises:
        ModelError: If the input has no time axis or an option is out of range.

    Example:
        >>> import keras
        >>> conv_attention(keras.Input((400, 80)), width=8, blocks=1).shape
        (None, 50, 48)

    References:
        Won, Chun and Serra, "Toward Interpretable Music Tagging with Self-Attention", 2019
        (arXiv 1906.04972). Baevski et al., "wav2vec 2.0", NeurIPS 2020.
    """
    check_counts(width=width, blocks=blocks, num_heads=num_heads)
    dim = 6 * width
    if dim % num_heads:
        raise ModelError(
            f"`num_heads` must divide the {dim} features, which are 6 * width. Received: "
            f"num_heads={num_heads}, width={width}"
        )
    x = conv(inputs, width=width, dropout=dropout)
    order = layers.Conv1D(dim, 5, padding="same", activation="relu", name="order")(x)
    x = layers.Add(name="ordered")([x, order])
    for index in range(1, blocks + 1):
        x = _block(x, num_heads, dropout, f"block{index}")
    return layers.LayerNormalization(name="attended_norm")(x)


def _block(x: Any, num_heads: int, dropout: float, name: str) -> Any:
    dim = x.shape[-1]
    y = layers.LayerNormalization(name=f"{name}_attention_norm")(x)
    y = layers.MultiHeadAttention(
        num_heads, dim // num_heads, dropout=dropout, name=f"{name}_attention"
    )(y, y)
    y = layers.Dropout(dropout, name=f"{name}_attention_dropout")(y)
    x = layers.Add(name=f"{name}_attended")([x, y])
    y = layers.LayerNormalization(name=f"{name}_dense_norm")(x)
    y = layers.Dense(2 * dim, activation="relu", name=f"{name}_dense1")(y)
    y = layers.Dense(dim, name=f"{name}_dense2")(y)
    y = layers.Dropout(dropout, name=f"{name}_dense_dropout")(y)
    return layers.Add(name=name)([x, y])
