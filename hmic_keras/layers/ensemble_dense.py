"""Dense layers of several ensemble members at once."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="hmic_keras")
class EnsembleDense(keras.layers.Layer):
    """Applies a dense layer for each of several voices, the members of an ensemble.

    With separate kernels, voice `k` computes `f(x W[k] + b[k])`. With a shared one it computes
    `f(((x * r[k]) W) * s[k] + b[k])`: voices share the matrix and differ by the vectors `r` and
    `s` only, which costs hardly more weights than one layer. `r` starts as random signs, so
    that the voices differ from the beginning.

    Args:
        units: Width of a voice's output.
        num_voices: Number of voices.
        separate: Whether each voice has a kernel of its own.
        random_signs: Whether `r` starts as random signs, as in the first layer of an ensemble,
            or as ones.
        activation: Name of the activation `f`, or None for none.
        initial_scale: Variance of the first kernel, relative to that of Glorot and Bengio.
        seed: Seed of the weights; None takes one from Keras' global generator.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        `(batch, dim)`, given to every voice, or `(batch, num_voices, dim)`.

    Output shape:
        `(batch, num_voices, units)`.

    Raises:
        ValueError: If an argument is out of range or the input has another shape.

    Example:
        >>> import numpy as np
        >>> EnsembleDense(5, num_voices=3)(np.ones((2, 4))).shape
        TensorShape([2, 3, 5])

    References:
        Wen, Tran and Ba, "BatchEnsemble: An Alternative Approach to Efficient Ensemble and
        Lifelong Learning", ICLR 2020 (arXiv 2002.06715).
        Gorishniy, Kotelnikov and Babenko, "TabM: Advancing Tabular Deep Learning with
        Parameter-Efficient Ensembling", ICLR 2025 (arXiv 2410.24210).
    """

    def __init__(
        self,
        units: int,
        num_voices: int,
        separate: bool = False,
        random_signs: bool = True,
        activation: str | None = None,
        initial_scale: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for argument, value in (("units", units), ("num_voices", num_voices)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(
                    f"`{argument}` must be a positive integer. Received: {value!r}"
                )
        real = isinstance(initial_scale, int | float) and not isinstance(initial_scale, bool)
        if not real or not 0 < initial_scale < float("inf"):
            raise ValueError(
                f"`initial_scale` must be a positive number. Received: {initial_scale!r}"
            )
        self.units = units
        self.num_voices = num_voices
        self.separate = bool(separate)
        self.random_signs = bool(random_signs)
        self.activation = activation
        self.initial_scale = float(initial_scale)
        self.seed = seed
        self._function = keras.activations.get(activation)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the kernels and the vectors of the voices."""
        self._check_shape(input_shape)
        dim: Any = input_shape[-1]
        voices = self.num_voices
        generator = keras.random.SeedGenerator(self.seed)
        first = keras.initializers.VarianceScaling(
            self.initial_scale, "fan_avg", "uniform", generator
        )
        if self.separate:
            # Each voice's kernel as if it were alone: the voices are no receptive field.
            limit = (6.0 * self.initial_scale / (dim + self.units)) ** 0.5
            first = keras.initializers.RandomUniform(-limit, limit, generator)
        shape = (voices, dim, self.units) if self.separate else (dim, self.units)
        self._kernel = self.add_weight(shape=shape, initializer=first, name="kernel")
        if not self.separate:
            self._inner = self.add_weight(
                shape=(voices, dim),
                initializer=_random_signs(generator) if self.random_signs else "ones",
                name="inner",
            )
            self._outer = self.add_weight(
                shape=(voices, self.units), initializer="ones", name="outer"
            )
        self._bias = self.add_weight(
            shape=(voices, self.units), initializer="zeros", name="bias"
        )
        super().build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the outputs of all voices."""
        if self.separate and not training:
            # One product for each voice: an exported file has a dense layer for each then,
            # whose weights become int8, as those of a product of batches do not.
            outputs = ops.stack(
                [
                    ops.matmul(
                        inputs if len(inputs.shape) == 2 else inputs[:, k], self._kernel[k]
                    )
                    for k in range(self.num_voices)
                ],
                axis=1,
            )
        elif self.separate:
            if len(inputs.shape) == 2:
                inputs = ops.expand_dims(inputs, axis=0)
            else:
                inputs = ops.transpose(inputs, (1, 0, 2))
            outputs = ops.transpose(ops.matmul(inputs, self._kernel), (1, 0, 2))
        else:
            if len(inputs.shape) == 2:
                inputs = ops.expand_dims(inputs, axis=1)
            # As one matrix product over all voices and clips.
            rows = ops.reshape(inputs * self._inner, (-1, inputs.shape[-1]))
            outputs = ops.reshape(
                ops.matmul(rows, self._kernel), (-1, self.num_voices, self.units)
            )
            outputs = outputs * self._outer
        return self._function(outputs + self._bias)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[Any, ...]:
        """Returns the shape of the outputs."""
        self._check_shape(input_shape)
        return (input_shape[0], self.num_voices, self.units)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        names = (
            "units",
            "num_voices",
            "separate",
            "random_signs",
            "activation",
            "initial_scale",
            "seed",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _check_shape(self, shape: Sequence[int | None]) -> None:
        given = len(shape) == 3 and shape[1] != self.num_voices
        if len(shape) not in (2, 3) or given or shape[-1] is None:
            raise ValueError(
                f"The input must be (batch, dim) or (batch, {self.num_voices}, dim) "
                f"with a known dim. Received: {tuple(shape)}"
            )


def _random_signs(generator: Any) -> Callable[..., Any]:
    def initialize(shape: Sequence[int], dtype: Any = None) -> Any:
        draws = keras.random.uniform(shape, seed=generator, dtype="float32")
        return ops.cast(ops.where(draws < 0.5, -1.0, 1.0), dtype or "float32")

    return initialize
