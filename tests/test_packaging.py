"""What the wheel must hold, read from `setup.cfg`."""

import configparser
import fnmatch
import subprocess
import sys
from pathlib import Path

import pytest

import hmic_keras
from hmic_keras import zoo

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_every_package_is_listed(setup):
    listed = set(setup["options"]["packages"].split())
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "hmic_keras").rglob("__init__.py")
    }
    assert listed == found | {"hmic_keras.saved_models"}


def unpackaged(setup, package, folder):
    """Data files below a folder of the repository that no pattern puts into the wheel."""
    patterns = setup["options.package_data"][package].split()
    data = [
        path.relative_to(ROOT / folder).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    return {
        name
        for name in data
        if not any(
            fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
            for pattern in patterns
        )
    }


def test_every_data_file_of_the_package_is_in_the_wheel(setup):
    assert unpackaged(setup, "hmic_keras", "hmic_keras") == set()


def test_the_wheel_holds_the_default_model_whole_and_describes_the_others(setup):
    missed = unpackaged(setup, "hmic_keras.saved_models", "saved_models")
    # The folder of models explains itself to readers of the repository only.
    assert "README.md" in missed
    default = f"{zoo.DEFAULT_MODEL}/"
    assert not [name for name in missed if name.startswith(default)]
    others = {name for name in zoo.names() if name != zoo.DEFAULT_MODEL}
    for name in others:
        assert f"{name}/model.keras" in missed
        assert f"{name}/manifest.json" not in missed
    held = [
        path
        for path in (ROOT / "saved_models").rglob("*")
        if path.is_file() and path.relative_to(ROOT / "saved_models").as_posix() not in missed
    ]
    assert sum(path.stat().st_size for path in held) < 15_000_000


def test_models_and_corpus_are_there(setup):
    assert (ROOT / "saved_models" / zoo.DEFAULT_MODEL / "model.tflite").is_file()
    assert len(list((ROOT / "hmic_keras" / "data" / "demo").rglob("*.ogg"))) == 510


def test_no_file_is_too_large():
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    sizes = {
        name: (ROOT / name).stat().st_size for name in names if name and (ROOT / name).exists()
    }
    assert max(sizes.values()) < 20_000_000
    assert sum(sizes.values()) < 120_000_000
    corpus = sum(v for k, v in sizes.items() if k.startswith("hmic_keras/data/demo/"))
    assert corpus < 6_000_000


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, hmic_keras; "
        "print(sorted({'tensorflow', 'keras', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_public_names_resolve():
    for name in hmic_keras.__all__:
        assert getattr(hmic_keras, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hmic_keras.nothing
