"""Taxonomies: levels of classes, the links between them, and labels closed over the links."""

import hashlib
import importlib.resources
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._taxonomy_files import read_yaml
from ._taxonomy_forms import (
    ClassKey,
    brief,
    check_classes,
    check_levels,
    check_name,
    hint,
    parse_form,
)
from .errors import LabelError, TaxonomyError

__all__ = ["Taxonomy", "as_labels"]

UNOBSERVED = -1.0
_YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, repr=False)
class Taxonomy:
    """Levels of classes, finest first, and the links from classes to their parents.

    A class is known by its level and its name; two levels may use the same name. Its parents
    may sit at any coarser level, and it may have several or none. A class of a coarse level
    may have no children. Make one with `load`, `from_file` or `from_dict`.

    Two taxonomies are equal if their levels, classes, class order and links are; name and
    provenance do not count.

    Attributes:
        name: What the taxonomy is called.
        levels: Level names, finest first.
        provenance: Where the classes and the hierarchy come from, as free text.

    Example:
        >>> groups = {"strings": ["violin", "cello"], "brass": ["trumpet"]}
        >>> taxonomy = Taxonomy.from_dict(groups)
        >>> taxonomy.levels
        ('fine', 'coarse')
        >>> taxonomy.classes("fine")
        ('violin', 'cello', 'trumpet')
        >>> taxonomy.mask("coarse", "fine").astype(int)
        array([[1, 1, 0],
               [0, 0, 1]])
    """

    name: str = field(compare=False)
    levels: tuple[str, ...]
    _classes: tuple[tuple[str, ...], ...]
    _parents: tuple[tuple[tuple[ClassKey, ...], ...], ...]
    provenance: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_name(self.name, "The taxonomy's name")
        if not isinstance(self.provenance, str):
            raise TaxonomyError(f"'provenance' must be text. Received: {self.provenance!r}")
        check_levels(self.levels)
        for level, classes in zip(self.levels, self._classes, strict=True):
            check_classes(level, classes)
        ordered = tuple(
            tuple(
                self._checked_parents(level, child, parents)
                for child, parents in zip(self._classes[i], self._parents[i], strict=True)
            )
            for i, level in enumerate(self.levels)
        )
        object.__setattr__(self, "_parents", ordered)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{level}={len(self.classes(level))}" for level in self.levels)
        return f"Taxonomy(name={self.name!r}, {sizes})"

    # Making one

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> "Taxonomy":
        """Loads a packaged taxonomy by name, or one from a YAML file by path.

        Args:
            name_or_path: A packaged name such as `"openmic"`, or a path that ends in `.yaml`
                or `.yml`.

        Returns:
            The taxonomy.

        Raises:
            TaxonomyError: If there is no such packaged taxonomy or file, the file's format is
                not supported, or its content breaks a rule.

        Example:
            >>> Taxonomy.load("openmic")
            Taxonomy(name='openmic', fine=20, coarse=7)
        """
        text = os.fspath(name_or_path)
        separators = [s for s in (os.sep, os.altsep) if s]
        if (
            not isinstance(name_or_path, str)
            or Path(text).suffix
            or any(s in text for s in separators)
        ):
            return cls.from_file(name_or_path)
        folder = importlib.resources.files("hmic_keras").joinpath("taxonomies")
        packaged = sorted(
            item.name.removesuffix(".yaml")
            for item in folder.iterdir()
            if item.name.endswith(".yaml")
        )
        if text not in packaged:
            raise TaxonomyError(
                f"There is no packaged taxonomy {text!r}.{hint(text, packaged)} Packaged: "
                f"{', '.join(packaged)}. A file is given by its path, ending in .yaml or .yml."
            )
        with importlib.resources.as_file(folder.joinpath(f"{text}.yaml")) as path:
            return cls.from_file(path)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Taxonomy":
        """Reads a taxonomy from a YAML file in either form that `from_dict` takes.

        The file is data only: YAML tags, anchors, aliases and repeated keys are refused, and
        so is any unquoted value that YAML reads as something else than text (`no`, `1`).

        Args:
            path: A UTF-8 file that ends in `.yaml` or `.yml`, at most 4 MiB. Without a `name`
                inside, the taxonomy is called after the file.

        Returns:
            The taxonomy.

        Raises:
            TaxonomyError: If the file cannot be read or breaks a rule; the message names the
                file and, where known, the line.
        """
        path = Path(path)
        if path.suffix.lower() not in _YAML_SUFFIXES:
            raise TaxonomyError(
                f"{path}: a taxonomy file must end in .yaml or .yml. Received: "
                f"{path.suffix or 'no suffix'}. Supported format: YAML."
            )
        content = read_yaml(path)
        try:
            return cls.from_dict(content, name=path.stem)
        except TaxonomyError as error:
            raise TaxonomyError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, name: str = "custom") -> "Taxonomy":
        """Builds a taxonomy from its short or its full form.

        The short form maps each coarse class to the list of its fine classes. Classes stand
        in the order of first mention, a fine class listed under two coarse classes has both
        as parents, and an empty list makes a childless class. Groups may nest: levels are
        then called `level_0` (finest), `level_1` and so on, list items are of the finest
        level, and a group's level follows from its depth.

        The full form is the one that `to_dict` returns. It holds `levels` (finest first),
        `classes` (level to list of names) and, optionally, `parents` (level to class to list
        of parents), `name` and `provenance`. A bare parent name is a class of the next coarser
        level; `level:name` names one of any coarser level.

        Args:
            data: The short or full form. With a key `levels` or `classes` it is the full one.
            name: The name where `data` has none.

        Returns:
            The taxonomy.

        Raises:
            TaxonomyError: If `data` breaks a rule.

        Example:
            >>> taxonomy = Taxonomy.from_dict({
            ...     "levels": ["fine", "coarse"],
            ...     "classes": {"fine": ["voice", "kazoo"], "coarse": ["voice", "wind"]},
            ...     "parents": {"fine": {"voice": ["voice"], "kazoo": ["voice", "wind"]}},
            ... })
            >>> taxonomy.parents("kazoo", "fine")
            (('coarse', 'voice'), ('coarse', 'wind'))
        """
        parts = parse_form(data, name)
        return cls(
            name=parts.name,
            levels=parts.levels,
            _classes=parts.classes,
            _parents=parts.parents,
            provenance=parts.provenance,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the full form: plain lists, dicts and text, ready for JSON or YAML.

        Returns:
            What `from_dict` reads back as an equal taxonomy, name and provenance included.

        Example:
            >>> Taxonomy.from_dict({"brass": ["trumpet"]}).to_dict()["parents"]
            {'fine': {'trumpet': ['brass']}}
        """
        parents: dict[str, dict[str, list[str]]] = {}
        for i, level in enumerate(self.levels):
            linked = {
                child: [
                    parent if at == self.levels[i + 1] else f"{at}:{parent}"
                    for at, parent in links
                ]
                for child, links in zip(self._classes[i], self._parents[i], strict=True)
                if links
            }
            if linked:
                parents[level] = linked
        return {
            "name": self.name,
            "provenance": self.provenance,
            "levels": list(self.levels),
            "classes": {level: list(self.classes(level)) for level in self.levels},
            "parents": parents,
        }

    # Asking it

    @property
    def hash(self) -> str:
        """SHA-256 in hexadecimal over levels, classes, class order and links.

        The same in every process and Python version. Name, provenance and the order in which
        the parents of a class were given do not change it, so two taxonomies with the same
        hash suit the same model.
        """
        return self._hash

    def classes(self, level: str) -> tuple[str, ...]:
        """Returns the class names of `level` in their order.

        Raises:
            TaxonomyError: If there is no such level.
        """
        return self._classes[self._level_number(level)]

    def index(self, level: str) -> Mapping[str, int]:
        """Returns the position of each class of `level`, as a read-only mapping.

        Raises:
            TaxonomyError: If there is no such level.
        """
        return MappingProxyType(self._indices[self._level_number(level)])

    def parents(self, class_name: str, level: str) -> tuple[ClassKey, ...]:
        """Returns the direct parents of a class as `(level, name)`, nearest level first.

        Raises:
            TaxonomyError: If there is no such level, or no such class in it.

        Example:
            >>> Taxonomy.load("openmic").parents("violin", "fine")
            (('coarse', 'bowed_strings'),)
        """
        return self._parents[self._level_number(level)][self._position(class_name, level)]

    def children(self, class_name: str, level: str) -> tuple[ClassKey, ...]:
        """Returns the direct children of a class as `(level, name)`, nearest level first.

        Raises:
            TaxonomyError: If there is no such level, or no such class in it.

        Example:
            >>> Taxonomy.load("openmic").children("brass", "coarse")
            (('fine', 'trombone'), ('fine', 'trumpet'))
        """
        self._position(class_name, level)
        return self._children.get((level, class_name), ())

    def direct_links(self, parent_level: str, child_level: str) -> NDArray[np.int64]:
        """Returns the links given between two levels, without those that follow from others.

        Args:
            parent_level: The coarser level.
            child_level: The finer level.

        Returns:
            Read-only array `(links, 2)` of `(parent index, child index)`, sorted.

        Raises:
            TaxonomyError: If a level is unknown, or `parent_level` is not the coarser one.
        """
        return self._direct[self._level_pair(parent_level, child_level)]

    def links(self, parent_level: str, child_level: str) -> NDArray[np.int64]:
        """Returns every pair of ancestor and descendant between two levels.

        Args:
            parent_level: The coarser level.
            child_level: The finer level.

        Returns:
            Read-only array `(links, 2)` of `(parent index, child index)`, sorted. Links that
            run through a level in between are included.

        Raises:
            TaxonomyError: If a level is unknown, or `parent_level` is not the coarser one.

        Example:
            >>> Taxonomy.from_dict({"a": ["x", "y"], "b": ["y"]}).links("coarse", "fine")
            array([[0, 0],
                   [0, 1],
                   [1, 1]])
        """
        return self._closure[self._level_pair(parent_level, child_level)]

    def mask(self, parent_level: str, child_level: str) -> NDArray[np.bool_]:
        """Returns the hierarchy mask between two levels, the dense form of `links`.

        Args:
            parent_level: The coarser level.
            child_level: The finer level.

        Returns:
            New boolean array `(num_parents, num_children)`.

        Raises:
            TaxonomyError: If a level is unknown, or `parent_level` is not the coarser one.
        """
        pairs = self.links(parent_level, child_level)
        mask = np.zeros((len(self.classes(parent_level)), len(self.classes(child_level))), bool)
        mask[pairs[:, 0], pairs[:, 1]] = True
        return mask

    def resolve(self, column: str) -> ClassKey:
        """Finds the class that a table column stands for.

        Args:
            column: A class name, which means the finest level that has it, or `level:name`.

        Returns:
            The class as `(level, name)`.

        Raises:
            TaxonomyError: If there is no such class; the message lists close matches.

        Example:
            >>> taxonomy = Taxonomy.load("openmic")
            >>> taxonomy.resolve("voice"), taxonomy.resolve("coarse:voice")
            (('fine', 'voice'), ('coarse', 'voice'))
        """
        if not isinstance(column, str):
            raise TaxonomyError(f"A column name must be text. Received: {column!r}")
        level, colon, name = column.partition(":")
        if colon:
            self._position(name, level)
            return level, name
        for level, positions in zip(self.levels, self._indices, strict=True):
            if column in positions:
                return level, column
        known = [name for classes in self._classes for name in classes]
        raise TaxonomyError(
            f"Taxonomy {self.name!r} has no class {column!r}.{hint(column, known)}"
        )

    def tree(self) -> str:
        """Draws the taxonomy as text, coarsest level first.

        A class appears under each of its parents; its own children are drawn the first time
        only. The level is added to a class that does not sit one level below what it hangs
        from, and childless classes above the finest level are marked.

        Returns:
            Lines joined by newlines.

        Example:
            >>> taxonomy = Taxonomy.from_dict({"strings": ["violin"], "other": []}, name="tiny")
            >>> print(taxonomy.tree())
            tiny: 2 coarse, 1 fine
            ├── strings
            │   └── violin
            └── other (childless)
        """
        sizes = [f"{len(self.classes(level))} {level}" for level in reversed(self.levels)]
        roots = [
            (level, name)
            for i, level in reversed(list(enumerate(self.levels)))
            for name, parents in zip(self._classes[i], self._parents[i], strict=True)
            if not parents
        ]
        lines = [f"{self.name}: {', '.join(sizes)}"]
        self._draw(roots, len(self.levels), "", lines, set())
        return "\n".join(lines)

    # Labels

    def close_labels(self, labels: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float32]]:
        """Completes label arrays over the hierarchy.

        Presence implies every ancestor and absence every descendant. First an unobserved class
        with an ancestor that is given as 0 becomes 0. Then, from fine to coarse, a parent that
        is unobserved takes the highest value of its direct children if that is above 0.5 or if
        every child is observed, and otherwise stays unobserved; so it is present if any child
        is, and absent only if every child is observed absent. Observed labels that were given
        stay as they are. A childless class is known only if given or if an ancestor is 0.

        Args:
            labels: At least one level, each `(rows, classes of the level)`: 1 present, 0
                absent, between them a probability, -1 or NaN unobserved.

        Returns:
            New arrays for every level, finest first, with -1 for unobserved.

        Raises:
            TaxonomyError: If a level is unknown.
            LabelError: If a shape or value is wrong, or a class given as present (above 0.5)
                has an ancestor given as absent (0.5 or below).

        Example:
            >>> groups = {"strings": ["violin", "cello"], "brass": ["horn"]}
            >>> taxonomy = Taxonomy.from_dict(groups)
            >>> taxonomy.close_labels({"fine": [[1, -1, 0], [0, -1, -1]]})["coarse"]
            array([[ 1.,  0.],
                   [-1., -1.]], dtype=float32)
        """
        given = self._label_arrays(labels)
        rows = len(next(iter(given.values())))
        closed = [
            given[i].copy()
            if i in given
            else np.full((rows, len(classes)), UNOBSERVED, np.float32)
            for i, classes in enumerate(self._classes)
        ]
        self._refuse_contradictions(given)
        self._spread_absence(given, closed)
        self._derive_parents(closed)
        return dict(zip(self.levels, closed, strict=True))

    def _label_arrays(self, labels: Mapping[str, ArrayLike]) -> dict[int, NDArray[np.float32]]:
        if not isinstance(labels, Mapping) or not labels:
            raise LabelError(
                "'labels' must map at least one level to an array of labels. Received: "
                f"{brief(labels)}"
            )
        given: dict[int, NDArray[np.float32]] = {}
        for level, values in labels.items():
            classes = self.classes(level)
            given[self._level_number(level)] = as_labels(values, level, classes)
        sizes = {self.levels[i]: len(array) for i, array in given.items()}
        if len(set(sizes.values())) > 1:
            raise LabelError(f"All levels must have the same number of rows. Received: {sizes}")
        return given

    def _refuse_contradictions(self, given: Mapping[int, NDArray[np.float32]]) -> None:
        for (parent, child), pairs in self._closure.items():
            if parent not in given or child not in given:
                continue
            above = given[parent][:, pairs[:, 0]]
            wrong = (given[child][:, pairs[:, 1]] > 0.5) & (above >= 0) & (above <= 0.5)
            if wrong.any():
                row, link = np.argwhere(wrong)[0]
                p, c = pairs[link]
                raise LabelError(
                    f"Row {row}: {self._classes[child][c]!r} (level {self.levels[child]!r}) is "
                    f"labelled {given[child][row, c]:g}, present, but its parent "
                    f"{self._classes[parent][p]!r} (level {self.levels[parent]!r}) is labelled "
                    f"{given[parent][row, p]:g}, absent. A present class implies its parents; "
                    "correct one of the two or leave it unobserved."
                )

    def _spread_absence(
        self,
        given: Mapping[int, NDArray[np.float32]],
        closed: list[NDArray[np.float32]],
    ) -> None:
        for (parent, child), pairs in self._closure.items():
            if parent not in given or not len(pairs):
                continue
            by_child = pairs[np.argsort(pairs[:, 1], kind="stable")]
            absent = given[parent][:, by_child[:, 0]] == 0
            columns, implied = _reduce_groups(np.logical_or, absent, by_child[:, 1])
            current = closed[child][:, columns]
            closed[child][:, columns] = np.where(implied & (current < 0), 0, current)

    def _derive_parents(self, closed: list[NDArray[np.float32]]) -> None:
        for parent in range(1, len(self.levels)):
            highest = np.full_like(closed[parent], UNOBSERVED)
            open_child = np.zeros(highest.shape, bool)
            for child in range(parent):
                pairs = self._direct[parent, child]
                if not len(pairs):
                    continue
                values = closed[child][:, pairs[:, 1]]
                columns, top = _reduce_groups(np.maximum, values, pairs[:, 0])
                highest[:, columns] = np.maximum(highest[:, columns], top)
                _, unknown = _reduce_groups(np.logical_or, values < 0, pairs[:, 0])
                open_child[:, columns] |= unknown
            derived = np.where(open_child & (highest <= 0.5), UNOBSERVED, highest)
            closed[parent] = np.where(closed[parent] < 0, derived, closed[parent]).astype(
                np.float32
            )

    # Derived state

    @cached_property
    def _indices(self) -> tuple[dict[str, int], ...]:
        return tuple({name: i for i, name in enumerate(names)} for names in self._classes)

    @cached_property
    def _level_numbers(self) -> dict[str, int]:
        return {level: i for i, level in enumerate(self.levels)}

    @cached_property
    def _children(self) -> dict[ClassKey, tuple[ClassKey, ...]]:
        found: dict[ClassKey, list[ClassKey]] = {}
        for i, level in reversed(list(enumerate(self.levels))):
            for child, parents in zip(self._classes[i], self._parents[i], strict=True):
                for parent in parents:
                    found.setdefault(parent, []).append((level, child))
        return {parent: tuple(children) for parent, children in found.items()}

    @cached_property
    def _direct(self) -> dict[tuple[int, int], NDArray[np.int64]]:
        found: dict[tuple[int, int], list[tuple[int, int]]] = {
            (parent, child): [] for parent in range(len(self.levels)) for child in range(parent)
        }
        for child, parents_of in enumerate(self._parents):
            for c, parents in enumerate(parents_of):
                for level, name in parents:
                    parent = self._level_numbers[level]
                    found[parent, child].append((self._indices[parent][name], c))
        return {
            pair: _sorted_pairs(np.array(pairs, np.int64).reshape(-1, 2), self._size(pair[1]))
            for pair, pairs in found.items()
        }

    @cached_property
    def _closure(self) -> dict[tuple[int, int], NDArray[np.int64]]:
        closure: dict[tuple[int, int], NDArray[np.int64]] = {}
        for child in range(len(self.levels)):
            for parent in range(child + 1, len(self.levels)):
                through = [
                    _join(self._direct[parent, middle], closure[middle, child])
                    for middle in range(child + 1, parent)
                ]
                pairs = np.concatenate([self._direct[parent, child], *through])
                closure[parent, child] = _sorted_pairs(pairs, self._size(child))
        return closure

    @cached_property
    def _hash(self) -> str:
        content = self.to_dict()
        kept = {key: content[key] for key in ("levels", "classes", "parents")}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def _size(self, level_number: int) -> int:
        return len(self._classes[level_number])

    def _level_number(self, level: str) -> int:
        if not isinstance(level, str) or level not in self._level_numbers:
            raise TaxonomyError(
                f"Taxonomy {self.name!r} has no level {level!r}. Its levels, finest first: "
                f"{', '.join(self.levels)}."
            )
        return self._level_numbers[level]

    def _level_pair(self, parent_level: str, child_level: str) -> tuple[int, int]:
        pair = self._level_number(parent_level), self._level_number(child_level)
        if pair[0] <= pair[1]:
            raise TaxonomyError(
                "'parent_level' must be coarser than 'child_level'. Received: "
                f"{parent_level!r}, {child_level!r}. Levels, finest first: "
                f"{', '.join(self.levels)}."
            )
        return pair

    def _position(self, class_name: str, level: str) -> int:
        positions = self._indices[self._level_number(level)]
        if not isinstance(class_name, str) or class_name not in positions:
            raise TaxonomyError(
                f"Level {level!r} of taxonomy {self.name!r} has no class {class_name!r}."
                f"{hint(class_name, positions)}"
            )
        return positions[class_name]

    def _checked_parents(
        self, level: str, child: str, parents: Sequence[ClassKey]
    ) -> tuple[ClassKey, ...]:
        for parent_level, parent in parents:
            positions = self._indices[self._level_number(parent_level)]
            if parent not in positions or not self._is_coarser(parent_level, level):
                raise TaxonomyError(self._parent_fault(level, child, parent_level, parent))
        if len(set(parents)) < len(parents):
            raise TaxonomyError(
                f"Class {child!r} (level {level!r}) names a parent twice. Received: "
                f"{[name for _, name in parents]}"
            )
        return tuple(
            sorted(
                parents,
                key=lambda key: (self._level_number(key[0]), self._position(key[1], key[0])),
            )
        )

    def _is_coarser(self, level: str, than: str) -> bool:
        return self._level_numbers[level] > self._level_numbers[than]

    def _parent_fault(self, level: str, child: str, parent_level: str, parent: str) -> str:
        places = [
            at for at, known in zip(self.levels, self._indices, strict=True) if parent in known
        ]
        start = f"Class {child!r} (level {level!r}) names the parent {parent!r}"
        for place in places:
            if self._is_coarser(place, level) and place != parent_level:
                return (
                    f"{start}, which level {parent_level!r} lacks or cannot give. Write "
                    f"'{place}:{parent}' for the class of level {place!r}."
                )
        if places:
            return (
                f"{start}, which is at level {places[0]!r}. A parent must be at a strictly "
                f"coarser level than its child, so that links form no cycle. Levels, finest "
                f"first: {', '.join(self.levels)}."
            )
        known = self.classes(parent_level)
        return f"{start}, which level {parent_level!r} does not have.{hint(parent, known)}"

    def _draw(
        self,
        keys: Sequence[ClassKey],
        above: int,
        indent: str,
        lines: list[str],
        drawn: set[ClassKey],
    ) -> None:
        for number, key in enumerate(keys, start=1):
            level, name = key
            last = number == len(keys)
            at = self._level_numbers[level]
            children = self._children.get(key, ())
            notes = [level] if at != above - 1 else []
            if at > 0 and not children:
                notes.append("childless")
            if children and key in drawn:
                notes.append("see above")
            suffix = f" ({', '.join(notes)})" if notes else ""
            lines.append(f"{indent}{'└── ' if last else '├── '}{name}{suffix}")
            if key not in drawn:
                drawn.add(key)
                inner = indent + ("    " if last else "│   ")
                self._draw(children, at, inner, lines, drawn)


def as_labels(
    values: ArrayLike, what: str, classes: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """Checks a label array and writes unobserved labels as -1.

    Args:
        values: `(rows, classes)`: 1 present, 0 absent, between them a probability, -1 or NaN
            unobserved.
        what: What the array is, such as its level, for messages.
        classes: The class of each column; where given, the width must match.

    Returns:
        New float32 array of the same shape, without NaN.

    Raises:
        LabelError: If the array is not numeric, not 2-D, too wide or narrow, or holds another
            value.

    Example:
        >>> as_labels([[1, 0.3, float("nan")]], "fine")
        array([[ 1. ,  0.3, -1. ]], dtype=float32)
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise LabelError(f"Labels of {what!r} must be numbers. Received: {array.dtype}")
    if array.ndim != 2:
        raise LabelError(
            f"Labels of {what!r} must have the shape (rows, classes). Received: {array.shape}"
        )
    if classes is not None and array.shape[1] != len(classes):
        raise LabelError(
            f"Labels of {what!r} must have {len(classes)} columns, one a class. Received: "
            f"{array.shape[1]}"
        )
    labels = array.astype(np.float32)
    labels[np.isnan(labels)] = UNOBSERVED
    wrong = (labels != UNOBSERVED) & ~((labels >= 0) & (labels <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        place = f"column {column}" if classes is None else f"class {classes[column]!r}"
        raise LabelError(
            f"Labels of {what!r}, row {row}, {place}: a label must be 1 (present), 0 (absent), "
            "a probability between them, or -1 or NaN (unobserved). Received: "
            f"{labels[row, column]:g}"
        )
    return labels


# Link arrays


def _sorted_pairs(pairs: NDArray[np.int64], num_children: int) -> NDArray[np.int64]:
    """Sorts pairs by parent, then child, and drops repeats; the result is read-only."""
    keys = np.unique(pairs[:, 0] * num_children + pairs[:, 1])
    ordered = np.stack(np.divmod(keys, num_children), axis=1)
    ordered.setflags(write=False)
    return ordered


def _join(upper: NDArray[np.int64], lower: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins `(parent, middle)` with `(middle, child)` pairs to `(parent, child)` pairs."""
    upper = upper[np.argsort(upper[:, 1], kind="stable")]
    start = np.searchsorted(upper[:, 1], lower[:, 0], side="left")
    counts = np.searchsorted(upper[:, 1], lower[:, 0], side="right") - start
    # Each lower pair is repeated once for every upper pair that shares its middle.
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    parents = upper[np.repeat(start, counts) + within, 0]
    return np.stack([parents, np.repeat(lower[:, 1], counts)], axis=1)


def _reduce_groups(
    function: np.ufunc, values: NDArray[Any], groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Reduces the columns of `values` that share a group; `groups` is sorted, not empty.

    Returns:
        The distinct groups, and one reduced column for each.
    """
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return groups[starts], function.reduceat(values, starts, axis=1)
