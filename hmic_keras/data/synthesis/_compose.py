"""Writing short pieces: a key, a tempo, chords, and for each instrument a part that fits it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hmic_keras.data.synthesis._expression import shape
from hmic_keras.data.synthesis._instruments import MELODIC, UNPITCHED, Instrument, Role
from hmic_keras.data.synthesis._percussion import play_cymbals, play_drums, play_kit
from hmic_keras.data.synthesis._players import (
    CHORALE_RHYTHMS,
    pick,
    play_arpeggio,
    play_bass,
    play_chorale,
    play_chords,
    play_drone,
    play_long,
    play_melody,
    play_ostinato,
    play_pad,
    play_tremolo,
)
from hmic_keras.data.synthesis._score import Frame, Note, Part, Score
from hmic_keras.data.synthesis._styles import Style

# Degrees of the scale, 0 being the tonic triad; each chord lasts one bar.
_PROGRESSIONS = (
    (0, 3, 4, 0),
    (0, 5, 3, 4),
    (0, 4, 5, 3),
    (5, 3, 0, 4),
    (0, 5, 1, 4),
    (1, 4, 0, 0),
    (0, 3, 0, 4),
    (0, 2, 3, 4),
    (0, 6, 3, 0),
    (0, 3),
    (0, 6),
    (0,),
)
_PLAYERS: Mapping[Role, Callable[[np.random.Generator, Frame, Instrument], list[Note]]] = {
    "arpeggio": play_arpeggio,
    "bass": play_bass,
    "chorale": play_chorale,
    "chords": play_chords,
    "cymbals": play_cymbals,
    "drone": play_drone,
    "drums": play_drums,
    "kit": play_kit,
    "long": play_long,
    "melody": play_melody,
    "ostinato": play_ostinato,
    "pad": play_pad,
    "tremolo": play_tremolo,
}
_SHORTEST = 0.05
_LATEST_FIRST_ONSET = 0.75


@dataclass(frozen=True)
class _Hall:
    """Where the players sit and how they tune: drawn once a piece."""

    tuning: float
    looseness: float
    width: float


def compose(
    rng: np.random.Generator,
    style: Style,
    players: Mapping[str, Instrument],
    seconds: float,
) -> Score:
    """Writes a piece in which each class plays at least one part.

    Args:
        rng: Source of every choice.
        style: How they play together.
        players: The classes and their instruments.
        seconds: Length of the clip. It may begin in the middle of a bar.

    Returns:
        The score. Every part has a note that starts in the first three quarters of the clip.
    """
    frame = _frame(rng, style, seconds)
    hall = _Hall(
        tuning=float(rng.normal(0.0, 0.12)),
        looseness=float(rng.uniform(0.0, 0.012)),
        width=float(rng.uniform(0.0, 1.0)),
    )
    leader = _leader(rng, players)
    parts = [
        _part(rng, frame, hall, name, player, style.roles(player, leads=name == leader))
        for name, player in players.items()
    ]
    if rng.random() < style.doubling:
        parts = _doubled(rng, hall, parts, players)
    parts = [
        replace(part, controls=shape(rng, players[part.class_name], part.notes, seconds))
        for part in parts
    ]
    return Score(style.name, tuple(parts), frame.tempo, frame.tonic, frame.mode)


def _frame(rng: np.random.Generator, style: Style, seconds: float) -> Frame:
    slowest, fastest = style.tempo
    meter = int(rng.choice(style.meters))
    swings = meter == 4 and rng.random() < style.swing
    return Frame(
        tempo=float(np.exp(rng.uniform(np.log(slowest), np.log(fastest)))),
        meter=meter,
        tonic=int(rng.integers(12)),
        mode=str(rng.choice(style.modes)),
        progression=_PROGRESSIONS[rng.integers(len(_PROGRESSIONS))],
        rhythms=tuple(pick(rng, CHORALE_RHYTHMS) for _ in range(4)),
        upbeat=float(rng.choice([0.0, 0.0, rng.uniform(0.0, meter)])),
        swing=float(rng.uniform(0.1, 1 / 6)) if swings else 0.0,
        seconds=seconds,
    )


def _leader(rng: np.random.Generator, players: Mapping[str, Instrument]) -> str | None:
    pitched = [
        name for name, player in players.items() if player.kind not in {*UNPITCHED, "bass"}
    ]
    return str(rng.choice(pitched)) if pitched else None


def _part(
    rng: np.random.Generator,
    frame: Frame,
    hall: _Hall,
    name: str,
    player: Instrument,
    roles: Mapping[Role, float],
) -> Part:
    weights = np.array(list(roles.values()), np.float64)
    role: Role = list(roles)[rng.choice(len(roles), p=weights / weights.sum())]
    notes: list[Note] = []
    while not notes:
        notes = _into_clip(rng, frame, hall, _PLAYERS[role](rng, frame, player))
    order = rng.permutation(len(player.presets))
    # A drum kit is tuned on its own; pitched players share one tuning and miss it a little.
    own_tuning = rng.uniform(-1.5, 1.5), hall.tuning + rng.normal(0.0, 0.03)
    return Part(
        class_name=name,
        role=role,
        notes=tuple(sorted(notes, key=lambda note: (note.onset, note.key))),
        presets=tuple(player.presets[i] for i in order),
        detune=float(own_tuning[0] if player.kind in UNPITCHED else own_tuning[1]),
        pan=_seat(rng, hall, player),
    )


def _seat(rng: np.random.Generator, hall: _Hall, player: Instrument) -> float:
    central = player.kind in {"bass", *UNPITCHED}
    place = rng.normal(0.0, 0.15 if central else 0.6)
    return float(np.clip(hall.width * place, -1.0, 1.0))


def _into_clip(
    rng: np.random.Generator, frame: Frame, hall: _Hall, beats: Sequence[Note]
) -> list[Note]:
    """Turns beats into seconds, loosens the timing and cuts what lies outside the clip."""
    notes = []
    for note in beats:
        onset = (note.onset - frame.upbeat) * frame.beat + rng.normal(0.0, hall.looseness)
        end = onset + max(note.duration * frame.beat, _SHORTEST)
        onset = max(onset, 0.0)
        velocity = int(np.clip(note.velocity + rng.normal(0.0, 4.0), 20, 127))
        if onset < frame.seconds - _SHORTEST and end > onset + 0.8 * _SHORTEST:
            notes.append(Note(onset, end - onset, note.key, velocity))
    if notes and min(note.onset for note in notes) > _LATEST_FIRST_ONSET * frame.seconds:
        return []
    return notes


def _doubled(
    rng: np.random.Generator,
    hall: _Hall,
    parts: Sequence[Part],
    players: Mapping[str, Instrument],
) -> list[Part]:
    """Lets a second player of a class join its line, or two classes share one line."""
    lines = [part for part in parts if players[part.class_name].kind in MELODIC]
    if not lines:
        return list(parts)
    line = lines[rng.integers(len(lines))]
    others = [part for part in lines if part is not line]
    if others and rng.random() < 0.5:
        follower = others[rng.integers(len(others))]
    else:
        # Several players of one instrument: a section, or an octave apart.
        follower = replace(line, pan=_seat(rng, hall, players[line.class_name]))
    player = players[follower.class_name]
    shift = _octaves(rng, line.notes, player, apart=rng.random() < 0.4)
    if shift is None:
        return list(parts)
    joined = replace(
        follower,
        role=line.role,
        notes=_together(rng, hall, line.notes, shift),
        detune=line.detune + float(rng.normal(0.0, 0.08)),
    )
    kept = [part for part in parts if part is not follower]
    return [*kept, joined]


def _octaves(
    rng: np.random.Generator, notes: Sequence[Note], player: Instrument, *, apart: bool
) -> int | None:
    """Returns by how many semitones the player can shift the line, whole octaves only."""
    low, high = min(n.key for n in notes), max(n.key for n in notes)
    shifts = [
        shift
        for shift in (-24, -12, 0, 12, 24)
        if player.low <= low + shift and high + shift <= player.high
    ]
    wanted = [shift for shift in shifts if (shift != 0) == apart] or shifts
    return int(rng.choice(wanted)) if wanted else None


def _together(
    rng: np.random.Generator, hall: _Hall, notes: Sequence[Note], shift: int
) -> tuple[Note, ...]:
    moved = []
    for note in notes:
        onset = max(0.0, note.onset + rng.normal(0.0, hall.looseness))
        velocity = int(np.clip(note.velocity + rng.normal(0.0, 4.0), 20, 127))
        moved.append(Note(onset, note.duration, note.key + shift, velocity))
    return tuple(sorted(moved, key=lambda note: (note.onset, note.key)))
