"""The written forms of a taxonomy: dicts and lists to names and links, and rules for names.

What comes out here is well formed; whether the links hold is for `Taxonomy` to check, which
is also where the two forms are described.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from .errors import TaxonomyError, brief

ClassKey = tuple[str, str]
"""A class, by its level and its name."""

Attribute = str | int | tuple[str | int, ...]
"""The value of an attribute of a class."""

Attributes = Mapping[ClassKey, Mapping[str, Attribute]]
"""The attributes of the classes that have any."""

MAX_LEVELS = 32
_FULL_KEYS = ("name", "provenance", "levels", "classes", "parents", "attributes")


class TaxonomyParts(NamedTuple):
    """What a form holds; classes and the parents of each class follow the order of levels."""

    name: str
    levels: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    parents: tuple[tuple[tuple[ClassKey, ...], ...], ...]
    provenance: str = ""
    attributes: Attributes = MappingProxyType({})


def parse_form(data: Mapping[str, Any], name: str) -> TaxonomyParts:
    """Takes a short or full form apart; `name` serves where `data` has none.

    Raises:
        TaxonomyError: If `data` is not of either form, or a name or level breaks a rule.
    """
    if not isinstance(data, Mapping) or not data:
        raise TaxonomyError(
            "A taxonomy must be a mapping that is not empty, such as "
            f'{{"brass": ["trumpet"]}}. Received: {brief(data)}'
        )
    if "levels" in data or "classes" in data:
        return _from_full(data, name)
    return parse_groups(data, name)


def _mapping(value: object, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise TaxonomyError(f"{what} must be a mapping. Received: {brief(value)}")
    return value


def _listing(value: object, what: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise TaxonomyError(f"{what} must be a list. Received: {brief(value)}")
    return value


def _from_full(data: Mapping[str, Any], name: str) -> TaxonomyParts:
    for key in data:
        if key not in _FULL_KEYS:
            raise TaxonomyError(
                f"A taxonomy's full form has no key {key!r}; its keys are "
                f"{', '.join(_FULL_KEYS)}."
            )
    for key in ("levels", "classes"):
        if key not in data:
            raise TaxonomyError(f"A taxonomy's full form needs {key!r}.")
    levels = tuple(_listing(data["levels"], "'levels'"))
    check_levels(levels)
    by_level = _mapping(data["classes"], "'classes'")
    if set(by_level) != set(levels):
        raise TaxonomyError(
            f"'classes' must have exactly the levels {list(levels)}. Received: {list(by_level)}"
        )
    classes = tuple(tuple(_listing(by_level[lv], f"'classes' of {lv!r}")) for lv in levels)
    for level, names in zip(levels, classes, strict=True):
        check_classes(level, names)
    return TaxonomyParts(
        name=data.get("name", name),
        levels=levels,
        classes=classes,
        parents=_full_parents(data.get("parents", {}), levels, classes),
        provenance=data.get("provenance", ""),
        attributes=_full_attributes(data.get("attributes", {}), levels, classes),
    )


def _full_parents(
    data: object, levels: tuple[str, ...], classes: tuple[tuple[str, ...], ...]
) -> tuple[tuple[tuple[ClassKey, ...], ...], ...]:
    by_level = _mapping(data, "'parents'")
    for level in by_level:
        if level not in levels:
            raise TaxonomyError(f"'parents' has an unknown level {level!r}; known: {levels}")
    found = []
    for i, level in enumerate(levels):
        given = _mapping(by_level.get(level, {}), f"'parents' of {level!r}")
        known = set(classes[i])
        for child in given:
            if child not in known:
                raise TaxonomyError(
                    f"'parents' of {level!r} has an unknown class {child!r}."
                    f"{hint(child, classes[i])}"
                )
        coarser = levels[i + 1] if i + 1 < len(levels) else None
        found.append(
            tuple(
                tuple(
                    _parent_key(reference, coarser, child, levels)
                    for reference in _listing(given.get(child, []), f"The parents of {child!r}")
                )
                for child in classes[i]
            )
        )
    return tuple(found)


def _parent_key(
    reference: object, coarser: str | None, child: str, levels: tuple[str, ...]
) -> ClassKey:
    if not isinstance(reference, str):
        raise TaxonomyError(f"A parent of {child!r} must be text. Received: {reference!r}")
    level, colon, name = reference.partition(":")
    if not colon:
        level, name = coarser or "", reference
    if level not in levels:
        reason = f"there is no level {level!r}" if colon else "its level is the coarsest"
        raise TaxonomyError(
            f"Class {child!r} cannot have the parent {reference!r}: {reason}. A parent must be "
            f"at a strictly coarser level. Levels, finest first: {', '.join(levels)}."
        )
    return level, name


def _full_attributes(
    data: object, levels: tuple[str, ...], classes: tuple[tuple[str, ...], ...]
) -> Attributes:
    found: dict[ClassKey, dict[str, Attribute]] = {}
    by_level = _mapping(data, "'attributes'")
    for level in by_level:
        if level not in levels:
            raise TaxonomyError(f"'attributes' has an unknown level {level!r}; known: {levels}")
    for level, names in zip(levels, classes, strict=True):
        known = set(names)
        for name, given in _mapping(
            by_level.get(level, {}), f"'attributes' of {level!r}"
        ).items():
            if name not in known:
                raise TaxonomyError(
                    f"'attributes' of {level!r} has an unknown class {name!r}."
                    f"{hint(name, names)}"
                )
            pairs = _mapping(given, f"The attributes of {name!r}")
            if pairs:
                found[level, name] = {
                    key: _attribute(value, key, name) for key, value in pairs.items()
                }
    return found


def _attribute(value: object, key: object, name: str) -> Attribute:
    check_name(key, f"The name of an attribute of {name!r}")
    what = f"The attribute {key!r} of {name!r}"
    if isinstance(value, (list, tuple)):
        return tuple(_single_attribute(item, what) for item in value)
    return _single_attribute(value, what)


def _single_attribute(value: object, what: str) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        # As a number, "321.30" would come back as 321.3.
        raise TaxonomyError(
            f"{what} must be text, a whole number or a list of these; write a number with a "
            f"point as text. Received: {value!r}"
        )
    check_text(value, what)
    return str(value)


def parse_groups(
    data: Mapping[str, Any], name: str, levels: Sequence[str] | None = None
) -> TaxonomyParts:
    """Takes nested groups, the short form, apart.

    Args:
        data: The groups, coarsest outside.
        name: Name of the taxonomy.
        levels: Level names, finest first; None for the short form's own.

    Raises:
        TaxonomyError: If a name, a value or the depth breaks a rule.
    """
    if not isinstance(data, Mapping) or not data:
        raise TaxonomyError(
            f"Nested groups must be a mapping that is not empty. Received: {brief(data)}"
        )
    height = _height(data, 1)
    if levels is None:
        default = ("fine", "coarse")
        levels = default if height == 2 else tuple(f"level_{i}" for i in range(height))
    elif len(levels) != height:
        raise TaxonomyError(
            f"'levels' must name the {height} levels of these groups, finest first. Received: "
            f"{brief(levels)}"
        )
    levels = tuple(levels)
    check_levels(levels)
    found: list[dict[str, list[ClassKey]]] = [{} for _ in levels]
    _gather(data, height - 1, [], levels, found)
    return TaxonomyParts(
        name=name,
        levels=levels,
        classes=tuple(tuple(classes) for classes in found),
        parents=tuple(tuple(map(tuple, classes.values())) for classes in found),
    )


def _height(value: object, depth: int) -> int:
    """Counts the levels of a short form from `value` down."""
    if depth > MAX_LEVELS:
        raise TaxonomyError(
            f"A taxonomy must have 1 to {MAX_LEVELS} levels; this nests deeper."
        )
    if not isinstance(value, Mapping):
        return 1
    return 1 + max((_height(inner, depth + 1) for inner in value.values()), default=0)


def _gather(
    value: object,
    level: int,
    parents: list[ClassKey],
    levels: tuple[str, ...],
    found: list[dict[str, list[ClassKey]]],
) -> None:
    """Collects the classes of a short form in the order of first mention."""
    if isinstance(value, Mapping):
        for group, inner in value.items():
            check_name(group, "A class name")
            if group in found[level]:
                raise TaxonomyError(
                    f"The group {group!r} occurs twice. Use the full form, with 'levels', "
                    "'classes' and 'parents', for a group with several parents."
                )
            found[level][group] = list(parents)
            _gather(inner, level - 1, [(levels[level], group)], levels, found)
        return
    group = parents[0][1]
    for item in _listing(value, f"The classes under {group!r}"):
        check_name(item, f"A class name under {group!r}")
        known = found[0].setdefault(item, [])
        if parents[0] in known:
            raise TaxonomyError(f"The class {item!r} occurs twice under {group!r}.")
        known.extend(parents)


def nested_groups(parts: TaxonomyParts) -> dict[str, Any]:
    """Writes the short form of a taxonomy.

    Raises:
        TaxonomyError: If classes or links would get lost.
    """
    if len(parts.levels) < 2:
        raise _not_nested(parts, "it has one level only")
    members: dict[ClassKey, Any] = {}
    top = parts.levels[-1]
    roots: dict[str, Any] = {}
    for number in range(len(parts.levels) - 1, -1, -1):
        level = parts.levels[number]
        for name, above in zip(parts.classes[number], parts.parents[number], strict=True):
            _hang((level, name), above, parts, members)
            if level == top:
                roots[name] = (level, name)
    return {name: _grown(key, members) for name, key in roots.items()}


def _hang(
    key: ClassKey,
    above: Sequence[ClassKey],
    parts: TaxonomyParts,
    members: dict[ClassKey, Any],
) -> None:
    """Enters a class among the members of its parents."""
    level, name = key
    number = parts.levels.index(level)
    between = 0 < number < len(parts.levels) - 1
    if between and [at for at, _ in above] != [parts.levels[number + 1]]:
        raise _not_nested(
            parts, f"{level}:{name} does not have exactly one parent, one level up"
        )
    if not number and not above:
        raise _not_nested(parts, f"{level}:{name} has no parent")
    for parent in above:
        inner = members.setdefault(parent, {} if number else [])
        if isinstance(inner, dict) != bool(number):
            raise _not_nested(
                parts, f"{parent[0]}:{parent[1]} has both groups and finest classes as children"
            )
        if number:
            inner[name] = key
        else:
            inner.append(name)


def _grown(key: ClassKey, members: Mapping[ClassKey, Any]) -> Any:
    inner = members.get(key, [])
    if isinstance(inner, list):
        return inner
    return {name: _grown(child, members) for name, child in inner.items()}


def _not_nested(parts: TaxonomyParts, reason: str) -> TaxonomyError:
    return TaxonomyError(
        f"Taxonomy {parts.name!r} cannot be written as nested groups: {reason}. Use `to_dict` "
        "or `to_frame`."
    )


# Names


def hint(name: str, known: Iterable[str]) -> str:
    """Suggests known names close to `name`, as the end of a message; else nothing."""
    if not isinstance(name, str):
        return ""
    matches = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3)
    return f" Did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def check_name(name: object, what: str) -> None:
    """Refuses what cannot name a class or taxonomy; `what` opens the message."""
    if not isinstance(name, str):
        raise TaxonomyError(f"{what} must be text. Received: {brief(name)}")
    if not name or name != name.strip() or ":" in name or not name.isprintable():
        raise TaxonomyError(
            f"{what} must be printable text, neither empty nor with ':' or with spaces at its "
            f"ends. Received: {brief(name)}"
        )


def check_text(value: object, what: str) -> None:
    """Refuses what is no text, or holds control characters other than tabs and line ends."""
    if not isinstance(value, str):
        raise TaxonomyError(f"{what} must be text. Received: {brief(value)}")
    if not value.replace("\n", "").replace("\t", "").isprintable():
        raise TaxonomyError(f"{what} must be printable text. Received: {brief(value)}")


def check_levels(levels: Sequence[object]) -> None:
    """Refuses too many levels, none, repeated ones, and names no model output can have."""
    if not 1 <= len(levels) <= MAX_LEVELS:
        raise TaxonomyError(
            f"A taxonomy must have 1 to {MAX_LEVELS} levels. Received: {len(levels)}"
        )
    for level in levels:
        # Models use the level names as names of their outputs.
        if not isinstance(level, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", level):
            raise TaxonomyError(
                "A level name must start with an ASCII letter or digit, followed by those or "
                f"'_', '-' and '.'. Received: {brief(level)}"
            )
    if len(set(levels)) < len(levels):
        raise TaxonomyError(f"Level names must differ. Received: {list(levels)}")


def check_classes(level: str, classes: Sequence[object]) -> None:
    """Refuses a level without classes, and unusable or repeated class names."""
    if not classes:
        raise TaxonomyError(f"Level {level!r} has no classes; every level needs at least one.")
    seen: set[object] = set()
    for name in classes:
        check_name(name, f"A class name of level {level!r}")
        if name in seen:
            raise TaxonomyError(f"Level {level!r} has the class {name!r} twice.")
        seen.add(name)
