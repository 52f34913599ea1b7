"""Dense layers on embeddings."""

from collections.abc import Sequence
from typing import Any

from keras import initializers, layers

from ..errors import ModelError
from ..layers import BatchNormalization, EnsembleDense
from ._common import check_counts, check_positive, check_rate


def mlp(
    inputs: Any,
    *,
    units: Sequence[int] = (256,),
    dropout: float = 0.3,
    initial_scale: float = 1.0,
) -> Any:
    """Extracts features with dense layers over the last axis.

    Args:
        inputs: Symbolic embeddings `(batch, dim)` or `(batch, time, dim)`, such as VGGish's;
            a log-mel spectrogram is treated frame by frame.
        units: Width of each hidden layer.
        dropout: Rate of dropout after each hidden layer.
        initial_scale: Variance of the first weights, relative to that of Glorot and Bengio
            (AISTATS 2010). Smaller ones begin with a smoother function; a third is what
            PyTorch's linear layers begin with, where they are as wide as their input.

    Returns:
        Symbolic features of the same rank, `units[-1]` wide.

    Raises:
        ModelError: If `units` is empty or not positive, `dropout` is no rate, or
            `initial_scale` not positive.
    """
    _check(units, dropout, initial_scale)
    x = BatchNormalization(name="input_norm")(inputs)
    for index, width in enumerate(units, start=1):
        x = layers.Dense(
            width,
            activation="relu",
            kernel_initializer=initializers.VarianceScaling(
                initial_scale, "fan_avg", "uniform"
            ),
            name=f"hidden{index}",
        )(x)
        x = layers.Dropout(dropout, name=f"hidden_dropout{index}")(x)
    return x


def mlp_voices(
    inputs: Any,
    num_voices: int,
    shared: bool,
    *,
    units: Sequence[int] = (256,),
    dropout: float = 0.3,
    initial_scale: float = 1.0,
) -> Any:
    """Extracts features for several voices at once: so many of `mlp` side by side.

    Args:
        inputs: Symbolic embeddings `(batch, dim)`.
        num_voices: Number of voices.
        shared: Whether the voices share the matrices and differ by signs and scales of what
            goes in and out of them, see `layers.EnsembleDense`.
        units: Width of each hidden layer.
        dropout: Rate of dropout after each hidden layer.
        initial_scale: As in `mlp`.

    Returns:
        Symbolic features `(batch, num_voices, units[-1])`.

    Raises:
        ModelError: If `num_voices` is no count, `units` is empty or not positive, `dropout` is
            no rate, or `initial_scale` not positive.
    """
    check_counts(num_voices=num_voices)
    _check(units, dropout, initial_scale)
    x = BatchNormalization(name="input_norm")(inputs)
    for index, width in enumerate(units, start=1):
        x = EnsembleDense(
            width,
            num_voices,
            separate=not shared,
            random_signs=index == 1,
            activation="relu",
            initial_scale=initial_scale,
            name=f"hidden{index}",
        )(x)
        x = layers.Dropout(dropout, name=f"hidden_dropout{index}")(x)
    return x


def _check(units: Sequence[int], dropout: float, initial_scale: float) -> None:
    if (
        not isinstance(units, Sequence)
        or not units
        or not all(isinstance(width, int) and width > 0 for width in units)
    ):
        raise ModelError(
            f"`units` must be one or more positive integers, as (256,). Received: {units!r}"
        )
    check_rate("dropout", dropout)
    check_positive("initial_scale", initial_scale)
