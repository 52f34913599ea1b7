"""The web page of `examples/web`: its functions in Node, and the page itself in a browser.

The browser tests need Node 18 or later, Chromium and the packages of `examples/web` (`npm ci`
there); they are skipped with the reason where one is missing, and fail instead if
HMIC_REQUIRE_WEB is 1.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import audio_files
import numpy as np
import pytest
import soxr

import hmic_keras as hk
from hmic_keras.data.audio import frame, load_audio, read_header

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "examples" / "web"
CLIP = ROOT / "hmic_keras" / "data" / "demo" / "test" / "clips" / "00000.ogg"
DEMO = ROOT / "saved_models" / "hmic-demo"
SHIPPED = ("float32", "dynamic_int8")
# What the page promises: the difference to `Predictor` of any probability.
TOLERANCE = 0.01

pytestmark = pytest.mark.xdist_group("web")


def need(found, reason):
    if not found:
        if os.environ.get("HMIC_REQUIRE_WEB") == "1":
            pytest.fail(f"HMIC_REQUIRE_WEB=1, but {reason}")
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def node():
    return need(shutil.which("node"), "there is no Node.js")


@pytest.fixture
def javascript(node, tmp_path):
    """Runs a module that imports from the page's sources; returns what it prints as JSON."""

    def run(source, data=None):
        text = source.replace("@/", f"{(WEB / 'src').as_uri()}/")
        (tmp_path / "script.mjs").write_text(
            'import { readFileSync } from "node:fs";\n'
            'const data = JSON.parse(readFileSync(0, "utf8"));\n' + text,
            "utf-8",
        )
        done = subprocess.run(
            [node, tmp_path / "script.mjs"],
            input=json.dumps(data),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_windows_are_cut_as_predictor_cuts_them(javascript):
    rng = np.random.default_rng(0)
    cases = [(1, 1, 1), (5, 3, 3), (2, 5, 5), (9, 3, 3), (10, 4, 1)]
    for _ in range(40):
        samples, window = (int(n) for n in rng.integers(1, 60, 2))
        cases.append((samples, window, int(rng.integers(1, window + 1))))
    found = javascript(
        """import { frameStarts, windowAt } from "@/windows.js";
        console.log(JSON.stringify(data.map(([samples, window, hop]) => {
          const waveform = Float32Array.from({ length: samples }, (_, i) => i);
          return frameStarts(samples, window, hop).map((start) =>
            Array.from(windowAt(waveform, start, window)));
        })));""",
        cases,
    )
    for (samples, window, hop), windows in zip(cases, found, strict=True):
        assert windows == frame(np.arange(samples), window, hop).tolist()


def test_unusable_samples_are_refused_and_loud_ones_clipped(javascript):
    found = javascript(
        """import { finish, toMono } from "@/windows.js";
        const of = (value) => new Float32Array(3200).fill(value);
        const attempt = (samples) => {
          try { return Array.from(finish(samples, 16000).subarray(0, 1)); }
          catch (error) { return error.message; }
        };
        console.log(JSON.stringify({
          mono: toMono([of(0.5), of(-0.25)])[0],
          loud: attempt(of(-1.5)), unscaled: attempt(of(3000)), nan: attempt(of(NaN)),
          short: attempt(new Float32Array(1599)),
        }));"""
    )
    assert found["mono"] == 0.125
    assert found["loud"] == [-1]
    assert "reach 3.00e+3" in found["unscaled"]
    assert "NaN" in found["nan"]
    assert "lasts 0.100 s" in found["short"]


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_resampling_agrees_with_soxr(javascript, rate):
    # A tone far above the new band, which must vanish, and a mixture inside it.
    inside = audio_files.tone(0.5, rate, 1)[:, 0]
    above = 0.3 * np.sin(2 * np.pi * 9500 * np.arange(len(inside)) / rate)
    samples = inside + (above if rate > 20000 else 0)
    found = javascript(
        """import { resample, Resampler } from "@/resampler.js";
        const samples = Float32Array.from(data.samples);
        const blocks = [];
        const resampler = new Resampler(data.rate, 16000);
        for (let at = 0; at < samples.length; at += 700) {
          blocks.push(...resampler.push(samples.subarray(at, at + 700)));
        }
        console.log(JSON.stringify({
          whole: Array.from(resample(samples, data.rate, 16000)), blocks }));""",
        {"samples": samples.tolist(), "rate": rate},
    )
    expected = soxr.resample(samples, rate, 16000, quality="HQ")
    whole = np.array(found["whole"])
    assert whole.shape == expected.shape == (8000,)
    # Where the sound begins and ends at once, the filters' edges ring in their own ways.
    np.testing.assert_allclose(whole[400:-400], expected[400:-400], atol=2e-4)
    # A microphone's blocks give the same, less the end that is yet to come.
    assert len(found["blocks"]) > 7500
    np.testing.assert_array_equal(found["blocks"], whole[: len(found["blocks"])])


def test_the_rate_of_a_file_is_read(javascript, tmp_path):
    cases = {}
    for kind in ("wav", "flac", "ogg", "mp3", "opus"):
        for rate in (16000, 44100, 48000):
            if kind != "opus" or rate != 44100:
                path = tmp_path / f"{kind}_{rate}.{kind}"
                audio_files.write(path, audio_files.tone(0.3, rate), rate)
                # Opus is decoded at 48 kHz, whatever it was made from.
                cases[path] = 48000 if kind == "opus" else read_header(path).sample_rate
    tagged = tmp_path / "tagged.mp3"
    title = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)
    tagged.write_bytes(title + (tmp_path / "mp3_44100.mp3").read_bytes())
    (tmp_path / "text.txt").write_text("Nothing that could be heard, in many words.", "utf-8")
    cases |= {tagged: 44100, tmp_path / "text.txt": None}
    found = javascript(
        """import { statedRate } from "@/rate.js";
        console.log(JSON.stringify(data.map((path) => statedRate(readFileSync(path)))));""",
        [str(path) for path in cases],
    )
    assert found == list(cases.values())


def read_embedded(javascript, paths):
    return javascript(
        """import { embeddedManifest } from "@/manifest.js";
        const found = [];
        for (const path of data) {
          try { found.push(await embeddedManifest(new Uint8Array(readFileSync(path)))); }
          catch (error) { found.push(error.message); }
        }
        console.log(JSON.stringify(found));""",
        [str(path) for path in paths],
    )


def append(path, manifest=None, method=zipfile.ZIP_STORED, line=None):
    """Appends an archive; by default with true checksums."""
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    text = json.dumps({"content_sha256": content, **(manifest or {})})
    digest = hashlib.sha256(text.encode()).hexdigest()
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("labels_fine.txt", "violin\n" * 50)
        archive.writestr("manifest.json", text)
        archive.writestr("manifest.sha256", line or f"{digest}  manifest.json\n")
    return path


@pytest.fixture
def plain(tmp_path):
    """A function that makes what begins as a TensorFlow Lite model does."""

    def make(name):
        path = tmp_path / name
        path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(5000))
        return path

    return make


def test_the_manifest_in_a_model_is_read(javascript, plain):
    manifest = {"input": "waveform", "name": "Bässe"}
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    paths = [append(plain(f"{method}.tflite"), manifest, method) for method in methods]
    bare, *found = read_embedded(javascript, [plain("bare.tflite"), *paths])
    assert bare is None
    for one in found:
        assert one.pop("content_sha256")
        assert one == manifest


def test_a_damaged_or_altered_model_is_refused(javascript, plain, tmp_path):
    altered = append(plain("a.tflite"), {"content_sha256": "0" * 64})
    edited = append(plain("e.tflite"), line=f"{'0' * 64}  manifest.json\n")
    damaged = append(plain("d.tflite"))
    content = bytearray(damaged.read_bytes())
    content[content.rindex(b"PK\x01\x02")] = 0
    damaged.write_bytes(content)
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(b"not a model at all")
    found = read_embedded(javascript, [altered, edited, damaged, foreign])
    assert "model is not the one" in found[0]
    assert "manifest does not have the SHA-256" in found[1]
    assert "damaged" in found[2]
    assert found[3] == "This is no TensorFlow Lite file."


def manifest_of(taxonomy, **more):
    audio = {"sample_rate": 16000}
    return {"taxonomy": taxonomy.to_dict(), "audio": audio, "input": "waveform", **more}


@pytest.mark.parametrize("name", ["openmic", "hornbostel_sachs"])
def test_the_hierarchy_is_that_of_the_taxonomy(javascript, name):
    taxonomy = hk.Taxonomy.load(name)
    found = javascript(
        """import { ModelCard } from "@/manifest.js";
        const card = new ModelCard(data);
        const axes = Object.fromEntries(card.levels.slice(1).map((level) => {
          const { rows, columns } = card.attentionAxes(level);
          return [level, { columns: columns.map((c) => c.name),
            rows: rows.map((r) => [r.name, [...r.members]]) }];
        }));
        console.log(JSON.stringify({ trees: card.trees(), axes }));""",
        manifest_of(taxonomy),
    )
    links, seen = set(), set()

    def walk(node, parents):
        key = (node["level"], node["name"])
        seen.add(key)
        links.update((key, parent) for parent in parents)
        for child in node["children"]:
            walk(child, [key])

    for tree in found["trees"]:
        walk(tree, [])
    expected = {
        ((low, child), parent)
        for low in taxonomy.levels
        for child in taxonomy.classes(low)
        for parent in taxonomy.parents(child, low)
    }
    assert links == expected
    assert seen == {(level, c) for level in taxonomy.levels for c in taxonomy.classes(level)}
    for level in taxonomy.levels[1:]:
        rows, columns = hk.explain.map_classes(taxonomy, level)
        axes = found["axes"][level]
        assert tuple(axes["columns"]) == columns
        assert tuple(row for row, _ in axes["rows"]) == rows
        members = {(columns[i], row) for row, found in axes["rows"] for i in found}
        assert members == {(c, p) for (_, c), (at, p) in expected if at == level}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taxonomy": None}, "lacks the taxonomy"),
        ({"audio": {}}, "the sample rate"),
        ({"input": "log_mel"}, "input='log_mel'"),
        ({"window_seconds": 0}, "'window_seconds' must be 0.1 to 3600"),
        ({"thresholds": {"fine": [0.5]}}, "'thresholds' must hold"),
        ({"thresholds": {"fine": [2.0] * 20}}, "'thresholds' must hold"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(javascript, openmic, change, message):
    found = javascript(
        """import { ModelCard } from "@/manifest.js";
        try { new ModelCard(data); console.log('""'); }
        catch (error) { console.log(JSON.stringify(error.message)); }""",
        {**manifest_of(openmic), **change},
    )
    assert message in found


# The page itself ------------------------------------------------------------------------------


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def packages(node):
    folder = WEB / "node_modules"
    need(folder.is_dir(), f"the page's packages are missing: npm ci in {WEB}")
    return folder


@pytest.fixture(scope="session")
def browser():
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return need(found, "there is no Chromium")


def build(node, folder, model):
    done = subprocess.run(
        [node, WEB / "build.mjs", "--model", model, "--out", folder],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def sounds(tmp_path_factory):
    """Files to open, by what they are called here."""
    folder = tmp_path_factory.mktemp("sounds")
    waveform = np.concatenate(
        [load_audio(CLIP.with_name(f"{i:05d}.ogg")) for i in (0, 3, 5, 9)]
    )[: round(10.4 * 16000)]
    stereo = np.stack([waveform, 0.4 * waveform], axis=1)
    loud = soxr.resample(stereo, 16000, 44100, quality="VHQ")
    audio_files.write(folder / "stereo.flac", loud, 44100)
    audio_files.write(folder / "short.wav", audio_files.tone(0.7, 48000), 48000)
    singing = soxr.resample(load_audio(CLIP.with_name("00030.ogg")), 16000, 48000)
    audio_files.write(folder / "singing.wav", singing, 48000)
    audio_files.write(folder / "tiny.wav", audio_files.tone(0.05, 16000), 16000)
    (folder / "words.mp3").write_text("Not a sound.", "utf-8")
    return folder


@pytest.fixture(scope="session")
def attentive(tmp_path_factory):
    """The demo model, quantised, as a file that also answers its attention maps."""
    need(find_spec("ai_edge_quantizer"), "ai-edge-quantizer is not installed")
    from hmic_keras.export import export_model

    folder = tmp_path_factory.mktemp("attentive") / "model"
    model = hk.load_model(DEMO / "model.keras")
    export_model(model, folder, formats=("dynamic_int8",), extras=("attention_maps",))
    return folder / "model_dynamic_int8.tflite"


def shipped_files(sounds):
    """The packaged model's files, each opened and then given the clips."""
    opened = {}
    for form in SHIPPED:
        opened[f"{form} file"] = [os.fspath(hk.zoo.resolve() / hk.zoo.FILES[form])]
        opened[f"{form} clip"] = [os.fspath(CLIP)]
        opened[f"{form} stereo"] = [os.fspath(sounds / "stereo.flac")]
    return opened


@pytest.fixture(scope="session")
def visit(node, browser, packages, sounds, attentive, tmp_path_factory):
    """Everything one visit to the page saw; see `web_page.mjs`."""
    folder = tmp_path_factory.mktemp("web")
    bare = folder / "bare.tflite"
    bare.write_bytes((DEMO / "model.tflite").read_bytes().split(b"PK\x03\x04")[0])
    other = json.loads((DEMO / "manifest.json").read_text("utf-8"))
    (folder / "other.json").write_text(json.dumps({**other, "window_seconds": 5.0}), "utf-8")
    site = build(node, folder / "site", DEMO)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=os.fspath(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    specification = {
        "browser": browser,
        "playwright": os.fspath(packages / "playwright-core" / "index.js"),
        "page": f"http://127.0.0.1:{server.server_port}/",
        "files": {
            "clip": [os.fspath(CLIP)],
            "stereo": [os.fspath(sounds / "stereo.flac")],
            "short": [os.fspath(sounds / "short.wav")],
            **shipped_files(sounds),
            "model": [os.fspath(attentive)],
            "explained": [os.fspath(CLIP)],
        },
        "microphone": os.fspath(sounds / "singing.wav"),
        "fullWindow": "in the last 3 s",
        "windowMilliseconds": 4000,
        "refused": {
            "words": [os.fspath(sounds / "words.mp3")],
            "tiny": [os.fspath(sounds / "tiny.wav")],
            "bare": [os.fspath(bare)],
            "other": [os.fspath(bare), os.fspath(folder / "other.json")],
        },
    }
    (folder / "specification.json").write_text(json.dumps(specification), "utf-8")
    done = subprocess.run(
        [node, Path(__file__).with_name("web_page.mjs"), folder / "specification.json"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "page": specification["page"]}


@pytest.fixture(scope="session")
def predictor():
    return hk.Predictor(DEMO / "model.tflite")


def scores(answer, predictor):
    return {
        level: np.array([answer["bars"][level][c]["score"] for c in classes])
        for level, classes in class_order(predictor).items()
    }


def class_order(predictor):
    return {level: predictor.taxonomy.classes(level) for level in predictor.taxonomy.levels}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip", "stereo", "short"])
def test_the_page_answers_as_predictor_does(visit, predictor, sounds, name):
    path = {"stereo": sounds / "stereo.flac", "short": sounds / "short.wav"}.get(name, CLIP)
    expected = predictor.predict(path)
    answer = visit["answers"][name]
    for level, values in scores(answer, predictor).items():
        np.testing.assert_allclose(values, expected.probabilities[level], atol=TOLERANCE)
    windows = len(expected.windows["fine"])
    assert visit["messages"][name] == (
        f"{path.name}: {expected.seconds:.1f} s, {windows} window{'s' if windows > 1 else ''}."
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", SHIPPED)
@pytest.mark.parametrize("sound", ["clip", "stereo"])
def test_the_shipped_files_answer_as_predictor_does(visit, sounds, form, sound):
    assert visit["messages"][f"{form} file"] == f"{hk.zoo.FILES[form]} is in use."
    shipped = hk.Predictor(format=form)
    expected = shipped.predict(sounds / "stereo.flac" if sound == "stereo" else CLIP)
    answer = visit["answers"][f"{form} {sound}"]
    for level, values in scores(answer, shipped).items():
        np.testing.assert_allclose(values, expected.probabilities[level], atol=TOLERANCE)


@pytest.mark.slow
def test_bars_carry_names_thresholds_and_what_is_present(visit, predictor):
    expected = predictor.predict(CLIP)
    answer = visit["answers"]["clip"]
    assert answer["heard"] == [n.replace("_", " ") for n, _ in expected.tags("fine")]
    for level, classes in class_order(predictor).items():
        present = dict(expected.tags(level))
        assert set(answer["bars"][level]) == set(classes)
        for name, threshold in zip(classes, predictor.thresholds[level], strict=True):
            bar = answer["bars"][level][name]
            assert bar["threshold"] == pytest.approx(threshold)
            assert bar["label"] == f"{name.replace('_', ' ')}, {level}"
            assert bar["text"].endswith(" present" if name in present else " absent")


@pytest.mark.slow
def test_a_model_with_attention_is_opened_and_explained(visit, predictor, attentive):
    assert visit["messages"]["model"] == "model_dynamic_int8.tflite is in use."
    assert visit["answers"]["clip"]["maps"] == []
    answer = visit["answers"]["explained"]
    expected = hk.Predictor(attentive).predict(CLIP)
    for level, values in scores(answer, predictor).items():
        np.testing.assert_allclose(values, expected.probabilities[level], atol=TOLERANCE)
    (table,) = answer["maps"]
    model = hk.load_model(DEMO / "model.keras")
    (maps,) = hk.explain.attention_maps(model, load_audio(CLIP)[np.newaxis])
    rows, columns = hk.explain.map_classes(model.taxonomy)
    mask = model.taxonomy.mask("coarse", "fine")
    assert table["rows"] == [name.replace("_", " ") for name in rows]
    assert sorted(table["columns"]) == sorted(name.replace("_", " ") for name in columns)
    for r, cells in enumerate(table["cells"]):
        for name, cell in zip(table["columns"], cells, strict=True):
            column = columns.index(name.replace(" ", "_"))
            # Whole per cents are shown, of a quantised network.
            assert float(cell["text"].split()[0]) == pytest.approx(
                100 * maps[r, column], abs=0.5 + 100 * 0.05
            )
            assert cell["member"] == mask[r, column]


@pytest.mark.slow
def test_the_microphone_is_heard(visit, predictor, sounds):
    heard = visit["microphone"]
    assert heard["live"] is True
    assert heard["level"] > 0.3
    # The browser plays the clip in a loop, and the page may look at it from any point on. It
    # may also lose a few samples on a busy machine, which is why this is a clear case.
    clip = load_audio(sounds / "singing.wav")
    turns = np.stack([np.roll(clip, -start) for start in range(0, len(clip), 1600)])
    expected = predictor.score_windows(turns)
    assert expected["fine"][:, class_order(predictor)["fine"].index("voice")].min() > 0.9
    assert heard["heard"][0] == "voice"
    for level, values in scores(heard, predictor).items():
        low, high = expected[level].min(axis=0), expected[level].max(axis=0)
        assert ((values >= low - 0.05) & (values <= high + 0.05)).all(), values


@pytest.mark.slow
def test_what_cannot_be_used_is_refused_with_the_reason(visit):
    refused = visit["refused"]
    assert "cannot be decoded as audio" in refused["words"]
    assert "at least 0.1 s are needed" in refused["tiny"]
    assert "carries no manifest" in refused["bare"]
    assert "windows of 80000 float32 samples; they do not belong together" in refused["other"]


@pytest.mark.slow
def test_the_page_works_offline_and_asks_nobody_else(visit, predictor):
    assert visit["serverReachable"] is False
    clip, offline = (scores(visit["answers"][n], predictor) for n in ("clip", "offline"))
    for level, values in clip.items():
        np.testing.assert_array_equal(values, offline[level])
    own = (visit["page"], f"blob:{visit['page']}")
    assert len(visit["requests"]) > 10
    assert [url for url in visit["requests"] if not url.startswith(own)] == []
    problems = [p for p in visit["problems"] if p.split(":")[0] in ("error", "pageerror")]
    # The runtime logs on this channel; the last is the question whether the server answers.
    known = ("error: INFO: ", "error: WARNING: [npu_registry", "error: Failed to load resource")
    assert [p for p in problems if not p.startswith(known)] == []
