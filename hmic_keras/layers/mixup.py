"""Weighted means of examples and of their labels."""

from typing import Any

import keras
from keras import ops

from ._mixing_layer import MixingLayer
from ._random_layer import check_number
from .augmentation_math import along, mixed_labels, partners, symmetric_beta


@keras.saving.register_keras_serializable(package="hmic_keras")
class Mixup(MixingLayer):
    """Replaces examples by weighted means of two, and their labels likewise; training only.

    `x = weight * x_i + (1 - weight) * x_j`, with the weight drawn from Beta(alpha, alpha), and
    the labels likewise where both partners were observed. Where one was not, the label of the
    mean is only known to lie within an interval as wide as that partner's weight. If that is
    at most `tolerance`, the label is the interval's lower end (unobserved counts as absent);
    otherwise it is unobserved.

    If no child's label exceeds its parent's before, and every parent of a present child is
    observed (both hold for the 1, 0 and -1 of `Taxonomy.close_labels`), then no observed
    child's label exceeds its observed parent's after.

    Args:
        alpha: Parameter of the Beta distribution; 0.4 mostly leaves one partner faint, 1 makes
            all weights equally likely.
        tolerance: Greatest weight that may be unobserved in an observed label, below 0.5. With
            few observed labels, 0 would leave next to none.
        probability: Share of the examples that are mixed.
        seed: Seed of the draws; None takes one from Keras' global generator.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Call arguments:
        inputs: Pair of `x`, float `(batch, ...)`, and labels, a dict by level of float32
            `(batch, classes)` with -1 for unobserved.

    Output shape:
        Those of the inputs. What was in [-1, 1] stays there.

    Raises:
        ValueError: If an argument is out of range or the input is not a pair.

    Example:
        >>> import numpy as np
        >>> x, labels = np.eye(2, dtype="float32"), {"fine": np.eye(2, dtype="float32")}
        >>> mixed, soft = Mixup(alpha=1.0, seed=0)((x, labels), training=True)
        >>> bool(np.allclose(mixed, soft["fine"]))
        True

    References:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018 (arXiv 1710.09412).
    """

    def __init__(
        self,
        alpha: float = 0.4,
        tolerance: float = 0.1,
        probability: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        self.alpha = check_number("alpha", alpha, 0.0, 100.0, above=True)
        self.tolerance = check_number("tolerance", tolerance, 0.0, 0.499)

    def augment(self, inputs: Any) -> Any:
        """Returns the means and their labels."""
        x, labels = inputs
        draws = self._uniform(ops.shape(x)[0], 4)
        others = partners(draws[:, 0], 1)
        share = symmetric_beta(draws[:, 1], draws[:, 2], self.alpha)
        share = ops.where(draws[:, 3] < self.probability, share, 0.0)
        weights = along(share, x)
        mixed = (1 - weights) * x + weights * ops.take(x, others, axis=0)

        def mix(values: Any) -> Any:
            values = ops.cast(values, "float32")
            partner = ops.take(values, others, axis=0)
            return mixed_labels(values, partner, along(share, values), self.tolerance)

        return mixed, keras.tree.map_structure(mix, labels)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "alpha": self.alpha, "tolerance": self.tolerance}
