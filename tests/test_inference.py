"""Tests of `hmic_keras.inference`."""

import json
import logging
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import soundfile
import soxr
from audio_files import bell, cut, tone, write

import hmic_keras as hk
from hmic_keras.errors import AudioError, ModelError
from hmic_keras.inference import Prediction

FORMATS = ("keras", "savedmodel", "tflite")
EVERY_FORMAT = pytest.mark.parametrize("form", FORMATS)
FILES = {"keras": "model.keras", "savedmodel": "saved_model", "tflite": "model.tflite"}
# What holds a model's content, so that cutting it off ruins the model.
CONTENT = {**FILES, "savedmodel": "saved_model/saved_model.pb"}
RATE = 16000
WINDOW = 2 * RATE


@pytest.fixture(scope="module")
def predictors(tiny_bundle):
    return {form: hk.Predictor(tiny_bundle, format=form) for form in FORMATS}


@pytest.fixture(scope="module")
def music(tiny_clips):
    """Nine seconds of music at 16 kHz."""
    return np.concatenate([hk.data.load_audio(path) for path in tiny_clips.paths[:3]])


def assert_same(first, second, atol=1e-5):
    assert list(first.probabilities) == list(second.probabilities)
    for level, values in first.probabilities.items():
        np.testing.assert_allclose(values, second.probabilities[level], atol=atol)


def change_manifest(bundle, **entries):
    """Sets entries of a manifest; None removes one. `"audio/sample_rate"` goes inside."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, value in entries.items():
        *outer, last = name.split("/")
        place = manifest
        for key in outer:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    path.write_text(json.dumps(manifest))


# Answers


@EVERY_FORMAT
def test_the_answer_is_the_mean_of_what_the_model_says_of_each_window(
    predictors, tiny, music, openmic, form
):
    starts = [0, WINDOW, 2 * WINDOW, 3 * WINDOW, len(music) - WINDOW]
    windows = np.stack([music[start : start + WINDOW] for start in starts])
    expected = tiny.model(windows, training=False)
    result = predictors[form].predict(music, sample_rate=RATE)
    assert list(result.probabilities) == list(openmic.levels)
    for level in openmic.levels:
        np.testing.assert_allclose(result.windows[level], expected[level], atol=1e-5)
        mean = np.asarray(expected[level]).mean(axis=0)
        np.testing.assert_allclose(result.probabilities[level], mean, atol=1e-5)
        assert result.probabilities[level].dtype == np.float32
        assert np.ptp(np.asarray(expected[level]), axis=0).max() > 1e-4  # windows differ


@EVERY_FORMAT
@pytest.mark.parametrize(("seconds", "windows"), [(0.5, 1), (1, 1), (3.1, 2), (60, 30)])
def test_any_length_is_answered(predictors, music, form, seconds, windows):
    audio = np.resize(music, round(seconds * RATE))
    result = predictors[form].predict(audio, sample_rate=RATE)
    for level, classes in (("fine", 20), ("coarse", 7)):
        assert result.windows[level].shape == (windows, classes)
        assert ((result.windows[level] >= 0) & (result.windows[level] <= 1)).all()
    assert_same(result, predictors["keras"].predict(audio, sample_rate=RATE))


def test_a_short_clip_counts_as_its_own_repetition(predictors, music, caplog):
    short = music[: RATE // 2]
    result = predictors["keras"].predict(short, sample_rate=RATE)
    assert "0.50 s; it is repeated" in caplog.text
    assert_same(result, predictors["keras"].predict(np.tile(short, 4), sample_rate=RATE))


@EVERY_FORMAT
@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [
        ("mono.wav", 16000, 1),
        ("stereo.flac", 44100, 2),
        ("a.ogg", 44100, 2),
        ("a.mp3", 44100, 1),
    ],
)
def test_files_of_every_kind_are_answered(predictors, tmp_path, form, name, rate, channels):
    samples = np.stack([bell(2.5, rate)] * channels, axis=1)
    path = write(tmp_path / name, samples, rate)
    result = predictors[form].predict(path)
    # The same audio, never encoded, resampled by another call.
    plain = samples[:, 0] if rate == RATE else soxr.resample(samples[:, 0], rate, RATE)
    expected = predictors["keras"].predict(plain, sample_rate=RATE)
    lossy = path.suffix in (".ogg", ".mp3")
    assert_same(result, expected, atol=0.02 if lossy else 1e-3)
    assert_same(result, predictors[form].predict(str(path)))


def test_arrays_of_every_kind_are_answered_alike(predictors, music):
    predictor = predictors["keras"]
    pcm = np.round(music * 32767).astype(np.int16)
    expected = predictor.predict(pcm.astype(np.float32) / 32768, sample_rate=RATE)
    for array in (
        pcm,
        pcm.astype(np.int32) * 65536,
        pcm / 32768,
        np.stack([pcm, pcm], axis=1),
        np.stack([pcm / 16384, np.zeros(len(pcm))], axis=1),
    ):
        assert_same(predictor.predict(array, sample_rate=RATE), expected, atol=1e-6)
    faster = soxr.resample(pcm / 32768, RATE, 48000)
    assert_same(predictor.predict(faster, sample_rate=48000), expected, atol=0.02)


def test_a_model_itself_answers_as_its_files_do(predictors, tiny, music):
    result = hk.Predictor(tiny.model).predict(music, sample_rate=RATE)
    assert_same(result, predictors["keras"].predict(music, sample_rate=RATE), atol=1e-6)


@EVERY_FORMAT
def test_a_file_of_a_folder_may_be_named_itself(predictors, tiny_bundle, music, form):
    predictor = hk.Predictor(tiny_bundle / FILES[form])
    assert_same(
        predictor.predict(music, sample_rate=RATE),
        predictors[form].predict(music, sample_rate=RATE),
        atol=1e-6,
    )


@EVERY_FORMAT
def test_silence_is_answered_with_a_warning(predictors, tmp_path, caplog, form):
    path = write(tmp_path / "quiet.wav", np.zeros(3 * RATE), RATE)
    with caplog.at_level(logging.WARNING, logger="hmic_keras"):
        result = predictors[form].predict(path)
    assert f"{path} is silent" in caplog.text
    assert np.isfinite(result.probabilities["fine"]).all()


@EVERY_FORMAT
def test_threads_get_the_answers_of_a_single_one(predictors, music, form):
    predictor = predictors[form]
    rng = np.random.default_rng(0)
    pieces = [music[s : s + rng.integers(8000, 3 * WINDOW)] for s in range(0, 64000, 4000)]

    def scores(piece):
        return predictor.predict(piece, sample_rate=RATE).probabilities["fine"]

    serial = [scores(piece) for piece in pieces]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(scores, pieces))
    np.testing.assert_allclose(parallel, serial, atol=1e-6)
    assert np.ptp(serial, axis=0).max() > 1e-4  # a mix-up would show


def test_the_manifest_brings_thresholds_and_settings(predictors, tiny):
    for predictor in predictors.values():
        assert predictor.sample_rate == RATE
        assert predictor.window_seconds == 2.0
        for level, stated in tiny.model.manifest["thresholds"].items():
            np.testing.assert_allclose(predictor.thresholds[level], stated, rtol=1e-6)


@EVERY_FORMAT
def test_a_changed_threshold_in_the_manifest_is_not_an_altered_model(bundle, form):
    change_manifest(bundle, **{"thresholds/coarse": [0.25] * 7})
    predictor = hk.Predictor(bundle, format=form)
    np.testing.assert_array_equal(predictor.thresholds["coarse"], np.float32([0.25] * 7))


def test_windows_can_be_scored_as_they_are(predictors, music):
    windows = music[: 2 * WINDOW].reshape(2, WINDOW)
    for form in FORMATS:
        scores = predictors[form].score_windows(windows)
        expected = predictors[form].predict(windows.ravel(), sample_rate=RATE).windows
        assert list(scores) == ["fine", "coarse"]
        np.testing.assert_array_equal(scores["fine"], expected["fine"])


# Prediction


@pytest.fixture
def prediction():
    taxonomy = hk.Taxonomy.from_dict(
        {"strings": ["violin", "cello", "bass"], "brass": ["horn"]}
    )
    fine = np.array([0.25, 0.75, 0.25, 0.125], np.float32)
    coarse = np.array([0.75, 0.1234567], np.float32)
    return Prediction(
        taxonomy,
        {"fine": fine, "coarse": coarse},
        {"fine": fine[None], "coarse": coarse[None]},
        {"fine": np.float32([0.25, 0.5, 0.375, 0.125]), "coarse": np.float32([0.9, 0.2])},
        seconds=1.0,
    )


def test_tags_are_the_classes_that_reach_their_threshold_highest_first(prediction):
    assert prediction.tags("fine") == [("cello", 0.75), ("violin", 0.25), ("horn", 0.125)]
    assert prediction.tags("coarse") == []


def test_top_lists_the_most_probable_whether_present_or_not(prediction):
    assert prediction.top("fine", 3) == [("cello", 0.75), ("violin", 0.25), ("bass", 0.25)]
    assert [name for name, _ in prediction.top("coarse")] == ["strings", "brass"]


def test_to_dict_is_ready_for_json_in_the_order_of_the_taxonomy(prediction):
    plain = json.loads(json.dumps(prediction.to_dict()))
    assert plain == {
        "fine": {"violin": 0.25, "cello": 0.75, "bass": 0.25, "horn": 0.125},
        "coarse": {"strings": 0.75, "brass": 0.123457},
    }
    assert list(plain["fine"]) == ["violin", "cello", "bass", "horn"]


# Models that cannot be used


def refused(match, *args, **kwargs):
    with pytest.raises(ModelError, match=match) as caught:
        hk.Predictor(*args, **kwargs)
    assert "\n" not in str(caught.value)


def strip(path):
    """Takes the manifest out of a file, as exports of version 0.1 were."""
    if path.is_dir():
        shutil.rmtree(path / "assets.extra")
        return
    with zipfile.ZipFile(path) as archive:
        length = min(entry.header_offset for entry in archive.infolist())
    path.write_bytes(path.read_bytes()[:length])


@pytest.mark.parametrize("form", ["savedmodel", "tflite"])
def test_a_file_without_a_manifest_in_it_needs_the_one_beside_it(
    bundle, predictors, music, form
):
    strip(bundle / FILES[form])
    change_manifest(bundle, sha256=None)
    assert_same(
        hk.Predictor(bundle / FILES[form]).predict(music, sample_rate=RATE),
        predictors[form].predict(music, sample_rate=RATE),
        atol=1e-6,
    )
    (bundle / "manifest.json").unlink()
    refused(f"{FILES[form]}' there is no 'manifest.json'", bundle / FILES[form])


@pytest.mark.parametrize("form", ["savedmodel", "tflite"])
def test_the_manifest_of_the_folder_above_is_another_models(bundle, form):
    (bundle / "inner").mkdir()
    strip(bundle / FILES[form])
    shutil.move(bundle / FILES[form], bundle / "inner" / FILES[form])
    refused("there is no 'manifest.json'", bundle / "inner" / FILES[form])


def test_a_keras_file_needs_nothing_beside_it(bundle, predictors, music):
    (bundle / "manifest.json").unlink()
    predictor = hk.Predictor(shutil.move(bundle / "model.keras", bundle.parent / "moved.keras"))
    assert_same(
        predictor.predict(music, sample_rate=RATE),
        predictors["keras"].predict(music, sample_rate=RATE),
        atol=1e-6,
    )


@EVERY_FORMAT
@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"sha256": ["a"]}', "\x00"])
def test_a_manifest_that_is_none_is_refused(bundle, form, text):
    (bundle / "manifest.json").write_text(text)
    refused("manifest.json' is no", bundle, format=form)


@EVERY_FORMAT
@pytest.mark.parametrize(
    ("entry", "value", "match"),
    [
        ("taxonomy", None, "it lacks 'taxonomy'"),
        ("taxonomy", {"name": "x"}, "cannot be used"),
        ("audio", None, "it lacks 'audio'"),
        ("audio/sample_rate", "fast", "fast"),
        ("input", "embedding", "input='embedding'"),
        ("taxonomy_hash", "0" * 64, "taxonomy_hash"),
        ("class_order", {"fine": ["violin"], "coarse": ["voice"]}, "class_order"),
        ("thresholds/fine", [0.5], "a number from 0 to 1 for each class"),
        ("thresholds/fine", [7.0] * 20, "a number from 0 to 1 for each class"),
        ("thresholds/fine", ["high"] * 20, "high"),
        ("thresholds", [0.5], "cannot be used"),
        ("window_seconds", 0, "window_seconds"),
    ],
)
def test_a_manifest_with_a_broken_entry_is_refused(bundle, form, entry, value, match):
    change_manifest(bundle, **{entry: value})
    refused(f"{FILES[form]}.*{match}", bundle, format=form)


@EVERY_FORMAT
def test_a_manifest_of_another_model_is_refused(bundle, form):
    other = hk.Taxonomy.from_dict({"strings": ["violin"], "brass": ["horn"]})
    order = {level: list(other.classes(level)) for level in other.levels}
    change_manifest(
        bundle,
        taxonomy=other.to_dict(),
        taxonomy_hash=other.hash,
        class_order=order,
        thresholds=None,
    )
    refused(f"{FILES[form]}'.*do not belong together", bundle, format=form)


def test_a_tflite_file_of_another_window_is_refused(bundle):
    change_manifest(bundle, window_seconds=3.0)
    refused("windows of 48000 samples, but the model takes 32000", bundle, format="tflite")


@EVERY_FORMAT
def test_a_file_that_changed_after_export_is_refused(bundle, form):
    path = bundle / CONTENT[form]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(f"{FILES[form]}' does not have the SHA-256", bundle, format=form)


@EVERY_FORMAT
@pytest.mark.parametrize("share", [0, 0.3, 0.98])
def test_a_file_that_is_cut_off_is_refused_without_a_checksum_too(bundle, form, share):
    change_manifest(bundle, sha256=None)
    cut(bundle / CONTENT[form], share)
    refused(f"{FILES[form]}' (is no|cannot be)", bundle, format=form)


@pytest.mark.parametrize("content", [None, b"x"])
def test_a_savedmodel_without_its_variables_is_refused(bundle, content):
    change_manifest(bundle, sha256=None)
    variables = bundle / "saved_model" / "variables" / "variables.data-00000-of-00001"
    variables.unlink() if content is None else variables.write_bytes(content)
    refused("saved_model' cannot be used: its 'variables'", bundle, format="savedmodel")
    shutil.rmtree(bundle / "saved_model" / "assets.extra")
    refused("saved_model' cannot be read as a SavedModel", bundle, format="savedmodel")


def test_a_damaged_keras_file_is_refused(bundle):
    change_manifest(bundle, sha256=None)
    path = bundle / "model.keras"
    data = bytearray(path.read_bytes())
    data[2000:4000] = bytes(2000)
    path.write_bytes(data)
    refused("model.keras' ", path)


@EVERY_FORMAT
def test_a_format_that_is_not_there_is_refused(bundle, form):
    path = bundle / FILES[form]
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused(f"{bundle}' holds no '{FILES[form]}'", bundle, format=form)


def test_a_format_nobody_knows_or_another_than_the_files_is_refused(tiny_bundle):
    refused("`format` must be one of", tiny_bundle, format="tfjs")
    refused("holds no 'model_w4.tflite'", tiny_bundle, format="w4")
    refused("'tflite', not 'keras'", tiny_bundle / "model.tflite", format="keras")
    refused("'savedmodel', not 'tflite'", tiny_bundle / "saved_model", format="tflite")


@pytest.mark.parametrize("name", ["model.h5", "model.pt", "model", "song.wav"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"1234")
    refused(f"{name}' is no model", tmp_path / name)


def test_what_is_no_model_is_refused(tmp_path):
    refused("neither a path nor one of the packaged models", "no-such-model")
    refused(f"{tmp_path}' holds no 'model.keras'", tmp_path)
    (tmp_path / "a.keras").write_text("hello")
    refused("a.keras' is no Keras model", tmp_path / "a.keras")
    for value in (None, 3, keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])):
        refused("`model` must be", value)


def test_models_that_are_not_of_this_package_are_refused(tmp_path):
    inputs = keras.Input((4,))
    keras.Sequential([inputs, keras.layers.Dense(2)]).save(tmp_path / "foreign.keras")
    refused("foreign.keras' holds a Sequential", tmp_path / "foreign.keras")
    unsafe = keras.Sequential([inputs, keras.layers.Lambda(lambda x: x + 1)])
    unsafe.save(tmp_path / "unsafe.keras")
    refused("unsafe.keras' cannot be read.*Lambda", tmp_path / "unsafe.keras")


def test_a_foreign_savedmodel_is_refused(bundle):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    shutil.rmtree(bundle / "saved_model")
    model.export(bundle / "saved_model", verbose=False)
    change_manifest(bundle, sha256=None)
    refused("saved_model'", bundle, format="savedmodel")


def test_a_model_of_embeddings_is_refused(openmic, tmp_path):
    model = hk.build_model(openmic, backbone="mlp", input="embedding", input_shape=(8,))
    refused("input='waveform'", model)
    model.save(tmp_path / "mlp.keras")
    refused("mlp.keras' with input='embedding'", tmp_path / "mlp.keras")


# Audio that cannot be used


def test_an_array_needs_its_sample_rate(predictors, music):
    with pytest.raises(ValueError, match="`sample_rate` is needed"):
        predictors["keras"].predict(music)


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "text", "folder"])
def test_a_file_that_cannot_be_decoded_is_refused_by_name(predictors, tmp_path, how):
    path = tmp_path / "song.flac"
    match how:
        case "empty":
            path.touch()
        case "truncated":
            cut(write(path, tone(3.0)), 0.5)
        case "text":
            path.write_text("no audio at all")
        case "folder":
            path.mkdir()
    with pytest.raises(AudioError, match=f"^{path}: "):
        predictors["tflite"].predict(path)


@pytest.mark.parametrize(
    "array",
    [np.full(RATE, np.nan), np.zeros(0), np.zeros((2, 2, 2)), np.full(RATE, 9.0), np.ones(800)],
)
def test_an_array_that_is_no_audio_is_refused(predictors, array):
    with pytest.raises(AudioError, match="array"):
        predictors["keras"].predict(array, sample_rate=RATE)


# TensorFlow Lite alone


def test_a_tflite_file_is_run_without_tensorflow(tiny_bundle, predictors, music, tmp_path):
    pytest.importorskip("ai_edge_litert")
    soundfile.write(tmp_path / "music.wav", music, RATE, subtype="FLOAT")
    code = f"""
import sys
for name in ("tensorflow", "keras"):
    sys.modules[name] = None
from hmic_keras import Predictor
predictor = Predictor({str(tiny_bundle / "model.tflite")!r})
result = predictor.predict({str(tmp_path / "music.wav")!r})
print(result.to_dict()["fine"]["violin"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = predictors["tflite"].predict(music, sample_rate=RATE).to_dict()
    assert float(done.stdout) == pytest.approx(expected["fine"]["violin"], abs=1e-5)
