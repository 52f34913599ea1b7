"""Metrics for `fit` and `evaluate` that leave unobserved labels out."""

from typing import Any

import keras
from keras import ops

from .losses import observed

_ELEMENTWISE = (
    keras.metrics.BinaryAccuracy,
    keras.metrics.BinaryCrossentropy,
    keras.metrics.AUC,
    keras.metrics.Precision,
    keras.metrics.Recall,
    keras.metrics.TruePositives,
    keras.metrics.TrueNegatives,
    keras.metrics.FalsePositives,
    keras.metrics.FalseNegatives,
    keras.metrics.MeanSquaredError,
    keras.metrics.MeanAbsoluteError,
    keras.metrics.RootMeanSquaredError,
)
# These take a label of 0.7 as it is; the others count, and take any label but 0 for a 1.
_GRADUAL = (
    keras.metrics.BinaryCrossentropy,
    keras.metrics.MeanSquaredError,
    keras.metrics.MeanAbsoluteError,
    keras.metrics.RootMeanSquaredError,
)
_ALIASES = {
    "accuracy": keras.metrics.BinaryAccuracy,
    "acc": keras.metrics.BinaryAccuracy,
    "mse": keras.metrics.MeanSquaredError,
    "mae": keras.metrics.MeanAbsoluteError,
}


@keras.saving.register_keras_serializable(package="hmic_keras")
class MaskedMetric(keras.metrics.Metric):
    """Feeds an elementwise Keras metric the observed labels only.

    All observed labels of a batch count as one long list, so the result is micro-averaged.
    Where a metric counts, a label given as a probability is present above 0.5.

    Args:
        metric: Name or instance of a Keras metric that treats every label by itself, such as
            `"binary_accuracy"` or `keras.metrics.AUC(curve="PR")`.
        name: Name of the metric; that of `metric` by default.
        dtype: Dtype of the result.

    Raises:
        ValueError: If `metric` is not elementwise, or looks at single classes or at ranks.

    Example:
        >>> metric = MaskedMetric("binary_accuracy")
        >>> float(metric([[1.0, 0.0, -1.0]], [[0.9, 0.8, 0.1]]))
        0.5
    """

    def __init__(self, metric: Any, name: str | None = None, dtype: Any = None) -> None:
        resolved = _resolve(metric)
        super().__init__(name=name or resolved.name, dtype=dtype)
        self.metric = resolved

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch: labels and scores `(batch, classes)`, weights `(batch,)` or alike."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        known = observed(y_true)
        weights = ops.cast(known, self.dtype)
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, self.dtype)
            if len(sample_weight.shape) == 1:
                sample_weight = ops.expand_dims(sample_weight, axis=-1)
            weights = weights * sample_weight
        labels = ops.where(known, y_true, ops.zeros_like(y_true))
        if not isinstance(self.metric, _GRADUAL):
            labels = ops.cast(ops.greater(labels, 0.5), self.dtype)
        self.metric.update_state(
            ops.reshape(labels, (-1, 1)),
            ops.reshape(y_pred, (-1, 1)),
            sample_weight=ops.reshape(weights, (-1,)),
        )

    def result(self) -> Any:
        """Returns the metric over everything seen since the last reset."""
        return self.metric.result()

    def reset_state(self) -> None:
        """Forgets everything seen."""
        self.metric.reset_state()

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "metric": keras.saving.serialize_keras_object(self.metric),
            "name": self.name,
            "dtype": self.dtype,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MaskedMetric":
        """Rebuilds the metric with the one it wraps."""
        config = dict(config)
        config["metric"] = keras.saving.deserialize_keras_object(config["metric"])
        return cls(**config)


@keras.saving.register_keras_serializable(package="hmic_keras")
class MeanAveragePrecision(keras.metrics.Metric):
    """Macro mean average precision over observed labels, from score histograms.

    Scores are sorted into `num_bins` equal bins for each class; average precision is the step
    sum of precision over recall gained, as in scikit-learn, with all scores of a bin taken as
    tied. It therefore differs from the exact value only by what happens inside a bin. Classes
    without an observed positive are left out of the mean. A label counts as present above 0.5.

    Args:
        num_classes: Number of classes.
        num_bins: Number of score bins between 0 and 1.
        name: Name of the metric.
        dtype: Dtype of the result.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> metric = MeanAveragePrecision(num_classes=2)
        >>> float(metric([[1, 0], [0, 1], [0, -1]], [[0.9, 0.8], [0.2, 0.3], [0.1, 0.9]]))
        0.75
    """

    def __init__(
        self,
        num_classes: int,
        num_bins: int = 1000,
        name: str = "map",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if num_classes < 1 or num_bins < 2:
            raise ValueError(
                "`num_classes` must be at least 1 and `num_bins` at least 2. Received: "
                f"num_classes={num_classes}, num_bins={num_bins}"
            )
        self.num_classes = num_classes
        self.num_bins = num_bins
        shape = (num_classes * num_bins,)
        self._positives = self.add_weight(shape=shape, initializer="zeros", name="positives")
        self._negatives = self.add_weight(shape=shape, initializer="zeros", name="negatives")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch of labels and scores `(batch, num_classes)`; weights are ignored."""
        y_true = ops.cast(y_true, "float32")
        y_pred = ops.cast(y_pred, "float32")
        known = ops.cast(observed(y_true), "float32")
        present = ops.cast(ops.greater(y_true, 0.5), "float32") * known
        bins = ops.cast(ops.clip(y_pred, 0.0, 1.0) * self.num_bins, "int32")
        bins = ops.minimum(bins, self.num_bins - 1)
        cells = ops.reshape(bins + ops.arange(self.num_classes) * self.num_bins, (-1,))
        size = self.num_classes * self.num_bins
        self._positives.assign_add(
            ops.segment_sum(ops.reshape(present, (-1,)), cells, num_segments=size)
        )
        self._negatives.assign_add(
            ops.segment_sum(ops.reshape(known - present, (-1,)), cells, num_segments=size)
        )

    def result(self) -> Any:
        """Returns the mean over the classes with a positive; 0 if there is none."""
        shape = (self.num_classes, self.num_bins)
        positives = ops.flip(ops.reshape(self._positives, shape), axis=1)
        negatives = ops.flip(ops.reshape(self._negatives, shape), axis=1)
        found = ops.cumsum(positives, axis=1)
        predicted = found + ops.cumsum(negatives, axis=1)
        total = found[:, -1]
        precision = found / ops.maximum(predicted, 1.0)
        scores = ops.sum(precision * positives, axis=1) / ops.maximum(total, 1.0)
        scored = ops.cast(total > 0, scores.dtype)
        return ops.sum(scores * scored) / ops.maximum(ops.sum(scored), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "num_bins": self.num_bins,
            "name": self.name,
            "dtype": self.dtype,
        }


def mask_unobserved(metric: Any) -> Any:
    """Returns a metric for labels with unobserved ones, as `compile` of our models applies it.

    Args:
        metric: A name, or a built-in Keras metric or metric function. A metric of the user's
            own comes back as it is: it sees the -1 itself.

    Raises:
        ValueError: If a built-in metric is not elementwise.
    """
    built_in = isinstance(metric, str) or type(metric).__module__.startswith("keras.")
    if callable(metric) and getattr(metric, "__module__", "").startswith("keras."):
        built_in = True
    return MaskedMetric(metric) if built_in else metric


def _resolve(metric: Any) -> keras.metrics.Metric:
    if isinstance(metric, _ELEMENTWISE):
        _refuse_class_options(metric)
        return metric
    name = getattr(metric, "__name__", metric)
    if isinstance(name, str):
        known = {cls.__name__.lower(): cls for cls in _ELEMENTWISE} | _ALIASES
        if (cls := known.get(name.replace("_", "").lower())) is not None:
            # Keras would number a second metric of the same kind, `auc_1`.
            return cls(name=name.lower())
    names = ", ".join(cls.__name__ for cls in _ELEMENTWISE)
    raise ValueError(
        "`metric` must treat every label by itself, so that unobserved ones can be left out: "
        f"one of {names}, by name or as an instance, or MeanAveragePrecision of this module. "
        f"For another rule pass a metric of your own. Received: {metric!r}"
    )


def _refuse_class_options(metric: keras.metrics.Metric) -> None:
    options = {name: getattr(metric, name, None) for name in ("class_id", "top_k")}
    options["multi_label"] = getattr(metric, "multi_label", False) or None
    if given := {name: value for name, value in options.items() if value is not None}:
        raise ValueError(
            "`metric` must treat every label alike, since the observed labels form one list: "
            f"`class_id`, `top_k` and `multi_label` have no meaning there. Received: {metric!r}"
            f" with {given}"
        )
