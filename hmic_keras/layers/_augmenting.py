"""The mathematics of augmentation, as plain functions over tensors and the numbers drawn.

Nothing here draws a number, so each function is a deterministic one that a test can repeat.
Lengths may be unknown until the graph runs.
"""

from typing import Any

from keras import ops


def length_of(tensor: Any, axis: int) -> Any:
    """Returns a length as a float32 scalar, whether or not it is known beforehand."""
    return ops.cast(ops.shape(tensor)[axis], "float32")


def between(uniform: Any, limits: tuple[float, float]) -> Any:
    """Maps draws from [0, 1) to `limits`."""
    return limits[0] + (limits[1] - limits[0]) * uniform


def stripes(length: Any, limit: Any, sizes: Any, places: Any) -> Any:
    """Marks stripes on an axis: SpecAugment's masks (Park et al. 2019, section 2).

    A stripe is `floor(size * (limit + 1))` wide, so 0 to `limit`, and starts anywhere it fits.

    Args:
        length: Length of the axis, a float32 scalar.
        limit: Greatest width, a float32 scalar, at most `length`.
        sizes: Draws from [0, 1), `(batch, stripes)`.
        places: Draws from [0, 1), `(batch, stripes)`.

    Returns:
        Boolean `(batch, length)`: true inside a stripe.
    """
    widths = ops.minimum(ops.floor(sizes * (limit + 1.0)), limit)
    starts = ops.floor(places * (length - widths + 1.0))
    steps = ops.arange(ops.cast(length, "int32"), dtype="float32")
    after = steps >= ops.expand_dims(starts, -1)
    before = steps < ops.expand_dims(starts + widths, -1)
    return ops.any(ops.logical_and(after, before), axis=1)
