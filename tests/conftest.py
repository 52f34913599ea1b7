"""Shared fixtures: one tiny model, trained and exported once for all tests."""

import os
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:
    # One process a core; threads of one would only get in another's way.
    for variable in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import pytest

TINY_CLIPS = 24

# Warnings of libraries about one another, which no change here can mend.
_FOREIGN_WARNINGS = (
    # Keras 3.15 hands TensorFlow's variables to NumPy 2 when it saves a model.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)


def pytest_configure(config):
    from hmic_keras.cli._terminal import keep_freed_memory, use_onednn

    # As the command line does: training takes half the time, and its numbers are the same here.
    keep_freed_memory()
    use_onednn()
    for line in _FOREIGN_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


def pytest_collection_modifyitems(items):
    # What is slow first, so that no process is left with it while the others are done; whole
    # modules, since their fixtures would otherwise be made twice.
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def openmic():
    from hmic_keras import Taxonomy

    return Taxonomy.load("openmic")


@pytest.fixture(scope="session")
def tiny_clips():
    """Two dozen clips of the demo corpus."""
    from hmic_keras.data import demo_clips

    return demo_clips("train").subset(range(TINY_CLIPS))


@pytest.fixture(scope="session")
def tiny_config():
    from hmic_keras.config import TrainConfig

    return TrainConfig(epochs=1, batch_size=8, crop_seconds=2.0, seed=3)


@pytest.fixture(scope="session")
def train_tiny(tiny_clips, tiny_config):
    """Trains a conv model of width 4; `train_tiny(seed=4)` changes a setting."""
    import dataclasses

    from hmic_keras.training import train

    def run(callbacks=(), clips=tiny_clips, **settings):
        return train(
            clips,
            backbone_options={"width": 4},
            config=dataclasses.replace(tiny_config, **settings),
            callbacks=callbacks,
            provenance={"corpus": "a few demo clips"},
        )

    return run


@pytest.fixture(scope="session")
def tiny(train_tiny):
    """The `TrainingResult` of a tiny `f2ca` model. Do not change its model."""
    return train_tiny()


@pytest.fixture(scope="session")
def tiny_bundle(tiny, tmp_path_factory):
    """The tiny model exported in every format. Do not change its files."""
    from hmic_keras.export import export_model

    folder = tmp_path_factory.mktemp("models") / "tiny"
    export_model(tiny.model, folder)
    return folder


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    """A copy of the exported tiny model, to be damaged."""
    return shutil.copytree(tiny_bundle, tmp_path / "tiny")


@pytest.fixture
def hmic(monkeypatch, capfd):
    """Runs a command in this process; returns a `command_line.Done`."""
    from command_line import Done

    from hmic_keras.cli import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hmic", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        return Done(code, *capfd.readouterr())

    return run
