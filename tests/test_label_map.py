"""Tags of other data sets turned into classes and labels."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taxonomy_strategies import AWKWARD, printable, taxonomies

from hmic_keras.data import read_clips
from hmic_keras.errors import LabelError, TaxonomyError
from hmic_keras.label_map import LabelMap
from hmic_keras.taxonomy import Taxonomy

OPENMIC = Taxonomy.load("openmic")
TWO = Taxonomy.from_dict({"strings": ["guitar", "violin"], "wind": ["flute"]})
FULL = {
    "name": "mine",
    "provenance": "made up",
    "map": {
        "gac": "guitar",
        "gel": ["guitar"],
        "lead gtr": "guitar",
        "duo": ["violin", "flute"],
        "strgs": "coarse:strings",
        "noise": None,
    },
    "partial": ["lead gtr"],
}


def write(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Semantics


def convert(row):
    """Labels of guitar, violin, flute, strings and wind, for one clip of tags to labels."""
    labels = LabelMap.from_dict(FULL, TWO).convert([list(row.values())], list(row))
    return [*labels["fine"][0].tolist(), *labels["coarse"][0].tolist()]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"gac": 1, "gel": 0, "lead gtr": 0}, [1, -1, -1, 1, -1]),
        ({"gac": 0, "gel": 0, "lead gtr": -1}, [0, -1, -1, -1, -1]),
        ({"gac": 0, "gel": 0, "lead gtr": 1}, [1, -1, -1, 1, -1]),
        ({"gac": 0, "gel": -1, "lead gtr": 0}, [-1, -1, -1, -1, -1]),
        ({"gac": 0}, [-1, -1, -1, -1, -1]),
        ({"lead gtr": 0}, [-1, -1, -1, -1, -1]),
        ({"duo": 1}, [-1, 1, 1, 1, 1]),
        ({"duo": 0}, [-1, -1, -1, -1, -1]),
        ({"strgs": 0}, [0, 0, -1, 0, -1]),
        ({"strgs": 1, "gac": 0, "gel": 0}, [0, -1, -1, 1, -1]),
        ({"noise": 1}, [-1, -1, -1, -1, -1]),
        ({"gac": 0.25, "gel": 0.5}, [0.5, -1, -1, -1, -1]),
        ({"gac": 0.75, "gel": np.nan}, [0.75, -1, -1, 0.75, -1]),
        ({"gac": 0, "gel": 0, "lead gtr": 0.25}, [0, -1, -1, -1, -1]),
    ],
)
def test_labels_claim_no_more_than_the_tags(row, expected):
    assert convert(row) == expected


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_conversion_agrees_with_a_loop_over_tags(data):
    classes = ["guitar", "violin", "flute"]
    tags = [f"t{i}" for i in range(5)]
    target = st.one_of(
        st.none(), st.sampled_from(classes), st.lists(st.sampled_from(classes), unique=True)
    )
    targets = {tag: data.draw(target) for tag in tags}
    partial = data.draw(st.lists(st.sampled_from(tags), unique=True))
    columns = data.draw(st.lists(st.sampled_from(tags), unique=True))
    value = st.sampled_from([-1.0, 0.0, 0.25, 0.75, 1.0])
    labels = np.array([[data.draw(value) for _ in columns]], np.float32).reshape(1, -1)
    taxonomy = Taxonomy.from_dict({"levels": ["fine"], "classes": {"fine": classes}})
    mapping = LabelMap.from_dict({"map": targets, "partial": partial}, taxonomy)
    row = dict(zip(columns, labels[0].tolist(), strict=True))
    expected = []
    for name in classes:
        listed = {t: [v] if isinstance(v, str) else v or [] for t, v in targets.items()}
        of_class = [tag for tag in tags if name in listed[tag]]
        values = [row.get(tag, -1) for tag in of_class]
        if any(v > 0.5 for v in values):
            expected.append(max(values))
            continue
        covering = [t for t in of_class if t not in partial and len(listed[t]) == 1]
        settled = covering and all(row.get(t, -1) >= 0 for t in covering)
        expected.append(max(row[t] for t in covering) if settled else -1)
    if not any(targets.values()):
        with pytest.raises(LabelError, match="drops every tag"):
            mapping.convert(labels, columns)
        return
    assert mapping.convert(labels, columns)["fine"][0].tolist() == expected


def test_apply_lists_what_is_dropped_and_unknown():
    mapping = LabelMap.from_dict(FULL, TWO)
    found = mapping.apply(["gel", "noise", "Gac", "duo", "gac", "noise"])
    assert found.classes == (("fine", "guitar"), ("fine", "violin"), ("fine", "flute"))
    assert found.dropped == ("noise",)
    assert found.unknown == ("Gac",)
    assert mapping.dropped == ("noise",)
    assert mapping.apply([]) == ((), (), ())
    with pytest.raises(LabelError, match=r"'tags' must be a list of tags.*'gel'"):
        mapping.apply("gel")


def test_contradictions_surface():
    with pytest.raises(LabelError, match=r"'guitar' .* is labelled 1.*'strings'.* absent"):
        convert({"gac": 1, "strgs": 0})


@pytest.mark.parametrize(
    ("labels", "tags", "message"),
    [
        ([[1]], ["gas"], "no tags 'gas'.*'gac'.* Map a tag to null to drop it"),
        ([[1] * 7], list("abcdefg"), "'e' and others"),
        ([[1, 0]], ["gac", "gac"], "'gac' twice"),
        ([[1, 0]], ["gac"], "must have 1 columns"),
        ([[2]], ["gac"], "class 'gac'.*Received: 2"),
        ([["1"]], ["gac"], "must be numbers"),
    ],
)
def test_unusable_label_arrays_are_refused(labels, tags, message):
    with pytest.raises(LabelError, match=message):
        LabelMap.from_dict(FULL, TWO).convert(labels, tags)


# Tables


def test_a_table_of_tags_becomes_one_that_read_clips_takes(tmp_path):
    frame = pd.DataFrame(
        {
            "path": ["a.wav", "b.wav", "c.wav"],
            "gac": [1, 0, None],
            "gel": [0, 0, 1],
            "strgs": [None, None, 1],
            "duo": pd.array([True, False, None], dtype="boolean"),
            "noise": [0.5, 0.5, 0.5],
            "meta_session": ["x", "y", "z"],
        },
        index=[3, 3, 1],
    )
    table = LabelMap.from_dict(FULL, TWO).convert_frame(frame)
    columns = ["path", "meta_session", "guitar", "violin", "flute", "strings"]
    assert list(table.columns) == columns
    table.to_csv(tmp_path / "labels.csv", index=False)
    for name in table["path"]:
        (tmp_path / name).touch()
    clips = read_clips(tmp_path / "labels.csv", TWO)
    np.testing.assert_array_equal(clips.labels["fine"], [[1, 1, 1], [0, -1, -1], [1, -1, -1]])
    np.testing.assert_array_equal(clips.labels["coarse"], [[1, 1], [-1, -1], [1, -1]])


def test_ambiguous_classes_and_reserved_columns():
    taxonomy = Taxonomy.from_dict({"voice": ["voice"]})
    mapping = LabelMap.from_dict({"sung": "coarse:voice", "_hum": "voice"}, taxonomy)
    table = mapping.convert_frame(pd.DataFrame({"sung": [1], "_hum": [-1], "_note": ["x"]}))
    assert list(table.columns) == ["_note", "voice", "coarse:voice"]
    assert table["coarse:voice"].tolist() == [1]
    assert table["voice"].isna().all()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"gac": [1]}, "must be a pandas DataFrame"),
        (pd.DataFrame({"gac": ["yes"]}), "must hold numbers"),
        (pd.DataFrame({"gac": [1], "file": [2]}), "no tags 'file'"),
        (pd.DataFrame([[1, 0]], columns=["gac", "gac"]), "'gac' twice"),
        (pd.DataFrame({"gac": [3]}), "Received: 3"),
    ],
)
def test_unusable_tables_are_refused(frame, message):
    with pytest.raises(LabelError, match=message):
        LabelMap.from_dict(FULL, TWO).convert_frame(frame)


# Files


@given(data=st.data(), taxonomy=taxonomies(max_levels=3))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("suffix", [".yaml", ".json", ".csv"])
def test_maps_come_back_from_every_format(tmp_path, data, taxonomy, suffix):
    columns = [f"{at}:{name}" for at in taxonomy.levels for name in taxonomy.classes(at)]
    names = st.one_of(st.sampled_from(AWKWARD), printable(5, ends=True).filter(bool))
    targets = data.draw(
        st.dictionaries(
            names,
            st.lists(st.sampled_from(columns), unique=True, max_size=2),
            min_size=1,
            max_size=4,
        )
    )
    partial = data.draw(st.lists(st.sampled_from(sorted(targets)), unique=True))
    given_form = {"name": "n", "provenance": "p", "map": targets, "partial": partial}
    mapping = LabelMap.from_dict(given_form, taxonomy)
    mapping.save(tmp_path / f"n{suffix}")
    loaded = LabelMap.load(tmp_path / f"n{suffix}", taxonomy)
    assert loaded == mapping
    assert loaded.name == "n"
    assert loaded.provenance == ("" if suffix == ".csv" else "p")
    assert list(loaded.targets) == list(mapping.targets)
    assert pickle.loads(pickle.dumps(loaded)) == mapping


def test_a_map_written_by_hand(tmp_path):
    text = "tag,class\r\ngtr,guitar\nduo,violin\nduo,flute\nstrgs,coarse:strings\nnoise,\n"
    mapping = LabelMap.load(write(tmp_path, text, "mine.csv"), TWO)
    assert mapping.name == "mine"
    assert mapping.targets["duo"] == (("fine", "violin"), ("fine", "flute"))
    assert mapping.dropped == ("noise",)
    short = "gtr: guitar\nduo: [violin, flute]\nstrgs: coarse:strings\nnoise:\n"
    assert LabelMap.load(write(tmp_path, short, "mine.yaml"), TWO) == mapping
    # A tag may be called what the full form calls its parts.
    odd = LabelMap.from_dict({"map": "guitar", "name": "flute"}, TWO)
    assert odd.targets["name"] == (("fine", "flute"),)
    assert repr(odd).startswith("LabelMap(name='custom', tags=2, to=Taxonomy(")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.yaml", "", "must be a mapping"),
        ("m.yaml", "- a\n", "must be a mapping"),
        ("m.yaml", "gtr: gitar\n", "Tag 'gtr': .*no class 'gitar'.*'guitar'"),
        ("m.yaml", "gtr: top:guitar\n", "Tag 'gtr': .*no level 'top'"),
        ("m.yaml", "gtr: [guitar, fine:guitar]\n", "'gtr' names a class twice"),
        ("m.yaml", "gtr: {a: b}\n", "'gtr' must map to a class"),
        ("m.yaml", "gtr: [[guitar]]\n", "Tag 'gtr': .*must be text"),
        ("m.yaml", "a: guitar\nb: 1\n", "line 2: expected text"),
        ("m.yaml", "a: guitar\n~: guitar\n", "line 2: expected text"),
        ("m.yaml", "a: guitar\na: violin\n", "line 2: the key 'a' occurs twice"),
        ("m.yaml", "map: {a: guitar}\nparts: [a]\n", "full form has no key 'parts'"),
        ("m.yaml", "map: {}\n", "at least one tag"),
        ("m.yaml", "map: {a: guitar}\npartial: a\n", "'partial' must be a list"),
        ("m.yaml", "map: {ab: guitar}\npartial: [aa]\n", "'partial' has 'aa'"),
        ("m.yaml", 'map: {a: guitar}\nname: ""\n', "label map's name must be printable"),
        ("m.json", '{"a": 3}', "'a' must map to a class"),
        ("m.json", '{"": "guitar"}', "must not be empty"),
        ("m.json", '{"a\\u0000": "guitar"}', "must be printable"),
        ("m.json", '{"a": "guitar"', "line 1: not valid JSON"),
        ("m.csv", "", "the table is empty"),
        ("m.csv", "a,b\n", "line 1: the columns must be tag, class"),
        ("m.csv", "tag,class\na\n", "line 2: a row must have 2 cells"),
        ("m.csv", "tag,class\n", "at least one tag|not empty"),
        ("m.csv", "tag,class\na,guitar\na,guitar\n", "line 3: tag 'a' has this class"),
        ("m.csv", "tag,class\na,guitar\na,\n", "line 3: tag 'a' .* dropped"),
        ("m.csv", "tag,class\na,\na,guitar\n", "line 3: tag 'a' .* dropped"),
        ("m.csv", "tag,class,partial\na,guitar,maybe\n", "line 2: 'partial' must be"),
        (
            "m.csv",
            "tag,class,partial\na,guitar,1\na,violin,\n",
            "line 3: tag 'a' is partial on one line",
        ),
        ("m.csv", b"tag,class\na,\xff\n", "line 2: the file is not UTF-8"),
        ("m.txt", "a: guitar", "a label map must end in"),
    ],
)
def test_hostile_maps_are_refused_by_name(tmp_path, name, text, message):
    path = write(tmp_path, text, name)
    with pytest.raises(TaxonomyError, match=message) as caught:
        LabelMap.load(path, TWO)
    assert str(caught.value).startswith(str(path))


def test_unknown_names_and_no_taxonomy():
    with pytest.raises(TaxonomyError, match=r"no packaged label map 'irmas'.*irmas_to_openmic"):
        LabelMap.load("irmas", OPENMIC)
    with pytest.raises(TaxonomyError, match="must be a Taxonomy"):
        LabelMap.from_dict({"a": "guitar"}, "openmic")
    with pytest.raises(TaxonomyError, match=r"Tag 'cel': .*no class 'cello'"):
        LabelMap.load("irmas_to_openmic", TWO)


# Packaged maps


def test_irmas_maps_onto_openmic():
    mapping = LabelMap.load("irmas_to_openmic", OPENMIC)
    irmas = Taxonomy.load("irmas")
    tags = [found["tag"] for found in irmas.attributes("fine").values()]
    assert set(mapping.targets) == {*tags, "dru", "nod"}
    for name, found in irmas.attributes("fine").items():
        expected = "guitar" if name.endswith("guitar") else name
        assert mapping.targets[found["tag"]] == (("fine", expected),)
    # A test file of IRMAS lists what can be heard; a guitar of one kind is a guitar.
    labels = mapping.convert([[1, 0], [0, 0], [0, -1]], ["gac", "gel"])
    guitar = OPENMIC.index("fine")["guitar"]
    assert labels["fine"][:, guitar].tolist() == [1, 0, -1]
    assert labels["coarse"][:, OPENMIC.index("coarse")["plucked_strings"]].tolist() == [
        1,
        -1,
        -1,
    ]


def test_medley_solos_db_maps_onto_openmic():
    mapping = LabelMap.load("medley_solos_db_to_openmic", OPENMIC)
    found = Taxonomy.load("medley_solos_db").attributes("fine")
    tags = [one["instrument"] for one in found.values()]
    assert list(mapping.targets) == tags
    labels = mapping.convert(np.eye(8), tags)["fine"]
    index = OPENMIC.index("fine")
    names = ["clarinet", "guitar", "voice", "flute", "piano", "saxophone", "trumpet", "violin"]
    for row, name in enumerate(names):
        assert labels[row, index[name]] == 1
        # That no woman sings does not mean that nobody does.
        others = {"guitar", "voice", "saxophone"} - {name}
        assert [labels[row, index[other]] for other in sorted(others)] == [-1] * len(others)
        whole = set(names) - others - {name}
        assert [labels[row, index[other]] for other in sorted(whole)] == [0] * len(whole)
    unmentioned = [index[name] for name in OPENMIC.classes("fine") if name not in names]
    assert (labels[:, unmentioned] == -1).all()
