"""Runs that are stopped and go on: `hmic_keras.training` with a folder."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import hmic_keras as hk
from hmic_keras import training
from hmic_keras.config import ModelConfig, TrainConfig
from hmic_keras.data.sources.folder import write_labels
from hmic_keras.errors import HmicError, LabelError, ModelError
from hmic_keras.recipe import Recipe
from hmic_keras.training import _run

pytestmark = pytest.mark.xdist_group("run")
ROOT = Path(hk.__file__).parent.parent
# Everything that has a state of its own: averages, masks, mixing, early stopping, sampling.
RECIPE = Recipe(
    model=ModelConfig(
        backbone_options={"width": 2}, method="gmp", spec_augment={}, audio={"n_mels": 16}
    ),
    training=TrainConfig(
        epochs=4,
        batch_size=8,
        crop_seconds=1.0,
        weight_averaging=0.8,
        patience=3,
        balance=0.5,
        augmentation={"waveform": {"gain": {}}, "mix": {"name": "mixup"}},
        seed=11,
    ),
)


# One that costs little.
PLAIN = dataclasses.replace(
    RECIPE,
    model=dataclasses.replace(RECIPE.model, spec_augment=None),
    training=dataclasses.replace(
        RECIPE.training, weight_averaging=0.0, balance=0.0, augmentation={}
    ),
)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


class KillAt(keras.callbacks.Callback):
    """Ends the run at a batch of an epoch, both counted from 1."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.epoch, self.batch, self.now = epoch, batch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch + 1) == (self.epoch, self.batch):
            raise Killed


@pytest.fixture(scope="module")
def recipe(tiny_clips, tmp_path_factory):
    """A recipe whose table lists the tiny clips."""
    table = tmp_path_factory.mktemp("data") / "labels.csv"
    write_labels(table, tiny_clips.paths, tiny_clips.taxonomy, tiny_clips.labels)
    return dataclasses.replace(RECIPE, data=str(table))


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """The folder of the run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "model"
    training.run_recipe(recipe, out)
    return out


def contents(folder):
    """What must be the same, however often a run was stopped."""
    model = hk.load_model(folder)
    manifest = {key: model.manifest[key] for key in ("thresholds", "class_order", "provenance")}
    history = (folder / "history.csv").read_text()
    return model.get_weights(), manifest, history


def same(folder, whole):
    weights, manifest, history = contents(folder)
    expected, expected_manifest, expected_history = contents(whole)
    assert history == expected_history
    assert manifest == expected_manifest
    for value, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(value, other)


def test_a_finished_run_leaves_a_model_its_history_and_its_recipe(whole, recipe):
    assert sorted(os.listdir(whole)) == ["history.csv", "manifest.json", "model.keras", "run"]
    assert sorted(os.listdir(whole / "run")) == ["logs", "recipe.yaml", "run.json"]
    assert Recipe.load(whole) == recipe
    with (whole / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    expected = [(float(r["val_fine_map"]) + float(r["val_coarse_map"])) / 2 for r in rows]
    np.testing.assert_allclose([float(row["val_map"]) for row in rows], expected, rtol=1e-6)


def test_tensorboard_finds_the_history(whole):
    with (whole / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for run, column, tag in (
        ("train", "loss", "epoch_loss"),
        ("validation", "val_fine_map", "epoch_fine_map"),
    ):
        (path,) = (whole / "run" / "logs" / run).iterdir()
        events = [
            tf.compat.v1.Event.FromString(record.numpy())
            for record in tf.data.TFRecordDataset(str(path))
        ]
        assert events[0].file_version == "brain.Event:2"
        found = {
            event.step: value.simple_value
            for event in events
            for value in event.summary.value
            if value.tag == tag
        }
        assert list(found) == [1, 2, 3, 4]
        expected = [float(row[column]) for row in rows]
        np.testing.assert_allclose(list(found.values()), expected, rtol=1e-6)


def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_numbers(recipe, whole, tmp_path):
    out = tmp_path / "model"
    with pytest.raises(Killed):
        training.run_recipe(recipe, out, callbacks=[KillAt(3, 1)])
    assert not (out / "manifest.json").exists()
    with pytest.raises(ModelError, match="stopped after 2 epoch"):
        training.run_recipe(recipe, out)
    training.run_recipe(Recipe.load(out), out, resume=True)
    same(out, whole)
    assert sorted(os.listdir(out / "run")) == ["logs", "recipe.yaml", "run.json"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "time"),
    [("checkpoint.npz", 3), ("history.csv", 2), ("manifest.json", 2), ("run.json", 2)],
)
def test_a_run_stopped_while_it_writes_goes_on_to_the_same_numbers(
    recipe, whole, tmp_path, monkeypatch, name, time
):
    out = tmp_path / "model"
    replace, times = os.replace, 0

    def killed_at(source, target):
        nonlocal times
        times += Path(target).name == name
        if Path(target).name == name and times == time:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed_at)
        with pytest.raises(Killed):
            training.run_recipe(recipe, out)
    training.run_recipe(Recipe.load(out), out, resume=True)
    same(out, whole)


@pytest.mark.slow
def test_a_process_killed_outright_goes_on_to_the_same_numbers(recipe, whole, tmp_path):
    out = tmp_path / "model"
    recipe.save(tmp_path / "recipe.yaml")
    command = [sys.executable, "-m", "hmic_keras.cli", "train"]
    command += ["--recipe", "recipe.yaml", "--out", "model"]
    running = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    history = out / "history.csv"
    give_up = time.monotonic() + 120
    while not history.is_file() and running.poll() is None and time.monotonic() < give_up:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    training.run_recipe(Recipe.load(out), out, resume=True)
    same(out, whole)


def test_training_stops_when_validation_no_longer_rises(recipe, tmp_path):
    # At this rate the weights hardly move, so the first epoch stays the best.
    config = dataclasses.replace(PLAIN.training, epochs=30, patience=2, learning_rate=1e-12)
    result = training.run_recipe(
        dataclasses.replace(PLAIN, data=recipe.data, training=config), tmp_path / "model"
    )
    best = int(np.argmax(result.history["val_map"])) + 1
    assert result.best_epoch == best
    assert len(result.history["loss"]) == best + 2 < 30
    assert result.model.manifest["training"]["epochs"] == best + 2


def test_the_best_epoch_is_kept_and_its_averaged_weights_are(tiny_clips):
    class Watch(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.tested, self.trained = [], []

        def on_test_begin(self, logs=None):
            self.tested.append(None)

        def on_test_batch_end(self, batch, logs=None):
            self.tested[-1] = self.model.get_weights()

        def on_epoch_end(self, epoch, logs=None):
            self.trained.append(self.model.get_weights())

    watch = Watch()
    config = dataclasses.replace(PLAIN.training, weight_averaging=0.8, patience=9)
    result = training.train(
        tiny_clips,
        config=config,
        callbacks=[watch],
        method="gmp",
        backbone_options={"width": 2},
        audio={"n_mels": 16},
    )
    # In validation the averaged weights are in the model, in training they are not.
    for tested, trained in zip(watch.tested, watch.trained, strict=True):
        apart = [np.abs(a - b).max() for a, b in zip(tested, trained, strict=True)]
        assert max(apart) > 1e-4
    best = int(np.argmax(result.history["val_map"]))
    assert result.best_epoch == best + 1
    for value, other in zip(result.model.get_weights(), watch.tested[best], strict=True):
        np.testing.assert_array_equal(value, other)


def test_averaged_weights_are_those_of_the_formula():
    taxonomy = hk.Taxonomy.from_dict({"strings": ["violin"], "brass": ["trumpet"]})
    model = hk.build_model(taxonomy, backbone="mlp", input="embedding", input_shape=(3,))
    optimizer = training._options.make_optimizer(TrainConfig(weight_averaging=0.9), 5)
    model.compile(optimizer, "binary_crossentropy")
    x, y = np.ones((4, 3), np.float32), taxonomy.close_labels({"fine": [[1, 0]] * 4})
    averages = None
    for _ in range(4):
        model.train_on_batch(x, y)
        now = [value.numpy() for value in model.trainable_variables]
        averages = (
            now
            if averages is None
            else [0.9 * a + 0.1 * b for a, b in zip(averages, now, strict=True)]
        )
    optimizer.finalize_variable_values(model.trainable_variables)
    for value, average in zip(model.trainable_variables, averages, strict=True):
        np.testing.assert_allclose(value.numpy(), average, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_run_in_half_precision_goes_on_too(recipe, tmp_path):
    half = dataclasses.replace(
        PLAIN,
        data=recipe.data,
        model=dataclasses.replace(PLAIN.model, precision="mixed_float16"),
        training=dataclasses.replace(PLAIN.training, weight_averaging=0.8, epochs=2),
    )
    before = keras.config.dtype_policy()
    out = tmp_path / "model"
    with pytest.raises(Killed):
        training.run_recipe(half, out, callbacks=[KillAt(2, 1)])
    model = training.run_recipe(half, out, resume=True).model
    assert keras.config.dtype_policy() is before
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert model.get_layer("conv1").compute_dtype == "float16"
    scores = model.predict(np.zeros((1, 16000), np.float32), verbose=0)
    assert {str(value.dtype) for value in scores.values()} == {"float32"}


# Refusals


def test_another_run_is_not_resumed(recipe, tmp_path):
    out, recipe = tmp_path / "model", dataclasses.replace(PLAIN, data=recipe.data)
    with pytest.raises(Killed):
        training.run_recipe(recipe, out, callbacks=[KillAt(2, 1)])
    other = dataclasses.replace(recipe.training, learning_rate=0.1)
    with pytest.raises(ModelError, match=r"cannot be resumed.*: settings"):
        training.run_recipe(dataclasses.replace(recipe, training=other), out, resume=True)
    other = dataclasses.replace(recipe.model, method="multitask")
    with pytest.raises(ModelError, match=r"cannot be resumed.*: model"):
        training.run_recipe(dataclasses.replace(recipe, model=other), out, resume=True)
    checkpoint = out / "run" / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"checkpoint\.npz' was damaged"):
        training.run_recipe(recipe, out, resume=True)
    (out / "run" / "run.json").write_text("{")
    with pytest.raises(ModelError, match=r"run\.json' is not valid JSON"):
        training.run_recipe(recipe, out, resume=True)


def test_there_must_be_a_run_to_resume(recipe, whole, tmp_path, tiny_clips):
    for folder in (tmp_path, tmp_path / "none", whole):
        with pytest.raises(ModelError, match="no unfinished run"):
            training.run_recipe(recipe, folder, resume=True)
    with pytest.raises(ModelError, match="needs `run`"):
        training.train(tiny_clips, resume=True, backbone_options={"width": 2})
    with pytest.raises(HmicError, match="`patience` needs clips to validate on"):
        training.train(tiny_clips, config=TrainConfig(patience=2, validation_fraction=0))
    with pytest.raises(LabelError, match="to validate on"):
        training.train(tiny_clips, validation=tiny_clips.subset([]))


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_epoch_before(recipe, tmp_path):
    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.set_weights([w * np.nan for w in self.model.get_weights()])

    out = tmp_path / "model"
    with pytest.raises(ModelError, match=r"The loss became nan in epoch 3\. Lower "):
        training.run_recipe(
            dataclasses.replace(PLAIN, data=recipe.data), out, callbacks=[Break()]
        )
    assert len(_run.Run(out).load()[1]["epochs"]) == 2
