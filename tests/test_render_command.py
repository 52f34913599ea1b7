"""Tests of `hmic render`'s options, as a program uses them."""

import functools
import json

import pytest
import soundfile
from test_synthesis import need_soundfont


@pytest.fixture
def render(hmic):
    """Runs `hmic render` in this process."""
    return functools.partial(hmic, "render")


@pytest.mark.synth
def test_json_is_the_manifest_and_nothing_else(render, tmp_path):
    font = need_soundfont("TimGM6mb.sf2", "FluidR3_GM.sf2")
    out = tmp_path / "corpus"
    options = ("--clips", 4, "--seconds", 1, "--format", "wav", "--seed", 2, "--processes", 1)
    extras = ("--stems", "--stereo", "--empty", 0.25, "--json")
    code, text, _ = render("--out", out, "--soundfont", font, *options, *extras)
    assert code == 0
    assert json.loads(text) == json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert json.loads(text)["clips"] == 4
    assert {soundfile.info(p).channels for p in (out / "clips").iterdir()} == {2}
    assert list((out / "stems").iterdir())
    styles = json.loads(text)["clips_per_style"]
    assert sum(styles.values()) == 4


@pytest.mark.synth
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--midi", "nowhere"), "midi: nowhere is not a folder"),
        (("--empty", 2), "empty must be a number from 0 to 1"),
        (("--taxonomy", "hornbostel_sachs"), "without a known sound: alphorn"),
        (("--soundfont", "none.sf2"), "soundfont: there is no file 'none.sf2', neither here"),
    ],
)
def test_faults_take_one_line(render, tmp_path, options, message):
    font = need_soundfont("TimGM6mb.sf2", "FluidR3_GM.sf2")
    out = tmp_path / "corpus"
    code, text, err = render("--out", out, "--soundfont", font, "--clips", 1, *options)
    assert (code, text) == (2, "")
    assert message in err
    assert not out.exists()


@pytest.mark.synth
def test_an_installed_soundfont_goes_by_its_name(render, tmp_path, monkeypatch):
    font = need_soundfont("TimGM6mb.sf2", "FluidR3_GM.sf2")
    monkeypatch.setenv("HMIC_SOUNDFONTS", str(font.parent))
    asked = ("--clips", 1, "--seconds", 1, "--processes", 1, "--format", "wav")
    for name in (font, font.name):
        out = tmp_path / f"by-{len(str(name))}"
        assert render("--out", out, "--soundfont", name, *asked)[0] == 0
    one, other = sorted(tmp_path.glob("by-*/clips/*"))
    assert one.read_bytes() == other.read_bytes()
