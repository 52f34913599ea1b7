"""Exports a model of the zoo again from its `.keras` file, which stays as it is.

For when what an exported file holds, or how it is quantised, has changed and the model has not:
`build_zoo.py` needs the training, validation and test sets, this needs nothing. Files are
compared with Keras on the training clips of the demo corpus, and weights are rounded for them.

    python benchmarks/export_zoo.py hmic-mobile --tolerance 0.008
    python benchmarks/export_zoo.py hmic-base hmic-demo
    python benchmarks/export_zoo.py hmic-gm --only dynamic_int8

Figures of `results.json` are of the float model and stay; the model card is written anew, with
the words of `benchmarks/cards`. `--only` leaves the files of other formats as they are;
`--words` leaves all files of the model and renews the card and the words in `manifest.json`.
"""

import argparse
import dataclasses
import os
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hmic_keras as hk
from hmic_keras._files import atomic_path, read_json, sha256, size_of, write_json, write_text
from hmic_keras.export import export_model
from hmic_keras.model_card import CARD, RESULTS, model_card
from hmic_keras.publishing import About
from hmic_keras.zoo import ALIASES, FILES, MANIFEST

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "benchmarks" / "cards"


def export(name, tolerance, only):
    folder = ROOT / "saved_models" / name
    before = read_json(folder / MANIFEST)
    formats = [ALIASES.get(kind, kind) for kind in before["files"]]
    if unknown := set(only or ()) - set(formats):
        raise SystemExit(f"{name} has no {sorted(unknown)}; it has {formats}.")
    model = hk.load_model(folder)
    model.update_manifest(**words(name, model.manifest))
    with atomic_path(folder) as fresh:
        export_model(
            model,
            fresh,
            formats=[kind for kind in formats if not only or kind in only],
            waveforms=hk.data.demo_clips("train"),
            tolerance=tolerance and {"dynamic_int8": tolerance},
        )
        if only:
            keep_others(folder, before, fresh, only)
        keep_keras(folder, fresh)
        if (folder / RESULTS).is_file():
            shutil.copy(folder / RESULTS, fresh)
            write_text(fresh / CARD, model_card(fresh, name=name))


def words(name, manifest):
    """Returns the entries of a manifest that hold words, as `benchmarks/cards` has them now."""
    about = CARDS / f"{name}.yaml"
    if not about.is_file():
        return {}
    said = dataclasses.asdict(About.load(about))
    tests = {test: said["tests"][test] for test in manifest["zoo"]["tests"]}
    told = {"data": said["data"], "validation": said["validation"]}
    return {
        "zoo": {**manifest["zoo"], **said, "tests": tests},
        "provenance": {**manifest["provenance"], **told},
    }


def reword(name):
    """Renews the words of a model's card and of its `manifest.json`."""
    folder = ROOT / "saved_models" / name
    manifest = read_json(folder / MANIFEST)
    write_json(folder / MANIFEST, {**manifest, **words(name, manifest)})
    write_text(folder / CARD, model_card(folder, name=name))


def keep_others(folder, before, fresh, only):
    """Puts the files of other formats back, and what the manifest said of them."""
    after = read_json(fresh / MANIFEST)
    new = {before["files"][kind] for kind in only}
    for path in folder.iterdir():
        if path.name in {*before["files"].values()} - new:
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, fresh / path.name)
    for entry in ("parity", "exports"):
        merged = {kind: after[entry].get(kind) for kind in only if kind in after[entry]}
        after[entry] = {**before[entry], **merged}
    after["files"] = before["files"]
    after["sha256"] = {**before["sha256"], **{name: after["sha256"][name] for name in new}}
    write_json(fresh / MANIFEST, after)


def keep_keras(folder, fresh):
    """Puts the file that is the source back, byte for byte."""
    path = fresh / FILES["keras"]
    shutil.copy(folder / path.name, path)
    manifest = read_json(fresh / MANIFEST)
    manifest["sha256"][path.name] = sha256(path)
    manifest["exports"]["keras"]["size_bytes"] = size_of(path)
    write_json(fresh / MANIFEST, manifest)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--tolerance", type=float, help="of dynamic_int8")
    parser.add_argument("--only", nargs="+", metavar="FORMAT", help="formats to write anew")
    parser.add_argument("--words", action="store_true", help="leave the model's files alone")
    chosen = parser.parse_args()
    for name in chosen.names:
        if chosen.words:
            reword(name)
        else:
            export(name, chosen.tolerance, chosen.only)
        print(name, "is written.")


if __name__ == "__main__":
    main()
