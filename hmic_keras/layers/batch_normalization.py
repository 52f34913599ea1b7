"""Batch normalisation that trains in one operation where TensorFlow has one."""

from typing import Any

import keras

from ._tensorflow import fused_batch_normalization

# The dtypes Keras normalises in float32, as the operation does; float64 it would refuse.
_FUSIBLE_DTYPES = ("float16", "bfloat16", "float32")
# cuDNN refuses less.
_MIN_EPSILON = 1.001e-5


@keras.saving.register_keras_serializable(package="hmic_keras")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that trains faster on TensorFlow.

    Arguments, weights, config and results are those of the Keras layer. Keras 3 composes the
    training step of many small operations, each of which reads and writes the whole batch;
    this layer uses TensorFlow's fused operation and its fused gradient. Whatever that
    operation does not do is left to Keras: inference, other backends, a mask, an `axis` other
    than the last, renormalisation, statistics synchronised over devices, float64 and an
    `epsilon` below 1.001e-5.

    Args:
        *args: As `keras.layers.BatchNormalization` takes them.
        **kwargs: As `keras.layers.BatchNormalization` takes them.

    Input shape:
        `(batch, ..., channels)`, of rank 2 or more.

    Output shape:
        That of the input.

    Example:
        >>> import numpy as np
        >>> layer = BatchNormalization()
        >>> result = layer(np.arange(8, dtype="float32").reshape(4, 2), training=True)
        >>> [round(float(value), 2) for value in result[:, 0]]
        [-1.34, -0.45, 0.45, 1.34]

    References:
        Ioffe and Szegedy, "Batch normalization", ICML 2015.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Returns the normalised inputs and, in training, moves the moving statistics."""
        if not (training and self.trainable and mask is None and self._is_fusible(inputs)):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = fused_batch_normalization(
            keras.ops.cast(inputs, "float32"), self.gamma, self.beta, self.epsilon
        )
        for average, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            kept = keras.ops.cast(average, "float32") * self.momentum
            average.assign(kept + batch * (1.0 - self.momentum))
        return keras.ops.cast(outputs, self.compute_dtype)

    def _is_fusible(self, inputs: Any) -> bool:
        rank = len(inputs.shape)
        return (
            keras.config.backend() == "tensorflow"
            and rank >= 2
            and self.axis in (-1, rank - 1)
            and keras.backend.standardize_dtype(inputs.dtype) in _FUSIBLE_DTYPES
            and not (self.renorm or self.synchronized)
            and self.epsilon >= _MIN_EPSILON
        )
