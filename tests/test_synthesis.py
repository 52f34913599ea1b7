"""Tests of `hmic_keras.data.synthesis` and of the modules that it is made of."""

import csv
import logging
import os
import struct
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hmic_keras.data import _fluidsynth, _mixing, _score, _soundfont, synthesis
from hmic_keras.data._instruments import INSTRUMENTS
from hmic_keras.data._score import Note
from hmic_keras.data.sources.folder import read_clips
from hmic_keras.errors import AudioError, HmicError, MissingDependencyError, TaxonomyError
from hmic_keras.taxonomy import Taxonomy

OPENMIC = Taxonomy.load("openmic")
FOLDERS = ("/usr/share/sounds/sf2", "/usr/share/sounds/sf3", "/usr/share/soundfonts")
# General MIDI percussion keys: kicks, side stick, snares, toms; hats, crashes, rides, china,
# splash, bell.
DRUM_KEYS = {35, 36, 37, 38, 40, 41, 43, 45, 47, 48, 50}
CYMBAL_KEYS = {42, 44, 46, 49, 51, 52, 53, 55, 57, 59}
# Semitones between the steps of a scale, as a music textbook gives them.
STEPS = {
    "major": (2, 2, 1, 2, 2, 2, 1),
    "minor": (2, 1, 2, 2, 1, 2, 2),
    "dorian": (2, 1, 2, 2, 2, 1, 2),
    "mixolydian": (2, 2, 1, 2, 2, 1, 2),
}


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
    player = _fluidsynth.PartRenderer(small_font, 16_000)
    yield player
    player.close()


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


class TestScore:
    @pytest.mark.parametrize("class_name", sorted(INSTRUMENTS))
    def test_part_is_playable_and_inside_the_clip(self, class_name):
        instrument = INSTRUMENTS[class_name]
        for seed in range(40):
            seconds = (1.0, 3.0, 10.0)[seed % 3]
            rng = np.random.default_rng(seed)
            (part,) = _score.compose(rng, [class_name], seconds).parts
            onsets = [note.onset for note in part.notes]
            assert part.class_name == class_name
            assert part.role in instrument.roles
            assert set(part.presets) == set(instrument.presets)
            assert onsets == sorted(onsets)
            assert 0 <= onsets[0] <= 0.75 * seconds
            assert onsets[-1] < seconds
            assert all(note.duration > 0 for note in part.notes)
            assert all(1 <= note.velocity <= 127 for note in part.notes)
            assert all(instrument.low <= note.key <= instrument.high for note in part.notes)

    @pytest.mark.parametrize(
        ("class_name", "keys"), [("drums", DRUM_KEYS), ("cymbals", CYMBAL_KEYS)]
    )
    def test_kit_parts_use_the_keys_of_their_class_only(self, class_name, keys):
        used = set()
        for seed in range(60):
            (part,) = _score.compose(np.random.default_rng(seed), [class_name], 8.0).parts
            used |= {note.key for note in part.notes}
        assert used == keys

    def test_pitched_parts_share_the_key(self):
        pitched = [name for name in INSTRUMENTS if name not in ("drums", "cymbals")]
        modes = set()
        for seed in range(40):
            score = _score.compose(np.random.default_rng(seed), pitched, 6.0)
            scale = {(score.tonic + step) % 12 for step in np.cumsum(STEPS[score.mode])}
            sounded = {note.key % 12 for part in score.parts for note in part.notes}
            assert sounded <= scale
            modes.add(score.mode)
        assert modes == set(STEPS)

    @pytest.mark.parametrize("class_name", ["clarinet", "trombone", "violin", "saxophone"])
    def test_wind_and_bow_play_one_note_at_a_time(self, class_name):
        for seed in range(20):
            (part,) = _score.compose(np.random.default_rng(seed), [class_name], 6.0).parts
            for note, following in zip(part.notes, part.notes[1:], strict=False):
                # Loose timing may let two notes touch for some hundredths of a second.
                assert note.onset + note.duration < following.onset + 0.1

    def test_chords_sound_together(self):
        seen = 0
        for seed in range(40):
            (part,) = _score.compose(np.random.default_rng(seed), ["organ"], 6.0).parts
            if part.role == "pad":
                first = part.notes[0]
                seen += any(n.key != first.key and n.onset < 0.1 for n in part.notes)
        assert seen > 5

    def test_seed_decides(self):
        names = ["piano", "bass", "drums"]
        scores = [_score.compose(np.random.default_rng(s), names, 5.0) for s in (1, 1, 2)]
        assert scores[0] == scores[1]
        assert scores[0] != scores[2]
        tempi = {_score.compose(np.random.default_rng(s), names, 5.0).tempo for s in range(9)}
        assert len(tempi) == 9


def settings(**changed):
    values = {
        "classes": OPENMIC.classes("fine"),
        "seconds": 2.0,
        "sample_rate": 16_000,
        "seed": 3,
        "polyphony": (1, 6),
        "polyphony_decay": 1.0,
        "format": "wav",
        "quality": 0.4,
    }
    return synthesis._Settings(**{**values, **changed})


class TestDealing:
    @pytest.mark.parametrize("polyphony", [(1, 6), (1, 1), (4, 4), (2, 20)])
    def test_classes_are_distinct_in_a_clip_and_equally_frequent(self, polyphony):
        plan = settings(polyphony=polyphony)
        jobs = list(synthesis._deal(plan, plan.classes, 400))
        sizes = {len(job.class_names) for job in jobs}
        counts = Counter(name for job in jobs for name in job.class_names)
        assert [job.index for job in jobs] == list(range(400))
        assert sizes == set(range(polyphony[0], polyphony[1] + 1))
        assert all(len(set(job.class_names)) == len(job.class_names) for job in jobs)
        assert set(counts) == set(plan.classes)
        assert max(counts.values()) <= 1.2 * min(counts.values())

    def test_first_clips_do_not_depend_on_the_number_of_clips(self):
        plan = settings()
        few = list(synthesis._deal(plan, plan.classes, 10))
        assert few == list(synthesis._deal(plan, plan.classes, 300))[:10]
        assert few != list(synthesis._deal(settings(seed=4), plan.classes, 10))

    def test_decay_makes_full_clips_rare(self):
        plan = settings(polyphony=(1, 3), polyphony_decay=0.5)
        jobs = synthesis._deal(plan, plan.classes, 3000)
        sizes = Counter(len(job.class_names) for job in jobs)
        np.testing.assert_allclose(
            [sizes[k] / 3000 for k in (1, 2, 3)], [4 / 7, 2 / 7, 1 / 7], atol=0.03
        )


class TestMixing:
    @pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000])
    def test_aliases_of_the_rendering_rate_miss_the_band(self, rate):
        factor = _mixing.oversampling(rate)
        lowest_alias = factor * rate - 22_050
        assert lowest_alias >= rate / 2
        assert factor == 1 or (factor - 1) * rate - 22_050 < rate / 2
        assert 8000 <= factor * rate <= 96_000  # the range of FluidSynth

    def test_activity_is_where_the_part_sounds(self):
        time = np.arange(32_000 * 3) / 32_000
        tone = np.sin(2 * np.pi * 440 * time) * ((time > 0.5) & (time < 1.2))
        noise = np.random.default_rng(0).standard_normal(len(time)) * (time > 2.0)
        parts = [tone.astype(np.float32), 0.001 * noise.astype(np.float32)]
        clip, (first, second) = _mixing.mix(np.random.default_rng(1), parts, 16_000)
        assert clip.shape == (48_000,)
        assert clip.dtype == np.float32
        np.testing.assert_allclose(first, [(0.5, 1.2)], atol=0.03)
        np.testing.assert_allclose(second, [(2.0, 3.0)], atol=0.03)

    def test_peak_is_drawn_and_never_clips(self):
        tone = np.sin(np.arange(32_000) / 10).astype(np.float32)
        peaks = [
            20
            * np.log10(np.abs(_mixing.mix(np.random.default_rng(s), [tone], 16_000)[0]).max())
            for s in range(30)
        ]
        assert -12.001 < min(peaks) < -9
        assert -4 < max(peaks) < -0.999

    def test_faint_part_is_raised_to_the_level_of_the_others(self):
        time = np.arange(64_000) / 32_000
        parts = [
            np.float32(gain) * np.sin(2 * np.pi * hertz * time).astype(np.float32)
            for gain, hertz in ((1.0, 500), (1e-3, 1500))
        ]
        for seed in range(10):
            clip, _ = _mixing.mix(np.random.default_rng(seed), parts, 16_000)
            spectrum = np.abs(np.fft.rfft(clip * np.hanning(len(clip))))
            strong, faint = (
                spectrum[2 * hertz - 8 : 2 * hertz + 9].max() for hertz in (500, 1500)
            )
            # 10 dB of level, the rest from colour and room; 60 dB before mixing.
            assert abs(20 * np.log10(faint / strong)) < 30

    def test_gaps_are_bridged_and_the_end_is_the_clip(self):
        sounding = np.array([1] * 4 + [0] * 5 + [1] * 3 + [0] * 6 + [1] * 2, bool)
        np.testing.assert_allclose(
            _mixing._intervals(sounding, 0.39), [(0.0, 0.24), (0.36, 0.39)]
        )


class TestSoundFont:
    def test_presets_and_texts(self, tmp_path):
        texts = ((b"INAM", b"Toy\0"), (b"ICOP", b"(c) me\0\0"), (b"ICMT", b"MIT\0"))
        path = tmp_path / "toy.sf2"
        path.write_bytes(toy_soundfont({(0, 0): "Piano", (8, 24): "Ukulele"}, texts))
        font = _soundfont.read_soundfont(path)
        assert font.presets == {(0, 0): "Piano", (8, 24): "Ukulele"}
        assert font.name == "Toy"
        assert font.notices == "(c) me; MIT"

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
            )
            spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
            peak = np.argmax(spectrum[:2000]) / 2.0
            # Vibrato and the tuning of the sample leave a few hertz.
            assert abs(peak - expected) < 8 or abs(peak - 2 * expected) < 16

    def test_timing(self, player):
        sound = player.render([Note(0.5, 0.5, 60, 100)], (0, 16), frames=32_000)
        assert np.abs(sound[:7900]).max() == 0
        assert np.abs(sound[8000:16_000]).max() > 0.01
        assert np.abs(sound[20_000:]).max() < 0.1 * np.abs(sound[8000:16_000]).max()

    def test_key_struck_again_goes_on_sounding(self, player):
        notes = [Note(0.0, 1.0, 60, 100), Note(0.5, 1.5, 60, 100)]
        sound = player.render(notes, (0, 16), frames=32_000)
        assert np.abs(sound[24_000:]).max() > 0.3 * np.abs(sound).max()

    def test_new_player_repeats_every_sample(self, small_font, player):
        chord = [Note(0.1, 2.0, key, 90) for key in (60, 64, 67)]

        def play():
            new = _fluidsynth.PartRenderer(small_font, 16_000)
            kit = new.render([Note(0.0, 9.0, 49, 127)], (128, 0), frames=777)
            strings = new.render(chord, (0, 48), frames=20_000, detune=0.3, vibrato=60)
            new.close()
            return np.concatenate([kit, strings])

        first = play()
        player.render(chord, (0, 48), frames=500, vibrato=127)
        np.testing.assert_array_equal(play(), first)

    def test_controllers_do_not_leak_into_the_next_part(self, player):
        chord = [Note(0.0, 1.0, key, 90) for key in (60, 64, 67)]
        plain = player.render(chord, (0, 48), frames=16_000)
        bent = player.render(chord, (0, 48), frames=16_000, detune=1.0, vibrato=127)
        again = player.render(chord, (0, 48), frames=16_000)
        assert np.abs(bent - plain).max() > 0.01
        np.testing.assert_allclose(again, plain, atol=1e-3)

    def test_absent_preset(self, player):
        with pytest.raises(AudioError, match="bank 99, program 3"):
            player.render([Note(0.0, 1.0, 60, 90)], (99, 3), frames=100)

    def test_every_preset_of_every_class_is_heard(self, full_font):
        presets = _soundfont.read_soundfont(full_font).presets
        loud = _fluidsynth.PartRenderer(full_font, 16_000)
        for name, instrument in INSTRUMENTS.items():
            held = presets.keys() & set(instrument.presets)
            assert len(held) >= len(set(instrument.presets)) - 1, name
            for preset in held:
                (part,) = _score.compose(np.random.default_rng(5), [name], 2.0).parts
                sound = loud.render(part.notes, preset, frames=32_000)
                power = _mixing._frame_power(sound, 16_000)
                assert power.max() > 1e-5, (name, preset)
        loud.close()

    def test_variation_banks_are_more_than_their_base(self):
        font = need_soundfont("FluidR3_GM.sf2")
        loud = _fluidsynth.PartRenderer(font, 16_000)
        notes = [Note(0.0, 1.0, 67, 90)]
        for variation, base in (((8, 24), (0, 24)), ((16, 25), (0, 25))):
            one, other = (
                loud.render(notes, preset, frames=16_000) for preset in (variation, base)
            )
            assert np.abs(one).max() > 0.01
            # Made from the same samples, yet not a copy at another level.
            assert np.corrcoef(one, other)[0, 1] < 0.99
        loud.close()


def rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


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
            assert 0.25 < np.abs(samples).max() < 0.9

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
        for name in ("labels.csv", "activity.csv"):
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
