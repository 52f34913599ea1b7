"""Tests of `hmic_keras.data.synthesis` and of the modules that it is made of."""

import csv
import logging
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hmic_keras.data import synthesis
from hmic_keras.data.sources.folder import read_clips
from hmic_keras.data.synthesis import _fluidsynth, _mixing, _soundfont
from hmic_keras.data.synthesis._compose import compose
from hmic_keras.data.synthesis._instruments import INSTRUMENTS
from hmic_keras.data.synthesis._score import Control, Note
from hmic_keras.data.synthesis._styles import STYLES
from hmic_keras.errors import AudioError, HmicError, MissingDependencyError, TaxonomyError
from hmic_keras.taxonomy import Taxonomy

OPENMIC = Taxonomy.load("openmic")
FOLDERS = ("/usr/share/sounds/sf2", "/usr/share/sounds/sf3", "/usr/share/soundfonts")


def need_soundfont(*names):
    """Returns the first SoundFont found; otherwise skips, or fails where rendering is due."""
    try:
        _fluidsynth.import_fluidsynth()
        reason = f"none of the SoundFonts {', '.join(names)} is installed"
    except MissingDependencyError as error:
        names, reason = (), str(error)
    for name in names:
        for folder in FOLDERS:
            if Path(folder, name).is_file():
                return Path(folder, name)
    if os.environ.get("HMIC_REQUIRE_SYNTH") == "1":
        pytest.fail(f"HMIC_REQUIRE_SYNTH=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def small_font():
    return need_soundfont("TimGM6mb.sf2", "FluidR3_GM.sf2")


@pytest.fixture(scope="session")
def full_font():
    return need_soundfont("FluidR3_GM.sf2", "MuseScore_General_Full.sf3")


@pytest.fixture(scope="session")
def player(small_font):
    library = _fluidsynth.SoundLibrary(small_font, 16_000)
    with library.player() as player:
        yield player
    library.close()


def riff(kind, body):
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def toy_soundfont(presets, texts=((b"INAM", b"Toy\0"),)):
    """Bytes of a SoundFont that has a table of contents and nothing to play."""
    headers = [(name, program, bank) for (bank, program), name in presets.items()]
    phdr = b"".join(
        struct.pack("<20sHHHIII", name.encode(), program, bank, 0, 0, 0, 0)
        for name, program, bank in [*headers, ("EOP", 0, 0)]
    )
    info = riff(b"LIST", b"INFO" + b"".join(riff(key, text) for key, text in texts))
    return riff(b"RIFF", b"sfbk" + info + riff(b"LIST", b"pdta" + riff(b"phdr", phdr)))


class TestSoundFont:
    def test_presets_and_texts(self, tmp_path):
        texts = ((b"INAM", b"Toy\0"), (b"ICOP", b"(c) me\0\0"), (b"ICMT", b"MIT\0"))
        path = tmp_path / "toy.sf2"
        path.write_bytes(toy_soundfont({(0, 0): "Piano", (8, 24): "Ukulele"}, texts))
        font = _soundfont.read_soundfont(path)
        assert font.presets == {(0, 0): "Piano", (8, 24): "Ukulele"}
        assert font.name == "Toy"
        assert font.notices == "(c) me; MIT"

    def test_a_chunk_of_odd_length_without_its_padding(self, tmp_path):
        path = tmp_path / "toy.sf3"
        sound = riff(b"LIST", b"sdta" + riff(b"smpl", b"odd"))[:-1]
        sound = sound[:4] + struct.pack("<I", len(sound) - 8) + sound[8:]
        body = toy_soundfont({(0, 0): "Piano"})[12:]
        path.write_bytes(riff(b"RIFF", b"sfbk" + sound + body))
        assert _soundfont.read_soundfont(path).presets == {(0, 0): "Piano"}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "cannot be read"),
            (b"", "not a SoundFont"),
            (b"RIFF\x04\0\0\0WAVE", "not a SoundFont"),
            (toy_soundfont({(0, 0): "Piano"})[:-20], "cut short"),
            (toy_soundfont({}), "holds no presets"),
            (riff(b"RIFF", b"sfbk" + b"LIST\xff\xff\xff\x7f"), "holds no presets"),
        ],
        ids=["missing", "empty", "wave", "cut", "no-presets", "lying-chunk"],
    )
    def test_bad_file(self, tmp_path, content, message):
        path = tmp_path / "bad.sf2"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(AudioError, match=message) as caught:
            _soundfont.read_soundfont(path)
        assert str(path) in str(caught.value)


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("clips", 0),
            ("clips", 2.0),
            ("clips", True),
            ("seconds", 0.5),
            ("seconds", 61),
            ("seconds", float("nan")),
            ("seconds", "10"),
            ("sample_rate", 4000),
            ("sample_rate", 96_000),
            ("seed", -1),
            ("polyphony", 3),
            ("polyphony", (0, 2)),
            ("polyphony", (3, 2)),
            ("polyphony_decay", 0.0),
            ("polyphony_decay", 1.5),
            ("format", "mp3"),
            ("quality", 1.1),
            ("empty", -0.1),
            ("empty", 1.5),
            ("modelled", -0.1),
            ("modelled", 1.5),
            ("modelled", True),
            ("channels", 3),
            ("stems", 1),
            ("whole_range", 1),
            ("processes", 0),
        ],
    )
    def test_out_of_range(self, tmp_path, name, value):
        arguments = {"clips": 1, "soundfont": tmp_path / "none.sf2", name: value}
        with pytest.raises(HmicError, match=rf"^{name}") as caught:
            synthesis.render_corpus(OPENMIC, tmp_path / "out", **arguments)
        assert "Received" in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_filled_folder_and_file_are_refused(self, tmp_path):
        (tmp_path / "kept.txt").write_text("mine")
        for out in (tmp_path, tmp_path / "kept.txt"):
            with pytest.raises(HmicError, match="not an empty folder"):
                synthesis.render_corpus(OPENMIC, out, clips=1, soundfont="none.sf2")
        assert (tmp_path / "kept.txt").read_text() == "mine"

    def test_class_without_a_sound(self, tmp_path):
        taxonomy = Taxonomy.from_dict({"strings": ["violin", "hurdy_gurdy"]})
        with pytest.raises(TaxonomyError, match=r"without a known sound: hurdy_gurdy\."):
            synthesis.render_corpus(taxonomy, tmp_path / "out", clips=1, soundfont="none.sf2")

    def test_missing_library_says_how_to_install_it(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "fluidsynth", None)
        with pytest.raises(MissingDependencyError, match=r"apt-get.*brew.*hmic-keras\[synth\]"):
            synthesis.render_corpus(
                OPENMIC, tmp_path / "out", clips=1, soundfont=tmp_path / "none.sf2"
            )


@pytest.mark.synth
class TestPlayer:
    def test_pitch(self, player):
        for detune, expected in ((0.0, 440.0), (1.0, 466.16), (-0.5, 427.47)):
            sound = player.render(
                [Note(0.0, 2.0, 69, 90)], (0, 73), frames=32_000, detune=detune
            )[0]
            spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
            peak = np.argmax(spectrum[:2000]) / 2.0
            # Vibrato and the tuning of the sample leave a few hertz.
            assert abs(peak - expected) < 8 or abs(peak - 2 * expected) < 16

    def test_timing(self, player):
        sound = player.render([Note(0.5, 0.5, 60, 100)], (0, 16), frames=32_000)
        assert sound.shape == (2, 32_000)
        assert np.abs(sound[:, :7900]).max() == 0
        assert np.abs(sound[:, 8000:16_000]).max() > 0.01
        assert np.abs(sound[:, 20_000:]).max() < 0.1 * np.abs(sound[:, 8000:16_000]).max()

    def test_key_struck_again_goes_on_sounding(self, player):
        notes = [Note(0.0, 1.0, 60, 100), Note(0.5, 1.5, 60, 100)]
        sound = player.render(notes, (0, 16), frames=32_000)
        assert np.abs(sound[:, 24_000:]).max() > 0.3 * np.abs(sound).max()

    def test_controls(self, player):
        def play(*controls):
            notes = [Note(0.0, 2.0, 69, 100)]
            return player.render(notes, (0, 80), frames=32_000, controls=controls)[0]

        def peak(sound):
            return np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound))))) * 1.0

        plain = play()
        bent = play(Control(1.0, "bend", 2.0))
        assert abs(peak(plain[16_000:]) - peak(plain[:16_000])) <= 2
        np.testing.assert_allclose(
            peak(bent[16_000:]) / peak(bent[:16_000]), 2 ** (2 / 12), rtol=0.02
        )
        soft = play(Control(0.0, "expression", 1.0), Control(1.0, "expression", 0.5))
        before, after = (np.abs(half).max() for half in (soft[:16_000], soft[20_000:]))
        assert after < 0.6 * before
        assert np.abs(play(Control(0.5, "vibrato", 1.0)) - plain).max() > 0.01

    def test_new_player_repeats_every_sample_whatever_came_before(self, small_font, player):
        chord = [Note(0.1, 2.0, key, 90) for key in (60, 64, 67)]
        vibrato = (Control(0.0, "vibrato", 0.5),)
        library = _fluidsynth.SoundLibrary(small_font, 16_000)

        def play(owner):
            with owner.player() as new:
                kit = new.render([Note(0.0, 9.0, 49, 127)], (128, 0), frames=777)
                strings = new.render(
                    chord, (0, 48), frames=20_000, detune=0.3, controls=vibrato
                )
            return np.concatenate([kit, strings], axis=1)

        first = play(library)
        with library.player() as other:
            other.render(chord, (0, 48), frames=500, controls=vibrato)
            other.render(chord, (0, 0), frames=5000)
        player.render(chord, (0, 48), frames=500)
        np.testing.assert_array_equal(play(library), first)
        library.close()
        unused = _fluidsynth.SoundLibrary(small_font, 16_000)
        np.testing.assert_array_equal(play(unused), first)
        unused.close()

    def test_controllers_do_not_leak_into_the_next_part(self, player):
        chord = [Note(0.0, 1.0, key, 90) for key in (60, 64, 67)]
        plain = player.render(chord, (0, 48), frames=16_000)
        shaped = (Control(0.0, "vibrato", 1.0), Control(0.5, "expression", 0.3))
        bent = player.render(chord, (0, 48), frames=16_000, detune=1.0, controls=shaped)
        again = player.render(chord, (0, 48), frames=16_000)
        assert np.abs(bent - plain).max() > 0.01
        np.testing.assert_allclose(again, plain, atol=1e-3)

    def test_absent_preset(self, player):
        with pytest.raises(AudioError, match="bank 99, program 3"):
            player.render([Note(0.0, 1.0, 60, 90)], (99, 3), frames=100)

    def test_every_preset_of_every_class_is_heard(self, full_font):
        presets = _soundfont.read_soundfont(full_font).presets
        library = _fluidsynth.SoundLibrary(full_font, 16_000)
        for name, instrument in INSTRUMENTS.items():
            held = presets.keys() & set(instrument.presets)
            assert len(held) >= len(set(instrument.presets)) - 1, name
            score = compose(np.random.default_rng(5), STYLES[0], {name: instrument}, 2.0)
            with library.player() as loud:
                for preset in held:
                    sound = loud.render(score.parts[0].notes, preset, frames=32_000)
                    power = _mixing._frame_power(sound, 16_000)
                    assert power.max() > 1e-5, (name, preset)
        library.close()

    def test_variation_banks_are_more_than_their_base(self):
        library = _fluidsynth.SoundLibrary(need_soundfont("FluidR3_GM.sf2"), 16_000)
        notes = [Note(0.0, 1.0, 67, 90)]
        with library.player() as loud:
            for variation, base in (((8, 24), (0, 24)), ((16, 25), (0, 25))):
                one, other = (
                    loud.render(notes, preset, frames=16_000)[0] for preset in (variation, base)
                )
                assert np.abs(one).max() > 0.01
                # Made from the same samples, yet not a copy at another level.
                assert np.corrcoef(one, other)[0, 1] < 0.99
        library.close()


def rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def render_few(font, out, *, taxonomy=OPENMIC, **changed):
    options = {"clips": 2, "seconds": 1.0, "seed": 5, "format": "wav", "processes": 1}
    return synthesis.render_corpus(taxonomy, out, soundfont=font, **{**options, **changed})


@pytest.fixture(scope="module")
def corpus(small_font, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "deep" / "out"
    calls = []
    manifest = synthesis.render_corpus(
        OPENMIC,
        out,
        clips=12,
        soundfont=small_font,
        seconds=2.0,
        seed=3,
        format="wav",
        processes=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(i, 12) for i in range(1, 13)]
    return out, manifest


@pytest.mark.synth
class TestCorpus:
    def test_audio(self, corpus):
        out, _ = corpus
        names = sorted(path.name for path in (out / "clips").iterdir())
        assert names == [f"{i:05d}.wav" for i in range(12)]
        for name in names:
            samples, rate = soundfile.read(out / "clips" / name)
            assert (samples.shape, rate) == ((32_000,), 16_000)
            assert 0.12 < np.abs(samples).max() < 0.9

    def test_events_are_heard(self, corpus):
        out, _ = corpus
        clips = read_clips(out / "labels.csv", OPENMIC)
        active = {}
        for row in rows(out / "activity.csv"):
            times = active.setdefault((row["path"], row["class"]), [])
            times.append((float(row["onset"]), float(row["offset"])))
        late = []
        for path, events in zip(clips.paths, clips.events, strict=True):
            for index, start, end in events:
                assert 0 <= start < end <= 2.0
                name = (f"clips/{path.name}", OPENMIC.classes("fine")[int(index)])
                # Until the sound is there, or zero while it is.
                gaps = [max(0.0, on - start) for on, off in active[name] if off > start]
                late.append(min(gaps, default=np.inf))
        # Soft notes of a part may stay below the threshold of the activity.
        assert np.mean(np.array(late) < 0.06) > 0.95

    def test_notes_begin_when_their_events_say(self, small_font, tmp_path):
        taxonomy = Taxonomy.from_dict({"struck": ["drums"]})
        out = tmp_path / "out"
        render_few(small_font, out, taxonomy=taxonomy, clips=8, polyphony=(1, 1), seconds=2.0)
        clips = read_clips(out / "labels.csv", taxonomy)
        errors = []
        for path, events in zip(clips.paths, clips.events, strict=True):
            samples, _ = soundfile.read(path)
            level = np.log10(np.abs(samples).reshape(-1, 80).max(axis=1) + 1e-4)
            rise = np.maximum(level[1:] - level[:-1], 0)
            for start in events[events[:, 1] > 0.1, 1]:
                first = max(0, int(start / 0.005) - 12)
                near = rise[first : first + 24]
                errors.append((first + 1 + np.argmax(near)) * 0.005 - start)
        assert len(errors) >= 30
        assert abs(np.median(errors)) < 0.01
        # Hits that others drown have no rise of their own.
        assert np.mean(np.abs(errors) < 0.03) > 0.8

    def test_labels_and_activity_agree(self, corpus):
        out, manifest = corpus
        clips = read_clips(out / "labels.csv", OPENMIC)
        active = {}
        for row in rows(out / "activity.csv"):
            onset, offset = float(row["onset"]), float(row["offset"])
            assert 0 <= onset < offset <= 2.0
            active.setdefault(row["path"], set()).add(row["class"])
        for path, labels in zip(clips.paths, clips.labels["fine"], strict=True):
            present = {OPENMIC.classes("fine")[i] for i in np.flatnonzero(labels == 1)}
            assert present == active[path.relative_to(out).as_posix()]
            assert 1 <= len(present) <= 6
        counted = (clips.labels["fine"] == 1).sum(axis=0)
        assert list(manifest["clips_per_class"].values()) == counted.tolist()

    def test_parts_tell_what_is_played(self, corpus, small_font):
        out, manifest = corpus
        presets = _soundfont.read_soundfont(small_font).presets
        played = {}
        for row in rows(out / "parts.csv"):
            instrument = INSTRUMENTS[row["class"]]
            preset = (int(row["bank"]), int(row["program"]))
            assert preset in presets
            assert preset in instrument.presets
            assert instrument.low <= int(row["lowest"]) <= int(row["highest"])
            assert int(row["highest"]) <= instrument.high
            played[row["path"]] = row["style"]
        styles = list(played.values())
        assert manifest["clips_per_style"] == {n: styles.count(n) for n in sorted(set(styles))}

    def test_clips_do_not_depend_on_processes_or_their_number(
        self, corpus, small_font, tmp_path
    ):
        out, _ = corpus
        synthesis.render_corpus(
            OPENMIC,
            tmp_path / "again",
            clips=5,
            soundfont=small_font,
            seconds=2.0,
            seed=3,
            format="wav",
            processes=2,
        )
        for i in range(5):
            name = f"clips/{i:05d}.wav"
            assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()

    def test_manifest_tells_the_origin(self, corpus, small_font):
        out, manifest = corpus
        import hashlib
        import json

        assert json.loads((out / "manifest.json").read_text(encoding="utf-8")) == json.loads(
            json.dumps(manifest)
        )
        assert manifest["taxonomy"] == {"name": "openmic", "hash": OPENMIC.hash}
        assert manifest["settings"]["seed"] == 3
        digest = hashlib.sha256(small_font.read_bytes()).hexdigest()
        assert manifest["soundfont"]["sha256"] == digest
        assert manifest["versions"]["fluidsynth"].count(".") == 2
        tables = {"labels.csv", "activity.csv", "parts.csv", "events.csv"}
        assert tables == manifest["sha256"].keys() - {"samples"}
        for name in tables:
            digest = hashlib.sha256((out / name).read_bytes()).hexdigest()
            assert manifest["sha256"][name] == digest

    def test_class_that_the_soundfont_lacks_is_unobserved(self, tmp_path, caplog):
        font = need_soundfont("TimGM6mb.sf2")
        with caplog.at_level(logging.WARNING, "hmic_keras"):
            manifest = synthesis.render_corpus(
                OPENMIC, tmp_path / "out", clips=3, soundfont=font, seconds=1.0, processes=1
            )
        assert manifest["unobserved"] == ["mandolin", "ukulele"]
        assert "no sound for mandolin, ukulele" in caplog.text
        clips = read_clips(tmp_path / "out" / "labels.csv", OPENMIC)
        index = OPENMIC.index("fine")
        unobserved = {i for i in range(20) if (clips.labels["fine"][:, i] == -1).all()}
        assert unobserved == {index["mandolin"], index["ukulele"]}
        assert (np.delete(clips.labels["fine"], list(unobserved), axis=1) >= 0).all()

    @pytest.mark.parametrize(
        ("container", "rate", "subtype"),
        [("ogg", 16_000, "VORBIS"), ("flac", 44_100, "PCM_16"), ("wav", 8000, "PCM_16")],
    )
    def test_formats_and_rates(self, small_font, tmp_path, container, rate, subtype):
        taxonomy = Taxonomy.from_dict({"rhythm": ["drums", "cymbals"], "low": ["bass"]})
        synthesis.render_corpus(
            taxonomy,
            tmp_path / "out",
            clips=1,
            soundfont=small_font,
            seconds=1.5,
            sample_rate=rate,
            format=container,
            polyphony=(3, 5),
        )
        info = soundfile.info(tmp_path / "out" / "clips" / f"00000.{container}")
        assert (info.samplerate, info.channels, info.subtype) == (rate, 1, subtype)
        assert info.frames == round(1.5 * rate)
        (row,) = rows(tmp_path / "out" / "labels.csv")
        assert (row["drums"], row["cymbals"], row["bass"]) == ("1", "1", "1")

    def test_stems_add_up_to_the_clip(self, small_font, tmp_path):
        out = tmp_path / "out"
        render_few(small_font, out, clips=3, stems=True, channels=2, polyphony=(2, 4))
        clips = read_clips(out / "stems.csv", OPENMIC)
        assert all(len(events) for events in clips.events)
        sums = {}
        for row, labels in zip(rows(out / "stems.csv"), clips.labels["fine"], strict=True):
            assert (labels == 1).sum() == 1
            samples, _ = soundfile.read(out / row["path"])
            assert 0.8 < np.abs(samples).max() < 0.95
            total = sums.setdefault(row["meta_clip"], np.zeros((16_000, 2)))
            total += float(row["meta_gain"]) * samples
        assert len(sums) == 3
        for path, total in sums.items():
            samples, _ = soundfile.read(out / path)
            assert samples.shape == (16_000, 2)
            # Each file is rounded to 16 bits.
            np.testing.assert_allclose(total, samples, atol=6 / 2**16)

    def test_stems_and_stereo_do_not_change_who_plays(self, small_font, tmp_path):
        for name, changed in (("plain", {}), ("stems", {"stems": True, "channels": 2})):
            render_few(small_font, tmp_path / name, **changed)
        for table in ("labels.csv", "parts.csv"):
            plain, stems = ((tmp_path / n / table).read_bytes() for n in ("plain", "stems"))
            assert plain == stems

    def test_the_whole_range_changes_notes_and_not_players(self, small_font, tmp_path):
        parts = {}
        for whole in (False, True):
            out = tmp_path / str(whole)
            manifest = render_few(small_font, out, clips=8, modelled=0.3, whole_range=whole)
            assert manifest["settings"]["whole_range"] == whole
            parts[whole] = rows(out / "parts.csv")
        players, ranges = (
            [{tuple(part[name] for name in names) for part in some} for some in parts.values()]
            for names in (("path", "class"), ("path", "class", "lowest", "highest"))
        )
        assert players[0] == players[1]
        assert ranges[0] != ranges[1]
        for part in parts[True]:
            limit = INSTRUMENTS[part["class"]].over_whole_range()
            assert limit.low <= int(part["lowest"]) <= int(part["highest"]) <= limit.high

    def test_stereo_has_width(self, small_font, tmp_path):
        render_few(small_font, tmp_path / "out", clips=4, channels=2, polyphony=(3, 6))
        differences = []
        for path in (tmp_path / "out" / "clips").iterdir():
            left, right = soundfile.read(path)[0].T
            differences.append(np.std(left - right) / np.std(left + right))
        assert max(differences) > 0.05

    def test_empty_clips_hold_no_class(self, small_font, tmp_path):
        manifest = render_few(small_font, tmp_path / "out", clips=8, empty=0.5)
        clips = read_clips(tmp_path / "out" / "labels.csv", OPENMIC)
        absent = (clips.labels["fine"] == 0).all(axis=1)
        assert absent.sum() == 4
        empty = {path.name for path, none in zip(clips.paths, absent, strict=True) if none}
        assert (
            not {Path(row["path"]).name for row in rows(tmp_path / "out" / "parts.csv")} & empty
        )
        for path in clips.paths:
            assert 0 < np.abs(soundfile.read(path)[0]).max() < 1
        assert sum(manifest["clips_per_style"].values()) == 8

    def test_nothing_but_empty_clips(self, small_font, tmp_path):
        manifest = render_few(small_font, tmp_path / "out", clips=2, empty=1.0)
        assert set(manifest["clips_per_class"].values()) == {0}
        assert len(read_clips(tmp_path / "out" / "labels.csv", OPENMIC)) == 2

    def test_programs_of_general_midi(self, small_font, tmp_path):
        taxonomy = Taxonomy.load("general_midi")
        out = tmp_path / "out"
        render_few(small_font, out, taxonomy=taxonomy, clips=6, polyphony=(6, 6))
        attributes = taxonomy.attributes("fine")
        for row in rows(out / "parts.csv"):
            if row["class"] == "drum_kit":
                assert row["bank"] == "128"
            else:
                assert (row["bank"], int(row["program"])) == (
                    "0",
                    attributes[row["class"]]["program"],
                )

    def test_silent_part_is_written_anew(self, small_font, tmp_path, monkeypatch):
        # As if the SoundFont had no samples for the first two parts it is asked to play.
        render, takes = _fluidsynth.PartPlayer.render, []

        def mute(self, notes, preset, **options):
            takes.append(notes)
            return render(self, notes, preset, **options) * (len(takes) > 2)

        monkeypatch.setattr(_fluidsynth.PartPlayer, "render", mute)
        taxonomy = Taxonomy.from_dict({"brass": ["trombone"]})
        same = {"taxonomy": taxonomy, "clips": 1, "polyphony": (1, 1)}
        render_few(small_font, tmp_path / "out", **same)
        assert takes[0] != takes[2]
        monkeypatch.setattr(_fluidsynth.PartPlayer, "render", lambda *_, **__: np.zeros((2, 9)))
        with pytest.raises(AudioError, match="stays silent for trombone on the MIDI keys"):
            render_few(small_font, tmp_path / "mute", **same)
        assert not (tmp_path / "mute").exists()

    def test_failure_leaves_nothing_behind(self, small_font, tmp_path):
        def fail(done, total):
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            synthesis.render_corpus(
                OPENMIC,
                tmp_path / "out",
                clips=4,
                soundfont=small_font,
                seconds=1.0,
                processes=1,
                progress=fail,
            )
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("processes", [1, 2])
    @pytest.mark.usefixtures("small_font")
    def test_damaged_soundfont(self, tmp_path, capfd, processes):
        path = tmp_path / "toy.sf2"
        path.write_bytes(toy_soundfont({(0, 0): "Piano"}))
        taxonomy = Taxonomy.from_dict({"keyboards": ["piano"]})
        with pytest.raises(AudioError, match=r"FluidSynth cannot load .*toy\.sf2"):
            synthesis.render_corpus(
                taxonomy,
                tmp_path / "out",
                clips=2,
                soundfont=path,
                polyphony=(1, 1),
                processes=processes,
            )
        assert list(tmp_path.iterdir()) == [path]
        # libinstpatch, which FluidSynth asks about every file, may complain on its own.
        assert "fluidsynth:" not in capfd.readouterr().err

    @pytest.mark.usefixtures("small_font")
    def test_soundfont_without_enough_classes(self, tmp_path):
        path = tmp_path / "toy.sf2"
        path.write_bytes(toy_soundfont({(0, 0): "Piano"}))
        with pytest.raises(AudioError, match="sounds 1 of the taxonomy's classes"):
            synthesis.render_corpus(
                OPENMIC, tmp_path / "out", clips=1, soundfont=path, polyphony=(2, 3)
            )
