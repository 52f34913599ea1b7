"""The quantised formats, what they say of themselves, and what is refused."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from test_export import make_model

import hmic_keras as hk
from hmic_keras import zoo
from hmic_keras._files import sha256
from hmic_keras._mel import log_mel
from hmic_keras._tflite_file import with_files
from hmic_keras.config import AudioConfig
from hmic_keras.data.audio import frame
from hmic_keras.errors import MissingDependencyError, ModelError
from hmic_keras.export import TOLERANCES, export_model, export_saved_model
from hmic_keras.export.metadata import add_metadata
from hmic_keras.export.quantisation import SCHEMES, quantise
from hmic_keras.export.tflite import check_operations, convert, operations

pytest.importorskip("ai_edge_quantizer", reason="needs the extra [export]")
from ai_edge_litert.interpreter import Interpreter

QUANTISED = ("dynamic_int8", "weight_int8", "static_int8", "w4")
TFLITE = ("float32", "float16", *QUANTISED)
RATE = 16000
pytestmark = pytest.mark.xdist_group("export_formats")


@pytest.fixture(scope="module")
def exported(tiny, tiny_clips, tmp_path_factory):
    """The tiny model in every TensorFlow Lite format. Do not change its files."""
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    manifest = export_model(
        tiny.model,
        folder,
        formats=["keras", *TFLITE],
        calibration=tiny_clips,
        evaluation=tiny_clips.subset(range(12)),
        tolerance={"static_int8": 0.3, "w4": 0.5},
    )
    return folder, manifest


@pytest.fixture(scope="module")
def windows(tiny_clips):
    paths = tiny_clips.paths[12:18]
    return np.stack([np.resize(hk.data.load_audio(path), 2 * RATE) for path in paths])


@pytest.fixture
def alone(exported, tmp_path):
    """A function that copies one of the files away from its folder."""

    def copy(name="dynamic_int8"):
        return shutil.copy(exported[0] / zoo.FILES[name], tmp_path / "moved.tflite")

    return copy


def tensors(path, quantised=None):
    """Types of the tensors by name."""
    loaded = Interpreter(model_path=os.fspath(path))
    return {d["name"]: d["dtype"] for d in loaded.get_tensor_details()}


# What is written


def test_the_manifest_describes_every_export(exported, tiny_clips):
    folder, manifest = exported
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8")) == manifest
    assert manifest["files"] == {name: zoo.FILES[name] for name in ("keras", *TFLITE)}
    assert set(manifest["parity"]) == set(TFLITE)
    for name in TFLITE:
        entry, path = manifest["exports"][name], folder / zoo.FILES[name]
        assert entry["file"] == path.name
        assert entry["size_bytes"] == path.stat().st_size
        assert manifest["sha256"][path.name] == sha256(path)
        assert entry["latency_ms"] > 0
        assert entry["versions"]["tensorflow"] == manifest["versions"]["tensorflow"]
        assert ("ai-edge-quantizer" in entry["versions"]) == (name in QUANTISED)
        assert bool(entry["quantisation"]) == (name != "float32")
        report = entry["parity"]
        assert report["max"] == manifest["parity"][name]
        # Clips of three seconds are two windows of two.
        assert report["compared"] == {"probe": 12, "calibration": 24, "evaluation": 24}
        assert report["inputs"] == 60
        assert report["worst"].split()[0] in report["compared"]
        for level in ("fine", "coarse"):
            assert 0 <= report["mean"][level] <= report["max"][level] <= report["tolerance"]
            lost = report["map"][level]
            assert lost["keras"] - lost["exported"] == pytest.approx(lost["lost"])
    static = manifest["exports"]["static_int8"]
    assert (static["input"], static["input_shape"]) == ("log_mel", [101, 80])
    assert manifest["exports"]["w4"]["input_shape"] == [2 * RATE]


def test_map_of_the_report_is_that_of_the_evaluation(exported, tiny_clips):
    folder, manifest = exported
    clips = tiny_clips.subset(range(12))
    for name in ("keras", "static_int8"):
        report = hk.evaluation.evaluate(hk.Predictor(folder, format=name), clips)
        for level, found in report.results["levels"].items():
            key = "keras" if name == "keras" else "exported"
            stated = manifest["exports"]["static_int8"]["parity"]["map"][level][key]
            assert stated == pytest.approx(found["map"], abs=2e-3)


@pytest.mark.parametrize("name", TFLITE)
def test_files_take_and_give_float32_with_built_in_operations_only(exported, name):
    content = (exported[0] / zoo.FILES[name]).read_bytes()
    runner = Interpreter(model_content=content).get_signature_runner()
    details = {**runner.get_input_details(), **runner.get_output_details()}
    given = "log_mel" if name == "static_int8" else "waveform"
    assert set(details) == {given, "fine", "coarse"}
    assert {d["dtype"] for d in details.values()} == {np.float32}
    assert not [op for op in operations(content) if op.startswith(("CUSTOM", "VAR_HANDLE"))]


def test_networks_are_quantised_and_front_ends_are_not(exported):
    folder, _ = exported
    for name in ("float32", "dynamic_int8", "weight_int8", "w4"):
        found = tensors(folder / zoo.FILES[name])
        front = {dtype for key, dtype in found.items() if "log_mel_spectrogram" in key}
        assert np.int8 not in front
        assert (np.int8 in found.values()) == (name != "float32")
    sizes = {name: (folder / zoo.FILES[name]).stat().st_size for name in TFLITE}
    assert sizes["w4"] < sizes["dynamic_int8"] < sizes["float32"]
    assert sizes["static_int8"] < sizes["dynamic_int8"]  # it leaves the mel filters out
    assert sizes["float16"] < sizes["float32"]


@pytest.mark.parametrize("name", TFLITE)
def test_reported_differences_hold_for_other_music_too(exported, tiny, windows, name):
    expected = tiny.model(windows, training=False)
    found = hk.Predictor(exported[0], format=name).score_windows(windows)
    for level in ("fine", "coarse"):
        error = np.abs(found[level] - np.asarray(expected[level]))
        assert error.max() < 2 * TOLERANCES[name]
        if name in QUANTISED:
            assert error.max() > 0  # it really is another arithmetic


@pytest.mark.parametrize("name", ["float32", "dynamic_int8"])
def test_metadata_is_a_flatbuffer_of_its_own_and_weights_stay_aligned(exported, name):
    from tensorflow.lite.python import schema_py_generated as schema

    content = (exported[0] / zoo.FILES[name]).read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (entry,) = [one for one in model.metadata if one.name == b"TFLITE_METADATA"]
    packed = model.buffers[entry.buffer].data.tobytes()
    assert packed[4:8] == b"M001"
    for text in (b"waveform", b"fine", b"coarse", b"labels_fine.txt", b"labels_coarse.txt"):
        assert text in packed
    large = [b.data for b in model.buffers if b.data is not None and len(b.data) >= 256]
    assert large
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    for data in large:
        assert (data.__array_interface__["data"][0] - start) % 16 == 0


# A file by itself


@pytest.mark.parametrize("name", TFLITE)
def test_a_file_by_itself_answers_as_in_its_folder(exported, alone, windows, name, tiny):
    moved, there = hk.Predictor(alone(name)), hk.Predictor(exported[0], format=name)
    assert moved.taxonomy == tiny.model.taxonomy
    assert moved.window_seconds == 2.0
    for level, values in there.thresholds.items():
        np.testing.assert_array_equal(moved.thresholds[level], values)
    found, expected = moved.score_windows(windows), there.score_windows(windows)
    for level in expected:
        np.testing.assert_array_equal(found[level], expected[level])
    assert moved.manifest["format"] == name
    assert moved.manifest["export"]["parity"] == there.manifest["exports"][name]["parity"]


def test_a_savedmodel_by_itself_answers_as_in_its_folder(tiny_bundle, windows, tmp_path):
    moved = shutil.copytree(tiny_bundle / "saved_model", tmp_path / "moved")
    found = hk.Predictor(moved).score_windows(windows)
    expected = hk.Predictor(tiny_bundle, format="savedmodel").score_windows(windows)
    np.testing.assert_array_equal(found["fine"], expected["fine"])
    variables = moved / "variables" / "variables.data-00000-of-00001"
    variables.write_bytes(variables.read_bytes()[:-4] + b"1234")
    with pytest.raises(ModelError, match="its 'variables' does not have the SHA-256"):
        hk.Predictor(moved)
    stated = moved / "assets.extra" / "manifest.json"
    stated.write_text(
        stated.read_text().replace('"window_seconds": 2.0', '"window_seconds": 3.0')
    )
    with pytest.raises(ModelError, match="manifest in it does not have the SHA-256"):
        hk.Predictor(moved)


def test_the_archive_holds_a_label_file_for_each_head(alone, openmic):
    with zipfile.ZipFile(alone()) as archive:
        names = ["manifest.json", "manifest.sha256", "labels_fine.txt", "labels_coarse.txt"]
        assert archive.namelist() == names
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        for level in openmic.levels:
            lines = archive.read(f"labels_{level}.txt").decode("utf-8").splitlines()
            assert lines == list(openmic.classes(level))


def test_a_tflite_file_is_answered_without_tensorflow_and_keras(alone, windows, tmp_path):
    path = alone()
    np.save(tmp_path / "windows.npy", windows)
    code = """
import sys
for name in ("tensorflow", "keras", "tf_keras", "pandas", "sklearn", "matplotlib", "typer"):
    sys.modules[name] = None  # importing it raises ImportError
import numpy as np
import hmic_keras as hk
predictor = hk.Predictor("moved.tflite")
scores = predictor.score_windows(np.load("windows.npy"))
result = predictor.predict(np.load("windows.npy")[0], sample_rate=8000)
assert len(result.top("fine", 3)) == 3
np.savez("scores.npz", **scores)
try:
    hk.Predictor("hmic-demo", format="keras")
except hk.HmicError as error:
    assert "needs Keras and TensorFlow" in str(error), error
else:
    raise AssertionError("Keras was not blocked")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = hk.Predictor(path).score_windows(windows)
    for level, values in np.load(tmp_path / "scores.npz").items():
        np.testing.assert_array_equal(values, expected[level])


# Metadata that was altered


def rewrite(path, change):
    """Rewrites the archive behind a model with `change(files)`."""
    with zipfile.ZipFile(path) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        length = min(entry.header_offset for entry in archive.infolist())
    change(files)
    content = path.read_bytes()[:length]
    path.write_bytes(content)
    if files:
        with zipfile.ZipFile(path, "a") as archive:
            for name, text in files.items():
                archive.writestr(name, text)


def seal(files):
    """Gives an altered manifest the checksum it should have."""
    digest = hashlib.sha256(files["manifest.json"]).hexdigest()
    files["manifest.sha256"] = f"{digest}  manifest.json\n"


def altered(sealed=True, **entries):
    """A change of entries of the manifest; a function is called with the entry."""

    def change(files):
        manifest = json.loads(files["manifest.json"])
        for name, value in entries.items():
            manifest[name] = value(manifest[name]) if callable(value) else value
        files["manifest.json"] = json.dumps(manifest).encode()
        for level, names in manifest["class_order"].items():
            files[f"labels_{level}.txt"] = "".join(f"{n}\n" for n in names)
        if sealed:
            seal(files)

    return change


def swap_labels(files):
    lines = files["labels_fine.txt"].decode().splitlines()
    files["labels_fine.txt"] = "\n".join([lines[1], lines[0], *lines[2:], ""])


def say(text):
    def change(files):
        files["manifest.json"] = text
        seal(files)

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (swap_labels, "label files do not list the classes"),
        (lambda files: files.pop("labels_coarse.txt"), "label files do not list"),
        (
            altered(sealed=False),
            "manifest does not have the SHA-256 that its 'manifest.sha256'",
        ),
        (altered(sealed=False, window_seconds=4.0), "manifest does not have the SHA-256"),
        (lambda files: files.pop("manifest.sha256"), "manifest does not have the SHA-256"),
        (say(b"{"), "damaged or altered"),
        (say(b"[]"), "names no classes"),
        (lambda files: files.pop("manifest.json"), "carries none itself"),
        (lambda files: files.clear(), "carries none itself"),
        # Checksums that someone computed anew, too.
        (altered(class_order=lambda o: {**o, "fine": o["fine"][::-1]}), "class_order"),
        (altered(audio=lambda a: {**a, "sample_rate": 8000}), "differ in the sample rate"),
        (altered(audio={}), "damaged or altered"),
        (altered(window_seconds=4.0), "windows of 64000 samples, but the model takes 32000"),
        (
            altered(thresholds=lambda t: {**t, "fine": [0.01, *t["fine"][1:]]}),
            "differ in the threshold of the output 'fine'",
        ),
        (altered(content_sha256="0" * 64), "model does not have the SHA-256"),
    ],
)
def test_altered_metadata_is_refused(alone, change, match):
    path = alone("weight_int8")
    rewrite(path, change)
    with pytest.raises(ModelError, match=match) as caught:
        hk.Predictor(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({"without": "fine"}, "labels of the output 'fine'"),
        ({"sample_rate": 44100}, "differ in the sample rate"),
        ({"thresholds": 0.9}, "threshold of the output 'fine'"),
        (None, "the model has no such metadata"),
    ],
)
def test_metadata_of_another_model_is_refused(exported, tiny, tmp_path, wanted, match):
    """The manifest is whole, but MediaPipe would go by something else."""
    manifest = exported[1]
    content = convert(tiny.model, (2 * RATE,))
    if wanted is not None:
        classes = manifest["class_order"]
        heads = {lv: names for lv, names in classes.items() if lv != wanted.get("without")}
        limits = manifest["thresholds"]
        if "thresholds" in wanted:
            limits = {level: [wanted["thresholds"]] * len(c) for level, c in classes.items()}
        rate = wanted.get("sample_rate", RATE)
        content = add_metadata(
            content, name="other", classes=heads, thresholds=limits, sample_rate=rate
        )
    path = tmp_path / "other.tflite"
    path.write_bytes(with_files(content, manifest))
    with pytest.raises(ModelError, match=match):
        hk.Predictor(path)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda data: data[:-1000], "cut off"),
        (lambda data: data + b"\n", "bytes were appended"),
        (lambda data: data + bytes(200_000), "bytes were appended"),
        (lambda data: data[: len(data) // 3], "cannot be"),
        (lambda data: data[:9000] + b"\x00\x01\x02" + data[9003:], "SHA-256"),
        (lambda data: b"RIFF" + data[4:8].replace(b"TFL3", b"WAVE") + data[8:], "TensorFlow"),
        (lambda data: b"", "cannot be run as TensorFlow Lite"),
    ],
)
def test_damaged_files_are_refused(alone, damage, match):
    path = alone("weight_int8")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=match):
        hk.Predictor(path)


def test_a_manifest_beside_must_agree_with_the_one_inside(exported, tmp_path):
    folder = shutil.copytree(exported[0], tmp_path / "copy")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["audio"]["sample_rate"] = 8000
    manifest["audio"]["fmax"] = 4000.0
    manifest["window_seconds"] = 4.0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"differ in 'audio'; they do not belong together"):
        hk.Predictor(folder, format="float16")


def test_files_of_others_are_refused(tmp_path):
    import tensorflow as tf

    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    plain.export(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(tmp_path / "saved"))
    (tmp_path / "foreign.tflite").write_bytes(converter.convert())
    with pytest.raises(ModelError, match=r"foreign.tflite' there is no 'manifest.json'"):
        hk.Predictor(tmp_path / "foreign.tflite")


def test_windows_of_another_length_are_refused(exported):
    predictor = hk.Predictor(exported[0], format="dynamic_int8")
    for wrong in (np.zeros((1, RATE)), np.zeros(2 * RATE), np.zeros((0, 2 * RATE))):
        with pytest.raises(ModelError, match=r"must be \(num_windows, 32000\)"):
            predictor.score_windows(wrong)


# What is refused


@pytest.fixture(scope="module")
def small():
    return make_model("f2ca")


def test_static_int8_needs_typical_inputs(small, tmp_path):
    with pytest.raises(ModelError, match=r"`calibration` \(on.*--calibration.*Received: none"):
        export_model(small, tmp_path / "out", formats=["static_int8"])
    for wrong, match in (
        (np.zeros((3, 4, 5)), "at least one"),
        (np.zeros((0, RATE)), "at least one"),
        (np.full((2, RATE), np.nan), "finite"),
    ):
        with pytest.raises(ModelError, match=rf"`calibration` must be .*{match}"):
            export_model(small, tmp_path / "out", formats=["keras"], calibration=wrong)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("wrong", [-0.1, 2, "much", True, {"tfjs": 0.1}, np.nan])
def test_tolerances_are_checked(small, tmp_path, wrong):
    with pytest.raises(ModelError, match="`tolerance` must be a number from 0 to 1"):
        export_model(small, tmp_path / "out", formats=["keras"], tolerance=wrong)


def test_every_window_of_the_clips_given_is_compared(tiny, tiny_clips, tmp_path):
    few = tiny_clips.subset([3, 5])
    options = {"formats": ["w4"], "tolerance": 1.0}
    report = export_model(tiny.model, tmp_path / "out", waveforms=few, **options)["exports"]
    report = report["w4"]["parity"]
    assert report["compared"] == {"waveforms": 4}
    cut = [frame(hk.data.load_audio(p), 2 * RATE, 2 * RATE) for p in few.paths]
    expected = tiny.model(np.concatenate(cut), training=False)
    found = hk.Predictor(tmp_path / "out", format="w4").score_windows(np.concatenate(cut))
    errors = {level: np.abs(found[level] - expected[level]) for level in found}
    for level, error in errors.items():
        assert report["max"][level] == pytest.approx(error.max(), abs=1e-6)
    worst = np.max([error.max(axis=1) for error in errors.values()], axis=0).argmax()
    assert report["worst"] == f"waveforms {few.paths[worst // 2].name}"


def test_a_clip_to_evaluate_on_that_is_answered_differently_is_refused(
    tiny, tiny_clips, tmp_path
):
    quiet = np.zeros((1, 2 * RATE), "float32")
    options = {"formats": ["static_int8"], "waveforms": quiet, "tolerance": 1.0}
    music = tiny_clips.subset(range(4))
    loose = export_model(
        tiny.model, tmp_path / "a", calibration=quiet, evaluation=music, **options
    )["exports"]["static_int8"]["parity"]
    assert loose["worst"].startswith("evaluation ")  # ranges of silence do not suit it
    with pytest.raises(ModelError, match=r"most for evaluation \d+\.ogg.*allows 0"):
        export_model(
            tiny.model,
            tmp_path / "b",
            calibration=quiet,
            evaluation=music,
            **{**options, "tolerance": 0.0},
        )


def test_operations_keep_more_bits_where_the_tolerance_asks_for_it(tiny, windows, tmp_path):
    loose = export_model(
        tiny.model, tmp_path / "loose", formats=["w4"], waveforms=windows, tolerance=1.0
    )["exports"]["w4"]
    largest = max(loose["parity"]["max"].values())
    limit = 0.03 * largest  # more than careful rounding alone can do
    tight = export_model(
        tiny.model, tmp_path / "tight", formats=["w4"], waveforms=windows, tolerance=limit
    )["exports"]["w4"]
    assert max(tight["parity"]["max"].values()) <= limit
    kept = [rule["regex"] for rule in tight["quantisation"] if rule["regex"].startswith("^")]
    assert kept
    assert not [r for r in loose["quantisation"] if r["regex"].startswith("^")]
    assert loose["size_bytes"] < tight["size_bytes"]
    found = hk.Predictor(tmp_path / "tight", format="w4").score_windows(windows)
    expected = tiny.model(windows, training=False)
    assert max(np.abs(found[lv] - np.asarray(expected[lv])).max() for lv in found) <= limit


def test_a_format_that_cannot_be_kept_may_be_left_out(small, tmp_path):
    manifest = export_model(
        small,
        tmp_path / "out",
        formats=["float32", "dynamic_int8", "static_int8"],
        tolerance={"dynamic_int8": 0.0},
        skip_refused=True,
    )
    assert set(manifest["exports"]) == {"float32"}
    assert set(manifest["refused"]) == {"dynamic_int8", "static_int8"}
    assert "answers differently" in manifest["refused"]["dynamic_int8"]
    assert sorted(os.listdir(tmp_path / "out")) == ["manifest.json", "model.tflite"]


def test_every_voice_of_a_chorus_becomes_int8(openmic, tmp_path):
    model = hk.build_model(
        openmic,
        backbone="mlp",
        method="chorus",
        input="embedding",
        input_shape=(40,),
        method_options={"num_voices": 3},
    )
    inputs = np.random.default_rng(0).normal(0, 1, (6, 40)).astype("float32")
    export_model(
        model, tmp_path / "out", formats=["dynamic_int8"], waveforms=inputs, evaluation=None
    )
    found = Interpreter(str(tmp_path / "out" / "model_dynamic_int8.tflite"))
    kernels = [
        tuple(x["shape"].tolist()) for x in found.get_tensor_details() if x["dtype"] == np.int8
    ]
    assert sorted(kernels) == [(20, 256)] * 3 + [(256, 40)] * 3


def test_a_model_with_nothing_to_quantise_is_refused():
    inputs = keras.Input((8,))
    content = convert(keras.Model(inputs, {"fine": keras.ops.sigmoid(inputs)}), (8,))
    for scheme in SCHEMES:
        with pytest.raises(ModelError, match=f"`{scheme}` quantises conv.*float16"):
            quantise(content, scheme)


def test_an_export_that_answers_nan_is_refused(tmp_path):
    model = make_model()
    weights = model.get_weights()
    model.set_weights([*weights[:-1], np.full_like(weights[-1], np.nan)])
    with pytest.raises(ModelError, match="float32 file answers differently"):
        export_model(model, tmp_path / "out", formats=["float32"])
    assert os.listdir(tmp_path) == []


def test_operations_that_are_not_built_in_and_variables_are_refused():
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.state = tf.Variable(tf.zeros(3))

        @tf.function(input_signature=[tf.TensorSpec((3, 3), tf.float32)])
        def solve(self, x):
            return tf.linalg.inv(x)

        @tf.function(input_signature=[tf.TensorSpec(3, tf.float32)])
        def count(self, x):
            return self.state.assign_add(x)

    def convert(name, ops, resources=False):
        module = Module()
        function = getattr(module, name).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        converter.target_spec.supported_ops = ops
        converter.experimental_enable_resource_variables = resources
        return converter.convert()

    both = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    with pytest.raises(ModelError, match=r"does not build in: \['CUSTOM FlexMatrixInverse'\]"):
        check_operations(convert("solve", both))
    with pytest.raises(ModelError, match="unresolved variables"):
        check_operations(convert("count", both[:1], resources=True))


# Other inputs and outputs


def test_extras_are_signatures_of_a_savedmodel_and_outputs_of_a_file(tiny, windows, tmp_path):
    import tensorflow as tf

    model = tiny.model
    manifest = export_model(
        model,
        tmp_path / "out",
        formats=["savedmodel", "float32"],
        extras=["attention_maps", "embedding"],
    )
    maps = hk.explain.attention_maps(model, windows[:1])
    layer = model.get_layer("embedding_pool")
    embedding = np.asarray(keras.Model(model.input, layer.output)(windows[:1], training=False))
    loaded = tf.saved_model.load(os.fspath(tmp_path / "out" / "saved_model"))
    assert set(loaded.signatures) >= {"serve", "attention_maps", "embedding"}
    found = loaded.signatures["attention_maps"](waveform=tf.constant(windows[:1]))
    np.testing.assert_allclose(found["coarse"], maps, atol=1e-5)
    found = loaded.signatures["embedding"](waveform=tf.constant(windows[:1]))
    np.testing.assert_allclose(found["embedding"], embedding, atol=1e-4)
    path = tmp_path / "out" / "model.tflite"
    runner = Interpreter(model_path=os.fspath(path)).get_signature_runner()
    found = runner(waveform=windows[:1])
    assert set(found) == {"fine", "coarse", "attention_coarse", "embedding"}
    np.testing.assert_allclose(found["attention_coarse"], maps, atol=1e-5)
    np.testing.assert_allclose(found["embedding"], embedding, atol=1e-4)
    assert manifest["exports"]["float32"]["extras"] == ["attention_maps", "embedding"]
    scores = hk.Predictor(path).score_windows(windows[:1])
    np.testing.assert_allclose(scores["fine"], found["fine"], atol=1e-6)


def test_maps_of_a_childless_class_are_zero(small, tmp_path):
    import tensorflow as tf

    export_saved_model(small, tmp_path / "saved", extras=["attention_maps"])
    loaded = tf.saved_model.load(os.fspath(tmp_path / "saved"))
    noise = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype("float32")
    found = loaded.signatures["attention_maps"](waveform=tf.constant(noise))["coarse"]
    np.testing.assert_allclose(found, hk.explain.attention_maps(small, noise), atol=1e-5)
    assert not np.any(found[:, -1])


def test_extras_a_model_does_not_have_are_refused(openmic, tmp_path):
    gmp = make_model("gmp")
    with pytest.raises(ModelError, match=r"no attention_maps to export: method='gmp'"):
        export_saved_model(gmp, tmp_path / "out", extras=["attention_maps"])
    mlp = hk.build_model(openmic, backbone="mlp", input="embedding", input_shape=(8,))
    with pytest.raises(ModelError, match="no embedding to export: its input is 'embedding'"):
        export_saved_model(mlp, tmp_path / "out", extras=["embedding"])
    with pytest.raises(ModelError, match="`extras` may hold"):
        export_saved_model(gmp, tmp_path / "out", extras=["logits"])
    assert os.listdir(tmp_path) == []


def test_a_model_of_log_mel_is_exported_and_answers_audio(tmp_path, tiny_clips):
    model = make_model(input="log_mel")
    manifest = export_model(
        model,
        tmp_path / "out",
        formats=["keras", "float32", "static_int8"],
        calibration=tiny_clips.subset(range(8)),
    )
    assert manifest["exports"]["float32"]["input_shape"] == [51, 80]
    music = np.stack([hk.data.load_audio(p)[:RATE] for p in tiny_clips.paths[:3]])
    expected = model(log_mel(music, AudioConfig()), training=False)
    for name, atol in (("keras", 1e-5), ("float32", 1e-5), ("static_int8", 0.1)):
        found = hk.Predictor(tmp_path / "out", format=name).score_windows(music)
        for level, values in found.items():
            np.testing.assert_allclose(values, expected[level], atol=atol)


@pytest.mark.parametrize("shape", [(8,), (5, 8)])
def test_a_model_of_embeddings_is_exported(openmic, tmp_path, shape):
    model = hk.build_model(openmic, backbone="mlp", input="embedding", input_shape=shape)
    inputs = np.random.default_rng(0).normal(0, 1, (6, *shape)).astype("float32")
    export_model(
        model,
        tmp_path / "out",
        formats=["savedmodel", "float32", "dynamic_int8"],
        waveforms=inputs,
        evaluation=None,
    )
    path = tmp_path / "out" / "model_dynamic_int8.tflite"
    runner = Interpreter(model_path=os.fspath(path)).get_signature_runner()
    found = runner(embedding=inputs[:1])
    np.testing.assert_allclose(found["fine"], model(inputs[:1])["fine"], atol=0.05)
    with pytest.raises(ModelError, match="input='embedding'"):
        hk.Predictor(path)


def test_an_embedding_of_open_length_is_refused(openmic, tmp_path):
    model = hk.build_model(openmic, backbone="mlp", input="embedding", input_shape=(None, 8))
    with pytest.raises(ModelError, match=r"fixed number of time steps.*input_shape=\(10, 8\)"):
        export_model(model, tmp_path / "out", formats=["float32"])
    fixed = make_model(input_shape=(8000,))
    with pytest.raises(ModelError, match="was built with input_shape=\\(8000,\\)"):
        export_model(fixed, tmp_path / "out", formats=["float32"])


def test_clips_are_no_embeddings(openmic, tmp_path, tiny_clips):
    model = hk.build_model(openmic, backbone="mlp", input="embedding", input_shape=(8,))
    for argument in ("evaluation", "calibration"):
        with pytest.raises(ModelError, match=f"`{argument}` holds audio files"):
            export_model(model, tmp_path / "out", formats=["float32"], **{argument: tiny_clips})


@pytest.mark.slow
def test_an_image_model_is_exported_to_onnx_without_a_word(capfd, tmp_path):
    pytest.importorskip("tf2onnx", reason="needs the extra [onnx]")
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    taxonomy = hk.Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})
    model = hk.build_model(taxonomy, backbone="MobileNetV3Small", input="log_mel")
    model.update_manifest(window_seconds=1.0)
    manifest = export_model(model, tmp_path / "out", formats=["onnx"])
    assert max(manifest["parity"]["onnx"].values()) < 1e-5
    # tf2onnx fails at an optimisation, leaves it out and would print a traceback.
    assert "Traceback" not in capfd.readouterr().err


def test_onnx_without_its_packages_says_what_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hmic-keras\[onnx\]'"):
        export_model(tiny.model, tmp_path / "out", formats=["onnx"])
    assert not (tmp_path / "out").exists()


def test_onnx_answers_as_keras(tiny, windows, tmp_path):
    pytest.importorskip("tf2onnx", reason="needs the extra [onnx]")
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    export_model(tiny.model, tmp_path / "out", formats=["onnx"])
    moved = shutil.move(tmp_path / "out" / "model.onnx", tmp_path / "moved.onnx")
    found = hk.Predictor(moved).score_windows(windows)
    expected = tiny.model(windows, training=False)
    for level, values in found.items():
        np.testing.assert_allclose(values, expected[level], atol=1e-4)
    content = moved.read_bytes()

    def refused(data, match):
        moved.write_bytes(data)
        with pytest.raises(ModelError, match=match):
            hk.Predictor(moved)

    refused(content[:2000], r"moved.onnx' cannot be run as ONNX")
    other = content.replace(b'"window_seconds": 2.0', b'"window_seconds": 3.0')
    refused(other, "manifest in it does not have the SHA-256")
    producer = content.replace(b"tf2onnx", b"tf3onnx", 1)
    assert producer != content
    refused(producer, "the model does not have the SHA-256")
