"""Fine-tuning a Keras 2 model on the labels that were observed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import losses
from ..errors import ModelError
from ._legacy import libraries


def fine_tune(
    model: Any,
    data: Any,
    *,
    loss: Mapping[str, Any],
    epochs: int,
    learning_rate: float,
    callbacks: Sequence[Any] = (),
    progress: Callable[[int], None] | None = None,
) -> list[float]:
    """Trains a Keras 2 model with Adam.

    Args:
        model: Keras 2 model whose outputs are named as the levels.
        data: `tf.data.Dataset` of inputs and labels by level.
        loss: By level, a loss of Keras 3, which leaves out unobserved labels.
        epochs: Passes over the data.
        learning_rate: Of Adam.
        callbacks: Of Keras 2.
        progress: Called with the number of passes done.

    Returns:
        The mean loss of each pass.

    Raises:
        ModelError: If the loss is no longer a number.
    """
    tf_keras = libraries().tf_keras
    model.compile(
        tf_keras.optimizers.Adam(learning_rate),
        loss={level: _plain(losses.mask_unobserved(of)) for level, of in loss.items()},
    )
    done = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: progress and progress(epoch + 1)
    )
    history = model.fit(data, epochs=epochs, callbacks=[*callbacks, done], verbose=0)
    values = [float(value) for value in history.history["loss"]]
    if not np.isfinite(values).all():
        raise ModelError(
            f"The loss became {values[-1]} in fine-tuning; choose a lower `learning_rate`. "
            f"Received: learning_rate={learning_rate}"
        )
    return values


def _plain(loss: Any) -> Callable[[Any, Any], Any]:
    # Keras 2 calls a function as it is and would not know a loss of Keras 3.
    def function(labels: Any, scores: Any) -> Any:
        return loss(labels, scores)

    return function
