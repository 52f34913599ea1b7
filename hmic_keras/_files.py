"""Writing files so that a reader never sees half of one."""

import hashlib
import json
import os
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKSUM = "manifest.sha256"
"""What lies beside a manifest within an exported file, as the command `sha256sum` writes it."""
DAMAGED_ARRAYS = (
    *(OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, SyntaxError),
    *(ArithmeticError, MemoryError, RuntimeError, struct.error, zlib.error),
    *(tokenize.TokenError, zipfile.BadZipFile),
)
"""What `zipfile` and NumPy raise for an `.npz` file with wrong bytes in it."""


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `target` and renames it into place on success.

    What the body writes there, a file or a folder, replaces `target` as a whole. If the body
    raises, the temporary path is removed and `target` stays as it was.

    Args:
        target: The final path. Missing parent folders are made.

    Yields:
        A path that does not exist yet, with the suffix of `target`.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        temporary = staging / target.name
        yield temporary
        if temporary.is_dir() and target.is_dir():
            # A folder cannot be renamed over a filled one; move the old one aside first.
            replaced = staging / "replaced"
            os.replace(target, replaced)
            try:
                os.replace(temporary, target)
            except BaseException:  # an interrupt must not cost the old one either
                os.replace(replaced, target)
                raise
        else:
            os.replace(temporary, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` to `path` in UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads JSON in UTF-8.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds anything else.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def size_of(path: str | os.PathLike[str]) -> int:
    """Returns the bytes in a file, or in all files of a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def sha256(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file's bytes in hexadecimal.

    For a folder, returns that of the sorted listing `"<sha256>  <relative path>"` of its files.
    """
    path = Path(path)
    digest = hashlib.sha256()
    if path.is_dir():
        for item in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{sha256(item)}  {item.relative_to(path).as_posix()}\n".encode())
    else:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def checksum_line(content: bytes, name: str) -> str:
    """Returns the line that the command `sha256sum` writes for a file of that name."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"
