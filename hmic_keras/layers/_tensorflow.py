"""What the layers do by TensorFlow's own means, where Keras has no word for it.

Each function is for the TensorFlow backend and loads TensorFlow when it is called, so that the
layers run on the other backends without it.
"""

import math
import sys
from collections.abc import Callable
from typing import Any


def fused_batch_normalization(
    inputs: Any, gamma: Any, beta: Any, epsilon: float
) -> tuple[Any, Any, Any]:
    """Normalises a batch over all axes but the last in one operation.

    Args:
        inputs: float32 `(batch, ..., channels)`.
        gamma: Factors `(channels,)`, or None for 1.
        beta: Summands `(channels,)`, or None for 0.
        epsilon: Added to the variance; at least 1.001e-5.

    Returns:
        The normalised inputs, and the mean and the (biased) variance of the batch
        `(channels,)`, through which no gradient flows.
    """
    import tensorflow as tf

    channels = inputs.shape[-1]
    # The operation knows images only: whatever lies before the channels is one axis.
    image = inputs if len(inputs.shape) == 4 else tf.reshape(inputs, (-1, 1, 1, channels))
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=image,
        scale=tf.ones((channels,)) if gamma is None else tf.cast(gamma, "float32"),
        offset=tf.zeros((channels,)) if beta is None else tf.cast(beta, "float32"),
        mean=tf.constant([]),
        variance=tf.constant([]),
        epsilon=epsilon,
        is_training=True,
    )
    if image is not inputs:
        outputs = tf.reshape(outputs, tf.shape(inputs))
        outputs.set_shape(inputs.shape)
    # The operation divides by one less than the number of samples.
    known = image.shape[:-1].as_list()
    count = (
        tf.reduce_prod(tf.cast(tf.shape(image)[:-1], "float32"))
        if None in known
        else float(math.prod(known))
    )
    return outputs, mean, variance * ((count - 1.0) / count)


def compiled(function: Callable[..., Any], *inputs: Any) -> Any:
    """Applies a function, compiled by XLA also where the rest of the step is not.

    On Windows, where this was never run, it is a plain graph.

    Args:
        function: From tensors of known shapes to a tensor.
        *inputs: The tensors.
    """
    import tensorflow as tf

    return tf.function(function, jit_compile=sys.platform != "win32")(*inputs)


def one_by_one(
    function: Callable[[Any], Any], inputs: Any, output_shape: tuple[int | None, ...]
) -> Any:
    """Applies a function to one example of a batch after the other.

    What the function holds meanwhile is that of one example. Its gradient is that of the
    function applied to the whole batch.

    Args:
        function: From a float32 tensor to another; must take a single example and a batch.
        inputs: `(batch, ...)`.
        output_shape: Shape of the result without the batch.

    Returns:
        `(batch, *output_shape)`, float32.
    """
    import tensorflow as tf

    signature = tf.TensorSpec(output_shape, tf.float32)

    # XLA cannot derive the gradient of a loop over examples of unknown shape.
    @tf.custom_gradient
    def mapped(batch: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(batch)
                result = function(batch)
            return tape.gradient(result, batch, upstream)

        return tf.map_fn(function, batch, fn_output_signature=signature), gradient

    return mapped(inputs)
