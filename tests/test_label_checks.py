"""Checks of labelled clips before anything is trained on them."""

import shutil

import numpy as np
import pytest
import soundfile
from audio_files import write
from hypothesis import given
from hypothesis import strategies as st

from hmic_keras import Taxonomy
from hmic_keras.data import LabelledClips
from hmic_keras.data.fingerprints import RATE, fingerprint, matches
from hmic_keras.data.label_checks import check_labels, contradictions
from hmic_keras.errors import LabelError

GROUPS = {"plucked": ["koto", "sitar"], "blown": ["shanai"]}


@pytest.fixture(scope="module")
def taxonomy():
    return Taxonomy.from_dict(GROUPS)


def music(seed, seconds=4.0, rate=RATE):
    """A random melody of plucked notes with overtones, and a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    sound = np.zeros(len(time))
    for onset in np.arange(0, seconds, 0.25):
        since = np.maximum(time - onset, 0) * (time >= onset)
        pitch = 220 * 2 ** (rng.integers(0, 25) / 12)
        for partial in range(1, 6):
            decay = np.exp(-since * rng.uniform(2, 8)) * (time >= onset)
            sound += decay * np.sin(2 * np.pi * pitch * partial * since) / partial
    sound += 0.001 * rng.normal(size=len(time))
    return 0.5 * sound / np.abs(sound).max()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight recordings of different music."""
    path = tmp_path_factory.mktemp("music")
    for number in range(8):
        soundfile.write(path / f"{number}.flac", music(number), RATE)
    return path


def clips_of(taxonomy, folder, rows, level="fine"):
    paths = tuple(folder / f"{number}.flac" for number in range(len(rows)))
    return LabelledClips(taxonomy, paths, {level: np.array(rows, np.float32)})


def kinds(checks):
    return [one.kind for one in checks.findings]


GOOD = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_different_music_does_not_match_itself():
    assert matches([fingerprint(music(seed)) for seed in range(12)]) == []


@pytest.mark.parametrize("change", ["mp3", "vorbis", "soft", "cut", "rate", "noise"])
def test_a_copy_is_found_whatever_was_done_to_it(tmp_path, change):
    sound, rate = music(3, seconds=6.0), RATE
    copy, kind = sound, "flac"
    if change == "mp3":
        kind = "mp3"
    elif change == "vorbis":
        kind = "ogg"
    elif change == "soft":
        copy = 0.1 * sound
    elif change == "cut":
        copy = sound[round(1.37 * RATE) :]
    elif change == "rate":
        import soxr

        copy, rate = soxr.resample(sound, RATE, 44100), 44100
    else:
        copy = sound + 0.005 * np.random.default_rng(0).normal(size=len(sound))
    from hmic_keras.data import load_audio

    path = write(tmp_path / f"copy.{kind}", copy, rate)
    prints = [fingerprint(sound), fingerprint(music(9)), fingerprint(load_audio(path, RATE))]
    (match,) = matches(prints)
    assert (match.first, match.second) == (0, 2)
    assert match.errors <= 0.25
    assert match.seconds > 2


def test_silence_and_steady_tones_match_nothing():
    time = np.arange(3 * RATE) / RATE
    tones = [np.sin(2 * np.pi * frequency * time) for frequency in (440, 650, 1210)]
    sounds = [np.zeros(3 * RATE), np.zeros(3 * RATE), *tones]
    assert matches([fingerprint(sound) for sound in sounds]) == []


def test_sound_labels_give_no_errors_and_counts(taxonomy, folder):
    checks = check_labels(clips_of(taxonomy, folder, GOOD))
    checks.refuse()
    assert kinds(checks) == ["few_examples"]
    assert checks.counts["fine"]["koto"] == {"present": 2, "absent": 4, "unobserved": 0}
    assert checks.counts["coarse"]["plucked"] == {"present": 4, "absent": 2, "unobserved": 0}
    assert len(set(checks.groups)) == len(GOOD)


def test_a_class_without_examples_is_an_error_unless_it_is_known(taxonomy, folder):
    rows = [[1, 0, 0], [0, 0, 1], [1, 0, 0]]
    checks = check_labels(clips_of(taxonomy, folder, rows))
    with pytest.raises(LabelError, match=r"No clip shows 'fine:sitar'.*map it to a class"):
        checks.refuse()
    known = check_labels(clips_of(taxonomy, folder, rows), known=[("fine", "sitar")])
    known.refuse()


def test_a_known_class_without_examples_of_both_kinds_is_spoken_of(taxonomy, folder):
    known = [("fine", "sitar"), ("fine", "koto")]
    rows = [[-1, 0, 0], [1, 0, 1], [-1, 0, 1]]
    checks = check_labels(clips_of(taxonomy, folder, rows), known=known)
    checks.refuse()
    found = {one.kind: one for one in checks.findings}
    assert found["kept"].severity == "note"
    assert "No clip shows 'fine:sitar', which the base model knows" in found["kept"].message
    assert found["only_present"].severity == "warning"
    assert "lacking 'fine:koto'" in found["only_present"].message


def test_a_single_recording_of_a_class_is_a_warning(taxonomy, folder, tmp_path):
    shutil.copy(folder / "0.flac", tmp_path / "0.flac")
    shutil.copy(folder / "0.flac", tmp_path / "1.flac")  # copies are one recording
    for number in (2, 3, 4, 5):
        shutil.copy(folder / f"{number}.flac", tmp_path)
    rows = [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    checks = check_labels(clips_of(taxonomy, tmp_path, rows))
    (single,) = [one for one in checks.findings if one.kind == "single_recording"]
    assert "A single recording shows 'fine:koto'" in single.message
    assert "Add recordings" in single.message


def test_clips_to_test_on_must_hold_both_kinds(taxonomy, folder, tmp_path):
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.flac", music(20 + number), RATE)
    test = clips_of(taxonomy, tmp_path, [[1, 0, 0], [1, 1, 0]])
    checks = check_labels(clips_of(taxonomy, folder, GOOD), test)
    (found,) = [one for one in checks.findings if one.kind == "untested"]
    assert "fine:koto (none lacks it), fine:shanai (none shows it)" in found.message
    assert "sitar" not in found.message


def test_data_of_one_kind_is_an_error(taxonomy, folder):
    single = Taxonomy.from_dict({"plucked": ["koto"]})
    checks = check_labels(clips_of(single, folder, [[1], [1], [1]]))
    with pytest.raises(LabelError, match="nothing to tell it from"):
        checks.refuse()
    check_labels(clips_of(single, folder, [[1], [0], [1]])).refuse()


def test_missing_and_undecided_labels_are_named(taxonomy, folder):
    rows = [*GOOD[:4], [-1, -1, -1]]
    checks = check_labels(clips_of(taxonomy, folder, rows))
    (missing,) = [one for one in checks.findings if one.kind == "missing"]
    assert [name.endswith("4.flac") for name in missing.clips] == [True]
    paths = tuple(folder / f"{number}.flac" for number in range(2))
    labels = {"fine": [[-1, -1, 0], [0, 0, 1]], "coarse": [[1, 0], [0, 1]]}
    clips = LabelledClips(taxonomy, paths, labels)
    found = check_labels(clips, known=[("fine", "koto"), ("fine", "sitar")])
    assert "undecided" in kinds(found)


def test_copies_are_one_recording_and_contradictory_ones_a_warning(taxonomy, folder, tmp_path):
    for number in range(4):
        shutil.copy(folder / f"{number}.flac", tmp_path)
    shutil.copy(folder / "0.flac", tmp_path / "4.flac")  # the same bytes
    soundfile.write(tmp_path / "5.flac", 0.3 * music(1)[8000:], RATE)  # softer and cut
    rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 1]]
    checks = check_labels(clips_of(taxonomy, tmp_path, rows))
    assert kinds(checks).count("duplicate") == 1
    (wrong,) = [one for one in checks.findings if one.kind == "contradiction"]
    assert "fine:sitar" in wrong.message
    assert checks.groups[0] == checks.groups[4]
    assert checks.groups[1] == checks.groups[5]
    assert len(set(checks.groups)) == 4


def test_a_leak_into_the_test_clips_is_an_error(taxonomy, folder, tmp_path):
    soundfile.write(tmp_path / "0.flac", 0.5 * music(2), RATE)
    soundfile.write(tmp_path / "1.flac", music(20), RATE)
    test = clips_of(taxonomy, tmp_path, [[0, 0, 1], [1, 0, 0]])
    checks = check_labels(clips_of(taxonomy, folder, GOOD), test)
    with pytest.raises(LabelError, match=r"2\.flac \(training\).*0\.flac \(test\).*take one"):
        checks.refuse()
    other = Taxonomy.from_dict({"plucked": ["koto"]})
    with pytest.raises(LabelError, match="must be labelled with the taxonomy"):
        check_labels(test, clips_of(other, tmp_path, [[1], [0]]))


@given(st.lists(st.lists(st.sampled_from([-1, 0, 1]), min_size=5, max_size=5), min_size=1))
def test_contradictions_are_those_that_closing_refuses(rows):
    taxonomy = Taxonomy.from_dict(GROUPS)
    labels = {
        "fine": np.array(rows, float)[:, :3],
        "coarse": np.array(rows, float)[:, 3:],
    }
    expected = [
        (row, f"fine:{child}", f"coarse:{parent}")
        for row, values in enumerate(rows)
        for c, child, p, parent in (
            (0, "koto", 3, "plucked"),
            (1, "sitar", 3, "plucked"),
            (2, "shanai", 4, "blown"),
        )
        if values[c] == 1 and values[p] == 0
    ]
    assert contradictions(taxonomy, labels) == sorted(expected)
    if expected:
        with pytest.raises(LabelError):
            taxonomy.close_labels(labels)
    else:
        taxonomy.close_labels(labels)
