"""Keras' own metrics over observed labels."""

from typing import Any

import keras
from keras import ops

from ..losses import label_weights, observed

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
        weights = label_weights(known, sample_weight, self.dtype)
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
        f"one of {names}, by name or as an instance, or a metric of `streaming_metrics` such "
        "as MeanAveragePrecision. "
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
