"""Starting from the backbone of a trained model."""

import keras
import numpy as np
import pytest

import hmic_keras as hk
from hmic_keras import training
from hmic_keras.config import AudioConfig, ModelConfig, TrainConfig
from hmic_keras.data.sources.folder import LabelledClips
from hmic_keras.errors import ModelError
from hmic_keras.models import CLIP_POOL, build_model
from hmic_keras.training._fit import build
from hmic_keras.training._start import start_from

OTHER = hk.Taxonomy.from_dict({"tuned": ["piano", "violin"], "untuned": ["drums"]})
WAVES = np.random.default_rng(0).normal(0, 0.1, (2, 16000)).astype("float32")


@pytest.fixture(scope="module")
def clips(tiny_clips):
    """The same clips, labelled with another taxonomy."""
    names = tiny_clips.taxonomy.classes("fine")
    columns = [names.index(name) for name in OTHER.classes("fine")]
    labels = {"fine": tiny_clips.labels["fine"][:, columns]}
    return LabelledClips(OTHER, tiny_clips.paths, labels)


def features(model):
    found = keras.Model(model.inputs, model.get_layer(CLIP_POOL).output)
    return found.predict(WAVES, verbose=0)


@pytest.mark.parametrize("frozen", [True, False])
def test_training_starts_from_its_backbone(tiny, tiny_bundle, clips, frozen):
    config = TrainConfig(
        epochs=1,
        batch_size=8,
        crop_seconds=1.0,
        validation_fraction=0.0,
        feature_passes=1 if frozen else 0,
    )
    model = training.train(
        clips,
        config=config,
        backbone_options={"width": 4},
        method="gmp",
        start=str(tiny_bundle),
        frozen=frozen,
    ).model
    assert model.taxonomy == OTHER
    assert np.array_equal(features(model), features(tiny.model)) == frozen
    start = model.manifest["start"]
    assert (start["name"], start["frozen"]) == (tiny_bundle.name, frozen)
    assert start["provenance"] == tiny.model.manifest["provenance"]
    # Loaded again, it is whole.
    assert model.get_layer("fine_logits").get_weights()[0].shape[1] == 3


def test_weights_are_taken_and_classifiers_are_not(tiny, tiny_bundle):
    keras.utils.set_random_seed(5)
    model = build_model(OTHER, "conv", "f2ca", backbone_options={"width": 4})
    before = model.get_layer("fine_logits").get_weights()[0]
    start_from(model, tiny_bundle)
    np.testing.assert_array_equal(features(model), features(tiny.model))
    np.testing.assert_array_equal(model.get_layer("fine_logits").get_weights()[0], before)
    assert all(layer.trainable for layer in model.layers)


@pytest.mark.parametrize(
    "told", [{}, {"backbone_options": {"width": 4}}], ids=["from the model", "written again"]
)
def test_its_settings_need_not_be_written_again(tiny, tiny_bundle, told):
    settings = ModelConfig(method="gmp", start=str(tiny_bundle), **told)
    model = build(OTHER, settings, seed=1)
    np.testing.assert_array_equal(features(model), features(tiny.model))
    for part in ("audio", "backbone", "input"):
        assert model.manifest[part] == tiny.model.manifest[part]
    assert model.manifest["start"]["name"] == tiny_bundle.name


def test_settings_that_are_others_are_refused_not_replaced(tiny_bundle):
    for told in ({"backbone": "short_chunk_res"}, {"audio": {"n_mels": 40}}):
        with pytest.raises(ModelError, match=r"`start`: the backbone of .* is another one"):
            build(OTHER, ModelConfig(start=str(tiny_bundle), **told), seed=1)


def test_where_the_first_weights_came_from_does_not_matter(tmp_path):
    """As with a network on published weights, whose file need not be there any more."""
    trained = build_model(OTHER, "musicnn", "gmp", backbone_options={"temporal_filters": 2})
    trained.manifest["backbone"]["options"] |= {"weights": "gone.whl", "trainable": False}
    path = tmp_path / "trained.keras"
    trained.save(path)
    model = build(OTHER, ModelConfig(method="gmp", start=str(path)), seed=1)
    np.testing.assert_array_equal(features(model), features(trained))


def test_an_ensemble_has_no_backbone_to_start_from(tmp_path):
    members = [build_model(OTHER, "conv", backbone_options={"width": 2}) for _ in range(2)]
    path = tmp_path / "both.keras"
    hk.ensemble(members).save(path)
    with pytest.raises(ModelError, match="pool their features over time"):
        build(OTHER, ModelConfig(start=str(path)), seed=1)


def test_another_backbone_is_refused(tiny_bundle):
    for options in (
        {"backbone_options": {"width": 5}},
        {"backbone_options": {"width": 4}, "audio": AudioConfig(n_mels=40)},
        {"backbone": "short_chunk_res"},
    ):
        with pytest.raises(ModelError, match=r"`start`: the backbone of .* is another one"):
            start_from(build_model(OTHER, method="gmp", **options), tiny_bundle)
    embedding = build_model(OTHER, "mlp", input="embedding", input_shape=(8,))
    with pytest.raises(ModelError, match="pool their features over time"):
        start_from(embedding, tiny_bundle)
    with pytest.raises(ModelError, match="There is no model 'nowhere'"):
        start_from(build_model(OTHER), "nowhere")
