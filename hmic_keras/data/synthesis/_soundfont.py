"""Reading the table of contents of a SoundFont without a synthesiser.

The file is RIFF: an `INFO` list of texts and a `pdta` list whose `phdr` chunk names every
preset (SoundFont Technical Specification 2.04, section 7.2; the compressed SF3 keeps both).
"""

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hmic_keras.errors import AudioError

_PRESET_HEADER_BYTES = 38
# Where Debian, Fedora and Arch put SoundFonts.
_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "~/.local/share/soundfonts",
)
_ENVIRONMENT = "HMIC_SOUNDFONTS"


@dataclass(frozen=True)
class SoundFont:
    """What a SoundFont file says about itself.

    Attributes:
        path: The file.
        name: Its own title.
        notices: Its copyright and licence texts, joined.
        presets: Preset name by `(bank, program)`.
    """

    path: Path
    name: str
    notices: str
    presets: Mapping[tuple[int, int], str]


def find_soundfont(name_or_path: str | os.PathLike[str]) -> Path:
    """Returns the path of a SoundFont that is named as a file, or as an installed one is.

    Args:
        name_or_path: A path, or the name of a file in a folder that the environment variable
            `HMIC_SOUNDFONTS` lists, or where systems install SoundFonts.

    Raises:
        AudioError: If there is no such file.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    listed = os.environ.get(_ENVIRONMENT, "").split(os.pathsep)
    folders = [Path(folder).expanduser() for folder in (*listed, *_FOLDERS) if folder]
    for folder in folders if len(path.parts) == 1 else []:
        if (folder / path).is_file():
            return folder / path
    raise AudioError(
        f"soundfont: there is no file {str(name_or_path)!r}, neither here nor in "
        f"{', '.join(map(str, folders))}. Install it, name its path, or list its folder in "
        f"{_ENVIRONMENT}."
    )


def read_soundfont(path: str | os.PathLike[str]) -> SoundFont:
    """Reads the texts and the preset list of an SF2 or SF3 file.

    Args:
        path: The SoundFont.

    Returns:
        What the file holds.

    Raises:
        AudioError: If the file is missing, unreadable, no SoundFont, cut short or holds no
            presets.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            texts, presets = _read_lists(stream, path)
    except OSError as error:
        raise AudioError(
            f"soundfont: {path} cannot be read ({error.strerror}). "
            "Give the path of an SF2 or SF3 file."
        ) from error
    if not presets:
        raise AudioError(f"soundfont: {path} holds no presets. Use a complete SF2 or SF3 file.")
    notices = "; ".join(texts[key] for key in (b"ICOP", b"ICMT") if texts.get(key))
    return SoundFont(path, texts.get(b"INAM", path.stem), notices, presets)


def _read_lists(
    stream: BinaryIO, path: Path
) -> tuple[dict[bytes, str], dict[tuple[int, int], str]]:
    head = stream.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise AudioError(f"soundfont: {path} is not a SoundFont. Give an SF2 or SF3 file.")
    size = os.fstat(stream.fileno()).st_size
    if 8 + struct.unpack("<I", head[4:8])[0] > size:
        raise AudioError(
            f"soundfont: {path} is cut short: its header announces "
            f"{8 + struct.unpack('<I', head[4:8])[0]} bytes, the file has {size}. "
            "Fetch or install it again."
        )
    texts: dict[bytes, str] = {}
    presets: dict[tuple[int, int], str] = {}
    for _, start, length in _chunks(stream, 12, size):
        stream.seek(start)
        kind = stream.read(4)
        if kind not in (b"INFO", b"pdta"):
            continue
        for name, inner, inner_length in _chunks(stream, start + 4, start + length):
            stream.seek(inner)
            if kind == b"INFO":
                texts[name] = _text(stream.read(inner_length))
            elif name == b"phdr":
                presets = _presets(stream.read(inner_length))
    return texts, presets


def _chunks(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields `(name, first byte of the body, length)` of the chunks between two offsets."""
    while start + 8 <= end:
        stream.seek(start)
        name, length = struct.unpack("<4sI", stream.read(8))
        yield name, start + 8, length
        start += 8 + length
        stream.seek(start)
        # A chunk of odd length is padded, but not by every program that writes SF3 files.
        start += int(length % 2 and stream.read(4) != b"LIST")


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace").strip()


def _presets(raw: bytes) -> dict[tuple[int, int], str]:
    # The last record only marks the end of the table.
    records = range(0, len(raw) - 2 * _PRESET_HEADER_BYTES + 1, _PRESET_HEADER_BYTES)
    table = {}
    for start in records:
        name, program, bank = struct.unpack_from("<20sHH", raw, start)
        table[bank, program] = _text(name)
    return table
