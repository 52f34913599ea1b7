"""The scripts that made the models of the zoo, on networks of a few weights."""

import dataclasses
import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import soundfile

from hmic_keras import Taxonomy, build_model, load_model
from hmic_keras._files import write_json
from hmic_keras.data import LabelledClips
from hmic_keras.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
CARDS = sorted((ROOT / "benchmarks" / "cards").glob("*.yaml"))
OPENMIC = Taxonomy.load("openmic")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def network(method="multitask"):
    keras.utils.set_random_seed(0)
    model = build_model(OPENMIC, "conv", method, backbone_options={"width": 2})
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("_logits"):  # answers that differ from clip to clip
            layer.set_weights([3 * rng.normal(size=w.shape) for w in layer.get_weights()])
    return model


def waveforms(rows=3, seconds=1.0):
    rng = np.random.default_rng(1)
    return rng.normal(0, 0.1, (rows, int(16000 * seconds))).astype("float32")


def test_attention_is_all_that_is_added():
    from add_attention import with_attention

    given, x = network(), waveforms()
    model = with_attention(given, own_scores=True)
    before, after = given(x), model(x)
    np.testing.assert_allclose(after["fine"], before["fine"], atol=1e-6)
    # A family answers as its classifier did, or higher.
    assert (np.asarray(after["coarse"]) >= np.asarray(before["coarse"]) - 1e-6).all()
    assert {w.path.split("/")[0] for w in model.trainable_variables} == {"coarse_attention"}
    mixing = with_attention(given, own_scores=False)
    assert "coarse_own_logits" not in {layer.name for layer in mixing.layers}
    np.testing.assert_allclose(mixing(x)["fine"], before["fine"], atol=1e-6)


def test_quietening_keeps_what_is_said_of_music(monkeypatch):
    import quieten

    # Few weights have a long way to go.
    monkeypatch.setattr(quieten, "LEARNING_RATE", 1e-2)
    rng = np.random.default_rng(0)
    music = rng.normal(size=(6000, 12)).astype("float32")
    music[:, 0] = 0.0  # what nothing but noise has
    nothing = (0.1 * rng.normal(size=(2000, 12)) + 3 * np.eye(12)[0]).astype("float32")
    inputs = keras.Input((12,))
    layer = keras.layers.Dense(3, name="fine_logits")
    model = keras.Model(inputs, layer(inputs))
    kernel = rng.normal(size=(12, 3))
    kernel[0] = 1.0
    layer.set_weights([kernel, np.zeros(3)])

    def answers(x):
        return np.asarray(keras.ops.sigmoid(model(x)))

    before = answers(music)
    first, last = quieten._teach(layer, music, nothing)
    assert first > 0.95
    assert last < 0.3
    assert np.quantile(answers(nothing).max(axis=1), 0.995) == pytest.approx(last, abs=1e-4)
    assert np.abs(answers(music) - before).max() < 0.05


@pytest.mark.slow
def test_a_student_comes_to_answer_as_its_teacher(tmp_path, monkeypatch):
    import distil

    monkeypatch.setattr(distil, "BATCH", 8)
    teacher, student, x = network(), network("multitask"), waveforms(16)
    for layer in student.layers:
        if layer.name.endswith("_logits"):  # it knows nothing yet
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    student.update_manifest(provenance={"from": "a test"})
    folder = tmp_path / "mixtures"
    distil.keep(iter([x[:8], x[8:]]), 16, student, teacher, folder)
    kept = np.load(folder / "fine.npy")
    np.testing.assert_allclose(kept, teacher(x)["fine"], atol=1e-3)
    frames = student.get_layer("log_mel_spectrogram")(x)
    np.testing.assert_allclose(np.load(folder / "spectrogram.npy"), frames, atol=1e-2)

    coloured = distil.with_colours(student)
    np.testing.assert_array_equal(coloured(x)["fine"], student(x)["fine"])
    config = dataclasses.replace(
        Recipe.load("hmic-base").training, epochs=60, learning_rate=1e-2, weight_averaging=0.5
    )
    before = np.abs(np.asarray(coloured(x)["fine"]) - kept).mean()
    losses = distil.learn(coloured, folder, config, tmp_path / "backup")
    assert len(losses) == 60
    assert losses[-1] < losses[0]
    assert np.abs(np.asarray(coloured(x)["fine"]) - kept).mean() < before / 2


@pytest.fixture
def examples(request):
    """Stems of one pitch each, the last of them sung, and who makes examples of them.

    A parameter is the share of labels.
    """
    import adapt

    from hmic_keras.data.stems import FRAME, StemBank

    classes = OPENMIC.classes("fine")
    names = ("violin", "voice", "piano", "voice")
    time = np.arange(500 * FRAME) / 16000
    audio = [9000 * np.sin(2 * np.pi * 220 * (number + 1) * time) for number in range(4)]
    bank = StemBank(
        OPENMIC,
        16000,
        np.array(audio).astype("int16").reshape(4, 500, FRAME),
        np.array([classes.index(name) for name in names], np.int32),
        np.arange(4, dtype=np.int32),
    )
    training = dataclasses.replace(Recipe.load("hmic-base").training, crop_seconds=1.0)
    share = getattr(request, "param", adapt.LABELS)
    return adapt.Examples(network(), network(), training, bank, np.array([3]), share)


@pytest.mark.parametrize(
    ("examples", "share"), [(0.5, 0.5), (1.0, 1.0), (0.25, 0.25)], indirect=["examples"]
)
def test_the_voice_is_learned_from_labels_and_all_else_from_the_teacher_too(examples, share):
    rng = np.random.default_rng(0)
    labels = rng.choice([-1.0, 0.0, 1.0], size=(50, 20))
    fine, coarse = rng.random((50, 20)), rng.random((50, 7))
    found = examples.targets(labels, fine, coarse)
    truth = OPENMIC.close_labels({"fine": labels})
    for answers, level, target in zip((fine, coarse), ("fine", "coarse"), found, strict=True):
        for row, column in np.ndindex(answers.shape):
            told, answer = truth[level][row, column], answers[row, column]
            expected = answer if told < 0 else share * told + (1 - share) * answer
            if OPENMIC.classes(level)[column] == "voice" and told >= 0:
                expected = told
            assert target[row, column] == pytest.approx(expected), (level, row, column)


def test_music_teaches_what_was_laid_over_it_and_what_the_teacher_says(
    examples, tmp_path, monkeypatch
):
    import adapt
    import pandas as pd

    monkeypatch.setattr(adapt, "OVERLAID_BY_VOICE", 1.0)
    rng = np.random.default_rng(0)
    crops = rng.normal(0, 3000, (100, 16000)).astype(np.int16)
    np.save(tmp_path / "crops.npy", crops)
    packages = pd.DataFrame({"package": ["one"] * 30 + ["two"] * 70})
    packages.to_csv(tmp_path / "crops.csv", index=False)
    (mixtures,) = examples.mixtures(64)
    (music,) = examples.recordings(tmp_path, 64)
    for spectrogram, fine, coarse in (mixtures, music):
        assert np.isfinite(spectrogram).all()
        assert len(spectrogram) == 64
        assert fine.shape == (64, 20)
        assert coarse.shape == (64, 7)
        assert fine.min() >= 0
        assert fine.max() <= 1
    voice = OPENMIC.classes("fine").index("voice")
    family = OPENMIC.classes("coarse").index("voice")
    # A random network does not answer 1 exactly: half of the crops had a voice laid over them.
    overlaid = music[1][:, voice] == 1.0
    np.testing.assert_array_equal(overlaid, music[2][:, family] == 1.0)
    assert 20 < overlaid.sum() < 44


def test_recordings_of_an_earlier_run_are_heard_again(tmp_path):
    import adapt
    import distil

    batch = distil.BATCH
    numbers = np.arange(3 * batch, dtype="float16")
    batches = [(part, part + 0.5, -part) for part in numbers.reshape(3, batch)]
    distil.write(iter(batches), 3 * batch, ("fine", "coarse"), tmp_path)
    write_json(tmp_path / distil.FACTS, {"mixtures": batch})
    found = list(adapt.recordings_of(tmp_path, batch, ("fine", "coarse")))
    ((spectrogram, fine, coarse),) = found
    assert len(set(spectrogram)) == batch
    assert spectrogram.min() >= batch
    np.testing.assert_array_equal(fine, spectrogram + np.float16(0.5))
    np.testing.assert_array_equal(coarse, -spectrogram)
    with pytest.raises(SystemExit, match=f"holds {2 * batch} recordings"):
        list(adapt.recordings_of(tmp_path, 3 * batch, ("fine", "coarse")))


def test_music_of_one_package_is_limited_and_every_crop_comes_as_often(tmp_path, monkeypatch):
    import adapt
    import pandas as pd

    monkeypatch.setattr(adapt, "MOST_OF_A_PACKAGE", 10)
    np.save(tmp_path / "crops.npy", np.arange(100, dtype=np.int16)[:, np.newaxis])
    packages = pd.DataFrame({"package": ["one"] * 6 + ["two"] * 94})
    packages.to_csv(tmp_path / "crops.csv", index=False)
    rng = np.random.default_rng(0)
    heard = np.concatenate(list(adapt._music(tmp_path, 32, 8, rng)))[:, 0]
    numbers, counts = np.unique(heard, return_counts=True)
    assert len(numbers) == 16
    assert set(counts) == {2}
    assert set(range(6)) < set(numbers)


def test_weights_are_averaged_layer_by_layer():
    import adapt
    import distil

    one, other = network(), distil.with_colours(network())
    for layer in other.layers:
        layer.set_weights([weight + 4 for weight in layer.get_weights()])
    before = [weight.copy() for layer in one.layers for weight in layer.get_weights()]
    adapt.averaged(one, other, 0.25)
    after = [weight for layer in one.layers for weight in layer.get_weights()]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old + 1, rtol=1e-5)


@pytest.mark.slow
def test_only_biases_and_classifiers_learn_in_a_small_update(tmp_path, monkeypatch):
    import adapt
    import distil

    monkeypatch.setattr(distil, "BATCH", 8)
    x = waveforms(16)
    distil.keep(iter([x[:8], x[8:]]), 16, network(), network(), tmp_path / "examples")
    student = distil.with_colours(network())
    student.get_layer("fine_logits").set_weights(
        [np.zeros_like(w) for w in student.get_layer("fine_logits").get_weights()]
    )
    adapt.teach_biases(student)
    before = {weight.path: np.asarray(weight) for weight in student.weights}
    config = dataclasses.replace(Recipe.load("hmic-base").training, epochs=5)
    losses = distil.learn(student, tmp_path / "examples", config, tmp_path / "backup")
    assert losses[-1] < losses[0]
    logits = {path: np.asarray(w) for w in student.weights if "_logits/" in (path := w.path)}
    found = adapt.fit_classifiers(student, tmp_path / "examples")
    assert found["fine"][1] < found["fine"][0]
    for weight in student.weights:
        if weight.path in logits:
            assert (np.asarray(weight) != logits[weight.path]).any()
    after = {weight.path: np.asarray(weight) for weight in student.weights}
    moved = {path for path, old in before.items() if (old != after[path]).any()}
    assert {path for path in moved if "_logits/" not in path} == {
        path for path in before if path.endswith("/beta")
    }
    assert len([path for path in moved if "_logits/" in path]) == 4
    # What is saved answers as what learned.
    student.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        load_model(tmp_path / "model.keras")(x)["fine"], student(x)["fine"], atol=1e-6
    )


def test_crops_of_a_piece_are_spread_over_it_and_silence_is_left_out(tmp_path):
    import free_music

    rate = 8000
    sound = np.repeat(np.arange(1, 61) / 100, rate).astype("float32")
    sound *= np.sin(2 * np.pi * 440 * np.arange(len(sound)) / rate)
    sound[: 10 * rate] = 0
    soundfile.write(tmp_path / "long.wav", sound, rate)
    soundfile.write(tmp_path / "short.wav", sound[: 20 * rate], rate)
    (tmp_path / "none.wav").write_text("not a sound")
    rng = np.random.default_rng(0)
    found = free_music.cut(tmp_path / "long.wav", rng)
    assert 10 <= len(found) <= 11
    for crop in found:
        assert crop.shape == (80000,)
        assert crop.dtype == np.int16
        assert np.abs(crop.astype(int)).max() == pytest.approx(0.9 * 32767, abs=2)
    assert free_music.cut(tmp_path / "short.wav", rng) == []
    assert free_music.cut(tmp_path / "none.wav", rng) == []


def test_syllables_lie_around_what_is_voiced_and_loud():
    import sung_speech

    frames = np.arange(200)
    # Three vowels, of which the last is whispered.
    loudness = 3.0 * np.cos(2 * np.pi * (frames - 30) / 60) - 3.0
    f0 = np.where(frames < 125, 120.0, 0.0)
    (first, second) = sung_speech.syllables_of(f0, loudness)
    assert first[1] == pytest.approx(30, abs=1)
    assert second[1] == pytest.approx(90, abs=1)
    assert first[2] == pytest.approx(60, abs=4)
    assert second[0] == pytest.approx(60, abs=4)


@pytest.mark.parametrize("size", [0.8, 1.0, 1.25])
def test_a_smaller_mouth_has_higher_formants(size):
    import sung_speech

    hertz = np.linspace(0, 8000, 513)
    envelope = np.exp(-(((hertz - 1500) / 300) ** 2))[np.newaxis] + 1e-6
    moved = sung_speech._resized(envelope, size)
    assert hertz[moved[0].argmax()] == pytest.approx(1500 * size, abs=20)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_every_command_of_a_recipe_can_be_called(card):
    import repeat_recipe
    import typer

    from hmic_keras.cli import app

    steps = repeat_recipe.commands(card)
    assert steps[-1].endswith(f"--out saved_models/{card.stem}")
    for step in steps:
        words = shlex.split(step)
        words = words[next(i for i, word in enumerate(words) if "=" not in word) :]
        match words:
            case ["hmic", name, *options]:
                command = typer.main.get_command(app).commands[name]
                told = command.make_context(name, list(options)).params
                if name == "train":
                    changed = importlib.import_module("hmic_keras.cli.train")._changed
                    changed(Recipe.load(told["recipe"]), {}, told["settings"] or [])
            case ["python", script, *options]:
                part = options[:1] if options[0] in ("train", "speak", "sing") else []
                usage = subprocess.run(
                    [sys.executable, ROOT / script, *part, "--help"],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
                named = {word for word in options if word.startswith("--")}
                assert named <= set(re.findall(r"--[a-z-]+", usage)), script
                for card_or_script in (word for word in options if word.startswith("bench")):
                    assert (ROOT / card_or_script).is_file()
            case _:
                assert words[:2] == ["pip", "download"]


def test_a_recipe_goes_on_after_what_was_done(tmp_path):
    import repeat_recipe

    steps = ["echo one >> log", "test -e ready && echo two >> log", "echo three >> log"]
    with pytest.raises(subprocess.CalledProcessError):
        repeat_recipe.repeat(steps, tmp_path)
    assert (tmp_path / "log").read_text() == "one\n"
    (tmp_path / "ready").touch()
    repeat_recipe.repeat(steps, tmp_path)
    assert (tmp_path / "log").read_text() == "one\ntwo\nthree\n"
    repeat_recipe.repeat(["python benchmarks/evaluate_zoo.py --help > usage"], tmp_path)
    assert "usage" in (tmp_path / "usage").read_text()


def test_the_lead_is_that_of_scikit_learn():
    import evaluate_zoo
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    taxonomy = Taxonomy.from_dict({"strings": ["violin", "cello", "viola"]})
    labels = (rng.random((60, 3)) < 0.4).astype(float)
    good = np.clip(0.5 * labels + 0.6 * rng.random(labels.shape), 0, 1)
    bad = rng.random(labels.shape)

    paths = tuple(Path(str(row)) for row in range(60))
    clips = LabelledClips(taxonomy, paths, {"fine": labels})

    def levels(scores):
        return {"fine": scores, "coarse": scores.max(axis=1, keepdims=True)}

    def mean(scores):
        return np.mean([average_precision_score(labels[:, i], scores[:, i]) for i in range(3)])

    found = evaluate_zoo.lead(clips, levels(good), levels(bad))["fine"]
    assert found["map"] == pytest.approx(mean(good) - mean(bad), abs=1e-4)
    low, high = found["interval"]
    assert 0 < low < found["map"] < high
    same = evaluate_zoo.lead(clips, levels(bad), levels(bad))["fine"]
    assert same == {"map": 0.0, "interval": [0.0, 0.0]}


@pytest.mark.slow
def test_models_learn_side_by_side(tmp_path, monkeypatch):
    """Two seconds of training on four stems: all four models change, and load again."""
    import side_by_side

    corpus = write_corpus(tmp_path / "corpus")
    small = small_recipes(Recipe.load)
    monkeypatch.setattr(Recipe, "load", staticmethod(small))
    monkeypatch.setattr(side_by_side, "JIT", False)
    out = tmp_path / "out"
    side_by_side.train(SimpleNamespace(seconds=2.0, corpora=[corpus], out=out))
    names = list(side_by_side.STUDENTS)
    models = {name: load_model(out / f"{name}.keras") for name in names}
    assert models["independent"].manifest["method"]["name"] == "independent"
    assert "mix_style" in {layer.name for layer in models["base"].layers}
    for name, model in models.items():
        told = model.manifest["training"]
        assert told["steps"] == 2 * told["epochs"] > 0
        untrained = side_by_side._model(
            side_by_side.STUDENTS[name], small("hmic-mobile"), OPENMIC
        )
        pairs = zip(model.trainable_variables, untrained.trainable_variables, strict=True)
        kernels = [(new, old) for new, old in pairs if new.path.endswith("/kernel")]
        assert len(kernels) > 4
        # Of few channels some never fire, so that their kernels stay.
        changed = [not np.array_equal(np.asarray(new), np.asarray(old)) for new, old in kernels]
        assert sum(changed) > len(kernels) / 2
    assert keras.config.dtype_policy().name == "float32"


def small_recipes(load):
    """Returns what reads a recipe, of a small model that is trained on few and short crops."""

    def small(name):
        recipe = load(name)
        training = dataclasses.replace(
            recipe.training,
            batch_size=2,
            crop_seconds=1.0,
            stems={"steps": 2, "sizes": [1, 1]},
        )
        model = dataclasses.replace(
            recipe.model, backbone_options={"width": 2}, precision="float32"
        )
        return dataclasses.replace(recipe, training=training, model=model)

    return small


@pytest.mark.slow
def test_stems_that_are_rendered_meanwhile_are_heard(tmp_path, monkeypatch):
    """Training on one corpus goes on until it has taken in a second."""
    import side_by_side
    import train_while_rendering as script

    from hmic_keras.training._stem_mixer import StemMixer

    write_corpus(tmp_path / "corpora" / "00")
    (tmp_path / "corpora" / "00" / "manifest.json").write_text("{}")
    late, deadline, out = tmp_path / "late", tmp_path / "deadline", tmp_path / "out"
    write_corpus(late)
    (late / "manifest.json").write_text("{}")
    extend, build = StemMixer.extend, StemMixer.build

    def begins(mixer, input_shape=None):
        build(mixer, input_shape)
        late.rename(tmp_path / "corpora" / "01")

    def ends(mixer, bank):
        extend(mixer, bank)
        deadline.write_text("0")

    monkeypatch.setattr(StemMixer, "build", begins)
    monkeypatch.setattr(StemMixer, "extend", ends)
    monkeypatch.setattr(Recipe, "load", staticmethod(small_recipes(Recipe.load)))
    monkeypatch.setattr(side_by_side, "JIT", False)
    narrow = {"backbone_options": {"width": 2, **script.DEEP}}
    students = {
        name: dataclasses.replace(one, model=narrow) for name, one in script.STUDENTS.items()
    }
    monkeypatch.setattr(script, "STUDENTS", students)
    script.train(
        SimpleNamespace(
            corpora=tmp_path / "corpora", out=out, seconds=600.0, deadline=deadline, capacity=9
        )
    )
    assert json.loads((out / "run.json").read_text())["stems"] == 8
    for name in students:
        assert load_model(out / f"{name}.keras").manifest["training"]["stems"] == 8


def test_what_is_rendered_meanwhile_can_be_rendered():
    from train_while_rendering import CORPORA

    recipe = dataclasses.replace(Recipe.load("hmic-mobile"), render=CORPORA)
    assert len({one["seed"] for one in recipe.render}) == len(CORPORA) > 10


def write_corpus(folder):
    """Writes what `render_corpus` does, as far as stems are concerned: two of two clips."""
    (folder / "stems").mkdir(parents=True)
    (folder / "clips").mkdir()
    names = OPENMIC.classes("fine")
    labels, stems = [",".join(["path", *names])], [",".join(["path", *names, "meta_clip"])]
    time = np.arange(2 * 16000) / 16000
    for clip in range(2):
        played = [names[2 * clip], names[2 * clip + 1]]
        cells = ["1" if name in played else "0" for name in names]
        labels.append(",".join([f"clips/{clip}.wav", *cells]))
        for number, name in enumerate(played):
            path = f"stems/{clip}-{number}.wav"
            tone = 0.5 * np.sin(2 * np.pi * 220 * (1 + 2 * clip + number) * time)
            soundfile.write(folder / path, tone, 16000, subtype="PCM_16")
            cells = ["1" if other == name else "0" for other in names]
            stems.append(",".join([path, *cells, f"clips/{clip}.wav"]))
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "stems.csv").write_text("\n".join(stems) + "\n")
    return folder
