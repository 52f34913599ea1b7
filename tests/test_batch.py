"""Tests of predicting many files, with a predictor that needs no model."""

import csv
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from hmic_keras import Taxonomy
from hmic_keras.batch import (
    FileResult,
    check_table_path,
    find_audio,
    predict_files,
    write_table,
)
from hmic_keras.errors import AudioError, HmicError, ModelError
from hmic_keras.inference import Prediction

# A name at two levels, and one that the table uses itself.
TAXONOMY = Taxonomy.from_dict({"voice": ["voice"], "strings": ["violin", "status"]})


def prediction(*fine, coarse=(0.9, 0.1)):
    scores = {"fine": np.float32(fine), "coarse": np.float32(coarse)}
    half = {level: np.full(len(values), 0.5, "float32") for level, values in scores.items()}
    return Prediction(
        TAXONOMY,
        probabilities=scores,
        windows={level: values[np.newaxis] for level, values in scores.items()},
        thresholds=half,
        seconds=2.5,
    )


class FakePredictor:
    """Answers after `act`, which may raise."""

    def __init__(self, act=lambda path: None):
        self.act = act
        self.started = []

    def predict(self, path):
        self.started.append(path)
        self.act(path)
        return prediction(0.25, 0.75, 0.5)


def refuse(path):
    if "bad" in path:
        raise AudioError(f"{path}: is bad.")


def read(path):
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return list(csv.DictReader(stream))


# Finding files


def test_a_folder_stands_for_the_audio_files_below_it(tmp_path):
    audio = ("a.MP3", "b.flac", "z/deep/er.ogg")
    for name in ("notes.txt", *reversed(audio), "wav", ".cache/x.wav", "._b.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    single = tmp_path / "notes.txt"
    found = find_audio([single, tmp_path, tmp_path / "b.flac"])
    assert found == [str(tmp_path / name) for name in ("notes.txt", *audio)]


def test_audio_that_cannot_be_decoded_is_found_so_that_it_is_reported(tmp_path):
    (tmp_path / "song.m4a").touch()
    assert find_audio([tmp_path]) == [str(tmp_path / "song.m4a")]


def test_a_folder_without_audio_is_reported(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert find_audio([tmp_path]) == [str(tmp_path)]
    (result,) = predict_files(FakePredictor(), [tmp_path])
    assert "without audio files" in str(result.outcome)


def test_links_are_not_followed_in_circles(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert find_audio([tmp_path]) == [str(tmp_path / "a.wav")]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read any folder")
def test_a_folder_that_cannot_be_searched_is_a_warning(tmp_path, caplog):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    assert find_audio([tmp_path]) == [str(tmp_path)]
    assert f"{locked} cannot be searched: Permission denied." in caplog.text


# Predicting


def test_every_file_has_an_outcome_in_the_order_given():
    paths = [f"{'bad' if i % 3 == 0 else 'good'}{i}.wav" for i in range(20)]
    results = list(predict_files(FakePredictor(refuse), paths))
    assert [result.path for result in results] == paths
    for result in results:
        if "bad" in result.path:
            with pytest.raises(AudioError, match=rf"^{result.path}: is bad\.$"):
                result.prediction()
        else:
            assert result.prediction().probabilities["fine"].tolist() == [0.25, 0.75, 0.5]


def test_the_next_file_is_read_meanwhile():
    both = threading.Barrier(2, timeout=10)  # breaks unless two files are under way at once
    results = list(predict_files(FakePredictor(lambda path: both.wait()), ["a", "b"]))
    assert [result.path for result in results] == ["a", "b"]


def test_no_more_than_a_few_files_are_ahead():
    predictor = FakePredictor()
    asked = []
    results = predict_files(predictor, (asked.append(i) or str(i) for i in range(100)))
    next(results)
    results.close()
    assert len(asked) < 10
    assert len(predictor.started) <= len(asked)


def test_another_error_is_not_swallowed():
    def fail(path):
        raise ModelError("The model is broken.")

    with pytest.raises(ModelError, match="broken"):
        list(predict_files(FakePredictor(fail), ["a.wav", "b.wav"]))


# The table


def test_the_table_has_a_row_a_file_and_a_column_a_class(tmp_path):
    table = tmp_path / "new" / "results.csv"
    names = ["a, with a comma.wav", "bad.wav", os.fsdecode(b"latin-\xe9.wav")]
    counts = write_table(table, TAXONOMY, predict_files(FakePredictor(refuse), names))
    assert counts == {"ok": 2, "failed": 1}
    rows = read(table)
    assert list(rows[0]) == [
        *("path", "status", "error", "seconds", "tags"),
        *("fine:voice", "violin", "fine:status", "coarse:voice", "strings"),
    ]
    assert [row["path"] for row in rows] == names
    good, bad, _ = rows
    assert good["status"] == "ok"
    assert good["error"] == ""
    assert good["seconds"] == "2.500"
    # The surer level first, and the most probable class of each.
    assert good["tags"] == "coarse:voice; violin; fine:status"
    assert [float(good[name]) for name in list(good)[5:]] == [0.25, 0.75, 0.5, 0.9, 0.1]
    assert bad["status"] == "failed"
    assert bad["error"] == "bad.wav: is bad."
    assert set(list(bad.values())[3:]) == {""}


def test_a_table_is_whole_or_not_there(tmp_path):
    def results():
        yield FileResult("a.wav", prediction(0, 0, 0))
        raise ModelError("The model is broken.")

    table = tmp_path / "results.csv"
    table.write_text("earlier")
    with pytest.raises(ModelError):
        write_table(table, TAXONOMY, results())
    assert table.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["results.csv"]
    write_table(table, TAXONOMY, [])
    assert read(table) == []


@pytest.mark.parametrize("name", ["results.json", "results", "folder.csv"])
def test_a_table_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(HmicError, match=r"ends in '\.csv'"):
        check_table_path(Path(tmp_path, name))
    with pytest.raises(HmicError, match=r"ends in '\.csv'"):
        write_table(tmp_path / name, TAXONOMY, [])
    assert os.listdir(tmp_path) == ["folder.csv"]
