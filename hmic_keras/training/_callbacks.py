"""What happens around an epoch: validation on averaged weights, stopping, checkpoints, logs."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import ModelError
from ._run import Run


class Progress(keras.callbacks.Callback):
    """Follows the validation mAP, stops when it no longer rises, keeps the best weights.

    `val_map`, the mean of the levels' masked mean average precision, is added to the logs.

    Args:
        levels: The levels of the taxonomy.
        patience: Epochs without a higher value before training stops; None never stops and
            keeps the last weights.
    """

    def __init__(self, levels: Sequence[str], patience: int | None) -> None:
        super().__init__()
        self._keys = [f"val_{level}_map" for level in levels]
        self._patience = patience
        self._validated: list[np.ndarray] = []
        self.best_weights: list[np.ndarray] = []
        self.best_value = -math.inf
        self.best_epoch = 0
        self.stopped = False

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the weights that were validated: the averaged ones, if there are any."""
        if self._patience is not None:
            self._validated = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compares the epoch with the best one."""
        logs = {} if logs is None else logs
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ModelError(
                f"The loss became {logs['loss']} in epoch {epoch + 1}. Lower `learning_rate`, "
                "set `clip_norm`, or train with precision='float32'."
            )
        if not all(key in logs for key in self._keys):
            return
        value = logs["val_map"] = float(np.mean([logs[key] for key in self._keys]))
        if value > self.best_value:
            self.best_value, self.best_epoch = value, epoch + 1
            self.best_weights = self._validated
        elif self._patience is not None and epoch + 1 - self.best_epoch >= self._patience:
            self.stopped = self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Goes back to the best epoch's weights."""
        if self.best_weights:
            self.model.set_weights(self.best_weights)


class Checkpoints(keras.callbacks.Callback):
    """Saves after every epoch all that the next one depends on, and restores it.

    That is every variable of the model, the states of its random generators among them, of the
    optimizer, of the augmentation, and what `Progress` has seen. Clips and crops follow from
    seed and epoch alone.

    Args:
        run: Where to save; None keeps the history only.
        progress: The run's `Progress`.
        variables: All variables that change, by what they are part of.
    """

    def __init__(
        self, run: Run | None, progress: Progress, variables: Mapping[str, Sequence[Any]]
    ) -> None:
        super().__init__()
        self._run = run
        self._progress = progress
        self._variables = variables
        self.epochs: list[dict[str, float]] = []
        self.seconds_before = 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall-clock time of training, that before an interruption included."""
        return self.seconds_before + time.perf_counter() - self._started

    def restore(self) -> None:
        """Continues from the run's checkpoint, if there is one."""
        found = self._run.load() if self._run is not None else None
        if found is None:
            return
        arrays, facts = found
        for name, variables in self._variables.items():
            values = arrays.get(name, [])
            shapes = [tuple(variable.shape) for variable in variables]
            if shapes != [value.shape for value in values]:
                raise ModelError(
                    f"The checkpoint does not fit: its {name} has {len(values)} variables of "
                    "other shapes. Resume with the versions the run was started with, or "
                    "start it anew."
                )
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self.epochs = facts["epochs"]
        self.seconds_before = facts["seconds"]
        self._progress.best_weights = arrays.get("best", [])
        self._progress.best_value = facts["best_value"]
        self._progress.best_epoch = facts["best_epoch"]
        self._progress.stopped = facts["stopped"]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves the epoch."""
        self.epochs.append({name: float(value) for name, value in (logs or {}).items()})
        if self._run is None:
            return
        arrays = {
            name: [keras.ops.convert_to_numpy(variable) for variable in variables]
            for name, variables in self._variables.items()
        }
        facts = {
            "epochs": self.epochs,
            "seconds": self.seconds,
            "best_value": self._progress.best_value,
            "best_epoch": self._progress.best_epoch,
            "stopped": self._progress.stopped,
        }
        self._run.save({**arrays, "best": self._progress.best_weights}, facts)


class TensorBoardLogs(keras.callbacks.Callback):
    """Writes the logs of every epoch where TensorBoard finds them.

    An event file is a TFRecord file of `Event` messages, which TensorFlow itself can write;
    Keras' own callback needs the package `tensorboard` for it.

    Args:
        folder: TensorBoard's log folder; `train` and `validation` become runs in it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes the epoch."""
        rate = self.model.optimizer.learning_rate
        scalars = {**(logs or {}), "learning_rate": float(keras.ops.convert_to_numpy(rate))}
        for run in ("train", "validation"):
            chosen = {
                name.removeprefix("val_"): value
                for name, value in scalars.items()
                if name.startswith("val_") == (run == "validation")
            }
            if chosen:
                self._write(run, epoch + 1, chosen)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        from tensorflow.compat import v1 as tf

        if run not in self._writers:
            (self._folder / run).mkdir(parents=True, exist_ok=True)
            now = time.time()
            path = self._folder / run / f"events.out.tfevents.{now:.6f}"
            self._writers[run] = tf.io.TFRecordWriter(str(path))
            header = tf.Event(wall_time=now, file_version="brain.Event:2")
            self._writers[run].write(header.SerializeToString())
        values = [
            tf.Summary.Value(tag=f"epoch_{name}", simple_value=value)
            for name, value in scalars.items()
        ]
        event = tf.Event(wall_time=time.time(), step=step, summary=tf.Summary(value=values))
        self._writers[run].write(event.SerializeToString())
        self._writers[run].flush()


def epoch_callback(report: Callable[[int], None]) -> Any:
    """Returns a callback that reports the number of finished epochs."""
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: report(epoch + 1))
