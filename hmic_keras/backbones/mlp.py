"""Dense layers on embeddings."""

from collections.abc import Sequence
from typing import Any

from keras import layers

from ..errors import ModelError
from ..layers import BatchNormalization
from ._common import check_rate


def mlp(inputs: Any, *, units: Sequence[int] = (256,), dropout: float = 0.3) -> Any:
    """Extracts features with dense layers over the last axis.

    Args:
        inputs: Symbolic embeddings `(batch, dim)` or `(batch, time, dim)`, such as VGGish's;
            a log-mel spectrogram is treated frame by frame.
        units: Width of each hidden layer.
        dropout: Rate of dropout after each hidden layer.

    Returns:
        Symbolic features of the same rank, `units[-1]` wide.

    Raises:
        ModelError: If `units` is empty or not positive, or `dropout` is no rate.
    """
    if (
        not isinstance(units, Sequence)
        or not units
        or not all(isinstance(width, int) and width > 0 for width in units)
    ):
        raise ModelError(
            f"`units` must be one or more positive integers, as (256,). Received: {units!r}"
        )
    check_rate("dropout", dropout)
    x = BatchNormalization(name="input_norm")(inputs)
    for index, width in enumerate(units, start=1):
        x = layers.Dense(width, activation="relu", name=f"hidden{index}")(x)
        x = layers.Dropout(dropout, name=f"hidden_dropout{index}")(x)
    return x
