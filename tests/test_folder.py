"""Tests of `hmic_keras.data.sources.folder`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmic_keras.data.sources.folder import LabelledClips, read_clips, write_labels
from hmic_keras.errors import HmicError, LabelError
from hmic_keras.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_dict(
    {
        "name": "band",
        "levels": ["fine", "coarse"],
        "classes": {
            "fine": ["violin", "cello", "trumpet", "voice", "path"],
            "coarse": ["strings", "brass", "voice", "other"],
        },
        "parents": {
            "fine": {
                "violin": ["strings"],
                "cello": ["strings"],
                "trumpet": ["brass"],
                "voice": ["voice"],
                "path": ["other", "brass"],
            }
        },
    }
)


@pytest.fixture
def table(tmp_path):
    """Returns a function that writes a CSV, and files a.wav to d.wav beside it."""
    for name in "abcd":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")

    def write(text, encoding="utf-8"):
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        return path

    return write


def test_cells_become_labels_and_columns_classes(table, tmp_path):
    clips = read_clips(
        table(
            "meta_by, violin ,path,fine:path,coarse:voice,_id\n"
            'ann,1,a.wav,,0,7\n"b, c",0.25,./sub/../b.wav,0, 1 ,\n\n'
        ),
        TAXONOMY,
    )
    assert clips.paths == (tmp_path / "a.wav", tmp_path / "b.wav")
    np.testing.assert_array_equal(
        clips.labels["fine"], np.float32([[1, -1, -1, 0, -1], [0.25, -1, -1, -1, 0]])
    )
    np.testing.assert_array_equal(
        clips.labels["coarse"], np.float32([[1, -1, 0, -1], [-1, -1, 1, 0]])
    )
    assert list(clips.labels) == ["fine", "coarse"]
    assert {values.dtype for values in clips.labels.values()} == {np.dtype("float32")}
    assert len(clips) == 2


def test_a_bare_name_is_the_finest_class_of_that_name(table):
    clips = read_clips(table("path,voice\na.wav,0\n"), TAXONOMY)
    assert clips.labels["fine"][0, 3] == 0
    assert clips.labels["coarse"][0, 2] == 0


def test_a_byte_order_mark_and_windows_line_ends(table):
    clips = read_clips(table("path,cello\r\na.wav,1\r\n", "utf-8-sig"), TAXONOMY)
    assert clips.labels["fine"][0, 1] == 1


def test_paths_start_from_root_or_are_absolute(table, tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "x.wav").touch()
    path = table(f"path,cello\nx.wav,1\n{tmp_path}/a.wav,0\n")
    clips = read_clips(path, TAXONOMY, root=tmp_path / "audio")
    assert clips.paths == (tmp_path / "audio" / "x.wav", tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is empty"),
        ("path,violin\n", "no rows"),
        ("path\na.wav\n", "no column for a class"),
        ("path,meta_x\na.wav,1\n", "no column for a class"),
        ("violin\n1\n", "no column `path`"),
        ("path;violin\na.wav;1\n", "Separate columns by commas"),
        ("path\tviolin\na.wav\t1\n", "Separate columns by commas"),
        (",path,violin\n0,a.wav,1\n", "column 1 has no name.*index=False"),
        ("path,violin,violin\na.wav,1,1\n", "repeated columns: 'violin'"),
        ("path,violin,fine:violin\na.wav,1,1\n", "more than one column .*'fine:violin'"),
        ("path,path,violin\na.wav,a.wav,1\n", "repeated columns: 'path'"),
        ("path,violn,kazoo\na.wav,1,1\n", "'violn' .did you mean 'violin'.*'kazoo'.*meta_"),
        ("path,fine:strings\na.wav,1\n", "'fine:strings'"),
        ("path,violin\na.wav,1,1\n", "line 2 has 3 cells, the header 2"),
        ("path,violin\na.wav\n", "line 2 has 1 cells, the header 2"),
        ("path,violin\n,1\n", "line 2 has no path"),
        ("path,violin\na.wav,1\n./a.wav,0\n", "files listed twice: .*a.wav"),
        ("path,violin\na.wav,1\nx.wav,1\ny.wav,1\n", "2 of 3 audio files .*'x.wav', 'y.wav'"),
        ("path,violin\n.,1\n", "1 of 1 audio files"),
        ('path,violin\n"a.wav,1\n', "not a well-formed CSV"),
        ("path,violin,strings\nb.wav,0,0\na.wav,1,0\n", "Row 1: 'violin' .*Row 0 is the first"),
    ],
)
def test_tables_that_are_refused(table, text, found):
    path = table(text)
    with pytest.raises(LabelError, match=found) as caught:
        read_clips(path, TAXONOMY)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_minus_one_is_unobserved_as_an_empty_cell_is(table):
    clips = read_clips(table("path,violin,cello\na.wav,-1,0\nb.wav,,-1.0\n"), TAXONOMY)
    assert clips.labels["fine"].max() == 0
    assert (clips.labels["fine"] == -1).sum() == clips.labels["fine"].size - 1


@pytest.mark.parametrize(
    "cell", ["2", "-0.5", "1.01", "yes", "nan", "NA", "None", "inf", "0,5"]
)
def test_cells_that_are_refused_are_named(table, cell):
    path = table(f'path,violin,cello\na.wav,1,\n\nb.wav,1,"{cell}"\n')
    with pytest.raises(
        LabelError, match=r"line 4, column 'cello'.*empty or -1 for unobserved"
    ) as caught:
        read_clips(path, TAXONOMY)
    assert repr(cell) in str(caught.value)


def test_other_files_are_refused(table, tmp_path):
    with pytest.raises(LabelError, match=r"none\.csv: no such file"):
        read_clips(tmp_path / "none.csv", TAXONOMY)
    for content in (b"\xff\xfep\x00a\x00", "path,violin\nä.wav,1\n".encode("latin-1")):
        with pytest.raises(LabelError, match="not UTF-8"):
            read_clips(table(content), TAXONOMY)


def test_many_missing_files_are_counted_not_listed(table):
    rows = "".join(f"x{i}.wav,1\n" for i in range(50))
    with pytest.raises(LabelError, match=r"50 of 50 .*'x4\.wav' and 45 more\."):
        read_clips(table("path,violin\n" + rows), TAXONOMY)


# Writing


def labels_strategy(rows):
    values = st.sampled_from(np.float32([-1, 0, 1, 0.3, 0.7, 0.1, 1e-7]).tolist())
    return st.fixed_dictionaries(
        {"fine": hnp.arrays(np.float32, (rows, 5), elements=values)},
        optional={"coarse": hnp.arrays(np.float32, (rows, 4), elements=values)},
    )


@settings(max_examples=60, deadline=None)
@given(labels_strategy(4))
def test_what_is_written_reads_back_the_same(tmp_path_factory, labels):
    folder = tmp_path_factory.mktemp("table")
    paths = ["a, b.wav", 'c"d".wav', "sub/é.wav", "x.wav"]
    try:
        clips = LabelledClips(TAXONOMY, paths, labels)
    except LabelError:
        return  # Contradictory draws; a test above covers them.
    (folder / "sub").mkdir()
    for path in paths:
        (folder / path).touch()
    write_labels(folder / "labels.csv", paths, TAXONOMY, labels)
    again = read_clips(folder / "labels.csv", TAXONOMY)
    assert again.paths == tuple(folder / path for path in paths)
    for level, values in clips.labels.items():
        np.testing.assert_array_equal(again.labels[level], values)


def test_only_coarse_labels_that_do_not_follow_are_written(tmp_path):
    path = tmp_path / "new" / "labels.csv"
    labels = {"fine": np.float32([[1, -1, 0, -1, 0]]), "coarse": np.float32([[1, 0, 1, -1]])}
    write_labels(path, ["a.wav"], TAXONOMY, labels)
    assert path.read_text("utf-8") == (
        "path,violin,cello,trumpet,voice,fine:path,coarse:voice\na.wav,1,,0,,0,1\n"
    )
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("paths", "rows"),
    [([], 0), (["a.wav", "a.wav"], 2), (["a.wav", "./a.wav"], 2), ([""], 1), (["a.wav"], 2)],
)
def test_nothing_is_written_where_paths_and_labels_do_not_fit(tmp_path, paths, rows):
    target = tmp_path / "labels.csv"
    with pytest.raises(LabelError, match="paths"):
        write_labels(target, paths, TAXONOMY, {"fine": np.zeros((rows, 5), np.float32)})
    assert not target.exists()


# The table in memory


def make_clips(fine):
    fine = np.asarray(fine, np.float32)
    return LabelledClips(TAXONOMY, [f"{i}.wav" for i in range(len(fine))], {"fine": fine})


def test_labels_are_closed_on_construction():
    clips = make_clips([[1, -1, 0, -1, 0]])
    np.testing.assert_array_equal(clips.labels["coarse"], np.float32([[1, 0, -1, 0]]))


def test_rows_must_match_the_paths():
    with pytest.raises(LabelError, match=r"a row for each of the 1 paths.*\(2, 5\)"):
        LabelledClips(TAXONOMY, ["a.wav"], {"fine": np.zeros((2, 5))})


def test_a_subset_keeps_order_and_pairing():
    fine = np.random.default_rng(0).integers(-1, 2, (6, 5))
    part = make_clips(fine).subset([4, 0])
    assert [path.name for path in part.paths] == ["4.wav", "0.wav"]
    np.testing.assert_array_equal(part.labels["fine"], fine[[4, 0]])


def test_sets_are_joined_in_order():
    first, second = make_clips([[1, 0, 0, 0, 0]]), make_clips([[0, -1, 1, 0, 0]] * 2)
    found = LabelledClips.joined([first, second])
    assert found.paths == first.paths + second.paths
    np.testing.assert_array_equal(found.labels["fine"][:, 2], [0, 1, 1])
    assert found.events is None
    notes = (np.array([[0, 0.5, 1.0]], np.float32),)
    played = LabelledClips(TAXONOMY, first.paths, first.labels, notes)
    assert LabelledClips.joined([played, first]).events is None
    (one, two) = LabelledClips.joined([played, played]).events
    np.testing.assert_array_equal(one, two)
    other = LabelledClips(Taxonomy.from_dict({"brass": ["horn"]}), ["a.wav"], {"fine": [[1]]})
    for parts in ([], [first, other]):
        with pytest.raises(LabelError, match="at least one set of clips, all of one taxonomy"):
            LabelledClips.joined(parts)


def test_a_split_is_a_partition_that_a_seed_repeats():
    clips = make_clips((np.random.default_rng(0).random((200, 5)) < 0.3).astype(float))
    rest, held = clips.split(0.2, seed=3)
    numbers = [[int(path.stem) for path in part.paths] for part in (rest, held)]
    assert sorted(numbers[0] + numbers[1]) == list(range(200))
    assert numbers[0] == sorted(numbers[0])
    assert 36 <= len(held) <= 44
    assert clips.split(0.2, seed=3)[1].paths == held.paths
    assert clips.split(0.2, seed=4)[1].paths != held.paths


def test_a_split_keeps_rare_classes_on_both_sides():
    fine = np.zeros((100, 5))
    fine[:, 0] = 1
    fine[[10, 20], 1] = 1
    fine[[11, 21, 31], 2] = 1
    fine[50:, 3] = 1
    for seed in range(20):
        rest, held = make_clips(fine).split(0.1, seed)
        for part in (rest, held):
            assert (part.labels["fine"][:, :4] == 1).any(axis=0).all()
        assert 3 <= (held.labels["fine"][:, 3] == 1).sum() <= 7


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(2, 12), st.just(5)),
        elements=st.sampled_from([-1.0, 0.0, 1.0]),
    ),
    st.floats(0.01, 0.99),
)
@settings(max_examples=60, deadline=None)
def test_no_side_of_a_split_is_empty(fine, fraction):
    rest, held = make_clips(fine).split(fraction)
    assert len(rest)
    assert len(held)
    assert len(rest) + len(held) == len(fine)


def test_splits_out_of_range():
    for fraction in (0, 1, -0.5, np.nan):
        with pytest.raises(HmicError, match="fraction"):
            make_clips(np.zeros((3, 5))).split(fraction)
    with pytest.raises(HmicError, match="at least two clips"):
        make_clips(np.zeros((1, 5))).split(0.5)
