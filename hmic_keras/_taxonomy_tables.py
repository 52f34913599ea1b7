"""Taxonomies as tables: a column for each level, finest first, and rows that link classes.

The cells of a row form a chain: each names a class whose parent is the next cell that is not
empty. A class with several parents has several rows; a row with one cell names a class only.
Classes stand in the order of first mention, so that a table gives any classes and links back
exactly, class order included.
"""

import itertools
from collections.abc import Iterable, Sequence

from ._taxonomy_forms import ClassKey, TaxonomyParts, check_levels, check_name
from .errors import TaxonomyError, brief

Row = tuple[str, Sequence[str]]
"""Where a row stands, for messages, and its cells."""


def parse_rows(header: Sequence[str], rows: Iterable[Row], name: str) -> TaxonomyParts:
    """Takes a table apart.

    Args:
        header: The level names, finest first.
        rows: The place of each row and its cells, empty text for an empty cell.
        name: Name of the taxonomy.

    Raises:
        TaxonomyError: If a name breaks a rule, a row is empty, repeated or of another length
            than the header, or a level has no classes; the message opens with the place.
    """
    levels = tuple(header)
    try:
        check_levels(levels)
    except TaxonomyError as error:
        raise TaxonomyError(
            f"the header must hold the names of the levels, separated by commas: {error}"
        ) from error
    found: list[dict[str, list[ClassKey]]] = [{} for _ in levels]
    seen: dict[tuple[str, ...], str] = {}
    for place, cells in rows:
        row = tuple(cells)
        if len(row) != len(levels):
            raise TaxonomyError(
                f"{place}: a row must have {len(levels)} cells, one for each level. Received: "
                f"{len(row)}"
            )
        if row in seen:
            raise TaxonomyError(f"{place}: the row repeats {seen[row]}: {brief(row)}")
        seen[row] = place
        _add_chain(place, row, levels, found)
    for level, classes in zip(levels, found, strict=True):
        if not classes:
            raise TaxonomyError(
                f"column {level!r} has no classes; every level needs at least one."
            )
    return TaxonomyParts(
        name=name,
        levels=levels,
        classes=tuple(tuple(classes) for classes in found),
        parents=tuple(tuple(map(tuple, classes.values())) for classes in found),
    )


def _add_chain(
    place: str,
    row: tuple[str, ...],
    levels: tuple[str, ...],
    found: list[dict[str, list[ClassKey]]],
) -> None:
    chain = [(number, cell) for number, cell in enumerate(row) if cell]
    if not chain:
        raise TaxonomyError(f"{place}: a row must name at least one class.")
    for number, cell in chain:
        if cell not in found[number]:
            check_name(cell, f"{place}: a class name of level {levels[number]!r}")
            found[number][cell] = []
    for (number, cell), (above, parent) in itertools.pairwise(chain):
        link = (levels[above], parent)
        if link not in found[number][cell]:
            found[number][cell].append(link)


def table_rows(parts: TaxonomyParts) -> list[tuple[str, ...]]:
    """Returns the rows that `parse_rows` reads back as the same classes and links.

    Every class of the finest level comes with a chain of ancestors for each of its parents.
    Where these rows mention the classes of a coarser level in another order than theirs, rows
    that name them alone come first.
    """
    rows = _chains(parts, set())
    out_of_order = set()
    for number, classes in enumerate(parts.classes):
        mentioned = dict.fromkeys(row[number] for row in rows if row[number])
        if tuple(mentioned) != classes:
            out_of_order.add(number)
    if not out_of_order:
        return rows
    empty = [""] * len(parts.levels)
    named = [
        (*empty[:number], name, *empty[number + 1 :])
        for number in sorted(out_of_order, reverse=True)
        for name in parts.classes[number]
    ]
    return named + _chains(parts, out_of_order)


def _chains(parts: TaxonomyParts, declared: set[int]) -> list[tuple[str, ...]]:
    """Returns rows that cover every link once, and every class at a level not in `declared`."""
    number_of = {level: number for number, level in enumerate(parts.levels)}
    parents = {
        (level, name): above
        for level, names, links in zip(parts.levels, parts.classes, parts.parents, strict=True)
        for name, above in zip(names, links, strict=True)
    }
    covered: set[tuple[ClassKey, ClassKey]] = set()
    mentioned: set[ClassKey] = set()
    rows: list[tuple[str, ...]] = []
    for key, above in parents.items():
        for first in above:
            if (key, first) in covered:
                continue
            cells = [""] * len(parts.levels)
            at: ClassKey = key
            up: tuple[ClassKey, ...] = (first,)
            cells[number_of[key[0]]] = key[1]
            mentioned.add(key)
            while up:
                covered.add((at, up[0]))
                at, up = up[0], parents[up[0]]
                cells[number_of[at[0]]] = at[1]
                mentioned.add(at)
            rows.append(tuple(cells))
        if not above and key not in mentioned and number_of[key[0]] not in declared:
            cells = [""] * len(parts.levels)
            cells[number_of[key[0]]] = key[1]
            rows.append(tuple(cells))
    return rows
