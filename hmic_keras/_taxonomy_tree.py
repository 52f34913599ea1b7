"""A taxonomy drawn as text."""

from collections.abc import Mapping, Sequence

from ._taxonomy_forms import ClassKey, TaxonomyParts


def draw(parts: TaxonomyParts, children: Mapping[ClassKey, Sequence[ClassKey]]) -> str:
    """Draws every class under each of its parents, and those without parents at the top.

    Args:
        parts: The taxonomy.
        children: The direct children of the classes that have any.

    Returns:
        Lines joined by newlines.
    """
    coarse_to_fine = list(zip(parts.levels, parts.classes, parts.parents, strict=True))[::-1]
    sizes = ", ".join(f"{len(names)} {level}" for level, names, _ in coarse_to_fine)
    roots = [
        (level, name)
        for level, names, links in coarse_to_fine
        for name, above in zip(names, links, strict=True)
        if not above
    ]
    lines = [f"{parts.name}: {sizes}"]
    numbers = {level: number for number, level in enumerate(parts.levels)}
    _Drawing(numbers, children, lines).add(roots, len(parts.levels), "")
    return "\n".join(lines)


class _Drawing:
    """The lines drawn so far, and the classes on them."""

    def __init__(
        self,
        numbers: Mapping[str, int],
        children: Mapping[ClassKey, Sequence[ClassKey]],
        lines: list[str],
    ) -> None:
        self._numbers = numbers
        self._children = children
        self._lines = lines
        self._drawn: set[ClassKey] = set()

    def add(self, keys: Sequence[ClassKey], above: int, indent: str) -> None:
        """Draws classes that hang from one at the level numbered `above`, and what is below."""
        for key in keys:
            last = key == keys[-1]
            branch, bar = ("└── ", "    ") if last else ("├── ", "│   ")
            self._lines.append(f"{indent}{branch}{key[1]}{self._notes(key, above)}")
            if key not in self._drawn:
                self._drawn.add(key)
                self.add(self._children.get(key, ()), self._numbers[key[0]], indent + bar)

    def _notes(self, key: ClassKey, above: int) -> str:
        number, children = self._numbers[key[0]], self._children.get(key)
        notes = [key[0]] if number != above - 1 else []
        if number > 0 and not children:
            notes.append("childless")
        if children and key in self._drawn:
            notes.append("see above")
        return f" ({', '.join(notes)})" if notes else ""
