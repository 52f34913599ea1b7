"""Tests of `hmic_keras.recipe`."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import hmic_keras
from hmic_keras import layers, losses
from hmic_keras.config import ModelConfig, TrainConfig
from hmic_keras.errors import HmicError
from hmic_keras.recipe import Recipe, names

ROOT = Path(hmic_keras.__file__).parents[1]


def test_every_packaged_recipe_loads_and_says_what_it_is_for():
    assert "demo" in names()
    for name in names():
        recipe = Recipe.load(name)
        assert len(recipe.description) > 20
        assert recipe.data is None or os.path.isabs(recipe.data)


@given(
    st.builds(
        Recipe,
        description=st.text(st.characters(blacklist_categories=["Cs"])),
        data=st.sampled_from([None, "/data/labels.csv", "/data/a: b#.csv"]),
        model=st.builds(ModelConfig, method=st.sampled_from(["gmp", "f2ca"])),
        training=st.builds(
            TrainConfig,
            epochs=st.integers(1, 99),
            learning_rate=st.floats(1e-9, 1),
            patience=st.none() | st.integers(1, 9),
            jit_compile=st.sampled_from(["auto", True, False]),
            augmentation=st.dictionaries(st.sampled_from("ab"), st.integers()),
        ),
    )
)
def test_a_recipe_survives_yaml_and_json(recipe):
    assert Recipe.from_dict(yaml.safe_load(yaml.safe_dump(recipe.to_dict()))) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_paths_in_a_file_start_at_its_folder(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("data: ../labels.csv\ntaxonomy: duo.yaml\nvalidation: /else/v.csv\n")
    recipe = Recipe.load(path)
    assert recipe.data == str(tmp_path / "labels.csv")
    assert recipe.taxonomy == str(tmp_path / "deep" / "duo.yaml")
    assert recipe.validation == "/else/v.csv"
    assert Recipe.load(path.parent / "mine.yaml") == recipe
    # Saved elsewhere, it still names the same files.
    monkeypatch.chdir(tmp_path)
    saved = tmp_path / "model" / "run" / "recipe.yaml"
    dataclasses.replace(recipe, data="labels.csv", taxonomy="openmic").save(saved)
    again = Recipe.load(tmp_path / "model")
    assert again.data == str(tmp_path / "labels.csv")
    assert again.taxonomy == "openmic"
    assert os.listdir(saved.parent) == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model: [", "cannot be read as a recipe"),
        ("- conv\n- gmp\n", r"A recipe holds \['description'"),
        ("colour: red\n", "Received: .*colour"),
        ("description: 3\n", "`description` of a recipe must be a text"),
        ("data: [a, b]\n", "`data`"),
        ("model: conv\n", "ModelConfig needs settings by name"),
        ("model: {depth: 3}\n", r"no setting \['depth'\]"),
        ("training: {epochs: 0}\n", "`epochs` must be"),
        ("training: {epochs: many}\n", "`epochs` must be"),
        ("training: {augmentation: {mix: .nan}}\n", "`augmentation` must be"),
        ("training: {1: 2}\n", r"no setting \[1\]"),
        ("a: &a [*a, *a]\n", "aliases are refused"),
    ],
)
def test_a_bad_recipe_is_refused_with_the_file_and_the_rule(tmp_path, text, named):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(HmicError, match=named) as raised:
        Recipe.load(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00model")
    with pytest.raises(HmicError, match="cannot be read as a recipe"):
        Recipe.load(path)


@pytest.mark.parametrize("name", ["nothing", "no/such.yaml", "../demo", "."])
def test_a_recipe_that_is_not_there_is_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HmicError, match=r"There is no recipe .*neither one of .*'demo'"):
        Recipe.load(name)


def test_parts_of_the_wrong_kind_are_refused():
    with pytest.raises(HmicError, match="`model` of a recipe must be a ModelConfig"):
        Recipe(model={"backbone": "conv"})


def test_the_recipe_in_the_documentation_holds_what_exists():
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    recipe = Recipe.from_dict(yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S)[1]))
    training = recipe.training
    assert losses.get(training.loss, **training.loss_options).gamma_neg == 2.0
    assert layers.Augmentation.from_spec(training.augmentation).mix.alpha == 0.4
    assert layers.SpecAugment(**recipe.model.spec_augment)
