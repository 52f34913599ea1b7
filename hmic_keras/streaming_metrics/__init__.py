"""Metrics for `fit` and `evaluate` that leave unobserved labels out.

Those named as in `hmic_keras.metrics` keep histograms instead of all scores, and equal the
exact ones to the tolerance each of them states: with the default bins, to 0.003 on the scores
of usual models.
"""

from ._calibration import CalibrationError
from ._histograms import BestF1, MeanAveragePrecision, RocAuc
from ._masked import MaskedMetric, mask_unobserved

__all__ = [
    "BestF1",
    "CalibrationError",
    "MaskedMetric",
    "MeanAveragePrecision",
    "RocAuc",
    "mask_unobserved",
]
