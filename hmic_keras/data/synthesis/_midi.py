"""Scores from the user's own MIDI files: an excerpt becomes one part per class and program."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hmic_keras.data.synthesis._instruments import DRUM_BANK, Instrument, Preset
from hmic_keras.data.synthesis._score import Control, Note, Part, Score
from hmic_keras.data.synthesis._settings import Settings
from hmic_keras.errors import AudioError, MissingDependencyError, first_line

_SUFFIXES = {".mid", ".midi", ".kar"}
_DRUM_CHANNEL = 9
_BANK_SELECT, _VIBRATO, _EXPRESSION, _PEDAL = 0, 1, 11, 64
_CONTROLS = {_VIBRATO: "vibrato", _EXPRESSION: "expression"}
_BEND_PER_SEMITONE = 4096.0
# Less than this of a part is no basis for a label.
_LEAST_SECONDS = 0.2
_FILES_TRIED, _EXCERPTS_TRIED = 12, 6


@dataclass
class _Voice:
    """The notes of one channel and preset, in seconds."""

    preset: Preset
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class Song:
    """A MIDI file in seconds: its voices, and the controls of each channel."""

    voices: Mapping[tuple[int, Preset], _Voice]
    controls: Mapping[int, Sequence[Control]]


def find_midi(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Returns the MIDI files of a folder and its subfolders, sorted.

    Raises:
        AudioError: If there is no such folder, or no such file in it.
        MissingDependencyError: If mido is not installed.
    """
    try:
        import mido  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f'Reading MIDI files needs mido ({error}). Run: pip install "hmic-keras[synth]"'
        ) from error
    root = Path(folder)
    if not root.is_dir():
        raise AudioError(f"midi: {root} is not a folder. Name a folder of MIDI files.")
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    if not found:
        raise AudioError(
            f"midi: {root} holds no MIDI files ({', '.join(sorted(_SUFFIXES))}). "
            "Name a folder that does."
        )
    return tuple(found)


@lru_cache(maxsize=32)
def read_midi(path: Path) -> Song:
    """Reads a MIDI file.

    Raises:
        AudioError: If it cannot be read or holds no notes.
    """
    import mido
    from mido.midifiles import KeySignatureError

    try:
        # Corrupt files make mido fail in any of these ways.
        messages = list(mido.MidiFile(path, clip=True))
    except (OSError, EOFError, ValueError, LookupError, TypeError, KeySignatureError) as error:
        raise AudioError(
            f"{path.name} is not a readable MIDI file: {first_line(error)}"
        ) from error
    song = _Reader()
    for message in messages:
        song.take(message)
    if not song.voices:
        raise AudioError(f"{path.name} holds no notes.")
    return Song(song.voices, song.controls)


class _Reader:
    """Follows the messages of a file: what is held, by key and by pedal, on which preset."""

    def __init__(self) -> None:
        self.voices: dict[tuple[int, Preset], _Voice] = {}
        self.controls: dict[int, list[Control]] = defaultdict(list)
        self._now = 0.0
        self._preset: dict[int, Preset] = {}
        self._pedal: set[int] = set()
        self._held: dict[tuple[int, int], tuple[float, int, Preset]] = {}
        self._let_go: dict[int, set[int]] = defaultdict(set)

    def take(self, message: Any) -> None:
        self._now += message.time
        if message.is_meta or not hasattr(message, "channel"):
            return
        channel = message.channel
        bank, program = self._preset.get(channel, (0, 0))
        if message.type == "program_change":
            self._preset[channel] = (bank, message.program)
        elif message.type == "pitchwheel":
            self._control(channel, "bend", message.pitch / _BEND_PER_SEMITONE)
        elif message.type == "note_on" and message.velocity:
            self._end(channel, message.note)
            preset = (DRUM_BANK if channel == _DRUM_CHANNEL else bank, program)
            self._held[channel, message.note] = (self._now, message.velocity, preset)
        elif message.type in ("note_on", "note_off"):
            if channel in self._pedal:
                self._let_go[channel].add(message.note)
            else:
                self._end(channel, message.note)
        elif message.type == "control_change":
            self._change(channel, message.control, message.value, program)

    def _change(self, channel: int, number: int, value: int, program: int) -> None:
        if number == _BANK_SELECT:
            self._preset[channel] = (value, program)
        elif number in _CONTROLS:
            self._control(channel, _CONTROLS[number], value / 127)
        elif number == _PEDAL and value >= 64:
            self._pedal.add(channel)
        elif number == _PEDAL:
            self._pedal.discard(channel)
            for key in self._let_go.pop(channel, ()):
                self._end(channel, key)

    def _control(self, channel: int, kind: Any, value: float) -> None:
        self.controls[channel].append(Control(self._now, kind, value))

    def _end(self, channel: int, key: int) -> None:
        self._let_go[channel].discard(key)
        if (channel, key) not in self._held:
            return
        onset, velocity, preset = self._held.pop((channel, key))
        if self._now > onset:
            voice = self.voices.setdefault((channel, preset), _Voice(preset))
            voice.notes.append(Note(onset, self._now - onset, key, velocity))


def excerpt(
    rng: np.random.Generator,
    settings: Settings,
    files: Sequence[Path],
    players: Mapping[str, Instrument],
    index: int,
) -> tuple[Score, Path, dict[str, str]]:
    """Cuts a piece out of one of the files, each file having its turn.

    Args:
        rng: Source of every choice but that of the file.
        settings: Length, polyphony and seed.
        files: MIDI files.
        players: The classes to look for. What belongs to none of them is left out.
        index: Number of the clip.

    Returns:
        The score, the file it is from, and the files that could not be read with the reason.

    Raises:
        AudioError: If none of the files tried has music for these classes.
    """
    turn, place = divmod(index, len(files))
    order = settings.rng("deck", turn).permutation(len(files))
    skipped: dict[str, str] = {}
    best: tuple[int, Score, Path] | None = None
    for i in range(min(len(files), _FILES_TRIED)):
        path = files[order[(place + i) % len(files)]]
        try:
            song = read_midi(path)
        except AudioError as error:
            skipped[str(path)] = str(error)
            continue
        parts = _song_parts(song, players)
        for _ in range(_EXCERPTS_TRIED if parts else 0):
            score = _cut(rng, settings, parts)
            found = len({part.class_name for part in score.parts})
            if found >= settings.polyphony[0]:
                return score, path, skipped
            if found and (best is None or found > best[0]):
                best = (found, score, path)
    if best is not None:
        return best[1], best[2], skipped
    reasons = f" Unreadable: {'; '.join(skipped.values())}" if skipped else ""
    raise AudioError(
        f"midi: none of the {min(len(files), _FILES_TRIED)} files tried for clip {index} has "
        f"notes for the classes of the taxonomy.{reasons}"
    )


def _song_parts(song: Song, players: Mapping[str, Instrument]) -> list[Part]:
    by_preset: dict[Preset, str] = {}
    for name, player in players.items():
        for preset in player.presets:
            by_preset.setdefault(preset, name)
    parts = []
    for (channel, (bank, program)), voice in song.voices.items():
        controls = tuple(song.controls.get(channel, ()))
        if bank == DRUM_BANK:
            kits = [name for name, player in players.items() if player.keys]
            shares = [
                (name, tuple(n for n in voice.notes if n.key in players[name].keys))
                for name in kits
            ]
        else:
            found = by_preset.get((bank, program)) or by_preset.get((0, program))
            shares = [(found, tuple(voice.notes))] if found else []
        for name, notes in shares:
            first = ((bank, program), (0, program)) if bank != DRUM_BANK else ((bank, program),)
            others = tuple(p for p in players[name].presets if p not in first)
            if notes:
                parts.append(Part(name, "midi", notes, (*first, *others), controls=controls))
    return parts


def _cut(rng: np.random.Generator, settings: Settings, parts: Sequence[Part]) -> Score:
    """Cuts an excerpt around a note of one class, each class with the same chance."""
    names = sorted({part.class_name for part in parts})
    wanted = str(rng.choice(names))
    onsets = [n.onset for part in parts if part.class_name == wanted for n in part.notes]
    start = max(0.0, float(rng.choice(onsets)) - float(rng.uniform(0, settings.seconds / 2)))
    tuning, width = float(rng.normal(0.0, 0.12)), float(rng.uniform(0.0, 0.6))
    kept = [_part_from(part, start, settings.seconds) for part in parts]
    heard = [part for part in kept if part is not None]
    names = sorted({part.class_name for part in heard})
    chosen = rng.permutation(names)[: settings.polyphony[1]].tolist()
    return Score(
        "midi",
        tuple(
            replace(
                part,
                detune=tuning + float(rng.normal(0.0, 0.02)),
                pan=float(np.clip(rng.normal(0.0, width), -1.0, 1.0)),
            )
            for part in heard
            if part.class_name in chosen
        ),
    )


def _part_from(part: Part, start: float, seconds: float) -> Part | None:
    notes = []
    for note in part.notes:
        onset, end = max(note.onset, start), min(note.onset + note.duration, start + seconds)
        if end > onset:
            notes.append(Note(onset - start, end - onset, note.key, note.velocity))
    # Hits of a drum kit last longer than their keys are held.
    from_kit = part.presets[0][0] == DRUM_BANK
    sounding = sum(note.duration for note in notes)
    if not notes or (sounding < _LEAST_SECONDS and not from_kit):
        return None
    latest: dict[str, Control] = {}
    for control in part.controls:
        if control.onset <= start:
            latest[control.kind] = replace(control, onset=0.0)
    inside = [
        replace(control, onset=control.onset - start)
        for control in part.controls
        if start < control.onset < start + seconds
    ]
    return replace(
        part,
        notes=tuple(sorted(notes, key=lambda note: (note.onset, note.key))),
        controls=(*latest.values(), *inside),
    )
