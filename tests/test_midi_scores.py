"""Tests of scores taken from MIDI files."""

import contextlib
import logging
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from test_score import settings
from test_synthesis import need_soundfont, rows

from hmic_keras.data import synthesis
from hmic_keras.data.sources.folder import read_clips
from hmic_keras.data.synthesis._instruments import INSTRUMENTS
from hmic_keras.data.synthesis._midi import excerpt, find_midi, read_midi
from hmic_keras.errors import AudioError, MissingDependencyError
from hmic_keras.taxonomy import Taxonomy

mido = pytest.importorskip("mido")
OPENMIC = Taxonomy.load("openmic")
PLAYERS = {name: INSTRUMENTS[name] for name in OPENMIC.classes("fine")}
BEAT = 480


def save(path, *tracks, tempo=120):
    """Writes a MIDI file; a track lists `(beats since the last, type, values)`."""
    song = mido.MidiFile(ticks_per_beat=BEAT)
    for events in tracks:
        track = mido.MidiTrack()
        track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
        for beats, kind, values in events:
            track.append(mido.Message(kind, time=round(beats * BEAT), **values))
        song.tracks.append(track)
    song.save(path)
    return path


def held(channel, key, beats, wait=0.0, velocity=90):
    return [
        (wait, "note_on", {"channel": channel, "note": key, "velocity": velocity}),
        (beats, "note_off", {"channel": channel, "note": key}),
    ]


def program(channel, number):
    return (0, "program_change", {"channel": channel, "program": number})


@pytest.fixture
def trio(tmp_path):
    """Flute and string ensemble, and a kit; at 120 beats a minute, half a second each."""
    flute = [program(0, 73), *(e for i in range(12) for e in held(0, 70 + i % 5, 1.0))]
    strings = [program(1, 48), *held(1, 60, 12.0)]
    kit = [e for key in (36, 42, 38, 42) * 3 for e in held(9, key, 0.25, wait=0.75)]
    return save(tmp_path / "trio.mid", flute, strings, kit)


class TestReading:
    def test_notes_in_seconds_by_program(self, trio):
        song = read_midi(trio)
        assert set(song.voices) == {(0, (0, 73)), (1, (0, 48)), (9, (128, 0))}
        flute = song.voices[0, (0, 73)].notes
        np.testing.assert_allclose([n.onset for n in flute], np.arange(12) / 2, atol=1e-6)
        np.testing.assert_allclose([n.duration for n in flute], 0.5, atol=1e-6)
        assert [n.key for n in flute[:5]] == [70, 71, 72, 73, 74]

    def test_pedal_holds_and_controls_are_kept(self, tmp_path):
        def change(number, value, wait=0.0):
            return (
                wait,
                "control_change",
                {"channel": 0, "control": number, "value": value},
            )

        path = save(
            tmp_path / "pedal.mid",
            [
                change(64, 127),
                *held(0, 60, 1.0),
                change(64, 0, wait=3.0),
                (0, "pitchwheel", {"channel": 0, "pitch": 4096}),
                change(11, 127),
            ],
        )
        song = read_midi(path)
        (note,) = song.voices[0, (0, 0)].notes
        np.testing.assert_allclose((note.onset, note.duration), (0.0, 2.0), atol=1e-6)
        kinds = {control.kind: control.value for control in song.controls[0]}
        assert kinds == {"bend": 1.0, "expression": 1.0}

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"MThd",
            b"no midi at all",
            # A key signature of a hundred sharps, for which mido has an error of its own.
            b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\6\0\xff\x59\2\x64\0",
            b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\1\0\x90",
        ],
    )
    def test_bad_files(self, tmp_path, content):
        path = tmp_path / "bad.mid"
        path.write_bytes(content)
        with pytest.raises(AudioError, match=r"bad\.mid"):
            read_midi(path)

    @hypothesis.settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
    )
    @hypothesis.given(
        changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
        length=st.integers(0, 400),
    )
    def test_damaged_files_are_read_or_refused(self, tmp_path, trio, changes, length):
        content = bytearray(
            trio.read_bytes()[:length] if length % 3 == 0 else trio.read_bytes()
        )
        for place, value in changes:
            if place < len(content):
                content[place] = value
        path = tmp_path / "damaged.mid"
        path.write_bytes(content)
        with contextlib.suppress(AudioError):
            song = read_midi.__wrapped__(path)
            assert all(note.duration > 0 for v in song.voices.values() for note in v.notes)

    def test_folder(self, tmp_path, trio):
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "B.MIDI").write_bytes(trio.read_bytes())
        (tmp_path / "song.mp3").touch()
        assert [path.name for path in find_midi(tmp_path)] == ["B.MIDI", "trio.mid"]
        (tmp_path / "none").mkdir()
        with pytest.raises(AudioError, match="no MIDI files"):
            find_midi(tmp_path / "none")
        with pytest.raises(AudioError, match="is not a folder"):
            find_midi(trio)

    def test_missing_mido(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "mido", None)
        with pytest.raises(MissingDependencyError, match=r"hmic-keras\[synth\]"):
            find_midi(tmp_path)


class TestExcerpts:
    def test_classes_and_times_are_those_of_the_file(self, trio):
        whole = {n.key: n for n in read_midi(trio).voices[0, (0, 73)].notes}
        for seed in range(12):
            rng = np.random.default_rng(seed)
            score, path, skipped = excerpt(rng, settings(polyphony=(2, 3)), [trio], PLAYERS, 0)
            assert (score.style, path, skipped) == ("midi", trio, {})
            parts = {part.class_name: part for part in score.parts}
            # The string ensemble is neither violin nor cello, so nobody plays it.
            assert len(parts) >= 2
            assert set(parts) <= {"flute", "drums", "cymbals"}
            for name, keys in (("drums", {36, 38}), ("cymbals", {42})):
                if name in parts:
                    assert {note.key for note in parts[name].notes} <= keys
            if "flute" in parts:
                flute = parts["flute"]
                assert flute.presets[0] == (0, 73)
                assert all(
                    0 <= n.onset < 2.0 and n.onset + n.duration <= 2.001 for n in flute.notes
                )
                assert {n.key for n in flute.notes} <= set(whole)
                inner = [n.onset for n in flute.notes if n.onset > 0]
                np.testing.assert_allclose(np.diff(inner), 0.5, atol=1e-3)

    def test_most_classes(self, trio):
        for seed in range(6):
            rng = np.random.default_rng(seed)
            score, *_ = excerpt(rng, settings(polyphony=(1, 1)), [trio], PLAYERS, 0)
            assert len({part.class_name for part in score.parts}) == 1

    def test_nothing_to_play(self, tmp_path):
        path = save(tmp_path / "strings.mid", [program(0, 48), *held(0, 60, 4.0)])
        with pytest.raises(AudioError, match="none of the 1 files tried for clip 3"):
            excerpt(np.random.default_rng(0), settings(), [path], PLAYERS, 3)

    def test_bad_file_hands_its_turn_to_the_next(self, tmp_path, trio):
        bad = tmp_path / "bad.mid"
        bad.write_bytes(b"MThd")
        met = set()
        for index in range(8):
            rng = np.random.default_rng(index)
            _, path, skipped = excerpt(rng, settings(), [bad, trio], PLAYERS, index)
            assert path == trio
            met |= set(skipped)
        assert met == {str(bad)}


@pytest.mark.synth
def test_corpus_from_midi(tmp_path, trio, caplog):
    font = need_soundfont("TimGM6mb.sf2", "FluidR3_GM.sf2")
    (tmp_path / "bad.mid").write_bytes(b"MThd")
    results = []
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        with caplog.at_level(logging.WARNING, "hmic_keras"):
            manifest = synthesis.render_corpus(
                OPENMIC,
                out,
                clips=4,
                soundfont=font,
                seconds=1.5,
                midi=tmp_path,
                format="wav",
                processes=processes,
            )
        results.append({p.name: p.read_bytes() for p in (out / "clips").iterdir()})
    assert results[0] == results[1]
    assert manifest["midi"]["files"] == 2
    assert manifest["midi"]["used"] == 1
    assert [path.endswith("bad.mid") for path in manifest["midi"]["skipped"]] == [True]
    assert "1 of 2 MIDI files left out" in caplog.text
    assert {row["style"] for row in rows(out / "parts.csv")} == {"midi"}
    clips = read_clips(out / "labels.csv", OPENMIC)
    heard = {
        OPENMIC.classes("fine")[i]
        for i in np.flatnonzero(clips.labels["fine"].max(axis=0) == 1)
    }
    assert heard <= {"flute", "drums", "cymbals"}
    assert all(len(events) for events in clips.events)
