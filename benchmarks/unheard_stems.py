"""How much of the gap to other sound is a matter of too few stems?

Models of the zoo on mixtures of stems that their networks heard in training, of as many that
they did not (rendered by the same recipe, with other seeds), and of stems of a SoundFont that
they never heard. What is lost from the first to the second more stems could win back; what is
lost from there to the third they could not. Mixtures are drawn as in training, without
augmentation; classes that one of the SoundFonts lacks are left out. Needs FluidSynth and the
SoundFonts.

    python benchmarks/unheard_stems.py --out DIR [--models NAME...]

Writes `benchmarks/results/unheard_stems.json` and a table of `docs/model-zoo.md`.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
RESULTS = ROOT / "benchmarks" / "results" / "unheard_stems.json"
DOCUMENT, MARK = ROOT / "docs" / "model-zoo.md", "unheard stems"

RECIPE = "hmic-mobile"  # whose corpora both networks heard
OTHER = "TimGM6mb.sf2"
CLIPS = 300  # of each corpus; the first of those that were heard
OTHER_SEED = 1000
BATCH, BATCHES = 64, 48


def corpora(recipe: Any) -> dict[str, dict[str, Any]]:
    """Returns the arguments of `render_corpus` of every corpus."""
    found = {}
    for number, settings in enumerate(recipe.render):
        changed = {**settings, "clips": min(CLIPS, settings["clips"]), "stems": True}
        found[f"heard-{number}"] = changed
        found[f"unheard-{number}"] = {**changed, "seed": settings["seed"] + OTHER_SEED}
    found["other"] = {**found["unheard-0"], "soundfont": OTHER, "modelled": 0.0}
    return found


def mixtures(folder: Path, taxonomy: Any, training: Any) -> tuple[Any, Any]:
    """Returns waveforms `(mixtures, samples)` and labels of the finest level."""
    import numpy as np
    import tensorflow as tf

    from hmic_keras.data.stems import read_stems
    from hmic_keras.training._stem_mixer import StemMixer

    settings = dataclasses.replace(
        training,
        batch_size=BATCH,
        seed=OTHER_SEED,
        stems={**training.stems, "empty": 0.0},
    )
    mixer = StemMixer.from_settings(read_stems([folder], taxonomy), settings)
    mixer.build()
    draw = tf.function(lambda: mixer(None))
    drawn = [[part.numpy() for part in draw()] for _ in range(BATCHES)]
    return tuple(np.concatenate(part) for part in zip(*drawn, strict=True))


def main() -> None:
    import documents
    import evaluate_zoo

    import hmic_keras as hk
    from hmic_keras import metrics
    from hmic_keras._files import write_json
    from hmic_keras._versions import versions
    from hmic_keras.data import render_corpus
    from hmic_keras.recipe import Recipe

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--models", nargs="+", default=["hmic-base", "hmic-mobile"])
    args = parser.parse_args()
    recipe = Recipe.load(RECIPE)
    taxonomy = hk.Taxonomy.load(recipe.taxonomy)
    models = {name: hk.load_model(ROOT / "saved_models" / name) for name in args.models}
    found: dict[str, dict[str, Any]] = {name: {} for name in models}
    for kind, settings in corpora(recipe).items():
        folder = args.out / kind
        if not folder.exists():
            render_corpus(taxonomy, folder, **settings)
        sound, labels = mixtures(folder, taxonomy, recipe.training)
        known = taxonomy.close_labels({taxonomy.levels[0]: labels})
        for name, model in models.items():
            scores = model.predict(sound, batch_size=BATCH, verbose=0)
            report = {kind: metrics.evaluate(taxonomy, known, scores)}
            levels = evaluate_zoo.precisions(report)[kind]
            found[name][kind] = {level: one["ap"] for level, one in levels.items()}
            print(name, kind, evaluate_zoo.maps(levels), flush=True)
    report = {
        "mixtures": BATCH * BATCHES,
        "corpora": corpora(recipe),
        "models": {name: means(kinds) for name, kinds in found.items()},
        "versions": versions(),
    }
    write_json(RESULTS, report)
    documents.put(DOCUMENT, MARK, table(report["models"]))
    print(table(report["models"]))


def means(kinds: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Returns the mAP of each corpus and level, over the classes that are in all of them."""
    import numpy as np

    found: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    for level in next(iter(kinds.values())):
        tables = [one[level] for one in kinds.values()]
        shared = [
            tag for tag in tables[0] if all(np.isfinite(one[tag] or np.nan) for one in tables)
        ]
        for kind, one in kinds.items():
            found[kind][level] = round(float(np.mean([one[level][tag] for tag in shared])), 4)
    return found


def table(models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Returns the means as Markdown."""
    import documents

    kinds = {
        "FluidR3, heard": "heard-0",
        "FluidR3, unheard": "unheard-0",
        "FluidR3 and modelled (45 %), heard": "heard-1",
        "FluidR3 and modelled (45 %), unheard": "unheard-1",
        "MuseScore and modelled (35 %), heard": "heard-2",
        "MuseScore and modelled (35 %), unheard": "unheard-2",
        "TimGM6mb, never heard": "other",
    }
    rows = [["mAP, fine / coarse", *(f"`{name}`" for name in models)]]
    for title, kind in kinds.items():
        cells = [" / ".join(f"{x:.3f}" for x in one[kind].values()) for one in models.values()]
        rows.append([title, *cells])
    return documents.table(rows)


if __name__ == "__main__":
    main()
