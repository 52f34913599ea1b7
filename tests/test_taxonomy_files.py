"""Taxonomies in and out of YAML, JSON, CSV, frames and nested dicts."""

import csv
import itertools
import json

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taxonomy_strategies import AWKWARD, taxonomies

from hmic_keras.errors import TaxonomyError
from hmic_keras.taxonomy import Taxonomy

# The folder is shared by the examples of a test, which overwrite one file.
ANY_FOLDER = [HealthCheck.function_scoped_fixture]


def write(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Round trips


@given(taxonomy=taxonomies())
@settings(max_examples=40, deadline=None, suppress_health_check=ANY_FOLDER)
@pytest.mark.parametrize("suffix", [".yaml", ".JSON"])
def test_yaml_and_json_keep_everything(tmp_path, taxonomy, suffix):
    path = tmp_path / f"t{suffix}"
    taxonomy.save(path)
    loaded = Taxonomy.load(path)
    assert loaded.to_dict() == taxonomy.to_dict()
    assert loaded.hash == taxonomy.hash
    for level in taxonomy.levels:
        assert dict(loaded.attributes(level)) == dict(taxonomy.attributes(level))


@given(taxonomy=taxonomies())
@settings(max_examples=40, deadline=None, suppress_health_check=ANY_FOLDER)
def test_csv_and_frames_keep_classes_order_and_links(tmp_path, taxonomy):
    path = tmp_path / "t.csv"
    taxonomy.save(path)
    assert Taxonomy.load(path).hash == taxonomy.hash
    frame = taxonomy.to_frame()
    assert list(frame.columns) == list(taxonomy.levels)
    assert Taxonomy.from_frame(frame).hash == taxonomy.hash
    # Any reader of CSV sees the same rows, and each link of the taxonomy in one of them.
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == frame.where(frame.notna(), "").to_dict("records")
    linked = set()
    for row in rows:
        chain = [(level, name) for level, name in row.items() if name]
        linked |= {(child, parent) for child, parent in itertools.pairwise(chain)}
    assert linked == {
        ((level, name), parent)
        for level in taxonomy.levels
        for name in taxonomy.classes(level)
        for parent in taxonomy.parents(name, level)
    }


@given(
    st.recursive(
        st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=3),
        lambda inner: st.dictionaries(st.sampled_from("pqrstuvw"), inner, max_size=3),
        max_leaves=8,
    ).filter(lambda value: isinstance(value, dict) and value)
)
@settings(max_examples=80, deadline=None)
def test_nested_groups_come_back(groups):
    try:
        taxonomy = Taxonomy.from_nested(groups)
    except TaxonomyError:
        return  # A group that occurs twice, or no finest class.
    written = taxonomy.to_nested()
    assert unordered(written) == unordered(groups)
    again = Taxonomy.from_nested(written, levels=taxonomy.levels)
    assert again.hash == taxonomy.hash


def unordered(groups):
    """Sorts finest classes, and writes an empty group as a list, whether or not it was one."""
    if isinstance(groups, dict):
        return {name: unordered(inner) for name, inner in groups.items()} or []
    return sorted(groups)


def test_nested_groups_take_level_names_and_reserved_words():
    groups = {"levels": {"classes": ["name"]}}
    taxonomy = Taxonomy.from_nested(groups, levels=["a", "b", "c"], name="odd")
    assert taxonomy.levels == ("a", "b", "c")
    assert taxonomy.name == "odd"
    assert taxonomy.parents("name", "a") == (("b", "classes"),)
    with pytest.raises(TaxonomyError, match="3 levels of these groups"):
        Taxonomy.from_nested(groups, levels=["a", "b"])
    with pytest.raises(TaxonomyError, match="must be a mapping that is not empty"):
        Taxonomy.from_nested([])


@pytest.mark.parametrize(
    ("classes", "parents", "message"),
    [
        ({"a": ["x"]}, {}, "one level only"),
        ({"a": ["x"], "b": ["p"]}, {}, "a:x has no parent"),
        (
            {"a": ["x"], "b": ["p"], "c": ["r"]},
            {"a": {"x": ["p"]}},
            "b:p .* exactly one parent",
        ),
        (
            {"a": ["x"], "b": ["p"], "c": ["r", "s"]},
            {"a": {"x": ["p"]}, "b": {"p": ["r", "s"]}},
            "b:p does not have exactly one parent",
        ),
        (
            {"a": ["x"], "b": ["p"], "c": ["r"], "d": ["t"]},
            {"a": {"x": ["p"]}, "b": {"p": ["d:t"]}, "c": {"r": ["t"]}},
            "b:p does not have exactly one parent, one level up",
        ),
        (
            {"a": ["x", "y"], "b": ["p"], "c": ["r"]},
            {"a": {"x": ["p"], "y": ["c:r"]}, "b": {"p": ["r"]}},
            "c:r has both groups and finest classes",
        ),
    ],
)
def test_what_groups_cannot_say_is_refused(classes, parents, message):
    form = {"levels": list(classes), "classes": classes, "parents": parents}
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_dict(form).to_nested()


def test_groups_put_classes_in_the_order_of_their_parents():
    taxonomy = Taxonomy.load("openmic")
    again = Taxonomy.from_nested(taxonomy.to_nested())
    assert again.classes("coarse") == taxonomy.classes("coarse")
    assert set(again.classes("fine")) == set(taxonomy.classes("fine"))
    assert again.classes("fine")[:2] == ("accordion", "organ")
    for name in taxonomy.classes("fine"):
        assert again.parents(name, "fine") == taxonomy.parents(name, "fine")


def test_a_table_written_by_hand(tmp_path):
    text = (
        b"\xef\xbb\xbfinstrument,family,section\r\n"
        b"violin,bowed,strings\r\n"
        b"piano,struck,strings\r\n"
        b"\r\n"
        b"piano,keyboards,\r\n"
        b"snare,,percussion\r\n"
        b'"kazoo, comb",,\r\n'
        b",,electronic\r\n"
    )
    taxonomy = Taxonomy.load(write(tmp_path, text, "stage.csv"))
    assert taxonomy.name == "stage"
    assert taxonomy.levels == ("instrument", "family", "section")
    assert taxonomy.classes("instrument") == ("violin", "piano", "snare", "kazoo, comb")
    assert taxonomy.parents("piano", "instrument") == (
        ("family", "struck"),
        ("family", "keyboards"),
    )
    assert taxonomy.parents("keyboards", "family") == ()
    assert taxonomy.parents("snare", "instrument") == (("section", "percussion"),)
    assert taxonomy.parents("kazoo, comb", "instrument") == ()
    assert taxonomy.classes("section") == ("strings", "percussion", "electronic")


def test_a_frame_may_hold_any_missing_value_and_index():
    columns = {"fine": ["a", "b", pd.NA], "coarse": [None, "x", "y"], "top": [float("nan")] * 3}
    frame = pd.DataFrame({**columns, "top": ["t", "", None]}, index=[7, 7, 7])
    taxonomy = Taxonomy.from_frame(frame, name="mine")
    assert taxonomy.name == "mine"
    assert taxonomy.parents("a", "fine") == (("top", "t"),)
    assert taxonomy.parents("b", "fine") == (("coarse", "x"),)
    assert taxonomy.classes("coarse") == ("x", "y")
    strings = taxonomy.to_frame().astype("string")
    assert Taxonomy.from_frame(strings) == taxonomy


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([["a"]], "must be a pandas DataFrame"),
        (pd.DataFrame({"fine": ["a", 7]}), r"row 1: a class name must be text.*7"),
        (pd.DataFrame({"fine": ["a", ["b"]]}), r"row 1: a class name must be text"),
        (pd.DataFrame({"fine": [0]}), r"row 0: a class name must be text"),
        (pd.DataFrame({"fine": ["a", "a"]}), "row 1: the row repeats row 0"),
        (pd.DataFrame({"fine": ["a", None]}), "row 1: a row must name at least one class"),
        (pd.DataFrame({"fine": []}), "column 'fine' has no classes"),
        (pd.DataFrame({3: ["a"]}), "the header.*A level name.*Received: 3"),
        (pd.DataFrame([["a", "b"]], columns=["x", "x"]), "Level names must differ"),
        (pd.DataFrame(), "1 to 32 levels"),
    ],
)
def test_unusable_frames_are_refused(frame, message):
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_frame(frame)


def test_saving_replaces_whole_files_and_knows_its_formats(tmp_path):
    path = tmp_path / "new" / "t.yml"
    Taxonomy.from_dict({"a": ["x"]}).save(path)
    Taxonomy.from_dict({"b": ["y"]}).save(str(path))
    assert Taxonomy.load(path).classes("fine") == ("y",)
    assert [item.name for item in path.parent.iterdir()] == ["t.yml"]
    with pytest.raises(TaxonomyError, match=r"t\.xml: .* must end in .*\.csv.*Received: \.xml"):
        Taxonomy.from_dict({"a": ["x"]}).save(tmp_path / "t.xml")
    assert not (tmp_path / "t.xml").exists()


def test_other_tools_read_what_is_saved(tmp_path):
    taxonomy = Taxonomy.load("hornbostel_sachs")
    taxonomy.save(tmp_path / "t.yaml")
    taxonomy.save(tmp_path / "t.json")
    taxonomy.save(tmp_path / "t.csv")
    assert yaml.safe_load((tmp_path / "t.yaml").read_text("utf-8")) == taxonomy.to_dict()
    assert json.loads((tmp_path / "t.json").read_text("utf-8")) == taxonomy.to_dict()
    frame = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert Taxonomy.from_frame(frame) == taxonomy
    assert taxonomy.to_csv() == (tmp_path / "t.csv").read_text("utf-8")


# Attributes


def attributed(**attributes):
    return {
        "levels": ["fine"],
        "classes": {"fine": ["flute", "horn"]},
        "attributes": {"fine": {"flute": attributes}},
    }


def test_attributes_are_read_only_and_do_not_count_as_content():
    plain = Taxonomy.from_dict(attributed())
    taxonomy = Taxonomy.from_dict(attributed(program=73, also=["Querflöte", 2], hs="421.121"))
    found = taxonomy.attributes("fine")
    assert found["flute"] == {"program": 73, "also": ("Querflöte", 2), "hs": "421.121"}
    assert found["horn"] == {}
    assert list(found) == ["flute", "horn"]
    with pytest.raises(TypeError):
        found["flute"]["program"] = 1
    with pytest.raises(TaxonomyError, match="no level 'coarse'"):
        taxonomy.attributes("coarse")
    assert taxonomy == plain
    assert taxonomy.hash == plain.hash
    assert "attributes" not in plain.to_dict()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"hs": 321.322}, "write a number with a point as text.*321.322"),
        ({"hs": True}, "'hs' of 'flute' must be text"),
        ({"hs": None}, "'hs' of 'flute' must be text"),
        ({"hs": {"a": "b"}}, "'hs' of 'flute' must be text"),
        ({"hs": ["a", ["b"]]}, "'hs' of 'flute' must be text"),
        ({"hs": "a\x00"}, "'hs' of 'flute' must be printable"),
        ({"": "a"}, "name of an attribute of 'flute' must be printable"),
        ({3: "a"}, "name of an attribute of 'flute' must be text"),
    ],
)
def test_unusable_attributes_are_refused(attributes, message):
    form = attributed()
    form["attributes"]["fine"]["flute"] = attributes
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_dict(form)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (["fine"], "'attributes' must be a mapping"),
        ({"mid": {}}, "unknown level 'mid'"),
        ({"fine": {"flut": {}}}, "unknown class 'flut'.*'flute'"),
        ({"fine": {"flute": "x"}}, "attributes of 'flute' must be a mapping"),
    ],
)
def test_misplaced_attributes_are_refused(attributes, message):
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_dict({**attributed(), "attributes": attributes})


def test_yaml_reads_whole_numbers_as_attributes_only(tmp_path):
    text = "levels: [fine]\nclasses:\n  fine: [a]\nattributes:\n  fine:\n    a: {n: %s}\n"
    taxonomy = Taxonomy.load(write(tmp_path, text % "-12", "t.yaml"))
    assert taxonomy.attributes("fine")["a"]["n"] == -12
    for value, kind in (("0x1F", "int"), ("1_000", "int"), ("321.3", "float"), ("", "null")):
        with pytest.raises(TaxonomyError, match=f"line 6: expected text.*as {kind}"):
            Taxonomy.load(write(tmp_path, text % value, "t.yaml"))
    with pytest.raises(TaxonomyError, match="line 3: expected text, but YAML reads '1' as int"):
        Taxonomy.load(write(tmp_path, "levels: [fine]\nclasses:\n  fine: [1]\n", "t.yaml"))


# Faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: not valid JSON"),
        ("{", "line 1: not valid JSON"),
        ('{"a": ["b"],\n"c": }', "line 2: not valid JSON"),
        ('{"a": ["b"]} {"c": []}', "not valid JSON: Extra data"),
        ('{"a": ["b"], "a": ["c"]}', "the key 'a' occurs twice"),
        ('{"a": {"x": ["b"], "x": []}}', "the key 'x' occurs twice"),
        ("[" * 100_000, "nested deeper"),
        ("[" * 200 + "]" * 200, "nested deeper"),
        ("1" * 5000, "not valid JSON"),
        ("[]", "must be a mapping"),
        ("null", "must be a mapping"),
        ('{"a": [1]}', "must be text.*1"),
        ('{"a": [null]}', "must be text"),
        ('{"a": "b"}', "must be a list"),
        ('{"a": ["b\\u0000"]}', "printable"),
        ('{"a": ["\\ud800"]}', "printable"),
        ('{"levels": ["f"], "classes": {"f": [NaN]}}', "must be text"),
        (b'{"a": ["\xff"]}', "line 1: the file is not UTF-8"),
        ('{"a": ["b"]}'.encode("utf-16"), "not UTF-8"),
        (b" " * (4 * 2**20 + 1), "exceed 4 MiB"),
    ],
)
def test_hostile_json_is_refused_by_name(tmp_path, text, message):
    path = write(tmp_path, text, "t.json")
    with pytest.raises(TaxonomyError, match=message) as caught:
        Taxonomy.load(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("\n\n", "the table is empty"),
        ("fine,coarse\n", "column 'fine' has no classes"),
        ("fine,coarse\n,x\n", "column 'fine' has no classes"),
        ("fine,fine\na,b\n", "Level names must differ"),
        ("fine;coarse\na;b\n", "separated by commas.*fine;coarse"),
        ("fine,\na,b\n", "A level name must start"),
        (",".join(f"l{i}" for i in range(33)) + "\n", "1 to 32 levels"),
        ("fine,coarse\na,b\nc\n", "line 3: a row must have 2 cells.*Received: 1"),
        ("fine,coarse\na,b,c\n", "line 2: a row must have 2 cells.*Received: 3"),
        ("fine,coarse\na,b\n\nc,d\na,b\n", "line 5: the row repeats line 2"),
        ("fine,coarse\n,\n", "line 2: a row must name at least one class"),
        ("fine,coarse\na, b\n", "line 2: a class name of level 'coarse'.*' b'"),
        ("fine,coarse\na:x,b\n", "line 2: a class name of level 'fine'"),
        ('fine,coarse\n"a\nb",c\nd,\te\n', "line 2: a class name"),
        ('fine,coarse\na,b\n"a,b\n', "line 3: not valid CSV"),
        ('fine,coarse\na,"b"c\n', "line 2: not valid CSV"),
        ("fine,coarse\na,b\0\n", "line 2: a class name"),
        ("fine\n" + "x" * 200_000 + "\n", "line 2: not valid CSV: field larger"),
        (b"fine,coarse\na,\xff\n", "line 2: the file is not UTF-8"),
        ("fine\na\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_hostile_tables_are_refused_by_name(tmp_path, text, message):
    path = write(tmp_path, text, "t.csv")
    with pytest.raises(TaxonomyError, match=message) as caught:
        Taxonomy.load(path)
    assert str(caught.value).startswith(str(path))


@given(
    st.sampled_from([".yaml", ".json", ".csv"]),
    st.one_of(
        st.binary(max_size=40),
        st.text("ab:{}[],\n\"'-#&*!? \t01", max_size=40).map(str.encode),
    ),
)
@settings(max_examples=200, deadline=None, suppress_health_check=ANY_FOLDER)
def test_whatever_a_file_holds_it_is_a_taxonomy_or_an_error(tmp_path, suffix, content):
    path = write(tmp_path, content, f"t{suffix}")
    try:
        taxonomy = Taxonomy.load(path)
    except TaxonomyError as error:
        message = str(error)
    else:
        assert Taxonomy.from_dict(taxonomy.to_dict()) == taxonomy
        return
    assert message.startswith(str(path))


def test_awkward_names_need_no_native_yaml(tmp_path, monkeypatch):
    taxonomy = Taxonomy.from_nested({word: [word, "x"] for word in AWKWARD})
    taxonomy.save(tmp_path / "native.yaml")
    # PyYAML built without libyaml has only what is written in Python.
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    monkeypatch.delattr(yaml, "CSafeDumper", raising=False)
    taxonomy.save(tmp_path / "python.yaml")
    assert Taxonomy.load(tmp_path / "native.yaml") == taxonomy
    assert Taxonomy.load(tmp_path / "python.yaml") == taxonomy


def test_a_large_directed_acyclic_graph_survives_every_format(tmp_path):
    classes = {f"l{i}": [f"l{i} class {j}" for j in range(1000 >> 2 * i)] for i in range(3)}
    parents = {
        f"l{i}": {
            name: [classes[f"l{i + 1}"][(j * k + k) % (1000 >> 2 * i + 2)] for k in (1, 2)]
            for j, name in enumerate(classes[f"l{i}"])
        }
        for i in range(2)
    }
    for links in parents.values():
        links.update({name: list(dict.fromkeys(above)) for name, above in links.items()})
    form = {"levels": list(classes), "classes": classes, "parents": parents}
    taxonomy = Taxonomy.from_dict(form)
    for suffix in ("yaml", "json", "csv"):
        taxonomy.save(tmp_path / f"t.{suffix}")
        assert Taxonomy.load(tmp_path / f"t.{suffix}").hash == taxonomy.hash
