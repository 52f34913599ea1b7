"""Tests of the scores that `hmic_keras.data.synthesis` writes, before anything sounds."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from hmic_keras.data.synthesis._compose import compose
from hmic_keras.data.synthesis._general_midi import (
    _OTHER_NAMES,
    BY_NAME,
    PROGRAMS,
    instruments_of,
)
from hmic_keras.data.synthesis._instruments import INSTRUMENTS, UNPITCHED
from hmic_keras.data.synthesis._plan import plan
from hmic_keras.data.synthesis._settings import Settings
from hmic_keras.data.synthesis._styles import STYLES
from hmic_keras.taxonomy import Taxonomy

OPENMIC = Taxonomy.load("openmic")
TAGS = OPENMIC.classes("fine")
INSTRUMENTS_OF_TAGS = {name: INSTRUMENTS[name] for name in TAGS}
STYLE = {style.name: style for style in STYLES}
# General MIDI percussion keys: kicks, side stick, snares, toms; hats, crashes, rides, china,
# splash, bell.
DRUM_KEYS = {35, 36, 37, 38, 40, 41, 43, 45, 47, 48, 50}
CYMBAL_KEYS = {42, 44, 46, 49, 51, 52, 53, 55, 57, 59}
# Semitones between the steps of a scale, as a music textbook gives them.
STEPS = {
    "major": (2, 2, 1, 2, 2, 2, 1),
    "minor": (2, 1, 2, 2, 1, 2, 2),
    "dorian": (2, 1, 2, 2, 2, 1, 2),
    "mixolydian": (2, 2, 1, 2, 2, 1, 2),
}
# Lowest and highest key that players of the instrument are asked for, after orchestration
# textbooks; the parts must stay within.
REGISTERS = {
    "bass": (23, 67),
    "cello": (36, 84),
    "clarinet": (50, 94),
    "flute": (59, 98),
    "mandolin": (55, 93),
    "saxophone": (37, 88),
    "trombone": (34, 77),
    "trumpet": (52, 86),
    "ukulele": (60, 86),
    "violin": (55, 103),
    "voice": (38, 86),
}


def written(names, style="free", seconds=6.0, seeds=range(20)):
    players = {name: INSTRUMENTS[name] for name in names}
    for seed in seeds:
        yield compose(np.random.default_rng(seed), STYLE[style], players, seconds)


def settings(**changed):
    values = {
        "classes": TAGS,
        "seconds": 2.0,
        "sample_rate": 16_000,
        "seed": 3,
        "polyphony": (1, 6),
        "polyphony_decay": 1.0,
        "empty": 0.0,
        "channels": 1,
        "stems": False,
        "format": "wav",
        "quality": 0.4,
    }
    return Settings(**{**values, **changed})


@pytest.mark.parametrize("class_name", sorted(INSTRUMENTS))
def test_parts_are_playable_and_inside_the_clip(class_name):
    instrument = INSTRUMENTS[class_name]
    low, high = REGISTERS.get(class_name, (21, 108))
    assert low <= instrument.low < instrument.high <= high
    for number, style in enumerate(STYLES):
        if not style.takes(instrument):
            continue
        seconds = (1.0, 3.0, 10.0)[number % 3]
        for score in written([class_name], style.name, seconds, range(6)):
            assert {part.class_name for part in score.parts} == {class_name}
            for part in score.parts:
                onsets = [note.onset for note in part.notes]
                assert set(part.presets) == set(instrument.presets)
                assert onsets == sorted(onsets)
                assert 0 <= onsets[0] <= 0.8 * seconds
                assert onsets[-1] < seconds
                assert all(note.duration > 0 for note in part.notes)
                assert all(1 <= note.velocity <= 127 for note in part.notes)
                assert all(instrument.low <= n.key <= instrument.high for n in part.notes)


@pytest.mark.parametrize(
    "class_name", sorted(name for name, one in INSTRUMENTS.items() if one.whole)
)
def test_the_whole_range_has_as_much_high_and_low_as_middle(class_name):
    usual = INSTRUMENTS[class_name]
    whole = usual.over_whole_range()
    # Lead trumpets go higher than orchestras ask for.
    low, high = {**REGISTERS, "trumpet": (52, 88)}.get(class_name, (21, 108))
    assert low <= whole.low <= usual.low < usual.high <= whole.high <= high
    quarter = (whole.high - whole.low) / 4
    ends = []
    for player in (usual, whole):
        scores = [
            compose(np.random.default_rng(seed), STYLE["free"], {class_name: player}, 6.0)
            for seed in range(100)
        ]
        keys = np.array([n.key for one in scores for part in one.parts for n in part.notes])
        assert player.low <= keys.min() <= keys.max() <= player.high
        ends.append([np.mean(keys < whole.low + quarter), np.mean(keys > whole.high - quarter)])
    # A quarter of the range is less than a quarter of the notes: a part is as wide as that.
    assert min(ends[1]) > 0.05
    assert min(ends[1]) > 1.3 * min(ends[0])


@pytest.mark.parametrize(
    ("class_name", "keys"), [("drums", DRUM_KEYS), ("cymbals", CYMBAL_KEYS)]
)
def test_kit_parts_use_the_keys_of_their_class_only(class_name, keys):
    used = set()
    for score in written([class_name], seconds=8.0, seeds=range(60)):
        used |= {note.key for part in score.parts for note in part.notes}
    assert used == keys == INSTRUMENTS[class_name].keys


def test_drums_and_cymbals_occur_apart_and_together():
    jobs = list(plan(settings(), INSTRUMENTS_OF_TAGS, 400, from_midi=False))
    kit = Counter(
        tuple(name in job.class_names for name in ("drums", "cymbals")) for job in jobs
    )
    assert min(kit[True, True], kit[True, False], kit[False, True]) >= 5


@pytest.mark.parametrize("style", sorted(STYLE))
def test_pitched_parts_share_the_key(style):
    pitched = [
        name
        for name, one in INSTRUMENTS.items()
        if one.kind not in UNPITCHED and STYLE[style].takes(one)
    ]
    modes = set()
    for score in written(pitched[:8], style, seeds=range(12)):
        scale = {(score.tonic + step) % 12 for step in np.cumsum(STEPS[score.mode])}
        # The fifth of a drone is that of the tonic in every mode.
        assert {note.key % 12 for part in score.parts for note in part.notes} <= scale
        modes.add(score.mode)
    assert len(modes) > 1


@pytest.mark.parametrize("class_name", ["clarinet", "trombone", "violin", "saxophone"])
def test_wind_and_bow_play_one_note_at_a_time(class_name):
    for style in ("solo", "chamber", "band"):
        for score in written([class_name], style):
            if not STYLE[style].takes(INSTRUMENTS[class_name]):
                continue
            for part in score.parts:
                for note, following in pairwise(part.notes):
                    # Loose timing and legato may let two notes touch for some hundredths.
                    assert note.onset + note.duration < following.onset + 0.12


def test_chords_sound_together():
    seen = 0
    for score in written(["organ"], seeds=range(40)):
        for part in score.parts:
            if part.role == "pad":
                first = part.notes[0]
                seen += any(n.key != first.key and n.onset < 0.1 for n in part.notes)
    assert seen > 5


def test_chorale_voices_move_together():
    names = ["violin", "cello", "flute", "trombone"]
    for score in written(names, "chamber", seeds=range(10)):
        voices = [
            [n.onset for n in part.notes] for part in score.parts if part.role == "chorale"
        ]
        for one, other in pairwise(voices):
            # Every onset of one voice has one of the other within the looseness of timing.
            gaps = np.abs(np.subtract.outer(one[1:-1], other)).min(axis=1)
            assert gaps.max() < 0.09


def test_ostinato_repeats_its_figure():
    repeated = 0
    for score in written(["piano"], "ostinato", seconds=12.0):
        (part, *_) = score.parts
        if part.role == "ostinato":
            bar = 4 * 60 / score.tempo
            onsets = np.array([note.onset for note in part.notes])
            inner = onsets[(onsets > 0.2) & (onsets < 11 - bar)]
            gaps = np.abs(np.subtract.outer(inner + bar, onsets)).min(axis=1)
            assert gaps.max() < 0.09
            repeated += 1
    assert repeated >= 5


def test_lines_are_doubled_at_the_unison_and_the_octave():
    intervals = Counter()
    for score in written(["violin", "flute", "cello"], "folk", seeds=range(60)):
        for one in score.parts:
            for other in score.parts:
                if one is not other and len(one.notes) == len(other.notes):
                    shifts = {
                        a.key - b.key for a, b in zip(one.notes, other.notes, strict=True)
                    }
                    if len(shifts) == 1 and len(one.notes) > 3:
                        intervals[abs(shifts.pop())] += 1
    assert set(intervals) <= {0, 12, 24}
    assert intervals[0] >= 2
    assert intervals[12] >= 2


def test_expression_follows_what_the_instrument_can_do():
    kinds = {}
    for name in ("violin", "piano", "trombone", "drums"):
        kinds[name] = Counter(
            control.kind
            for score in written([name], seeds=range(30))
            for part in score.parts
            for control in part.controls
        )
    assert set(kinds["violin"]) == {"vibrato", "expression", "bend"}
    assert set(kinds["trombone"]) == {"vibrato", "expression", "bend"}
    assert not kinds["piano"]
    assert not kinds["drums"]


def test_controls_stay_in_range_and_bends_return():
    for score in written(["saxophone", "guitar", "voice", "synthesizer"], seeds=range(30)):
        for part in score.parts:
            onsets = [control.onset for control in part.controls]
            assert onsets == sorted(onsets)
            bends = [c.value for c in part.controls if c.kind == "bend"]
            assert all(abs(value) <= INSTRUMENTS[part.class_name].bend for value in bends)
            assert not bends or bends[-1] == 0.0
            others = [c.value for c in part.controls if c.kind != "bend"]
            assert all(0 <= value <= 1 for value in others)


def test_players_are_seated_and_tuned_apart():
    parts = [part for score in written(TAGS[:6], seeds=range(20)) for part in score.parts]
    pans = np.array([part.pan for part in parts])
    cents = 100 * np.array([part.detune for part in parts if part.class_name != "cymbals"])
    assert pans.min() < -0.4
    assert pans.max() > 0.4
    assert np.abs(pans).max() <= 1
    assert 5 < cents.std() < 30


def test_seed_decides():
    names = ["piano", "bass", "drums"]
    first, again, other = written(names, seeds=(1, 1, 2))
    assert first == again
    assert first != other
    assert len({score.tempo for score in written(names, seeds=range(9))}) == 9


class TestPlan:
    @pytest.mark.parametrize("polyphony", [(1, 6), (1, 1), (4, 4), (2, 20)])
    def test_classes_are_distinct_in_a_clip_and_equally_frequent(self, polyphony):
        planned = settings(polyphony=polyphony)
        jobs = list(plan(planned, INSTRUMENTS_OF_TAGS, 400, from_midi=False))
        sizes = {len(job.class_names) for job in jobs}
        counts = Counter(name for job in jobs for name in job.class_names)
        assert [job.index for job in jobs] == list(range(400))
        assert sizes == set(range(polyphony[0], polyphony[1] + 1))
        assert all(len(set(job.class_names)) == len(job.class_names) for job in jobs)
        assert set(counts) == set(TAGS)
        assert max(counts.values()) <= 1.1 * min(counts.values())

    def test_every_style_takes_only_those_who_fit(self):
        jobs = list(plan(settings(), INSTRUMENTS_OF_TAGS, 300, from_midi=False))
        for job in jobs:
            assert all(job.style.takes(INSTRUMENTS[name]) for name in job.class_names)
            low, high = job.style.sizes
            assert low <= len(job.class_names) <= high
        assert {job.style.name for job in jobs} == set(STYLE)

    def test_any_two_classes_may_meet(self):
        met = set()
        for job in plan(settings(polyphony=(3, 6)), INSTRUMENTS_OF_TAGS, 1500, from_midi=False):
            met |= {(a, b) for a in job.class_names for b in job.class_names if a < b}
        assert len(met) == 20 * 19 // 2

    def test_first_clips_do_not_depend_on_the_number_of_clips(self):
        def first(number, **changed):
            jobs = plan(settings(**changed), INSTRUMENTS_OF_TAGS, number, from_midi=False)
            return list(jobs)[:10]

        assert first(10) == first(300)
        assert first(10) != first(10, seed=4)

    def test_decay_makes_full_clips_rare(self):
        planned = settings(polyphony=(1, 3), polyphony_decay=0.5)
        jobs = plan(planned, INSTRUMENTS_OF_TAGS, 2000, from_midi=False)
        sizes = Counter(len(job.class_names) for job in jobs)
        np.testing.assert_allclose(
            [sizes[k] / 2000 for k in (1, 2, 3)], [4 / 7, 2 / 7, 1 / 7], atol=0.04
        )

    @pytest.mark.parametrize(("share", "empty"), [(0.0, 0), (0.1, 4), (0.33, 13), (1.0, 40)])
    def test_share_of_empty_clips_is_exact_and_spread(self, share, empty):
        jobs = list(plan(settings(empty=share), INSTRUMENTS_OF_TAGS, 40, from_midi=False))
        assert sum(job.style is None for job in jobs) == empty
        half = sum(job.style is None for job in jobs[:20])
        assert abs(half - empty / 2) <= 1


class TestGeneralMidi:
    def test_every_program_is_an_instrument_that_can_play(self):
        assert len(PROGRAMS) == len(BY_NAME) == 128
        for number, (name, instrument) in enumerate(PROGRAMS):
            assert instrument.presets == ((0, number),), name
            assert instrument.high - instrument.low >= 16, name

    def test_taxonomy_of_programs_plays_what_its_attributes_say(self):
        taxonomy = Taxonomy.load("general_midi")
        found = instruments_of(taxonomy)
        for name, attributes in taxonomy.attributes("fine").items():
            if "program" in attributes:
                assert found[name].presets == ((0, attributes["program"]),)
                assert PROGRAMS[attributes["program"]][0] == name
        assert found["drum_kit"].keys == DRUM_KEYS | CYMBAL_KEYS

    def test_other_names_are_classes_of_packaged_taxonomies(self):
        names = {
            name
            for taxonomy in map(Taxonomy.load, ("hornbostel_sachs", "medley_solos_db"))
            for level in taxonomy.levels
            for name in taxonomy.classes(level)
        }
        assert set(_OTHER_NAMES) <= names
        assert not set(_OTHER_NAMES) & set(BY_NAME)

    def test_a_part_of_a_packaged_taxonomy_plays(self):
        taxonomy = Taxonomy.from_dict({"low": ["double_bass", "tuba"], "high": ["harp"]})
        found = instruments_of(taxonomy)
        assert {name: one.presets for name, one in found.items()} == {
            "double_bass": ((0, 43),),
            "tuba": ((0, 58),),
            "harp": ((0, 46),),
        }

    @pytest.mark.parametrize("start", range(0, 128, 16))
    def test_every_program_writes_in_every_style(self, start):
        for number in range(start, start + 16):
            name, instrument = PROGRAMS[number]
            for style in STYLES:
                if style.takes(instrument):
                    rng = np.random.default_rng(number)
                    score = compose(rng, style, {name: instrument}, 2.0)
                    keys = [note.key for part in score.parts for note in part.notes]
                    assert instrument.low <= min(keys) <= max(keys) <= instrument.high
