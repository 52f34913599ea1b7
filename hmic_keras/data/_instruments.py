"""Which SoundFont presets sound a class, in which range, and what the instrument plays.

Preset numbers are those of General MIDI, with the variation banks of Roland GS for the few
instruments that General MIDI lacks (ukulele: bank 8 program 24, mandolin: bank 16 program 25).
FluidR3 and MuseScore General build those two from guitar samples, so that little but register
and manner of playing sets them apart; guitars are therefore kept to their lower register.
Presets whose class is a matter of taste (synth bass, synth voice, string ensembles, recorder)
belong to no class, since the labels made from this table are meant to be beyond dispute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Role = Literal[
    "arpeggio", "bass", "chords", "cymbals", "drums", "long", "melody", "pad", "tremolo"
]

DRUM_BANK = 128


@dataclass(frozen=True)
class Instrument:
    """How one class is made to sound.

    Attributes:
        presets: `(bank, program)` pairs, each of which sounds like the class.
        low: Lowest MIDI note played.
        high: Highest MIDI note played.
        roles: The parts that fit the instrument; a part is drawn from them evenly.
        strum: Seconds between the strings of a chord; 0 for keyboards.
        vibrato: Largest modulation-wheel value (0 to 127) a part may be given.
    """

    presets: tuple[tuple[int, int], ...]
    low: int
    high: int
    roles: tuple[Role, ...]
    strum: float = 0.0
    vibrato: int = 0


def _gm(*programs: int) -> tuple[tuple[int, int], ...]:
    return tuple((0, program) for program in programs)


def _kits(*programs: int) -> tuple[tuple[int, int], ...]:
    return tuple((DRUM_BANK, program) for program in programs)


_ACOUSTIC_KITS = _kits(*range(0, 20), *range(32, 37), *range(40, 43))

INSTRUMENTS: Mapping[str, Instrument] = MappingProxyType(
    {
        "accordion": Instrument(
            ((0, 21), (0, 23), (8, 21)), 48, 88, ("melody", "chords", "pad")
        ),
        "banjo": Instrument(_gm(105), 48, 81, ("arpeggio", "chords", "melody"), strum=0.02),
        "bass": Instrument(_gm(32, 33, 34, 35, 36, 37), 28, 55, ("bass",)),
        "cello": Instrument(_gm(42), 36, 74, ("melody", "long", "bass"), vibrato=50),
        "clarinet": Instrument(_gm(71), 50, 89, ("melody", "melody", "long"), vibrato=15),
        "cymbals": Instrument(_ACOUSTIC_KITS, 42, 59, ("cymbals",)),
        "drums": Instrument((*_ACOUSTIC_KITS, *_kits(24, 25)), 35, 50, ("drums",)),
        "flute": Instrument(_gm(73, 73, 72), 60, 96, ("melody", "melody", "long"), vibrato=40),
        "guitar": Instrument(
            (*_gm(24, 25, 26, 27, 28, 29, 30), (8, 25), (8, 26), (8, 28)),
            40,
            71,
            ("chords", "arpeggio", "melody"),
            strum=0.02,
        ),
        "mallet_percussion": Instrument(
            _gm(9, 11, 12, 13), 53, 96, ("melody", "arpeggio", "tremolo")
        ),
        "mandolin": Instrument(
            ((16, 25),), 55, 88, ("tremolo", "melody", "chords"), strum=0.015
        ),
        "organ": Instrument(
            (*_gm(16, 17, 18, 19, 20), (8, 16), (8, 17), (8, 19)),
            41,
            89,
            ("pad", "chords", "melody"),
        ),
        "piano": Instrument(
            (*_gm(0, 1, 2, 3, 4), (8, 0)), 33, 98, ("chords", "arpeggio", "melody")
        ),
        "saxophone": Instrument(
            _gm(64, 65, 66, 67), 44, 84, ("melody", "melody", "long"), vibrato=40
        ),
        "synthesizer": Instrument(
            (*_gm(50, 51, 62, 63, 80, 81, 84, 86, 87, 88, 89, 90, 93, 95), (8, 80)),
            40,
            91,
            ("pad", "arpeggio", "melody", "chords"),
        ),
        "trombone": Instrument(_gm(57), 40, 74, ("melody", "melody", "long"), vibrato=20),
        "trumpet": Instrument(
            _gm(56, 56, 59), 55, 86, ("melody", "melody", "long"), vibrato=20
        ),
        "ukulele": Instrument(((8, 24),), 60, 84, ("chords", "arpeggio", "melody"), strum=0.02),
        "violin": Instrument(
            (*_gm(40, 110), (8, 40)), 55, 98, ("melody", "melody", "long"), vibrato=60
        ),
        "voice": Instrument(_gm(52, 53), 45, 81, ("pad", "melody", "long"), vibrato=40),
    }
)
