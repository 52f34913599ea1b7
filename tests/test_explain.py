"""Attention maps as arrays and as a picture; scores over time."""

import keras
import numpy as np
import pytest

from hmic_keras import Taxonomy, build_model, load_model
from hmic_keras.config import AudioConfig
from hmic_keras.data import demo_clips, load_audio
from hmic_keras.errors import ModelError
from hmic_keras.explain import attention_maps, map_classes, plot_attention, time_scores

# `voice` is childless and stands between the others; `harp` has two parents; `brass` of the
# middle level lies next to a fine class that skips it.
TAXONOMY = Taxonomy.from_dict(
    {
        "levels": ["fine", "middle", "coarse"],
        "classes": {
            "fine": ["horn", "violin", "gong", "harp"],
            "middle": ["bowed", "voice", "plucked", "brass"],
            "coarse": ["tonal", "noisy"],
        },
        "parents": {
            "fine": {
                "horn": ["brass"],
                "violin": ["bowed"],
                "harp": ["bowed", "plucked"],
                "gong": ["coarse:noisy"],
            },
            "middle": {"bowed": ["tonal"], "plucked": ["tonal"], "brass": ["tonal"]},
        },
    }
)


def make(method="f2ca", taxonomy=TAXONOMY):
    keras.utils.set_random_seed(0)
    return build_model(
        taxonomy, backbone="mlp", method=method, input="embedding", input_shape=(6, 8)
    )


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).normal(0, 3, (5, 6, 8)).astype("float32")


def test_maps_explain_the_scores_exactly(model, inputs):
    maps = attention_maps(model, inputs)
    assert maps.dtype == np.float32
    assert maps.shape == (5, 4, 4)
    scores = model(inputs)
    parents = [0, 2, 3]
    explained = keras.ops.sum(maps * scores["fine"][:, None], axis=-1)
    np.testing.assert_array_equal(
        np.asarray(explained)[:, parents], scores["middle"].numpy()[:, parents]
    )
    np.testing.assert_allclose(maps[:, parents].sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(maps[:, 1], 0)


def test_maps_equal_what_the_layer_returns(model, inputs):
    layer = model.get_layer("middle_attention")
    _, expected = keras.Model(model.input, layer.output)(inputs)
    np.testing.assert_array_equal(attention_maps(model, inputs)[:, [0, 2, 3]], expected)
    assert np.ptp(expected, axis=0).max() > 1e-3


def test_a_coarser_level_has_maps_over_the_next_finer_and_skipped_ones(model, inputs):
    rows, columns = map_classes(TAXONOMY, "coarse")
    assert rows == ("tonal", "noisy")
    assert columns == (*TAXONOMY.classes("middle"), *TAXONOMY.classes("fine"))
    maps = attention_maps(model, inputs, "coarse")
    assert maps.shape == (5, 2, 8)
    scores = model(inputs)
    below = np.concatenate([scores["middle"], scores["fine"]], axis=1)
    explained = (maps * below[:, None]).sum(axis=-1)
    np.testing.assert_allclose(explained, scores["coarse"], atol=1e-6)


def test_default_level_is_the_one_above_the_finest():
    assert map_classes(TAXONOMY) == (TAXONOMY.classes("middle"), TAXONOMY.classes("fine"))


@pytest.mark.parametrize("method", ["gmp", "multitask"])
def test_refuses_a_model_that_learns_no_maps(method, inputs):
    with pytest.raises(ModelError, match=f"only method='f2ca'.*method='{method}'"):
        attention_maps(make(method), inputs)


def test_refuses_an_unknown_or_finest_level(model, inputs):
    for level in ("fine", "corse"):
        with pytest.raises(ModelError, match=rf"\['middle', 'coarse'\].*'{level}'"):
            attention_maps(model, inputs, level)


def test_refuses_a_single_level(inputs):
    single = Taxonomy.from_dict({"levels": ["fine"], "classes": {"fine": ["a"]}, "parents": {}})
    with pytest.raises(ModelError, match="one level only"):
        attention_maps(make(taxonomy=single), inputs)
    with pytest.raises(ModelError, match="one level only"):
        map_classes(single)


@pytest.mark.parametrize("level", ["middle", "coarse"])
def test_plot_shows_every_weight_under_its_names(model, inputs, level, tmp_path):
    maps = attention_maps(model, inputs, level)
    figure = plot_attention(maps, TAXONOMY, level, title="one clip")
    axes = figure.axes[0]
    rows, columns = map_classes(TAXONOMY, level)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(rows)
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert sorted(shown) == sorted(columns)
    order = [columns.index(name) for name in shown]
    (image,) = axes.images
    np.testing.assert_allclose(image.get_array(), maps.mean(axis=0)[:, order], atol=1e-6)
    framed = {
        (rows[round(frame.get_y() + 0.5)], shown[round(frame.get_x() + 0.5)])
        for frame in axes.patches
    }
    assert framed == {(p, name) for p in rows for _, name in TAXONOMY.children(p, level)}
    assert axes.get_title() == "one clip"
    figure.savefig(tmp_path / "maps.png")
    assert (tmp_path / "maps.png").stat().st_size > 5000


def test_children_of_a_family_stand_side_by_side():
    openmic = Taxonomy.load("openmic")
    rows, columns = map_classes(openmic)
    figure = plot_attention(openmic.mask("coarse", "fine").astype(float), openmic)
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert sorted(shown) == sorted(columns)
    families = [openmic.parents(name, "fine")[0][1] for name in shown]
    assert families == sorted(families, key=rows.index)


class TestTimeScores:
    """Scores around each moment of a clip."""

    AUDIO = AudioConfig(n_fft=512, window_length=400, n_mels=16, hop_length=400)

    def make(self, method="f2ca", **kwargs):
        keras.utils.set_random_seed(0)
        options = {"audio": self.AUDIO, "backbone_options": {"width": 4}, **kwargs}
        return build_model(TAXONOMY, method=method, **options)

    def clip(self, samples, seed=0):
        return np.random.default_rng(seed).normal(0, 0.2, samples).astype("float32")

    def test_what_starts_late_scores_late(self):
        model, clips = load_model("hmic-demo"), demo_clips("test")
        heard = 0
        for path in clips.paths[:8]:
            clip = load_audio(path)
            scores = model(clip[np.newaxis])["fine"][0].numpy()
            best = int(scores.argmax())
            if scores[best] < 0.6:
                continue
            heard += 1
            late = np.concatenate([np.zeros_like(clip), clip])
            seconds, over_time = time_scores(model, late)
            start = len(clip) / 16000
            silent = over_time["fine"][seconds < start - 0.5, best]
            sounding = over_time["fine"][seconds > start + 0.5, best]
            assert silent.max() < 0.5 < sounding.max()
            assert silent.mean() < 0.5 * sounding.mean()
        assert heard >= 2

    @pytest.mark.parametrize("method", ["multitask", "gmp", "f2ca"])
    def test_a_window_as_long_as_the_clip_scores_as_the_clip(self, method):
        model = self.make(method)
        clip = self.clip(24000)
        seconds, scores = time_scores(model, clip, window_seconds=99)
        assert list(scores) == list(TAXONOMY.levels)
        for level, expected in model(clip[np.newaxis]).items():
            assert scores[level].dtype == np.float32
            assert scores[level].shape == (len(seconds), expected.shape[-1])
            np.testing.assert_allclose(scores[level], np.tile(expected, (len(seconds), 1)))

    @pytest.mark.parametrize("window", [0.1, 0.6, 1.0])
    def test_each_step_scores_the_window_around_it(self, window):
        model = self.make("multitask")
        clip = self.clip(64000)
        seconds, scores = time_scores(model, clip, window_seconds=window)
        sequence = model.get_layer("time_mean").input
        found = keras.Model(model.input, sequence)(clip[np.newaxis])[0].numpy()
        steps = len(found)
        # Steps of 8 frames of 25 ms; 161 frames.
        np.testing.assert_allclose(seconds, np.arange(21) * 0.2 + 3.5 * 0.025)
        width = max(1, round(window / 0.2))
        kernel, bias = (np.asarray(w) for w in model.get_layer("fine_logits").weights)
        for step in range(steps):
            start = min(max(step - (width - 1) // 2, 0), steps - width)
            part = found[start : start + width]
            logits = np.concatenate([part.mean(axis=0), part.max(axis=0)]) @ kernel + bias
            expected = 1 / (1 + np.exp(-logits))
            np.testing.assert_allclose(scores["fine"][step], expected, atol=1e-6)
        assert np.ptp(scores["fine"], axis=0).max() > 1e-3

    def test_takes_spectrograms_and_models_of_a_fixed_length(self):
        waveforms = self.make("gmp")
        fixed = self.make("gmp", input_shape=(32000,))
        fixed.set_weights(waveforms.get_weights())
        spectrograms = self.make("gmp", input="log_mel", input_shape=(None, 16))
        spectrograms.set_weights(waveforms.get_weights())
        clip = self.clip(32000)
        expected_times, expected = time_scores(waveforms, clip)
        log_mel = waveforms.get_layer("log_mel_spectrogram")(clip[np.newaxis])[0]
        for model, given in ((fixed, clip), (spectrograms, log_mel)):
            seconds, scores = time_scores(model, given)
            np.testing.assert_array_equal(seconds, expected_times)
            for level in expected:
                np.testing.assert_allclose(scores[level], expected[level], atol=1e-6)

    def test_refuses(self, inputs):
        with pytest.raises(ModelError, match=r"Received a model with input='embedding'"):
            time_scores(make(), inputs[0])
        with pytest.raises(ModelError, match=r"one backbone for all levels.*'independent'"):
            time_scores(make("independent"), inputs[0])
        model = self.make("gmp")
        clip = self.clip(16000)
        with pytest.raises(ModelError, match=r"`clip` must be one input.*\(1, 16000\)"):
            time_scores(model, clip[np.newaxis])
        with pytest.raises(ModelError, match="all numbers finite"):
            time_scores(model, clip * np.nan)
        for window in (0, -1.0, float("nan")):
            with pytest.raises(ModelError, match="`window_seconds` must be positive"):
                time_scores(model, clip, window_seconds=window)
