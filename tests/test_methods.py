"""What each method answers and what it is trained on, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_hierarchical_layers import (
    constrained_view,
    draw_labels,
    highest_below,
    products,
    published_view,
)
from test_models import TAXONOMIES, TWO_LEVELS, batch, small_model
from tflite_models import convert, run

from hmic_keras import heads
from hmic_keras.errors import ModelError

OBEDIENT = ("c_hmcnn", "chorus", "gmp", "top_down")
OPTIONS = {"chorus": {"num_voices": 3}, "hmcn_f": {"units": 8, "dropout": 0.0}}
SHAPES = ("one_level", "dag", "skip_links", "uneven", "childless_levels")


def make(method, taxonomy=TWO_LEVELS, **options):
    keras.utils.set_random_seed(2)
    options = {**OPTIONS.get(method, {}), **options.pop("method_options", {})} | options
    switch = {"consistent": options.pop("consistent", False)}
    backbone = {"units": (6,), "dropout": 0.0}
    return small_model(
        taxonomy, method, method_options=options, backbone_options=backbone, **switch
    )


def spread(taxonomy, rows=10):
    """Inputs far apart, and labels with gaps."""
    inputs, _ = batch(taxonomy, rows=rows)
    return inputs * 10, draw_labels(taxonomy, 4, rows=rows)


def parts(model, names, inputs):
    """Outputs of the layers with these names, by level."""
    outputs = {level: model.get_layer(name).output for level, name in names.items()}
    found = keras.Model(model.input, outputs)(inputs)
    return {level: np.asarray(found[level]) for level in names}


def answers(model, inputs):
    return {level: np.asarray(values) for level, values in model(inputs).items()}


def trained_on(model, inputs):
    """What the method passes to its loss; the batch's own statistics standardise the inputs."""
    return {level: np.asarray(values) for level, values in model(inputs, training=True).items()}


def training_loss(model, inputs, labels):
    model.compile("sgd", "binary_crossentropy", run_eagerly=True)
    scores = model(inputs, training=True)
    return float(model.compute_loss(inputs, labels, scores, training=True))


def cross_entropy(labels, scores):
    """Sum over levels of the mean over observed labels."""
    total = 0.0
    for level, values in labels.items():
        known = values >= 0
        y, p = values[known].astype(float), scores[level][known].astype(float)
        if len(y):
            total -= np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    return total


def assert_close(found, expected, atol=1e-6):
    for level in expected:
        np.testing.assert_allclose(found[level], expected[level], atol=atol, err_msg=level)


def test_the_registry_holds_the_methods_of_the_literature_and_our_own():
    literature = {"c_hmcnn", "f2ca", "gmp", "hmcn_f", "independent", "multitask", "top_down"}
    assert set(heads.HEADS) == literature | {"chorus"}
    for name, head in heads.HEADS.items():
        assert head is getattr(heads, name)
        assert head.__module__ == f"hmic_keras.heads.{name}"


@pytest.mark.parametrize("shape", SHAPES)
class TestAgainstNumpy:
    def test_c_hmcnn(self, shape):
        taxonomy = TAXONOMIES[shape]
        model, (inputs, labels) = make("c_hmcnn", taxonomy), spread(taxonomy)
        h = parts(model, {k: f"{k}_probabilities" for k in taxonomy.levels}, inputs)
        assert_close(answers(model, inputs), highest_below(taxonomy, h))
        h = trained_on(model, inputs)
        expected = cross_entropy(labels, published_view(taxonomy, labels, h))
        assert training_loss(model, inputs, labels) == pytest.approx(expected, rel=1e-4)

    def test_top_down(self, shape):
        taxonomy = TAXONOMIES[shape]
        model, (inputs, labels) = make("top_down", taxonomy), spread(taxonomy)
        q = parts(model, {k: f"{k}_probabilities" for k in taxonomy.levels}, inputs)
        assert_close(answers(model, inputs), products(taxonomy, q))
        layer, q = model.get_layer("top_down_product"), trained_on(model, inputs)
        asked = {k: np.asarray(v) for k, v in layer.loss_view(labels, q)[0].items()}
        expected = cross_entropy(asked, q)
        assert training_loss(model, inputs, labels) == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("own_scores", [False, True])
    def test_chorus(self, shape, own_scores):
        taxonomy = TAXONOMIES[shape]
        model = make("chorus", taxonomy, own_scores=own_scores)
        inputs, labels = spread(taxonomy)
        constraint = model.get_layer("max_constraint")
        # Keras lists what the layer was given, by the names of the levels.
        given = keras.tree.flatten(keras.Model(model.input, constraint.input)(inputs))
        h = dict(zip(sorted(taxonomy.levels), map(np.array, given), strict=True))
        unscored = {}
        if not own_scores:
            unscored = {k: heads.children_of(taxonomy, k).parents for k in taxonomy.levels}
            assert not any("_own" in layer.name for layer in model.layers)
            for level, parents in unscored.items():
                h[level][..., parents] = 0
        voices = [{k: v[:, voice] for k, v in h.items()} for voice in range(3)]
        assert len({float(v[taxonomy.levels[0]][0, 0]) for v in voices}) == 3
        closed = [highest_below(taxonomy, one) for one in voices]
        assert_close(
            answers(model, inputs),
            {k: np.mean([one[k] for one in closed], axis=0) for k in taxonomy.levels},
        )
        stacked = trained_on(model, inputs)
        voices = [{k: v[i : i + 10] for k, v in stacked.items()} for i in (0, 10, 20)]
        losses = [
            cross_entropy(labels, constrained_view(taxonomy, labels, one, unscored))
            for one in voices
        ]
        found = training_loss(model, inputs, labels)
        assert found == pytest.approx(np.mean(losses), rel=1e-4)

    @pytest.mark.parametrize("beta", [0.5, 0.2])
    def test_hmcn_f(self, shape, beta):
        taxonomy = TAXONOMIES[shape]
        model, (inputs, labels) = make("hmcn_f", taxonomy, beta=beta), spread(taxonomy)
        flows = {}
        for flow in ("local", "global"):
            names = {k: f"{k}_{flow}_probabilities" for k in taxonomy.levels}
            flows[flow] = parts(model, names, inputs)
        expected = {
            k: beta * flows["local"][k] + (1 - beta) * flows["global"][k]
            for k in taxonomy.levels
        }
        assert_close(answers(model, inputs), expected)
        stacked = trained_on(model, inputs)
        two = [{k: v[i : i + 10] for k, v in stacked.items()} for i in (0, 10)]
        losses = [cross_entropy(labels, one) for one in two]
        assert training_loss(model, inputs, labels) == pytest.approx(np.mean(losses), rel=1e-4)

    def test_own_scores_of_gmp(self, shape):
        taxonomy = TAXONOMIES[shape]
        model = make("gmp", taxonomy, own_scores=True)
        inputs, _ = spread(taxonomy)
        finest, *coarser = taxonomy.levels
        names = {finest: f"{finest}_probabilities"}
        names |= {level: f"{level}_own_probabilities" for level in coarser}
        h = parts(model, names, inputs)
        assert_close(answers(model, inputs), highest_below(taxonomy, h), atol=0)

    def test_own_scores_of_f2ca(self, shape):
        taxonomy = TAXONOMIES[shape]
        model = make("f2ca", taxonomy, own_scores=True)
        inputs, _ = spread(taxonomy)
        found = answers(model, inputs)
        for level in taxonomy.levels[1:]:
            (own,) = parts(model, {level: f"{level}_own_probabilities"}, inputs).values()
            expected = own.copy()
            rows = heads.children_of(taxonomy, level).parents
            if len(rows):
                mixed = model.get_layer(f"{level}_attention").output[0]
                mixed = np.asarray(keras.Model(model.input, mixed)(inputs))
                expected[:, rows] = np.maximum(own[:, rows], mixed)
            np.testing.assert_allclose(found[level], expected, atol=1e-6)


def test_detached_children_are_mixed_as_before_and_taught_by_their_own_labels_only():
    taxonomy = TAXONOMIES["dag"]
    inputs, labels = spread(taxonomy)
    plain, detached = (make("f2ca", taxonomy, detach_children=on) for on in (False, True))
    detached.set_weights(plain.get_weights())
    assert_close(answers(detached, inputs), answers(plain, inputs), atol=0)
    found = []
    for model in (plain, detached):
        # What only the finest level's classifier and the first map are made of.
        finest, above = taxonomy.levels[:2]
        classifier = model.get_layer(f"{finest}_logits").trainable_variables
        attention = model.get_layer(f"{above}_attention").trainable_variables
        with tf.GradientTape() as tape:
            scores = model(inputs, training=True)
            known = labels[above] >= 0
            cost = keras.losses.binary_crossentropy(labels[above][known], scores[above][known])
        gradients = tape.gradient(cost, [*classifier, *attention])
        found.append([0.0 if g is None else float(np.abs(g).max()) for g in gradients])
    assert min(found[0]) > 0
    assert set(found[1][:2]) == {0.0}
    assert min(found[1][2:]) > 0


@pytest.mark.parametrize("method", heads.HEADS)
def test_with_the_switch_on_no_class_answers_above_an_ancestor(method):
    for shape in ("dag", "skip_links", "uneven"):
        taxonomy = TAXONOMIES[shape]
        inputs, labels = spread(taxonomy, rows=40)
        for switch in (False, True):
            model = make(method, taxonomy, consistent=switch)
            assert model.manifest["consistent"] is switch
            found = answers(model, inputs)
            gaps = [
                found[low][:, child] - found[high][:, parent]
                for i, low in enumerate(taxonomy.levels)
                for high in taxonomy.levels[i + 1 :]
                for parent, child in taxonomy.links(high, low)
            ]
            if switch or method in OBEDIENT:
                assert np.max(gaps) <= 0
            else:
                assert np.max(gaps) > 0.01
        # After the fact: training is as it was.
        expected = training_loss(make(method, taxonomy), inputs, labels)
        assert training_loss(model, inputs, labels) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", heads.HEADS)
class TestPartialLabels:
    def gradients(self, method, labels, inputs):
        import tensorflow as tf

        model = make(method, TAXONOMIES["skip_links"])
        model.compile("sgd", "binary_crossentropy", run_eagerly=True)
        with tf.GradientTape() as tape:
            scores = model(inputs, training=True)
            loss = model.compute_loss(inputs, labels, scores, training=True)
        found = tape.gradient(
            loss, [w.value for w in model.trainable_variables], unconnected_gradients="zero"
        )
        return float(loss), [tf.convert_to_tensor(one).numpy() for one in found]

    def test_what_stands_for_unobserved_changes_no_loss_and_no_gradient(self, method):
        inputs, labels = spread(TAXONOMIES["skip_links"])
        assert any((values < 0).any() for values in labels.values())
        loss, expected = self.gradients(method, labels, inputs)
        assert loss > 0
        for missing in (np.nan, -7.0):
            written = {
                k: np.where(v < 0, missing, v).astype("float32") for k, v in labels.items()
            }
            other, found = self.gradients(method, written, inputs)
            assert other == loss
            for one, wanted in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, wanted)

    def test_clips_without_labels_change_no_loss_and_teach_nothing(self, method):
        inputs, labels = spread(TAXONOMIES["skip_links"])
        nothing = {level: np.full_like(values, -1) for level, values in labels.items()}
        loss, found = self.gradients(method, nothing, inputs)
        assert loss == 0
        assert all((one == 0).all() for one in found)
        # The other clips are the same ones, so that the batch's statistics stay.
        alone, wanted = self.gradients(method, labels, inputs)
        more = {k: np.concatenate([v, nothing[k]]) for k, v in labels.items()}
        both, found = self.gradients(method, more, np.concatenate([inputs, inputs[::-1]]))
        assert both == pytest.approx(alone, rel=1e-4)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)

    def test_labels_and_weights_of_self_training_fit(self, method):
        inputs, labels = spread(TAXONOMIES["skip_links"])
        model = make(method, TAXONOMIES["skip_links"])
        model.compile("sgd", "binary_crossentropy", run_eagerly=True)
        soft = {level: np.where(v < 0, 0.25, v) for level, v in labels.items()}
        weights = {
            level: np.where(v < 0, 0.0, 1.0).astype("float32") for level, v in labels.items()
        }
        found = model.evaluate(
            inputs, soft, sample_weight=weights, verbose=0, return_dict=True
        )["loss"]
        expected = model.evaluate(inputs, labels, verbose=0, return_dict=True)["loss"]
        assert found == pytest.approx(expected, rel=1e-5)
        history = model.fit(inputs, soft, sample_weight=weights, verbose=0).history
        assert np.isfinite(history["loss"]).all()


def test_levels_of_independent_share_nothing():
    inputs, labels = spread(TWO_LEVELS)
    model = make("independent")
    labels["fine"][:] = -1
    model.compile("sgd", "binary_crossentropy", run_eagerly=True)

    def weights(level):
        parts = (model.get_layer(f"{level}_backbone"), model.get_layer(f"{level}_logits"))
        return [np.asarray(weight) for part in parts for weight in part.trainable_variables]

    before = {level: weights(level) for level in TWO_LEVELS.levels}
    assert sum(map(len, before.values())) == len(model.trainable_variables)
    model.fit(inputs, labels, verbose=0)
    for level, old in before.items():
        learned = [not np.array_equal(a, b) for a, b in zip(weights(level), old, strict=True)]
        assert learned == [level == "coarse"] * len(old)
    single = make("multitask")
    assert model.count_params() > 1.5 * single.count_params()


def test_the_voices_begin_in_the_backbone_where_it_can():
    voiced = make("chorus")
    assert voiced.get_layer("hidden1").output.shape == (None, 3, 6)
    shared = small_model(
        TWO_LEVELS, "chorus", input_shape=(5, 8), method_options={"num_voices": 3, "units": 7}
    )
    assert shared.get_layer("hidden1").output.shape == (None, 5, 256)
    assert shared.get_layer("voices").output.shape == (None, 3, 7)
    for choice, kernel in ((False, (3, 8, 6)), (True, (8, 6))):
        hidden = make("chorus", shared=choice).get_layer("hidden1")
        assert {w.name: tuple(w.shape) for w in hidden.weights}["kernel"] == kernel


def test_metrics_of_training_are_those_of_the_clips():
    inputs, labels = spread(TWO_LEVELS)
    for method in ("chorus", "hmcn_f"):
        model = make(method)
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
        history = model.fit(inputs, labels, batch_size=10, verbose=0).history
        assert 0 <= history["fine_accuracy"][0] <= 1


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("gmp", {"own_scores": 1}, "`own_scores` must be True or False. Received: 1"),
        ("f2ca", {"own_scores": "yes"}, "`own_scores`"),
        ("chorus", {"own_scores": None}, "`own_scores`"),
        (
            "f2ca",
            {"detach_children": 1},
            "`detach_children` must be True or False. Received: 1",
        ),
        ("chorus", {"num_voices": 0}, "`num_voices` must be a positive integer. Received: 0"),
        ("chorus", {"units": 0}, "`units`"),
        ("chorus", {"dropout": 1.0}, "`dropout`"),
        ("chorus", {"shared": 1}, "`shared` must be True or False. Received: 1"),
        ("hmcn_f", {"beta": 1.5}, "`beta` must be a number from 0 to 1. Received: 1.5"),
        ("hmcn_f", {"units": -1}, "`units`"),
        ("c_hmcnn", {"beta": 1.5}, r"'c_hmcnn' may hold \[\].*'beta'"),
    ],
)
def test_options_are_refused(method, options, message):
    with pytest.raises(ModelError, match=message):
        small_model(TWO_LEVELS, method, method_options=options)


def test_the_switch_is_on_or_off():
    with pytest.raises(
        ModelError, match=r"`consistent` must be True or False. Received: 'max'"
    ):
        small_model(consistent="max")


@pytest.mark.slow
def test_every_method_runs_in_tflite(tmp_path):
    taxonomy = TAXONOMIES["skip_links"]
    models = {
        method: make(method, taxonomy, consistent=method == "multitask")
        for method in heads.HEADS
    }
    given = keras.Input((8,), name="embedding")
    outputs = {
        f"{method}_{level}": keras.layers.Identity(name=f"{method}_{level}")(values)
        for method, model in models.items()
        for level, values in model(given).items()
    }
    inputs, _ = spread(taxonomy, rows=3)
    found = run(convert(keras.Model(given, outputs), tmp_path), embedding=inputs)
    for method, model in models.items():
        for level, values in model(inputs).items():
            np.testing.assert_allclose(found[f"{method}_{level}"], values, atol=1e-5)
