"""What `compile` adds to Keras: augmentation of batches, and the consistency penalty."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmic_keras import Taxonomy, build_model, metrics
from hmic_keras.errors import LabelError, ModelError
from hmic_keras.losses import MaskedAsymmetricLoss, MaskedFocalLoss
from hmic_keras.streaming_metrics import BestF1, CalibrationError, MeanAveragePrecision, RocAuc

TAXONOMY = Taxonomy.from_dict(
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
)
FLAT = Taxonomy.from_dict({"levels": ["fine"], "classes": {"fine": ["a", "b"]}})
SIZE = 6


def model(method="multitask", taxonomy=TAXONOMY, **options):
    keras.utils.set_random_seed(0)
    return build_model(
        taxonomy,
        backbone="mlp",
        method=method,
        input="embedding",
        input_shape=(SIZE,),
        backbone_options={"units": (8,), "dropout": 0.0},
        **options,
    )


def batch(rows=12, taxonomy=TAXONOMY, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, SIZE)).astype("float32") * 4
    labels = {
        level: rng.choice([0, 1, -1], (rows, len(taxonomy.classes(level)))).astype("float32")
        for level in taxonomy.levels
    }
    return inputs, labels


def penalty(taxonomy, scores):
    """The mean squared hinge over clips and direct links, link by link."""
    hinges = [
        np.maximum(0, scores[child][:, j] - scores[parent][:, i])
        for at, child in enumerate(taxonomy.levels)
        for parent in taxonomy.levels[at + 1 :]
        for i, j in taxonomy.direct_links(parent, child)
    ]
    return np.mean(np.square(hinges))


class TestConsistency:
    def test_adds_the_weighted_penalty_and_reports_it(self):
        inputs, labels = batch()
        made = model()
        made.compile("sgd", "binary_crossentropy", consistency=2.5, run_eagerly=True)
        found = made.evaluate(inputs, labels, batch_size=12, verbose=0, return_dict=True)
        scores = {level: s.numpy() for level, s in made(inputs).items()}
        expected = penalty(TAXONOMY, scores)
        assert metrics.violation_rate(TAXONOMY, scores) > 0.2
        assert found["consistency"] == pytest.approx(expected, rel=1e-5)
        losses = sum(found[f"{level}_loss"] for level in TAXONOMY.levels)
        assert found["loss"] == pytest.approx(losses + 2.5 * expected, rel=1e-5)
        uneven = made.evaluate(inputs, labels, batch_size=5, verbose=0, return_dict=True)
        assert uneven["consistency"] == pytest.approx(expected, rel=1e-5)

    def test_is_in_the_logs_of_training_and_validation_and_starts_anew(self):
        inputs, labels = batch()
        made = model()
        options = {"metrics": ["accuracy"], "consistency": 1.0, "run_eagerly": True}
        made.compile("sgd", "mse", **options)
        data = (inputs, labels)
        history = made.fit(*data, epochs=2, verbose=0, validation_data=data).history
        assert {"consistency", "val_consistency", "fine_accuracy"} < set(history)
        assert history["consistency"][1] < history["consistency"][0]

    def test_makes_scores_obey_the_hierarchy(self):
        inputs, labels = batch(rows=40)
        found = {}
        for weight in (0.0, 30.0):
            made = model()
            adam = keras.optimizers.Adam(0.1)
            made.compile(adam, "mse", consistency=weight, run_eagerly=True)
            for _ in range(12):
                made.train_on_batch(inputs, labels)
            scores = {level: s.numpy() for level, s in made(inputs).items()}
            found[weight] = penalty(TAXONOMY, scores)
        assert found[30.0] < 0.1 * found[0.0]

    def test_learns_without_any_label(self):
        inputs, labels = batch()
        labels = {level: np.full_like(values, -1) for level, values in labels.items()}
        made = model()
        made.compile("adam", "binary_crossentropy", consistency=1.0, run_eagerly=True)
        before = {layer.name: layer.get_weights() for layer in made.layers}
        made.train_on_batch(inputs, labels)
        for level in TAXONOMY.levels:
            name = f"{level}_logits"
            changed = np.abs(made.get_layer(name).get_weights()[1] - before[name][1])
            assert (changed > 0).any()

    def test_changes_nothing_for_gmp(self):
        inputs, labels = batch()
        trained = []
        for weight in (0.0, 10.0):
            made = model("gmp")
            made.compile("adam", "mse", consistency=weight, run_eagerly=True)
            history = made.fit(inputs, labels, verbose=0, shuffle=False).history
            trained.append(made.get_weights())
        assert history["consistency"] == [0]
        for one, other in zip(*trained, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_is_saved_with_the_compiled_model(self, tmp_path):
        inputs, labels = batch()
        made = model()
        made.compile("adam", "focal", consistency=0.5, run_eagerly=True)
        made.fit(inputs, labels, verbose=0)
        made.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.get_compile_config() == made.get_compile_config()
        found, expected = (
            each.evaluate(inputs, labels, verbose=0, return_dict=True)
            for each in (loaded, made)
        )
        assert found == expected
        assert found["consistency"] > 0

    def test_a_config_of_an_earlier_version_has_none(self):
        made = model()
        made.compile("adam", "mse")
        config = made.get_compile_config()
        assert config.pop("consistency") == 0
        other = model()
        other.compile_from_config(config)
        assert "consistency" not in [metric.name for metric in other.metrics]

    def test_weights_fit_models_compiled_otherwise(self, tmp_path):
        inputs, labels = batch()
        path = tmp_path / "all.weights.h5"
        for weight in (0.0, 1.0):
            one, other = model(), model()
            one.compile("sgd", "mse", consistency=weight, run_eagerly=True)
            other.compile("sgd", "mse", consistency=1.0 - weight, run_eagerly=True)
            one.train_on_batch(inputs, labels)
            one.save_weights(path)
            other.load_weights(path)
            for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)

    def test_compiling_anew_takes_it_away(self):
        inputs, labels = batch()
        made = model()
        for weight in (1.0, 2.0, 0.0):
            made.compile("sgd", "mse", consistency=weight, run_eagerly=True)
            found = made.evaluate(inputs, labels, verbose=0, return_dict=True)
            assert ("consistency" in found) == (weight > 0)

    def test_a_taxonomy_without_links_has_none(self):
        inputs, labels = batch(taxonomy=FLAT)
        made = model(taxonomy=FLAT)
        made.compile("sgd", "mse", consistency=1.0, run_eagerly=True)
        found = made.evaluate(inputs, labels, verbose=0, return_dict=True)
        assert "consistency" not in found
        assert np.isfinite(found["loss"])

    @pytest.mark.parametrize("weight", [-0.1, np.nan, np.inf, "1", True, None])
    def test_a_weight_that_is_none_is_refused(self, weight):
        with pytest.raises(ModelError, match=r"`consistency` must be a finite number.*Receiv"):
            model().compile("adam", "mse", consistency=weight)

    def test_a_clone_without_its_taxonomy_says_so(self):
        clone = keras.models.clone_model(model())
        clone.compile("adam", "mse")
        with pytest.raises(ModelError, match="carries no taxonomy"):
            clone.compile("adam", "mse", consistency=1.0)


@keras.saving.register_keras_serializable(package="hmic_keras_tests")
class Recorder(keras.layers.Layer):
    """Sets inputs to `value` and labels to `label`, and counts its calls in the graph."""

    def __init__(self, value=0.5, label=None, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.value, self.label = value, label
        self.calls = self.add_weight(shape=(), dtype="int64", trainable=False, name="calls")
        self.seed = keras.random.SeedGenerator(1)

    def call(self, pair, training=False):
        inputs, labels = pair
        self.calls.assign_add(1 if training else 1000)
        noise = 1e-9 * keras.random.uniform(keras.ops.shape(inputs), seed=self.seed)
        if self.label is not None:
            labels = {level: keras.ops.full_like(y, self.label) for level, y in labels.items()}
        return keras.ops.full_like(inputs, self.value) + noise, labels


class TestAugmentation:
    @pytest.mark.parametrize(
        "how",
        [
            {"run_eagerly": True},
            {"jit_compile": False, "steps_per_execution": 3},
            pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
        ],
        ids=["eager", "several_steps", "xla"],
    )
    def test_changes_every_batch_of_training_and_no_other(self, how):
        inputs, labels = batch()
        augmentation = Recorder(0.5, label=1.0)
        made = model()
        start = made.get_weights()
        made.compile("sgd", "mse", augmentation=augmentation, **how)
        assert made.augmentation is augmentation
        fitted = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
        made.fit(inputs, labels, **fitted)
        if "run_eagerly" in how:
            made.evaluate(inputs, labels, verbose=0)
            made.predict(inputs, verbose=0)
        assert int(augmentation.calls) == 2 * 3
        other = model()
        other.set_weights(start)
        other.compile("sgd", "mse", run_eagerly=True)
        ones = {level: np.ones_like(values) for level, values in labels.items()}
        other.fit(np.full_like(inputs, 0.5), ones, **fitted)
        for one, expected in zip(made.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(one, expected, atol=1e-5)

    def test_sample_weights_stay_as_they_are(self):
        inputs, labels = batch()
        weights = (np.arange(12) < 5).astype("float32")
        values = []
        for augmentation, x in ((Recorder(0.5), inputs), (None, np.full_like(inputs, 0.5))):
            made = model()
            made.compile("sgd", "mse", augmentation=augmentation, run_eagerly=True)
            values.append(made.train_on_batch(x, labels, sample_weight=weights)[0])
        assert values[0] == pytest.approx(values[1], rel=1e-6)

    def test_works_in_mixed_precision(self):
        inputs, labels = batch()
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            made = model()
        finally:
            keras.config.set_dtype_policy(before)
        augmentation = Recorder(0.5)
        made.compile(
            "adam", "asymmetric", augmentation=augmentation, consistency=1.0, run_eagerly=True
        )
        assert type(made.optimizer).__name__ == "LossScaleOptimizer"
        history = made.fit(inputs, labels, verbose=0).history
        assert np.isfinite(list(history.values())).all()
        assert int(augmentation.calls) == 1

    def test_is_no_part_of_the_model_and_is_not_saved(self, tmp_path):
        inputs, labels = batch()
        made, plain = model(), model()
        made.compile("sgd", "mse", augmentation=Recorder(), run_eagerly=True)
        made.train_on_batch(inputs, labels)
        assert len(made.weights) == len(plain.weights)
        assert len(made.layers) == len(plain.layers)
        assert "augmentation" not in made.get_compile_config()
        made.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.augmentation is None
        np.testing.assert_allclose(loaded(inputs)["fine"], made(inputs)["fine"], atol=1e-6)

    def test_compiling_anew_takes_it_away(self):
        inputs, labels = batch()
        augmentation = Recorder()
        made = model()
        made.compile("sgd", "mse", augmentation=augmentation, run_eagerly=True)
        made.train_on_batch(inputs, labels)
        made.compile("sgd", "mse", run_eagerly=True)
        made.train_on_batch(inputs, labels)
        assert made.augmentation is None
        assert int(augmentation.calls) == 1

    @pytest.mark.parametrize("given", [lambda x, y: (x, y), "mixup", [Recorder()], Recorder])
    def test_anything_but_a_layer_is_refused(self, given):
        with pytest.raises(ModelError, match=r"`augmentation` must be a Keras layer.*Received"):
            model().compile("adam", "mse", augmentation=given)

    def test_a_layer_that_forgets_the_labels_is_refused(self):
        class Forgetful(keras.layers.Layer):
            def call(self, pair):
                return pair[0]

        inputs, labels = batch()
        made = model()
        made.compile("adam", "mse", augmentation=Forgetful(), run_eagerly=True)
        with pytest.raises(ModelError, match=r"must return the pair \(inputs, labels\)"):
            made.train_on_batch(inputs, labels)

    def test_a_layer_that_loses_a_level_is_refused(self):
        class Lossy(keras.layers.Layer):
            def call(self, pair):
                return pair[0], {"fine": pair[1]["fine"]}

        inputs, labels = batch()
        made = model()
        made.compile("adam", "mse", augmentation=Lossy(), run_eagerly=True)
        with pytest.raises(LabelError, match="each level with a loss"):
            made.train_on_batch(inputs, labels)


@pytest.mark.parametrize(
    ("name", "loss"), [("focal", MaskedFocalLoss()), ("asymmetric", MaskedAsymmetricLoss())]
)
def test_losses_by_name(name, loss):
    inputs, labels = batch()
    made = model()
    made.compile("sgd", name, run_eagerly=True)
    found = made.evaluate(inputs, labels, verbose=0, return_dict=True)
    scores = made(inputs)
    for level in TAXONOMY.levels:
        expected = float(loss(tf.constant(labels[level]), scores[level]))
        assert found[f"{level}_loss"] == pytest.approx(expected, rel=1e-5)


def test_streaming_metrics_are_those_of_the_report():
    inputs, labels = batch(rows=60)
    made = model()
    size = len(TAXONOMY.classes("fine"))
    kinds = (MeanAveragePrecision, RocAuc, BestF1, CalibrationError)
    streaming = {"fine": [kind(size) for kind in kinds]}
    made.compile("sgd", "mse", metrics=streaming, run_eagerly=True)
    found = made.evaluate(inputs, labels, batch_size=16, verbose=0, return_dict=True)
    scores = {level: s.numpy() for level, s in made(inputs).items()}
    exact = metrics.evaluate(TAXONOMY, {"fine": labels["fine"]}, scores)["levels"]["fine"]
    for key in ("map", "roc_auc", "best_f1", "calibration_error"):
        assert found[f"fine_{key}"] == pytest.approx(exact[key], abs=0.01), key
