"""Feature vectors and their labels, for comparisons that need no audio."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._files import DAMAGED_ARRAYS, atomic_path
from ..errors import LabelError, TaxonomyError
from ..taxonomy import Taxonomy
from ._splitting import held_out

_OTHERS = "other_tests"


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Examples as numbers, with labels at every level of a taxonomy.

    Labels are closed over the hierarchy on construction, so giving one level is enough.

    Attributes:
        taxonomy: What the labels speak of.
        features: Float32 `(rows, dim)` or, with a time axis, `(rows, time, dim)`; NaN where a
            value is missing.
        labels: Level name to float32 `(rows, classes)`, finest level first: 1 present, 0
            absent, between them a probability, -1 unobserved.

    Raises:
        LabelError: If the features are not numbers of one of these shapes, rows differ in
            number, or the labels break a rule of `Taxonomy.close_labels`.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin"], "brass": ["horn"]})
        >>> rows = FeatureSet(taxonomy, np.zeros((2, 5)), {"fine": [[1, 0], [0, -1]]})
        >>> len(rows), rows.labels["coarse"].tolist()
        (2, [[1.0, 0.0], [0.0, -1.0]])
    """

    taxonomy: Taxonomy
    features: np.ndarray
    labels: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        features = np.asarray(self.features)
        if (
            features.dtype.kind not in "biuf"
            or features.ndim not in (2, 3)
            or not features.size
        ):
            raise LabelError(
                "`features` must be numbers of the shape (rows, dim) or (rows, time, dim), "
                f"with at least one. Received: {features.dtype}, {features.shape}"
            )
        if np.isinf(features).any():
            row = int(np.argwhere(np.isinf(features))[0][0])
            raise LabelError(
                f"`features` must be finite or NaN. Received: infinity in row {row}"
            )
        closed = self.taxonomy.close_labels(self.labels)
        rows = len(closed[self.taxonomy.levels[0]])
        if rows != len(features):
            raise LabelError(
                "`features` and `labels` must have the same number of rows. Received: "
                f"{len(features)} and {rows}"
            )
        object.__setattr__(self, "features", features.astype(np.float32))
        object.__setattr__(self, "labels", dict(closed))

    def __len__(self) -> int:
        return len(self.features)

    def subset(self, rows: Sequence[int] | np.ndarray) -> "FeatureSet":
        """Returns the examples at `rows`, in that order."""
        chosen = np.asarray(rows, dtype=np.int64)
        return self._with(
            self.features[chosen], {level: y[chosen] for level, y in self.labels.items()}
        )

    def split(self, fraction: float, seed: int = 0) -> tuple["FeatureSet", "FeatureSet"]:
        """Splits the examples in two, so that each class keeps about its share in both.

        Args:
            fraction: Share to hold out, above 0 and below 1.
            seed: Seed of the choice; one seed always gives the same split.

        Returns:
            `(rest, held_out)`, each in the order given.

        Raises:
            HmicError: If `fraction` is out of range or there are fewer than two examples.
        """
        held = held_out(list(self.labels.values()), fraction, seed)
        return self.subset(np.flatnonzero(~held)), self.subset(np.flatnonzero(held))

    def join(self, other: "FeatureSet") -> "FeatureSet":
        """Returns the examples of both, these first.

        Raises:
            LabelError: If taxonomies or shapes of one example differ.
        """
        check_alike(self, other)
        return self._with(
            np.concatenate([self.features, other.features]),
            {
                level: np.concatenate([y, other.labels[level]])
                for level, y in self.labels.items()
            },
        )

    def ends_at_inner_classes(self) -> bool:
        """Whether an example has a class with children, and is known to have none of them."""
        possible: dict[str, np.ndarray] = {}
        parents: dict[str, set[int]] = {}
        for level, lower, links in self.taxonomy.linked_levels():
            # Of each class, whether one of its children may be there.
            found = possible.setdefault(level, np.zeros(self.labels[level].shape, bool))
            for above, below in links:
                found[:, above] |= self.labels[lower][:, below] != 0
            parents.setdefault(level, set()).update(links[:, 0].tolist())
        return any(
            ((self.labels[level] > 0.5) & ~found)[:, sorted(parents[level])].any()
            for level, found in possible.items()
        )

    def _with(self, features: np.ndarray, labels: dict[str, np.ndarray]) -> "FeatureSet":
        # What is closed already need not be closed again, which takes seconds for GO.
        made = object.__new__(FeatureSet)
        object.__setattr__(made, "taxonomy", self.taxonomy)
        object.__setattr__(made, "features", features)
        object.__setattr__(made, "labels", labels)
        return made


def check_alike(first: FeatureSet, second: FeatureSet) -> None:
    """Refuses sets that one model cannot serve.

    Raises:
        LabelError: If taxonomies or shapes of one example differ.
    """
    if first.taxonomy.hash != second.taxonomy.hash:
        raise LabelError(
            "The parts of a data set must share one taxonomy. Received: "
            f"{first.taxonomy!r} and {second.taxonomy!r}, which differ."
        )
    if first.features.shape[1:] != second.features.shape[1:]:
        raise LabelError(
            "The parts of a data set must have features of one shape. Received: "
            f"{first.features.shape[1:]} and {second.features.shape[1:]}"
        )


@dataclass(frozen=True, eq=False)
class FeatureSplits:
    """A data set in its parts.

    Attributes:
        name: What the data set is called.
        train: To fit on.
        test: To report on, once.
        valid: To choose settings and the number of epochs on; None where the data set has no
            such part, and one is held out of `train` when it is needed.
        other_tests: Examples of other sources to report on beside `test`, by name: other
            recordings, say, to see what a finding is worth there.

    Raises:
        LabelError: If the parts differ in taxonomy or shape of the features, or the name of
            another test is empty or holds `/` or `:`.
    """

    name: str
    train: FeatureSet
    test: FeatureSet
    valid: FeatureSet | None = None
    other_tests: Mapping[str, FeatureSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.other_tests:
            if not isinstance(name, str) or not name or set(name) & set("/:"):
                raise LabelError(
                    "`other_tests` must be named by texts without `/` and `:`. Received: "
                    f"{name!r}"
                )
        for part in self.parts().values():
            check_alike(self.train, part)

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy of every part."""
        return self.train.taxonomy

    def standardise(self) -> "FeatureSplits":
        """Fills missing values with the mean of their column, then scales every column.

        Mean and standard deviation are those of `train` and `valid` together, as in the
        published protocol of the hierarchical ARFF sets. A column that never varies becomes
        0, and so does one that never has a value.

        Returns:
            The same parts, columns of mean 0 and standard deviation 1 over `train` and `valid`.
        """
        seen = self.train if self.valid is None else self.train.join(self.valid)
        flat = seen.features.reshape(-1, seen.features.shape[-1]).astype(np.float64)
        known = ~np.isnan(flat)
        counts = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, flat, 0).sum(axis=0) / counts
        filled = np.where(known, flat, mean)
        deviation = filled.std(axis=0)
        deviation[deviation < 1e-12] = 1

        def scaled(part: FeatureSet) -> FeatureSet:
            values = np.where(np.isnan(part.features), mean, part.features)
            return part._with(((values - mean) / deviation).astype(np.float32), part.labels)

        return replace(
            self,
            train=scaled(self.train),
            test=scaled(self.test),
            valid=None if self.valid is None else scaled(self.valid),
            other_tests={name: scaled(part) for name, part in self.other_tests.items()},
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes everything to one `.npz` file, whole or not at all; `load` reads it back.

        Raises:
            LabelError: If the path has another suffix.
        """
        path = _checked_suffix(path)
        arrays: dict[str, Any] = {
            "name": np.array(self.name),
            "taxonomy": np.array(json.dumps(self.taxonomy.to_dict(), ensure_ascii=False)),
        }
        for part, rows in self.parts().items():
            arrays[f"{part}/features"] = rows.features
            for level, labels in rows.labels.items():
                arrays[f"{part}/labels/{level}"] = _small(labels)
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "FeatureSplits":
        """Reads what `save` wrote, or what was written in the same form by other means.

        The arrays of the file are `name` and `taxonomy` (its full form as JSON), and for each
        of the parts `train`, `test` and perhaps `valid` and `other_tests/NAME`:
        `PART/features`, and `PART/labels/LEVEL` for at least one level.

        Raises:
            LabelError: If the file is missing, damaged or lacks something.
        """
        path = _checked_suffix(path)
        if not path.is_file():
            raise LabelError(f"{path}: no such file. Name one that `FeatureSplits.save` wrote.")
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            taxonomy = Taxonomy.from_dict(json.loads(str(arrays["taxonomy"])))
            # In the order of the file; a set of labels alone is one that lacks its features.
            others = dict.fromkeys(
                "/".join(key.split("/")[:2]) for key in arrays if key.startswith(f"{_OTHERS}/")
            )
            parts = {
                part: FeatureSet(
                    taxonomy,
                    arrays[f"{part}/features"],
                    {
                        key.removeprefix(f"{part}/labels/"): values
                        for key, values in arrays.items()
                        if key.startswith(f"{part}/labels/")
                    },
                )
                for part in ("train", "test", "valid", *others)
                if part != "valid" or "valid/features" in arrays
            }
            tests = {part.removeprefix(f"{_OTHERS}/"): parts.pop(part) for part in others}
            return cls(str(arrays["name"]), **parts, other_tests=tests)
        except KeyError as error:
            raise LabelError(
                f"{path}: lacks the array {error}. It must hold `name`, `taxonomy`, and for "
                "`train` and `test` each `PART/features` and `PART/labels/LEVEL`."
            ) from error
        except (LabelError, TaxonomyError) as error:
            raise LabelError(f"{path}: {error}") from error
        except DAMAGED_ARRAYS as error:
            raise LabelError(f"{path}: is damaged or no `.npz` file ({error}).") from error

    def parts(self) -> dict[str, FeatureSet]:
        """Returns every part by its name: `train`, `test`, `valid`, `other_tests/NAME`."""
        found = {"train": self.train, "test": self.test}
        if self.valid is not None:
            found["valid"] = self.valid
        return found | {f"{_OTHERS}/{name}": part for name, part in self.other_tests.items()}


def _checked_suffix(path: str | os.PathLike[str]) -> Path:
    if Path(path).suffix != ".npz":
        raise LabelError(f"`path` must end in .npz. Received: {os.fspath(path)!r}")
    return Path(path)


def _small(labels: np.ndarray) -> np.ndarray:
    """Stores what are whole numbers in a byte each."""
    whole = labels.astype(np.int8)
    return whole if np.array_equal(whole, labels) else labels
