"""Label maps: the tags of somebody else's data set to the classes of a taxonomy."""

import importlib.resources
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._files import write_text
from ._label_closure import UNOBSERVED, as_labels
from ._taxonomy_files import check_suffix, csv_text, read_table, read_tree, write_tree
from ._taxonomy_forms import ClassKey, check_name, check_text, hint
from .errors import LabelError, TaxonomyError, brief
from .taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LabelMap", "Relabelled"]

_FULL_KEYS = ("name", "provenance", "map", "partial")
_CSV_COLUMNS = ("tag", "class", "partial")
_KEPT_COLUMN = "path"
_KEPT_PREFIXES = ("_", "meta_")


class Relabelled(NamedTuple):
    """What became of some tags.

    Attributes:
        classes: Classes they stand for as `(level, name)`, each once, in the tags' order.
        dropped: Tags that the map drops.
        unknown: Tags that the map does not have.
    """

    classes: tuple[ClassKey, ...]
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class LabelMap:
    """Which classes of a taxonomy the tags of another data set stand for.

    A tag stands for one class, or for several that are all present where it is, or for none:
    then it is dropped. Several tags may stand for one class; unless marked as partial, they
    cover it together. Make one with `load` or `from_dict`.

    Labels follow the tags' so that nothing is claimed that they do not say:

    - a class is present where one of its tags is;
    - it is absent where all of the tags that cover it are observed absent. The absence of a
      partial tag (`female singer` for `voice`) says nothing, nor does that of a tag that
      stands for several classes, since any one of them may be missing;
    - otherwise it is unobserved, also where the data set lacks one of the tags.

    Attributes:
        taxonomy: The taxonomy of the classes.
        targets: For each tag the classes it stands for, as `(level, name)`.
        partial: Tags that stand for a part of their class only.
        name: What the map is called.
        provenance: Where the tags come from, as free text.

    Example:
        >>> taxonomy = Taxonomy.load("openmic")
        >>> tags = LabelMap.from_dict({"vln": "violin", "strgs": "coarse:bowed_strings",
        ...                            "applause": None}, taxonomy)
        >>> tags.apply(["vln", "applause", "kazoo"])
        Relabelled(classes=(('fine', 'violin'),), dropped=('applause',), unknown=('kazoo',))
    """

    taxonomy: Taxonomy
    targets: Mapping[str, tuple[ClassKey, ...]]
    partial: frozenset[str] = frozenset()
    name: str = field(default="custom", compare=False)
    provenance: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return f"LabelMap(name={self.name!r}, tags={len(self.targets)}, to={self.taxonomy!r})"

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str], taxonomy: Taxonomy) -> "LabelMap":
        """Loads a packaged map by name, or one from a YAML, JSON or CSV file by path.

        YAML and JSON hold what `from_dict` takes, with null for a tag to drop. CSV has the
        columns `tag`, `class` and, if needed, `partial` (1 or empty): a row for each class of a
        tag, and an empty class for a tag to drop.

        Args:
            name_or_path: A packaged name such as `"irmas_to_openmic"`, or a path with the
                suffix `.yaml`, `.yml`, `.json` or `.csv`.
            taxonomy: The taxonomy of the classes.

        Returns:
            The map.

        Raises:
            TaxonomyError: If there is no such packaged map or file, or its content breaks a
                rule; the message names the file and, where known, the line.

        Example:
            >>> LabelMap.load("irmas_to_openmic", Taxonomy.load("openmic")).dropped
            ('nod',)
        """
        text = os.fspath(name_or_path)
        folder = importlib.resources.files("hmic_keras").joinpath("taxonomies", "maps")
        if isinstance(name_or_path, str) and not Path(text).suffix and os.sep not in text:
            packaged = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir())
            if text not in packaged:
                raise TaxonomyError(
                    f"There is no packaged label map {text!r}.{hint(text, packaged)} Packaged: "
                    f"{', '.join(packaged)}. A file is given by its path, ending in .yaml, "
                    ".yml, .json or .csv."
                )
            with importlib.resources.as_file(folder.joinpath(f"{text}.yaml")) as path:
                return cls.load(path, taxonomy)
        path = Path(name_or_path)
        if check_suffix(path, "a label map") == ".csv":
            data = _from_table(path)
        else:
            data = read_tree(path, nulls=True)
        try:
            return cls.from_dict(data, taxonomy, name=path.stem)
        except TaxonomyError as error:
            raise TaxonomyError(f"{path}: {error}") from error

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], taxonomy: Taxonomy, *, name: str = "custom"
    ) -> "LabelMap":
        """Builds a map from its short or its full form.

        The short form maps each tag to a class, a list of classes, or None to drop it. A class
        is a bare name, which means the finest level that has it, or `level:name`. The full
        form, which `to_dict` returns, holds such a mapping as `map` and, optionally, the list
        `partial`, `name` and `provenance`.

        Args:
            data: The short or full form; where `map` is a mapping, it is the full one.
            taxonomy: The taxonomy of the classes.
            name: The name where `data` has none.

        Returns:
            The map.

        Raises:
            TaxonomyError: If `data` breaks a rule or a class is unknown; the message names the
                tag.
        """
        if not isinstance(taxonomy, Taxonomy):
            raise TaxonomyError(f"'taxonomy' must be a Taxonomy. Received: {brief(taxonomy)}")
        if not isinstance(data, Mapping) or not data:
            raise TaxonomyError(
                f"A label map must be a mapping that is not empty. Received: {brief(data)}"
            )
        form: Mapping[str, Any] = (
            data if isinstance(data.get("map"), Mapping) else {"map": data}
        )
        for key in form:
            if key not in _FULL_KEYS:
                raise TaxonomyError(
                    f"A label map's full form has no key {key!r}; its keys are "
                    f"{', '.join(_FULL_KEYS)}."
                )
        targets = {
            _checked_tag(tag): _targets(tag, given, taxonomy)
            for tag, given in form["map"].items()
        }
        if not targets:
            raise TaxonomyError("A label map must have at least one tag. Received none.")
        check_name(form.get("name", name), "The label map's name")
        check_text(form.get("provenance", ""), "'provenance'")
        return cls(
            taxonomy=taxonomy,
            targets=targets,
            partial=_checked_partial(form.get("partial", ()), targets),
            name=form.get("name", name),
            provenance=form.get("provenance", ""),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the full form, ready for JSON or YAML; dropped tags map to None."""
        written: dict[str, Any] = {}
        for tag, targets in self.targets.items():
            columns = [_column(self.taxonomy, target) for target in targets]
            written[tag] = columns if len(columns) > 1 else (columns[0] if columns else None)
        partial = [tag for tag in self.targets if tag in self.partial]
        return {
            "name": self.name,
            "provenance": self.provenance,
            "map": written,
            "partial": partial,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the map to a file, whole or not at all, in the format of its suffix.

        CSV has no place for provenance and a name other than the file's.

        Args:
            path: Ends in `.yaml`, `.yml`, `.json` or `.csv`.

        Raises:
            TaxonomyError: If the suffix is another one.
        """
        path = Path(path)
        if check_suffix(path, "a label map") != ".csv":
            write_tree(path, self.to_dict())
            return
        rows = [
            (tag, column, "1" if tag in self.partial else "")
            for tag, targets in self.targets.items()
            for column in ([_column(self.taxonomy, one) for one in targets] or [""])
        ]
        write_text(path, csv_text(_CSV_COLUMNS, rows))

    @property
    def dropped(self) -> tuple[str, ...]:
        """The tags that stand for no class."""
        return tuple(tag for tag, targets in self.targets.items() if not targets)

    def apply(self, tags: Iterable[str]) -> Relabelled:
        """Turns the tags of one clip, or of a whole data set, into classes.

        Args:
            tags: Names of tags.

        Returns:
            The classes, and what was dropped or is unknown. Ancestors are not added; see
            `Taxonomy.close_labels`.

        Raises:
            LabelError: If `tags` is a single text.
        """
        names = tuple(dict.fromkeys(_tag_list(tags)))
        known = [name for name in names if name in self.targets]
        return Relabelled(
            classes=tuple(dict.fromkeys(key for tag in known for key in self.targets[tag])),
            dropped=tuple(tag for tag in known if not self.targets[tag]),
            unknown=tuple(name for name in names if name not in self.targets),
        )

    def convert(self, labels: ArrayLike, tags: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Turns label arrays over tags into labels of the taxonomy, closed over the hierarchy.

        Args:
            labels: `(rows, tags)`: 1 present, 0 absent, between them a probability, -1 or NaN
                unobserved.
            tags: The tag of each column. Tags of the map without a column are unobserved.

        Returns:
            For every level, finest first, float32 `(rows, classes)`, with -1 for unobserved.

        Raises:
            LabelError: If a tag is unknown (map it to None to drop it) or occurs twice, a shape
                or value is wrong, or two tags contradict each other over the hierarchy.

        Example:
            >>> taxonomy = Taxonomy.from_dict({"strings": ["guitar", "violin"]})
            >>> tags = LabelMap.from_dict({"gac": "guitar", "gel": "guitar"}, taxonomy)
            >>> tags.convert([[1, -1], [0, 0], [0, -1]], ["gac", "gel"])["fine"]
            array([[ 1., -1.],
                   [ 0., -1.],
                   [-1., -1.]], dtype=float32)
        """
        return self.taxonomy.close_labels(self._by_level(self._class_columns(labels, tags)))

    def convert_frame(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Turns a table of tags into one of classes, as `hmic_keras.data.read_clips` reads it.

        Args:
            frame: A row for each clip. The column `path` and those that begin with `_` or
                `meta_` are kept unless the map has them as tags; every other column is a tag,
                with labels as in `convert`, None and NaN for unobserved.

        Returns:
            A new table with the kept columns and one for each class that the map knows,
            without a value where unobserved. Labels are not yet closed over the hierarchy.

        Raises:
            LabelError: As `convert` does, or if a column is not numeric.

        Example:
            >>> import pandas as pd
            >>> taxonomy = Taxonomy.from_dict({"strings": ["guitar", "violin"]})
            >>> tags = LabelMap.from_dict({"gac": "guitar", "noise": None}, taxonomy)
            >>> frame = pd.DataFrame({"path": ["a.wav"], "gac": [1], "noise": [0]})
            >>> tags.convert_frame(frame).to_csv(index=False).split()
            ['path,guitar', 'a.wav,1.0']
        """
        import pandas as pd

        if not isinstance(frame, pd.DataFrame):
            raise LabelError(f"'frame' must be a pandas DataFrame. Received: {brief(frame)}")
        kept = [column for column in frame.columns if self._is_kept(column)]
        tags = [column for column in frame.columns if not self._is_kept(column)]
        try:
            labels = frame[tags].to_numpy(dtype=float, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise LabelError(f"The columns of tags must hold numbers: {error}.") from error
        columns = {
            _column(self.taxonomy, key): np.where(values < 0, np.nan, values)
            for key, values in self._class_columns(labels, tags).items()
        }
        return pd.concat([frame[kept], pd.DataFrame(columns, index=frame.index)], axis=1)

    def _is_kept(self, column: object) -> bool:
        if not isinstance(column, str) or column in self.targets:
            return False
        return column == _KEPT_COLUMN or column.startswith(_KEPT_PREFIXES)

    def _class_columns(
        self, labels: ArrayLike, tags: Sequence[str]
    ) -> dict[ClassKey, NDArray[np.float32]]:
        """Returns the labels `(rows,)` of each class the map knows, in the taxonomy's order."""
        tags = _tag_list(tags)
        repeated = next((tag for tag in tags if tags.count(tag) > 1), None)
        if repeated is not None:
            raise LabelError(f"'tags' has {repeated!r} twice; each tag has one column.")
        unknown = [tag for tag in tags if tag not in self.targets]
        if unknown:
            raise LabelError(
                f"Label map {self.name!r} has no tags {', '.join(map(repr, unknown[:5]))}"
                f"{' and others' if len(unknown) > 5 else ''}.{hint(unknown[0], self.targets)} "
                "Map a tag to null to drop it."
            )
        array = as_labels(labels, "tags", tags)
        position = {tag: number for number, tag in enumerate(tags)}
        sources: dict[ClassKey, list[str]] = {}
        for tag, targets in self.targets.items():
            for key in targets:
                sources.setdefault(key, []).append(tag)
        return {
            (level, name): self._combine(array, position, sources[level, name])
            for level in self.taxonomy.levels
            for name in self.taxonomy.classes(level)
            if (level, name) in sources
        }

    def _combine(
        self, array: NDArray[np.float32], position: Mapping[str, int], tags: Sequence[str]
    ) -> NDArray[np.float32]:
        """Joins the columns of the tags of one class."""

        def columns(chosen: Iterable[str]) -> NDArray[np.float32]:
            missing = np.full(len(array), UNOBSERVED, np.float32)
            found = [array[:, position[t]] if t in position else missing for t in chosen]
            return np.stack([missing, *found], axis=1)

        highest = columns(tags).max(axis=1)
        covering = [t for t in tags if t not in self.partial and len(self.targets[t]) == 1]
        whole = columns(covering)
        settled = (whole[:, 1:] >= 0).all(axis=1) & bool(covering)
        below = np.where(settled, whole.max(axis=1), UNOBSERVED)
        return np.where(highest > 0.5, highest, below).astype(np.float32)

    def _by_level(
        self, columns: Mapping[ClassKey, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float32]]:
        found: dict[str, NDArray[np.float32]] = {}
        for (level, name), values in columns.items():
            shape = (len(values), len(self.taxonomy.classes(level)))
            array = found.setdefault(level, np.full(shape, UNOBSERVED, np.float32))
            array[:, self.taxonomy.index(level)[name]] = values
        if not found:
            raise LabelError(f"Label map {self.name!r} drops every tag; there is no label.")
        return found


def _column(taxonomy: Taxonomy, key: ClassKey) -> str:
    """Writes a class as a table column: bare where that means it, else `level:name`."""
    level, name = key
    return name if taxonomy.resolve(name) == key else f"{level}:{name}"


def _tag_list(tags: Iterable[str]) -> list[str]:
    if isinstance(tags, str):
        raise LabelError(f"'tags' must be a list of tags. Received: {tags!r}")
    return list(tags)


def _checked_tag(tag: object) -> str:
    check_text(tag, "A tag of a label map")
    if not tag:
        raise TaxonomyError("A tag of a label map must not be empty.")
    return str(tag)


def _targets(tag: str, given: object, taxonomy: Taxonomy) -> tuple[ClassKey, ...]:
    columns = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(columns, (list, tuple)):
        raise TaxonomyError(
            f"Tag {tag!r} must map to a class, a list of classes or null. Received: "
            f"{brief(given)}"
        )
    try:
        keys = tuple(taxonomy.resolve(column) for column in columns)
    except TaxonomyError as error:
        raise TaxonomyError(f"Tag {tag!r}: {error}") from error
    if len(set(keys)) < len(keys):
        raise TaxonomyError(f"Tag {tag!r} names a class twice. Received: {brief(given)}")
    return keys


def _checked_partial(given: object, tags: Collection[str]) -> frozenset[str]:
    if not isinstance(given, (list, tuple)):
        raise TaxonomyError(f"'partial' must be a list of tags. Received: {brief(given)}")
    for tag in given:
        if not isinstance(tag, str) or tag not in tags:
            raise TaxonomyError(f"'partial' has {tag!r}, which 'map' lacks.{hint(tag, tags)}")
    return frozenset(given)


def _from_table(path: Path) -> dict[str, Any]:
    """Reads a CSV file to the full form of a label map."""
    header, rows = read_table(path)
    if tuple(header) not in (_CSV_COLUMNS[:2], _CSV_COLUMNS):
        raise TaxonomyError(
            f"{path}, line 1: the columns must be tag, class and, optionally, partial. "
            f"Received: {', '.join(header)}"
        )
    targets: dict[str, list[str]] = {}
    partial: dict[str, bool] = {}
    for place, cells in rows:
        if len(cells) != len(header):
            raise TaxonomyError(
                f"{path}, {place}: a row must have {len(header)} cells. Received: {len(cells)}"
            )
        tag, column, mark = (*cells, "")[:3]
        if mark not in ("", "0", "1"):
            raise TaxonomyError(
                f"{path}, {place}: 'partial' must be 1, 0 or empty. Received: {mark!r}"
            )
        known = targets.setdefault(tag, [])
        if tag in partial and (column in known or not column or not known):
            raise TaxonomyError(
                f"{path}, {place}: tag {tag!r} has this class, or is dropped, on another line."
            )
        if partial.setdefault(tag, mark == "1") != (mark == "1"):
            raise TaxonomyError(
                f"{path}, {place}: tag {tag!r} is partial on one line and not on another."
            )
        known.extend([column] if column else [])
    return {"map": targets, "partial": [tag for tag, marked in partial.items() if marked]}
