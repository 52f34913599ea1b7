"""What the random layers share: one stream of draws, a probability, identity in inference."""

import math
from typing import Any

import keras


class RandomLayer(keras.layers.Layer):
    """Base of layers that change each example of a batch by chance, in training only.

    A subclass implements `augment` and returns the shape it was given. All of its numbers come
    from `_uniform` and `_normal`, that is from one `keras.random.SeedGenerator`, so two layers
    of one seed give the same sequence, whatever the global seed.

    Args:
        probability: Share of the examples that are changed, from 0 to 1.
        seed: Seed of the draws; None takes one from Keras' global generator.
        **kwargs: Base layer arguments such as `name` and `dtype`.
    """

    def __init__(self, probability: float, seed: int | None, **kwargs: Any) -> None:
        # Waveforms must not be rounded to half precision on the way in.
        super().__init__(autocast=False, **kwargs)
        self.probability = check_number("probability", probability, 0.0, 1.0)
        self.seed = check_seed(seed)
        self._generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the inputs, changed by chance where `training` is true."""
        return self.augment(inputs) if training else inputs

    def augment(self, inputs: Any) -> Any:
        """Returns changed inputs of the same shape."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the inputs."""
        return input_shape

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Describes the output; an FFT cannot be traced symbolically on every back end."""
        return keras.tree.map_structure(
            lambda one: keras.KerasTensor(one.shape, dtype=one.dtype), inputs
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "probability": self.probability,
            "seed": self.seed,
        }

    def _uniform(self, *shape: Any) -> Any:
        return keras.random.uniform(shape, dtype="float32", seed=self._generator)

    def _normal(self, *shape: Any) -> Any:
        return keras.random.normal(shape, dtype="float32", seed=self._generator)


def is_pair(input_shape: Any) -> bool:
    """Says whether a shape is that of a pair of examples and labels, not of one array."""
    nested = isinstance(input_shape, list | tuple) and len(input_shape) == 2
    return nested and isinstance(input_shape[0], list | tuple)


def check_axes(input_shape: Any, what: str, *axes: str) -> None:
    """Checks that an input has the axes that a layer works on.

    Args:
        input_shape: Shape of the input.
        what: What the input should be, such as `"waveforms"`.
        *axes: Names of the axes.

    Raises:
        ValueError: If it has more or fewer of them.
    """
    if len(input_shape) != len(axes):
        raise ValueError(
            f"The input must be {what} of the shape ({', '.join(axes)}). "
            f"Received: {tuple(input_shape)}"
        )


def check_number(
    name: str, value: Any, low: float, high: float, *, above: bool = False
) -> float:
    """Returns the argument called `name` as a float, if it lies in its range.

    Args:
        name: The argument.
        value: What was received.
        low: Least value.
        high: Greatest value; infinity for none, which still refuses an infinite value.
        above: Whether `low` itself is out of range.

    Raises:
        ValueError: If `value` is not a number or out of range.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and low <= value <= high) or (
        above and value == low
    ):
        least = f"above {low:g}" if above else f"from {low:g}"
        most = f" to {high:g}" if math.isfinite(high) else " up"
        raise ValueError(f"`{name}` must be a number {least}{most}. Received: {value!r}")
    return float(value)


def check_range(
    name: str, value: Any, low: float, high: float, *, above: bool = False
) -> tuple[float, float]:
    """Returns the argument called `name` as a range, from which a layer draws uniformly.

    Args:
        name: The argument.
        value: Two numbers, least and greatest.
        low: Least number allowed.
        high: Greatest number allowed.
        above: Whether `low` itself is out of range.

    Raises:
        ValueError: If `value` is not a pair of increasing numbers in the range.
    """
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(
            f"`{name}` must be a pair (least, greatest), equal for a fixed value. "
            f"Received: {value!r}"
        )
    least, greatest = (check_number(name, one, low, high, above=above) for one in value)
    if least > greatest:
        raise ValueError(f"`{name}` must be a pair (least, greatest). Received: {value!r}")
    return least, greatest


def check_count(name: str, value: Any, least: int = 0) -> int:
    """Returns the argument called `name`, if it is a whole number from `least` up.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"`{name}` must be an integer from {least} up. Received: {value!r}")
    return value


def check_seed(seed: Any) -> int | None:
    """Returns a seed, if it is None or a whole number from 0 to 2**31 - 1.

    Raises:
        ValueError: If it is neither.
    """
    whole = isinstance(seed, int) and not isinstance(seed, bool)
    if seed is not None and not (whole and 0 <= seed < 2**31):
        raise ValueError(
            f"`seed` must be None or an integer from 0 to 2**31 - 1. Received: {seed!r}"
        )
    return seed
