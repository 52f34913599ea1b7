"""The 128 programs of General MIDI as instruments, and which instrument a class is.

Ranges are the sounding ones of the instruments, in MIDI keys (60 is middle C).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from hmic_keras.data.synthesis._instruments import (
    CYMBAL_KEYS,
    DRUM_BANK,
    DRUM_KEYS,
    INSTRUMENTS,
    Instrument,
    Kind,
    Role,
    gm,
)
from hmic_keras.errors import TaxonomyError
from hmic_keras.taxonomy import Taxonomy


class _Family(NamedTuple):
    kind: Kind
    roles: tuple[Role, ...]
    members: str
    strum: float = 0.0
    vibrato: int = 0
    bend: float = 0.0


_LINE: tuple[Role, ...] = ("melody", "melody", "long")
_CHORDAL: tuple[Role, ...] = ("chords", "arpeggio", "melody")
_HELD: tuple[Role, ...] = ("pad", "long", "melody")
# Name, lowest and highest key of each program, in program order.
_FAMILIES = (
    _Family(
        "keys",
        _CHORDAL,
        "acoustic_grand_piano 28 100, bright_acoustic_piano 28 100, "
        "electric_grand_piano 28 98, honky_tonk_piano 33 96, electric_piano_1 28 96, "
        "electric_piano_2 28 96, harpsichord 41 89, clavi 36 89",
    ),
    _Family(
        "mallets",
        ("melody", "arpeggio", "tremolo"),
        "celesta 60 103, glockenspiel 79 108, music_box 60 100, vibraphone 53 89, "
        "marimba 48 96, xylophone 65 103, tubular_bells 60 77, dulcimer 50 86",
    ),
    _Family(
        "organ",
        ("pad", "chords", "melody"),
        "drawbar_organ 36 96, percussive_organ 36 96, rock_organ 36 96, church_organ 36 96, "
        "reed_organ 41 89, accordion 48 88, harmonica 60 88, tango_accordion 48 88",
    ),
    _Family(
        "plucked",
        _CHORDAL,
        "acoustic_guitar_nylon 40 81, acoustic_guitar_steel 40 81, electric_guitar_jazz 40 84, "
        "electric_guitar_clean 40 84, electric_guitar_muted 40 76, overdriven_guitar 40 84, "
        "distortion_guitar 40 84, guitar_harmonics 52 88",
        strum=0.02,
        bend=1.0,
    ),
    _Family(
        "bass",
        ("bass",),
        "acoustic_bass 28 55, electric_bass_finger 28 55, electric_bass_pick 28 55, "
        "fretless_bass 28 55, slap_bass_1 28 55, slap_bass_2 28 55, synth_bass_1 28 55, "
        "synth_bass_2 28 55",
        bend=0.5,
    ),
    _Family(
        "bowed",
        _LINE,
        "violin 55 98, viola 48 88, cello 36 74, contrabass 28 60, tremolo_strings 36 91, "
        "pizzicato_strings 36 88, orchestral_harp 28 98, timpani 41 57",
        vibrato=50,
        bend=0.5,
    ),
    _Family(
        "ensemble",
        _HELD,
        "string_ensemble_1 36 93, string_ensemble_2 36 93, synth_strings_1 36 93, "
        "synth_strings_2 36 93, choir_aahs 45 81, voice_oohs 45 81, synth_voice 45 84, "
        "orchestra_hit 48 72",
        vibrato=20,
    ),
    _Family(
        "brass",
        _LINE,
        "trumpet 55 86, trombone 40 74, tuba 28 58, muted_trumpet 55 84, french_horn 41 77, "
        "brass_section 43 84, synth_brass_1 40 86, synth_brass_2 40 86",
        vibrato=20,
        bend=1.0,
    ),
    _Family(
        "wind",
        _LINE,
        "soprano_sax 56 87, alto_sax 49 80, tenor_sax 44 75, baritone_sax 37 68, oboe 58 91, "
        "english_horn 52 81, bassoon 34 72, clarinet 50 89",
        vibrato=30,
        bend=0.7,
    ),
    _Family(
        "wind",
        _LINE,
        "piccolo 74 105, flute 60 96, recorder 60 91, pan_flute 60 94, blown_bottle 60 84, "
        "shakuhachi 55 84, whistle 60 96, ocarina 60 84",
        vibrato=30,
        bend=0.5,
    ),
    _Family(
        "synth",
        ("melody", "arpeggio", "long"),
        "lead_1_square 48 96, lead_2_sawtooth 48 96, lead_3_calliope 48 96, "
        "lead_4_chiff 48 96, lead_5_charang 40 91, lead_6_voice 48 91, lead_7_fifths 48 91, "
        "lead_8_bass_lead 36 84",
        bend=2.0,
    ),
    _Family(
        "synth",
        _HELD,
        "pad_1_new_age 40 91, pad_2_warm 40 91, pad_3_polysynth 40 91, pad_4_choir 40 91, "
        "pad_5_bowed 40 91, pad_6_metallic 40 91, pad_7_halo 40 91, pad_8_sweep 40 91",
    ),
    _Family(
        "synth",
        ("pad", "arpeggio", "long"),
        "fx_1_rain 40 91, fx_2_soundtrack 40 91, fx_3_crystal 48 96, fx_4_atmosphere 40 91, "
        "fx_5_brightness 40 91, fx_6_goblins 40 91, fx_7_echoes 40 91, fx_8_sci_fi 40 91",
    ),
    _Family(
        "plucked",
        ("arpeggio", "chords", "melody"),
        "sitar 48 84, banjo 48 81, shamisen 48 84, koto 48 91, kalimba 53 89, bag_pipe 48 79, "
        "fiddle 55 96, shanai 55 84",
        strum=0.02,
        bend=0.7,
    ),
    _Family(
        "mallets",
        ("ostinato", "melody", "tremolo"),
        "tinkle_bell 72 96, agogo 60 84, steel_drums 52 88, woodblock 48 84, "
        "taiko_drum 36 60, melodic_tom 40 72, synth_drum 40 72, reverse_cymbal 48 72",
    ),
    _Family(
        "effect",
        ("long",),
        "guitar_fret_noise 48 84, breath_noise 48 84, seashore 48 84, bird_tweet 48 84, "
        "telephone_ring 48 84, helicopter 48 84, applause 48 84, gunshot 36 72",
    ),
)
# Programs that do not play as the rest of their family does.
_EXCEPTIONS: Mapping[int, tuple[Kind, tuple[Role, ...]]] = {
    21: ("reeds", ("melody", "chords", "pad")),
    22: ("reeds", _LINE),
    23: ("reeds", ("melody", "chords", "pad")),
    42: ("bowed", ("melody", "long", "bass")),
    43: ("bowed", ("bass", "long")),
    44: ("ensemble", ("pad", "long")),
    45: ("plucked", ("melody", "ostinato", "arpeggio")),
    46: ("plucked", ("arpeggio", "arpeggio", "chords")),
    47: ("mallets", ("bass", "ostinato", "tremolo")),
    52: ("voice", _HELD),
    53: ("voice", _HELD),
    55: ("effect", ("chords",)),
    58: ("brass", ("bass", "long", "melody")),
    109: ("reeds", ("melody", "drone")),
    110: ("bowed", _LINE),
    111: ("wind", _LINE),
}


def _programs() -> Iterator[tuple[str, Instrument]]:
    members = [(family, text) for family in _FAMILIES for text in family.members.split(", ")]
    for number, (family, text) in enumerate(members):
        name, low, high = text.split()
        kind, roles = _EXCEPTIONS.get(number, (family.kind, family.roles))
        yield (
            name,
            Instrument(
                kind,
                gm(number),
                int(low),
                int(high),
                roles,
                strum=family.strum if kind == "plucked" else 0.0,
                vibrato=family.vibrato,
                bend=family.bend,
            ),
        )


PROGRAMS: tuple[tuple[str, Instrument], ...] = tuple(_programs())
"""Name and instrument of each program, in program order."""

BY_NAME: Mapping[str, Instrument] = dict(PROGRAMS)

DRUM_KIT = replace(
    INSTRUMENTS["drums"],
    presets=((DRUM_BANK, 0), *INSTRUMENTS["drums"].presets),
    high=59,
    roles=("kit", "kit", "drums", "cymbals"),
    keys=DRUM_KEYS | CYMBAL_KEYS,
)
"""The drum kit as one class, cymbals included: the percussion channel of General MIDI."""
# Programs under the names that `hornbostel_sachs` and `medley_solos_db` use.
_OTHER_NAMES: Mapping[str, int] = {
    "bagpipes": 109,
    "bandoneon": 23,
    "clavinet": 7,
    "distorted_electric_guitar": 30,
    "double_bass": 43,
    "electric_bass": 33,
    "electric_piano": 4,
    "hammered_dulcimer": 15,
    "hammond_organ": 16,
    "harp": 46,
    "nagado_daiko": 116,
    "shehnai": 111,
    "steelpan": 114,
    "tenor_saxophone": 66,
    "tin_whistle": 78,
    "wood_block": 115,
}
_DRUM_KIT_NAMES = ("drum_kit",)
_DRUM_CHANNEL = 10


def instruments_of(taxonomy: Taxonomy) -> dict[str, Instrument]:
    """Returns the instrument of each finest class of a taxonomy.

    An attribute `program` (0 to 127) decides, or `channel: 10` for the drum kit; otherwise the
    name: one of the tags of `openmic`, or a program of General MIDI as `general_midi` or
    another packaged taxonomy spells it.

    Args:
        taxonomy: What is to be rendered.

    Raises:
        TaxonomyError: If a class has no known sound.
    """
    finest = taxonomy.levels[0]
    attributes = taxonomy.attributes(finest)
    found = {name: _instrument(name, given) for name, given in attributes.items()}
    if unknown := [name for name, instrument in found.items() if instrument is None]:
        raise TaxonomyError(
            f"Taxonomy {taxonomy.name!r} has finest classes without a known sound: "
            f"{', '.join(unknown)}. Give them the attribute `program`, the number of a General "
            f"MIDI program from 0 to 127, or a known name: {', '.join(INSTRUMENTS)}, or those "
            "of the General MIDI programs."
        )
    return {name: instrument for name, instrument in found.items() if instrument is not None}


def _instrument(name: str, attributes: Mapping[str, object]) -> Instrument | None:
    program = attributes.get("program")
    if isinstance(program, int) and 0 <= program < len(PROGRAMS):
        return PROGRAMS[program][1]
    if attributes.get("channel") == _DRUM_CHANNEL or name in _DRUM_KIT_NAMES:
        return DRUM_KIT
    if name in _OTHER_NAMES:
        return PROGRAMS[_OTHER_NAMES[name]][1]
    return INSTRUMENTS.get(name) or BY_NAME.get(name)
