"""`build_model` and the model it returns, for every method, input and shape of taxonomy."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tflite_models import convert, run

import hmic_keras
from hmic_keras import Taxonomy, build_model
from hmic_keras.config import AudioConfig
from hmic_keras.errors import LabelError, ModelError
from hmic_keras.hierarchical_model import HierarchicalModel
from hmic_keras.losses import MaskedBinaryCrossentropy
from hmic_keras.streaming_metrics import MeanAveragePrecision

METHODS = ("multitask", "gmp", "f2ca")
OTHERS = ("c_hmcnn", "chorus", "hmcn_f", "independent", "top_down")
AUDIO = AudioConfig(n_fft=512, window_length=400, n_mels=16, hop_length=400)
INPUTS = {
    "waveform": ({"audio": AUDIO, "backbone_options": {"width": 4}}, (16000,)),
    "log_mel": (
        {"input": "log_mel", "audio": AUDIO, "backbone_options": {"width": 4}},
        (40, 16),
    ),
    "embedding": ({"backbone": "mlp", "input": "embedding", "input_shape": (128,)}, (128,)),
    "embeddings": (
        {"backbone": "mlp", "input": "embedding", "input_shape": (10, 128)},
        (10, 128),
    ),
}
TWO_LEVELS = Taxonomy.from_dict(
    {"strings": ["violin", "cello"], "brass": ["trumpet"], "voice": []}, name="two"
)
TAXONOMIES = {
    "two_levels": TWO_LEVELS,
    "one_level": Taxonomy.from_dict(
        {"levels": ["fine"], "classes": {"fine": ["a", "b"]}, "parents": {}}
    ),
    "dag": Taxonomy.from_dict({"strings": ["violin", "harp"], "plucked": ["harp", "guitar"]}),
    "one_to_one": Taxonomy.from_dict({"voice": ["voice"]}),
    "three_levels": Taxonomy.from_dict(
        {
            "strings": {"bowed": ["violin", "cello"], "plucked": ["harp"]},
            "wind": {"brass": ["horn"]},
        }
    ),
    "skip_links": Taxonomy.from_dict(
        {
            "levels": ["fine", "middle", "coarse"],
            "classes": {
                "fine": ["violin", "gong", "horn"],
                "middle": ["bowed", "brass"],
                "coarse": ["tonal", "noisy"],
            },
            "parents": {
                "fine": {"violin": ["bowed"], "horn": ["brass"], "gong": ["coarse:noisy"]},
                "middle": {"bowed": ["tonal"], "brass": ["tonal", "noisy"]},
            },
        }
    ),
    "uneven": Taxonomy.from_dict(
        {
            "levels": ["fine", "middle", "coarse"],
            "classes": {
                "fine": ["violin", "drum", "stray"],
                "middle": ["bowed", "empty"],
                "coarse": ["silent", "strings", "beaten"],
            },
            "parents": {
                "fine": {"violin": ["bowed"], "drum": ["coarse:beaten"]},
                "middle": {"bowed": ["strings"]},
            },
        }
    ),
    "childless_levels": Taxonomy.from_dict(
        {
            "levels": ["fine", "coarse"],
            "classes": {"fine": ["a", "b"], "coarse": ["c", "d", "e"]},
            "parents": {},
        }
    ),
}


def small_model(taxonomy=TWO_LEVELS, method="gmp", size=8, **kwargs):
    options = {"backbone": "mlp", "input": "embedding", "input_shape": (size,), **kwargs}
    return build_model(taxonomy, method=method, **options)


def batch(taxonomy=TWO_LEVELS, shape=(8,), rows=12, seed=0, observed=0.6):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(0, 0.3, (rows, *shape)).astype("float32")
    labels = {}
    for level in taxonomy.levels:
        values = rng.integers(0, 2, (rows, len(taxonomy.classes(level)))).astype("float32")
        values[rng.random(values.shape) > observed] = -1
        labels[level] = values
    return inputs, labels


def cross_entropy(labels, scores):
    """Mean over observed labels, level by level, in double precision."""
    losses = {}
    for level, values in labels.items():
        known = values >= 0
        y, p = values[known], scores[level][known].astype("float64")
        losses[level] = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    return losses


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        *((method, kind) for method in METHODS for kind in INPUTS),
        *((method, kind) for method in OTHERS for kind in ("log_mel", "embedding")),
    ],
)
def test_builds_fits_predicts_saves_and_loads(method, kind, tmp_path):
    keras.utils.set_random_seed(0)
    options, shape = INPUTS[kind]
    model = build_model(TWO_LEVELS, method=method, **options)
    inputs, labels = batch(shape=shape)
    # Eagerly, since tracing takes most of the time; other tests run every method in a graph.
    metrics = ["accuracy", "AUC"]
    model.compile("adam", "binary_crossentropy", metrics=metrics, run_eagerly=True)
    history = model.fit(inputs, labels, epochs=1, batch_size=6, verbose=0).history
    names = {f"{level}_{name}" for level in labels for name in ("loss", "accuracy", "auc")}
    assert set(history) == {"loss", *names}
    assert all(np.isfinite(values).all() for values in history.values())
    scores = model.predict(inputs, verbose=0)
    assert list(scores) == ["fine", "coarse"]
    for level, values in scores.items():
        assert values.dtype == np.float32
        assert values.shape == labels[level].shape
        assert 0 <= values.min() < values.max() <= 1
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert isinstance(loaded, HierarchicalModel)
    assert loaded.taxonomy == TWO_LEVELS
    assert loaded.manifest == model.manifest
    again = loaded(inputs)
    assert list(again) == ["fine", "coarse"]
    for level in scores:
        np.testing.assert_allclose(again[level], scores[level], atol=1e-6)


@pytest.mark.parametrize("method", [*METHODS, "independent"])
def test_takes_any_length_from_a_second(method):
    model = build_model(TWO_LEVELS, method=method, **INPUTS["waveform"][0])
    for samples in (16000, 16001, 23456, 64000):
        waveforms, _ = batch(shape=(samples,), rows=2)
        scores = model(waveforms)
        assert {level: tuple(s.shape) for level, s in scores.items()} == {
            "fine": (2, 3),
            "coarse": (2, 3),
        }
        assert np.isfinite(np.concatenate([s.numpy() for s in scores.values()])).all()


@pytest.mark.slow
def test_loads_where_only_the_layers_are_imported(tmp_path):
    waveforms, labels = batch(shape=(16000,), rows=4)
    expected = {}
    for method in METHODS:
        options = dict(INPUTS["waveform"][0])
        if method == "f2ca":
            options["method_options"] = {"hierarchy_prior": True, "num_heads": 2}
        model = build_model(TWO_LEVELS, method=method, **options)
        metrics = ["accuracy", MeanAveragePrecision(3)]
        eager = method != "f2ca"
        model.compile("adam", "binary_crossentropy", metrics=metrics, run_eagerly=eager)
        model.fit(waveforms, labels, verbose=0)
        model.save(tmp_path / f"{method}.keras")
        scores = model.predict(waveforms, verbose=0)
        expected |= {f"{method}_{level}": values for level, values in scores.items()}
    expected["loss"] = model.evaluate(waveforms, labels, verbose=0)[0]
    np.savez(tmp_path / "data.npz", waveforms=waveforms, **labels)
    code = f"""
import keras, numpy as np
import hmic_keras.layers
data = np.load("data.npz")
labels = {{level: data[level] for level in ("fine", "coarse")}}
found = {{}}
for method in {METHODS}:
    model = keras.saving.load_model(method + ".keras", safe_mode=True)
    scores = model.predict(data["waveforms"], verbose=0)
    found |= {{method + "_" + level: values for level, values in scores.items()}}
found["loss"] = model.evaluate(data["waveforms"], labels, verbose=0)[0]
np.savez("found.npz", **found)
"""
    path = str(Path(hmic_keras.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    found = np.load(tmp_path / "found.npz")
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


class TestHierarchy:
    """What a method promises about the levels, on every shape of taxonomy."""

    @pytest.fixture(params=TAXONOMIES)
    def taxonomy(self, request):
        return TAXONOMIES[request.param]

    def scores(self, taxonomy, method, **options):
        keras.utils.set_random_seed(3)
        model = small_model(taxonomy, method, **options)
        # Far apart, so that the scores of clips and classes differ.
        inputs, _ = batch(taxonomy, rows=16)
        scores = {level: s.numpy() for level, s in model(inputs * 20).items()}
        assert list(scores) == list(taxonomy.levels)
        for level in taxonomy.levels:
            assert scores[level].shape == (16, len(taxonomy.classes(level)))
            assert np.isfinite(scores[level]).all()
            assert np.ptp(scores[level], axis=0).min() > 0.01
        return model, inputs * 20, scores

    def test_multitask_ties_no_levels(self, taxonomy):
        self.scores(taxonomy, "multitask")

    def test_gmp_is_the_highest_child(self, taxonomy):
        _, _, scores = self.scores(taxonomy, "gmp")
        for level in taxonomy.levels[1:]:
            for column, name in enumerate(taxonomy.classes(level)):
                children = taxonomy.children(name, level)
                below = [scores[at][:, taxonomy.index(at)[child]] for at, child in children]
                if below:
                    np.testing.assert_array_equal(
                        scores[level][:, column], np.max(below, axis=0)
                    )
        for i, low in enumerate(taxonomy.levels):
            for high in taxonomy.levels[i + 1 :]:
                for parent, child in taxonomy.links(high, low):
                    assert (scores[high][:, parent] >= scores[low][:, child]).all()

    def test_a_childless_class_of_gmp_is_a_classifier_of_its_own(self, taxonomy):
        model, inputs, scores = self.scores(taxonomy, "gmp")
        finest = taxonomy.levels[0]
        kernel, bias = model.get_layer(f"{finest}_logits").weights
        kernel.assign(kernel * 0)
        bias.assign(bias * 0 - 9)
        after = {level: s.numpy() for level, s in model(inputs).items()}
        for level in taxonomy.levels[1:]:
            for column, name in enumerate(taxonomy.classes(level)):
                if not taxonomy.children(name, level):
                    before = scores[level][:, column]
                    np.testing.assert_array_equal(after[level][:, column], before)
                    others = [s for at, s in scores.items() if at != level]
                    assert all(not np.allclose(before[:, None], other) for other in others)

    @pytest.mark.parametrize("prior", [False, True])
    def test_f2ca_is_the_children_weighted_by_the_maps(self, taxonomy, prior):
        options = {"method_options": {"hierarchy_prior": prior}}
        model, inputs, scores = self.scores(taxonomy, "f2ca", **options)
        for level in taxonomy.levels[1:]:
            parents, children = [], []
            for name in taxonomy.classes(level):
                if taxonomy.children(name, level):
                    parents.append(taxonomy.index(level)[name])
            for low in taxonomy.levels[: taxonomy.levels.index(level)][::-1]:
                if len(taxonomy.direct_links(level, low)):
                    children.append(scores[low])
            if not parents:
                assert f"{level}_attention" not in {layer.name for layer in model.layers}
                continue
            layer = model.get_layer(f"{level}_attention")
            maps = keras.Model(model.input, layer.output[1])(inputs).numpy()
            joined = np.concatenate(children, axis=1)
            assert maps.shape == (16, len(parents), joined.shape[1])
            expected = np.sum(maps * joined[:, None], axis=-1)
            np.testing.assert_allclose(scores[level][:, parents], expected, atol=1e-6)
            exact = keras.ops.sum(maps * joined[:, None], axis=-1)
            np.testing.assert_array_equal(scores[level][:, parents], exact)


@pytest.mark.parametrize(
    ("taxonomy", "method"),
    [
        *((name, "f2ca") for name in TAXONOMIES),
        *(("uneven", method) for method in ("gmp", "multitask", *OTHERS)),
    ],
)
def test_every_weight_learns(taxonomy, method):
    taxonomy = TAXONOMIES[taxonomy]
    keras.utils.set_random_seed(0)
    model = small_model(taxonomy, method, backbone_options={"dropout": 0.0})
    inputs, labels = batch(taxonomy, rows=8)
    before = [weight.numpy() for weight in model.trainable_weights]
    model.compile("adam", "binary_crossentropy", run_eagerly=True)
    model.train_on_batch(inputs, labels)
    changed = [
        not np.array_equal(old, new.numpy())
        for old, new in zip(before, model.trainable_weights, strict=True)
    ]
    # A map over one child is always 1, so nothing can teach it.
    if taxonomy is not TAXONOMIES["one_to_one"]:
        assert all(changed)
    else:
        assert any(changed)


class TestUnobservedLabels:
    """A label of -1 reaches neither a loss nor a metric, however they are given."""

    LOSSES = (
        "binary_crossentropy",
        keras.losses.BinaryCrossentropy(),
        keras.losses.binary_crossentropy,
        MaskedBinaryCrossentropy(),
        {"fine": "binary_crossentropy", "coarse": keras.losses.BinaryCrossentropy()},
    )

    @pytest.mark.parametrize("loss", LOSSES, ids=range(len(LOSSES)))
    def test_the_loss_is_that_of_the_observed_labels(self, loss):
        keras.utils.set_random_seed(0)
        model = small_model(backbone_options={"dropout": 0.0})
        inputs, labels = batch(rows=120, observed=0.1)
        assert np.mean(labels["fine"] == -1) > 0.85
        eager = loss != "binary_crossentropy"
        adam = keras.optimizers.Adam(0.05)
        model.compile(adam, loss, metrics=["accuracy"], run_eagerly=eager)
        history = model.fit(inputs, labels, epochs=4, batch_size=60, verbose=0).history
        assert all(min(values) >= 0 for values in history.values())
        found = model.evaluate(inputs, labels, batch_size=200, verbose=0, return_dict=True)
        scores = {level: values.numpy() for level, values in model(inputs).items()}
        expected = cross_entropy(labels, scores)
        for level, value in expected.items():
            assert found[f"{level}_loss"] == pytest.approx(value, rel=1e-4)
            known = labels[level] >= 0
            right = (scores[level] > 0.5) == (labels[level] > 0.5)
            assert found[f"{level}_accuracy"] == pytest.approx(right[known].mean(), abs=1e-6)
        assert found["loss"] == pytest.approx(sum(expected.values()), rel=1e-4)

    def test_training_does_not_depend_on_how_unobserved_is_written(self):
        trained = []
        for missing in (-1.0, np.nan, -5.0):
            keras.utils.set_random_seed(0)
            model = small_model(method="f2ca")
            inputs, labels = batch(observed=0.3)
            labels = {k: np.where(v < 0, missing, v) for k, v in labels.items()}
            model.compile("adam", "binary_crossentropy", metrics=["AUC"], run_eagerly=True)
            model.fit(inputs, labels, epochs=2, verbose=0, shuffle=False)
            trained.append(np.concatenate([w.numpy().ravel() for w in model.weights]))
        np.testing.assert_array_equal(trained[1], trained[0])
        np.testing.assert_array_equal(trained[2], trained[0])

    def test_a_level_without_any_observed_label_learns_nothing(self):
        model = small_model(method="multitask")
        inputs, labels = batch()
        labels["coarse"][:] = -1
        model.compile("sgd", "binary_crossentropy", run_eagerly=True)
        layer = model.get_layer("coarse_logits")
        before = layer.get_weights()
        history = model.fit(inputs, labels, verbose=0).history
        assert history["coarse_loss"] == [0]
        for old, new in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(new, old)

    def test_weights_of_clips(self):
        model = small_model()
        inputs, labels = batch()
        metrics = ["accuracy"]
        model.compile(None, "binary_crossentropy", weighted_metrics=metrics, run_eagerly=True)
        keep = np.arange(len(inputs)) < 5
        found = model.evaluate(
            inputs, labels, sample_weight=keep.astype("float32"), verbose=0, return_dict=True
        )
        some = {level: values[keep] for level, values in labels.items()}
        expected = model.evaluate(inputs[keep], some, verbose=0, return_dict=True)
        assert found == pytest.approx(expected, rel=1e-5)

    def test_weights_of_levels_are_by_name(self):
        model = small_model()
        inputs, labels = batch()
        model.compile("adam", "mse", loss_weights={"coarse": 0.25}, run_eagerly=True)
        found = model.evaluate(inputs, labels, verbose=0, return_dict=True)
        expected = found["fine_loss"] + 0.25 * found["coarse_loss"]
        assert found["loss"] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"loss": "categorical_crossentropy"}, "every class by itself"),
            ({"loss": keras.losses.CategoricalCrossentropy()}, "every class by itself"),
            ({"loss": {"fine": "kl_divergence"}}, "every class by itself"),
            ({"loss": ["mse", "mse"]}, r"not a list by position.*\['fine', 'coarse'\]"),
            ({"loss": {"fine": ["mse"], "coarse": ["mse"]}}, "not a list by position"),
            ({"loss": {"fine": "mse", "corse": "mse"}}, r"unknown level\(s\) \['corse'\]"),
            ({"loss": "mse", "loss_weights": [1.0, 0.5]}, "`loss_weights`.*by level"),
            ({"loss": "mse", "loss_weights": {"corse": 1.0}}, r"\['corse'\]"),
            ({"loss": "mse", "metrics": ["categorical_accuracy"]}, "every label by itself"),
            ({"loss": "mse", "metrics": {"fine": "f1_score"}}, "every label by itself"),
            ({"loss": "mse", "metrics": {"corse": "auc"}}, r"\['corse'\]"),
            ({"loss": "mse", "weighted_metrics": ["f1_score"]}, "every label by itself"),
        ],
    )
    def test_compile_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            small_model().compile("adam", **arguments)

    def test_metrics_by_position_are_refused_before_the_first_step(self):
        model = small_model()
        inputs, labels = batch()
        model.compile("adam", "mse", metrics=[["accuracy"], ["AUC"]], run_eagerly=True)
        with pytest.raises(ValueError, match=r"Could not interpret metric.*\['accuracy'\]"):
            model.fit(inputs, labels, verbose=0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda y: [y["fine"], y["coarse"]], "dict by level.*by position"),
            (lambda y: y["fine"], "dict by level"),
            (lambda y: {"fine": y["fine"]}, r"each level with a loss.*\['fine'\]"),
            (lambda y: {**y, "corse": y["fine"]}, "keyed by the levels.*'corse'"),
        ],
    )
    def test_labels_are_refused_unless_by_level(self, change, message):
        model = small_model()
        inputs, labels = batch()
        model.compile("adam", "binary_crossentropy")
        for use in (model.fit, model.evaluate):
            with pytest.raises(LabelError, match=message):
                use(inputs, change(labels), verbose=0)

    def test_labels_of_another_width_are_refused(self):
        model = small_model()
        inputs, labels = batch()
        model.compile("adam", "mse")
        with pytest.raises(ValueError, match="Labels must have the shape of the predictions"):
            model.fit(inputs, {**labels, "fine": labels["fine"][:, :1]}, verbose=0)

    def test_a_level_may_go_without_a_loss(self):
        model = small_model(TAXONOMIES["dag"])
        inputs, labels = batch(TAXONOMIES["dag"])
        for loss, y in (
            ({"fine": "mse", "coarse": None}, labels),
            ({"fine": "mse"}, {"fine": labels["fine"]}),
        ):
            model.compile("adam", loss, run_eagerly=True)
            value = model.train_on_batch(inputs, y)
            assert np.isfinite(value).all()

    def test_losses_and_metrics_of_the_users_own_see_the_labels_as_they_are(self):
        seen = []

        def own(y_true, y_pred):
            seen.append(y_true)
            return keras.ops.mean(keras.ops.abs(y_true + 1) * y_pred, axis=-1)

        model = small_model()
        inputs, labels = batch()
        labels = {level: np.full_like(values, -1) for level, values in labels.items()}
        model.compile("adam", own, run_eagerly=True)
        assert model.evaluate(inputs, labels, verbose=0) == [0, 0, 0]
        assert seen


@pytest.mark.parametrize(
    ("method", "kind", "run_eagerly"),
    [("f2ca", "waveform", True), ("gmp", "embedding", False)],
)
def test_the_same_seed_repeats_a_run(method, kind, run_eagerly):
    options, shape = INPUTS[kind]
    inputs, labels = batch(shape=shape)

    def build(seed):
        keras.utils.set_random_seed(seed)
        return build_model(TWO_LEVELS, method=method, **options)

    runs = []
    for _ in range(2):
        model = build(5)
        start = model.get_weights()
        model.compile("sgd", "binary_crossentropy", run_eagerly=run_eagerly)
        model.fit(inputs, labels, batch_size=4, epochs=2, verbose=0)
        runs.append(model.get_weights())
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
    other = build(6).get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(start, other, strict=True))


def test_a_loaded_model_goes_on_training_where_it_stopped(tmp_path):
    keras.utils.set_random_seed(0)
    model = small_model(method="f2ca", backbone_options={"dropout": 0.0})
    inputs, labels = batch()
    model.compile(
        keras.optimizers.AdamW(0.01),
        "binary_crossentropy",
        loss_weights={"coarse": 0.5},
        metrics={"fine": ["accuracy", MeanAveragePrecision(3)], "coarse": "auc"},
        run_eagerly=True,
    )
    model.fit(inputs, labels, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 3
    for old, new in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(new.numpy(), old.numpy())
    histories = [
        each.fit(inputs, labels, epochs=2, verbose=0, shuffle=False).history
        for each in (model, loaded)
    ]
    assert histories[0] == histories[1]
    assert {"fine_accuracy", "fine_map", "coarse_auc"} < set(histories[1])
    for old, new in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(new.numpy(), old.numpy())


class TestFunctional:
    @pytest.fixture
    def model(self):
        return small_model(method="f2ca")

    def test_is_a_functional_model(self, model):
        assert isinstance(model, keras.Model)
        assert "Functional" in {cls.__name__ for cls in type(model).__mro__}
        assert not model.compiled
        inputs, _ = batch()
        hidden = keras.Model(model.inputs, model.get_layer("hidden1").output)
        assert hidden([inputs]).shape == (12, 256)
        (given,) = model.inputs
        assert given.name == "embedding"
        assert {k: tuple(v.shape) for k, v in model.output.items()} == {
            "fine": (None, 3),
            "coarse": (None, 3),
        }

    def test_can_be_a_layer_of_another_model(self, model):
        given = keras.Input((8,))
        outer = keras.Model(given, model(given)["coarse"])
        inputs, _ = batch()
        np.testing.assert_allclose(outer(inputs), model(inputs)["coarse"], atol=1e-7)

    def test_a_clone_answers_alike_and_says_that_it_lost_its_taxonomy(self, model):
        inputs, labels = batch()
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        for level, values in model(inputs).items():
            np.testing.assert_array_equal(clone(inputs)[level], values)
        with pytest.raises(ModelError, match="from_config"):
            _ = clone.taxonomy
        clone.compile("adam", "binary_crossentropy", run_eagerly=True)
        assert (
            clone.evaluate(inputs, {k: v * 0 - 1 for k, v in labels.items()}, verbose=0)[0] == 0
        )

    def test_a_copy_from_the_config_keeps_the_manifest(self, model):
        model.update_manifest(thresholds={"fine": [0.5, 0.4, 0.3]})
        copy = type(model).from_config(model.get_config())
        assert copy.manifest == model.manifest
        assert copy.taxonomy == TWO_LEVELS
        copy.update_manifest(thresholds={})
        assert model.manifest["thresholds"] == {"fine": [0.5, 0.4, 0.3]}

    def test_the_manifest_says_what_the_model_is(self):
        options = {"method_options": {"num_heads": 2}, "name": "mine"}
        model = small_model(method="f2ca", **options)
        assert model.name == "mine"
        manifest = model.manifest
        assert manifest["taxonomy_hash"] == TWO_LEVELS.hash
        assert manifest["class_order"] == {
            "fine": ["violin", "cello", "trumpet"],
            "coarse": ["strings", "brass", "voice"],
        }
        assert manifest["method"] == {"name": "f2ca", "options": {"num_heads": 2}}
        assert AudioConfig.from_dict(manifest["audio"]) == AudioConfig()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("method", [*METHODS, *OTHERS])
def test_mixed_precision_gives_full_precision_outputs(policy, method):
    waveforms, _ = batch(shape=(16000,), rows=2)
    # With 16 bands the last convolution strides by 2 over a width of 2, where TensorFlow 2.21
    # on processors with AMX answers noise in bfloat16.
    wider = AudioConfig(n_fft=512, window_length=400, n_mels=32, hop_length=400)
    options = {**INPUTS["waveform"][0], "audio": wider}
    keras.utils.set_random_seed(0)
    full = build_model(TWO_LEVELS, method=method, **options)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        half = build_model(TWO_LEVELS, method=method, **options)
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(full.get_weights())
    backbone = half.get_layer("fine_backbone") if method == "independent" else half
    assert backbone.get_layer("conv1").compute_dtype == policy[len("mixed_") :]
    expected = full(waveforms)
    for level, values in half(waveforms).items():
        assert keras.backend.standardize_dtype(values.dtype) == "float32"
        np.testing.assert_allclose(values, expected[level], atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gmp", "f2ca"])
def test_compiles_with_xla(method):
    options, shape = INPUTS["embeddings"]
    inputs, labels = batch(shape=shape)
    losses = []
    for how in ({"run_eagerly": True}, {"jit_compile": True}):
        keras.utils.set_random_seed(0)
        options = {**options, "backbone_options": {"dropout": 0.0}}
        model = build_model(TWO_LEVELS, method=method, **options)
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"], **how)
        history = model.fit(inputs, labels, epochs=2, verbose=0, shuffle=False).history
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gmp", "f2ca"])
def test_runs_in_tflite(method, tmp_path):
    options, shape = INPUTS["log_mel"]
    keras.utils.set_random_seed(0)
    model = build_model(TWO_LEVELS, method=method, input_shape=shape, **options)
    inputs, _ = batch(shape=shape, rows=3)
    found = run(convert(model, tmp_path), log_mel=inputs)
    for level, values in model(inputs).items():
        np.testing.assert_allclose(found[level], values, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"taxonomy": "openmic"}, r"Taxonomy.load\('openmic'\)"),
        ({"backbone": "resnet"}, r"one of \['conv', .*'MobileNetV3Small'.*'resnet'"),
        ({"method": "gpm"}, r"`method` must be one of \['c_hmcnn', .*'multitask'.*'gpm'"),
        ({"input": "mp3"}, "`input` must be one of.*'mp3'"),
        ({"input": "embedding", "backbone": "mlp"}, "`input_shape` is needed"),
        ({"input": "embedding", "input_shape": (128,)}, "'conv' takes a log-mel"),
        ({"input": "embedding", "input_shape": (None,)}, "`input_shape`"),
        ({"input": "embedding", "input_shape": (1, 2, 3)}, "1 or 2 axes"),
        ({"input": "embedding", "input_shape": "128"}, "`input_shape`"),
        ({"input": "waveform", "input_shape": (16000, 1)}, "1 axes"),
        ({"input": "log_mel", "input_shape": (50, -1)}, "positive integer"),
        ({"input": "log_mel", "input_shape": (50, None)}, "`input_shape`"),
        ({"audio": {"n_mels": 64}}, "`audio` must be an AudioConfig"),
        (
            {"backbone_options": {"depth": 3}},
            r"'conv' may hold \['blocks', 'dropout', 'squeeze', 'width'\].*'depth'",
        ),
        ({"backbone_options": ["width"]}, "`backbone_options` must be a dict"),
        ({"backbone_options": {"width": 0}}, "`width`.*0"),
        ({"method_options": {"num_heads": 2}}, r"'gmp' may hold \['own_scores'\].*'num_heads'"),
        ({"backbone": "mlp", "backbone_options": {"units": 256}}, "`units`.*256"),
        ({"backbone": "mlp", "backbone_options": {"units": ()}}, "`units`"),
        ({"backbone": "mlp", "backbone_options": {"units": (8, 0)}}, "`units`"),
    ],
)
def test_build_model_refuses(arguments, message):
    with pytest.raises(ModelError, match=message):
        build_model(**{"taxonomy": TWO_LEVELS, **arguments})
