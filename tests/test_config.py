"""Tests of `hmic_keras.config`."""

import dataclasses
import json

import pytest

from hmic_keras.config import AudioConfig, ModelConfig, TrainConfig
from hmic_keras.errors import HmicError

CONFIGS = pytest.mark.parametrize("config", [AudioConfig, ModelConfig, TrainConfig])
CHANGES = {
    AudioConfig: {"n_mels": 64, "mel_scale": "htk"},
    ModelConfig: {"method": "gmp", "audio": {"n_mels": 40}, "backbone_options": {"width": 4}},
    TrainConfig: {"seed": 9, "augmentation": {"mix": {"name": "mixup", "alpha": 0.5}}},
}


@CONFIGS
def test_settings_survive_json(config):
    original = config(**CHANGES[config])
    again = config.from_dict(json.loads(json.dumps(original.to_dict())))
    assert again == original != config()
    assert set(original.to_dict()) == {field.name for field in dataclasses.fields(config)}


@CONFIGS
def test_settings_left_out_take_their_default(config):
    assert config.from_dict({}) == config()


@CONFIGS
def test_settings_are_frozen(config):
    name = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config(), name, 1)


@CONFIGS
def test_unknown_settings_are_refused_by_name(config):
    with pytest.raises(HmicError, match=r"no setting \['colour'\]; it has \["):
        config.from_dict({"colour": 3})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"sample_rate": 16000.0}, "sample_rate"),
        ({"sample_rate": True}, "sample_rate"),
        ({"n_fft": -1}, "n_fft"),
        ({"window_length": 2048}, "window_length"),
        ({"hop_length": 0}, "hop_length"),
        ({"n_mels": "80"}, "n_mels"),
        ({"fmin": -1.0}, "fmin"),
        ({"fmin": 8000.0}, "fmin"),
        ({"fmin": float("nan")}, "fmin"),
        ({"fmax": 8001.0}, "fmax"),
        ({"fmax": True}, "fmax"),
        ({"fmax": 0.0, "fmin": 0.0}, "fmax"),
        ({"sample_rate": 8000}, "fmax"),
        ({"mel_scale": "bark"}, "mel_scale"),
        ({"log_offset": 0.0}, "log_offset"),
        ({"log_offset": float("inf")}, "log_offset"),
    ],
)
def test_audio_settings_out_of_range(settings, named):
    with pytest.raises(HmicError, match=f"`{named}` must be .*Received: "):
        AudioConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"crop_seconds": 0.5}, "crop_seconds"),
        ({"crop_seconds": 601}, "crop_seconds"),
        ({"crop_seconds": "3"}, "crop_seconds"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"validation_fraction": -0.1}, "validation_fraction"),
        ({"schedule": "step"}, "schedule"),
        ({"clip_norm": 0}, "clip_norm"),
        ({"weight_averaging": 1.0}, "weight_averaging"),
        ({"patience": 0}, "patience"),
        ({"loss": None}, "loss"),
        ({"loss_options": [2]}, "loss_options"),
        ({"loss_options": {"gamma": float("nan")}}, "loss_options"),
        ({"augmentation": {"mix": {1, 2}}}, "augmentation"),
        ({"augmentation": {1: {}}}, "augmentation"),
        ({"positive_weights": 2}, "positive_weights"),
        ({"consistency": -1}, "consistency"),
        ({"balance": 1.5}, "balance"),
        ({"crops": "all"}, "crops"),
        ({"cache": 1}, "cache"),
        ({"jit_compile": "never"}, "jit_compile"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"seed": True}, "seed"),
    ],
)
def test_train_settings_out_of_range(settings, named):
    with pytest.raises(HmicError, match=f"`{named}` must be .*Received: "):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"backbone": 3}, "backbone"),
        ({"method": None}, "method"),
        ({"method_options": "heads=3"}, "method_options"),
        ({"audio": "16 kHz"}, "audio"),
        ({"audio": {"n_mels": 0}}, "n_mels"),
        ({"spec_augment": []}, "spec_augment"),
        ({"consistent": 1}, "consistent"),
        ({"precision": "float16"}, "precision"),
        ({"start": ""}, "start"),
        ({"start": 3}, "start"),
        ({"frozen": 1, "start": "mine"}, "frozen"),
        ({"frozen": True}, "frozen"),
    ],
)
def test_model_settings_out_of_range(settings, named):
    with pytest.raises(HmicError, match=f"`{named}` must be .*Received: "):
        ModelConfig(**settings)


def test_settings_keep_a_copy_of_what_they_were_given():
    options = {"mix": {"alpha": 0.5}}
    config = TrainConfig(augmentation=options)
    options["mix"]["alpha"] = 0.1
    assert config.augmentation == {"mix": {"alpha": 0.5}}
    with pytest.raises(HmicError, match=r"needs settings by name. Received: 3"):
        TrainConfig.from_dict(3)


def test_the_ends_of_ranges_are_allowed():
    AudioConfig(sample_rate=8000, fmax=4000, fmin=0, window_length=1024, n_fft=1024)
    TrainConfig(crop_seconds=1, weight_decay=0, validation_fraction=0, seed=2**31 - 1)
    TrainConfig(crop_seconds=600, weight_decay=1, validation_fraction=0.9, seed=0)
