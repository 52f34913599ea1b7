"""Publishing a model: what is measured, what is written, and what the card says of it."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import hmic_keras as hk
from hmic_keras import evaluation
from hmic_keras.data import demo_clips
from hmic_keras.data.no_music import KINDS, no_music
from hmic_keras.errors import HmicError, LabelError, ModelError
from hmic_keras.model_card import model_card
from hmic_keras.publishing import About, calibrate, measure, measure_silence, publish

pytestmark = pytest.mark.xdist_group("publishing")
ROOT = Path(__file__).parents[1]
ABOUT = About(
    description="A model for tests.",
    licence="Apache-2.0",
    intended_use="Tests.",
    data=["A few demo clips."],
    validation="Some others.",
    tests={"demo": "Clips of the demo corpus."},
    limits=["It knows nothing."],
    recipe="hmic train --out run",
)


@pytest.fixture(scope="module")
def clips():
    return demo_clips("test").subset(range(24))


@pytest.fixture(scope="module")
def published(tiny, clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo") / "hmic-test"
    results = publish(
        tiny.model,
        folder,
        about=ABOUT,
        validation=demo_clips("test").subset(range(24, 64)),
        tests={"demo": clips},
        examples=["demo"],
        formats=["keras", "float32"],
    )
    return folder, results


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_folder_holds_what_was_measured(published):
    folder, results = published
    assert read(folder / "results.json") == results
    manifest = read(folder / "manifest.json")
    zoo = manifest["zoo"]
    assert zoo["description"] == ABOUT.description
    assert zoo["results"]["demo"] == {
        level: round(scores["map"], 6)
        for level, scores in results["tests"]["demo"]["levels"].items()
    }
    assert zoo["parameters"] == hk.load_model(folder).count_params()
    assert set(manifest["calibration"]) == {"scale", "offset", "consistent"}


@pytest.mark.parametrize("form", ["keras", "float32"])
def test_every_format_is_calibrated_and_scores_the_same(published, clips, form):
    folder, results = published
    report = evaluation.evaluate(hk.Predictor(folder, format=form), clips).results
    for level, scores in report["levels"].items():
        stated = results["tests"]["demo"]["levels"][level]
        for name in ("map", "f1", "calibration_error"):
            assert scores[name] == pytest.approx(stated[name], abs=2e-3), (level, name)


def test_calibration_makes_the_labels_likelier(tiny, published):
    clips = demo_clips("test").subset(range(24, 64))
    before = evaluation.evaluate(tiny.model, clips).results["levels"]
    after = evaluation.evaluate(published[0], clips).results["levels"]
    for level in before:
        assert after[level]["brier_score"] < before[level]["brier_score"]


def test_silence_is_counted_as_a_person_would(published):
    folder, results = published
    assert results["silence"]["clips"] == 500
    assert results["silence"]["untagged"] >= 0.95
    predictor = hk.Predictor(folder)
    found = measure_silence(predictor, clips=20, seed=4)
    rng = np.random.default_rng([4, 1])
    untagged = []
    for index in range(20):
        sound = no_music(KINDS[index % 5], 32000, 16000, rng)
        answer = predictor.predict(sound, sample_rate=16000)
        untagged.append(not any(answer.tags(level) for level in ("fine", "coarse")))
    assert found["untagged"] == np.mean(untagged)
    assert found["by_kind"]["hum"] == np.mean(untagged[3::5])


def test_confusions_and_examples_are_those_of_a_plain_loop(published, clips):
    predictor = hk.Predictor(published[0])
    # The tiny model is sure of nothing; from here on it tags about half of what there is.
    scores = evaluation.predict_clips(predictor, clips)
    predictor.thresholds = {level: np.median(rows, axis=0) for level, rows in scores.items()}
    names = clips.taxonomy.classes("fine")
    pairs, wrong = {}, []
    for answer, labels in zip(scores["fine"], clips.labels["fine"], strict=True):
        tagged = {names[i] for i in range(20) if answer[i] >= predictor.thresholds["fine"][i]}
        present = {names[i] for i in range(20) if labels[i] > 0.5}
        for missed in present - tagged:
            for other in tagged - present:
                pairs[missed, other] = pairs.get((missed, other), 0) + 1
        wrong.append(len(present ^ tagged))
    found = measure(predictor, clips, examples=True)
    assert len(found["confusions"]) == 12
    counts = sorted(pairs.values(), reverse=True)[:12]
    assert [one["clips"] for one in found["confusions"]] == counts
    for one in found["confusions"]:
        assert pairs[one["missed"], one["tagged"]] == one["clips"]
    worst = [len(set(one["present"]) ^ set(one["tagged"])) for one in found["examples"]]
    assert worst == sorted(wrong, reverse=True)[:5]


def test_the_card_says_what_the_files_say(published):
    folder, results = published
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card == model_card(folder)
    assert card.startswith("# hmic-test\n\nA model for tests.")
    for level, scores in results["tests"]["demo"]["levels"].items():
        assert f"| {level} | {scores['map']:.3f} | {scores['map_baseline']:.3f} |" in card
        for name, row in scores["per_class"].items():
            assert f"| {name} |" in card
            assert row["ap"] is None or f"| {row['ap']:.3f} |" in card
    assert f"{results['silence']['untagged']:.1%}" in card
    assert "hmic train --out run" in card
    assert max(len(line) for line in card.splitlines() if not line.startswith("|")) <= 96


def test_a_figure_that_changes_changes_the_card(published, tmp_path):
    folder = tmp_path / "hmic-test"
    shutil.copytree(published[0], folder)
    results = read(folder / "results.json")
    results["tests"]["demo"]["levels"]["fine"]["map"] = 0.1234
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    assert "0.123 |" in model_card(folder)
    del results["silence"]
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    with pytest.raises(ModelError, match=f"'{folder}' does not hold what .*'silence'"):
        model_card(folder)
    (folder / "results.json").unlink()
    with pytest.raises(ModelError, match=r"holds no 'manifest.json' and 'results.json'"):
        model_card(folder)


def test_a_model_that_is_calibrated_keeps_its_thresholds(published, clips, tmp_path):
    folder, results = published
    again = publish(
        hk.load_model(folder),
        tmp_path / "again",
        about=ABOUT,
        validation=clips,
        tests={"demo": clips},
        formats=["keras"],
    )
    before, after = (read(place / "manifest.json") for place in (folder, tmp_path / "again"))
    assert after["thresholds"] == before["thresholds"]
    assert again["tests"]["demo"]["levels"] == results["tests"]["demo"]["levels"]
    assert again["tests"]["demo"]["examples"] == []


@pytest.mark.slow
def test_a_stand_in_that_heard_less_decides_the_calibration(tiny):
    clips = demo_clips("test").subset(range(12))
    other = type(tiny.model).from_config(tiny.model.get_config())
    other.set_weights([weight * 0.7 for weight in tiny.model.get_weights()])
    theirs, lent = calibrate(other, clips), calibrate(tiny.model, clips, stand_in=other)
    assert lent.manifest["calibration"] == theirs.manifest["calibration"]
    # The model itself is what must keep quiet, and what answers.
    for found, weight in zip(lent.get_weights(), tiny.model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)
    with pytest.raises(ModelError, match="is calibrated already"):
        calibrate(tiny.model, clips, stand_in=theirs)


def test_what_cannot_be_published_is_refused(tiny, clips, tmp_path):
    options = {"about": ABOUT, "validation": clips, "tests": {"demo": clips}}
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(HmicError, match=f"'{tmp_path}' is no folder of a model"):
        publish(tiny.model, tmp_path, **options)
    with pytest.raises(LabelError, match=r"does not describe \['other'\]"):
        publish(tiny.model, tmp_path / "x", **{**options, "tests": {"other": clips}})
    other = hk.Taxonomy.from_dict({"strings": ["violin"]})
    labelled = hk.data.LabelledClips(other, clips.paths, {"fine": np.ones((24, 1))})
    with pytest.raises(LabelError, match="read the clips with the model's taxonomy"):
        calibrate(tiny.model, labelled)
    with pytest.raises(LabelError, match="There are no clips"):
        calibrate(tiny.model, clips.subset([]))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "cards").glob("*.yaml")))
def test_the_texts_of_the_cards_are_whole(path):
    about = About.load(path)
    assert "timgm6mb" in about.tests


def test_texts_that_are_not_whole_are_refused(tmp_path):
    path = tmp_path / "card.yaml"
    values = {**dataclasses.asdict(ABOUT), "data": ["a"], "limits": ["b"]}
    path.write_text(json.dumps(values), encoding="utf-8")
    assert About.load(path).limits == ["b"]
    path.write_text(json.dumps({**values, "extra": 1}), encoding="utf-8")
    with pytest.raises(HmicError, match=r"must hold \['data'.*Received: .*'extra'"):
        About.load(path)
    with pytest.raises(HmicError, match=r"nowhere.yaml: cannot be read"):
        About.load(tmp_path / "nowhere.yaml")
    for name, value, rule in (
        ("licence", "", "a text"),
        ("data", "one text", "a list of texts"),
        ("limits", [3], "a list of texts"),
        ("tests", ["demo"], "texts by the name of a test set"),
    ):
        with pytest.raises(HmicError, match=f"`{name}` of a model must be {rule}"):
            dataclasses.replace(ABOUT, **{name: value})
