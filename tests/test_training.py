"""Tests of `hmic_keras.training`."""

import csv
import dataclasses
import os

import keras
import numpy as np
import pytest
from audio_files import cut, tone, write, write_float

import hmic_keras as hk
from hmic_keras.config import AudioConfig, TrainConfig
from hmic_keras.data import LabelledClips, demo_clips, prepare_clips
from hmic_keras.errors import AudioError, LabelError, ModelError
from hmic_keras.training import compile_options, fit, train

TWO = hk.Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["trumpet"]})
FAST = TrainConfig(epochs=1, batch_size=4, crop_seconds=1.0, validation_fraction=0)


class Steps(keras.callbacks.Callback):
    """Writes down the learning rate of every training step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


@pytest.fixture(scope="module")
def small_model():
    """A model that no test trains: each expects a refusal."""
    return hk.build_model(TWO, backbone_options={"width": 2})


@pytest.fixture
def two_clips(tmp_path):
    """A violin and a trumpet, or what passes for them."""
    paths = [write(tmp_path / f"{name}.wav", tone(), 44100) for name in ("violin", "trumpet")]
    return LabelledClips(TWO, tuple(paths), {"fine": [[1, 0, 0], [0, 0, 1]]})


def weights(model):
    return np.concatenate([np.ravel(value) for value in model.get_weights()])


def test_the_history_has_a_value_an_epoch_of_every_loss_and_metric(tiny, tiny_config):
    plain = {"loss", "fine_loss", "coarse_loss", "fine_map", "coarse_map"}
    assert set(tiny.history) == plain | {f"val_{name}" for name in plain} | {"val_map"}
    for values in tiny.history.values():
        assert len(values) == tiny_config.epochs
        assert np.isfinite(values).all()
    assert tiny.seconds > 0


def test_the_manifest_says_what_the_model_is_and_how_it_was_trained(tiny, openmic, tiny_config):
    manifest = tiny.model.manifest
    for level in openmic.levels:
        thresholds = np.array(manifest["thresholds"][level])
        assert thresholds.shape == (len(openmic.classes(level)),)
        assert ((thresholds > 0) & (thresholds < 1)).all()
        assert manifest["class_order"][level] == list(openmic.classes(level))
    assert hk.Taxonomy.from_dict(manifest["taxonomy"]) == openmic
    assert manifest["window_seconds"] == tiny_config.crop_seconds
    assert manifest["training"]["config"] == dataclasses.asdict(tiny_config)
    assert manifest["training"]["clips"] + manifest["training"]["held_out"] == 24
    assert manifest["provenance"] == {"corpus": "a few demo clips"}
    assert manifest["versions"]["keras"] == keras.__version__
    assert manifest["versions"]["hmic_keras"] == hk.__version__
    assert manifest["method"]["name"] == "f2ca"


def test_thresholds_are_the_best_ones_on_the_held_out_clips(tiny, tiny_clips, tiny_config):
    _, held_out = tiny_clips.split(tiny_config.validation_fraction, seed=tiny_config.seed)
    dataset = hk.data.make_dataset(held_out, crop_seconds=2.0)
    scores = tiny.model.predict(dataset, verbose=0)
    for level, values in tiny.model.manifest["thresholds"].items():
        best = hk.metrics.best_thresholds(held_out.labels[level], scores[level])
        np.testing.assert_allclose(values, np.clip(best, 0.1, 0.9), rtol=0, atol=1e-4)
    assert (np.array(tiny.model.manifest["thresholds"]["coarse"]) != 0.5).any()


@pytest.mark.slow
def test_a_seed_repeats_a_run_and_another_one_does_not(tiny, train_tiny, tiny_clips, tmp_path):
    again = train_tiny()
    np.testing.assert_array_equal(weights(again.model), weights(tiny.model))
    assert again.history == tiny.history
    assert again.model.manifest["thresholds"] == tiny.model.manifest["thresholds"]
    other = train_tiny(seed=4)
    assert np.abs(weights(other.model) - weights(tiny.model)).max() > 0.01
    assert other.history != tiny.history
    # A model that was saved goes on from where it was.
    other.model.save(tmp_path / "m.keras")
    saved = hk.load_model(tmp_path / "m.keras")
    further = fit(saved, tiny_clips, dataclasses.replace(FAST, learning_rate=1e-4))
    assert further.model is saved
    assert further.history["loss"][0] < other.history["loss"][0]


def test_without_held_out_clips_all_are_trained_on(train_tiny, openmic):
    steps = Steps()
    result = train_tiny(callbacks=[steps], validation_fraction=0, epochs=4)
    assert not [name for name in result.history if name.startswith("val_")]
    assert result.model.manifest["training"]["held_out"] == 0
    assert result.model.manifest["training"]["clips"] == 24
    assert result.model.manifest["thresholds"] == {"fine": [0.5] * 20, "coarse": [0.5] * 7}
    # The learning rate: 3 batches an epoch, a short rise, then down a cosine to 0.
    rates = np.array(steps.rates)
    peak = TrainConfig().learning_rate
    assert len(rates) == 12
    assert rates.max() == pytest.approx(peak)
    assert rates[0] < peak
    top = int(rates.argmax())
    assert top <= 2
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[-1] < 0.05 * peak
    assert float(result.model.optimizer.learning_rate) == pytest.approx(0, abs=1e-8)
    middle = top + (len(rates) - top) / 2
    assert np.interp(middle, range(12), rates) == pytest.approx(peak / 2, rel=0.05)


def test_unobserved_labels_move_no_weight_of_their_classifier(two_clips):
    labels = np.array([[1, -1, 0], [0, -1, 1]], np.float32)
    clips = LabelledClips(TWO, two_clips.paths, {"fine": labels})
    model = hk.build_model(TWO, method="multitask", backbone_options={"width": 2})
    before = [value.copy() for value in model.get_layer("fine_logits").get_weights()]
    fit(model, clips, dataclasses.replace(FAST, weight_decay=0, epochs=2))
    after = model.get_layer("fine_logits").get_weights()
    np.testing.assert_array_equal(after[1][1], before[1][1])
    np.testing.assert_array_equal(after[0][:, 1], before[0][:, 1])
    assert np.abs(after[1][[0, 2]] - before[1][[0, 2]]).min() > 0


def test_the_history_is_written_whole_and_reads_back(tiny, tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("something old")
    tiny.write_history(path)
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1"]
    assert {name: [float(rows[0][name])] for name in tiny.history} == tiny.history
    assert os.listdir(tmp_path) == ["history.csv"]
    ragged = dataclasses.replace(tiny, history={"loss": [1.0, 2.0], "map": [0.5]})
    written = path.read_text()
    with pytest.raises(ValueError, match="shorter"):
        ragged.write_history(path)
    assert path.read_text() == written


def test_the_manifest_survives_saving(small_model, tmp_path):
    model = hk.build_model(TWO, backbone_options={"width": 2})
    model.update_manifest(provenance={"corpus": "ours"}, note=[1, None, "ü"])
    model.update_manifest(note=[2])
    model.save(tmp_path / "m.keras")
    loaded = hk.load_model(tmp_path / "m.keras")
    assert loaded.manifest == model.manifest
    assert loaded.manifest["note"] == [2]
    assert loaded.manifest["provenance"] == {"corpus": "ours"}
    assert "note" not in small_model.manifest


# Refusals


def refused(model, clips, error, match, config=FAST):
    """Expects an error before the first step."""
    steps, before = Steps(), weights(model)
    with pytest.raises(error, match=match):
        fit(model, clips, config, callbacks=[steps])
    assert steps.rates == []
    np.testing.assert_array_equal(weights(model), before)


def test_clips_of_another_taxonomy_are_refused(small_model, tiny_clips):
    refused(small_model, tiny_clips, LabelError, "labelled with the taxonomy 'openmic'")


def test_a_model_of_embeddings_is_refused(two_clips):
    model = hk.build_model(TWO, backbone="mlp", input="embedding", input_shape=(4,))
    refused(model, two_clips, ModelError, "input='waveform'.*'embedding'")


def break_file(path, how):
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            cut(path, 0.5)
        case "silent":
            write(path, np.zeros(44100), 44100)
        case "nan":
            write_float(path, np.full(16000, np.nan))
        case "text":
            path.write_text("violin, 1\n" * 100)
        case "a moment":
            write(path, tone(0.05), 44100)


@pytest.mark.parametrize(
    "how", ["missing", "empty", "truncated", "silent", "nan", "text", "a moment"]
)
@pytest.mark.parametrize("held_out", [False, True])
def test_a_file_that_cannot_be_used_is_named_before_the_first_step(
    small_model, two_clips, how, held_out
):
    clips = two_clips
    config = dataclasses.replace(FAST, validation_fraction=0.5 if held_out else 0)
    if held_out:
        _, other = clips.split(0.5, seed=config.seed)
        path = other.paths[0]
    else:
        path = clips.paths[1]
    break_file(path, how)
    refused(small_model, clips, AudioError, f"{path}: ", config)


def test_too_few_clips_are_refused(small_model, two_clips):
    one = two_clips.subset([0])
    config = dataclasses.replace(FAST, validation_fraction=0.2)
    refused(small_model, one, LabelError, "at least two. Received 1", config)
    with pytest.raises(LabelError, match="no clip left"):
        fit(small_model, two_clips.subset([]), FAST)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"method": "magic"}, "magic"),
        ({"backbone": "resnet"}, "resnet"),
        ({"backbone_options": {"depth": 3}}, "depth"),
        ({"method": "f2ca", "method_options": {"heads": 3}}, "heads"),
    ],
)
def test_unknown_names_and_options_are_refused(two_clips, arguments, named):
    with pytest.raises(ModelError, match=named):
        train(two_clips, config=FAST, **arguments)


def test_the_recommended_options_know_every_level(openmic):
    options = compile_options(openmic, {"coarse": 0.25})
    assert options["loss_weights"] == {"fine": 1.0, "coarse": 0.25}
    assert set(options["loss"]) == set(options["metrics"]) == {"fine", "coarse"}
    with pytest.raises(LabelError, match="family"):
        compile_options(openmic, {"family": 1.0})


def chance(labels, scores):
    """Mean and deviation of the mAP if scores and clips had nothing to do with each other."""
    rng = np.random.default_rng(0)
    found = [
        hk.metrics.mean_average_precision(labels[rng.permutation(len(labels))], scores)
        for _ in range(300)
    ]
    return np.mean(found), np.std(found)


@pytest.mark.slow
def test_the_labels_are_what_is_learned():
    clips, test = demo_clips("train"), demo_clips("test")
    order = np.random.default_rng(1).permutation(len(clips))
    shuffled = LabelledClips(clips.taxonomy, clips.paths, {"fine": clips.labels["fine"][order]})
    config = TrainConfig(epochs=6, batch_size=16, crop_seconds=3.0, learning_rate=3e-3)
    labels = test.labels["fine"]
    baseline = hk.metrics.prevalence_baseline(labels)
    above = {}
    for name, data in (("true", clips), ("shuffled", shuffled)):
        result = train(data, method="gmp", backbone_options={"width": 12}, config=config)
        # Both fit what they are given.
        assert result.history["loss"][-1] < 0.75 * result.history["loss"][0]
        scores = hk.evaluation.predict_clips(hk.Predictor(result.model), test)["fine"]
        found = hk.metrics.mean_average_precision(labels, scores)
        # A hundred clips flatter a random ranking: it scores about 0.13, not the prevalence.
        mean, deviation = chance(labels, scores)
        assert baseline < mean < 1.6 * baseline
        above[name] = (found - mean) / deviation
        assert (found >= 2 * baseline) == (name == "true")
    assert above["true"] > 6
    assert above["shuffled"] < 4


def test_records_of_log_mel_spectrograms_train_a_model_that_takes_them(two_clips, tmp_path):
    audio = AudioConfig(n_mels=16)
    records = prepare_clips(two_clips, tmp_path / "r", features="log_mel", audio=audio)
    options = {"backbone_options": {"width": 2}, "input": "log_mel"}
    model = hk.build_model(TWO, **options, audio=audio)
    result = fit(model, records, dataclasses.replace(FAST, crop_seconds=1.0))
    assert np.isfinite(result.history["loss"]).all()
    with pytest.raises(ModelError, match="made with the audio settings"):
        fit(hk.build_model(TWO, **options), records, FAST)
    with pytest.raises(ModelError, match="records needs a model built with input='log_mel'"):
        fit(hk.build_model(TWO, backbone_options={"width": 2}), records, FAST)
