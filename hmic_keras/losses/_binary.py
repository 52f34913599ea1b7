"""Losses made of one binary decision a class, and their names in recipes."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from ..errors import HmicError
from ._observed import ObservedMean


class _Likelihood(NamedTuple):
    """The probability that a class is present and that it is absent, and their logarithms."""

    present: Any
    absent: Any
    log_present: Any
    log_absent: Any


class _BinaryLoss(ObservedMean):
    """What the losses below share: logits, smoothing and weights of classes.

    A subclass combines labels and likelihoods in `combine`; `positive` is the factor of the
    loss of present labels.
    """

    def __init__(
        self,
        from_logits: bool,
        label_smoothing: float,
        positive_weights: Sequence[float] | None,
        class_weights: Sequence[float] | None,
        name: str,
        dtype: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.from_logits = bool(from_logits)
        self.label_smoothing = _number("label_smoothing", label_smoothing, 0, 1)
        self.positive_weights = _vector("positive_weights", positive_weights)
        self.class_weights = _vector("class_weights", class_weights)

    def combine(self, labels: Any, likelihood: _Likelihood, positive: Any) -> Any:
        """Returns the loss of every label `(batch, classes)`."""
        raise NotImplementedError

    def weigh(self, weights: Any) -> Any:
        """Returns the weights of the labels in the mean, from those of their clips."""
        for argument in ("positive_weights", "class_weights"):
            values = getattr(self, argument)
            if values is not None and weights.shape[-1] not in (None, len(values)):
                raise HmicError(
                    f"`{argument}` must hold one weight for each of the {weights.shape[-1]} "
                    f"classes of the predictions. Received: {len(values)} weights"
                )
        if self.class_weights is None:
            return weights
        return weights * ops.convert_to_tensor(self.class_weights, dtype=self.dtype)

    def label_losses(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of every label `(batch, classes)`."""
        # Half precision cannot tell a probability of 1 - 1e-7 from 1.
        precise = self.dtype if self.dtype == "float64" else "float32"
        labels, scores = ops.cast(y_true, precise), ops.cast(y_pred, precise)
        if self.label_smoothing:
            labels = labels * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        positive = 1.0
        if self.positive_weights is not None:
            positive = ops.convert_to_tensor(self.positive_weights, dtype=precise)
        return self.combine(labels, self._likelihood(scores), positive)

    def _likelihood(self, scores: Any) -> _Likelihood:
        if self.from_logits:
            return _Likelihood(
                ops.sigmoid(scores),
                ops.sigmoid(-scores),
                -ops.softplus(-scores),
                -ops.softplus(scores),
            )
        epsilon = keras.config.epsilon()
        present = ops.clip(scores, epsilon, 1.0 - epsilon)
        absent = 1.0 - present
        return _Likelihood(present, absent, ops.log(present), ops.log(absent))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        arguments = inspect.signature(type(self).__init__).parameters
        return {name: getattr(self, name) for name in arguments if name != "self"}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "_BinaryLoss":
        """Rebuilds the loss."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="hmic_keras")
class MaskedBinaryCrossentropy(_BinaryLoss):
    """Binary cross-entropy over the observed labels.

    Args:
        from_logits: Whether predictions are logits instead of probabilities.
        label_smoothing: Moves observed labels this share of the way to 0.5, from 0 to 1.
        positive_weights: Factor of the loss of present labels, one a class; see
            `losses.positive_weights`. It changes the size of the loss, as PyTorch's
            `pos_weight` does.
        class_weights: Weight of each class in the mean over observed labels; see
            `losses.class_weights`. Only their ratios count.
        name: Name of the loss.
        dtype: Dtype of the computation.

    Raises:
        HmicError: If an argument is out of its range, or there is not one weight a class.

    Example:
        >>> loss = MaskedBinaryCrossentropy()
        >>> round(float(loss([[1.0, 0.0, -1.0]], [[0.5, 0.5, 0.99]])), 4)
        0.6931
        >>> loss = MaskedBinaryCrossentropy(positive_weights=[3.0, 1.0, 1.0])
        >>> round(float(loss([[1.0, 0.0, -1.0]], [[0.5, 0.5, 0.99]])), 4)
        1.3863
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        positive_weights: Sequence[float] | None = None,
        class_weights: Sequence[float] | None = None,
        name: str = "masked_binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            from_logits, label_smoothing, positive_weights, class_weights, name, dtype
        )

    def combine(self, labels: Any, likelihood: _Likelihood, positive: Any) -> Any:
        """Returns the loss of every label `(batch, classes)`."""
        return _cross_entropy(labels, likelihood, positive)


@keras.saving.register_keras_serializable(package="hmic_keras")
class MaskedFocalLoss(_BinaryLoss):
    """Focal loss over the observed labels: cross-entropy that spares what is easy.

    With `p_t` the probability given to the true answer, the loss of a label is
    `-(1 - p_t)^gamma log(p_t)`, times `alpha` where the label is present and `1 - alpha` where
    it is absent. On labels that are probabilities it is that of
    `keras.losses.BinaryFocalCrossentropy`.

    Args:
        gamma: How much easy labels are spared; 0 gives cross-entropy.
        alpha: Weight of present labels, between 0 and 1; None for no weights.
        from_logits: Whether predictions are logits instead of probabilities.
        label_smoothing: Moves observed labels this share of the way to 0.5, from 0 to 1.
        positive_weights: Factor of the cross-entropy of present labels, one a class.
        class_weights: Weight of each class in the mean over observed labels.
        name: Name of the loss.
        dtype: Dtype of the computation.

    Raises:
        HmicError: If an argument is out of its range, or there is not one weight a class.

    References:
        Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection", ICCV 2017.

    Example:
        >>> loss = MaskedFocalLoss(gamma=2.0)
        >>> round(float(loss([[1.0, 0.0, -1.0]], [[0.5, 0.5, 0.99]])), 4)
        0.1733
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        positive_weights: Sequence[float] | None = None,
        class_weights: Sequence[float] | None = None,
        name: str = "masked_focal_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            from_logits, label_smoothing, positive_weights, class_weights, name, dtype
        )
        self.gamma = _number("gamma", gamma, 0, 100)
        self.alpha = None if alpha is None else _number("alpha", alpha, 0, 1)

    def combine(self, labels: Any, likelihood: _Likelihood, positive: Any) -> Any:
        """Returns the loss of every label `(batch, classes)`."""
        missed = labels * likelihood.absent + (1.0 - labels) * likelihood.present
        loss = _power(missed, self.gamma) * _cross_entropy(labels, likelihood, positive)
        if self.alpha is not None:
            loss = loss * (labels * self.alpha + (1.0 - labels) * (1.0 - self.alpha))
        return loss


@keras.saving.register_keras_serializable(package="hmic_keras")
class MaskedAsymmetricLoss(_BinaryLoss):
    """Asymmetric loss over the observed labels: absent labels are spared more than present.

    The loss of a present label is `-(1 - p)^gamma_pos log(p)`, that of an absent one
    `-q^gamma_neg log(1 - q)` with `q = max(p - clip, 0)`, so an absent class that scores below
    `clip` costs nothing. A label in between mixes the two. The powers take part in the
    gradient, as the paper's equations have it.

    Args:
        gamma_pos: How much easy present labels are spared.
        gamma_neg: How much easy absent labels are spared.
        clip: Probability up to which an absent label costs nothing, from 0 to below 1.
        from_logits: Whether predictions are logits instead of probabilities.
        label_smoothing: Moves observed labels this share of the way to 0.5, from 0 to 1.
        positive_weights: Factor of the loss of present labels, one a class.
        class_weights: Weight of each class in the mean over observed labels.
        name: Name of the loss.
        dtype: Dtype of the computation.

    Raises:
        HmicError: If an argument is out of its range, or there is not one weight a class.

    References:
        Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021. The
        defaults are those of its experiments.

    Example:
        >>> loss = MaskedAsymmetricLoss()
        >>> round(float(loss([[1.0, 0.0, -1.0]], [[0.5, 0.04, 0.99]])), 4)
        0.3466
    """

    def __init__(
        self,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        positive_weights: Sequence[float] | None = None,
        class_weights: Sequence[float] | None = None,
        name: str = "masked_asymmetric_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            from_logits, label_smoothing, positive_weights, class_weights, name, dtype
        )
        self.gamma_pos = _number("gamma_pos", gamma_pos, 0, 100)
        self.gamma_neg = _number("gamma_neg", gamma_neg, 0, 100)
        self.clip = _number("clip", clip, 0, 0.99)

    def combine(self, labels: Any, likelihood: _Likelihood, positive: Any) -> Any:
        """Returns the loss of every label `(batch, classes)`."""
        present = -_power(likelihood.absent, self.gamma_pos) * likelihood.log_present
        claimed, log_absent = likelihood.present, likelihood.log_absent
        if self.clip:
            claimed = ops.relu(claimed - self.clip)
            log_absent = ops.log(1.0 - claimed)
        absent = -_power(claimed, self.gamma_neg) * log_absent
        return labels * positive * present + (1.0 - labels) * absent


NAMES: Mapping[str, type[_BinaryLoss]] = {
    "binary_crossentropy": MaskedBinaryCrossentropy,
    "focal": MaskedFocalLoss,
    "asymmetric": MaskedAsymmetricLoss,
}


def get(name: str, **options: Any) -> ObservedMean:
    """Makes a loss from the name and options that a recipe gives.

    Args:
        name: `"binary_crossentropy"`, `"focal"` or `"asymmetric"`.
        **options: Arguments of that loss, such as `gamma=2.0`.

    Raises:
        HmicError: If the name or an option is unknown, or an option out of its range.

    Example:
        >>> get("focal", gamma=1.5).gamma
        1.5
    """
    if not isinstance(name, str) or name not in NAMES:
        raise HmicError(f"`loss` must be one of {sorted(NAMES)}. Received: {name!r}")
    known = set(inspect.signature(NAMES[name]).parameters)
    if unknown := set(options) - known:
        raise HmicError(
            f"The loss {name!r} has no option {sorted(unknown)}; it has {sorted(known)}."
        )
    return NAMES[name](**options)


def _cross_entropy(labels: Any, likelihood: _Likelihood, positive: Any) -> Any:
    present = labels * positive * likelihood.log_present
    return -(present + (1.0 - labels) * likelihood.log_absent)


def _power(base: Any, exponent: float) -> Any:
    if exponent == 0:
        return ops.ones_like(base)
    # At 0 the gradient of a power below 1 is infinite.
    return ops.power(ops.maximum(base, keras.config.epsilon()), exponent)


def _number(argument: str, value: Any, low: float, high: float) -> float:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not (real and low <= value <= high):
        raise HmicError(
            f"`{argument}` must be a number from {low} to {high}. Received: {value!r}"
        )
    return float(value)


def _vector(argument: str, values: Any) -> list[float] | None:
    if values is None:
        return None
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    fit = all(math.isfinite(number) and number >= 0 for number in numbers)
    if not (fit and any(numbers)):
        raise HmicError(
            f"`{argument}` must be a list of finite numbers, one a class, none below 0 and not "
            f"all 0. Received: {values!r}"
        )
    return numbers
