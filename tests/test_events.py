"""Tests of `hmic_keras.data.events` and of the events that clips carry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmic_keras.data.events import read_events, write_events
from hmic_keras.data.sources.folder import LabelledClips, read_clips
from hmic_keras.errors import LabelError
from hmic_keras.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["trumpet"]})
NOTES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 10**6), st.integers(1, 10**5)), max_size=6
)


@given(st.dictionaries(st.sampled_from(["a.wav", "b, c/d.ogg", 'e"f.wav']), NOTES, min_size=1))
@settings(max_examples=25, deadline=None)
def test_events_survive_the_file(tmp_path_factory, notes):
    table = tmp_path_factory.mktemp("events") / "events.csv"
    given = {
        path: np.array(
            [(c, start / 1000, (start + length) / 1000) for c, start, length in rows]
        ).reshape(-1, 3)
        for path, rows in notes.items()
    }
    write_events(table, TAXONOMY, given)
    again = read_events(table, TAXONOMY)
    assert set(again) == {path for path, rows in notes.items() if rows}
    for path, rows in again.items():
        expected = sorted(map(tuple, given[path]), key=lambda n: (n[1], n[0], n[2]))
        np.testing.assert_array_equal(rows, np.float32(expected))
        assert rows.dtype == np.float32


def test_a_very_short_note_still_ends_after_it_starts(tmp_path):
    write_events(
        tmp_path / "e.csv", TAXONOMY, {"a.wav": [[1, 0.99961, 0.99962], [0, 5, 5.1234]]}
    )
    lines = (tmp_path / "e.csv").read_text().splitlines()
    assert lines[1:] == ["a.wav,cello,1.000,1.001", "a.wav,violin,5.000,5.123"]
    np.testing.assert_array_equal(
        read_events(tmp_path / "e.csv", TAXONOMY)["a.wav"],
        np.float32([[1, 1, 1.001], [0, 5, 5.123]]),
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("path,class,start\na.wav,cello,1\n", "columns must be path, class, start, end"),
        ("path,class,start,end\na.wav,tuba,1,2\n", "line 2: .*'tuba'"),
        ("path,class,start,end\na.wav,brass,1,2\n", "line 2: 'brass' is a class of level"),
        ("path,class,start,end\na.wav,cello,2,1\n", "line 2: `start` and `end`.*'2', '1'"),
        ("path,class,start,end\na.wav,cello,-1,1\n", "line 2: `start` and `end`"),
        ("path,class,start,end\na.wav,cello,0,inf\n", "line 2: `start` and `end`"),
        ("path,class,start,end\na.wav,cello,now,1\n", "line 2: `start` and `end`.*'now'"),
        ("path,class,start,end\n\n ,cello,0,1\n", "line 3 has no path"),
        ("path,class,start,end\na.wav,cello,0\n", "line 2 has 3 cells"),
        ("", "columns must be"),
    ],
)
def test_bad_tables(tmp_path, text, found):
    table = tmp_path / "events.csv"
    table.write_text(text)
    with pytest.raises(LabelError, match=rf"^{table}: .*{found}"):
        read_events(table, TAXONOMY)


def test_what_is_not_events_is_not_written(tmp_path):
    table = tmp_path / "events.csv"
    for wrong in ([[3, 0, 1]], [[0.5, 0, 1]], [[0, 1, 1]], [[0, np.nan, 1]], [[0, 1]]):
        with pytest.raises(LabelError, match=r"^a\.wav: .*Received"):
            write_events(table, TAXONOMY, {"a.wav": np.array(wrong)})
    with pytest.raises(LabelError, match="keyed by paths"):
        write_events(table, TAXONOMY, {"": np.zeros((0, 3))})
    assert not table.exists()


def clips(events, rows=3):
    labels = {"fine": np.tile([[1, 0, -1]], (rows, 1))}
    return LabelledClips(TAXONOMY, tuple(f"{i}.wav" for i in range(rows)), labels, events)


def test_clips_carry_their_events_through_subset_and_split():
    events = [[[0, 2, 3], [2, 1, 2]], np.zeros((0, 3)), [[0, 0, 9.5]]]
    whole = clips(events)
    np.testing.assert_array_equal(whole.events[0], np.float32([[2, 1, 2], [0, 2, 3]]))
    assert [len(notes) for notes in whole.events] == [2, 0, 1]
    part = whole.subset([2, 0])
    np.testing.assert_array_equal(part.events[0], np.float32([[0, 0, 9.5]]))
    rest, held = whole.split(0.4, seed=1)
    assert {
        p: len(e) for c in (rest, held) for p, e in zip(c.paths, c.events, strict=True)
    } == {p: len(e) for p, e in zip(whole.paths, whole.events, strict=True)}
    assert clips(None).subset([1]).events is None


def test_a_split_does_not_depend_on_events():
    labels = np.random.default_rng(0).integers(-1, 2, (40, 3))
    labels[:, 0] = 1
    paths = tuple(f"{i}.wav" for i in range(40))
    plain = LabelledClips(TAXONOMY, paths, {"fine": labels})
    full = LabelledClips(TAXONOMY, paths, {"fine": labels}, [[[0, 0, 1]]] * 40)
    assert plain.split(0.3, seed=4)[1].paths == full.split(0.3, seed=4)[1].paths


def test_clips_refuse_events_that_do_not_fit():
    with pytest.raises(LabelError, match=r"for each of the 3 paths\. Received: 1"):
        clips([np.zeros((0, 3))])
    with pytest.raises(LabelError, match=r"^1\.wav: an event must be"):
        clips([[], [[7, 0, 1]], []])
    with pytest.raises(LabelError, match=r"^2\.wav: has events of 'cello', .* labelled absent"):
        clips([[], [[0, 0, 1]], [[2, 0, 1], [1, 0, 1]]])


def test_a_table_picks_up_the_events_beside_it(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    (tmp_path / "labels.csv").write_text("path,violin\na.wav,1\nb.wav,1\n")
    assert read_clips(tmp_path / "labels.csv", TAXONOMY).events is None
    events = tmp_path / "events.csv"
    events.write_text(
        "path,class,start,end\n./b.wav,violin,1,2\nb.wav,trumpet,0,2\nc.wav,cello,0,1\n"
    )
    first, second = read_clips(tmp_path / "labels.csv", TAXONOMY).events
    assert first.shape == (0, 3)
    np.testing.assert_array_equal(second, np.float32([[2, 0, 2], [0, 1, 2]]))
    events.write_text("path,class,start,end\nsub/b.wav,violin,1,2\n")
    with pytest.raises(LabelError, match=r"events\.csv: none of its paths.*sub/b\.wav"):
        read_clips(tmp_path / "labels.csv", TAXONOMY)
