import pickle
import subprocess
import sys

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hmic_keras.errors import LabelError, TaxonomyError
from hmic_keras.taxonomy import Taxonomy, as_labels

TWO_LEVELS = {"strings": ["violin", "cello"], "brass": ["trumpet"]}
# Three levels with a skip link (snare), two parents (sax), an orphan (kazoo), childless
# classes at both coarser levels, and one name at two levels (voice).
FULL = {
    "name": "winds and more",
    "provenance": "made up",
    "levels": ["fine", "mid", "top"],
    "classes": {
        "fine": ["flute", "sax", "snare", "kazoo", "voice"],
        "mid": ["wood", "reed", "bell", "voice"],
        "top": ["wind", "drums", "other"],
    },
    "parents": {
        "fine": {
            "flute": ["wood"],
            "sax": ["reed", "wood"],
            "snare": ["top:drums"],
            "voice": ["voice"],
        },
        "mid": {"wood": ["wind"], "reed": ["wind"], "voice": ["other"]},
    },
}


def write(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Independent oracles


def naive_parents(taxonomy):
    return {
        (level, name): set(taxonomy.parents(name, level))
        for level in taxonomy.levels
        for name in taxonomy.classes(level)
    }


def naive_ancestors(taxonomy):
    parents = naive_parents(taxonomy)

    def above(key):
        found = set()
        for parent in parents[key]:
            found |= {parent} | above(parent)
        return found

    return {key: above(key) for key in parents}


def naive_close(taxonomy, labels):
    """Closes one row given as {(level, name): value}, or returns None if it contradicts."""
    parents, ancestors = naive_parents(taxonomy), naive_ancestors(taxonomy)
    closed = {key: labels.get(key, -1) for key in parents}
    for key in labels:
        for ancestor in ancestors[key] & set(labels):
            if labels[key] > 0.5 and 0 <= labels[ancestor] <= 0.5:
                return None
    for key in parents:
        if closed[key] == -1 and any(labels.get(a) == 0 for a in ancestors[key]):
            closed[key] = 0
    for level in taxonomy.levels[1:]:
        for name in taxonomy.classes(level):
            key = (level, name)
            below = [closed[child] for child in parents if key in parents[child]]
            if closed[key] != -1 or not below:
                continue
            if max(below) > 0.5 or min(below) >= 0:
                closed[key] = max(below)
    return closed


@st.composite
def taxonomies(draw):
    depth = draw(st.integers(1, 4))
    levels = [f"l{i}" for i in range(depth)]
    sizes = [draw(st.integers(1, 4)) for _ in levels]
    classes = {lv: [f"c{j}" for j in range(n)] for lv, n in zip(levels, sizes, strict=True)}
    parents = {}
    for i, level in enumerate(levels):
        coarser = [f"{lv}:{name}" for lv in levels[i + 1 :] for name in classes[lv]]
        if coarser:
            parents[level] = {
                name: draw(st.lists(st.sampled_from(coarser), unique=True, max_size=3))
                for name in classes[level]
            }
    return Taxonomy.from_dict({"levels": levels, "classes": classes, "parents": parents})


@st.composite
def labelled(draw):
    taxonomy = draw(taxonomies())
    rows = draw(st.integers(1, 3))
    given_levels = draw(st.lists(st.sampled_from(taxonomy.levels), unique=True, min_size=1))
    value = st.sampled_from([-1.0, -1.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0])
    labels = {
        level: np.array(
            [[draw(value) for _ in taxonomy.classes(level)] for _ in range(rows)], np.float32
        )
        for level in given_levels
    }
    return taxonomy, labels


# Making and asking


def test_short_form_keeps_the_order_of_first_mention():
    taxonomy = Taxonomy.from_dict({"b": ["y", "x"], "a": ["x", "z"], "empty": []})
    assert taxonomy.levels == ("fine", "coarse")
    assert taxonomy.classes("fine") == ("y", "x", "z")
    assert taxonomy.classes("coarse") == ("b", "a", "empty")
    assert taxonomy.parents("x", "fine") == (("coarse", "b"), ("coarse", "a"))
    assert taxonomy.children("empty", "coarse") == ()
    mask = taxonomy.mask("coarse", "fine")
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, [[1, 1, 0], [0, 1, 1], [0, 0, 0]])


def test_short_form_nests():
    taxonomy = Taxonomy.from_dict(
        {"wind": {"wood": ["flute"], "brass": ["horn"]}, "drums": ["snare"], "other": {}}
    )
    assert taxonomy.levels == ("level_0", "level_1", "level_2")
    assert taxonomy.classes("level_0") == ("flute", "horn", "snare")
    assert taxonomy.parents("flute", "level_0") == (("level_1", "wood"),)
    assert taxonomy.parents("snare", "level_0") == (("level_2", "drums"),)
    assert taxonomy.parents("brass", "level_1") == (("level_2", "wind"),)


def test_full_form_with_skip_links_orphans_and_childless_classes():
    taxonomy = Taxonomy.from_dict(FULL)
    assert taxonomy.name == "winds and more"
    assert taxonomy.provenance == "made up"
    assert taxonomy.parents("sax", "fine") == (("mid", "wood"), ("mid", "reed"))
    assert taxonomy.parents("snare", "fine") == (("top", "drums"),)
    assert taxonomy.parents("kazoo", "fine") == ()
    assert taxonomy.children("wood", "mid") == (("fine", "flute"), ("fine", "sax"))
    np.testing.assert_array_equal(
        taxonomy.mask("top", "fine"), [[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]
    )
    assert taxonomy.direct_links("top", "fine").tolist() == [[1, 2]]
    assert taxonomy.links("top", "mid").tolist() == [[0, 0], [0, 1], [2, 3]]


def test_to_dict_restores_everything():
    taxonomy = Taxonomy.from_dict(FULL)
    restored = Taxonomy.from_dict(taxonomy.to_dict())
    assert restored == taxonomy
    assert (restored.name, restored.provenance) == (taxonomy.name, taxonomy.provenance)
    assert restored.to_dict() == taxonomy.to_dict()


@given(taxonomies())
@settings(max_examples=60, deadline=None)
def test_links_and_masks_agree_with_a_walk_over_ancestors(taxonomy):
    ancestors = naive_ancestors(taxonomy)
    for i, child in enumerate(taxonomy.levels):
        for parent in taxonomy.levels[i + 1 :]:
            expected = [
                [p, c]
                for p, up in enumerate(taxonomy.classes(parent))
                for c, down in enumerate(taxonomy.classes(child))
                if (parent, up) in ancestors[child, down]
            ]
            assert taxonomy.links(parent, child).tolist() == expected
            assert np.argwhere(taxonomy.mask(parent, child)).tolist() == expected
    assert Taxonomy.from_dict(taxonomy.to_dict()) == taxonomy


def test_index_maps_names_to_columns_and_is_read_only():
    taxonomy = Taxonomy.from_dict(TWO_LEVELS)
    assert dict(taxonomy.index("fine")) == {"violin": 0, "cello": 1, "trumpet": 2}
    with pytest.raises(TypeError):
        taxonomy.index("fine")["violin"] = 5
    with pytest.raises(AttributeError):
        taxonomy.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        taxonomy.links("coarse", "fine")[0, 0] = 1


def test_openmic_has_the_tags_and_families_of_its_sources():
    taxonomy = Taxonomy.load("openmic")
    fine = taxonomy.classes("fine")
    assert (len(fine), fine[0], fine[9], fine[19]) == (
        20,
        "accordion",
        "mallet_percussion",
        "voice",
    )
    assert fine == tuple(sorted(fine))
    families = {
        "keyboards": {"accordion", "organ", "piano", "synthesizer"},
        "bowed_strings": {"cello", "violin"},
        "plucked_strings": {"banjo", "bass", "guitar", "mandolin", "ukulele"},
        "woodwinds": {"clarinet", "flute", "saxophone"},
        "brass": {"trombone", "trumpet"},
        "percussion": {"cymbals", "drums", "mallet_percussion"},
        "voice": {"voice"},
    }
    assert taxonomy.classes("coarse") == tuple(families)
    for family, members in families.items():
        assert {name for _, name in taxonomy.children(family, "coarse")} == members
    assert taxonomy.mask("coarse", "fine").sum(axis=0).tolist() == [1] * 20
    assert "Humphrey" in taxonomy.provenance


def test_a_large_taxonomy_keeps_every_link():
    fine, coarse = [f"f{i}" for i in range(10_000)], [f"c{i}" for i in range(1_000)]
    parents = {name: [coarse[max(0, i - 9_000)]] for i, name in enumerate(fine)}
    taxonomy = Taxonomy.from_dict(
        {
            "levels": ["fine", "coarse"],
            "classes": {"fine": fine, "coarse": coarse},
            "parents": {"fine": parents},
        }
    )
    mask = taxonomy.mask("coarse", "fine")
    assert mask.shape == (1_000, 10_000)
    assert mask.sum(axis=1).tolist() == [9_001] + [1] * 999
    labels = np.zeros((2, 10_000))
    labels[1, 9_999] = 1
    closed = taxonomy.close_labels({"fine": labels})["coarse"]
    assert closed.sum(axis=1).tolist() == [0, 1]
    assert closed[1, 999] == 1


def test_resolve_prefers_the_finest_level():
    taxonomy = Taxonomy.from_dict(FULL)
    assert taxonomy.resolve("voice") == ("fine", "voice")
    assert taxonomy.resolve("mid:voice") == ("mid", "voice")
    assert taxonomy.resolve("wind") == ("top", "wind")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("flue", "no class 'flue'.*'flute'"),
        ("mid:flute", "Level 'mid' .* no class 'flute'"),
        ("middle:wood", "no level 'middle'.*fine, mid, top"),
        ("", "no class ''"),
        (3, "must be text"),
    ],
)
def test_resolve_refuses_unknown_columns(column, message):
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_dict(FULL).resolve(column)


@pytest.mark.parametrize(
    "ask",
    [
        lambda t: t.classes("coarsest"),
        lambda t: t.index(0),
        lambda t: t.mask("coarse", "finest"),
        lambda t: t.parents("violin", "x"),
        lambda t: t.close_labels({"x": [[1]]}),
    ],
)
def test_an_unknown_level_is_named_with_the_known_ones(ask):
    with pytest.raises(TaxonomyError, match=r"has no level .*fine, coarse"):
        ask(Taxonomy.from_dict(TWO_LEVELS))


def test_levels_the_wrong_way_round_are_refused():
    taxonomy = Taxonomy.from_dict(TWO_LEVELS)
    for pair in (("fine", "coarse"), ("fine", "fine")):
        with pytest.raises(TaxonomyError, match="must be coarser"):
            taxonomy.mask(*pair)


def test_tree_shows_every_shape_of_hierarchy():
    assert Taxonomy.from_dict(FULL).tree().splitlines() == [
        "winds and more: 3 top, 4 mid, 5 fine",
        "├── wind",
        "│   ├── wood",
        "│   │   ├── flute",
        "│   │   └── sax",
        "│   └── reed",
        "│       └── sax",
        "├── drums",
        "│   └── snare (fine)",
        "├── other",
        "│   └── voice",
        "│       └── voice",
        "├── bell (mid, childless)",
        "└── kazoo (fine)",
    ]


def test_tree_draws_a_shared_branch_once():
    levels = [f"l{i}" for i in range(20)]
    diamonds = {
        "levels": levels,
        "classes": {level: ["a", "b"] for level in levels},
        "parents": {level: {"a": ["a", "b"], "b": ["a", "b"]} for level in levels[:-1]},
    }
    lines = Taxonomy.from_dict(diamonds).tree().splitlines()
    assert len(lines) == 1 + 2 + 19 * 4
    assert sum("see above" in line for line in lines) == 18 * 2


# Identity


def test_hash_follows_content_only():
    taxonomy = Taxonomy.from_dict(FULL)
    renamed = Taxonomy.from_dict({**FULL, "name": "x", "provenance": "y"})
    assert renamed == taxonomy
    assert renamed.hash == taxonomy.hash
    assert hash(renamed) == hash(taxonomy)
    reordered = taxonomy.to_dict()
    reordered["parents"]["fine"]["sax"].reverse()
    reordered["classes"] = dict(reversed(reordered["classes"].items()))
    assert Taxonomy.from_dict(reordered).hash == taxonomy.hash


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["classes"]["fine"].reverse(),
        lambda d: d["classes"]["top"].append("new"),
        lambda d: d["parents"]["fine"]["flute"].append("reed"),
        lambda d: d["parents"]["fine"].pop("snare"),
        lambda d: d["parents"]["fine"].update(flute=["top:wind"]),
    ],
)
def test_hash_changes_with_classes_order_and_links(change):
    taxonomy = Taxonomy.from_dict(FULL)
    data = taxonomy.to_dict()
    change(data)
    changed = Taxonomy.from_dict(data)
    assert changed.hash != taxonomy.hash
    assert changed != taxonomy


def test_hash_is_the_same_in_another_process_and_after_pickling():
    taxonomy = Taxonomy.load("openmic")
    code = "from hmic_keras.taxonomy import Taxonomy; print(Taxonomy.load('openmic').hash)"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == taxonomy.hash
    assert len(taxonomy.hash) == 64
    assert pickle.loads(pickle.dumps(taxonomy)) == taxonomy


# Faults


def full(**changes):
    data = {
        "levels": ["fine", "coarse"],
        "classes": {"fine": ["violin", "cello"], "coarse": ["strings"]},
        "parents": {"fine": {"violin": ["strings"]}},
    }
    return {**data, **changes}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            full(parents={"fine": {"violin": ["fine:cello"]}}),
            "strictly coarser level.*no cycle",
        ),
        (full(parents={"fine": {"violin": ["cello"]}}), "'cello'.*strictly coarser level"),
        (full(parents={"coarse": {"strings": ["fine:violin"]}}), "strictly coarser level"),
        (full(parents={"coarse": {"strings": ["violin"]}}), "strictly coarser level"),
        (full(parents={"fine": {"violin": ["string"]}}), "Did you mean 'strings'"),
        (full(parents={"fine": {"violin": ["upper:strings"]}}), "no level 'upper'"),
        (full(parents={"fine": {"viola": ["strings"]}}), "unknown class 'viola'.*'violin'"),
        (full(parents={"finest": {}}), "unknown level 'finest'"),
        (full(parents={"fine": {"violin": ["strings", "strings"]}}), "names a parent twice"),
        (full(parents={"fine": {"violin": "strings"}}), "must be a list"),
        (full(parents={"fine": {"violin": [None]}}), "must be text"),
        (full(parents=["violin"]), "'parents' must be a mapping"),
        (full(classes={"fine": ["a", "a"], "coarse": ["b"]}), "'fine' has the class 'a' twice"),
        (full(classes={"fine": [], "coarse": ["b"]}), "Level 'fine' has no classes"),
        (full(classes={"fine": ["a"]}), "exactly the levels"),
        (full(classes={"fine": "abc", "coarse": ["b"]}), "must be a list"),
        (full(levels=["fine", "fine"]), "Level names must differ"),
        (full(levels=[]), "1 to 32 levels"),
        (full(levels=["fine", "co/arse"]), "ASCII letter"),
        (full(levels=["fine", 1]), "ASCII letter"),
        (full(parent={}), "no key 'parent'"),
        (full(name=""), "name must be printable text"),
        (full(provenance=["x"]), "'provenance' must be text"),
        ({"levels": ["fine"]}, "needs 'classes'"),
        ({}, "not empty"),
        (["violin"], "must be a mapping"),
        ({"a": []}, "Level 'fine' has no classes"),
        ({"a": "xyz"}, "must be a list"),
        ({"a": ["x", "x"]}, "'x' occurs twice under 'a'"),
        ({"a": ["x", ["y"]]}, "must be text"),
        ({"a": [True]}, "must be text.*True"),
        ({False: ["x"]}, "must be text.*False"),
        ({"a": {"g": ["x"]}, "b": {"g": ["y"]}}, "'g' occurs twice.*full form"),
    ],
)
def test_broken_taxonomies_are_refused(data, message):
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_dict(data)


@pytest.mark.parametrize("name", ["", " x", "x ", "a:b", "a\nb", "a\x00", "a\u200bb", "\ud800"])
def test_unusable_class_names_are_refused(name):
    with pytest.raises(TaxonomyError, match="must be printable text"):
        Taxonomy.from_dict({"group": [name]})
    with pytest.raises(TaxonomyError, match="must be printable text"):
        Taxonomy.from_dict({name: ["x"]})


def test_a_parent_beyond_the_next_level_is_suggested():
    data = {**FULL, "parents": {"fine": {"snare": ["drums"]}}}
    with pytest.raises(TaxonomyError, match="Write 'top:drums'"):
        Taxonomy.from_dict(data)


def test_nesting_without_end_is_refused():
    loop = {}
    loop["again"] = loop
    with pytest.raises(TaxonomyError, match="nests deeper"):
        Taxonomy.from_dict(loop)


# Files


def test_from_file_reads_both_forms(tmp_path):
    short = write(tmp_path, "strings: [violin, cello]\nbrass:\n  - trumpet\n", "small.yml")
    taxonomy = Taxonomy.load(str(short))
    assert taxonomy == Taxonomy.from_dict(TWO_LEVELS)
    assert taxonomy.name == "small"
    long = write(tmp_path, yaml.safe_dump(FULL))
    assert Taxonomy.load(long).to_dict() == Taxonomy.from_dict(FULL).to_dict()


def test_text_in_any_script_is_read(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf" + "弦: [二胡, 'no']\n".encode())
    assert Taxonomy.load(path).classes("fine") == ("二胡", "no")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system ['true']\n", "line 1: YAML tags are refused"),
        ("a: !!str x\n", "YAML tags"),
        ("a: &x [b]\nc: *x\n", "line 1: YAML anchors and aliases"),
        ("a: [b]\n<<: [c]\n", "line 2: expected text.*merge"),
        ("a: [b]\nc: [d]\na: [e]\n", "line 3: the key 'a' occurs twice"),
        ("a:\n  - yes\n  - b\n", "line 2: expected text.*'yes' as bool"),
        ("no: [b]\n", "line 1: expected text.*'no' as bool"),
        ("a: [b, 12]\n", "'12' as int"),
        ("a: [2020-01-01]\n", "as timestamp"),
        ("a:\nb: [c]\n", "line 1: expected text.*as null.*\\[\\]"),
        ("? [a, b]\n: [c]\n", "a key must be text"),
        ("a: [b\n", "line [12]: not valid YAML"),
        ("a: [b]\n---\nc: [d]\n", "one YAML document"),
        ("[" * 5000, "nested deeper"),
        ("", "must be a mapping"),
        ("- a\n", "must be a mapping"),
        ("a: [b, b]\n", "occurs twice"),
        ('a: ["b\\0"]\n', "printable"),
        (b"a: [b]\nc: [\xff]\n", "line 2: the file is not UTF-8"),
        ("a: [b]".encode("utf-16"), "not UTF-8"),
        (b"a: [\x01]", "not valid YAML"),
        (b"#" * (4 * 2**20 + 1), "exceed 4 MiB"),
    ],
)
@pytest.mark.parametrize("native", [True, False])
def test_hostile_files_are_refused_by_name(tmp_path, monkeypatch, text, message, native):
    if not native:
        # PyYAML built without libyaml has only the loader written in Python.
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    path = write(tmp_path, text)
    with pytest.raises(TaxonomyError, match=message) as caught:
        Taxonomy.from_file(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_or_folder_is_refused(tmp_path):
    with pytest.raises(TaxonomyError, match=r"nowhere\.yaml: .*cannot be read"):
        Taxonomy.load(tmp_path / "nowhere.yaml")
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(TaxonomyError, match="cannot be read"):
        Taxonomy.load(folder)


def test_other_formats_and_unknown_names_are_refused(tmp_path):
    for name in ("tax.txt", "tax.xlsx", str(tmp_path / "tax")):
        with pytest.raises(TaxonomyError, match=r"must end in .*\.json or \.csv"):
            Taxonomy.load(name)
    with pytest.raises(TaxonomyError, match=r"Did you mean 'openmic'.*Packaged: .*openmic"):
        Taxonomy.load("openmik")


# Labels


def test_close_labels_follows_the_rules_for_derived_parents():
    taxonomy = Taxonomy.from_dict({"a": ["x", "y"], "b": ["z"], "none": []})
    fine = [[1, -1, 0], [0, 0, -1], [0, -1, 1], [0.3, 0.2, np.nan], [0.3, -1, 0], [0.7, -1, 0]]
    closed = taxonomy.close_labels({"fine": fine})
    expected = [
        [1, 0, -1],
        [0, -1, -1],
        [-1, 1, -1],
        [0.3, -1, -1],
        [-1, 0, -1],
        [0.7, 0, -1],
    ]
    np.testing.assert_array_equal(closed["coarse"], np.array(expected, np.float32))
    assert list(closed) == ["fine", "coarse"]
    assert closed["fine"].dtype == closed["coarse"].dtype == np.float32


def test_given_parents_win_and_absence_spreads_down():
    taxonomy = Taxonomy.from_dict({"a": ["x", "y"], "b": ["y", "z"]})
    closed = taxonomy.close_labels(
        {"fine": [[-1, -1, -1], [1, -1, 0]], "coarse": [[0, 1], [0.9, -1]]}
    )
    np.testing.assert_array_equal(closed["fine"], [[0, 0, -1], [1, -1, 0]])
    np.testing.assert_array_equal(closed["coarse"], np.array([[0, 1], [0.9, -1]], np.float32))


def test_a_contradiction_names_row_child_and_parent():
    taxonomy = Taxonomy.from_dict(FULL)
    labels = {"fine": np.full((3, 5), -1.0), "top": np.full((3, 3), -1.0)}
    labels["fine"][2, 1], labels["top"][2, 0] = 1, 0
    with pytest.raises(LabelError, match=r"Row 2: 'sax' .*'wind' .*absent"):
        taxonomy.close_labels(labels)


@given(labelled())
@settings(max_examples=200, deadline=None)
def test_close_labels_agrees_with_a_naive_loop(case):
    taxonomy, labels = case
    untouched = {level: array.copy() for level, array in labels.items()}
    rows = len(next(iter(labels.values())))
    expected = [
        naive_close(
            taxonomy,
            {
                (level, name): float(array[row, i])
                for level, array in labels.items()
                for i, name in enumerate(taxonomy.classes(level))
            },
        )
        for row in range(rows)
    ]
    if None in expected:
        with pytest.raises(LabelError, match="implies its parents"):
            taxonomy.close_labels(labels)
        return
    closed = taxonomy.close_labels(labels)
    for level in taxonomy.levels:
        names = taxonomy.classes(level)
        wanted = [[row[level, name] for name in names] for row in expected]
        np.testing.assert_array_equal(closed[level], np.array(wanted, np.float32))
    again = taxonomy.close_labels(closed)
    for level in taxonomy.levels:
        np.testing.assert_array_equal(again[level], closed[level])
    for level, array in untouched.items():
        np.testing.assert_array_equal(labels[level], array)


def test_no_rows_stay_no_rows():
    closed = Taxonomy.from_dict(TWO_LEVELS).close_labels({"coarse": np.zeros((0, 2))})
    assert closed["fine"].shape == (0, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "at least one level"),
        ([[1, 0, 0]], "must map"),
        ({"fine": [[1, 0]]}, "must have 3 columns"),
        ({"fine": [1, 0, 0]}, "shape"),
        ({"fine": [["1", "0", "0"]]}, "must be numbers"),
        ({"fine": [[1, 2, 0]]}, "row 0, class 'cello'.*Received: 2"),
        ({"fine": [[1, 0, 0], [0, 0, -0.5]]}, "row 1, class 'trumpet'"),
        ({"fine": [[1, np.inf, 0]]}, "Received: inf"),
        ({"fine": [[1, 0, 0]], "coarse": [[1, 0], [1, 0]]}, "same number of rows"),
    ],
)
def test_unusable_labels_are_refused(labels, message):
    with pytest.raises(LabelError, match=message):
        Taxonomy.from_dict(TWO_LEVELS).close_labels(labels)


def test_as_labels_takes_bools_and_nan_and_copies():
    source = np.array([[0.5, np.nan]], np.float32)
    assert as_labels(source, "x").tolist() == [[0.5, -1]]
    assert np.isnan(source[0, 1])
    assert as_labels([[True, False]], "x").tolist() == [[1, 0]]
    with pytest.raises(LabelError, match="row 0, column 1"):
        as_labels([[0, 7]], "x")
