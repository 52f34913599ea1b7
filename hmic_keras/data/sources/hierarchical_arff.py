r"""Hierarchical multi-label data in the ARFF format of Clus, and the published sets in it.

The format adds one attribute type to Weka's ARFF: `hierarchical`, whose value for an example is
its most specific classes joined by `@`. A **tree** lists classes by their path from the top
(`01/01/03`); a **DAG** lists links, `parent/child`, from an artificial `root` down, and
examples name classes alone::

    @RELATION toy
    @ATTRIBUTE loudness numeric
    @ATTRIBUTE key {minor,major}
    @ATTRIBUTE class hierarchical winds,winds/brass,winds/brass/horn,strings
    @DATA
    0.5,minor,winds/brass/horn@strings
    ?,major,winds/brass

An example has the classes it names and all above them; it lacks every other. It may end at an
inner class, and classes may end at any depth. That makes a `Taxonomy` with a level a depth:
`depth_1` holds the classes at the top and is the coarsest, and in a DAG a class lies one level
below the deepest of its parents, at the end of the longest path down to it, so that links may
skip levels. A class of a coarse level may so be without children, and a class is named by its
whole path. The artificial root is not a class, and neither are the three ontologies of the Gene
Ontology, which every example would have: the published scores leave them out too.

Numeric attributes become one column; nominal ones a column for each value, all 0 where the
value is missing. A missing number is NaN until `FeatureSplits.standardise`.

The sets were collected by the authors of Clus (Vens et al., "Decision trees for hierarchical
multi-label classification", Machine Learning 2008; Dimitrovski et al. for the images) and
accompany the code of C-HMCNN (Giunchiglia and Lukasiewicz, "Coherent hierarchical multi-label
classification networks", NeurIPS 2020) at https://github.com/EGiunchiglia/C-HMCNN, folder
`HMC_data`. They are not part of this package, and their terms are their authors'.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import HmicError, LabelError, brief
from ...taxonomy import Taxonomy
from ..feature_sets import FeatureSet, FeatureSplits

PROVENANCE: Mapping[str, str] = {
    "corpus": "hierarchical multi-label ARFF sets that accompany C-HMCNN",
    "licence": "by their authors; see https://github.com/EGiunchiglia/C-HMCNN",
}

PUBLISHED: Mapping[str, tuple[str, ...]] = {
    "diatoms": ("Diatoms_train", "Diatoms_test"),
    "enron": ("Enron_corr_trainvalid", "Enron_corr_test"),
    "imclef07a": ("ImCLEF07A_Train", "ImCLEF07A_Test"),
    "imclef07d": ("ImCLEF07D_Train", "ImCLEF07D_Test"),
    **{
        f"{name}_{hierarchy}": tuple(
            f"{name}_{hierarchy}.{part}" for part in ("train", "valid", "test")
        )
        for name in (
            *("cellcycle", "church", "derisi", "eisen", "expr"),
            *("gasch1", "gasch2", "pheno", "seq", "spo"),
        )
        for hierarchy in ("FUN", "GO")
        if (name, hierarchy) != ("church", "GO")
    },
}
"""Published sets: file names without suffix, training part first, test part last."""

Hierarchy = Literal["auto", "tree", "dag"]
_ROOTS = frozenset({"root", "GO0003674", "GO0005575", "GO0008150"})
_MISSING = "?"


def read_arff(path: str | os.PathLike[str], hierarchy: Hierarchy = "auto") -> FeatureSet:
    """Reads one file; the module describes the format.

    Args:
        path: The file, in UTF-8.
        hierarchy: What the hierarchical attribute lists: `"tree"`, paths from the top; `"dag"`,
            links from the artificial `root` down; `"auto"`, links if `root` is among them.

    Returns:
        Its examples. Missing numbers are NaN.

    Raises:
        HmicError: If `hierarchy` is none of the three.
        LabelError: If the file is missing, not in this format or holds no example; the message
            names file and line.
        TaxonomyError: If the classes make no taxonomy.
    """
    path = Path(path)
    if hierarchy not in ("auto", "tree", "dag"):
        raise HmicError(f'`hierarchy` must be "auto", "tree" or "dag". Received: {hierarchy!r}')
    header, rows = _read(path, hierarchy)
    classes = header.classes
    taxonomy = classes.taxonomy(path.stem)
    places = {name: number for number, name in enumerate(classes.kept)}
    lines, cells = zip(*rows, strict=True)
    *values, named = zip(*cells, strict=True)
    features = np.concatenate(
        [
            column.values(cells, path, lines)
            for column, cells in zip(header.columns, values, strict=True)
        ],
        axis=1,
    )
    present = np.zeros((len(rows), len(places)), np.float32)
    for i, (line, names) in enumerate(zip(lines, named, strict=True)):
        owned = classes.with_ancestors(names.split("@"), path, line)
        present[i, [places[name] for name in owned if name in places]] = 1
    labels = {
        level: present[:, [places[name] for name in taxonomy.classes(level)]]
        for level in taxonomy.levels
    }
    return FeatureSet(taxonomy, features, labels)


def read_published(name: str, folder: str | os.PathLike[str]) -> FeatureSplits:
    """Reads one of the `PUBLISHED` sets, not standardised yet.

    Args:
        name: Such as `"enron"`, `"cellcycle_FUN"` or `"spo_GO"`.
        folder: Any folder that holds its ARFF files, however deep.

    Returns:
        Its parts. The four sets outside yeast have no `valid`: the published protocol holds
        30 % of the training part out to choose settings, then trains on all of it.

    Raises:
        LabelError: If there is no such set, a file is missing or repeated, or the parts differ
            in classes or attributes.
    """
    if name not in PUBLISHED:
        raise LabelError(f"`name` must be one of {sorted(PUBLISHED)}. Received: {name!r}")
    train, *valid, test = (
        read_arff(
            _find(Path(folder), f"{stem}.arff"), "dag" if name.endswith("_GO") else "tree"
        )
        for stem in PUBLISHED[name]
    )
    return FeatureSplits(name, train, test, valid[0] if valid else None)


def _find(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name)) if folder.is_dir() else []
    if len(found) != 1:
        raise LabelError(
            f"{folder}: must hold {name} once, itself or in a folder below. Received: "
            f"{len(found)} of them. The files are in HMC_data of "
            "https://github.com/EGiunchiglia/C-HMCNN."
        )
    return found[0]


@dataclass(frozen=True)
class _Column:
    """An attribute that is no class: numeric, or nominal with its values."""

    name: str
    categories: tuple[str, ...] | None

    def values(self, cells: Sequence[str], path: Path, lines: Sequence[int]) -> np.ndarray:
        """Returns the attribute of every example, `(rows, 1)` or a column a category."""
        cells = [_unquoted(cell) for cell in cells]
        if self.categories is not None:
            columns = {name: i for i, name in enumerate(self.categories)}
            for cell, line in zip(cells, lines, strict=True):
                if cell != _MISSING and cell not in columns:
                    raise LabelError(
                        f"{path}: line {line}: attribute {self.name!r} must be one of "
                        f"{brief(list(self.categories))} or '?'. Received: {brief(cell)}"
                    )
            places = np.array([columns.get(cell, -1) for cell in cells])
            return (places[:, np.newaxis] == np.arange(len(columns))).astype(np.float32)
        numbers = np.array([_number(cell) for cell in cells], np.float32)
        wrong = np.flatnonzero(np.isinf(numbers))
        if len(wrong):
            raise LabelError(
                f"{path}: line {lines[wrong[0]]}: attribute {self.name!r} must be a number or "
                f"'?'. Received: {brief(cells[wrong[0]])}"
            )
        return numbers[:, np.newaxis]


def _number(cell: str) -> float:
    """Returns a number, NaN where it is missing, infinity for anything else."""
    if cell == _MISSING:
        return float("nan")
    try:
        value = float(cell)
    except ValueError:
        return float("inf")
    return value if np.isfinite(value) else float("inf")


class _Classes:
    """The classes of a hierarchical attribute and their parents, in the order of the file."""

    def __init__(self, terms: Iterable[str], hierarchy: Hierarchy, place: str) -> None:
        terms = [term.strip() for term in terms]
        if "" in terms:
            raise LabelError(f"{place}: a class has no name. Received: {brief(terms)}")
        self.place = place
        self.dag = hierarchy == "dag" or (
            hierarchy == "auto" and any(term.split("/")[0] == "root" for term in terms)
        )
        self.parents: dict[str, list[str]] = {}
        for term in terms:
            self._add(term)
        self.kept = [name for name in self.parents if name not in _ROOTS or not self.dag]

    def _add(self, term: str) -> None:
        parts = term.split("/")
        if not self.dag:
            # A path brings the classes above it along, listed by themselves or not.
            for depth in range(1, len(parts) + 1):
                above = ["/".join(parts[: depth - 1])] if depth > 1 else []
                self.parents.setdefault("/".join(parts[:depth]), above)
            return
        if len(parts) != 2 or not all(parts):
            raise LabelError(
                f"{self.place}: a link of a DAG must be written parent/child. Received: "
                f"{brief(term)}"
            )
        parent, child = parts
        self.parents.setdefault(parent, [])
        known = self.parents.setdefault(child, [])
        if parent not in known:
            known.append(parent)

    def with_ancestors(self, names: Iterable[str], path: Path, line: int) -> set[str]:
        open_ = [name.strip() for name in names]
        for name in open_:
            if name not in self.parents:
                raise LabelError(
                    f"{path}: line {line}: the hierarchy has no class {brief(name)}. Classes "
                    "of one example are joined by '@'."
                )
        found = set(open_)
        while open_:
            new = [parent for parent in self.parents[open_.pop()] if parent not in found]
            found.update(new)
            open_ += new
        return found

    def depths(self) -> dict[str, int]:
        """Length of the longest path from the top to each kept class, 1 at the top."""
        kept = set(self.kept)
        waiting = {name: {p for p in self.parents[name] if p in kept} for name in self.kept}
        children: dict[str, list[str]] = {name: [] for name in self.kept}
        for name, above in waiting.items():
            for parent in above:
                children[parent].append(name)
        ready = [name for name, above in waiting.items() if not above]
        depths = dict.fromkeys(ready, 1)
        done = 0
        while done < len(ready):
            name = ready[done]
            done += 1
            for child in children[name]:
                depths[child] = max(depths.get(child, 1), depths[name] + 1)
                waiting[child].discard(name)
                if not waiting[child]:
                    ready.append(child)
        if done < len(self.kept):
            rest = sorted(kept - set(ready))
            raise LabelError(
                f"{self.place}: the links must not form a cycle. Received one among "
                f"{brief(rest)}"
            )
        return depths

    def taxonomy(self, name: str) -> Taxonomy:
        depths = self.depths()
        levels = [f"depth_{depth}" for depth in range(max(depths.values(), default=0), 0, -1)]
        classes: dict[str, list[str]] = {level: [] for level in levels}
        parents: dict[str, dict[str, list[str]]] = {level: {} for level in levels}
        for one in self.kept:
            level = f"depth_{depths[one]}"
            classes[level].append(one)
            above = [p for p in self.parents[one] if p in depths]
            if above:
                parents[level][one] = [f"depth_{depths[p]}:{p}" for p in above]
        return Taxonomy.from_dict(
            {
                "name": name,
                "levels": levels,
                "classes": classes,
                "parents": {level: links for level, links in parents.items() if links},
            }
        )


@dataclass(frozen=True)
class _Header:
    columns: tuple[_Column, ...]
    classes: _Classes


def _read(path: Path, hierarchy: Hierarchy) -> tuple[_Header, list[tuple[int, list[str]]]]:
    """Returns the header and, by line number, the cells of each example, classes last."""
    columns: list[_Column] = []
    classes: _Classes | None = None
    rows: list[tuple[int, list[str]]] = []
    in_data = False
    for line, text in _lines(path):
        keyword = text.split(None, 1)[0].lower()
        if in_data:
            rows.append((line, _cells(text, path, line, len(columns) + 1)))
        elif keyword == "@attribute":
            if classes is not None:
                raise LabelError(
                    f"{path}: line {line}: the hierarchical attribute must be the last one."
                )
            name, kind = _attribute(text, path, line)
            if kind.lower().startswith("hierarchical"):
                terms = kind[len("hierarchical") :].split(",")
                classes = _Classes(terms, hierarchy, f"{path}: line {line}")
            else:
                columns.append(_Column(name, _categories(kind, path, line)))
        elif keyword == "@data":
            in_data = True
        elif keyword != "@relation":
            raise LabelError(
                f"{path}: line {line}: must start with @relation, @attribute or @data. "
                f"Received: {brief(text)}"
            )
    if classes is None or not columns or not rows:
        raise LabelError(
            f"{path}: must have attributes, a hierarchical one last, and examples after @data. "
            f"Received: {len(columns)} attributes, {'no' if classes is None else 'one'} "
            f"hierarchical, {len(rows)} examples"
        )
    return _Header(tuple(columns), classes), rows


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines that say something, numbered from 1, without comments.

    A `%` starts a comment; only names of attributes may have one inside.
    """
    if not path.is_file():
        raise LabelError(
            f"{path}: no such file. Name an ARFF file with a hierarchical attribute."
        )
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for line, text in enumerate(stream, start=1):
                text = text.strip()
                if not text.startswith("@"):
                    text = text.split("%", 1)[0].rstrip()
                if text:
                    yield line, text
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: is not UTF-8 text, so it is no ARFF file.") from error


def _attribute(text: str, path: Path, line: int) -> tuple[str, str]:
    rest = text.split(None, 1)[1] if len(text.split(None, 1)) == 2 else ""
    if rest[:1] in ("'", '"') and rest[1:].count(rest[0]):
        name, _, kind = rest[1:].partition(rest[0])
    else:
        name, _, kind = rest.replace("\t", " ").partition(" ")
    if not name or not kind.strip():
        raise LabelError(
            f"{path}: line {line}: must be '@attribute NAME TYPE'. Received: {brief(text)}"
        )
    return name, kind.strip()


def _categories(kind: str, path: Path, line: int) -> tuple[str, ...] | None:
    if kind.lower() in ("numeric", "real", "integer"):
        return None
    if not (kind.startswith("{") and kind.endswith("}")):
        raise LabelError(
            f"{path}: line {line}: an attribute must be numeric, {{nominal,values}} or "
            f"hierarchical. Received: {brief(kind)}"
        )
    return tuple(_unquoted(value) for value in kind[1:-1].split(","))


def _cells(text: str, path: Path, line: int, expected: int) -> list[str]:
    cells = text.split(",")
    if len(cells) != expected:
        raise LabelError(
            f"{path}: line {line}: must have {expected} values, one an attribute. Received: "
            f"{len(cells)}"
        )
    return cells


def _unquoted(text: str) -> str:
    text = text.strip()
    quoted = text[:1] in ("'", '"') and len(text) > 1 and text[0] == text[-1]
    return text[1:-1] if quoted else text
