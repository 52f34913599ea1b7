"""Tests of the command line, as a person uses it."""

import csv
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from audio_files import bell, cut, tone, write
from command_line import ROOT, environment, process
from test_synthesis import need_soundfont

import hmic_keras as hk
from hmic_keras import backbones, heads, zoo
from hmic_keras.cli import _completion, app
from hmic_keras.data.sources.folder import write_labels

pytestmark = pytest.mark.xdist_group("cli")
COMMANDS = typer.main.get_command(app).commands
YAML = "strings: [violin, cello]\nbrass: [trumpet]\n"


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
def test_the_help_of_every_command_shows_an_example_that_it_takes(hmic, command):
    done = hmic(command, "--help")
    assert done.code == 0
    assert f"Example: hmic {command}" in done.out
    examples = re.findall(
        r"^Example: `(.*)`$", inspect.getdoc(COMMANDS[command].callback), re.M
    )
    for example in examples:
        program, name, *arguments = shlex.split(example)
        assert (program, name) == ("hmic", command)
        assert arguments
        # Reads the line as the command would, and stops short of running it.
        COMMANDS[command].make_context(name, arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_parameter_has_a_help_text(command):
    without = [p.name for p in COMMANDS[command].params if not getattr(p, "help", None)]
    assert without == []


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


# Completion


def offered(*words):
    """What the shell is told to offer for the last of the words."""
    variables = {"_HMIC_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": " ".join(words)}
    return re.findall(r'"([^"]+)"', process(env=variables).out)


def test_names_are_completed():
    assert offered("hmic", "predict", "--model", "h") == zoo.names()
    assert "openmic" in offered("hmic", "train", "--taxonomy", "")
    assert "openmic" in offered("hmic", "taxonomy", "o")
    assert offered("hmic", "export", "model", "--format", "sa") == ["savedmodel"]
    assert offered("hmic", "evaluate", "nothing-of-that-name") == []


def test_completions_are_what_the_registries_hold():
    # Completion reads the source of the registries, because importing them imports Keras.
    assert _completion.methods("") == sorted(heads.HEADS)
    assert _completion.backbones("") == sorted(backbones.BACKBONES)
    assert _completion.models("") == zoo.names()
    for name in _completion.taxonomies(""):
        assert hk.Taxonomy.load(name).name == name


def test_completing_imports_nothing_heavy():
    code = """
import sys
from hmic_keras.cli import _completion
_completion.models(""), _completion.methods(""), _completion.backbones("")
print({"tensorflow", "keras", "numpy", "yaml"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_script_for_bash_completes(tmp_path):
    program = tmp_path / "hmic"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hmic_keras.cli "$@"\n')
    program.chmod(0o755)
    script = """
source <(env _HMIC_COMPLETE=source_bash hmic)
COMP_WORDS=(hmic evaluate hmic-d); COMP_CWORD=2
_hmic_completion hmic
printf '%s\\n' "${COMPREPLY[@]}"
"""
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        capture_output=True,
        text=True,
        env=environment(PATH=path),
    )
    assert done.stdout.split() == ["hmic-demo"], done.stderr


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
    assert sorted(os.listdir(out)) == ["history.csv", "manifest.json", "model.keras", "run"]
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


def test_evaluate_prints_its_report_as_json(hmic, trained, corpus, tmp_path):
    model, _ = trained
    data = ("--data", corpus / "labels.csv")
    done = hmic("evaluate", model, *data, "--out", tmp_path / "report", "--json")
    assert done.code == 0, done.err
    written = (tmp_path / "report" / "report.json").read_text(encoding="utf-8")
    assert json.loads(done.out) == json.loads(written)


def test_export_prints_its_files_as_json(hmic, trained, tmp_path):
    model, _ = trained
    out = tmp_path / "out"
    done = hmic("export", model, "--out", out, "--format", "keras", "--json")
    assert done.code == 0, done.err
    path = out / "model.keras"
    export = {"file": "model.keras", "size_bytes": path.stat().st_size}
    assert json.loads(done.out) == {
        "files": {"keras": str(path)},
        "parity": {},
        "exports": {"keras": export},
    }


def test_export_writes_the_formats_asked_for(hmic, trained, corpus, tmp_path):
    model, _ = trained
    out = tmp_path / "exported"
    formats = ("--formats", "keras,tflite", "--format", "keras")
    done = hmic("export", model, "--out", out, *formats, "--data", corpus / "labels.csv")
    assert done.code == 0, done.err
    assert sorted(os.listdir(out)) == ["manifest.json", "model.keras", "model.tflite"]
    lines = done.out.splitlines()
    assert lines[0].startswith(f"keras: {out / 'model.keras'}, ")
    assert re.fullmatch(
        re.escape(f"float32: {out / 'model.tflite'}") + r", differs from Keras by at most "
        r"[0-9.e-]+ on [0-9]+ windows, [0-9.]+ MB, [0-9.]+ ms a window, "
        r"mAP lost: -?0.0000 fine, -?0.0000 coarse",
        lines[1],
    )
    assert done.err.strip() == ""


def test_export_refuses_in_one_line(hmic, trained, corpus, tmp_path):
    model, _ = trained
    out = tmp_path / "exported"
    for arguments, match in (
        (("--formats", "keras,flac"), "unknown ['flac']"),
        (("--formats", "keras", "--tolerance", "7"), "`tolerance` must be a number"),
        (("--formats", "float32", "--extras", "attention_maps"), "no attention_maps to export"),
        (("--formats", "keras", "--calibration", corpus / "none.csv"), "none.csv"),
    ):
        done = hmic("export", model, "--out", out, *arguments)
        assert done.code == 2
        assert match in done.err
        assert done.err.count("\n") == 1
    assert not out.exists()


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


def test_predict_with_mediapipes_resampler(hmic, tiny_bundle, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 44100)
    write(tmp_path / "cd.wav", noise, 44100)
    answers = []
    for name in ("soxr", "mediapipe"):
        asked = ["predict", tmp_path / "cd.wav", "--model", tiny_bundle, "--resampler", name]
        (answer,) = json.loads(hmic(*asked, "--json").out).values()
        predictor = hk.Predictor(tiny_bundle, resampler=name)
        assert answer == predictor.predict(tmp_path / "cd.wav").to_dict()
        answers.append(answer)
    assert answers[0] != answers[1]


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


@pytest.fixture
def album(songs, tmp_path):
    """A folder with two songs, one of them deeper down, and a file that is no audio."""
    folder = tmp_path / "album"
    (folder / "disc 2").mkdir(parents=True)
    shutil.copy(songs[0], folder / "1.wav")
    (folder / "2.mp3").write_text("not audio")
    shutil.copy(songs[1], folder / "disc 2" / "3.flac")
    (folder / "notes.txt").write_text("not meant as audio")
    return folder


def test_predict_writes_a_table_of_a_folder(hmic, tiny_bundle, album, tmp_path, openmic):
    table = tmp_path / "results.csv"
    done = hmic("predict", album, "--model", tiny_bundle, "--out", table)
    assert done.code == 1
    assert done.out == f"3 file(s): 2 answered, 1 failed; see {table}\n"
    (message,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert message.startswith(f"error: {album / '2.mp3'}: not audio")
    assert "3/3" in done.err  # the progress bar
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = ("1.wav", "2.mp3", "disc 2/3.flac")
    assert [row["path"] for row in rows] == [str(album / name) for name in names]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert f"error: {rows[1]['error']}" == message
    for row in (rows[0], rows[2]):
        expected = hk.Predictor(tiny_bundle).predict(row["path"])
        assert float(row["seconds"]) == pytest.approx(2.0, abs=0.001)
        for level in openmic.levels:
            for name, value in expected.to_dict()[level].items():
                cell = row.get(name) or row[f"{level}:{name}"]
                assert float(cell) == pytest.approx(value, abs=1e-5)


def test_the_summary_of_a_table_is_json_on_request(hmic, tiny_bundle, album, tmp_path):
    table = tmp_path / "results.csv"
    options = ("--model", tiny_bundle, "--out", table, "--json")
    done = hmic("predict", album / "1.wav", *options)
    assert done.code == 0, done.err
    summary = {"files": 1, "ok": 1, "failed": 0, "table": str(table)}
    assert json.loads(done.out) == summary


def test_a_table_that_cannot_be_written_is_refused_before_the_work(hmic, songs, tmp_path):
    out = tmp_path / "results.xlsx"
    assert "'.csv'" in hmic("predict", songs[0], "--model", "x", "--out", out).message()
    assert not out.exists()


def test_a_name_that_is_no_unicode_is_read_and_written(hmic, tiny_bundle, songs, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    shutil.copy(songs[0], os.fsdecode(name))
    table = tmp_path / "results.csv"
    done = hmic("predict", os.fsdecode(name), "--model", tiny_bundle, "--out", table)
    assert done.code == 0, done.err
    assert name + b",ok" in table.read_bytes()


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("utf-8", "● caf".encode() + b"\xe9"), ("ascii", b"\\u25cf caf")],
    ids=["utf-8", "ascii"],
)
def test_any_name_is_printed_in_any_encoding(encoding, printed):
    code = """
from hmic_keras.cli import _terminal
_terminal.set_up()
_terminal.say("● caf\\udce9")
_terminal.error("● caf\\udce9")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=environment(PYTHONIOENCODING=encoding, PYTHONUTF8="1"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(printed)
    assert done.stderr.startswith(b"error: " + printed)


# Mistakes: one line, exit code 2, nothing written


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["predict", "a.wav", "--model", "hmic-nothing"], "'hmic-nothing'"),
        (["evaluate", "hmic-nothing"], "'hmic-nothing'"),
        (["export", "hmic-nothing", "--out", "OUT"], "'hmic-nothing'"),
        (["export", "BUNDLE", "--out", "OUT", "--format", "coreml"], "'coreml'"),
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
    "a label of -2": ("path,violin\n0.flac,-2\n", "line 2.*violin"),
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
def test_an_interrupted_training_can_be_resumed(hmic, tmp_path):
    command = [sys.executable, "-m", "hmic_keras.cli", "train", "--out", "out"]
    command += ["--epochs", "500", "--set", "model.backbone_options={width: 2}"]
    running = subprocess.Popen(
        [*command, "--crop-seconds", "1"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    history = tmp_path / "out" / "history.csv"
    give_up = time.monotonic() + 120
    while not history.is_file() and running.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in out + err
    assert "Go on with it: hmic train --resume out" in err
    assert sorted(os.listdir(tmp_path / "out")) == ["history.csv", "run"]
    assert "hmic train --resume" in hmic("train", "--out", tmp_path / "out").message()


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


def test_onednn_is_asked_for_before_tensorflow_loads_unless_refused():
    code = (
        "import os, sys\nfrom hmic_keras.cli import _terminal\n_terminal.set_up()\n"
        "assert 'tensorflow' not in sys.modules\nprint(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    )
    unset = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    for given, expected in (({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**unset, "PYTHONPATH": str(ROOT), **given},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected
