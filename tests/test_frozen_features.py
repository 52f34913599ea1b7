"""Training a head on features that are computed once."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest

from hmic_keras import training
from hmic_keras.config import TrainConfig
from hmic_keras.errors import HmicError, ModelError
from hmic_keras.models import build_model

pytestmark = pytest.mark.xdist_group("frozen_features")
SMALL = {
    "timbral_filters": 2,
    "temporal_filters": 2,
    "midend_filters": 3,
    "trainable": False,
    "dropout": 0.0,
}
CONFIG = TrainConfig(
    epochs=4, batch_size=8, crop_seconds=1.0, feature_passes=2, validation_fraction=0.25
)


@pytest.fixture(scope="module")
def clips(tiny_clips):
    return tiny_clips.subset(range(16))


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    """A run that nothing stopped, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return train(clips, run=folder), folder


def train(clips, config=CONFIG, method="gmp", options=SMALL, **arguments):
    return training.train(
        clips,
        config=config,
        backbone="musicnn",
        method=method,
        backbone_options=options,
        **arguments,
    )


def test_the_head_learns_and_the_backbone_does_not(clips, whole):
    result, _ = whole
    loss = result.history["loss"]
    assert len(loss) == 4
    assert loss[-1] < loss[0]
    new = build_model(clips.taxonomy, backbone="musicnn", method="gmp", backbone_options=SMALL)
    network, kernel = result.model.get_layer("musicnn"), result.model.get_layer("fine_logits")
    assert kernel.get_weights()[0].any()
    for found, started in zip(network.weights, new.get_layer("musicnn").weights, strict=True):
        if "moving" in found.path:
            np.testing.assert_array_equal(found, started)
    assert result.model.manifest["input"] == "waveform"
    assert set(result.model.manifest["thresholds"]) == set(clips.taxonomy.levels)


def test_one_pass_of_whole_clips_trains_as_without_keeping(clips):
    # Clips of 3 s and crops of 3 s leave nothing to draw but the order of an epoch.
    config = dataclasses.replace(
        CONFIG, crop_seconds=3.0, feature_passes=1, batch_size=16, epochs=2, seed=2
    )
    kept = train(clips, config)
    computed = train(clips, dataclasses.replace(config, feature_passes=0))
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(kept.history[name], computed.history[name], rtol=1e-4)


def test_kept_features_give_the_same_run_and_are_not_computed_again(clips, whole, tmp_path):
    first, folder = whole
    shutil.copytree(folder / "run" / "features", tmp_path / "run" / "features")
    files = sorted((tmp_path / "run" / "features").iterdir())
    assert len(files) == 3  # two passes and the clips to validate on
    times = [file.stat().st_mtime_ns for file in files]
    again = train(clips, run=tmp_path)
    assert [file.stat().st_mtime_ns for file in files] == times
    assert again.history == first.history
    files[0].write_bytes(b"cut off")
    for leftover in ("run.json", "checkpoint.npz"):
        (tmp_path / "run" / leftover).unlink()
    with pytest.raises(ModelError, match=rf"{files[0].name}' was damaged"):
        train(clips, run=tmp_path)


def test_a_stopped_run_goes_on_to_the_same_numbers(clips, whole, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(clips, run=tmp_path, callbacks=[Stop()])
    resumed = train(clips, run=tmp_path, resume=True)
    assert resumed.history == whole[0].history


def test_what_has_no_features_to_keep_is_refused(clips):
    with pytest.raises(ModelError, match="the backbone must not learn"):
        train(clips, options={**SMALL, "trainable": True})
    with pytest.raises(ModelError, match=r"looks at the pooled features only.*'f2ca'"):
        train(clips, method="f2ca")
    with pytest.raises(HmicError, match=r"`feature_passes` must be an integer from 0 to 999"):
        dataclasses.replace(CONFIG, feature_passes=-1)
    with pytest.raises(HmicError, match="`feature_passes` must be 0 with `stems`"):
        dataclasses.replace(CONFIG, stems={"steps": 5})
