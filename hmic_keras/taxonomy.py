"""Taxonomies: levels of classes, the links between them, and labels closed over the links."""

import hashlib
import importlib.resources
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _taxonomy_edit as edit
from ._files import write_text
from ._label_closure import (
    UNOBSERVED,
    as_labels,
    derive_parents,
    refuse_contradictions,
    spread_absence,
)
from ._links import join_pairs, sorted_pairs
from ._taxonomy_files import check_suffix, csv_text, read_table, read_tree, write_tree
from ._taxonomy_forms import (
    Attribute,
    Attributes,
    ClassKey,
    TaxonomyParts,
    check_classes,
    check_levels,
    check_name,
    check_text,
    hint,
    nested_groups,
    parse_form,
    parse_groups,
)
from ._taxonomy_tables import parse_rows, table_rows
from ._taxonomy_tree import draw
from .errors import LabelError, TaxonomyError, brief

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Taxonomy", "as_labels"]

_NO_ATTRIBUTES: Mapping[str, Attribute] = MappingProxyType({})


@dataclass(frozen=True, repr=False)
class Taxonomy:
    """Levels of classes, finest first, and the links from classes to their parents.

    A class is known by its level and its name; two levels may use the same name. Its parents
    may sit at any coarser level, and it may have several or none. A class of a coarse level
    may have no children. Make one with `load`, `from_file`, `from_dict`, `from_nested` or
    `from_frame`.

    Two taxonomies are equal if their levels, classes, class order and links are; name,
    provenance and attributes do not count.

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
    _attributes: Attributes = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_name(self.name, "The taxonomy's name")
        check_text(self.provenance, "'provenance'")
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
        """Loads a packaged taxonomy by name, or one from a YAML, JSON or CSV file by path.

        Args:
            name_or_path: A packaged name such as `"openmic"`, or a path with the suffix
                `.yaml`, `.yml`, `.json` or `.csv`.

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
        packaged = cls.packaged()
        if text not in packaged:
            raise TaxonomyError(
                f"There is no packaged taxonomy {text!r}.{hint(text, packaged)} Packaged: "
                f"{', '.join(packaged)}. A file is given by its path, ending in .yaml, .yml, "
                ".json or .csv."
            )
        with importlib.resources.as_file(_packaged_files().joinpath(f"{text}.yaml")) as path:
            return cls.from_file(path)

    @staticmethod
    def packaged() -> tuple[str, ...]:
        """Returns the names of the taxonomies that come with the package, sorted.

        Example:
            >>> Taxonomy.packaged()
            ('general_midi', 'hornbostel_sachs', 'irmas', 'medley_solos_db', 'openmic')
        """
        names = (item.name for item in _packaged_files().iterdir())
        return tuple(sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml")))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Taxonomy":
        """Reads a taxonomy from a YAML, JSON or CSV file.

        YAML and JSON hold either form that `from_dict` takes. They are data only: YAML tags,
        anchors and aliases and repeated keys are refused, and so is any unquoted value that
        YAML reads as something else than text (`no`, `1`), whole numbers as attributes apart.

        CSV has a column for each level, finest first, under a header of their names. The cells
        of a row that are not empty link a class to its parent, that to its own, and so on. An
        empty cell skips a level. A class with several parents has several rows, and a row with
        one cell names a class without parents or children of its own.

        Args:
            path: A UTF-8 file that ends in `.yaml`, `.yml`, `.json` or `.csv`, at most 4 MiB.
                Without a `name` inside, the taxonomy is called after the file.

        Returns:
            The taxonomy.

        Raises:
            TaxonomyError: If the file cannot be read or breaks a rule; the message names the
                file and, where known, the line.
        """
        path = Path(path)
        if check_suffix(path, "a taxonomy file") == ".csv":
            header, rows = read_table(path)
            try:
                return cls._of(parse_rows(header, rows, path.stem))
            except TaxonomyError as error:
                raise TaxonomyError(f"{path}, {error}") from error
        content = read_tree(path)
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
        of parents), `attributes` (level to class to a mapping of text, whole numbers or lists
        of these), `name` and `provenance`. A bare parent name is a class of the next coarser
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
        return cls._of(parse_form(data, name))

    @classmethod
    def from_nested(
        cls,
        data: Mapping[str, Any],
        *,
        levels: Sequence[str] | None = None,
        name: str = "custom",
    ) -> "Taxonomy":
        """Builds a taxonomy from nested groups of any depth, as `to_nested` returns them.

        This is the short form of `from_dict`, with level names of one's own and without
        reserved keys.

        Args:
            data: Coarsest groups to finer ones and, innermost, to lists of finest classes.
            levels: Level names, finest first; None for `fine` and `coarse`, or `level_0`
                (finest), `level_1` and so on.
            name: What the taxonomy is called.

        Returns:
            The taxonomy.

        Raises:
            TaxonomyError: If `data` breaks a rule, or `levels` does not match its depth.

        Example:
            >>> groups = {"winds": {"woodwinds": ["flute", "oboe"], "brass": ["horn"]}}
            >>> taxonomy = Taxonomy.from_nested(groups, levels=["tag", "family", "section"])
            >>> taxonomy.parents("oboe", "tag")
            (('family', 'woodwinds'),)
        """
        return cls._of(parse_groups(data, name, levels))

    @classmethod
    def from_frame(cls, frame: "pd.DataFrame", *, name: str = "custom") -> "Taxonomy":
        """Builds a taxonomy from a DataFrame with a column for each level, finest first.

        The layout is that of CSV files, which `from_file` describes; None, NaN and empty text
        are empty cells. The index does not count.

        Args:
            frame: One row for each chain of a class and its ancestors.
            name: What the taxonomy is called.

        Returns:
            The taxonomy.

        Raises:
            TaxonomyError: If a cell is not text or a rule is broken; the message names the row,
                counted from 0.

        Example:
            >>> import pandas as pd
            >>> frame = pd.DataFrame({"fine": ["viola", "horn"], "coarse": ["strings", None]})
            >>> Taxonomy.from_frame(frame).parents("horn", "fine")
            ()
        """
        import pandas as pd

        if not isinstance(frame, pd.DataFrame):
            raise TaxonomyError(f"'frame' must be a pandas DataFrame. Received: {brief(frame)}")
        cells = np.where(frame.notna(), frame.to_numpy(object), "").tolist()
        rows = [(f"row {number}", row) for number, row in enumerate(cells)]
        for place, row in rows:
            for cell in row:
                if not isinstance(cell, str):
                    raise TaxonomyError(
                        f"The frame, {place}: a class name must be text; read tables with "
                        f"dtype=str. Received: {brief(cell)}"
                    )
        try:
            return cls._of(parse_rows(list(frame.columns), rows, name))
        except TaxonomyError as error:
            raise TaxonomyError(f"The frame, {error}") from error

    # Writing it

    def to_dict(self) -> dict[str, Any]:
        """Returns the full form: plain lists, dicts, text and numbers, for JSON or YAML.

        Returns:
            What `from_dict` reads back as an equal taxonomy, with name, provenance and
            attributes. The key `attributes` is there only if a class has any.

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
        form = {
            "name": self.name,
            "provenance": self.provenance,
            "levels": list(self.levels),
            "classes": {level: list(self.classes(level)) for level in self.levels},
            "parents": parents,
        }
        attributes: dict[str, dict[str, dict[str, Any]]] = {}
        for level in self.levels:
            for name, given in self.attributes(level).items():
                if given:
                    attributes.setdefault(level, {})[name] = {
                        key: list(value) if isinstance(value, tuple) else value
                        for key, value in given.items()
                    }
        return {**form, "attributes": attributes} if attributes else form

    def to_nested(self) -> dict[str, Any]:
        """Returns nested groups, which `from_nested` reads back with `levels=self.levels`.

        The groups have the same classes and links. Name, provenance, attributes and the names
        of the levels are not part of them, and classes stand under their groups: what is read
        back is equal to this taxonomy if its classes follow the order of their parents.

        Returns:
            Coarsest groups to finer ones and, innermost, to lists of finest classes.

        Raises:
            TaxonomyError: If nested groups cannot say it: there is one level only, a finest
                class has no parent, a group in between has several parents, none, or one that
                is not at the next level, or a group has both groups and finest classes in it.

        Example:
            >>> Taxonomy.from_dict({"brass": ["horn"], "other": []}).to_nested()
            {'brass': ['horn'], 'other': []}
        """
        return nested_groups(self._parts())

    def to_frame(self) -> "pd.DataFrame":
        """Returns a DataFrame with a column for each level, finest first.

        It holds every class and link, and `from_frame` reads it back as an equal taxonomy.
        Name, provenance and attributes are not part of it.

        Returns:
            One row for each finest class and parent, with the chain of ancestors above them;
            rows that name one class alone keep the order of classes and those without links.
            Empty cells are None.

        Example:
            >>> taxonomy = Taxonomy.from_dict({"strings": ["viola", "harp"], "brass": ["horn"]})
            >>> taxonomy.to_frame()
                fine   coarse
            0  viola  strings
            1   harp  strings
            2   horn    brass
        """
        import pandas as pd

        rows = [[cell or None for cell in row] for row in table_rows(self._parts())]
        return pd.DataFrame(rows, columns=list(self.levels), dtype=object)

    def to_csv(self) -> str:
        """Returns the text of a CSV file with a column for each level, finest first.

        The rows are those of `to_frame`, with empty text for empty cells.

        Example:
            >>> print(Taxonomy.from_dict({"brass": ["horn", "tuba"]}).to_csv(), end="")
            fine,coarse
            horn,brass
            tuba,brass
        """
        return csv_text(self.levels, table_rows(self._parts()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the taxonomy to a file, whole or not at all, in the format of its suffix.

        `load` reads an equal taxonomy back from each. YAML and JSON keep everything; CSV has no
        place for provenance, attributes and a name other than the file's.

        Args:
            path: Ends in `.yaml`, `.yml`, `.json` or `.csv`.

        Raises:
            TaxonomyError: If the suffix is another one.

        Example:
            >>> import tempfile
            >>> taxonomy = Taxonomy.load("openmic")
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     taxonomy.save(f"{folder}/tags.csv")
            ...     Taxonomy.load(f"{folder}/tags.csv") == taxonomy
            True
        """
        path = Path(path)
        if check_suffix(path, "a taxonomy file") == ".csv":
            write_text(path, self.to_csv())
        else:
            write_tree(path, self.to_dict())

    # Parts of it, and several in one

    def subset(self, classes: Iterable[str], *, level: str | None = None) -> "Taxonomy":
        """Keeps some classes of a level, what is below them and the ancestors of all these.

        Classes keep their order. Coarser classes without a descendant among those kept go, and
        so do levels left empty. At `level` exactly the classes given stay, but every mask of
        the subset equals the part of the original's that belongs to the classes kept: where a
        class in between was left out, a skip link takes its place.

        Args:
            classes: Names of classes of `level`, in any order.
            level: Their level; the finest by default.

        Returns:
            The smaller taxonomy, of the same name.

        Raises:
            TaxonomyError: If a class or the level is unknown, or no class is given.

        Example:
            >>> taxonomy = Taxonomy.load("openmic").subset(["violin", "flute", "cello"])
            >>> taxonomy.to_nested()
            {'bowed_strings': ['cello', 'violin'], 'woodwinds': ['flute']}
            >>> Taxonomy.load("openmic").subset(["brass"], level="coarse").classes("fine")
            ('trombone', 'trumpet')
        """
        level = self.levels[0] if level is None else level
        wanted = _names(classes, "'classes'")
        for name in wanted:
            self._position(name, level)
        parts = self._parts()
        return self._of(edit.restrict(parts, edit.select(parts, wanted, level)))

    def with_levels(self, levels: Iterable[str]) -> "Taxonomy":
        """Keeps some levels, with all their classes and every descent between them.

        Args:
            levels: Names of levels, in any order.

        Returns:
            The taxonomy over these levels, of the same name.

        Raises:
            TaxonomyError: If a level is unknown or none is given.

        Example:
            >>> taxonomy = Taxonomy.load("hornbostel_sachs")
            >>> taxonomy.with_levels(["instrument", "class"]).parents("violin", "instrument")
            (('class', 'chordophones'),)
        """
        numbers = {self._level_number(level) for level in _names(levels, "'levels'")}
        kept = {(self.levels[n], name) for n in numbers for name in self._classes[n]}
        return self._of(edit.restrict(self._parts(), kept))

    def merge(self, other: "Taxonomy", *, name: str | None = None) -> "Taxonomy":
        """Joins two taxonomies of the same levels into one.

        Classes of `self` come first, then those that only `other` has. Attributes of a class of
        both are joined, and so are the texts of provenance.

        Args:
            other: A taxonomy with the same levels.
            name: What the result is called; by default both names joined by `+`.

        Returns:
            The larger taxonomy.

        Raises:
            TaxonomyError: If the levels differ, or a class of both has other parents or another
                value of an attribute in `other`; the message names them.

        Example:
            >>> strings = Taxonomy.from_dict({"strings": ["viola"]}, name="strings")
            >>> winds = Taxonomy.from_dict({"winds": ["oboe"]}, name="winds")
            >>> strings.merge(winds)
            Taxonomy(name='strings+winds', fine=2, coarse=2)
        """
        if not isinstance(other, Taxonomy):
            raise TaxonomyError(f"'other' must be a Taxonomy. Received: {brief(other)}")
        name = f"{self.name}+{other.name}" if name is None else name
        return self._of(edit.merge(self._parts(), other._parts(), name))

    # Asking it

    @property
    def hash(self) -> str:
        """SHA-256 in hexadecimal over levels, classes, class order and links.

        The same in every process and Python version. Name, provenance, attributes and the order
        in which the parents of a class were given do not change it, so two taxonomies with the
        same hash suit the same model.
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

    def attributes(self, level: str) -> Mapping[str, Mapping[str, Attribute]]:
        """Returns the attributes of every class of `level`, as read-only mappings.

        Attributes say what a class is: a number in a standard, another name, a description.
        They are text, whole numbers or tuples of these, and empty for most taxonomies.

        Raises:
            TaxonomyError: If there is no such level.

        Example:
            >>> Taxonomy.load("general_midi").attributes("fine")["french_horn"]["program"]
            60
        """
        return MappingProxyType(
            {
                name: MappingProxyType(self._attributes.get((level, name), _NO_ATTRIBUTES))
                for name in self.classes(level)
            }
        )

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

    def linked_levels(self) -> list[tuple[str, str, NDArray[np.int64]]]:
        """Lists `(parent level, child level, direct links)` where there are any links.

        Example:
            >>> levels = Taxonomy.from_dict({"a": ["x"]}).linked_levels()
            >>> [(parent, child, links.tolist()) for parent, child, links in levels]
            [('coarse', 'fine', [[0, 0]])]
        """
        return [
            (parent, child, links)
            for i, child in enumerate(self.levels)
            for parent in self.levels[i + 1 :]
            if len(links := self.direct_links(parent, child))
        ]

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
        return draw(self._parts(), self._children)

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
        refuse_contradictions(given, self._closure, self.levels, self._classes)
        spread_absence(given, closed, self._closure)
        derive_parents(closed, self._direct)
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

    # Derived state

    @classmethod
    def _of(cls, parts: TaxonomyParts) -> "Taxonomy":
        return cls(
            name=parts.name,
            levels=parts.levels,
            _classes=parts.classes,
            _parents=parts.parents,
            provenance=parts.provenance,
            _attributes=dict(parts.attributes),
        )

    def _parts(self) -> TaxonomyParts:
        return TaxonomyParts(
            name=self.name,
            levels=self.levels,
            classes=self._classes,
            parents=self._parents,
            provenance=self.provenance,
            attributes=self._attributes,
        )

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
            pair: sorted_pairs(np.array(pairs, np.int64).reshape(-1, 2), self._size(pair[1]))
            for pair, pairs in found.items()
        }

    @cached_property
    def _closure(self) -> dict[tuple[int, int], NDArray[np.int64]]:
        closure: dict[tuple[int, int], NDArray[np.int64]] = {}
        for child in range(len(self.levels)):
            for parent in range(child + 1, len(self.levels)):
                through = [
                    join_pairs(self._direct[parent, middle], closure[middle, child])
                    for middle in range(child + 1, parent)
                ]
                pairs = np.concatenate([self._direct[parent, child], *through])
                closure[parent, child] = sorted_pairs(pairs, self._size(child))
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
        own = self._level_numbers[level]
        places = []
        for parent_level, parent in parents:
            number = self._level_number(parent_level)
            place = self._indices[number].get(parent)
            if place is None or number <= own:
                raise TaxonomyError(self._parent_fault(level, child, parent_level, parent))
            places.append((number, place))
        if len(set(places)) < len(places):
            raise TaxonomyError(
                f"Class {child!r} (level {level!r}) names a parent twice. Received: "
                f"{[name for _, name in parents]}"
            )
        return tuple((self.levels[n], self._classes[n][i]) for n, i in sorted(places))

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


def _packaged_files() -> Any:
    return importlib.resources.files("hmic_keras").joinpath("taxonomies")


def _names(values: Iterable[str], what: str) -> Collection[str]:
    if isinstance(values, str):
        raise TaxonomyError(f"{what} must be a list of names. Received: {values!r}")
    names = list(values)
    if not names:
        raise TaxonomyError(f"{what} must hold at least one name. Received none.")
    return names
