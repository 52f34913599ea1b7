"""Tests of the command line, as a person uses it."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audio_files import bell, cut, tone, write
from test_synthesis import need_soundfont

import hmic_keras as hk
from hmic_keras.cli import main
from hmic_keras.data.sources.folder import write_labels

ROOT = Path(hk.__file__).parents[1]
COMMANDS = ("demo", "render", "prepare", "train", "evaluate", "predict", "export", "taxonomy")
YAML = "strings: [violin, cello]\nbrass: [trumpet]\n"


class Done:
    """What a command left: exit code, standard output and standard error."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def message(self):
        """The one line in which a command that failed says why."""
        assert self.code == 2, (self.code, self.err)
        lines = [line for line in self.err.splitlines() if line.strip()]
        # Training shows its bar while it reads the files.
        lines = [line for line in lines if not line.startswith("train  ")]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        return lines[0]


@pytest.fixture
def hmic(monkeypatch, capfd):
    """Runs a command in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hmic", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        return Done(code, *capfd.readouterr())

    return run


def process(*arguments, **kwargs):
    """Runs a command in a new process, as a shell does."""
    done = subprocess.run(
        [sys.executable, "-m", "hmic_keras.cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        **kwargs,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Eight clips of two sorts of sound, a table and a taxonomy of them."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "duo.yaml").write_text(YAML)
    taxonomy = hk.Taxonomy.load(folder / "duo.yaml")
    paths, rows = [], []
    for index in range(8):
        low = index % 2 == 0
        frequencies = (200.0 + 5 * index, 400.0) if low else (2000.0 + 50 * index, 3000.0)
        write(folder / f"{index}.flac", tone(1.2, 16000, 1, frequencies), 16000)
        paths.append(f"{index}.flac")
        rows.append([low, False, not low])
    labels = np.array(rows, np.float32)
    labels[3, 1] = -1
    write_labels(folder / "labels.csv", paths, taxonomy, {"fine": labels})
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A model trained by `hmic train`, and what the command printed."""
    out = tmp_path_factory.mktemp("trained") / "model"
    done = process(
        "train",
        *("--data", corpus / "labels.csv", "--taxonomy", corpus / "duo.yaml", "--out", out),
        *("--method", "gmp", "--epochs", 2, "--batch-size", 4, "--crop-seconds", 1),
    )
    assert done.code == 0, done.err
    return out, done


# Help


def test_help_lists_the_commands(hmic):
    done = hmic("--help")
    assert done.code == 0
    assert all(f" {command} " in done.out for command in COMMANDS)
    assert "Usage: hmic " in done.out
    assert hmic("-h").out == done.out
    assert "Usage: hmic " in hmic().out + hmic().err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example(hmic, command):
    done = hmic(command, "--help")
    assert done.code == 0
    assert f"Example: hmic {command}" in done.out


def test_help_imports_neither_tensorflow_nor_keras():
    code = """
import sys
from hmic_keras.cli import main
sys.argv = ["hmic", "predict", "--help"]
try:
    main()
except SystemExit:
    heavy = ("tensorflow", "keras", "sklearn", "matplotlib", "pandas", "scipy", "soundfile")
    print("imported:", [name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "imported: []", done.stderr


def test_the_version_is_that_of_the_package(hmic):
    assert hmic("--version").out.split() == ["hmic_keras", hk.__version__]


def test_an_unknown_command_or_option_is_a_usage_error(hmic):
    for arguments in (["predit"], ["predict", "--colour", "red"], ["predict"], ["train"]):
        done = hmic(*arguments)
        assert done.code == 2
        assert "Usage: hmic" in done.err
        assert "Traceback" not in done.err


# hmic taxonomy


def test_taxonomy_prints_the_tree(hmic, openmic):
    done = hmic("taxonomy")
    assert done.code == 0
    assert done.out.strip() == openmic.tree().strip()
    assert "│   └── violin" in done.out


def test_taxonomy_prints_json(hmic, openmic):
    assert json.loads(hmic("taxonomy", "openmic", "--json").out) == openmic.to_dict()


def test_taxonomy_checks_a_file(hmic, corpus, tmp_path):
    assert "trumpet" in hmic("taxonomy", corpus / "duo.yaml").out
    broken = tmp_path / "broken.yaml"
    broken.write_text(YAML.replace("trumpet", "violin").replace("cello", "violin"))
    assert "broken.yaml" in hmic("taxonomy", broken).message()
    assert "'nope'" in hmic("taxonomy", "nope").message()


# hmic train, evaluate, export


def test_train_writes_a_model_and_its_history(trained, corpus):
    out, done = trained
    assert sorted(os.listdir(out)) == ["history.csv", "manifest.json", "model.keras"]
    assert hk.load_model(out).taxonomy == hk.Taxonomy.load(corpus / "duo.yaml")
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["training"]["config"]["epochs"] == 2
    assert manifest["provenance"] == {"table": "labels.csv"}
    with (out / "history.csv").open(newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2"]
    assert "val_fine_map" in done.out
    assert done.out.rstrip().endswith(f"The model is in {out}")
    assert "2/2" in done.err  # the progress bar
    assert "Traceback" not in done.err


def test_evaluate_prints_and_writes_what_the_package_computes(hmic, trained, corpus, tmp_path):
    model, _ = trained
    done = hmic(
        "evaluate", model, "--data", corpus / "labels.csv", "--out", tmp_path / "report"
    )
    assert done.code == 0, done.err
    taxonomy = hk.Taxonomy.load(corpus / "duo.yaml")
    clips = hk.data.read_clips(corpus / "labels.csv", taxonomy)
    expected = hk.evaluation.evaluate(model, clips).results
    written = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    for level in ("fine", "coarse"):
        found = expected["levels"][level]["map"]
        assert written["levels"][level]["map"] == pytest.approx(found)
        assert f"{found:.3f}" in done.out
    assert "8 clips" in done.out
    assert "1 fine class(es) have no observed positive" in done.out
    assert "child above its parent: 0.0% of pairs" in done.out
    assert sorted(os.listdir(tmp_path / "report")) == [
        "per_class.csv",
        "report.json",
        "results.png",
    ]


def test_export_writes_the_formats_asked_for(hmic, trained, tmp_path):
    model, _ = trained
    out = tmp_path / "exported"
    done = hmic("export", model, "--out", out, "--format", "keras", "--format", "tflite")
    assert done.code == 0, done.err
    assert sorted(os.listdir(out)) == ["manifest.json", "model.keras", "model.tflite"]
    lines = done.out.splitlines()
    assert lines[0] == f"keras: {out / 'model.keras'}"
    assert lines[1].startswith(
        f"tflite: {out / 'model.tflite'}, differs from Keras by at most "
    )
    assert done.err.strip() == ""


# hmic predict


@pytest.fixture
def songs(tmp_path):
    """The four kinds of file that the package promises to read."""
    return [
        write(tmp_path / "mono.wav", bell(2.0, 16000), 16000),
        write(tmp_path / "stereo.flac", tone(2.0, 44100, 2), 44100),
        write(tmp_path / "song.ogg", tone(2.0, 44100, 2), 44100),
        write(tmp_path / "song.mp3", tone(2.0, 44100, 2), 44100),
    ]


def test_the_default_model_answers_four_kinds_of_file(songs, tmp_path):
    quiet = write(tmp_path / "quiet.wav", np.zeros(32000), 16000)
    done = process("predict", *songs, quiet, cwd=tmp_path)
    assert done.code == 0, done.err
    for song in (*songs, quiet):
        assert str(song) in done.out
    assert done.out.count("│ coarse ") == done.out.count("│ fine ") == 5 * 5
    # The one thing worth a word.
    assert done.err == f"warning: {quiet} is silent; its scores mean nothing.\n"


def test_predict_prints_json(hmic, tiny_bundle, songs, openmic):
    done = hmic("predict", *songs, "--model", tiny_bundle, "--json")
    assert done.code == 0, done.err
    answers = json.loads(done.out)
    predictor = hk.Predictor(tiny_bundle)
    assert list(answers) == [str(song) for song in songs]
    for song in songs:
        expected = predictor.predict(song).to_dict()
        for level in openmic.levels:
            assert answers[str(song)][level] == pytest.approx(expected[level], abs=1e-5)


def test_predict_marks_the_classes_that_reach_their_threshold(hmic, tiny_bundle, songs):
    done = hmic("predict", songs[0], "--model", tiny_bundle, "--top", 20)
    prediction = hk.Predictor(tiny_bundle).predict(songs[0])
    for level in ("fine", "coarse"):
        present = {name for name, _ in prediction.tags(level)}
        rows = [line for line in done.out.splitlines() if line.startswith(f"│ {level} ")]
        assert len(rows) == {"fine": 20, "coarse": 7}[level]
        for (name, probability), row in zip(prediction.top(level, 20), rows, strict=True):
            cells = [cell.strip() for cell in row.strip("│").split("│")]
            assert cells == [
                level,
                name,
                "●" if name in present else "",
                f"{probability:.3f}",
            ]


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_answered(
    hmic, tiny_bundle, songs, tmp_path
):
    broken = {
        "missing.wav": lambda path: None,
        "empty.wav": lambda path: path.touch(),
        "short.flac": lambda path: cut(write(path, tone(2.0)), 0.5),
        "text.mp3": lambda path: path.write_text("not audio"),
        "[red]folder": lambda path: path.mkdir(),
    }
    for name, make in broken.items():
        make(tmp_path / name)
    names = [songs[0], *(tmp_path / name for name in broken), songs[1]]
    done = hmic("predict", *names, "--model", tiny_bundle, "--json")
    assert done.code == 1
    assert list(json.loads(done.out)) == [str(songs[0]), str(songs[1])]
    messages = done.err.strip().splitlines()
    assert len(messages) == len(broken)
    for message, name in zip(messages, broken, strict=True):
        assert message.startswith(f"error: {tmp_path / name}: ")


def test_long_names_and_brackets_are_shown_as_they_are(hmic, tiny_bundle, songs, tmp_path):
    folder = tmp_path / ("a long name " * 8) / "[bold] brackets [/]"
    folder.mkdir(parents=True)
    song = shutil.copy(songs[0], folder / "song.wav")
    done = hmic("predict", song, "--model", tiny_bundle, "--top", 1)
    plain = hmic("predict", songs[0], "--model", tiny_bundle, "--top", 1)
    assert done.code == 0
    assert done.out.splitlines()[0] == str(song)
    assert done.out.splitlines()[1:] == plain.out.splitlines()[1:]
    assert max(map(len, done.out.splitlines()[1:])) <= 80


# Mistakes: one line, exit code 2, nothing written


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["predict", "a.wav", "--model", "hmic-nothing"], "'hmic-nothing'"),
        (["evaluate", "hmic-nothing"], "'hmic-nothing'"),
        (["export", "hmic-nothing", "--out", "OUT"], "'hmic-nothing'"),
        (["export", "BUNDLE", "--out", "OUT", "--format", "onnx"], "'onnx'"),
        (["train", "--out", "OUT", "--method", "magic"], "'magic'"),
        (["train", "--out", "OUT", "--backbone", "resnet"], "'resnet'"),
        (["train", "--out", "OUT", "--taxonomy", "nope"], "'nope'"),
        (["train", "--out", "OUT", "--taxonomy", "DUO"], "openmic"),
        (["train", "--out", "OUT", "--crop-seconds", "0.1"], "crop_seconds"),
        (["train", "--out", "OUT", "--data", "none.csv"], "none.csv"),
        (["evaluate", "BUNDLE", "--data", "none.csv"], "none.csv"),
        (["evaluate", "BUNDLE", "--data", "DUOS"], "columns"),
    ],
)
def test_a_mistake_ends_with_one_line(
    hmic, tiny_bundle, trained, corpus, tmp_path, arguments, named
):
    known = {"OUT": tmp_path / "out", "BUNDLE": tiny_bundle, "DUO": corpus / "duo.yaml"}
    known["DUOS"] = corpus / "labels.csv"
    if "DUOS" in arguments:
        (tmp_path / "other.csv").write_text(f"path,kazoo\n{corpus / '0.flac'},1\n")
        known["DUOS"] = tmp_path / "other.csv"
    before = sorted(os.listdir(tmp_path))
    done = hmic(*(known.get(argument, argument) for argument in arguments))
    assert named in done.message()
    assert sorted(os.listdir(tmp_path)) == before


BAD_TABLES = {
    "an unknown class": ("path,kazoo\n0.flac,1\n", "kazoo"),
    "a class twice": ("path,violin,violin\n0.flac,1,1\n", "violin"),
    "a file twice": ("path,violin\n0.flac,1\n0.flac,0\n", "0.flac"),
    "a label of 2": ("path,violin\n0.flac,2\n", "line 2.*violin"),
    "a label of -1": ("path,violin\n0.flac,-1\n", "line 2.*violin"),
    "a word": ("path,violin\n0.flac,yes\n", "yes"),
    "no path": ("file,violin\n0.flac,1\n", "path"),
    "no rows": ("path,violin\n", "no rows"),
    "a missing file": ("path,violin\n0.flac,1\nnone.flac,1\n", "none.flac"),
    "a contradiction": ("path,violin,strings\n0.flac,1,0\n", "strings"),
    "broken audio": ("path,violin\n0.flac,1\nbroken.flac,0\n", "broken.flac: "),
    "silence": ("path,violin\n0.flac,1\nsilent.flac,0\n", "silent.flac: is silent"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_by_train_before_anything_is_written(
    hmic, corpus, tmp_path, case
):
    text, named = BAD_TABLES[case]
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(corpus / "0.flac", folder)
    cut(Path(shutil.copy(corpus / "1.flac", folder / "broken.flac")), 0.5)
    write(folder / "silent.flac", np.zeros(32000), 16000)
    (folder / "table.csv").write_text(text)
    options = ("--data", folder / "table.csv", "--taxonomy", corpus / "duo.yaml")
    message = hmic("train", *options, "--out", tmp_path / "out").message()
    assert re.search(named, message)
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize("command", ["train", "demo", "export"])
def test_a_folder_with_other_things_is_refused_at_once(hmic, tiny_bundle, tmp_path, command):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "manifest.json").write_text('{"clips": 12}')
    (mine / "labels.csv").write_text("path,violin\n")
    model = [tiny_bundle] if command == "export" else []
    assert "labels.csv" in hmic(command, *model, "--out", mine).message()
    assert sorted(os.listdir(mine)) == ["labels.csv", "manifest.json"]


def test_the_demo_keeps_off_a_folder_named_like_its_own(hmic, tmp_path):
    (tmp_path / "gmp").mkdir()
    (tmp_path / "gmp" / "thesis.txt").write_text("mine")
    assert "thesis.txt" in hmic("demo", "--out", tmp_path).message()


def test_a_place_that_cannot_be_written_is_one_line(hmic, trained, corpus, tmp_path):
    (tmp_path / "file").touch()
    model, _ = trained
    data = ("--data", corpus / "labels.csv")
    done = hmic("evaluate", model, *data, "--out", tmp_path / "file" / "report")
    assert done.code == 2
    last = done.err.strip().splitlines()[-1]
    assert last == f"error: '{tmp_path / 'file' / 'report'}': Not a directory"
    assert "lies below" in hmic("export", model, "--out", tmp_path / "file" / "x").message()
    assert hmic("export", model, "--out", tmp_path / "file").code == 2


def test_a_model_that_was_cut_off_is_one_line(hmic, bundle, songs):
    cut(bundle / "model.keras", 0.5)
    assert "model.keras" in hmic("predict", songs[0], "--model", bundle).message()
    assert "model.keras" in hmic("export", bundle, "--out", bundle.parent / "out").message()
    assert not (bundle.parent / "out").exists()


@pytest.mark.slow
def test_an_interrupted_training_leaves_nothing(tmp_path):
    running = subprocess.Popen(
        [sys.executable, "-m", "hmic_keras.cli", "train", "--out", "out", "--epochs", "500"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    time.sleep(12)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in out + err
    assert os.listdir(tmp_path) == []


# hmic render


@pytest.mark.synth
def test_render_writes_a_corpus_that_train_can_read(hmic, tmp_path, openmic):
    font = need_soundfont("TimGM6mb.sf2", "FluidR3_GM.sf2")
    out = tmp_path / "corpus"
    options = ("--soundfont", font, "--clips", 3, "--seconds", 2, "--processes", 1, "--seed", 4)
    done = hmic("render", "--out", out, *options, "--polyphony", 1, 2, "--format", "wav")
    assert done.code == 0, done.err
    assert f"3 clips, labels.csv and manifest.json are in {out}" in done.out
    assert "3/3" in done.err
    clips = hk.data.read_clips(out / "labels.csv", openmic)
    assert len(clips) == 3
    assert {path.suffix for path in clips.paths} == {".wav"}
    assert all(len(hk.data.load_audio(path)) == 32000 for path in clips.paths)
    assert ((clips.labels["fine"] == 1).sum(axis=1) <= 2).all()
    # A second run does not touch the first one's.
    assert str(out) in hmic("render", "--out", out, *options).message()
    assert len(list((out / "clips").iterdir())) == 3
    missing = ("--soundfont", "none.sf2", "--clips", 1)
    assert "none.sf2" in hmic("render", "--out", tmp_path / "new", *missing).message()
    assert not (tmp_path / "new").exists()
