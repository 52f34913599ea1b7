"""`hmic taxonomy`, as a person uses it."""

import functools
import json

import pytest

from hmic_keras.taxonomy import Taxonomy


@pytest.fixture
def hmic(hmic):
    """Runs `hmic taxonomy` in this process."""
    return functools.partial(hmic, "taxonomy")


def test_formats_are_printed_alone(hmic):
    code, out, err = hmic("irmas", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == Taxonomy.load("irmas").to_dict()
    code, out, err = hmic("general_midi", "--csv")
    assert (code, err) == (0, "")
    assert out == Taxonomy.load("general_midi").to_csv()
    assert out.splitlines()[-1] == "drum_kit,drums"


def test_a_tree_is_not_broken_at_the_edge_of_the_terminal(hmic, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    code, out, _ = hmic("hornbostel_sachs")
    assert code == 0
    assert out.strip() == Taxonomy.load("hornbostel_sachs").tree()


@pytest.mark.parametrize("suffix", ["yaml", "json", "csv"])
def test_files_are_converted(hmic, tmp_path, suffix):
    code, out, err = hmic("hornbostel_sachs", "--out", tmp_path / f"hs.{suffix}")
    assert (code, err) == (0, "")
    assert f"hs.{suffix}" in out
    assert Taxonomy.load(tmp_path / f"hs.{suffix}") == Taxonomy.load("hornbostel_sachs")
    code, out, err = hmic(tmp_path / f"hs.{suffix}", "--out", tmp_path / "again.csv")
    assert (code, err) == (0, "")
    assert Taxonomy.load(tmp_path / "again.csv") == Taxonomy.load("hornbostel_sachs")


def test_faults_end_with_a_message_and_write_nothing(hmic, tmp_path):
    code, out, err = hmic("openmic", "--out", tmp_path / "tags.txt")
    assert (code, out) == (2, "")
    assert "tags.txt: a taxonomy file must end in .yaml, .yml, .json or .csv" in err
    code, _, err = hmic("openmic", "--json", "--csv")
    assert code == 2
    assert "one of --json, --csv and --out" in err
    (tmp_path / "bad.csv").write_text("fine,coarse\na,b\na\n")
    code, out, err = hmic(tmp_path / "bad.csv", "--out", tmp_path / "tags.json")
    assert (code, out) == (2, "")
    assert "bad.csv, line 3: a row must have 2 cells" in err
    assert [item.name for item in tmp_path.iterdir()] == ["bad.csv"]
    assert "general_midi, hornbostel_sachs" in hmic("nope")[2]
