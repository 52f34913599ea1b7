"""Fine-tuning the Keras 2 twin of a model with the model's own loss."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ._legacy import libraries


def own_loss(model: Any, loss: Any) -> Callable[..., Any]:
    """Returns the loss of a model as a function, as `model.compile(loss=loss)` would train it.

    Unobserved labels are left out, and a method that is trained on something else than its
    answers gets that.

    Args:
        model: A model from `build_model`; it is not changed.
        loss: What `compile` takes.

    Returns:
        Function of inputs, labels by level, answers by level and sample weights.
    """
    copy = type(model).from_config(model.get_config())
    copy.compile("adam", loss)

    def function(x: Any, labels: Any, answers: Any, sample_weight: Any) -> Any:
        return copy.compute_loss(x, labels, answers, sample_weight, training=True)

    return function


def fine_tune(
    network: Any,
    outputs: Sequence[str],
    data: Any,
    *,
    loss: Callable[..., Any],
    epochs: int,
    learning_rate: float,
    callbacks: Sequence[Any] = (),
    progress: Callable[[int], None] | None = None,
) -> list[float]:
    """Trains a Keras 2 model with Adam, in place.

    Args:
        network: The model.
        outputs: Names of its outputs.
        data: `tf.data.Dataset` of inputs and labels by level.
        loss: From `own_loss`.
        epochs: Passes over the data.
        learning_rate: Of Adam.
        callbacks: Of Keras 2.
        progress: Called with the number of passes done.

    Returns:
        The mean loss of each pass.

    Raises:
        ModelError: If the loss is no longer a number.
    """
    from ._keras2 import FineTuned

    tf_keras = libraries().tf_keras
    trained = FineTuned(network, outputs, loss)
    trained.compile(tf_keras.optimizers.Adam(learning_rate))
    means = _Means(progress)
    done = tf_keras.callbacks.LambdaCallback(
        on_epoch_begin=means.begin, on_train_batch_end=means.add, on_epoch_end=means.end
    )
    trained.fit(data, epochs=epochs, callbacks=[*callbacks, done], verbose=0)
    if not np.isfinite(means.epochs).all():
        raise ModelError(
            "The loss is no longer a number after fine-tuning; choose a lower `learning_rate`. "
            f"Received: learning_rate={learning_rate}"
        )
    return means.epochs


class _Means:
    """The mean loss of each pass; what a training step returns is that of its last batch."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self.epochs: list[float] = []
        self._batches: list[float] = []
        self._progress = progress

    def begin(self, epoch: int, logs: Any) -> None:
        self._batches = []

    def add(self, batch: int, logs: Any) -> None:
        self._batches.append(float(logs["loss"]))

    def end(self, epoch: int, logs: Any) -> None:
        self.epochs.append(float(np.mean(self._batches)))
        if self._progress is not None:
            self._progress(len(self.epochs))
