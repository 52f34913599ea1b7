"""Which SoundFont presets sound a class, in which range, and what the instrument plays.

Preset numbers are those of General MIDI, with the variation banks of Roland GS for the few
instruments that General MIDI lacks (ukulele: bank 8 program 24, mandolin: bank 16 program 25).
FluidR3 and MuseScore General build those two from guitar samples, so that little but register
and manner of playing sets them apart; guitars usually keep to their lower register therefore.
Presets whose class is a matter of taste (synth bass, synth voice, string ensembles, recorder)
belong to none of these classes, since the labels made from this table are meant to be beyond
dispute. A taxonomy of General MIDI programs uses them all: see `_general_midi.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Role = Literal[
    "arpeggio",
    "bass",
    "chorale",
    "chords",
    "cymbals",
    "drone",
    "drums",
    "kit",
    "long",
    "melody",
    "ostinato",
    "pad",
    "tremolo",
]
Kind = Literal[
    "bass",
    "bowed",
    "brass",
    "cymbals",
    "drums",
    "effect",
    "ensemble",
    "keys",
    "mallets",
    "organ",
    "plucked",
    "reeds",
    "synth",
    "voice",
    "wind",
]
Preset = tuple[int, int]

DRUM_BANK = 128
# Keys of the General MIDI percussion map.
KICKS, SNARES, RIM, TOMS = (35, 36), (38, 40), 37, (50, 48, 47, 45, 43, 41)
HATS, OPEN_HAT, RIDES, BELL = (42, 44), 46, (51, 59), 53
CRASHES = (49, 57, 55, 52)
DRUM_KEYS = frozenset({*KICKS, *SNARES, RIM, *TOMS})
CYMBAL_KEYS = frozenset({*HATS, OPEN_HAT, *RIDES, BELL, *CRASHES})

UNPITCHED: frozenset[Kind] = frozenset({"drums", "cymbals"})
# Whose tone lasts as long as the player wants, so that it can swell and fade.
SUSTAINED: frozenset[Kind] = frozenset(
    {"bowed", "brass", "ensemble", "organ", "reeds", "synth", "voice", "wind"}
)
# Who plays one note at a time and can therefore double another's line.
MELODIC: frozenset[Kind] = frozenset({"bowed", "brass", "reeds", "voice", "wind"})


@dataclass(frozen=True)
class Instrument:
    """How one class is made to sound.

    Attributes:
        kind: What sort of instrument it is; the styles are made of kinds.
        presets: `(bank, program)` pairs, each of which sounds like the class.
        low: Lowest MIDI note usually played.
        high: Highest MIDI note usually played.
        roles: The parts that fit the instrument; an unstyled part is drawn from them evenly.
        strum: Seconds between the strings of a chord; 0 for keyboards.
        vibrato: Largest modulation-wheel value (0 to 127) a part may be given.
        bend: How far a note may be scooped or pulled, in semitones.
        keys: For drum kits, the MIDI keys that belong to the class; otherwise empty.
        whole: Lowest and highest MIDI note there is, where that is more than is usual.
        even: Whether high and low are played as often as the middle.
    """

    kind: Kind
    presets: tuple[Preset, ...]
    low: int
    high: int
    roles: tuple[Role, ...]
    strum: float = 0.0
    vibrato: int = 0
    bend: float = 0.0
    keys: frozenset[int] = frozenset()
    whole: tuple[int, int] | None = None
    even: bool = False

    def over_whole_range(self) -> "Instrument":
        """Returns the instrument played everywhere, high and low as often as in the middle."""
        low, high = self.whole or (self.low, self.high)
        return replace(self, low=low, high=high, even=True)


def gm(*programs: int) -> tuple[Preset, ...]:
    """Returns the presets of the main bank with these programs, counted from 0."""
    return tuple((0, program) for program in programs)


def _kits(*programs: int) -> tuple[Preset, ...]:
    return tuple((DRUM_BANK, program) for program in programs)


_LINE: tuple[Role, ...] = ("melody", "melody", "long")
_ACOUSTIC_KITS = _kits(*range(0, 20), *range(32, 37), *range(40, 43))
_GUITAR = Instrument(
    "plucked",
    (*gm(24, 25, 26, 27, 28, 29, 30), (8, 25), (8, 26), (8, 28)),
    40,
    71,
    ("chords", "arpeggio", "melody"),
    strum=0.02,
    bend=1.0,
    whole=(40, 79),
)

INSTRUMENTS: Mapping[str, Instrument] = MappingProxyType(
    {
        "accordion": Instrument(
            "reeds",
            ((0, 21), (0, 23), (8, 21)),
            48,
            88,
            ("melody", "chords", "pad"),
            whole=(45, 91),
        ),
        "acoustic_guitar": replace(_GUITAR, presets=(*gm(24, 25), (8, 25)), bend=0.5),
        "banjo": Instrument(
            "plucked", gm(105), 48, 81, ("arpeggio", "chords", "melody"), strum=0.02, bend=0.5
        ),
        "bass": Instrument(
            "bass", gm(32, 33, 34, 35, 36, 37), 28, 55, ("bass",), bend=0.5, whole=(28, 60)
        ),
        "cello": Instrument(
            "bowed",
            gm(42),
            36,
            74,
            ("melody", "long", "bass"),
            vibrato=50,
            bend=0.5,
            whole=(36, 79),
        ),
        "clarinet": Instrument(
            "wind", gm(71), 50, 89, _LINE, vibrato=15, bend=1.0, whole=(50, 91)
        ),
        "cymbals": Instrument(
            "cymbals", _ACOUSTIC_KITS, 42, 59, ("cymbals",), keys=CYMBAL_KEYS
        ),
        "drums": Instrument(
            "drums", (*_ACOUSTIC_KITS, *_kits(24, 25)), 35, 50, ("drums",), keys=DRUM_KEYS
        ),
        "electric_guitar": replace(
            _GUITAR, presets=(*gm(26, 27, 28, 29, 30), (8, 26), (8, 28))
        ),
        "flute": Instrument("wind", gm(73, 73, 72), 60, 96, _LINE, vibrato=40, bend=0.5),
        "guitar": _GUITAR,
        "mallet_percussion": Instrument(
            "mallets",
            gm(9, 11, 12, 13),
            53,
            96,
            ("melody", "arpeggio", "tremolo"),
            whole=(48, 100),
        ),
        "mandolin": Instrument(
            "plucked", ((16, 25),), 55, 88, ("tremolo", "melody", "chords"), strum=0.015
        ),
        "organ": Instrument(
            "organ",
            (*gm(16, 17, 18, 19, 20), (8, 16), (8, 17), (8, 19)),
            41,
            89,
            ("pad", "chords", "melody"),
            whole=(36, 96),
        ),
        "piano": Instrument(
            "keys",
            (*gm(0, 1, 2, 3, 4), (8, 0)),
            33,
            98,
            ("chords", "arpeggio", "melody"),
            whole=(28, 103),
        ),
        "saxophone": Instrument(
            "wind", gm(64, 65, 66, 67), 44, 84, _LINE, vibrato=40, bend=1, whole=(44, 86)
        ),
        "synthesizer": Instrument(
            "synth",
            (*gm(50, 51, 62, 63, 80, 81, 84, 86, 87, 88, 89, 90, 93, 95), (8, 80)),
            40,
            91,
            ("pad", "arpeggio", "melody", "chords"),
            bend=2.0,
            whole=(36, 96),
        ),
        "trombone": Instrument(
            "brass", gm(57), 40, 74, _LINE, vibrato=20, bend=2.0, whole=(34, 77)
        ),
        "trumpet": Instrument(
            "brass", gm(56, 56, 59), 55, 86, _LINE, vibrato=20, bend=0.5, whole=(52, 88)
        ),
        "ukulele": Instrument(
            "plucked", ((8, 24),), 60, 84, ("chords", "arpeggio", "melody"), strum=0.02
        ),
        "violin": Instrument(
            "bowed",
            (*gm(40, 110), (8, 40)),
            55,
            98,
            _LINE,
            vibrato=60,
            bend=0.5,
            whole=(55, 100),
        ),
        "voice": Instrument(
            "voice",
            gm(52, 53),
            45,
            81,
            ("pad", "melody", "long"),
            vibrato=40,
            bend=0.7,
            whole=(40, 84),
        ),
    }
)
