"""The backbones: what they promise to methods, and each one's own architecture."""

import importlib.util
import itertools
import json
import os
import re
import sys
import zipfile
from pathlib import Path

import keras
import librosa
import musicnn_golden
import musicnn_wheel
import numpy as np
import pytest
import tensorflow as tf
from tflite_models import convert, run

from hmic_keras import Taxonomy, backbones, build_model
from hmic_keras.backbones import MUSICNN_AUDIO, MusicnnTagger, applications
from hmic_keras.config import AudioConfig
from hmic_keras.data import load_audio
from hmic_keras.errors import ModelError

ROOT = Path(__file__).resolve().parents[1]
TAXONOMY = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"], "voice": []})
MELS = 32
SMALL = {
    "conv": {"width": 4},
    "conv_attention": {"width": 4, "blocks": 1, "num_heads": 2},
    "short_chunk_res": {"width": 2},
    "musicnn": {"timbral_filters": 4, "temporal_filters": 3, "midend_filters": 2},
}
# Small for the short list of its layers.
IMAGE_MODEL = "MobileNet"
WHEEL = os.environ.get("HMIC_MUSICNN_WHEEL")
AUDIO = os.environ.get("HMIC_MUSICNN_AUDIO")


def log_mels(rows=4, frames=51, mels=MELS, seed=0):
    """Log-mel spectrograms with the spread of music."""
    rng = np.random.default_rng(seed)
    return rng.normal(-4, 2.5, (rows, frames, mels)).astype("float32")


def make(backbone, method="f2ca", **kwargs):
    keras.utils.set_random_seed(0)
    options = {**SMALL.get(backbone, {}), "dropout": 0.0, **kwargs.pop("backbone_options", {})}
    return build_model(
        TAXONOMY,
        backbone,
        method,
        "log_mel",
        input_shape=(None, MELS),
        backbone_options=options,
        **kwargs,
    )


@pytest.mark.parametrize("backbone", [*SMALL, IMAGE_MODEL])
def test_trains_every_weight_and_loads_as_it_was_saved(backbone, tmp_path):
    model = make(backbone)
    inputs = log_mels(frames=96)
    labels = {"fine": np.array([[1, 0, -1], [0, 1, 0], [1, 1, 0], [0, 0, 1]], "float32")}
    labels["coarse"] = np.array([[1, 0, 1], [1, 0, 0], [1, 1, -1], [0, 1, 1]], "float32")
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", run_eagerly=True)
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    loss = model.train_on_batch(inputs, labels)
    assert np.isfinite(loss).all()
    after = {weight.path: weight.numpy() for weight in model.trainable_weights}
    still = {path for path, old in before.items() if np.array_equal(old, after[path])}
    # Softmax does not see what is added to all its logits alike.
    assert {path for path in still if not path.endswith("/key/bias")} == set()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.manifest == model.manifest
    scores, again = model(inputs), loaded(inputs)
    for level, values in scores.items():
        assert np.isfinite(values).all()
        # One step leaves the moving statistics of a deep network far from its activations.
        assert backbone == IMAGE_MODEL or np.ptp(values, axis=0).max() > 0
        np.testing.assert_allclose(again[level], values, atol=1e-6)


@pytest.mark.parametrize("backbone", [name for name in SMALL if name != "conv"])
@pytest.mark.parametrize("method", ["multitask", "gmp"])
def test_carries_every_method(backbone, method):
    for frames in (51, 97):
        scores = make(backbone, method)(log_mels(2, frames))
        assert {level: values.shape for level, values in scores.items()} == {
            "fine": (2, 3),
            "coarse": (2, 3),
        }


@pytest.mark.slow
def test_run_in_tflite(tmp_path):
    frames = 96
    given = keras.Input((frames, MELS), name="log_mel")
    keras.utils.set_random_seed(0)
    outputs = {}
    for name in ("conv_attention", "short_chunk_res", "musicnn"):
        inner = keras.Input((frames, MELS))
        features = backbones.get(name)(inner, **SMALL[name])
        outputs[name] = keras.Model(inner, features, name=f"{name}_features")(given)
    model = keras.Model(given, outputs)
    inputs = log_mels(2, frames)
    found = run(convert(model, tmp_path), log_mel=inputs)
    for name, values in model(inputs).items():
        assert np.ptp(values) > 0.01
        np.testing.assert_allclose(found[name], values, atol=2e-5)


@pytest.mark.parametrize(
    ("backbone", "options", "mels", "features"),
    [
        ("conv", {}, 80, (26, 96)),
        ("conv", {"width": 4, "blocks": 2}, 80, (26, 24)),
        ("conv", {"width": 4, "blocks": 1, "squeeze": 3}, 80, (26, 24)),
        ("conv_attention", {}, 80, (26, 96)),
        ("short_chunk_res", {}, 80, (26, 64)),
        ("short_chunk_res", {"width": 4}, 128, (26, 16)),
        ("short_chunk_res", {"width": 4}, 129, (26, 32)),
        ("musicnn", {}, 96, (201, 753)),
        ("MobileNetV3Small", {}, 80, (6, 576)),
    ],
)
def test_keeps_time_as_a_sequence(backbone, options, mels, features):
    given = keras.Input((None, mels))
    model = keras.Model(given, backbones.get(backbone)(given, **options))
    assert model.output_shape == (None, None, features[1])
    assert model.compute_output_shape((1, 201, mels)) == (1, *features)


@pytest.mark.parametrize(("squeeze", "convolutions_of_a_block"), [(1, 2), (2, 3)])
def test_blocks_of_conv_are_residual(squeeze, convolutions_of_a_block):
    keras.utils.set_random_seed(0)
    given = keras.Input((None, MELS))
    plain, deep = (
        keras.Model(
            given, backbones.get("conv")(given, width=4, blocks=blocks, squeeze=squeeze)
        )
        for blocks in (0, 2)
    )
    # Two blocks after three of the four stages.
    convolutions = [x for x in deep.layers if isinstance(x, keras.layers.Conv2D)]
    assert len(convolutions) == 4 + 3 * 2 * convolutions_of_a_block
    for layer in plain.layers:
        deep.get_layer(layer.name).set_weights(layer.get_weights())
    # What a block adds is nothing where its last normalisation is.
    last = f"_{convolutions_of_a_block}"
    for layer in deep.layers:
        if layer.name.startswith("norm") and layer.name.endswith(last):
            gamma, *rest = layer.get_weights()
            layer.set_weights([np.zeros_like(gamma), *rest])
    np.testing.assert_allclose(deep(log_mels()), plain(log_mels()), atol=1e-5)


def test_a_bottleneck_of_conv_has_the_weights_of_its_three_convolutions():
    given = keras.Input((None, MELS))
    weights = [
        keras.Model(
            given, backbones.get("conv")(given, width=8, blocks=blocks, squeeze=4)
        ).count_params()
        for blocks in (1, 2)
    ]
    inner_outer = [(4, 16), (8, 32), (12, 48)]
    # Kernels, then the four vectors of each normalisation.
    expected = sum(2 * a * b + 9 * a * a + 4 * (2 * a + b) for a, b in inner_outer)
    assert weights[1] - weights[0] == expected


class TestShortChunkRes:
    def test_has_the_published_number_of_weights_at_the_published_width(self):
        inputs = keras.Input((None, 128))
        model = keras.Model(inputs, backbones.short_chunk_res(inputs, width=128))
        channels = (1, 128, 128, 256, 256, 256, 256, 512)
        expected = 2 * 128  # mean and variance of each mel band
        for before, after in itertools.pairwise(channels):
            # Two convolutions and the shortcut, each followed by four numbers a channel.
            expected += 9 * (2 * before * after + after * after) + 3 * 4 * after
        assert model.count_params() == expected

    def test_a_block_adds_its_shortcut(self):
        inputs = keras.Input((None, MELS))
        model = keras.Model(inputs, backbones.short_chunk_res(inputs, width=2))
        block = keras.Model(
            inputs,
            [
                model.get_layer(name).output
                for name in ("block3_conv2_norm", "block3_shortcut_norm", "block3")
            ],
        )
        residual, shortcut, found = block(log_mels(2))
        assert np.abs(shortcut).max() > 0.1
        np.testing.assert_allclose(found, np.maximum(residual + shortcut, 0), atol=1e-6)


def test_attention_reaches_where_convolutions_do_not():
    inputs = log_mels(1, 800)
    other = inputs.copy()
    other[:, 700:] += 3
    for backbone, far in (("conv", False), ("conv_attention", True)):
        given = keras.Input((None, MELS))
        keras.utils.set_random_seed(0)
        model = keras.Model(given, backbones.get(backbone)(given, **SMALL[backbone]))
        first, changed = model(inputs)[0, :50].numpy(), model(other)[0, :50].numpy()
        assert np.abs(first).max() > 0
        assert (np.abs(first - changed).max() > 1e-6) == far


@pytest.fixture(scope="module")
def tensors():
    return musicnn_wheel.random_tensors()


@pytest.fixture(scope="module")
def wheel(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("wheel") / "musicnn-0.1.0-py3-none-any.whl"
    return musicnn_wheel.write(path, tensors)


class TestMusicnn:
    def test_is_the_published_network(self, tensors, wheel):
        mel = np.random.default_rng(0).gamma(0.3, 0.01, (2, 40, 96)).astype("float32")
        given = keras.Input((None, 96))
        model = keras.Model(given, backbones.musicnn(given, weights=wheel))
        found = model(np.log(mel + 1e-4))
        expected = musicnn_wheel.stages(tensors, np.log10(10000 * mel + 1))
        assert found.shape == expected.shape == (2, 40, 753)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=1e-5 * scale)

    def test_the_audio_settings_are_the_published_ones(self):
        waveform = musicnn_golden.waveform()[:20000]
        log_mel = keras.layers.Rescaling(1 / np.log(10), offset=4.0)(
            hmic_log_mel(waveform[np.newaxis])
        )
        mel = librosa.feature.melspectrogram(
            y=waveform, sr=16000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
        )
        np.testing.assert_allclose(log_mel[0], np.log10(10000 * mel.T + 1), atol=1e-4)

    def test_the_tagger_is_the_published_one(self, tensors, wheel):
        tagger = MusicnnTagger.load(wheel)
        assert tagger.tags == musicnn_wheel.TAGS
        clip = musicnn_golden.waveform()[:40000]
        patches = (hmic_log_mel(clip[np.newaxis])[0, :124] / np.log(10) + 4).reshape(2, 62, 96)
        expected = musicnn_wheel.tags(tensors, patches)
        taggram = tagger.taggram(clip, seconds=1.0)
        assert np.ptp(expected, axis=0).min() > 1e-3
        np.testing.assert_allclose(taggram, expected, atol=1e-5)
        order = np.argsort(-expected.mean(axis=0))
        top = tagger.top_tags(clip, 4, seconds=1.0)
        assert top == [musicnn_wheel.TAGS[index] for index in order[:4]]
        whole = tagger.model(clip[np.newaxis])
        expected = musicnn_wheel.tags(tensors, hmic_log_mel(clip[np.newaxis]) / np.log(10) + 4)
        np.testing.assert_allclose(whole, expected, atol=1e-5)

    @pytest.mark.parametrize(
        ("clip", "seconds"), [(np.zeros(40000), 3.0), (np.zeros((1, 64000)), 3.0), ([], 0.0)]
    )
    def test_the_tagger_refuses_a_clip_without_a_patch(self, wheel, clip, seconds):
        with pytest.raises(ModelError, match="`waveform` must be"):
            MusicnnTagger.load(wheel).taggram(clip, seconds)

    def test_a_model_starts_from_the_weights_and_its_own_audio(self, wheel, tensors, tmp_path):
        options = {"weights": wheel, "trainable": False}
        model = build_model(TAXONOMY, "musicnn", "gmp", backbone_options=options)
        assert model.manifest["audio"] == MUSICNN_AUDIO.to_dict()
        assert model.manifest["backbone"]["options"]["weights"] == wheel.name
        json.dumps(model.manifest)
        kernel = model.get_layer("musicnn").get_layer("timbral1").kernel
        np.testing.assert_array_equal(kernel, tensors["conv2d/kernel"])
        # Only the two classifiers learn: fine, and the childless voice.
        assert len(model.trainable_weights) == 4
        path = tmp_path / "model.keras"
        model.save(path)
        loaded = keras.saving.load_model(path, safe_mode=True)
        assert len(loaded.trainable_weights) == 4
        clip = musicnn_golden.waveform()[np.newaxis, :16000]
        np.testing.assert_allclose(loaded(clip)["fine"], model(clip)["fine"], atol=1e-6)

    def test_other_audio_settings_do_without_the_weights(self, wheel):
        audio = AudioConfig(n_mels=64)
        model = build_model(TAXONOMY, "musicnn", audio=audio, backbone_options=SMALL["musicnn"])
        assert model.manifest["audio"] == audio.to_dict()
        with pytest.raises(ModelError, match=r"own audio settings.*n_mels=64"):
            build_model(TAXONOMY, "musicnn", audio=audio, backbone_options={"weights": wheel})

    def test_other_sizes_do_without_the_weights(self, wheel):
        with pytest.raises(ModelError, match=r"\(7, 38, 1, 204\).*'timbral1'.*default options"):
            backbones.musicnn(keras.Input((None, 96)), weights=wheel, timbral_filters=6)
        with pytest.raises(ModelError, match=r"\(7, 561, 1, 64\).*'midend1'"):
            backbones.musicnn(keras.Input((None, 96)), weights=wheel, midend_filters=6)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            ("missing", "no wheel of musicnn at .*pip download --no-deps musicnn==0.1.0"),
            ("text", "cannot be read as a wheel of musicnn.*pip download"),
            ("folder", "cannot be read as a wheel of musicnn.*pip download"),
            ("foreign", r"lacks 'musicnn/MTT_musicnn/.index'.*pip download"),
            ("cut", r"'MTT_musicnn' in .* cannot be read.*pip download"),
            ("garbled", r"'MTT_musicnn' in .* cannot be read.*pip download"),
        ],
    )
    def test_a_damaged_wheel_is_refused(self, wheel, damage, message, tmp_path):
        path = tmp_path / "damaged.whl"
        members = zipfile.ZipFile(wheel)
        if damage == "text":
            path.write_text("not found")
        elif damage == "folder":
            path.mkdir()
        elif damage != "missing":
            with zipfile.ZipFile(path, "w") as archive:
                for name in () if damage == "foreign" else members.namelist():
                    content = members.read(name)
                    if damage == "cut" and ".data" in name:
                        content = content[:1000]
                    if damage == "garbled" and ".index" in name:
                        content = b"\0" * len(content)
                    archive.writestr(name, content)
        with pytest.raises(ModelError, match=message):
            backbones.musicnn(keras.Input((None, 96)), weights=path)

    def test_a_wheel_without_the_tags_is_refused(self, wheel, tensors, tmp_path):
        path = musicnn_wheel.write(tmp_path / "tagless.whl", tensors, "MSD_musicnn")
        with pytest.raises(ModelError, match="does not name its tags in MSD_LABELS"):
            MusicnnTagger.load(path, "MSD_musicnn")
        with pytest.raises(ModelError, match=r"`checkpoint` must be one of.*'MTT_vgg'"):
            MusicnnTagger.load(wheel, "MTT_vgg")

    @pytest.mark.skipif(not WHEEL, reason="HMIC_MUSICNN_WHEEL names no wheel of musicnn 0.1.0")
    @pytest.mark.parametrize("checkpoint", musicnn_golden.CHECKPOINTS)
    def test_the_published_weights_answer_as_the_original_code(self, checkpoint):
        golden = np.load(Path(musicnn_golden.__file__).with_suffix(".npz"))
        tagger = MusicnnTagger.load(WHEEL, checkpoint)
        assert tagger.tags == tuple(golden[f"{checkpoint}/tags"])
        clip = musicnn_golden.waveform()
        taggram = tagger.taggram(clip)
        # Processors sum in different orders: two of them were 2.3e-6 apart.
        np.testing.assert_allclose(taggram, golden[f"{checkpoint}/taggram"], atol=3e-6)
        front, names = tagger.model.get_layer("log_mel_spectrogram"), musicnn_golden.KEEP
        outputs = {name: tagger.model.get_layer(name).output for name in names[:2]}
        outputs["penultimate"] = tagger.model.get_layer("penultimate_norm").output
        patches = front(clip[np.newaxis])[0, : 2 * 187].numpy().reshape(2, 187, 96)
        for name, found in keras.Model(front.output, outputs)(patches).items():
            expected = golden[f"{checkpoint}/{name}"]
            found = found.numpy().reshape(expected.shape)
            if name == "penultimate":
                # The original repeats the first patch's here, a slip of its extractor.
                expected, found = expected[:1], found[:1]
            np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())

    @pytest.mark.slow
    @pytest.mark.skipif(
        not (WHEEL and AUDIO),
        reason="HMIC_MUSICNN_WHEEL and HMIC_MUSICNN_AUDIO (its repository's audio/) not given",
    )
    def test_the_tags_of_its_readme(self):
        tagger = MusicnnTagger.load(WHEEL, "MTT_musicnn")
        clips = {
            "joram-moments_of_clarity-08-solipsism-59-88.mp3": (
                "techno electronic synth fast beat drums no_vocals no_vocal dance ambient"
            ),
            "TRWJAZW128F42760DD_test.mp3": "guitar piano fast",
        }
        for name, tags in clips.items():
            clip = load_audio(Path(AUDIO) / name, 16000)
            expected = [tag.replace("_", " ") for tag in tags.split()]
            assert tagger.top_tags(clip, len(expected)) == expected


def hmic_log_mel(waveforms):
    from hmic_keras.layers import LogMelSpectrogram

    return LogMelSpectrogram(**MUSICNN_AUDIO.to_dict())(waveforms).numpy()


class TestApplications:
    def test_every_image_model_of_keras_is_offered(self):
        assert {"MobileNetV3Small", "ResNet50", "ConvNeXtTiny"} <= set(applications.names())
        assert all(callable(backbones.get(name)) for name in applications.names())

    @pytest.mark.parametrize("name", applications.names())
    def test_pixels_are_what_the_models_own_preprocessing_makes_of_grey(self, name):
        standardised = np.linspace(-2, 2, 9).reshape(1, 3, 3, 1) * np.ones((1, 1, 1, 3))
        module = sys.modules[getattr(keras.applications, name).__module__]
        grey = (127.5 + 63.75 * standardised).astype("float32")
        expected = module.preprocess_input(grey.copy())
        found = applications._preprocess(name, standardised.astype("float32"))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)

    def test_weights_from_a_file_and_frozen(self, tmp_path):
        network = keras.applications.MobileNet(
            include_top=False, weights=None, input_shape=(None, MELS, 3)
        )
        path = tmp_path / "own.weights.h5"
        network.save_weights(path)
        options = {"weights": path, "trainable": False}
        model = make(IMAGE_MODEL, "multitask", backbone_options=options)
        inner = model.get_layer("mobilenet")
        for found, expected in zip(inner.weights, network.weights, strict=True):
            np.testing.assert_array_equal(found, expected)
        assert inner.trainable_weights == []
        # Two classifiers.
        assert len(model.trainable_weights) == 4
        assert model.manifest["backbone"]["options"]["weights"] == "own.weights.h5"

    @pytest.mark.parametrize(
        ("mels", "options", "message"),
        [
            (16, {}, "cannot be built for 16 mel bands.*`n_mels`"),
            (32, {"weights": "nowhere.h5"}, "`weights` must be None, 'imagenet' or the path"),
            (32, {"weights": __file__}, "cannot be built .*weights=.*test_backbones.py"),
            (32, {"dropout": 1.0}, "`dropout` must be a rate"),
        ],
    )
    def test_refuses(self, mels, options, message):
        with pytest.raises(ModelError, match=message):
            backbones.get(IMAGE_MODEL)(keras.Input((None, mels)), **options)


def test_the_first_weights_of_mlp_have_the_variance_asked_for():
    inputs = keras.Input((300,))
    for options, scale in (({}, 1.0), ({"initial_scale": 1 / 3}, 1 / 3)):
        model = keras.Model(inputs, backbones.get("mlp")(inputs, units=(200,), **options))
        kernel = np.asarray(model.get_layer("hidden1").kernel)
        assert kernel.var() == pytest.approx(scale * 2 / (300 + 200), rel=0.03)


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("conv", {"width": True}, "`width` must be a positive integer.*True"),
        ("conv", {"blocks": -1}, "`blocks` must be an integer of at least 0.*-1"),
        ("conv", {"squeeze": 0}, "`squeeze` must be a positive integer.*0"),
        ("conv", {"width": 2, "squeeze": 5}, "leave a channel of the 4 of the second stage.*5"),
        ("conv", {"dropout": -0.1}, "`dropout` must be a rate from 0 to below 1.*-0.1"),
        ("mlp", {"dropout": "0.1"}, "`dropout` must be a rate"),
        ("mlp", {"initial_scale": 0}, "`initial_scale` must be a positive number.*0"),
        ("short_chunk_res", {"width": 0}, "`width`"),
        ("short_chunk_res", {"dropout": float("nan")}, "`dropout`"),
        ("conv_attention", {"blocks": 0}, "`blocks`"),
        ("conv_attention", {"num_heads": 5}, r"`num_heads` must divide the 96 features"),
        ("musicnn", {"temporal_filters": 1.5}, "`temporal_filters`"),
        ("musicnn", {"dropout": 2}, "`dropout`"),
        ("musicnn", {"weights": True}, r"wheel of musicnn must be given as a path.*True"),
    ],
)
def test_refuses_options_out_of_range(backbone, options, message):
    with pytest.raises(ModelError, match=message):
        backbones.get(backbone)(keras.Input((None, MELS)), **options)


@pytest.mark.parametrize(
    "backbone", ["conv_attention", "short_chunk_res", "musicnn", "ResNet50"]
)
def test_refuses_embeddings_without_time(backbone):
    with pytest.raises(ModelError, match="takes a log-mel spectrogram"):
        backbones.get(backbone)(keras.Input((128,)))


class TestAugmentedSpectrogram:
    @pytest.mark.parametrize(
        ("argument", "options"),
        [
            ("spec_augment", {"time_width": 0.5, "seed": 1}),
            ("mix_style", {"probability": 1.0, "seed": 1}),
        ],
    )
    def test_changes_in_training_only(self, argument, options):
        keras.utils.set_random_seed(0)
        plain = make("conv", "gmp")
        changed = make("conv", "gmp", **{argument: options})
        changed.set_weights(
            [*plain.get_weights(), *changed.get_weights()[len(plain.weights) :]]
        )
        inputs = log_mels()
        for level, values in plain(inputs, training=False).items():
            np.testing.assert_array_equal(changed(inputs, training=False)[level], values)
        given = changed.get_layer(argument)
        assert given.input.shape == (None, None, MELS)
        assert np.any(given(inputs, training=True) != inputs)

    def test_colours_before_it_masks(self):
        model = make("conv", "gmp", mix_style={}, spec_augment={})
        names = [layer.name for layer in model.layers]
        assert names.index("mix_style") < names.index("spec_augment")

    def test_refuses(self):
        with pytest.raises(ModelError, match=r"`mix_style` cannot be used.*strength"):
            make("conv", mix_style={"strength": 2})
        with pytest.raises(ModelError, match="`spec_augment` must be a dict"):
            make("conv", spec_augment=["time_masks"])
        with pytest.raises(ModelError, match=r"`spec_augment` cannot be used.*masks"):
            make("conv", spec_augment={"masks": 3})
        with pytest.raises(ModelError, match=r"`spec_augment` cannot be used.*time_masks"):
            make("conv", spec_augment={"time_masks": -3})
        with pytest.raises(ModelError, match="needs input='waveform'"):
            build_model(
                TAXONOMY,
                "mlp",
                input="embedding",
                input_shape=(8,),
                spec_augment={"time_masks": 1},
            )


@pytest.fixture(scope="module")
def benchmark():
    path = ROOT / "benchmarks" / "backbones.py"
    spec = importlib.util.spec_from_file_location("benchmark_backbones", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestBenchmark:
    @pytest.mark.parametrize(
        ("layer", "shape", "expected"),
        [
            (keras.layers.Dense(7), (5, 3), 5 * 3 * 7),
            (keras.layers.Conv2D(4, (5, 3), strides=2), (11, 9, 6), (4 * 4) * 4 * 6 * 5 * 3),
            (keras.layers.Conv1D(4, 5, padding="same"), (11, 6), 11 * 4 * 6 * 5),
            (keras.layers.DepthwiseConv2D(3), (8, 8, 6), 6 * 6 * 6 * 9),
            (keras.layers.EinsumDense("btd,dhk->bthk", (None, 2, 4)), (5, 3), 5 * 3 * 8),
            (keras.layers.ReLU(), (5, 3), 0),
        ],
    )
    def test_multiply_adds_of_known_layers(self, benchmark, layer, shape, expected):
        given = keras.Input(shape, batch_size=1)
        model = keras.Model(given, layer(given))
        spec = tf.TensorSpec((1, *shape), "float32")
        assert benchmark.multiply_adds(tf.function(model), spec) == expected

    def test_multiply_adds_of_products_with_unnamed_axes(self, benchmark):
        kernel = np.ones((3, 2, 4), "float32")
        product = tf.function(lambda x: tf.einsum("...d,dhk->...hk", x, kernel))
        spec = tf.TensorSpec((6, 5, 3), "float32")
        assert benchmark.multiply_adds(product, spec) == 6 * 5 * 3 * 2 * 4

    def test_the_document_shows_the_results(self, benchmark):
        report = json.loads(benchmark.RESULTS.read_text("utf-8"))
        document = benchmark.DOCUMENT.read_text("utf-8")
        assert document == benchmark.with_table(document, report)
        rows = [row["backbone"] for row in report["results"]]
        assert rows == list(benchmark.BACKBONES)
        for row in report["results"]:
            assert re.search(rf"^\| `{row['backbone']}` \|.*\d", document, re.M)
