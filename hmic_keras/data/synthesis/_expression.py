"""How a line is shaped: vibrato that sets in late, swells, and notes that are scooped."""

from collections.abc import Sequence

import numpy as np

from hmic_keras.data.synthesis._instruments import SUSTAINED, Instrument
from hmic_keras.data.synthesis._score import Control, Note

_STEP_SECONDS = 0.1
_SCOOP_STEP_SECONDS = 0.015
# Notes of one line may overlap by so much.
_TOUCH_SECONDS = 0.1


def shape(
    rng: np.random.Generator, player: Instrument, notes: Sequence[Note], seconds: float
) -> tuple[Control, ...]:
    """Draws the controls of one part.

    Args:
        rng: Source of every choice.
        player: Who plays; decides what it can do.
        notes: What it plays, by onset.
        seconds: Length of the clip.

    Returns:
        The controls by onset.
    """
    controls: list[Control] = []
    if player.vibrato and rng.random() < 0.8:
        controls += _vibrato(rng, player, notes)
    if player.kind in SUSTAINED and rng.random() < 0.5:
        controls += _swells(rng, seconds)
    if player.bend and rng.random() < 0.35:
        controls += _scoops(rng, player, notes, seconds)
    return tuple(sorted(controls, key=lambda control: control.onset))


def _vibrato(
    rng: np.random.Generator, player: Instrument, notes: Sequence[Note]
) -> list[Control]:
    depth = float(rng.uniform(0.2, 1.0)) * player.vibrato / 127
    if rng.random() < 0.5:
        return [Control(0.0, "vibrato", depth)]
    delay = float(rng.uniform(0.15, 0.4))
    controls = []
    for note in notes:
        controls.append(Control(note.onset, "vibrato", 0.0))
        if note.duration > delay + 0.1:
            controls.append(Control(note.onset + delay, "vibrato", depth / 2))
            controls.append(Control(note.onset + delay + 0.1, "vibrato", depth))
    return controls


def _swells(rng: np.random.Generator, seconds: float) -> list[Control]:
    """Loudness that comes and goes in phrases of some seconds."""
    period, phase = rng.uniform(1.5, 8.0), rng.uniform(0.0, 2 * np.pi)
    depth = rng.uniform(0.1, 0.45)
    times = np.arange(0.0, seconds, _STEP_SECONDS)
    values = 1.0 - depth * (0.5 + 0.5 * np.cos(2 * np.pi * times / period + phase))
    return [
        Control(float(time), "expression", float(value))
        for time, value in zip(times, values, strict=True)
    ]


def _scoops(
    rng: np.random.Generator, player: Instrument, notes: Sequence[Note], seconds: float
) -> list[Control]:
    """Notes approached from below, or now and then from above."""
    share = rng.uniform(0.1, 0.6)
    busy_until = 0.0
    controls = []
    for note, following in zip(notes, (*notes[1:], None), strict=True):
        drawn = rng.random(), rng.uniform(0.3, 1.0) * player.bend, rng.uniform(0.06, 0.16)
        depth = -drawn[1] if rng.random() < 0.8 else drawn[1]
        free = (following.onset if following else seconds) - note.onset
        # Bending moves every sounding note, so chords are left alone.
        alone = busy_until < note.onset + _TOUCH_SECONDS
        busy_until = max(busy_until, note.onset + note.duration)
        if not alone or drawn[0] > share or drawn[2] > min(0.5 * note.duration, 0.8 * free):
            continue
        steps = int(np.ceil(drawn[2] / _SCOOP_STEP_SECONDS))
        controls += [
            Control(note.onset + i * _SCOOP_STEP_SECONDS, "bend", depth * (1 - i / steps))
            for i in range(steps + 1)
        ]
    return controls
