"""What is asked of a corpus, checked."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hmic_keras.errors import HmicError

Format = Literal["ogg", "flac", "wav"]
SUBTYPES: dict[str, str] = {"ogg": "VORBIS", "flac": "PCM_16", "wav": "PCM_16"}


@dataclass(frozen=True)
class Settings:
    """What, beside SoundFont and MIDI files, determines every sample of a clip.

    The attributes are arguments of `render_corpus`; `classes` are the finest of its taxonomy.

    Raises:
        HmicError: If a value is out of range.
    """

    classes: tuple[str, ...]
    seconds: float
    sample_rate: int
    seed: int
    polyphony: tuple[int, int]
    polyphony_decay: float
    empty: float
    channels: Literal[1, 2]
    stems: bool
    format: Format
    quality: float
    modelled: float = 0.0
    whole_range: bool = False

    def __post_init__(self) -> None:
        _check_number("seconds", self.seconds, 1, 60)
        check_whole("sample_rate", self.sample_rate, 8000, 48000)
        check_whole("seed", self.seed, 0)
        _check_number("polyphony_decay", self.polyphony_decay, 0, 1, open_start=True)
        _check_number("empty", self.empty, 0, 1)
        _check_number("modelled", self.modelled, 0, 1)
        check_whole("channels", self.channels, 1, 2)
        _check_number("quality", self.quality, 0, 1)
        for name in ("stems", "whole_range"):
            if not isinstance(value := getattr(self, name), bool):
                raise HmicError(f"{name} must be True or False. Received: {value!r}")
        if not isinstance(self.polyphony, tuple | list) or len(self.polyphony) != 2:
            raise HmicError(
                "polyphony must be a pair: the fewest and the most classes in a clip. "
                f"Received: {self.polyphony!r}"
            )
        check_whole("polyphony[0]", self.polyphony[0], 1)
        check_whole("polyphony[1]", self.polyphony[1], self.polyphony[0])
        if self.format not in SUBTYPES:
            raise HmicError(
                f"format must be one of {', '.join(SUBTYPES)}. Received: {self.format!r}"
            )

    @property
    def frames(self) -> int:
        """Length of a clip in samples."""
        return round(self.seconds * self.sample_rate)

    def rng(
        self, purpose: Literal["size", "deck", "clip", "style", "models"], index: int
    ) -> np.random.Generator:
        """Returns a generator of its own for one purpose and one clip or deck."""
        number = ("size", "deck", "clip", "style", "models").index(purpose)
        return np.random.default_rng([self.seed, number, index])


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuses what is not an integer from `least` to `most`.

    Raises:
        HmicError: If it is not.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise HmicError(f"{name} must be an integer {span}. Received: {value!r}")


def _check_number(
    name: str, value: Any, least: float, most: float, *, open_start: bool = False
) -> None:
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not real or not (least < value <= most if open_start else least <= value <= most):
        span = f"above {least:g} and at most" if open_start else f"from {least:g} to"
        raise HmicError(f"{name} must be a number {span} {most:g}. Received: {value!r}")


def check_out(out: str | os.PathLike[str]) -> None:
    """Refuses a place where something is already.

    Raises:
        HmicError: If `out` exists and is not an empty folder.
    """
    path = Path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise HmicError(
            f"out: {path} exists and is not an empty folder. Name a new one, or remove it "
            "first."
        )
