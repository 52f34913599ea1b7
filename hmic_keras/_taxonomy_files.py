"""Taxonomy files: YAML, JSON and CSV that nobody vouches for, read to plain data and written.

YAML and JSON are read to dicts, lists and text alone; everything else these formats can say is
refused here, since a taxonomy has no use for it.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ._files import write_json, write_text
from ._taxonomy_forms import MAX_LEVELS
from .errors import TaxonomyError

SUFFIXES = (".yaml", ".yml", ".json", ".csv")
_MAX_FILE_BYTES = 4 * 2**20
_TEXT_TAG = "tag:yaml.org,2002:str"
_ONLY_TEXT = frozenset({_TEXT_TAG})
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
# Deeper than any valid file: one mapping a level, a list, the document.
_MAX_DEPTH = MAX_LEVELS + 2


def check_suffix(path: Path, what: str) -> str:
    """Returns the suffix of a file in lower case, after making sure that it is a known one.

    Raises:
        TaxonomyError: If it is not; `what` names the file in the message.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise TaxonomyError(
            f"{path}: {what} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}. "
            f"Received: {path.suffix or 'no suffix'}."
        )
    return suffix


def read_tree(path: Path, *, nulls: bool = False) -> Any:
    """Reads a YAML or JSON file to dicts, lists and text, and refuses everything else.

    Whole numbers pass in JSON, and in YAML below a key `attributes` of the document; it is for
    the reader of the form to say where they may stand.

    Args:
        path: The file; its suffix decides on the format.
        nulls: Whether a value may be null.

    Returns:
        The document, or None for an empty one.

    Raises:
        TaxonomyError: If the file cannot be read, is too large or not plain data; the message
            names the file and, where known, the line.
    """
    text = _read_text(path)
    if path.suffix.lower() == ".json":
        return _parse_json(text, path)
    return _parse_yaml(text, path, nulls)


def read_table(path: Path) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Reads a CSV file to its header and, for each row but blank ones, its place and cells.

    Raises:
        TaxonomyError: If the file cannot be read, is too large, empty or not valid CSV; the
            message names the file and, where known, the line.
    """
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    rows: list[tuple[str, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            if cells:
                rows.append((f"line {line}", cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise TaxonomyError(f"{path}, line {line}: not valid CSV: {error}.") from error
    if not rows:
        raise TaxonomyError(f"{path}: the table is empty; it needs a header and rows.")
    return rows[0][1], rows[1:]


def write_tree(path: Path, content: dict[str, Any]) -> None:
    """Writes dicts, lists, text and numbers to a YAML or JSON file, whole or not at all."""
    if path.suffix.lower() == ".json":
        write_json(path, content)
    else:
        write_text(path, yaml_text(content))


def yaml_text(content: dict[str, Any]) -> str:
    """Returns YAML that `read_tree` reads back: short lists on one line, text in any script."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(
        content,
        Dumper=dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=96,
    )


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns CSV with line feeds at the line ends."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    # ValueError: a name with a null character.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise TaxonomyError(f"{path}: the file cannot be read: {reason}.") from error
    if len(content) > _MAX_FILE_BYTES:
        raise TaxonomyError(f"{path}: the file must not exceed {_MAX_FILE_BYTES // 2**20} MiB.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TaxonomyError(
            f"{path}, line {line}: the file is not UTF-8 text. Save it as UTF-8."
        ) from error


# JSON


def _parse_json(text: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise TaxonomyError(f"{path}: the key {repeated!r} occurs twice.")
        return found

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise TaxonomyError(
            f"{path}, line {error.lineno}: not valid JSON: {error.msg}."
        ) from error
    except TaxonomyError:
        raise
    except RecursionError as error:
        raise TaxonomyError(f"{path}: nested deeper than any taxonomy.") from error
    except ValueError as error:
        # A number with more digits than Python converts.
        raise TaxonomyError(f"{path}: not valid JSON: {error}.") from error
    _check_depth(content, path, 1)
    return content


def _check_depth(value: Any, path: Path, depth: int) -> None:
    if not isinstance(value, (dict, list)):
        return
    if depth > _MAX_DEPTH:
        raise TaxonomyError(f"{path}: nested deeper than any taxonomy.")
    for inner in value.values() if isinstance(value, dict) else value:
        _check_depth(inner, path, depth + 1)


# YAML


def _parse_yaml(text: str, path: Path, nulls: bool) -> Any:
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        try:
            return _YamlBuilder(loader, path, nulls).document()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        if "nesting depth" in str(reason):
            # libyaml reads ahead, and from 0.2.6 gives up on its own before the builder does.
            raise TaxonomyError(f"{path}{place}: nested deeper than any taxonomy.") from error
        raise TaxonomyError(f"{path}{place}: not valid YAML: {reason}.") from error


class _YamlBuilder:
    """Builds plain data straight from a loader's events.

    PyYAML's own way from events over nodes to objects takes several times as long, and would
    follow anchors and tags before anyone could refuse them.
    """

    def __init__(self, loader: Any, path: Path, nulls: bool) -> None:
        import yaml

        self._loader = loader
        self._path = path
        self._kinds = _ONLY_TEXT | ({"tag:yaml.org,2002:null"} if nulls else frozenset())
        # Plain text that begins with any other character is text, whatever follows.
        self._ambiguous = {"", *(first or "" for first in loader.yaml_implicit_resolvers)}
        self._yaml = yaml
        self._next: Callable[[], Any] = loader.get_event

    def document(self) -> Any:
        """Reads the one document of the file; None if it has none."""
        yaml = self._yaml
        self._next()  # the start of the stream
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 1)
        self._next()  # the end of the document
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise TaxonomyError(f"{self._place(event)}: the file must hold one YAML document.")
        return value

    def _place(self, event: Any) -> str:
        return f"{self._path}, line {event.start_mark.line + 1}"

    def _value(self, event: Any, depth: int) -> Any:
        yaml = self._yaml
        if event.anchor is not None:
            raise TaxonomyError(
                f"{self._place(event)}: YAML anchors and aliases are refused; write it out."
            )
        if event.tag is not None:
            raise TaxonomyError(
                f"{self._place(event)}: YAML tags are refused. Received: {event.tag}"
            )
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if depth > _MAX_DEPTH:
            raise TaxonomyError(f"{self._place(event)}: nested deeper than any taxonomy.")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth)
        return self._mapping(depth)

    def _sequence(self, depth: int) -> list[Any]:
        end = self._yaml.SequenceEndEvent
        found = []
        while not isinstance(event := self._next(), end):
            found.append(self._value(event, depth + 1))
        return found

    def _mapping(self, depth: int) -> dict[str, Any]:
        yaml = self._yaml
        found: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
                raise TaxonomyError(f"{self._place(event)}: a key must be text.")
            kinds, self._kinds = self._kinds, _ONLY_TEXT
            key = self._value(event, depth)
            if key in found:
                raise TaxonomyError(f"{self._place(event)}: the key {key!r} occurs twice.")
            self._kinds = kinds
            if depth == 1 and key == "attributes":
                self._kinds = kinds | {"tag:yaml.org,2002:int"}
            found[key] = self._value(self._next(), depth + 1)
            self._kinds = kinds
        return found

    def _scalar(self, event: Any) -> str | int | None:
        value: str = event.value
        if event.style or value[:1] not in self._ambiguous:
            return value
        tag = self._loader.resolve(self._yaml.ScalarNode, value, (True, False))
        if tag == _TEXT_TAG:
            return value
        kind = tag.rsplit(":", 1)[-1]
        if tag in self._kinds and kind == "null":
            return None
        if tag in self._kinds and kind == "int" and _INTEGER.fullmatch(value):
            return int(value)
        raise TaxonomyError(
            f"{self._place(event)}: expected text, but YAML reads {value!r} as {kind}. Put a "
            "name in quotes, and write [] for an empty list."
        )
