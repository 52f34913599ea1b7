"""Tables, taxonomies, label maps, recipes and settings with anything in them."""

import dataclasses
import json
import math

import numpy as np
import pytest
import yaml
from bad_input import DAMAGE, WRONG, attempt, damaged, settings, wrong_trees
from hypothesis import example, given
from hypothesis import strategies as st

from hmic_keras.config import AudioConfig, ModelConfig, TrainConfig
from hmic_keras.data import open_clips
from hmic_keras.data.events import read_events
from hmic_keras.data.sources.folder import read_clips
from hmic_keras.errors import HmicError
from hmic_keras.label_map import LabelMap
from hmic_keras.recipe import Recipe
from hmic_keras.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})
FULL = {
    **TAXONOMY.to_dict(),
    "name": "duo",
    "attributes": {"fine": {"violin": {"program": 40, "aka": ["vln", 1]}}},
}
LABELS = [["path", "violin", "coarse:brass", "meta_on"], ["a.wav", "1", "0", "x"]]
LABELS += [["b.wav", "", "0.25", "y"], ["c.wav", "0", "", ""]]
EVENTS = [["path", "class", "start", "end"], ["a.wav", "violin", "0.5", "1.25"]]
EVENTS += [["b.wav", "cello", "0", "2"]]
TAGS = {
    "name": "tags",
    "map": {"vln": "violin", "str": ["violin", "cello"], "noise": None},
    "partial": ["vln"],
}
CELLS = (
    *("", " ", "0", "1", "-1", "0.5", "1.0000001", "nan", "inf", "-inf", "1e300", "1e-300"),
    *("1_0", "٣", "yes", "path", "violin", "fine:violin", "coarse:strings", "horn", "kazoo"),
    *("a.wav", "./a.wav", "../a.wav", "/", ".", "none.wav", "x" * 5000, "a\0.wav", "é", "🎻"),
    *('"', "a,b", "a\nb", "meta_", "_", ":", "fine:", "\ufeff", "0.5,1"),
)


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.wav").touch()
    return tmp_path


def csv(rows):
    quoted = ([f'"{c}"' if set(c) & set(",\n") else c for c in row] for row in rows)
    return "\n".join(",".join(row) for row in quoted) + "\n"


@st.composite
def spoilt(draw, rows):
    """Draws a table with cells replaced, rows and columns doubled or removed."""
    rows = [list(row) for row in rows]
    for _ in range(draw(st.integers(1, 2))):
        row = draw(st.integers(0, len(rows) - 1))
        column = draw(st.integers(0, len(rows[0] or "x") - 1))
        match draw(st.sampled_from(["cell", "cell", "cell", "row", "column", "short", "drop"])):
            case "row":
                rows.append(list(rows[row]))
            case "column":
                for cells in rows:
                    cells[column:column] = cells[column : column + 1]
            case "short":
                del rows[row][column:]
            case "drop" if len(rows) > 1:
                del rows[row]
            case _ if rows[row][column:]:
                rows[row][column] = draw(st.sampled_from(CELLS))
    return csv(rows)


def broken(text):
    """Draws the bytes of a text, damaged or in another encoding."""
    return st.one_of(
        DAMAGE.map(lambda changes: damaged(text.encode(), changes)),
        st.sampled_from(["utf-16", "utf-8-sig", "utf-32", "cp037"]).map(
            lambda name: text.encode(name, "replace")
        ),
    )


def tables(rows):
    return st.one_of(spoilt(rows).map(str.encode), spoilt(rows).flatmap(broken))


def whole(labels, rows):
    for values in labels.values():
        assert values.dtype == np.float32
        assert len(values) == rows
        assert ((values == -1) | ((values >= 0) & (values <= 1))).all()


@settings(120)
@given(content=tables(LABELS))
@example(csv([["path", "violin"], ["x" * 5000, "1"]]).encode())
def test_label_tables(folder, content):
    table = folder / "labels.csv"
    table.write_bytes(content)
    clips = attempt(lambda: read_clips(table, TAXONOMY), table, folder=folder)
    if clips is not None:
        assert all(path.is_file() for path in clips.paths)
        whole(clips.labels, len(clips))


@settings(120)
@given(content=tables(EVENTS))
@example(csv([*EVENTS, ["a.wav", "horn", "1", "1e300"]]).encode())
def test_tables_of_notes(folder, content):
    (folder / "labels.csv").write_text(csv(LABELS))
    table = folder / "events.csv"
    table.write_bytes(content)
    events = attempt(lambda: read_events(table, TAXONOMY), table, folder=folder)
    clips = attempt(lambda: read_clips(folder / "labels.csv", TAXONOMY), folder, folder=folder)
    for notes in [*(events or {}).values(), *(clips.events if clips else ())]:
        assert np.isfinite(notes).all()
        assert (notes[:, 1] < notes[:, 2]).all()


@pytest.mark.parametrize("name", ["x" * 5000 + ".csv", "a\0b.csv", "none.csv", ".", "a.wav/b"])
def test_names_that_no_file_has(folder, name):
    path = folder / name
    shown = "a.wav/b" if name == "a.wav/b" else str(folder)
    attempts = [
        lambda: open_clips(path, TAXONOMY),
        lambda: read_events(path, TAXONOMY),
        lambda: Taxonomy.load(path.with_suffix(".yaml")),
        lambda: LabelMap.load(path.with_suffix(".json"), TAXONOMY),
        lambda: Recipe.load(path.with_suffix(".yaml")),
    ]
    for act in attempts:
        assert attempt(act, shown, folder=folder) is None


# Taxonomies and label maps


def same(taxonomy):
    assert Taxonomy.from_dict(taxonomy.to_dict()) == taxonomy


@settings(100)
@given(form=wrong_trees(FULL))
@example({**FULL, "parents": {"fine": {"violin": [["coarse:strings"]]}}})
def test_taxonomies_in_memory(form):
    taxonomy = attempt(lambda: Taxonomy.from_dict(form))
    if taxonomy is not None:
        same(taxonomy)


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".csv"])
@settings(60)
@given(data=st.data())
def test_taxonomy_files(tmp_path, suffix, data):
    path = tmp_path / f"duo{suffix}"
    Taxonomy.from_dict(FULL).save(path)
    text = path.read_text("utf-8")
    if suffix != ".csv" and data.draw(st.booleans(), "structure"):
        # JSON is YAML, too.
        path.write_text(json.dumps(data.draw(wrong_trees(FULL), "form")))
    else:
        path.write_bytes(data.draw(broken(text), "content"))
    taxonomy = attempt(lambda: Taxonomy.load(path), path, folder=tmp_path)
    if taxonomy is not None:
        same(taxonomy)


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".csv"])
@settings(50)
@given(data=st.data())
def test_label_maps(tmp_path, suffix, data):
    path = tmp_path / f"tags{suffix}"
    LabelMap.from_dict(TAGS, TAXONOMY).save(path)
    text = path.read_text("utf-8")
    if suffix != ".csv" and data.draw(st.booleans(), "structure"):
        form = data.draw(wrong_trees(TAGS), "form")
        attempt(lambda: LabelMap.from_dict(form, TAXONOMY))
        path.write_text(json.dumps(form))
    else:
        path.write_bytes(data.draw(broken(text), "content"))
    tags = attempt(lambda: LabelMap.load(path, TAXONOMY), path, folder=tmp_path)
    if tags is not None:
        assert LabelMap.from_dict(tags.to_dict(), TAXONOMY).targets == tags.targets


# Settings and recipes


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (config, field.name)
        for config in (AudioConfig, ModelConfig, TrainConfig)
        for field in dataclasses.fields(config)
    ],
)
def test_every_setting_with_anything(config, field):
    for value in (*WRONG, -(10**400), 1e-320, [0.5], {1: 2}, {"x": {"y": {1}}}, nested(3000)):
        made = attempt(
            lambda value=value: config.from_dict({field: value}), field, "max", "min"
        )
        if made is not None:
            json.dumps(made.to_dict(), allow_nan=False)


WORDS = (
    *("2020-13-45", "-0b_", "0x_", "!!timestamp soon", "!!int many", "!!float x", "!!binary é"),
    *("&a [*a]", "*a", "<<: x", "=", "? [x]", "!!python/object:os.system x", "- ", "{", "~x/y"),
    *("null", "1e400", ".inf", ".nan", "on", "[" * 3000, "9" * 5000, "'", "\t", "\x07", "a\0b"),
    *("{epochs: 3}", "[]", "x: y: z", "conv", "~nobody/labels.csv", "x" * 5000, "..", ""),
)
RECIPE = """\
description: Something.
taxonomy: openmic
data: corpus/labels.csv
model:
  backbone: conv
  backbone_options: {width: 24}
  audio: {n_mels: 64}
training:
  epochs: 60
  augmentation:
    mix: {name: mixup, alpha: 0.4}
"""


@st.composite
def written(draw):
    """Draws a recipe with a line's value replaced."""
    lines = RECIPE.splitlines()
    at = draw(st.integers(0, len(lines) - 1))
    key, _, _ = lines[at].partition(":")
    lines[at] = f"{key}: {draw(st.sampled_from(WORDS))}"
    return ("\n".join(lines) + "\n").encode()


@settings(150)
@given(content=st.one_of(written(), broken(RECIPE)))
@example(b"description: 2020-13-45\n")
@example(b"data: ~nobody/labels.csv\n")
@example(b"false")
@example(b"training: {seed: " + b"9" * 5000 + b"}")
def test_recipe_files(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    recipe = attempt(lambda: Recipe.load(path), path, folder=tmp_path)
    if recipe is not None:
        sound(recipe)


@settings(100)
@given(values=wrong_trees(Recipe().to_dict()))
def test_recipes_in_memory(values):
    recipe = attempt(lambda: Recipe.from_dict(values))
    if recipe is not None:
        sound(recipe)


def sound(recipe):
    """What was taken can be written and read again."""
    text = yaml.safe_dump(recipe.to_dict(), sort_keys=False)
    assert Recipe.from_dict(yaml.safe_load(text)) == recipe
    numbers = [v for v in vars(recipe.training).values() if isinstance(v, float)]
    assert all(map(math.isfinite, numbers))


def test_a_recipe_that_is_no_mapping_is_not_an_empty_one(tmp_path):
    path = tmp_path / "recipe.yaml"
    for text in ("false", "0", "[]", "''"):
        path.write_text(text)
        with pytest.raises(HmicError, match="A recipe holds"):
            Recipe.load(path)
