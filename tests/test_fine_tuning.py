"""Fine-tuning a trained model on other classes."""

import csv
import json
import re
import shlex
import subprocess
import sys

import keras
import numpy as np
import pytest
import soundfile
from audio_files import tone
from command_line import ROOT, environment, process

import hmic_keras as hk
from hmic_keras import LabelMap, Taxonomy
from hmic_keras.calibration import Calibration, calibrated
from hmic_keras.config import FineTuneConfig
from hmic_keras.data import LabelledClips, demo_clips, load_audio, read_clips
from hmic_keras.data.sources.folder import write_labels
from hmic_keras.errors import AudioError, HmicError, LabelError, ModelError, TaxonomyError
from hmic_keras.fine_tuning import (
    check_fine_tuning,
    fine_tune,
    match_classes,
    open_recordings,
    transplant,
)
from hmic_keras.fine_tuning._data import widen, with_soft_labels
from hmic_keras.fine_tuning._html import page
from hmic_keras.fine_tuning._passes import MOST_DRIFT, run_stages, stages
from hmic_keras.fine_tuning._surgery import links_to_new_children

pytestmark = pytest.mark.xdist_group("fine_tuning")

SOUNDS = {"hum": (110.0, 220.0), "whistle": (2000.0,), "banjo": (600.0, 1500.0)}
MINE = {"low": ["hum"], "high": ["whistle"], "plucked_strings": ["banjo"]}
CALIBRATED = ("scale", "offset")
QUICK = FineTuneConfig(crops=2, folds=3, bootstrap=100, augmentation={"waveform": {"gain": {}}})


@pytest.fixture(scope="module")
def mine():
    return Taxonomy.from_dict(MINE, name="mine")


@pytest.fixture(scope="module")
def base(tiny):
    """A `f2ca` model of openmic, not calibrated. Do not change it."""
    return tiny.model


def record(path, name, number, rate=16000, channels=1):
    """A recording of a sort of sound, every one of them a little different."""
    rng = np.random.default_rng([number, len(name)])
    shift = 2 ** rng.uniform(-0.15, 0.15)
    sound = tone(2.0, rate, channels, tuple(shift * f for f in SOUNDS[name]))
    sound = sound * rng.uniform(0.2, 1.0) + 0.003 * rng.normal(size=sound.shape)
    # Plucked again and again, at other moments in every recording.
    time = np.arange(len(sound)) / rate
    sound *= np.exp(-3 * np.mod(time + rng.random(), 0.4 + 0.4 * rng.random()))[:, np.newaxis]
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder with eight recordings in a sub-folder for each class."""
    folder = tmp_path_factory.mktemp("recordings")
    for name in SOUNDS:
        for number in range(8):
            record(folder / name / f"{number}.wav", name, number)
    return folder


@pytest.fixture(scope="module")
def tuned(base, mine, recordings, tmp_path_factory):
    """The result of fine-tuning in the mode `frozen`, and its folder."""
    out = tmp_path_factory.mktemp("tuned") / "mine"
    steps = []
    result = fine_tune(
        base,
        mine,
        recordings,
        config=QUICK,
        out=out,
        provenance={"recordings": "made by a test"},
        progress=lambda *step: steps.append(step),
    )
    assert {step for step, _, _ in steps} >= {"listen", "features", "changed copies"}
    assert all(0 <= done <= total for _, done, total in steps)
    return result, out


def waveforms(count=3):
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, (count, 32000)).astype("float32")


# The classes of one taxonomy on the network of another


def test_classes_keep_their_classifiers_by_name(base, mine):
    new = transplant(base, mine)
    assert new.origin == {
        ("fine", "banjo"): ("fine", "banjo"),
        ("coarse", "plucked_strings"): ("coarse", "plucked_strings"),
    }
    before, after = (model.predict(waveforms(), verbose=0) for model in (base, new.model))
    np.testing.assert_allclose(
        after["fine"][:, mine.index("fine")["banjo"]],
        before["fine"][:, base.taxonomy.index("fine")["banjo"]],
        atol=1e-6,
    )
    # Nobody taught the others anything: all inputs are answered alike, and unlikely.
    others = after["fine"][:, [mine.index("fine")[name] for name in ("hum", "whistle")]]
    assert np.ptp(others) == 0
    assert others.max() < 0.2


def test_a_mapping_says_where_a_class_comes_from(base, mine):
    tags = LabelMap.from_dict({"hum": "bass", "banjo": None}, base.taxonomy)
    new = transplant(base, mine, mapping=tags)
    assert new.origin[("fine", "hum")] == ("fine", "bass")
    assert ("fine", "banjo") not in new.origin
    before, after = (model.predict(waveforms(), verbose=0) for model in (base, new.model))
    np.testing.assert_allclose(
        after["fine"][:, mine.index("fine")["hum"]],
        before["fine"][:, base.taxonomy.index("fine")["bass"]],
        atol=1e-6,
    )
    several = LabelMap.from_dict({"hum": ["bass", "cello"]}, base.taxonomy)
    with pytest.raises(TaxonomyError, match="kept from one only"):
        match_classes(mine, base.taxonomy, several)
    unknown = LabelMap.from_dict({"kazoo": "bass"}, base.taxonomy)
    with pytest.raises(TaxonomyError, match="no class 'kazoo'"):
        match_classes(mine, base.taxonomy, unknown)


def test_all_old_classes_beside_new_ones_answer_as_before(base, mine):
    whole = mine.merge(base.taxonomy)
    new = transplant(base, whole)
    assert new.model.manifest["method"]["name"] == "f2ca"
    before, after = (model.predict(waveforms(), verbose=0) for model in (base, new.model))
    for level in base.taxonomy.levels:
        places = [whole.index(level)[name] for name in base.taxonomy.classes(level)]
        np.testing.assert_allclose(after[level][:, places], before[level], atol=1e-5)
    # A new family is an even mixture of its members.
    low = after["coarse"][:, whole.index("coarse")["low"]]
    np.testing.assert_allclose(low, after["fine"][:, whole.index("fine")["hum"]], atol=1e-5)


def test_a_new_member_of_an_old_family_counts_as_much_as_the_others(base):
    taxonomy = Taxonomy.from_dict({"plucked_strings": ["koto"]})
    whole = taxonomy.merge(base.taxonomy)
    model = transplant(base, whole).model
    maps = hk.explain.attention_maps(model, waveforms())
    row = maps[:, whole.index("coarse")["plucked_strings"]]
    koto = row[:, whole.index("fine")["koto"]]
    members = [whole.index("fine")[n] for n in ("banjo", "bass", "guitar", "mandolin")]
    assert (koto > 0.2 * row[:, members].mean(axis=1)).all()
    brass = maps[:, whole.index("coarse")["brass"], whole.index("fine")["koto"]]
    assert brass.max() < 1e-10


@pytest.mark.parametrize("method", ["gmp", "multitask", "c_hmcnn", "top_down", "f2ca"])
def test_every_linear_method_can_be_put_onto_a_network(base, mine, method):
    new = transplant(base, mine, method=method)
    assert new.model.manifest["method"]["name"] == method
    levels = {column.key[0] for column in new.columns}
    assert levels == ({"fine"} if method in ("gmp", "f2ca") else {"fine", "coarse"})
    rows, biases = new.rows()
    new.set_rows(rows + 1.0, biases - 1.0)
    np.testing.assert_allclose(new.rows()[0], rows + 1.0, atol=1e-6)


def test_maps_on_a_model_without_any_are_even(openmic, mine):
    gmp = hk.build_model(openmic, method="gmp", backbone_options={"width": 4})
    new = transplant(gmp, mine, method="f2ca")
    maps = hk.explain.attention_maps(new.model, waveforms())
    expected = mine.mask("coarse", "fine") / mine.mask("coarse", "fine").sum(1, keepdims=True)
    np.testing.assert_allclose(maps, np.stack([expected] * 3), atol=1e-6)


def test_links_to_new_children_go_all_the_way_up():
    base = Taxonomy.from_nested({"strings": {"plucked": ["guitar"], "bowed": ["violin"]}})
    own = Taxonomy.from_nested(
        {"strings": {"plucked": ["guitar", "koto"], "bowed": ["violin"]}}
    )
    middle, top = own.levels[1:]
    plucked, koto = own.index(middle)["plucked"], own.index(own.levels[0])["koto"]
    origin = match_classes(own, base)
    assert links_to_new_children(own, base, origin) == [
        [middle, own.levels[0], [[plucked, koto]]],
        [top, middle, [[0, plucked]]],
    ]
    assert links_to_new_children(base, base, match_classes(base, base)) == []


def test_the_method_is_gmp_where_no_family_is_kept(base):
    taxonomy = Taxonomy.from_dict({"low": ["hum"], "high": ["whistle"]})
    assert transplant(base, taxonomy).model.manifest["method"]["name"] == "gmp"


def test_a_base_model_that_does_not_fit_is_refused(base, mine, openmic):
    embedding = hk.build_model(
        openmic, backbone="mlp", input="embedding", input_shape=(8,), method="gmp"
    )
    with pytest.raises(ModelError, match=r"hears waveforms.*input is 'embedding'"):
        transplant(embedding, mine)
    small = {"backbone_options": {"width": 4}}
    with pytest.raises(ModelError, match=r"one of the methods.*Received: 'hmcn_f'.*gmp"):
        transplant(hk.build_model(openmic, method="hmcn_f", **small), mine)
    with pytest.raises(ModelError, match="pools its features"):
        transplant(hk.build_model(openmic, method="independent", **small), mine)
    with pytest.raises(ModelError, match="one of the methods"):
        transplant(base, mine, method="chorus")
    new = transplant(hk.build_model(openmic, method="chorus", **small), mine, method="gmp")
    assert new.model.manifest["method"]["name"] == "gmp"
    with pytest.raises(ModelError, match="There is no model 'nowhere'"):
        fine_tune("nowhere", mine, "anywhere")


# Labelled recordings as people have them


def test_a_folder_for_each_class_becomes_labels(mine, recordings):
    clips = open_recordings(recordings, mine)
    assert len(clips) == 24
    for path, row in zip(clips.paths, clips.labels["fine"], strict=True):
        assert row.tolist() == [float(n == path.parent.name) for n in mine.classes("fine")]


def test_a_folder_of_a_family_leaves_its_members_open(tmp_path):
    taxonomy = Taxonomy.from_dict({"plucked": ["koto", "sitar"], "blown": ["shanai", "voice"]})
    for name in ("plucked", "voice", "none"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").touch()
    clips = open_recordings(tmp_path, taxonomy)
    rows = {path.parent.name: i for i, path in enumerate(clips.paths)}
    assert clips.labels["fine"][rows["plucked"]].tolist() == [-1, -1, 0, 0]
    assert clips.labels["coarse"][rows["plucked"]].tolist() == [1, 0]
    assert clips.labels["fine"][rows["none"]].tolist() == [0, 0, 0, 0]
    assert clips.labels["coarse"][rows["voice"]].tolist() == [0, 1]


def test_folders_that_cannot_be_read_are_refused(tmp_path, mine):
    with pytest.raises(LabelError, match="no such file or folder"):
        open_recordings(tmp_path / "nowhere", mine)
    with pytest.raises(LabelError, match="Make a sub-folder for each class"):
        open_recordings(tmp_path, mine)
    (tmp_path / "hum").mkdir()
    with pytest.raises(LabelError, match="holds no audio file"):
        open_recordings(tmp_path, mine)
    (tmp_path / "hum" / "a.wav").touch()
    (tmp_path / "kazoo").mkdir()
    (tmp_path / "kazoo" / "a.wav").touch()
    with pytest.raises(LabelError, match=r"'.*kazoo' is named after no class.*call it 'none'"):
        open_recordings(tmp_path, mine)


def test_sound_beside_the_folders_of_classes_is_not_passed_over(tmp_path, mine, recordings):
    (tmp_path / "hum").mkdir()
    for place in ("hum/a.wav", "b.wav", "c.flac"):
        (tmp_path / place).touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(LabelError, match=r"2 audio file\(s\) beside.*'b.wav', 'c.flac'.*Move"):
        open_recordings(tmp_path, mine)


def test_every_contradiction_of_a_table_is_named(tmp_path, mine, recordings):
    paths = [str(recordings / "hum" / f"{n}.wav") for n in range(3)]
    rows = [[path, 1, 0] for path in paths]
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "hum", "low"], *rows])
    with pytest.raises(
        LabelError,
        match=r"3 label\(s\) contradict.*row 1 after the header \(.*hum/0\.wav\): "
        "fine:hum without coarse:low",
    ):
        open_recordings(tmp_path, mine)


def test_wider_labels_claim_nothing_of_the_classes_that_are_added(mine, base, recordings):
    whole = mine.merge(base.taxonomy)
    clips = widen(open_recordings(recordings, mine), whole)
    fine, coarse = clips.labels["fine"], clips.labels["coarse"]
    assert (fine[:, whole.index("fine")["violin"]] == -1).all()
    is_banjo = np.array([path.parent.name == "banjo" for path in clips.paths])
    plucked = coarse[:, whole.index("coarse")["plucked_strings"]]
    # A hum may come with a guitar that nobody was asked for.
    np.testing.assert_array_equal(plucked, np.where(is_banjo, 1.0, -1.0))
    low = coarse[:, whole.index("coarse")["low"]]
    assert set(low.tolist()) == {0.0, 1.0}


def test_soft_labels_follow_the_hierarchy_and_leave_given_ones_alone(mine):
    labels = {"fine": [[1, -1, -1], [0, -1, 0]], "coarse": [[1, -1, 0], [0, -1, -1]]}
    clips = LabelledClips(mine, ("a.wav", "b.wav"), labels)
    scores = {"fine": np.full((2, 3), 0.8), "coarse": np.full((2, 3), 0.3)}
    filled = {level: np.ones(3, bool) for level in mine.levels}
    soft = with_soft_labels(clips, scores, filled)
    for level in mine.levels:
        given = clips.labels[level] >= 0
        np.testing.assert_array_equal(soft.labels[level][given], clips.labels[level][given])
        assert (soft.labels[level] >= 0).all()
    np.testing.assert_allclose(soft.labels["fine"][:, 1], 0.8)
    np.testing.assert_allclose(soft.labels["coarse"][:, 1], 0.8)  # raised to its member


# The whole of it


def test_the_model_knows_the_new_classes(tuned, mine, recordings, tmp_path):
    result, _ = tuned
    assert result.model.taxonomy == mine
    assert result.history == []
    for name in SOUNDS:
        record(tmp_path / f"{name}.wav", name, 99)
        answer = hk.Predictor(result.model).predict(tmp_path / f"{name}.wav")
        assert answer.top("fine", 1)[0][0] == name


def test_the_phone_file_answers_with_the_new_labels(tuned, mine, tmp_path):
    result, out = tuned
    phone = hk.Predictor(out, format="tflite")
    assert phone.taxonomy == mine
    record(tmp_path / "new.wav", "whistle", 77)
    answer = phone.predict(tmp_path / "new.wav")
    assert answer.top("fine", 1)[0][0] == "whistle"
    expected = hk.Predictor(result.model).predict(tmp_path / "new.wav")
    for level, values in expected.probabilities.items():
        np.testing.assert_allclose(answer.probabilities[level], values, atol=1e-3)


def test_the_network_is_what_it_was(tuned, base):
    result, _ = tuned
    kept = {layer.name: layer for layer in base.layers}
    compared = 0
    for layer in result.model.layers:
        if layer.name in kept and layer.weights and not layer.name.startswith("fine_"):
            if "attention" in layer.name:
                continue
            for one, other in zip(
                layer.get_weights(), kept[layer.name].get_weights(), strict=True
            ):
                np.testing.assert_array_equal(one, other)
                compared += 1
    assert compared > 10


def test_the_report_says_how_good_each_class_is(tuned, mine):
    result, out = tuned
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report == result.report.results
    for level in mine.levels:
        found = report["levels"][level]
        assert set(found["per_class"]) == set(mine.classes(level))
        for row in [found["map"], *(r["ap"] for r in found["per_class"].values())]:
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    # These sounds are easy to tell apart.
    assert report["levels"]["fine"]["map"]["value"] > 0.8
    assert report["clips"] == report["recordings"] == 24
    assert report["kept"]["fine:banjo"] == "fine:banjo"
    assert set(report["more_examples"]["expected"]) == {"2 times", "4 times"}
    assert report["cost"]["total_seconds"] > 0
    assert report["cost"]["peak_memory_mb"] is None or report["cost"]["peak_memory_mb"] > 100
    with (out / "per_class.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["class"] for row in rows if row["level"] == "fine"} == set(SOUNDS)


def test_the_page_needs_nothing_else(tuned):
    _, out = tuned
    written = (out / "report.html").read_text("utf-8")
    assert not re.search(r"href=|src=(?!\"data:)", written)
    assert "http" not in written
    assert "<script" not in written
    assert written.count("data:image/png;base64,") == 2
    for text in ("banjo", "Labels that look wrong", "Would more examples help?", "seconds"):
        assert text in written


def test_the_manifest_says_where_the_model_comes_from(tuned, base):
    result, out = tuned
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    training = manifest["training"]
    assert training["base"]["taxonomy_hash"] == base.taxonomy.hash
    assert training["kept"]["fine:banjo"] == "fine:banjo"
    assert FineTuneConfig.from_dict(training["fine_tuning"]) == QUICK
    assert manifest["provenance"]["data"] == {"recordings": "made by a test"}
    assert manifest["provenance"]["base"] == base.manifest["provenance"]
    assert set(manifest["files"]) == {"keras", "float32"}
    assert result.model.manifest["thresholds"] == manifest["thresholds"]


def test_silence_and_noise_get_no_tag(tuned):
    model = hk.Predictor(tuned[0].model)
    rng = np.random.default_rng(1)
    for sound in (np.zeros(32000), rng.normal(0, 0.05, 32000)):
        answer = model.predict(sound, 16000)
        assert answer.tags("fine") == []


def test_the_folder_can_be_written_again_but_nobody_elses(tuned, base, mine, tmp_path):
    _, out = tuned
    hk.export.export_model(tuned[0].model, out, formats=("keras",))
    tuned[0].report.write(out)
    assert (out / "report.html").is_file()
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ModelError, match="name an empty or new folder"):
        fine_tune(base, mine, "nowhere", out=tmp_path)


def test_the_same_seed_gives_the_same_model(tuned, base, mine, recordings):
    again = fine_tune(base, mine, recordings, config=QUICK)
    first, second = (m.predict(waveforms(), verbose=0) for m in (tuned[0].model, again.model))
    for level in mine.levels:
        np.testing.assert_allclose(first[level], second[level], atol=1e-5)


def test_another_rate_and_more_channels_are_the_same_sound(base, mine, tmp_path):
    for name in SOUNDS:
        for number in range(4):
            path = tmp_path / "clips" / name / f"{number}.wav"
            record(path, name, number, rate=44100, channels=2)
    result = fine_tune(base, mine, tmp_path / "clips", config=QUICK)
    record(tmp_path / "new.wav", "hum", 50, rate=16000)
    answer = hk.Predictor(result.model).predict(tmp_path / "new.wav")
    assert answer.top("fine", 1)[0][0] == "hum"
    first = tmp_path / "clips" / "hum" / "0.wav"
    header = bytearray(first.read_bytes())
    header[24:28] = (7).to_bytes(4, "little")  # seven samples a second
    first.write_bytes(header)
    with pytest.raises(AudioError, match=r"0\.wav.*sample rate of 7 Hz"):
        fine_tune(base, mine, tmp_path / "clips", config=QUICK)


def test_old_classes_stay_without_clips_of_them(base, mine, recordings):
    rng = np.random.default_rng(8)
    sizes = {level: len(base.taxonomy.classes(level)) for level in base.taxonomy.levels}
    lines = [{lv: rng.uniform(0.4, 0.9, n).tolist() for lv, n in sizes.items()} for _ in "ab"]
    thresholds = {level: rng.uniform(0.6, 0.9, n).tolist() for level, n in sizes.items()}
    base = calibrated(base, Calibration(*lines, consistent=False))
    base.update_manifest(thresholds=thresholds)
    result = fine_tune(base, mine, recordings, keep_old=True, config=QUICK)
    whole = result.model.taxonomy
    assert set(whole.classes("fine")) == {*mine.classes("fine"), *openmic_classes(base)}
    before, after = (m.predict(waveforms(), verbose=0) for m in (base, result.model))
    for level in base.taxonomy.levels:
        # What there are clips of, or has a new member, may have changed.
        changed = {*mine.classes(level), "plucked_strings"}
        names = [n for n in base.taxonomy.classes(level) if n not in changed]
        old = [base.taxonomy.index(level)[n] for n in names]
        new = [whole.index(level)[n] for n in names]
        # Nothing of theirs has changed; but this base model's maps let the banjo, of which
        # there are clips, have a little say in every family.
        bound = 1e-4 if level == "fine" else 0.06
        np.testing.assert_allclose(after[level][:, new], before[level][:, old], atol=bound)
        kept = np.array(result.model.manifest["thresholds"][level])[new]
        # Silence may have raised them.
        assert (kept >= np.array(thresholds[level])[old] - 1e-4).all()
    # The report is about the classes that there are clips of.
    assert set(result.report.results["levels"]["fine"]["per_class"]) == set(SOUNDS)


def test_a_known_class_with_positive_examples_only_stays_as_it_is(base, mine, recordings):
    """Noise, which lacks every class, is no reason to turn the banjo into any music at all."""
    clips = open_recordings(recordings, mine)
    labels = {level: values.copy() for level, values in clips.labels.items()}
    banjo, plucked = mine.index("fine")["banjo"], mine.index("coarse")["plucked_strings"]
    for level, place in (("fine", banjo), ("coarse", plucked)):
        labels[level][labels[level][:, place] == 0, place] = -1
    partial = LabelledClips(mine, clips.paths, labels)
    found = []
    result = fine_tune(base, mine, partial, config=QUICK, checked=found.append)
    (warned,) = [one for one in found[0].findings if one.kind == "only_present"]
    assert "lacking 'fine:banjo'" in warned.message
    assert "label some 0" in warned.message
    before, after = (m.predict(waveforms(), verbose=0) for m in (base, result.model))
    old = base.taxonomy.index("fine")["banjo"]
    np.testing.assert_allclose(after["fine"][:, banjo], before["fine"][:, old], atol=1e-5)
    report = result.report.results
    assert {(one["class"], one["why"]) for one in report["not_scored"]} == {
        ("banjo", "no clip is known to lack it"),
        ("plucked_strings", "no clip is known to lack it"),
    }
    assert set(report["levels"]["fine"]["per_class"]) == {"hum", "whistle"}
    # With clips that lack it, it learns.
    taught = fine_tune(base, mine, clips, config=QUICK).model.predict(waveforms(), verbose=0)
    assert np.abs(taught["fine"][:, banjo] - before["fine"][:, old]).max() > 0.01


def test_a_known_class_without_clips_is_spoken_of(base, mine, recordings):
    clips = open_recordings(recordings, mine)
    rest = clips.subset([i for i, p in enumerate(clips.paths) if p.parent.name != "banjo"])
    result = fine_tune(base, mine, rest, config=QUICK)
    (note,) = [one for one in result.checks.findings if one.kind == "kept"]
    assert "No clip shows 'fine:banjo', which the base model knows" in note.message
    why = {one["class"]: one["why"] for one in result.report.results["not_scored"]}
    assert why == {"banjo": "no clip shows it", "plucked_strings": "no clip shows it"}


@pytest.mark.parametrize("method", ["f2ca", "gmp"])
def test_a_family_that_is_kept_answers_to_its_new_member(base, recordings, method):
    """The old map knows nothing of the member, and nobody said that the family is absent."""
    own = Taxonomy.from_dict({"brass": ["whistle"], "low": ["hum", "banjo_like"]})
    clips = open_recordings(recordings, Taxonomy.from_dict(MINE))
    names = ["whistle", "hum", "banjo"]
    fine = [[p.parent.name == name for name in names] for p in clips.paths]
    mine = LabelledClips(own, clips.paths, {"fine": np.array(fine, float)})
    result = fine_tune(base, own, mine, method=method, keep_old=True, config=QUICK)
    whole = result.model.taxonomy
    sounds = np.stack([load_audio(path) for path in clips.paths])
    scores = result.model.predict(sounds, verbose=0)
    brass = scores["coarse"][:, whole.index("coarse")["brass"]]
    member = scores["fine"][:, whole.index("fine")["whistle"]]
    assert (brass >= member - 1e-6).all()
    shows = np.array(fine)[:, 0]
    assert brass[shows].min() > 0.5
    # A calibration of present labels alone would call it present everywhere.
    scale, offset = (result.model.manifest["calibration"][k]["coarse"] for k in CALIBRATED)
    place = whole.index("coarse")["brass"]
    assert (scale[place], offset[place]) == (1.0, 0.0)  # as in the base model, which has none
    # The report and the thresholds do not take the family for absent where only its new
    # member is.
    row = {"level": "coarse", "class": "brass", "why": "no clip is known to lack it"}
    assert row in result.report.results["not_scored"]
    assert "brass" not in result.report.results["levels"]["coarse"]["per_class"]


def openmic_classes(base):
    return base.taxonomy.classes("fine")


def test_old_classes_that_cannot_be_kept_are_refused(base, recordings):
    deep = Taxonomy.from_nested({"a": {"b": ["hum", "whistle", "banjo"]}})
    with pytest.raises(TaxonomyError, match="name the levels alike"):
        fine_tune(base, deep, recordings, keep_old=True)
    moved = Taxonomy.from_dict({"brass": ["banjo", "hum", "whistle"]})
    with pytest.raises(TaxonomyError, match=r"cannot be kept.*rename them"):
        fine_tune(base, moved, recordings, keep_old=True)


def test_partial_labels_teach_what_they_say(base, mine, recordings, tmp_path):
    paths = sorted(recordings.rglob("*.wav"))
    labels = np.array(
        [[p.parent.name == n for n in mine.classes("fine")] for p in paths], float
    )
    labels[::3, 1] = -1
    write_labels(tmp_path / "labels.csv", paths, mine, {"fine": labels})
    result = fine_tune(base, mine, tmp_path / "labels.csv", config=QUICK)
    row = result.report.results["levels"]["fine"]["per_class"]["whistle"]
    assert row["observed"] == (labels[:, 1] >= 0).sum()
    record(tmp_path / "new.wav", "whistle", 60)
    answer = hk.Predictor(result.model).predict(tmp_path / "new.wav")
    assert answer.top("fine", 1)[0][0] == "whistle"


def test_wrong_labels_are_reported(base, mine, recordings):
    clips = open_recordings(recordings, mine)
    fine = clips.labels["fine"].copy()
    fine[0] = [0, 0, 1] if fine[0, 2] == 0 else [1, 0, 0]
    wrong = LabelledClips(mine, clips.paths, {"fine": fine})
    result = fine_tune(base, mine, wrong, config=QUICK)
    named = {one["clip"] for one in result.report.results["doubtful_labels"]}
    assert str(clips.paths[0]) in named
    assert len(named) <= 4


def test_clips_to_test_on_are_scored_and_may_not_leak(base, mine, recordings, tmp_path):
    for name in SOUNDS:
        for number in range(20, 23):
            record(tmp_path / name / f"{number}.wav", name, number)
    result = fine_tune(base, mine, recordings, test=tmp_path, config=QUICK)
    test = result.report.results["test"]
    assert test["clips"] == 9
    fine = test["levels"]["fine"]
    assert fine["map"] > 0.7
    assert fine["interval"]["low"] <= fine["map"] <= fine["interval"]["high"]
    assert set(fine["per_class"]) == set(SOUNDS)
    for row in fine["per_class"].values():
        assert row["positives"] == 3
        assert 0 <= row["ap"]["low"] <= row["ap"]["value"] <= row["ap"]["high"] <= 1
    assert "On the 9 test clips" in page(result.report.results)
    # Clips of one class cannot score the others, nor it.
    hums = sorted((tmp_path / "hum").iterdir())
    ones = LabelledClips(mine, tuple(hums), {"fine": [[1, 0, 0]] * 3})
    result = fine_tune(base, mine, recordings, test=ones, config=QUICK)
    (warned,) = [one for one in result.checks.findings if one.kind == "untested"]
    assert "fine:hum (none lacks it)" in warned.message
    assert "fine:whistle (none shows it)" in warned.message
    assert result.report.results["test"]["levels"] == {}
    assert "No class has test clips of both kinds" in page(result.report.results)
    with pytest.raises(LabelError, match=r"\(training\).*\(test\)"):
        fine_tune(base, mine, recordings, test=recordings, config=QUICK)


def test_the_check_looks_at_all_that_training_would(base, mine, recordings):
    found = check_fine_tuning(base, mine, recordings, test=None)
    assert found.counts["fine"]["hum"]["present"] == 8
    with pytest.raises(TaxonomyError, match=r"mapping has 'kazoo', which is none of your"):
        check_fine_tuning(base, mine, recordings, mapping={"kazoo": "bass"})
    with pytest.raises(TaxonomyError, match=r"mapping cannot be used.*'bas'"):
        check_fine_tuning(base, mine, recordings, mapping={"hum": "bas"})
    moved = Taxonomy.from_dict({"brass": ["banjo", "hum", "whistle"]})
    with pytest.raises(TaxonomyError, match=r"cannot be kept.*rename them"):
        check_fine_tuning(base, moved, recordings, keep_old=True)
    with pytest.raises(ModelError, match="one of the methods"):
        check_fine_tuning(base, mine, recordings, method="chorus")


def test_data_that_cannot_teach_is_refused(base, mine, recordings, tmp_path):
    clips = open_recordings(recordings, mine)
    hums = [i for i, path in enumerate(clips.paths) if path.parent.name == "hum"]
    with pytest.raises(LabelError, match=r"No clip shows 'fine:whistle'"):
        fine_tune(base, mine, clips.subset(hums), config=QUICK)
    single = Taxonomy.from_dict({"low": ["hum"]})
    ones = LabelledClips(single, tuple(clips.paths[i] for i in hums), {"fine": [[1]] * 8})
    with pytest.raises(LabelError, match="nothing to tell it from"):
        fine_tune(base, single, ones, config=QUICK)
    with pytest.raises(LabelError, match="read the clips with the taxonomy to fine-tune on"):
        fine_tune(base, mine, ones, config=QUICK)
    mixing = FineTuneConfig(augmentation={"mix": {"name": "mixup"}})
    with pytest.raises(HmicError, match="may not hold 'mix'"):
        fine_tune(base, mine, recordings, config=mixing)


# Training the network


@pytest.fixture(scope="module")
def gradual(base, mine, recordings):
    config = FineTuneConfig(
        mode="gradual", crops=1, epochs=2, bootstrap=100, learning_rate=1e-2, augmentation={}
    )
    return fine_tune(base, mine, recordings, keep_old=True, config=config)


@pytest.mark.slow
def test_the_network_learns_as_long_as_that_helps(gradual):
    network = gradual.report.results["network"]
    losses = network["loss_on_clips_not_trained_on"]
    assert len(losses) == 3
    drift = network["drift_of_old_classes"]
    assert drift[0] == 0.0
    assert all(moved > 0 for moved in drift[1:])
    pairs = zip(losses, drift, strict=True)
    costs = [loss + moved if moved <= MOST_DRIFT else np.inf for loss, moved in pairs]
    assert costs[network["epochs"]] == min(costs)
    assert len(gradual.history) == network["epochs"]
    assert gradual.report.results["folds"] == 3


def test_what_learns_when(base, mine):
    model = transplant(base, mine).model
    first, second = stages(model, FineTuneConfig(mode="gradual", epochs=5))
    assert (first.epochs, second.epochs) == (2, 3)
    assert first.layers < second.layers
    assert first.learning_rate == pytest.approx(3 * second.learning_rate)
    assert "conv1" not in first.layers
    assert {"conv1", "fine_logits"} <= second.layers
    (only,) = stages(model, FineTuneConfig(mode="full", epochs=5))
    assert only.layers == second.layers
    assert not any("norm" in name for name in only.layers)


@pytest.mark.slow
def test_training_the_network_keeps_its_statistics_and_what_the_old_model_says(
    base, mine, recordings
):
    """Taught by the old model's scores, old classes move less than without a word on them."""
    whole = mine.merge(base.taxonomy)
    plain = widen(open_recordings(recordings, mine), whole)
    sounds = np.stack([load_audio(path) for path in plain.paths])
    old = {level: base.predict(sounds, verbose=0)[level] for level in base.taxonomy.levels}
    scores = {
        level: np.zeros((len(plain), len(whole.classes(level)))) for level in whole.levels
    }
    filled = {level: np.zeros(len(whole.classes(level)), bool) for level in whole.levels}
    for level in base.taxonomy.levels:
        places = [whole.index(level)[name] for name in base.taxonomy.classes(level)]
        scores[level][:, places], filled[level][places] = old[level], True
    taught = with_soft_labels(plain, scores, filled)
    config = FineTuneConfig(mode="full", learning_rate=3e-2, mixed=0.0, augmentation={})
    heard = np.stack([load_audio(p)[:32000] for p in demo_clips("test").paths[:24]])
    before, moved = base.predict(heard, verbose=0)["fine"], {}
    for name, clips in (("plain", plain), ("taught", taught)):
        model = transplant(base, whole).model
        start = {layer.name: layer.get_weights() for layer in model.layers}
        seen = []
        run_stages(model, clips, stages(model, config), 4, config, seen.append)
        assert seen == [1, 2, 3, 4]
        for layer in model.layers:
            same = [
                np.array_equal(*pair)
                for pair in zip(layer.get_weights(), start[layer.name], strict=True)
            ]
            if isinstance(layer, keras.layers.BatchNormalization):
                assert all(same)
            if layer.name in ("conv1", "conv4", "fine_logits"):
                assert not any(same)
            assert layer.trainable
        places = [whole.index("fine")[n] for n in base.taxonomy.classes("fine")]
        after = model.predict(heard, verbose=0)["fine"][:, places]
        moved[name] = float(np.abs(after - before).mean())
    assert moved["taught"] < moved["plain"]


# On the command line


@pytest.mark.slow
def test_the_command_checks_trains_reports_and_exports(
    hmic, tiny_bundle, mine, recordings, tmp_path
):
    mine.save(tmp_path / "mine.yaml")
    arguments = ["--from", tiny_bundle, "--taxonomy", tmp_path / "mine.yaml"]
    arguments += ["--data", recordings, "--out", tmp_path / "out"]
    checked = hmic("finetune", *arguments, "--check", "--json")
    assert checked.code == 0, checked.err
    assert json.loads(checked.out)["counts"]["fine"]["hum"]["present"] == 8
    assert not (tmp_path / "out").exists()
    done = hmic("finetune", *arguments, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert "Fewer than 10 clips show" in done.err
    assert (tmp_path / "out" / "model.tflite").is_file()
    said = hmic("predict", recordings / "hum" / "0.wav", "--model", tmp_path / "out")
    assert said.code == 0
    assert "hum" in said.out


def test_the_command_says_in_one_line_what_is_wrong(hmic, mine, recordings, tmp_path):
    mine.save(tmp_path / "mine.yaml")
    given = ["--taxonomy", tmp_path / "mine.yaml", "--data", recordings]
    done = hmic("finetune", "--from", "nowhere", *given, "--out", tmp_path / "out")
    assert "There is no model 'nowhere'" in done.message()
    taxonomy = Taxonomy.from_dict({"low": ["hum", "rumble"], "high": ["whistle", "banjo"]})
    taxonomy.save(tmp_path / "more.yaml")
    done = hmic(
        *("finetune", "--from", "hmic-mobile", "--taxonomy", tmp_path / "more.yaml"),
        *("--data", recordings, "--check"),
    )
    assert done.code == 2
    assert "No clip shows 'fine:rumble'" in done.err


def test_the_command_checks_the_model_and_the_mapping_too(hmic, mine, recordings, tmp_path):
    """In words of the command line, where nothing is called `keep_old` or `method=`."""
    mine.save(tmp_path / "mine.yaml")
    Taxonomy.from_dict({"brass": ["banjo"], "low": ["hum"], "high": ["whistle"]}).save(
        tmp_path / "moved.yaml"
    )
    Taxonomy.from_nested({"a": {"b": ["hum", "whistle", "banjo"]}}).save(tmp_path / "deep.yaml")
    (tmp_path / "wrong.yaml").write_text("hum: contrabas\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "phone.tflite").touch()

    def message(taxonomy, *more, base="hmic-mobile"):
        given = ["--taxonomy", tmp_path / f"{taxonomy}.yaml", "--data", recordings, "--check"]
        text = hmic("finetune", "--from", base, *given, *more).message()
        assert not re.search(r"keep_old|method=|input=|`mapping`", text), text
        return text

    assert "'contrabas'" in message("mine", "--mapping", tmp_path / "wrong.yaml")
    assert "rename them" in message("moved", "--keep-old")
    assert "name the levels alike" in message("deep", "--keep-old")
    assert "choose the method 'gmp'" in message("mine", "--method", "hmcn_f")
    assert "export the model again" in message("mine", base=tmp_path / "empty")
    assert "is an exported file" in message("mine", base=tmp_path / "phone.tflite")
    assert "Start from another one" in message("mine", base="hmic-base")


@pytest.mark.slow
def test_the_example_runs_as_written(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "finetune_custom_taxonomy.py")],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for name in ("thumb_piano", "bagpipe", "singing_bowl"):
        assert re.search(rf"^{name}: average precision \d\.\d\d \(", done.stdout, re.M)
        assert re.search(rf"^test/{name}/00\.wav: \[\('{name}', 0\.\d+\)\]$", done.stdout, re.M)
    assert re.search(r"^test clips: mAP (1\.000|0\.9\d+)$", done.stdout, re.M)
    assert (tmp_path / "mine" / "report.html").is_file()


@pytest.mark.slow
def test_the_commands_of_the_document_run_as_written(tmp_path):
    text = (ROOT / "docs" / "own-taxonomy.md").read_text("utf-8")
    blocks = re.findall(r"^<!-- commands -->\n```bash\n(.*?)^```", text, re.M | re.S)
    make = [sys.executable, str(ROOT / "examples" / "finetune_custom_taxonomy.py"), "make"]
    subprocess.run(make, check=True, env=environment(), cwd=tmp_path)
    assert not (tmp_path / "mine").exists()
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "shown.yaml").write_text(shown)
    assert Taxonomy.load(tmp_path / "shown.yaml") == Taxonomy.load(tmp_path / "mine.yaml")
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 4
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "hmic"
        done = process(*arguments, cwd=tmp_path)
        assert done.code == 0, f"{line}\n{done.err}"
        assert done.out.strip()
    assert (tmp_path / "phone" / "model_dynamic_int8.tflite").is_file()


def test_settings_out_of_range_are_refused():
    for wrong in ({"mode": "half"}, {"folds": 1}, {"crops": -1}, {"mixed": 2}, {"seed": -1}):
        with pytest.raises(HmicError, match=f"`{next(iter(wrong))}` must be"):
            FineTuneConfig(**wrong)
    config = FineTuneConfig(mode="full", epochs=3)
    assert FineTuneConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_table_and_a_folder_of_the_same_clips_are_the_same(mine, recordings, tmp_path):
    clips = open_recordings(recordings, mine)
    write_labels(tmp_path / "labels.csv", clips.paths, mine, clips.labels)
    table = read_clips(tmp_path / "labels.csv", mine)
    for level in mine.levels:
        np.testing.assert_array_equal(table.labels[level], clips.labels[level])
