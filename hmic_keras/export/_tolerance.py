"""Quantising as much of a model as a tolerance allows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import quantisation
from ._rounding import round_weights, with_weights

# What is done with an operation, and the bytes of one of its weights.
_BYTES = {"": 1, "weights_only": 1, "half": 2, "kept": 4}
_QUANTISED = ("", "weights_only")
# A saving below this share of the weights is worth no difference: what is lost on a small
# operation would be missing on a large one.
_WORTH = 0.01


@dataclass(frozen=True)
class Attempt:
    """A quantised model, how it was made, and its largest difference."""

    content: bytes
    recipe: list[dict[str, Any]]
    difference: float


class Search:
    """Finds what has to be done with more care, so that a file answers as its model does.

    The first of these that is within the tolerance:

    1. All of it quantised, each weight rounded to the nearest step.
    2. The weights of 8 or 4 bits rounded with regard to typical inputs (`round_weights`).
    3. Of `dynamic_int8`, operations with float arithmetic on int8 weights, those first that
       gain most by it.
    4. Operations with weights in float16, or in float32: those first where a byte more makes
       the difference smallest. What turns out to be needless is taken back.

    Args:
        content: The float32 model.
        scheme: One of `quantisation.SCHEMES`.
        fronts: Names of layers that stay float.
        typical: Inputs of the model that weights are rounded for; None rounds to the nearest.
        ranges: For `static_int8`, what `find_ranges` found.
        compare: Returns the largest difference of a file's answers.
    """

    def __init__(
        self,
        content: bytes,
        scheme: str,
        *,
        fronts: Sequence[str],
        typical: np.ndarray | None,
        ranges: Any,
        compare: Callable[[bytes], float],
    ) -> None:
        self._content, self._scheme, self._fronts = content, scheme, fronts
        self._typical, self._ranges, self._compare = typical, ranges, compare
        self._rounded: Mapping[str, np.ndarray] = {}

    def within(self, tolerance: float) -> Attempt:
        """Returns the first attempt within the tolerance, else the best with all quantised."""
        whole = self._attempt()
        if whole.difference <= tolerance:
            return whole
        weights = quantisation.weighted_operations(self._content, self._fronts)
        if self._typical is not None:
            bits = 4 if self._scheme == "w4" else 8
            self._rounded = round_weights(
                self._content, self._typical, dict.fromkeys(weights, bits)
            )
            careful = self._attempt()
            if careful.difference <= tolerance:
                return careful
            whole = min(whole, careful, key=lambda one: one.difference)
        alone = self._alone(weights)
        base: dict[str, str] = {}
        if self._scheme == "dynamic_int8":
            gain = {n: alone[n, ""] - alone[n, "weights_only"] for n in weights}
            # Those that seem to gain nothing come last: beside others they often do.
            order = sorted(weights, key=lambda name: -gain[name])
            base = dict.fromkeys(order, "weights_only")
            found = self._fewest([*base.items()], {}, tolerance)
            if found is not None:
                return self._attempt(found)
        found = self._fewest(self._steps(weights, alone), base, tolerance)
        if found is None:
            return whole
        # The largest first, and of those the ones that are least sensitive.
        order = sorted(
            weights,
            key=lambda n: (-weights[n], min(alone.get((n, r), np.inf) for r in _QUANTISED)),
        )
        least = _WORTH * sum(weights.values())
        order = [name for name in order if 2 * weights[name] >= least]
        found = self._taken_back(found, base, order, tolerance)
        if not any(found.get(name, "") in _QUANTISED for name in weights):
            return whole
        return self._attempt(found)

    def _fewest(
        self, steps: Sequence[tuple[str, str]], base: Mapping[str, str], tolerance: float
    ) -> dict[str, str] | None:
        """Takes as few of the steps as the tolerance needs; None if all do not do."""
        best, low, high = None, 0, len(steps) + 1
        while high - low > 1:
            middle = (low + high) // 2
            rungs = {**base, **dict(steps[:middle])}  # an operation's last step counts
            if self._attempt(rungs).difference <= tolerance:
                best, high = rungs, middle
            else:
                low = middle
        return best

    def _taken_back(
        self,
        rungs: dict[str, str],
        base: Mapping[str, str],
        order: Sequence[str],
        tolerance: float,
    ) -> dict[str, str]:
        """Undoes what is not needed, in this order."""
        for name in order:
            for rung in (base.get(name, ""), "half"):
                if _BYTES[rungs.get(name, "")] <= _BYTES[rung]:
                    break
                if self._attempt({**rungs, name: rung}).difference <= tolerance:
                    rungs = {**rungs, name: rung}
                    break
        return rungs

    def _attempt(self, rungs: Mapping[str, str] | None = None) -> Attempt:
        """Quantises; `rungs` says what is done otherwise with which operations."""
        rungs = rungs or {}
        by = {
            rung: [name for name, its in rungs.items() if its == rung]
            for rung in ("weights_only", "half", "kept")
        }
        rounded = {
            name: weights
            for name, weights in self._rounded.items()
            if rungs.get(name) not in ("half", "kept")
        }
        content, recipe = quantisation.quantise(
            with_weights(self._content, rounded) if rounded else self._content,
            self._scheme,
            keep_float=self._fronts,
            keep_operations=by["kept"],
            half_operations=by["half"],
            weights_only=by["weights_only"],
            ranges=self._ranges,
        )
        return Attempt(content, recipe, self._compare(content))

    def _alone(self, weights: Mapping[str, int]) -> dict[tuple[str, str], float]:
        """What each operation costs on each rung, the others in float32."""
        dynamic = self._scheme == "dynamic_int8"
        rungs = ("", *(("weights_only",) if dynamic else ()), "half")
        others = dict.fromkeys(weights, "kept")
        return {
            (name, rung): self._attempt({**others, name: rung}).difference
            for name in weights
            for rung in rungs
        }

    def _steps(
        self, weights: Mapping[str, int], alone: Mapping[tuple[str, str], float]
    ) -> list[tuple[str, str]]:
        """Steps to more bytes, those first that gain most by a byte."""
        gains = {}
        for name, count in weights.items():
            now = min(alone.get((name, rung), np.inf) for rung in _QUANTISED)
            half = alone[name, "half"]
            gains[name, "half"] = (now - half) / count
            # Never before the step that it goes beyond.
            gains[name, "kept"] = min(half / (2 * count), gains[name, "half"])
        return sorted(gains, key=lambda step: -gains[step])
