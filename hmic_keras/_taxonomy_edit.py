"""Parts of taxonomies and several in one: classes and links to classes and links."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ._taxonomy_forms import ClassKey, TaxonomyParts
from .errors import TaxonomyError

_SHOWN = 5


def restrict(parts: TaxonomyParts, kept: Collection[ClassKey]) -> TaxonomyParts:
    """Keeps some classes, in their order, and every descent among them.

    A link that ran through a class left out is replaced by one to the nearest ancestors that
    are kept, unless it follows from other links. Levels left without classes go.

    Args:
        parts: The taxonomy.
        kept: The classes to keep.
    """
    parents = _parents_of(parts)
    # What a class hangs from, and all its ancestors, among the classes kept; coarse to fine.
    nearest: dict[ClassKey, tuple[ClassKey, ...]] = {}
    above: dict[ClassKey, set[ClassKey]] = {}
    for key in reversed(parents):
        direct = [parent for parent in parents[key] if parent in kept]
        through = dict.fromkeys(
            ancestor
            for parent in parents[key]
            if parent not in kept
            for ancestor in nearest[parent]
        )
        candidates = [*direct, *(one for one in through if one not in direct)]
        implied = set().union(*(above[one] for one in candidates))
        links = (*direct, *(one for one in candidates[len(direct) :] if one not in implied))
        nearest[key] = links
        above[key] = set(links).union(*(above[one] for one in links))
    levels = tuple(
        level
        for level, names in zip(parts.levels, parts.classes, strict=True)
        if any((level, name) in kept for name in names)
    )
    classes = tuple(
        tuple(
            name for name in parts.classes[parts.levels.index(level)] if (level, name) in kept
        )
        for level in levels
    )
    return TaxonomyParts(
        name=parts.name,
        levels=levels,
        classes=classes,
        parents=tuple(
            tuple(nearest[level, name] for name in names)
            for level, names in zip(levels, classes, strict=True)
        ),
        provenance=parts.provenance,
        attributes={key: value for key, value in parts.attributes.items() if key in kept},
    )


def select(parts: TaxonomyParts, classes: Collection[str], level: str) -> set[ClassKey]:
    """Returns the classes given, what is below them, and the ancestors of all these.

    At `level` and below, nothing else comes along.
    """
    parents = _parents_of(parts)
    number = parts.levels.index(level)
    coarser = set(parts.levels[number + 1 :])
    finer = set(parts.levels[:number])
    kept: set[ClassKey] = {(level, name) for name in classes}
    for key in reversed(parents):
        if key[0] in finer and any(parent in kept for parent in parents[key]):
            kept.add(key)
    reached: set[ClassKey] = set()
    for key, above in parents.items():
        if key in kept or key in reached:
            reached.update(parent for parent in above if parent[0] in coarser)
    return kept | reached


def merge(first: TaxonomyParts, second: TaxonomyParts, name: str) -> TaxonomyParts:
    """Joins two taxonomies of the same levels; classes of the first come first.

    Raises:
        TaxonomyError: If the levels differ, or a class of both has other parents or another
            value of an attribute in the second.
    """
    if first.levels != second.levels:
        raise TaxonomyError(
            "Only taxonomies of the same levels can be merged. Received: "
            f"{', '.join(first.levels)} ({first.name!r}) and {', '.join(second.levels)} "
            f"({second.name!r}). `with_levels` leaves levels out."
        )
    parents, others = _parents_of(first), _parents_of(second)
    _refuse(
        "have other parents in the two taxonomies",
        (
            f"{key[0]}:{key[1]} {_names(parents[key])} and {_names(others[key])}"
            for key in others
            if key in parents and set(parents[key]) != set(others[key])
        ),
    )
    attributes: dict[ClassKey, Mapping[str, Any]] = dict(first.attributes)
    for key, given in second.attributes.items():
        attributes[key] = {**given, **attributes.get(key, {})}
    _refuse(
        "have other attributes in the two taxonomies",
        (
            f"{key[0]}:{key[1]} {name} {attributes[key][name]!r} and {value!r}"
            for key, given in second.attributes.items()
            for name, value in given.items()
            if attributes[key][name] != value
        ),
    )
    joined = {**parents, **others}
    classes = tuple(
        tuple(dict.fromkeys([*ours, *theirs]))
        for ours, theirs in zip(first.classes, second.classes, strict=True)
    )
    return TaxonomyParts(
        name=name,
        levels=first.levels,
        classes=classes,
        parents=tuple(
            tuple(joined[level, name] for name in names)
            for level, names in zip(first.levels, classes, strict=True)
        ),
        provenance="\n".join(
            dict.fromkeys(text for text in (first.provenance, second.provenance) if text)
        ),
        attributes=attributes,
    )


def _parents_of(parts: TaxonomyParts) -> dict[ClassKey, tuple[ClassKey, ...]]:
    """Returns the parents of every class, finest classes first."""
    return {
        (level, name): above
        for level, names, links in zip(parts.levels, parts.classes, parts.parents, strict=True)
        for name, above in zip(names, links, strict=True)
    }


def _names(keys: Collection[ClassKey]) -> str:
    return f"[{', '.join(f'{level}:{name}' for level, name in keys)}]"


def _refuse(what: str, conflicts: Iterator[str]) -> None:
    found = list(conflicts)
    if found:
        more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise TaxonomyError(
            f"Classes {what}: {'; '.join(found[:_SHOWN])}{more}. Make them agree in one of the "
            "two first."
        )
