"""Tests of the Keras 2 twin, and of compressing a model in Keras 2."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib import metadata

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import hmic_keras as hk
from hmic_keras import heads
from hmic_keras.backbones import BACKBONES
from hmic_keras.config import COMPRESSIONS, CompressionConfig
from hmic_keras.data.sources.folder import write_labels
from hmic_keras.errors import HmicError, LabelError, MissingDependencyError, ModelError
from hmic_keras.export import (
    _fine_tuning,
    _legacy,
    _quantised_training,
    _sparse_training,
    compression,
    tflite,
)
from hmic_keras.export._twin import twin
from hmic_keras.export.compression import compress

pytestmark = [
    pytest.mark.xdist_group("compression"),
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow_model_optimization") is None,
        reason="needs the extra [compress]",
    ),
]
SMALL = {
    "conv": {"width": 2},
    "conv_attention": {"width": 2, "blocks": 1, "num_heads": 2},
    "musicnn": {"timbral_filters": 3, "temporal_filters": 2, "midend_filters": 2},
    "short_chunk_res": {"width": 2},
}
DIM = 16


@pytest.fixture(scope="module")
def taxonomy():
    return hk.Taxonomy.from_dict(
        {"strings": ["violin", "cello"], "brass": ["horn"], "drums": []}
    )


def shaken(model, seed=0):
    """Gives every weight and statistic a value of its own, so that each one matters."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.uniform(0.5, 1.5, value.shape)
            if "variance" in variable.path
            else value + rng.normal(0, 0.1, value.shape)
            for variable, value in zip(model.weights, model.get_weights(), strict=True)
        ]
    )
    return model


def largest_difference(model, inputs):
    """How far the answers of a model and of its twin are apart."""
    rebuilt = twin(model)
    carried = rebuilt.weights_for(model, rebuilt.model)
    for found, value in zip(carried, model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, value)
    expected = model(inputs, training=False)
    expected = expected if isinstance(expected, dict) else {rebuilt.outputs[0]: expected}
    found = rebuilt.model(inputs, training=False)
    found = found if isinstance(found, list) else [found]
    assert list(expected) == list(rebuilt.outputs)
    for values in expected.values():
        assert np.ptp(np.asarray(values)) > 1e-4  # it says something
    return max(
        float(np.abs(np.asarray(expected[name]) - np.asarray(values)).max())
        for name, values in zip(rebuilt.outputs, found, strict=True)
    )


def log_mels(count=2, frames=33, mels=80):
    values = np.random.default_rng(1).normal(-4, 2, (count, frames, mels))
    return values.astype("float32")


# The twin


@pytest.mark.parametrize("backbone", sorted(SMALL))
def test_a_twin_of_every_backbone_answers_alike(taxonomy, backbone):
    model = hk.build_model(
        taxonomy,
        backbone=backbone,
        method="f2ca",
        input="log_mel",
        backbone_options=SMALL[backbone],
    )
    inputs = log_mels(mels=model.input_shape[-1])
    assert largest_difference(shaken(model), inputs) < 1e-6


@pytest.mark.parametrize("method", sorted(heads.HEADS))
def test_a_twin_of_every_method_answers_alike(taxonomy, method):
    model = hk.build_model(
        taxonomy,
        backbone="mlp",
        method=method,
        input="embedding",
        input_shape=(5, DIM),
        backbone_options={"units": (8,)},
        consistent=method == "multitask",
    )
    inputs = np.random.default_rng(0).normal(0, 1, (3, 5, DIM)).astype("float32")
    assert largest_difference(shaken(model), inputs) < 1e-6


def test_a_twin_of_an_ensemble_answers_alike(taxonomy):
    """Models within a model, whose outputs Keras counts by name and not as they are listed."""
    members = [
        hk.build_model(
            taxonomy, method=method, input="log_mel", backbone_options={"width": width}
        )
        for method, width in (("gmp", 2), ("f2ca", 4))
    ]
    model = hk.ensemble([shaken(member) for member in members])
    assert largest_difference(model, log_mels()) < 1e-6


def test_the_backbones_and_methods_above_are_all_there_are():
    assert {*SMALL, "mlp"} == set(BACKBONES)


@pytest.mark.slow
def test_a_twin_of_an_image_model_answers_alike(taxonomy):
    model = hk.build_model(taxonomy, backbone="MobileNetV3Small", input="log_mel")
    assert largest_difference(shaken(model), log_mels(frames=64)) < 1e-6


def test_a_twin_takes_waveforms_of_any_length_and_leaves_masking_to_training(taxonomy):
    model = hk.build_model(
        taxonomy, method="gmp", backbone_options={"width": 2}, spec_augment={"seed": 1}
    )
    waveforms = np.random.default_rng(0).normal(0, 0.1, (2, 17000)).astype("float32")
    assert largest_difference(shaken(model), waveforms) < 1e-6
    network = twin(model).model
    first, second = network(waveforms, training=True), network(waveforms, training=True)
    assert np.abs(first[0] - second[0]).max() > 1e-4


def test_a_twin_of_a_mixed_precision_model_computes_in_float32(taxonomy):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = hk.build_model(taxonomy, backbone="mlp", input="embedding", input_shape=(DIM,))
    finally:
        keras.config.set_dtype_policy("float32")
    inputs = np.random.default_rng(0).normal(0, 1, (3, DIM)).astype("float32")
    found = twin(model).model(inputs)
    for answer, values in zip(model(inputs).values(), found, strict=True):
        np.testing.assert_allclose(answer, values, atol=0.02)


def test_a_twin_follows_any_functional_graph():
    shared = keras.Sequential(
        [layers.Dense(4, activation="tanh"), layers.Dense(4)], name="shared"
    )
    inner_input = keras.Input((6,))
    inner = keras.Model(
        inner_input,
        [
            layers.Dense(4, kernel_regularizer="l2", kernel_constraint="non_neg", name="dense")(
                inner_input
            ),
            ops.sum(inner_input, axis=-1, keepdims=True),
        ],
        name="inner",
    )
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    dense = layers.Dense(4, activation="elu", name="outer")
    (a, total), (b, _) = inner(left), inner(right)
    joined = shared(a) * shared(b)[:, ::-1] + total
    joined = layers.Concatenate()(
        [joined, dense(left), dense(right), ops.take(a, [1, 2], axis=1)]
    )
    outputs = {"a": layers.Activation("sigmoid", name="b")(joined), "b": a}
    model = shaken(keras.Model([left, right], outputs))
    rng = np.random.default_rng(0)
    inputs = [rng.normal(0, 1, (3, 6)).astype("float32") for _ in range(2)]
    assert largest_difference(model, inputs) < 1e-6
    kernel = twin(model).model.get_layer("inner_dense")
    assert type(kernel.kernel_regularizer).__name__ == "L2"
    assert type(kernel.kernel_constraint).__name__ == "NonNeg"


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`, which is deprecated")
def test_what_keras_2_lacks_is_not_lost():
    given = keras.Input((4, 6))
    norm = layers.LayerNormalization(rms_scaling=True, name="rms")
    activation = layers.Activation("hard_shrink", name="shrink")
    model = shaken(keras.Model(given, activation(norm(given))))
    inputs = np.random.default_rng(0).normal(0, 2, (3, 4, 6)).astype("float32")
    assert largest_difference(model, inputs) < 1e-6


class Scale(layers.Layer):
    """A layer that is nowhere registered."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")

    def call(self, inputs):
        return inputs * self.factor


def test_a_twin_owns_the_weights_of_a_layer_that_keras_2_does_not_know():
    given = keras.Input((4,))
    model = shaken(keras.Model(given, Scale(name="scale")(given)))
    inputs = np.ones((2, 4), "float32")
    assert largest_difference(model, inputs) < 1e-6
    rebuilt = twin(model)
    (factor,) = rebuilt.model.trainable_weights
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(rebuilt.model(inputs, training=True))
    np.testing.assert_allclose(tape.gradient(loss, factor), [2.0] * 4)
    factor.assign([1.0, 2.0, 3.0, 4.0])
    before = model.get_weights()[0].copy()
    np.testing.assert_allclose(rebuilt.model(inputs)[0], [1, 2, 3, 4])
    np.testing.assert_array_equal(model.get_weights()[0], before)
    np.testing.assert_array_equal(rebuilt.weights_for(model, rebuilt.model)[0], [1, 2, 3, 4])


def test_weights_come_back_to_where_they_came_from(taxonomy):
    model = shaken(
        hk.build_model(taxonomy, method="f2ca", input="log_mel", backbone_options={"width": 2})
    )
    rebuilt = twin(model)
    for value, expected in zip(
        rebuilt.weights_for(model, rebuilt.model), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(value, expected)


def test_what_cannot_be_rebuilt_is_refused_by_name():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ModelError, match=r"functional or sequential.*Subclassed"):
        twin(Subclassed())
    given = keras.Input((4,))
    scale = Scale(name="twice")
    with pytest.raises(ModelError, match=r"'twice'.*Scale.*called more than once"):
        twin(keras.Model(given, scale(scale(given))))
    with pytest.raises(ModelError, match=r"one output or a dict.*2 outputs"):
        twin(keras.Model(given, [given, scale(given)]))


# The libraries


def test_loading_the_libraries_leaves_the_session_with_keras_3(tmp_path):
    code = """
import os, sys
import numpy as np
import keras, tensorflow as tf
from hmic_keras.export._legacy import libraries
found = libraries()
assert found.tf_keras.__version__.startswith("2."), found.tf_keras.__version__
assert "TF_USE_LEGACY_KERAS" not in os.environ
assert tf.keras.Model is keras.Model and found.tf_keras.Model is not keras.Model
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
model.compile("adam", "mse")
model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
model.save(sys.argv[1])
assert keras.saving.load_model(sys.argv[1]).predict(np.ones((1, 3)), verbose=0).shape == (1, 2)
"""
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr


def test_missing_or_unfit_libraries_are_named(monkeypatch):
    known = metadata.version

    def version(name):
        if name == "tensorflow-model-optimization":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    _legacy.libraries.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"optimization, which.*\[compress\]"):
        _legacy.libraries()
    monkeypatch.setattr(metadata, "version", lambda name: "2.3.0")
    with pytest.raises(MissingDependencyError, match=r"tf_keras 2\.3\.0 does not fit"):
        _legacy.libraries()


# Training in Keras 2


def embeddings(taxonomy, count=48):
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 2, (count, len(taxonomy.classes("fine")))).astype("float32")
    labels = taxonomy.close_labels({"fine": fine})
    inputs = rng.normal(0, 1, (count, DIM)).astype("float32")
    inputs[:, : fine.shape[1]] += 2 * fine  # something to learn
    labels["fine"][::7, 0] = -1
    return inputs, {level: values.astype("float32") for level, values in labels.items()}


def dataset(taxonomy, **options):
    return tf.data.Dataset.from_tensor_slices(embeddings(taxonomy, **options)).batch(16)


def mlp(taxonomy, method="gmp", dropout=0.3):
    keras.utils.set_random_seed(0)
    return hk.build_model(
        taxonomy,
        backbone="mlp",
        method=method,
        input="embedding",
        input_shape=(DIM,),
        backbone_options={"units": (16,), "dropout": dropout},
    )


@pytest.mark.parametrize("method", ["gmp", "c_hmcnn"])
def test_the_loss_is_that_of_the_model(taxonomy, method):
    model = mlp(taxonomy, method)
    inputs, labels = embeddings(taxonomy)
    answers = model(inputs, training=True)
    found = _fine_tuning.own_loss(model, "binary_crossentropy")(inputs, labels, answers, None)
    assert not model.compiled
    model.compile("adam", "binary_crossentropy")
    expected = model.compute_loss(inputs, labels, answers, training=True)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_a_step_moves_the_twin_as_keras_3_moves_the_model(taxonomy):
    model = mlp(taxonomy, dropout=0.0)
    rebuilt = twin(model)
    inputs, labels = embeddings(taxonomy)
    data = tf.data.Dataset.from_tensors((inputs, labels))
    history = _fine_tuning.fine_tune(
        rebuilt.model,
        rebuilt.outputs,
        data,
        loss=_fine_tuning.own_loss(model, "binary_crossentropy"),
        epochs=2,
        learning_rate=0.01,
    )
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    expected = model.fit(data, epochs=2, verbose=0, shuffle=False).history["loss"]
    np.testing.assert_allclose(history, expected, rtol=1e-4)
    for value, weight in zip(
        rebuilt.weights_for(model, rebuilt.model), model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(value, weight, atol=1e-3)


def test_ranges_are_measured_and_nothing_else_changes(taxonomy):
    model = mlp(taxonomy, dropout=0.0)
    network = _quantised_training.quantised(twin(model).model)
    inputs, _ = embeddings(taxonomy)
    before = {
        w.name: w.numpy() for w in network.weights if not w.name[:-2].endswith(("min", "max"))
    }
    _quantised_training.calibrate(network, [inputs])
    for weight in network.weights:
        if weight.name in before:
            np.testing.assert_array_equal(weight, before[weight.name])
    logits = keras.Model(model.input, model.get_layer("fine_logits").output)
    logits = logits(inputs, training=True)  # normalised by the batch, as in training
    ends = {
        w.name: float(w) for w in network.weights if "fine_logits/post_activation" in w.name
    }
    found = [value for _, value in sorted(ends.items())]
    np.testing.assert_allclose(found, [np.max(logits), np.min(logits)], rtol=0.03)


def test_an_average_of_ranges_is_that_of_all_batches(taxonomy):
    rebuilt = twin(mlp(taxonomy))
    inputs, _ = embeddings(taxonomy)
    network = _quantised_training.quantised(rebuilt.model)
    _quantised_training.calibrate(network, [inputs, 3 * inputs])
    (highest,) = (w for w in network.weights if w.name.endswith("input_norm/output_max:0"))
    norm = rebuilt.model.get_layer("input_norm")
    expected = np.mean([np.max(norm(batch, training=True)) for batch in (inputs, 3 * inputs)])
    assert float(highest) == pytest.approx(expected, rel=0.05)


def test_the_probabilities_of_an_ensembles_members_stay_float(taxonomy):
    members = [
        hk.build_model(taxonomy, method="gmp", input="log_mel", backbone_options={"width": w})
        for w in (2, 4)
    ]
    network = _quantised_training.quantised(
        twin(hk.ensemble([shaken(member) for member in members])).model
    )
    rounded = {
        layer.name
        for layer in network.layers
        if type(layer).__name__.startswith("QuantizeWrapper")
    }
    assert [name for name in rounded if "conv1" in name]
    ends = ("member1", "member2", "members", "mean")
    assert not rounded & {f"quant_{lv}_{end}" for lv in taxonomy.levels for end in ends}
    inputs = log_mels()
    _quantised_training.calibrate(network, [inputs])
    answers = network(inputs, training=False)
    assert all(np.isfinite(np.asarray(values)).all() for values in answers)


def test_a_model_without_weights_to_compress_is_refused():
    given = keras.Input((4,), name="given")
    network = twin(keras.Model(given, Scale()(given))).model
    with pytest.raises(ModelError, match="no convolution and no dense layer"):
        _quantised_training.quantised(network)
    with pytest.raises(ModelError, match="no convolution and no dense layer"):
        _sparse_training.pruned(network, 10, sparsity=0.5)
    with pytest.raises(ModelError, match="no convolution and no dense layer"):
        _sparse_training.clustered(network, 4)


# The whole way


@pytest.fixture(scope="module")
def compressed(taxonomy, tmp_path_factory):
    """Compresses the small model in a way, once."""
    done = {}

    def run(how):
        if how not in done:
            model = mlp(taxonomy, "c_hmcnn" if how == "prune" else "gmp")
            data = dataset(taxonomy)
            out = tmp_path_factory.mktemp("compressed") / how
            config = CompressionConfig(
                how, epochs=2, learning_rate=0.01, sparsity=0.75, clusters=4
            )
            steps = []
            report = compress(
                model,
                data,
                data,
                out,
                config,
                tolerance=0.3,
                progress=lambda passed, total: steps.append((passed, total)),
            )
            done[how] = report, out, model, steps
        return done[how]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("how", COMPRESSIONS)
def test_every_way_writes_an_int8_file_and_compares_it(compressed, how, taxonomy):
    report, out, model, steps = compressed(how)
    assert json.loads((out / "compression.json").read_text()) == report
    kind = "static_int8" if how in ("qat", "prune_qat") else "dynamic_int8"
    passes = 4 if how == "prune_qat" else 2
    assert steps == [(number, passes) for number in range(1, passes + 1)]
    assert len(report["loss"]) == passes
    assert report["compressed"]["format"] == kind
    assert report["data"] == {"batches": 3, "validation": 48}
    rows = [report["float"], *report["post_training"].values(), report["compressed"]]
    assert len(rows) == 4
    for row in rows:
        assert 0 < row["zipped_bytes"] < row["size_bytes"]
        assert row["latency_ms"] > 0
        assert set(row["map"]) == {"fine", "coarse"}
        assert all(0 <= score <= 1 for score in row["map"].values())
    manifest = json.loads((out / "manifest.json").read_text())
    path = out / manifest["files"][kind]
    assert report["compressed"]["size_bytes"] == path.stat().st_size
    assert manifest["taxonomy"] == model.manifest["taxonomy"]
    kernels = tflite.kernels(path.read_bytes())
    assert all(kernel.dtype == np.int8 for kernel in kernels)
    zeros = sum((kernel == 0).sum() for kernel in kernels) / sum(k.size for k in kernels)
    assert report["compressed"]["zeros"] == pytest.approx(zeros)
    wanted = {"prune": 0.75, "prune_2_4": 0.5, "prune_qat": 0.75}
    assert zeros >= wanted.get(how, 0) - 0.02


def test_kernels_are_found_however_they_are_stored(taxonomy, tmp_path):
    model = shaken(
        hk.build_model(
            taxonomy, backbone="conv", input="log_mel", backbone_options={"width": 4}
        )
    )
    model.update_manifest(window_seconds=1.0)
    formats = ("float32", "float16", "weight_int8", "dynamic_int8")
    manifest = hk.export.export_model(model, tmp_path / "out", formats=formats, tolerance=0.5)
    found = {
        name: tflite.kernels((tmp_path / "out" / manifest["files"][name]).read_bytes())
        for name in formats
    }
    shapes = sorted(kernel.shape for kernel in found["float32"])
    assert len(shapes) > 5
    for name, kind in zip(formats, ("float32", "float16", "int8", "int8"), strict=True):
        assert sorted(kernel.shape for kernel in found[name]) == shapes
        assert {str(kernel.dtype) for kernel in found[name]} == {kind}


@pytest.mark.slow
def test_two_of_every_four_weights_in_a_row_are_zero(compressed):
    _, out, _, _ = compressed("prune_2_4")
    for layer in hk.load_model(out).layers:
        if isinstance(layer, layers.Dense):
            kernel = layer.kernel.numpy()
            rows = kernel.T.reshape(kernel.shape[1], -1, 4)
            assert (np.count_nonzero(rows, axis=-1) <= 2).all()


@pytest.mark.slow
def test_a_compressed_file_answers_as_the_trained_keras_model(compressed, taxonomy):
    _, out, original, _ = compressed("cluster")
    model = hk.load_model(out)
    inputs, _ = embeddings(taxonomy)
    assert np.abs(model(inputs)["fine"] - original(inputs)["fine"]).max() > 1e-3
    parity = json.loads((out / "manifest.json").read_text())["parity"]["dynamic_int8"]
    assert max(parity.values()) < 0.3
    for layer in model.layers:
        if isinstance(layer, layers.Dense) and layer.kernel.shape[0] * layer.units >= 8:
            assert len(np.unique(layer.kernel.numpy())) <= 4


# Bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"how": "shrink"}, "`how` must be one of 'qat'.*'shrink'"),
        ({"epochs": 0}, "`epochs`.*0"),
        ({"learning_rate": -1.0}, "`learning_rate`.*-1"),
        ({"sparsity": 1.0}, "`sparsity` must be from 0.01 to 0.99. Received: 1.0"),
        ({"sparsity": "half"}, "`sparsity`.*half"),
        ({"clusters": 1}, "`clusters` must be from 2 to 256. Received: 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(HmicError, match=message):
        CompressionConfig(**settings)


def test_data_that_does_not_fit_is_refused_before_any_training(taxonomy, tmp_path):
    model, good = mlp(taxonomy), dataset(taxonomy)
    inputs, labels = embeddings(taxonomy)
    slices = tf.data.Dataset.from_tensor_slices
    for data, error, message in (
        (inputs, ModelError, "`data` must be a tf.data.Dataset"),
        (slices(inputs).batch(4), ModelError, r"batches \(inputs, labels\)"),
        (
            slices((inputs, {"fine": labels["fine"]})).batch(4),
            LabelError,
            r"without \['coarse'\]",
        ),
        (slices((inputs[:, :5], labels)).batch(4), ModelError, r"shape \(16,\).*\(None, 5\)"),
        (good.repeat(), LabelError, "repeats for ever"),
        (good.take(0), LabelError, "an empty one"),
    ):
        with pytest.raises(error, match=message):
            compress(model, data, good, tmp_path / "out")
    with pytest.raises(ModelError, match=r"`validation` must be a tf\.data.Dataset"):
        compress(model, good, None, tmp_path / "out")
    with pytest.raises(ModelError, match=r"built by `hmic_keras\.build_model`"):
        compress(keras.Sequential(), good, good, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_refused_first(taxonomy, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"'thesis\.txt'"):
        compress(None, None, None, tmp_path)


def test_clips_are_no_data_for_a_model_of_embeddings(taxonomy):
    with pytest.raises(ModelError, match="takes embeddings"):
        compression.datasets(mlp(taxonomy), [])


def test_a_rate_at_which_the_loss_explodes_is_reported(taxonomy):
    rebuilt = twin(mlp(taxonomy))

    def loss(x, labels, answers, sample_weight):
        return tf.reduce_sum(answers["fine"]) * np.nan

    with pytest.raises(ModelError, match=r"no longer a number.*learning_rate=0\.1"):
        _fine_tuning.fine_tune(
            rebuilt.model,
            rebuilt.outputs,
            dataset(taxonomy),
            loss=loss,
            epochs=1,
            learning_rate=0.1,
        )


@pytest.mark.slow
def test_the_command_makes_int8_of_all_but_front_end_and_attention(
    hmic, tiny_bundle, tiny_clips, tmp_path
):
    few = tiny_clips.subset(range(6))
    write_labels(tmp_path / "labels.csv", few.paths, few.taxonomy, few.labels)
    out = tmp_path / "out"
    done = hmic(
        *("compress", tiny_bundle, "--out", out, "--how", "qat", "--epochs", 1),
        *("--data", tmp_path / "labels.csv", "--validation", tmp_path / "labels.csv"),
        *("--batch-size", 3),
    )
    assert done.code == 0, done.err
    report = json.loads((out / "compression.json").read_text())
    assert report["settings"] == CompressionConfig("qat", 1).to_dict()
    assert report["data"] == {"batches": 2, "validation": 6}
    for row in ("float32", "dynamic_int8 ", "static_int8 of log_mel", "static_int8 (qat)"):
        assert row in done.out
    assert report["compressed"]["input"] == "waveform"  # with the front end in the file
    content = (out / "model_static_int8.tflite").read_bytes()
    assert {"RFFT2D", "QUANTIZE", "DEQUANTIZE", "SOFTMAX"} <= tflite.operations(content)
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(
        model_content=content
    )
    kinds = {"CONV_2D": set(), "RFFT2D": set(), "SOFTMAX": set()}
    for step in interpreter._get_ops_details():
        if step["op_name"] in kinds:
            given = interpreter._get_tensor_details(step["inputs"][0], 0)["dtype"]
            kinds[step["op_name"]].add(given)
    assert kinds == {"CONV_2D": {np.int8}, "RFFT2D": {np.float32}, "SOFTMAX": {np.float32}}
    found = hk.Predictor(out).predict(few.paths[0]).probabilities
    assert {level: len(values) for level, values in found.items()} == {"fine": 20, "coarse": 7}


def test_the_command_refuses_what_it_cannot_do_in_one_line(hmic, tmp_path):
    done = hmic("compress", "hmic-demo", "--out", tmp_path / "out", "--how", "shrink")
    assert done.code == 2
    assert "`how` must be one of 'qat'" in done.err
    assert "Traceback" not in done.err
