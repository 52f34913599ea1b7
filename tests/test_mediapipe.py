"""Our files in MediaPipe's AudioClassifier, as they are.

MediaPipe lives in an environment of its own, whose interpreter `HMIC_MEDIAPIPE_PYTHON` names:
`python -m venv mp && mp/bin/pip install mediapipe==1.2.2`.
"""

import json
import os
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import soxr

import hmic_keras as hk
from hmic_keras._tflite_file import with_files
from hmic_keras.export import export_model
from hmic_keras.export.metadata import add_metadata
from hmic_keras.export.tflite import convert

PYTHON = os.environ.get("HMIC_MEDIAPIPE_PYTHON")
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="HMIC_MEDIAPIPE_PYTHON names no interpreter"),
    pytest.mark.xdist_group("mediapipe"),
]
RATE, CD = 16000, 44100
WINDOW = 2 * RATE
EVERYTHING = 1e-9  # MediaPipe takes a threshold of 0 for none given


def mediapipe(folder, model, clips, *threshold):
    arrays = {}
    for name, (samples, rate) in clips.items():
        arrays |= {name: samples.astype("float32"), f"{name}/rate": rate}
    np.savez(folder / "clips.npz", **arrays)
    script = Path(__file__).with_name("mediapipe_answers.py")
    command = [PYTHON, script, model, folder / "clips.npz", folder / "out.json", *threshold]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out.json").read_text(encoding="utf-8"))


def as_scores(results, taxonomy):
    """The answers as `Predictor.score_windows` gives them."""
    for result in results:
        assert [head[:2] for head in result["heads"]] == [
            [index, result["heads"][index][1]] for index in range(len(taxonomy.levels))
        ]
        assert {head[1] for head in result["heads"]} == set(taxonomy.levels)
    scores = {level: [] for level in taxonomy.levels}
    for result in results:
        for _, level, found in result["heads"]:
            assert set(found) == set(taxonomy.classes(level))
            scores[level].append([found[name] for name in taxonomy.classes(level)])
    return {level: np.array(rows) for level, rows in scores.items()}


def cut(waveform, window):
    """Windows one after the other, the last filled up with silence, as MediaPipe cuts."""
    count = -(-len(waveform) // window)
    return np.pad(waveform, (0, count * window - len(waveform))).reshape(count, window)


@pytest.fixture(scope="module")
def files(tiny, tmp_path_factory):
    pytest.importorskip("ai_edge_quantizer", reason="needs the extra [export]")
    folder = tmp_path_factory.mktemp("mediapipe") / "tiny"
    export_model(tiny.model, folder, formats=["float32", "float16", "dynamic_int8"])
    return folder


@pytest.fixture(scope="module")
def music(tiny_clips):
    """Seven seconds at 16 kHz: three windows and a half."""
    return np.concatenate([hk.data.load_audio(p) for p in tiny_clips.paths[:3]])[: 7 * RATE]


@pytest.mark.parametrize("name", ["float32", "float16", "dynamic_int8"])
def test_both_heads_agree_window_by_window(files, music, tmp_path, name):
    predictor = hk.Predictor(files, format=name)
    path = files / hk.zoo.FILES[name]
    results = mediapipe(tmp_path, path, {"music": (music, RATE)}, EVERYTHING)["music"]
    assert [result["ms"] for result in results] == [0, 2000, 4000, 6000]
    found = as_scores(results, predictor.taxonomy)
    expected = predictor.score_windows(cut(music, WINDOW))
    for level, values in expected.items():
        np.testing.assert_allclose(found[level], values, atol=1e-3)
        assert np.ptp(values, axis=0).max() > 1e-3  # windows differ
    # Whole windows are those that `predict` answers.
    whole = predictor.predict(music[: 3 * WINDOW], sample_rate=RATE).windows
    np.testing.assert_allclose(found["fine"][:3], whole["fine"], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "rate", "allowed"),
    [
        ("float32", CD, 1e-4),
        ("float32", 48000, 1e-4),
        ("float32", 22050, 1e-4),
        ("float32", 8000, 1e-4),
        # A sample that differs in its last bit may round an activation to another int8.
        ("dynamic_int8", CD, 0.01),
    ],
)
def test_another_rate_agrees_window_by_window(files, music, tmp_path, name, rate, allowed):
    """All of the band, since `Predictor` has MediaPipe's resampler, too."""
    predictor = hk.Predictor(files, format=name, resampler="mediapipe")
    path = files / hk.zoo.FILES[name]
    whole = soxr.resample(music, RATE, rate, "VHQ")[: 3 * 2 * rate].astype("float32")
    clips = {"mono": (whole, rate), "stereo": (np.stack([whole, 0.5 * whole], axis=1), rate)}
    answered = mediapipe(tmp_path, path, clips, EVERYTHING)
    for clip, (samples, _) in clips.items():
        own = predictor.predict(samples, sample_rate=rate).windows
        found = as_scores(answered[clip], predictor.taxonomy)
        for level, values in own.items():
            assert len(values) == 3
            # Its resampler leaves a few samples over, a window of their own.
            np.testing.assert_allclose(found[level][:3], values, atol=allowed)


def test_cd_quality_as_packaged_models_hear_it(files, music, tmp_path):
    """Below what its resampler dampens, MediaPipe also agrees with soxr."""
    predictor = hk.Predictor(files, format="dynamic_int8")
    low = soxr.resample(soxr.resample(music, RATE, 7000), 7000, CD).astype("float32")
    path = files / "model_dynamic_int8.tflite"
    answered = mediapipe(tmp_path, path, {"low": (low, CD)}, EVERYTHING)["low"]
    found = as_scores(answered, predictor.taxonomy)
    own = predictor.predict(low[: 3 * 2 * CD], sample_rate=CD).windows
    for level, values in own.items():
        np.testing.assert_allclose(found[level][:3], values, atol=0.01)


def test_what_mediapipe_hands_to_the_model_is_what_resample_makes(music, tmp_path):
    """Sample by sample: the model that is asked answers its input."""
    given = keras.Input((WINDOW,), name="waveform")
    halved = keras.layers.Rescaling(0.5, 0.5)(given)
    order = {"fine": [f"sample{index}" for index in range(WINDOW)]}
    content = add_metadata(
        convert(keras.Model(given, {"fine": halved}), (WINDOW,)),
        name="identity",
        classes=order,
        thresholds={"fine": [0.0] * WINDOW},
        sample_rate=RATE,
    )
    path = tmp_path / "identity.tflite"
    path.write_bytes(with_files(content, {"class_order": order}))
    samples = soxr.resample(music, RATE, CD).astype("float32")
    seen = mediapipe(tmp_path, path, {"music": (samples, CD)}, EVERYTHING)["music"]
    windows = np.array(
        [[r["heads"][0][2].get(n, 0.0) for n in order["fine"]] for r in seen], "float32"
    )
    ours = hk.data.resample(samples, CD, RATE, resampler="mediapipe")
    heard = 2 * windows.reshape(-1)[: len(ours)] - 1
    np.testing.assert_allclose(heard, ours, atol=1e-6)
    assert np.abs(heard - hk.data.resample(samples, CD, RATE)).max() > 1e-3


def test_thresholds_of_the_file_hold_unless_another_is_given(tiny, files, music, tmp_path):
    predictor = hk.Predictor(files, format="float32")
    (result, *_) = mediapipe(tmp_path, files / "model.tflite", {"music": (music, RATE)})[
        "music"
    ]
    scores = predictor.score_windows(music[np.newaxis, :WINDOW])
    for _, level, found in result["heads"]:
        lowest = min(tiny.model.manifest["thresholds"][level])
        expected = {
            name
            for name, score in zip(
                predictor.taxonomy.classes(level), scores[level][0], strict=True
            )
            if score >= lowest
        }
        assert set(found) == expected
