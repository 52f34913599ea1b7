"""Mixing stems on the device: the bank, the mixer, and training on it."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile

from hmic_keras import Taxonomy, build_model, training
from hmic_keras.config import StemConfig, TrainConfig
from hmic_keras.data.stems import FRAME, StemBank, read_stems
from hmic_keras.data.synthesis import find_soundfont
from hmic_keras.errors import AudioError, HmicError, LabelError, ModelError
from hmic_keras.heads import HEADS
from hmic_keras.layers.augmentation_math import resampled
from hmic_keras.training._stem_mixer import StemMixer, closed_labels

RATE = 16000
TAXONOMY = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["trumpet"]})


def tone(hertz, seconds=2.0, level=0.5):
    return level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


def bank_of(sounds, classes, clips):
    audio = np.stack([np.round(sound * 32767).astype(np.int16) for sound in sounds])
    frames = audio.shape[1] // FRAME
    audio = audio[:, : frames * FRAME].reshape(len(audio), frames, FRAME)
    return StemBank(
        TAXONOMY, RATE, audio, np.array(classes, np.int32), np.array(clips, np.int32)
    )


@pytest.fixture(scope="module")
def bank():
    """Two clips of two stems each, and one in which nothing plays."""
    sounds = [tone(440), tone(220), tone(880), tone(330), np.zeros(2 * RATE)]
    return bank_of(sounds, [0, 1, 2, 0, -1], [0, 0, 1, 1, 2])


def write_corpus(folder, stems, empty=0):
    """Writes what `render_corpus` does, as far as stems are concerned."""
    (folder / "stems").mkdir(parents=True)
    (folder / "clips").mkdir()
    names = TAXONOMY.classes("fine")
    head = ",".join(["path", *names])
    labels, rows = [head], [f"{head},meta_clip,meta_gain"]
    for clip, sounds in enumerate(stems):
        cells = ["1" if name in sounds else "0" for name in names]
        labels.append(",".join([f"clips/{clip}.wav", *cells]))
        for number, (name, sound) in enumerate(sounds.items()):
            path = f"stems/{clip}-{number}.wav"
            soundfile.write(folder / path, sound, RATE, subtype="PCM_16")
            cells = ["1" if other == name else "0" for other in names]
            rows.append(",".join([path, *cells, f"clips/{clip}.wav", "1"]))
    for clip in range(len(stems), len(stems) + empty):
        path = f"clips/{clip}.wav"
        soundfile.write(folder / path, np.full(2 * RATE, 1e-3), RATE, subtype="PCM_16")
        labels.append(",".join([path, *["0"] * len(names)]))
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "stems.csv").write_text("\n".join(rows) + "\n")
    manifest = {"soundfont": {"name": "none"}, "clips": len(labels) - 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    stems = [{"violin": tone(440), "trumpet": tone(880)}, {"cello": tone(110)}]
    return write_corpus(tmp_path_factory.mktemp("corpus") / "one", stems, empty=1)


class TestBank:
    def test_reads_stems_clip_by_clip_and_what_is_empty(self, corpus):
        bank = read_stems([corpus, corpus], TAXONOMY)
        one = [0, 2, 1, -1]
        assert bank.classes.tolist() == one * 2
        assert bank.clips.tolist() == [0, 0, 1, 2, 3, 3, 4, 5]
        assert bank.audio.shape == (8, 2 * RATE // FRAME, FRAME)
        heard = bank.audio[0].reshape(-1) / 32767.0
        np.testing.assert_allclose(heard, tone(440), atol=1e-4)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: (f / "stems.csv").unlink(), "--stems"),
            (lambda f: shutil.copy(f / "labels.csv", f / "stems.csv"), "another taxonomy"),
            (
                lambda f: (f / "stems.csv").write_text(
                    (f / "stems.csv").read_text().replace(",1,0,0,", ",1,1,0,")
                ),
                "exactly one class",
            ),
            (
                lambda f: soundfile.write(f / "stems" / "1-0.wav", tone(110, 1.0), RATE),
                "of one length",
            ),
        ],
    )
    def test_refuses_what_is_no_corpus_with_stems(self, corpus, tmp_path, spoil, message):
        folder = shutil.copytree(corpus, tmp_path / "spoiled")
        spoil(folder)
        with pytest.raises(LabelError, match=message):
            read_stems([folder], TAXONOMY)

    def test_needs_a_folder(self):
        with pytest.raises(LabelError, match="at least one corpus"):
            read_stems([], TAXONOMY)


def mixer_of(bank, batch=64, seed=0, seconds=1.0, capacity=None, **settings):
    plain = {"equalizer_db": 0.0, "speed": (1.0, 1.0), "empty": 0.0}
    config = StemConfig(**{**plain, **settings})
    return StemMixer(
        bank,
        config,
        crop_samples=round(seconds * RATE),
        batch_size=batch,
        seed=seed,
        capacity=capacity,
    )


def loudest_hertz(sound):
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return np.argmax(spectrum) * RATE / len(sound)


class TestMixer:
    def test_a_single_stem_is_the_sound_of_its_class(self, bank):
        sound, labels = map(np.asarray, mixer_of(bank, sizes=(1.0,))(None))
        tones = {0: (440.0, 330.0), 1: (220.0,), 2: (880.0,)}
        assert set(labels.sum(axis=1)) == {1.0}
        for one, row in zip(sound, labels, strict=True):
            near = np.abs(np.array(tones[int(row.argmax())]) - loudest_hertz(one))
            assert near.min() < 2.0
        # Classes occur equally often, although one has two stems.
        assert labels.sum(axis=0).min() > 10

    def test_coherent_stems_are_of_one_clip(self, bank):
        _, labels = mixer_of(bank, sizes=(0.0, 1.0), coherent=1.0, audible_db=40.0)(None)
        found = {tuple(row) for row in np.asarray(labels).astype(int).tolist()}
        assert found == {(1, 1, 0), (1, 0, 1)}

    def test_incoherent_stems_are_of_any(self, bank):
        _, labels = mixer_of(bank, sizes=(0.0, 1.0), coherent=0.0, audible_db=40.0)(None)
        assert (0, 1, 1) in {tuple(row) for row in np.asarray(labels).astype(int).tolist()}

    def test_examples_without_instruments(self, bank):
        sound, labels = map(np.asarray, mixer_of(bank, empty=1.0)(None))
        assert not labels.any()
        assert not sound.any()

    def test_a_stem_that_others_drown_is_unobserved(self, bank):
        settings = {"sizes": (0.0, 1.0), "coherent": 1.0, "level_db": (-40.0, 0.0)}
        labels = np.asarray(mixer_of(bank, batch=256, **settings)(None)[1])
        assert {-1.0, 0.0, 1.0} == set(np.unique(labels))
        assert (labels == 1.0).any(axis=1).all()

    def test_a_stem_that_is_silent_in_the_crop_is_absent(self):
        late = np.concatenate([np.zeros(RATE), tone(440, 1.0)])
        labels = np.asarray(
            mixer_of(bank_of([late], [0], [0]), sizes=(1.0,), seconds=0.5)(None)[1]
        )
        assert 0.2 < labels[:, 0].mean() < 0.9

    def test_speed_changes_the_pitch(self, bank):
        only = bank_of([tone(440)], [0], [0])
        sound = np.asarray(mixer_of(only, sizes=(1.0,), speed=(1.25, 1.25))(None)[0])
        assert abs(loudest_hertz(sound[0]) - 550.0) < 2.0

    def test_levels_and_peaks_stay_in_their_ranges(self, bank):
        sound = np.asarray(mixer_of(bank, peak_db=(-20.0, -6.0))(None)[0])
        peaks = 20 * np.log10(np.abs(sound).max(axis=1))
        assert peaks.min() > -20.01
        assert peaks.max() < -5.99

    def test_one_seed_gives_one_sequence(self, bank):
        first, second = mixer_of(bank, seed=3), mixer_of(bank, seed=3)
        for _ in range(2):
            one, two = np.asarray(first(None)[0]), np.asarray(second(None)[0])
            np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, np.asarray(mixer_of(bank, seed=4)(None)[0]))


class TestPlaces:
    """Only stems that join are computed: which rows they are in."""

    @pytest.mark.parametrize(
        "sizes", [(3.0, 3.0, 2.0, 1.0, 1.0), (0.0, 1.0), (1.0,), (1, 0, 5)]
    )
    @pytest.mark.parametrize("batch", [1, 2, 7, 40])
    def test_every_stem_that_joins_has_a_row_of_its_own(self, bank, sizes, batch):
        mixer = mixer_of(bank, batch=batch, sizes=sizes, coherent=0.0)
        mixer.build()
        for _ in range(20):
            _, number, _ = mixer._choose()
            example, rank, place, joins = map(np.asarray, mixer._places(number))
            number = np.asarray(number)[:, 0]
            assert joins.sum(axis=1).tolist() == number.tolist()
            rows = place[joins > 0]
            assert len(set(rows.tolist())) == number.sum() <= mixer._rows
            expected = [(i, k) for i in range(batch) for k in range(number[i])]
            found = zip(example[rows].tolist(), rank[rows].tolist(), strict=True)
            assert list(found) == expected

    def test_a_batch_has_its_share_of_every_size(self, bank):
        mixer = mixer_of(bank, batch=10, sizes=(3.0, 3.0, 2.0, 1.0, 1.0), coherent=0.0)
        mixer.build()
        for _ in range(5):
            number = np.asarray(mixer._choose()[1])[:, 0]
            assert np.abs(np.bincount(number, minlength=6)[1:] - [3, 3, 2, 1, 1]).max() <= 1

    def test_sizes_are_as_frequent_as_asked_for_in_batches_of_one(self, bank):
        mixer = mixer_of(bank, batch=1, sizes=(3.0, 1.0), coherent=0.0)
        mixer.build()
        numbers = [int(np.asarray(mixer._choose()[1])[0, 0]) for _ in range(400)]
        # Four standard deviations of the share.
        assert abs(np.mean(np.array(numbers) == 2) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)

    def test_a_mixture_is_the_sum_of_its_stems(self, bank):
        """Two stems at their own levels, found again by their frequencies."""
        mixer = mixer_of(
            bank, batch=32, sizes=(0.0, 1.0), coherent=1.0, level_db=(-6.0, -6.0),
            audible_db=60.0,
        )  # fmt: skip
        sound, labels = map(np.asarray, mixer(None))
        for one, row in zip(sound, labels, strict=True):
            tones = (440, 220) if row[1] == 1.0 else (880, 330)
            time = np.arange(len(one)) / RATE
            levels = [2 * abs(np.mean(one * np.exp(-2j * np.pi * f * time))) for f in tones]
            # Alike in level, and nothing else in it.
            assert levels[0] == pytest.approx(levels[1], rel=0.02)
            assert np.sum(np.square(levels)) / 2 == pytest.approx(np.mean(one**2), rel=0.02)


class TestAddingStems:
    def parts(self, *, third=2):
        """Two banks, and both in one."""
        sounds = [tone(440), tone(220), tone(880), tone(330), tone(110), np.zeros(2 * RATE)]
        classes, clips = [0, 1, 2, 0, third, -1], [0, 0, 1, 2, 2, 3]
        first = bank_of(sounds[:3], classes[:3], clips[:3])
        rest = bank_of(sounds[3:], classes[3:], [7, 7, 9])
        return first, rest, bank_of(sounds, classes, clips)

    def test_mixes_as_if_all_had_been_there(self):
        first, rest, whole = self.parts()
        settings = {"empty": 0.2, "sizes": (1.0, 1.0), "capacity": 6}
        grown, expected = mixer_of(first, **settings), mixer_of(whole, **settings)
        for mixer in (grown, expected):
            mixer.build()
        grown.extend(rest)
        assert len(grown) == len(expected) == 6
        for one, two in zip(grown(None), expected(None), strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))

    def test_room_that_is_not_filled_is_never_heard(self, bank):
        sound, labels = map(np.asarray, mixer_of(bank, batch=256, capacity=50)(None))
        assert (np.abs(sound).max(axis=1) > 0.01).all()
        assert (labels == 1.0).any(axis=1).all()

    def test_without_silent_clips_none_is_drawn(self):
        first, _, _ = self.parts()
        _, labels = mixer_of(first, empty=1.0, capacity=6)(None)
        assert np.asarray(labels).any(axis=1).all()

    @pytest.mark.parametrize(("room", "kept"), [(3, 3), (4, 3), (5, 5), (6, 6), (9, 6)])
    def test_what_does_not_fit_is_left_out_by_whole_clips(self, room, kept):
        first, rest, _ = self.parts()
        mixer = mixer_of(first, capacity=room)
        mixer.build()
        assert mixer.extend(rest) == kept - 3
        assert len(mixer) == kept
        assert np.isfinite(np.asarray(mixer(None)[0])).all()

    def test_nothing_is_kept_as_int32(self, bank):
        """TensorFlow has no variables of that type on a GPU, where all else is."""
        mixer = mixer_of(bank)
        mixer.build()
        assert {str(weight.dtype) for weight in mixer.weights} == {"int16", "uint32"}

    def test_refuses_other_lengths_and_new_classes(self):
        _, rest, _ = self.parts()
        mixer = mixer_of(bank_of([tone(440)], [0], [0]), capacity=9)
        mixer.build()
        with pytest.raises(LabelError, match=r"all of their classes.*trumpet"):
            mixer.extend(rest)
        with pytest.raises(LabelError, match=r"same length and rate.*16000 samples"):
            mixer.extend(bank_of([tone(440, 1.0)], [0], [0]))


def test_resampling_is_catmull_roms_cubic():
    rng = np.random.default_rng(0)
    waveform = rng.normal(size=(2, 40)).astype("float32")
    speed = np.array([[1.0], [1.3]], "float32")
    found = np.asarray(resampled(waveform, keras.ops.convert_to_tensor(speed), 20))
    for row in range(2):
        for n in range(20):
            at = n * float(speed[row, 0])
            i, t = int(at), at - int(at)
            p = waveform[row, i : i + 4].astype("float64")
            basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
            expected = 0.5 * np.array([1, t, t**2, t**3]) @ basis @ p
            assert abs(found[row, n] - expected) < 1e-4


def test_closed_labels_are_those_of_the_taxonomy():
    deep = Taxonomy.from_dict(
        {
            "loud": {"strings": ["violin", "cello"], "brass": ["trumpet"]},
            "soft": {"reeds": ["oboe"]},
        }
    )
    finest, *coarser = deep.levels
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 2, (200, len(deep.classes(finest)))).astype("float32")
    expected = deep.close_labels({finest: labels})
    found = closed_labels(labels, {level: deep.mask(level, finest) for level in coarser})
    for level in coarser:
        np.testing.assert_array_equal(np.asarray(found[level]), expected[level])


def small_model(seed=0, method="gmp", **options):
    keras.utils.set_random_seed(seed)
    options = {"width": 2, **options}
    return build_model(TAXONOMY, backbone="conv", backbone_options=options, method=method)


def small_config(**changes):
    settings = {
        "epochs": 2,
        "batch_size": 8,
        "crop_seconds": 1.0,
        "learning_rate": 1e-2,
        "weight_averaging": 0.5,
        "jit_compile": False,
        "stems": {"steps": 4, "sizes": [2, 1]},
        "augmentation": {"waveform": {"noise": {"snr_db": [20, 40]}, "gain": {}}},
    }
    return TrainConfig.from_dict({**settings, **changes})


class Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
class TestFit:
    def test_learns(self, bank):
        config = small_config(epochs=4, stems={"steps": 30, "sizes": [2, 1], "empty": 0.1})
        result = training.fit(small_model(), bank, config)
        losses = result.history["loss"]
        assert len(losses) == 4
        assert losses[-1] < 0.6 * losses[0]
        told = result.model.manifest["training"]
        assert (told["stems"], told["steps"]) == (5, 120)
        windows = np.stack([tone(440, 1.0), tone(880, 1.0)]).astype("float32")
        answer = result.model.predict(windows, verbose=0)
        assert answer["coarse"].argmax(axis=1).tolist() == [0, 1]

    @pytest.mark.parametrize("method", HEADS)
    def test_compares_what_fit_on_clips_would(self, bank, method):
        changes = {"epochs": 1, "augmentation": {}, "stems": {"steps": 1, "sizes": [2, 1]}}
        config = small_config(**changes, weight_averaging=0, consistency=0.5)
        mixer = StemMixer(
            bank, StemConfig.from_dict(config.stems), crop_samples=RATE, batch_size=8, seed=0
        )
        mixer.build()
        waveform, fine = mixer(None)
        model = small_model(method=method, dropout=0.0)
        model.compile("sgd", consistency=0.5, **training.compile_options(TAXONOMY))
        labels = TAXONOMY.close_labels({"fine": np.asarray(fine)})
        expected = model.train_on_batch(np.asarray(waveform), labels, return_dict=True)["loss"]
        result = training.fit(small_model(method=method, dropout=0.0), bank, config)
        assert result.history["loss"][0] == pytest.approx(float(expected), rel=1e-4)

    def test_a_stopped_run_ends_as_one_that_was_not(self, bank, tmp_path):
        config = small_config()
        whole = training.fit(small_model(), bank, config)
        with pytest.raises(KeyboardInterrupt):
            training.fit(small_model(), bank, config, run=tmp_path, callbacks=[Stop()])
        resumed = training.fit(small_model(seed=9), bank, config, run=tmp_path, resume=True)
        assert resumed.history["loss"] == whole.history["loss"]
        for one, two in zip(whole.model.weights, resumed.model.weights, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))

    def test_a_recipe_trains_on_stems_after_a_teacher(self, corpus, bank, tmp_path):
        teacher = tmp_path / "teacher.keras"
        small_model(3).save(teacher)
        TAXONOMY.save(tmp_path / "classes.yaml")
        from hmic_keras.recipe import Recipe

        recipe = Recipe.from_dict(
            {
                "taxonomy": str(tmp_path / "classes.yaml"),
                "data": str(corpus),
                "model": {"method": "gmp", "backbone_options": {"width": 2}},
                "training": small_config(
                    epochs=1, teacher=str(teacher), teacher_weight=0.5
                ).to_dict(),
            }
        )
        result = training.run_recipe(recipe, tmp_path / "out")
        assert result.history["loss"][0] > 0
        assert (tmp_path / "out" / "model.keras").is_file()
        assert Recipe.load(tmp_path / "out").training.stems["steps"] == 4


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_stems_are_mixed_and_learned_from_on_jax(bank, tmp_path):
    """With the step compiled, stems added to a mixer, and without TensorFlow."""
    np.savez(tmp_path / "bank.npz", audio=bank.audio, classes=bank.classes, clips=bank.clips)
    code = f"""
import sys
sys.modules["tensorflow"] = None  # whoever imports it fails
import keras, numpy as np
from hmic_keras import Taxonomy, build_model, training
from hmic_keras.config import StemConfig, TrainConfig
from hmic_keras.data.stems import StemBank
from hmic_keras.training._stem_mixer import StemMixer
taxonomy = Taxonomy.from_dict({TAXONOMY.to_dict()!r})
bank = StemBank(taxonomy, {RATE}, **np.load({str(tmp_path / "bank.npz")!r}))
keras.utils.set_random_seed(0)
model = build_model(taxonomy, backbone="conv", backbone_options={{"width": 2}}, method="gmp")
config = TrainConfig.from_dict({small_config(epochs=4).to_dict()!r} | {{
    "jit_compile": True, "stems": {{"steps": 30, "sizes": [2, 1], "empty": 0.1}}}})
losses = training.fit(model, bank, config).history["loss"]
assert losses[-1] < 0.7 * losses[0], losses
few = StemConfig(sizes=(1.0, 1.0), speed=(0.9, 1.1))
mixer = StemMixer(bank, few, crop_samples=8000, batch_size=64, seed=0, capacity=10)
mixer.build()
mixer.extend(bank)
sound, labels = mixer(None)
assert len(mixer) == 10 and sound.shape == (64, 8000)
assert {{-1.0, 0.0, 1.0}} >= set(np.unique(labels)) > {{1.0}}
assert np.isfinite(sound).all()
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=root)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"crop_seconds": 2.0}, "render longer clips"),
            ({"augmentation": {"mix": {"name": "mixup"}}}, "'waveform' only"),
            ({"augmentation": {"waveform": {"echo": {}}}}, "augmentation"),
            ({"stems": {}}, "together"),
        ],
    )
    def test_settings_that_do_not_fit(self, bank, change, message):
        with pytest.raises(HmicError, match=message):
            training.fit(small_model(), bank, small_config(**change))

    def test_stems_of_another_taxonomy_or_rate(self, bank):
        other = Taxonomy.from_dict({"strings": ["violin", "viola"], "brass": ["trumpet"]})
        with pytest.raises(LabelError, match="taxonomy"):
            training.fit(build_model(other), bank, small_config())
        slower = StemBank(TAXONOMY, 8000, bank.audio, bank.classes, bank.clips)
        with pytest.raises(ModelError, match="8000"):
            training.fit(small_model(), slower, small_config())

    @pytest.mark.parametrize(
        "stems",
        [
            {"steps": 0},
            {"sizes": []},
            {"sizes": [0, 0]},
            {"sizes": "2"},
            {"coherent": 1.5},
            {"speed": [1.1, 0.9]},
            {"speed": 1.0},
            {"level_db": [-90, 0]},
            {"audible": 20},
        ],
    )
    def test_settings_out_of_range(self, stems):
        with pytest.raises(HmicError, match=next(iter(stems))):
            TrainConfig(stems=stems)

    def test_a_teacher_needs_stems(self):
        with pytest.raises(HmicError, match="teacher"):
            TrainConfig(teacher="hmic-demo")

    @pytest.mark.parametrize("render", [[{"clips": 3}], {"clips": 3}, "FluidR3", [3]])
    def test_a_recipe_that_renders_something_unclear(self, render):
        from hmic_keras.recipe import Recipe

        with pytest.raises(HmicError, match="`render` of a recipe must list"):
            Recipe(render=render, training=TrainConfig(stems={"steps": 1}))


def test_a_soundfont_is_found_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "mine.sf2").write_bytes(b"RIFF")
    monkeypatch.setenv("HMIC_SOUNDFONTS", str(tmp_path))
    assert find_soundfont("mine.sf2") == tmp_path / "mine.sf2"
    assert find_soundfont(tmp_path / "mine.sf2") == tmp_path / "mine.sf2"
    with pytest.raises(AudioError, match="HMIC_SOUNDFONTS"):
        find_soundfont("other.sf2")


@pytest.mark.synth
@pytest.mark.slow
def test_a_recipe_renders_its_corpora_once(tmp_path):
    from hmic_keras.recipe import Recipe

    recipe = Recipe.from_dict(
        {
            "model": {"method": "gmp", "backbone_options": {"width": 2}},
            "render": [{"soundfont": "TimGM6mb.sf2", "clips": 4, "seconds": 2.0, "seed": 1}],
            "training": small_config(epochs=1, stems={"steps": 2}).to_dict(),
        }
    )
    result = training.run_recipe(recipe, tmp_path / "out")
    made = tmp_path / "out" / "run" / "corpora" / "00"
    assert (made / "stems.csv").is_file()
    (corpus,) = result.model.manifest["provenance"]["corpora"]
    assert corpus["soundfont"]["file"] == "TimGM6mb.sf2"


@pytest.mark.synth
@pytest.mark.slow
def test_a_recipe_renders_clips_where_it_does_not_mix_stems(tmp_path):
    from hmic_keras.data import demo_clips
    from hmic_keras.data.sources.folder import write_labels
    from hmic_keras.recipe import Recipe

    own = demo_clips("train").subset(range(3))
    table = tmp_path / "labels.csv"
    write_labels(table, own.paths, own.taxonomy, own.labels)
    corpus = {"soundfont": "TimGM6mb.sf2", "clips": 4, "seconds": 2.0}
    recipe = Recipe.from_dict(
        {
            "data": str(table),
            "model": {"method": "gmp", "backbone_options": {"width": 2}},
            "render": [{**corpus, "seed": 1}, {**corpus, "seed": 2}],
            "training": {"epochs": 1, "crop_seconds": 1.0, "validation_fraction": 0.0},
        }
    )
    result = training.run_recipe(recipe, tmp_path / "out")
    corpora = tmp_path / "out" / "run" / "corpora"
    assert not (corpora / "00" / "stems").exists()
    assert result.model.manifest["training"]["clips"] == 3 + 4 + 4
    provenance = result.model.manifest["provenance"]
    assert [one["settings"]["seed"] for one in provenance["corpora"]] == [1, 2]
    assert provenance["table"] == "labels.csv"
    times = [path.stat().st_mtime_ns for path in sorted(corpora.rglob("*.ogg"))]
    training.run_recipe(recipe, tmp_path / "out")
    assert [path.stat().st_mtime_ns for path in sorted(corpora.rglob("*.ogg"))] == times
    changed = Recipe.from_dict({**recipe.to_dict(), "render": [{**corpus, "seed": 3}] * 2})
    with pytest.raises(HmicError, match="00' was rendered with other settings"):
        training.run_recipe(changed, tmp_path / "out")
    # A run that never began, as when something was wrong with the data, keeps its clips.
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and not path.is_relative_to(corpora):
            path.unlink()
    training.run_recipe(recipe, tmp_path / "out")
    assert [path.stat().st_mtime_ns for path in sorted(corpora.rglob("*.ogg"))] == times


def test_a_mistake_in_the_model_shows_before_anything_is_rendered(tmp_path):
    from hmic_keras.recipe import Recipe

    recipe = Recipe.from_dict(
        {
            "model": {
                "start": "hmic-mobile",
                "backbone_options": {"width": 3},
                "frozen": True,
                "method": "gmp",
            },
            "render": [{"soundfont": "there is none.sf2", "clips": 4, "seed": 1}],
        }
    )
    with pytest.raises(ModelError, match="the backbone of 'hmic-mobile' is another one"):
        training.run_recipe(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_soundfont_that_is_not_there_leaves_nothing_behind(tmp_path):
    from hmic_keras.recipe import Recipe

    recipe = Recipe.from_dict(
        {
            "model": {"method": "gmp", "backbone_options": {"width": 2}},
            "render": [{"soundfont": "there is none.sf2", "clips": 4, "seed": 1}],
        }
    )
    with pytest.raises(AudioError, match=r"there is no file 'there is none\.sf2'"):
        training.run_recipe(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
