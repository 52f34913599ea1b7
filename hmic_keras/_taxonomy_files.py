"""Taxonomy files: YAML that nobody vouches for, to plain dicts, lists and text."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ._taxonomy_forms import MAX_LEVELS
from .errors import TaxonomyError

_MAX_FILE_BYTES = 4 * 2**20
_TEXT_TAG = "tag:yaml.org,2002:str"
# Deeper than any valid file: one mapping a level, a list, the document.
_MAX_DEPTH = MAX_LEVELS + 2


def read_yaml(path: Path) -> Any:
    """Reads a YAML file to dicts, lists and text, and refuses everything else.

    Returns:
        The document, or None for an empty one.

    Raises:
        TaxonomyError: If the file cannot be read, is too large or not plain YAML; the message
            names the file and, where known, the line.
    """
    import yaml

    text = _read_text(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(yaml.parse(text, Loader=loader), path)
        root = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise TaxonomyError(f"{path}{place}: not valid YAML: {reason}.") from error
    return None if root is None else _plain(root, path)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TaxonomyError(
            f"{path}: the taxonomy file cannot be read: {error.strerror}."
        ) from error
    if len(content) > _MAX_FILE_BYTES:
        raise TaxonomyError(
            f"{path}: a taxonomy file must not exceed {_MAX_FILE_BYTES // 2**20} MiB."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TaxonomyError(
            f"{path}, line {line}: the file is not UTF-8 text. Save it as UTF-8."
        ) from error


def _check_events(events: Iterable[Any], path: Path) -> None:
    """Refuses what a data file has no use for, before anything is built from it."""
    import yaml

    depth = documents = 0
    for event in events:
        place = f"{path}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise TaxonomyError(f"{place}: YAML anchors and aliases are refused; write it out.")
        if getattr(event, "tag", None):
            raise TaxonomyError(f"{place}: YAML tags are refused. Received: {event.tag}")
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if documents > 1:
            raise TaxonomyError(f"{place}: a taxonomy file must hold one YAML document.")
        if depth > _MAX_DEPTH:
            raise TaxonomyError(f"{place}: nested deeper than any taxonomy.")


def _plain(node: Any, path: Path) -> Any:
    """Turns a YAML node into dicts, lists and text; every other value is refused."""
    import yaml

    place = f"{path}, line {node.start_mark.line + 1}"
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, path) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        if node.tag != _TEXT_TAG:
            kind = node.tag.rsplit(":", 1)[-1]
            raise TaxonomyError(
                f"{place}: expected text, but YAML reads {node.value!r} as {kind}. Put a name "
                "in quotes, and write [] for an empty list."
            )
        return node.value
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key_place = f"{path}, line {key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise TaxonomyError(f"{key_place}: a key must be text.")
        key = _plain(key_node, path)
        if key in found:
            raise TaxonomyError(f"{key_place}: the key {key!r} occurs twice.")
        found[key] = _plain(value_node, path)
    return found
