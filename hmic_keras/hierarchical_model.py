"""The model class that `build_model` returns."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from . import losses, streaming_metrics
from .errors import LabelError, ModelError
from .taxonomy import Taxonomy


def has_gpu() -> bool:
    """Tells whether Keras' backend computes on a GPU."""
    # Asked for GPUs, JAX raises where there is none.
    return any("gpu" in device.lower() for device in keras.distribution.list_devices())


class _Training:
    """What `compile` adds to training beyond Keras.

    A plain object, since Keras would save a layer or a metric among the model's attributes as
    part of the model.
    """

    def __init__(self, augmentation: Any, consistency: float, links: list[Any]) -> None:
        self.augmentation = augmentation
        self.consistency = consistency
        self._links = links
        # A hierarchy without links cannot be contradicted.
        on = bool(consistency and links)
        self.tracker: Any = keras.metrics.Mean(name="consistency") if on else None

    def augment(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Returns the augmented inputs and labels."""
        found = self.augmentation((x, y), training=True)
        if not (isinstance(found, list | tuple) and len(found) == 2):
            raise ModelError(
                "`augmentation` must return the pair (inputs, labels). Received: a "
                f"{type(found).__name__}"
            )
        return tuple(found)

    def penalty(self, scores: Mapping[str, Any]) -> Any:
        """Returns the weighted penalty on children above their parents, and records it."""
        violations = losses.link_violations(scores, self._links)
        # By clip, so that a short last batch counts for as much as it holds.
        self.tracker.update_state(keras.ops.mean(keras.ops.square(violations), axis=-1))
        return self.consistency * losses.consistency_penalty(violations)


@keras.saving.register_keras_serializable(package="hmic_keras")
class HierarchicalModel(keras.Model):
    """A functional `keras.Model` that knows its taxonomy and its unobserved labels.

    It behaves as any functional model, with these additions. `compile` applies losses and
    metrics given by name, and built-in ones given as objects, to observed labels only, so a
    label of -1 can reach neither. A single loss, or a list of metrics, goes to every level.
    It can also augment every training batch on the device and penalise scores that contradict
    the hierarchy. The taxonomy and the manifest (audio settings, thresholds, provenance) are
    part of the config, so one `.keras` file holds all that is needed to use it.

    A layer with a method `loss_view`, such as `layers.MaxConstraint`, says what the loss
    compares in training. Metrics of training then see what such a layer passes on in training;
    those of validation see its answers.

    Build it with `hmic_keras.build_model`.
    """

    _manifest: dict[str, Any] | None = None
    _loss_levels: tuple[str, ...] = ()
    _training: _Training | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        """What a user of the model needs to know, as JSON-able values.

        Raises:
            ModelError: If the model does not come from `build_model`.
        """
        if self._manifest is None:
            raise ModelError(
                f"The model {self.name!r} carries no taxonomy, since it was not built by "
                "`hmic_keras.build_model` or loaded from one of its saved models. "
                "`keras.models.clone_model` drops it; `type(model).from_config("
                "model.get_config())` makes a copy that keeps it."
            )
        return self._manifest

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy whose levels are the outputs."""
        return Taxonomy.from_dict(self.manifest["taxonomy"])

    def update_manifest(self, **entries: Any) -> None:
        """Adds entries to the manifest, such as `thresholds` or `provenance`.

        Args:
            **entries: JSON-able values; they replace entries of the same name.
        """
        # Kept as one plain dict: Keras would wrap an attribute that changes in place.
        object.__setattr__(self, "_manifest", {**(self._manifest or {}), **entries})

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        *,
        augmentation: Any = None,
        consistency: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Configures training; see `keras.Model.compile`.

        Args:
            optimizer: Name or instance of an optimizer.
            loss: One loss for every level, or a dict by level; names of `losses.get` too.
            loss_weights: Dict by level; levels left out weigh 1.
            metrics: One metric or a list for every level, or a dict of those by level.
            weighted_metrics: As `metrics`, weighted by sample weights.
            augmentation: A layer that `fit` calls on every batch before the model, as
                `augmentation((x, y), training=True)`; it returns the inputs and labels to
                train on, which training metrics see too. Sample weights stay as they are. It
                is not saved: compile a loaded model anew to go on augmenting.
            consistency: Weight of `losses.consistency_penalty`, the mean squared amount by
                which a class scores above its direct parent; 0 for none. The unweighted
                penalty is reported as `consistency`. A taxonomy without links has none.
            **kwargs: Passed to `keras.Model.compile`.

        Raises:
            ModelError: If `augmentation` is not a layer, `consistency` is not a number of at
                least 0, or the model has lost the taxonomy that it needs.
            ValueError: If a named loss or metric cannot leave out unobserved labels, or an
                argument is a list by position, or names a level the model does not have.
        """
        training = self._training_additions(augmentation, consistency)
        on_tensorflow = keras.config.backend() == "tensorflow"
        if on_tensorflow and kwargs.get("jit_compile", "auto") == "auto":
            # On a CPU, XLA costs a long compilation and saves nothing in these networks.
            kwargs["jit_compile"] = has_gpu()
        loss = self._losses_by_level(loss)
        self._loss_levels = tuple(loss or ())
        super().compile(
            optimizer=optimizer,
            loss=loss,
            loss_weights=self._weights_by_level(loss_weights, loss),
            metrics=self._metrics_by_level("metrics", metrics),
            weighted_metrics=self._metrics_by_level("weighted_metrics", weighted_metrics),
            **kwargs,
        )
        self._training = training

    @property
    def augmentation(self) -> Any:
        """The layer that `compile` was given to augment batches, or None."""
        return self._training.augmentation if self._training else None

    @property
    def metrics(self) -> list[Any]:
        """The metrics, and the mean consistency penalty where there is one."""
        tracker = self._training.tracker if self._training else None
        return super().metrics + ([] if tracker is None else [tracker])

    def train_step(self, *args: Any) -> Any:
        """Trains on one batch, augmented first; see `keras.Model.train_step`.

        Args:
            *args: The batch; on the JAX backend Keras hands over its state first.

        Raises:
            ModelError: If there is an augmentation and the backend is not TensorFlow, whose
                variables alone can change within the step.
        """
        if self.augmentation is not None:
            if keras.config.backend() != "tensorflow":
                raise ModelError(
                    "`augmentation` in `compile` needs the TensorFlow backend. Received: the "
                    f"backend {keras.config.backend()!r}; augment in the data instead."
                )
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(*args)
            x, y = self._training.augment(x, y)  # type: ignore[union-attr]
            args = ((x, y, sample_weight),)
        return super().train_step(*args)

    def get_compile_config(self) -> dict[str, Any]:
        """Returns what `compile` was given, but for the augmentation."""
        config = super().get_compile_config()
        if config and self._training:
            config["consistency"] = self._training.consistency
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Restores what `compile` was given, after loading."""
        # Keras leaves this to classes whose `compile` differs; what was saved is already
        # masked and by level, and `compile` passes it on as it is.
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Computes the loss that `compile` was given, with the consistency penalty.

        Raises:
            LabelError: If the labels are not a dict by level or lack a level with a loss.
        """
        self._check_labels(y)
        answers = y_pred
        if training and y is not None:
            labels = y if isinstance(y, Mapping) else dict.fromkeys(self._levels, y)
            y, y_pred, sample_weight, answers = self.training_view(
                labels, y_pred, sample_weight
            )
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if self._training is None or self._training.tracker is None:
            return loss
        return loss + self._training.penalty(answers)

    def training_view(
        self, labels: Mapping[str, Any], scores: Mapping[str, Any], sample_weight: Any = None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any], Any, Mapping[str, Any]]:
        """Returns what the loss compares in training, and what the model answers there.

        What a method is trained on is not always what it answers; `fit` and `compute_loss`
        ask for it by themselves, a training loop of your own has to.

        Args:
            labels: By level, `(batch, classes)`.
            scores: What the model returned with `training=True`.
            sample_weight: None, an array, or a dict of arrays by level.

        Returns:
            Labels, scores and weights to compare, and the answers by level.
        """
        answers, rows = scores, _rows(labels)
        # From the outputs back, each layer turns one into the other.
        for layer in reversed(self.layers):
            if hasattr(layer, "loss_view"):
                labels, scores, sample_weight = layer.loss_view(labels, scores, sample_weight)
                answers = layer.answer(answers, rows)
        return labels, scores, sample_weight, answers

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Updates the metrics; see `keras.Model.compute_metrics`."""
        for layer in self.layers:
            if getattr(layer, "stacks_voices", False) and y is not None:
                rows = _rows(y if isinstance(y, Mapping) else {"": y})
                y_pred = layer.answer(y_pred, rows)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the functional config with the manifest."""
        config = super().get_config()
        if self._manifest is not None:
            config["manifest"] = self._manifest
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "HierarchicalModel":
        """Rebuilds the model with its manifest."""
        config = dict(config)
        manifest = config.pop("manifest", None)
        model = super().from_config(config, custom_objects=custom_objects)
        if manifest is not None:
            model.update_manifest(**manifest)
        return model

    def _training_additions(self, augmentation: Any, consistency: Any) -> _Training:
        if not isinstance(augmentation, keras.layers.Layer | None):
            raise ModelError(
                "`augmentation` must be a Keras layer that takes (inputs, labels) and returns "
                f"them changed, or None. Received: {augmentation!r}"
            )
        real = isinstance(consistency, int | float) and not isinstance(consistency, bool)
        if not (real and consistency >= 0 and math.isfinite(consistency)):
            raise ModelError(
                "`consistency` must be a finite number of at least 0. Received: "
                f"{consistency!r}"
            )
        links = self.taxonomy.linked_levels() if consistency else []
        return _Training(augmentation, float(consistency), links)

    def _losses_by_level(self, loss: Any) -> dict[str, Any] | None:
        if loss is None:
            return None
        by_level = loss if isinstance(loss, Mapping) else dict.fromkeys(self._levels, loss)
        self._check_levels("loss", by_level)
        # Keras would look into a container and find names that nothing has masked.
        if any(isinstance(value, list | tuple | Mapping) for value in by_level.values()):
            raise ValueError(
                "`loss` must be one loss for all levels or a dict of one loss by level, not a "
                f"list by position. The levels are {self._levels}. Received: {loss!r}"
            )
        return {
            level: losses.mask_unobserved(value)
            for level, value in by_level.items()
            if value is not None
        }

    def _weights_by_level(self, weights: Any, loss: Mapping[str, Any] | None) -> Any:
        if weights is None or loss is None:
            return None
        if not isinstance(weights, Mapping):
            raise ValueError(
                "`loss_weights` must be a dict by level. The levels are "
                f"{self._levels}. Received: {weights!r}"
            )
        self._check_levels("loss_weights", weights)
        return {level: weights.get(level, 1.0) for level in loss}

    def _check_labels(self, labels: Any) -> None:
        if labels is None or (len(self._levels) == 1 and not isinstance(labels, Mapping)):
            return
        if not isinstance(labels, Mapping):
            raise LabelError(
                "Labels must be a dict by level, since by position they could be mistaken for "
                f"another level's. The levels are {self._levels}. Received: a "
                f"{type(labels).__name__}"
            )
        if set(labels) - set(self._levels) or set(self._loss_levels) - set(labels):
            raise LabelError(
                f"Labels must be keyed by the levels {self._levels}, each level with a loss "
                f"among them. Received: {sorted(labels)}"
            )

    def _metrics_by_level(self, argument: str, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            value = dict.fromkeys(self._levels, value)
        self._check_levels(argument, value)
        return {level: self._metric_list(metrics) for level, metrics in value.items()}

    def _metric_list(self, metrics: Any) -> list[Any]:
        if not isinstance(metrics, list | tuple):
            metrics = [metrics]
        copies = [
            # One object for several levels would mix their counts.
            type(metric).from_config(metric.get_config())
            if isinstance(metric, keras.metrics.Metric)
            else metric
            for metric in metrics
        ]
        return [streaming_metrics.mask_unobserved(metric) for metric in copies]

    def _check_levels(self, argument: str, value: Mapping[str, Any]) -> None:
        if unknown := set(value) - set(self._levels):
            raise ValueError(
                f"`{argument}` must be keyed by the levels {self._levels}. Received the "
                f"unknown level(s) {sorted(unknown, key=str)}"
            )

    @property
    def _levels(self) -> list[str]:
        outputs = self.output
        return list(outputs) if isinstance(outputs, Mapping) else list(self.output_names)


def make_training_variables(model: HierarchicalModel) -> None:
    """Makes the variables of a compiled model's optimizer, losses and metrics.

    Made within the first training step, they would have TensorFlow trace it twice.
    """
    empty = {
        level: np.zeros((1, output.shape[-1]), "float32")
        for level, output in model.output.items()
    }
    model.optimizer.build(model.trainable_variables)
    model.compute_loss(y=empty, y_pred=empty, training=False)
    model.compute_metrics(None, empty, empty)
    model.reset_metrics()


def _rows(labels: Mapping[str, Any]) -> Any:
    """Returns the number of clips."""
    return keras.ops.shape(next(iter(labels.values())))[0]
