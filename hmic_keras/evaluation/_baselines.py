"""Baselines that need no network: one scikit-learn classifier a class."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data.feature_sets import FeatureSet
from ..errors import ModelError

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "logistic_regression": {"C": 1.0, "max_iter": 300},
    "random_forest": {"n_estimators": 100, "min_samples_leaf": 2, "max_features": "sqrt"},
}


class PerClassBaseline:
    """A classifier for each class, fitted on the examples whose label of it is observed.

    A class with positives only, negatives only or nothing observed gets the share of positives
    as its constant score, 0 where nothing was observed. Features with a time axis are averaged
    over it.

    Args:
        method: `"logistic_regression"` or `"random_forest"`.
        options: Changes of the estimator's arguments.
        seed: Seed of the forest.
    """

    def __init__(self, method: str, options: Mapping[str, Any], seed: int) -> None:
        self.method = method
        self._options = {**_DEFAULTS[method], **options}
        self._seed = seed
        self._models: dict[str, list[Any]] = {}

    def fit(self, rows: FeatureSet) -> "PerClassBaseline":
        """Fits every class of every level."""
        x = _flat(rows.features)
        self._models = {
            level: [self._fit_class(x, labels[:, i]) for i in range(labels.shape[1])]
            for level, labels in rows.labels.items()
        }
        return self

    def predict(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Scores examples; returns `(rows, classes)` by level."""
        x = _flat(features)
        return {
            level: np.stack(
                [
                    np.full(len(x), model)
                    if isinstance(model, float)
                    else model.predict_proba(x)[:, 1]
                    for model in models
                ],
                axis=1,
            )
            for level, models in self._models.items()
        }

    @property
    def parameters(self) -> int:
        """Fitted numbers: weights and biases, or nodes of the trees."""
        models = [
            m for found in self._models.values() for m in found if not isinstance(m, float)
        ]
        if self.method == "logistic_regression":
            return sum(model.coef_.size + model.intercept_.size for model in models)
        return sum(tree.tree_.node_count for model in models for tree in model.estimators_)

    def _fit_class(self, x: np.ndarray, labels: np.ndarray) -> Any:
        seen = labels >= 0
        present = labels[seen] > 0.5
        if not present.any() or present.all():
            return float(present.mean()) if present.size else 0.0
        return self._estimator().fit(x[seen], present)

    def _estimator(self) -> Any:
        try:
            if self.method == "logistic_regression":
                from sklearn.linear_model import LogisticRegression

                return LogisticRegression(**self._options)
            from sklearn.ensemble import RandomForestClassifier

            return RandomForestClassifier(random_state=self._seed, n_jobs=1, **self._options)
        except TypeError as error:
            raise ModelError(
                f"`options` of {self.method!r} must be arguments of scikit-learn's estimator. "
                f"Received: {self._options}"
            ) from error


def _flat(features: np.ndarray) -> np.ndarray:
    return features.mean(axis=1) if features.ndim == 3 else features
