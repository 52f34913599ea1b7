"""Executes what the documentation shows."""

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import audio_files
import pytest

import hmic_keras

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(hmic_keras.__path__, "hmic_keras.")
    if not module.name.endswith("__main__")
)


def fenced(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files the README names, as the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("song.mp3", "other.flac"):
        audio_files.write(tmp_path / name, audio_files.tone(4.0, 16000), 16000)
    (tmp_path / "recordings" / "old").mkdir(parents=True)
    shutil.copy(tmp_path / "song.mp3", tmp_path / "recordings" / "old")
    clips = ROOT / "hmic_keras" / "data" / "demo" / "train"
    header, *rows = (clips / "labels.csv").read_text("utf-8").splitlines()[:25]
    table = [header, *(f"{clips.as_posix()}/{row}" for row in rows)]
    (tmp_path / "labels.csv").write_text("\n".join(table), "utf-8")
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_docstring_examples_are_found():
    finder = doctest.DocTestFinder()
    counts = {n: len(finder.find(importlib.import_module(n))) for n in MODULES}
    assert counts["hmic_keras.models"] > 0
    examples = sum(
        len(test.examples) > 0
        for n in MODULES
        for test in finder.find(importlib.import_module(n))
    )
    assert examples >= 20


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(p.name for p in ROOT.glob("docs/*.md"))]
)
def test_python_snippets(document, folder):
    path = ROOT / document if document == "README.md" else ROOT / "docs" / document
    for snippet in fenced(path, "python"):
        exec(compile(snippet, document, "exec"), {"__name__": "__main__"})


@pytest.mark.slow
def test_readme_command_lines(folder):
    (commands,) = [block for block in fenced(ROOT / "README.md", "bash") if "hmic pre" in block]
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "hmic"
        done = subprocess.run(
            [sys.executable, "-m", "hmic_keras.cli", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=folder,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip()
    assert (folder / "exported" / "model.tflite").is_file()
    assert (folder / "report" / "results.png").is_file()


@pytest.mark.slow
def test_example_on_a_taxonomy_of_ones_own(folder):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "own_taxonomy.py"), "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^coarse: mAP 0\.\d+, chance 0\.\d+$", done.stdout, re.M)
    assert (folder / "own_taxonomy.keras").is_file()
