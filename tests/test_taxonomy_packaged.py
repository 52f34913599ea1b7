"""The packaged taxonomies, against the facts of their sources."""

import re

import pytest

from hmic_keras.taxonomy import Taxonomy

OPENMIC = Taxonomy.load("openmic")
IRMAS_TAGS = ["cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi"]


def numbers(taxonomy, level, key):
    return {
        name: found[key] for name, found in taxonomy.attributes(level).items() if key in found
    }


@pytest.mark.parametrize("name", Taxonomy.packaged())
def test_every_packaged_taxonomy_is_complete(name):
    taxonomy = Taxonomy.load(name)
    assert taxonomy.name == name
    assert re.search(r"\b(19|20)\d\d\b", taxonomy.provenance)
    finest, *coarser = taxonomy.levels
    for child in taxonomy.classes(finest):
        assert taxonomy.parents(child, finest), child
    for level in coarser:
        for parent in taxonomy.classes(level):
            assert taxonomy.children(parent, level), parent
    for level in taxonomy.levels:
        for one in taxonomy.classes(level):
            assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", one)
    # Everything hangs from the coarsest level, so that a model's coarsest output covers it all.
    assert taxonomy.mask(taxonomy.levels[-1], finest).any(axis=0).all()


def test_general_midi_has_the_programs_in_order():
    taxonomy = Taxonomy.load("general_midi")
    assert taxonomy.levels == ("fine", "coarse")
    fine, coarse = taxonomy.classes("fine"), taxonomy.classes("coarse")
    assert (len(fine), len(coarse)) == (129, 17)
    program = numbers(taxonomy, "fine", "program")
    assert [program[name] for name in fine[:128]] == list(range(128))
    assert fine[128] == "drum_kit"
    assert "drum_kit" not in program
    assert taxonomy.attributes("fine")["drum_kit"]["channel"] == 10
    first = numbers(taxonomy, "coarse", "first_program")
    for name, number in program.items():
        ((_, family),) = taxonomy.parents(name, "fine")
        assert first[family] == number // 8 * 8
        assert coarse[number // 8] == family
    assert taxonomy.parents("drum_kit", "fine") == (("coarse", "drums"),)


def test_general_midi_has_the_names_of_the_specification():
    found = Taxonomy.load("general_midi").attributes("fine")
    by_program = {a["program"]: (n, a["title"]) for n, a in found.items() if "program" in a}
    # Spot checks in every group, numbered from 1 as in the GM Level 1 Sound Set.
    for number, title in {
        1: "Acoustic Grand Piano",
        4: "Honky-tonk Piano",
        8: "Clavi",
        15: "Tubular Bells",
        20: "Church Organ",
        24: "Tango Accordion",
        25: "Acoustic Guitar (nylon)",
        34: "Electric Bass (finger)",
        41: "Violin",
        48: "Timpani",
        55: "Synth Voice",
        61: "French Horn",
        68: "Baritone Sax",
        72: "Clarinet",
        80: "Ocarina",
        81: "Lead 1 (square)",
        96: "Pad 8 (sweep)",
        104: "FX 8 (sci-fi)",
        106: "Banjo",
        115: "Steel Drums",
        128: "Gunshot",
    }.items():
        assert by_program[number - 1][1] == title
    for name, title in by_program.values():
        assert name == re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def digits(number):
    return number.partition("-")[0].replace(".", "")


def test_hornbostel_sachs_numbers_agree_with_the_hierarchy():
    taxonomy = Taxonomy.load("hornbostel_sachs")
    assert taxonomy.levels == ("instrument", "type", "group", "order", "subclass", "class")
    by_level = {level: numbers(taxonomy, level, "hs") for level in taxonomy.levels}
    for length, level in enumerate(reversed(taxonomy.levels[1:]), start=1):
        for name, number in by_level[level].items():
            size = len(digits(number))
            assert size == length or (level == "type" and size == 6), name
    unnumbered = {
        (level, name)
        for level in taxonomy.levels
        for name in taxonomy.classes(level)
        if name not in by_level[level]
    }
    assert unnumbered == {("instrument", "voice"), ("class", "voice")}
    all_numbers = [n for level in taxonomy.levels[1:] for n in by_level[level].values()]
    assert len(set(all_numbers)) == len(all_numbers)
    divisions = {digits(number) for number in all_numbers}
    for level in taxonomy.levels:
        for name, number in by_level[level].items():
            assert re.fullmatch(r"\d{1,3}(\.\d{1,3})*(-[4-9]\d?)*", number), name
            own = digits(number)
            above = [by_level[at][p] for at, p in taxonomy.parents(name, level)]
            if not above:
                assert level == "class"
                continue
            (parent,) = above
            assert own.startswith(digits(parent)), name
            # No division between the two is passed over, but a type within a type.
            between = {
                d for d in divisions if own.startswith(d) and len(d) > len(digits(parent))
            }
            between = {d for d in between if level == "instrument" or len(d) < min(len(own), 5)}
            assert not between, name


def test_hornbostel_sachs_has_openmic_and_known_numbers():
    taxonomy = Taxonomy.load("hornbostel_sachs")
    found = numbers(taxonomy, "instrument", "hs")
    assert set(OPENMIC.classes("fine")) <= set(taxonomy.classes("instrument"))
    known = {
        "violin": "321.322-71",
        "guitar": "321.322",
        "banjo": "321.312-5",
        "mandolin": "321.321-6",
        "erhu": "321.313-71",
        "harp": "322.222-5",
        "piano": "314.122-4-8",
        "harpsichord": "314.122-6-8",
        "flute": "421.121.12-71",
        "recorder": "421.221.12",
        "oboe": "422.112.2-71",
        "clarinet": "422.211.2-71",
        "saxophone": "422.212.2-71",
        "accordion": "412.132",
        "trombone": "423.22",
        "french_horn": "423.232",
        "trumpet": "423.233",
        "timpani": "211.11",
        "xylophone": "111.212",
        "vibraphone": "111.222",
        "triangle": "111.211",
        "castanets": "111.141",
        "maracas": "112.13",
        "electric_guitar": "513",
        "hammond_organ": "521",
    }
    assert {name: found[name] for name in known} == known
    names = {
        at: {name: n for n, name in numbers(taxonomy, at, "hs").items()} for at in ("type",)
    }
    assert names["type"]["321.322"] == "necked_box_lutes"
    families = taxonomy.with_levels(["instrument", "class"])
    for name, family in {
        "cymbals": "idiophones",
        "drums": "membranophones",
        "cello": "chordophones",
        "organ": "aerophones",
        "synthesizer": "electrophones",
        "voice": "voice",
    }.items():
        assert families.parents(name, "instrument") == (("class", family),)


@pytest.mark.parametrize(
    ("name", "key", "tags"),
    [
        (
            "irmas",
            "tag",
            IRMAS_TAGS,
        ),
        ("medley_solos_db", "instrument_id", list(range(8))),
    ],
)
def test_tags_of_data_sets_stand_in_their_order(name, key, tags):
    taxonomy = Taxonomy.load(name)
    assert list(numbers(taxonomy, "fine", key).values()) == tags
    assert len(taxonomy.classes("fine")) == len(tags)
    # The families are OpenMIC's, by the same names and in the same order.
    families = taxonomy.classes("coarse")
    assert [f for f in OPENMIC.classes("coarse") if f in families] == list(families)
    for one in taxonomy.classes("fine"):
        if one in OPENMIC.classes("fine"):
            assert taxonomy.parents(one, "fine") == OPENMIC.parents(one, "fine")


def test_data_sets_join_in_one_taxonomy():
    joined = OPENMIC.merge(Taxonomy.load("irmas")).merge(Taxonomy.load("medley_solos_db"))
    assert joined.classes("coarse") == OPENMIC.classes("coarse")
    assert joined.classes("fine")[:20] == OPENMIC.classes("fine")
    assert len(joined.classes("fine")) == 20 + 2 + 3
