r"""Does joint training help, and what when few fine labels are observed?

Rendered polyphonic music with the `openmic` taxonomy, 2,500 clips of 5 s played by one
SoundFont to train on and 600 by another to test on; of the fine labels, 100 %, 30 % or 10 % are
observed. Two parts, each resumable:

`prepare` renders the corpora (needs FluidSynth) and computes frozen embeddings, `features.npz`:
the 200 units before the tags of the published MTT_musicnn, averaged over the clip, and mean
and standard deviation of its 96 log-mel bands.

    pip download --no-deps musicnn==0.1.0
    python benchmarks/label_budgets.py prepare --out DIR --wheel musicnn-0.1.0-*.whl \
        --soundfonts FluidR3_GM.sf2 TimGM6mb.sf2

`run` trains the methods on them, ten seeds for each budget, early stopping on 15 % of the
training clips (their labels as sparse as the rest), and reports the test clips:

    python benchmarks/label_budgets.py run --out DIR --jobs 2 [--seconds S] [--record]

Which labels of a budget are observed is drawn once, for all methods and seeds. The coarse
labels follow from the fine ones that are observed: present if a child is, absent if all are.
"""

import argparse
import json
import os
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = Path(__file__).parent / "results"

CLIPS = {"train": 2500, "test": 600}
RENDERING = {"seconds": 5.0, "polyphony": (1, 6), "polyphony_decay": 0.8}
BUDGETS = (100, 30, 10)
SEEDS = 10
SETTINGS = {"units": (512,), "dropout": 0.5, "learning_rate": 1e-3, "epochs": 150}
JOINT = ("gmp", "f2ca")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("prepare", "run"))
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    parser.add_argument("--wheel", type=Path, help="of musicnn 0.1.0")
    parser.add_argument("--soundfonts", type=Path, nargs=2, help="to train and to test on")
    parser.add_argument("--processes", type=int, help="to render with")
    parser.add_argument("--jobs", type=int, default=1, help="trials side by side")
    parser.add_argument("--seconds", type=float, help="stop after so many, to go on later")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    gpu = shutil.which("nvidia-smi") is not None
    parser.add_argument("--together", type=int, default=10 if gpu else 1)
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/")
    return parser.parse_args()


def prepare(args):
    from hmic_keras import Taxonomy
    from hmic_keras.data import FeatureSet, FeatureSplits, read_clips, render_corpus

    taxonomy = Taxonomy.load("openmic")
    parts = {}
    for number, (part, clips) in enumerate(CLIPS.items()):
        folder = args.out / "corpus" / part
        if not folder.exists():
            render_corpus(
                taxonomy,
                folder,
                clips=clips,
                soundfont=args.soundfonts[number],
                seed=41 + number,
                processes=args.processes,
                **RENDERING,
            )
        found = read_clips(folder / "labels.csv", taxonomy)
        fine = found.labels["fine"].copy()
        # What the SoundFont cannot play is unobserved in the table, and absent in truth: the
        # renderer plays nothing that it does not name.
        fine[fine < 0] = 0
        parts[part] = FeatureSet(taxonomy, embed(found.paths, args.wheel), {"fine": fine})
    FeatureSplits("rendered", **parts).standardise().save(args.out / "features.npz")


def embed(paths, wheel):
    """The embeddings of clips, `(clips, 392)`."""
    import keras
    import numpy as np

    from hmic_keras.backbones import MusicnnTagger
    from hmic_keras.data import load_audio

    tagger = MusicnnTagger.load(wheel).model
    front = tagger.get_layer("log_mel_spectrogram").output
    network = keras.Model(tagger.input, [front, tagger.get_layer("penultimate").output])
    rows = []
    started = time.time()
    for start in range(0, len(paths), 16):
        batch = np.stack([load_audio(path) for path in paths[start : start + 16]])
        log_mel, units = (np.asarray(out) for out in network(batch, training=False))
        rows.append(np.concatenate([units, log_mel.mean(axis=1), log_mel.std(axis=1)], axis=1))
        print(
            f"{start + len(batch)}/{len(paths)} clips, {time.time() - started:.0f} s",
            flush=True,
        )
    return np.concatenate(rows)


def with_budget(splits, percent):
    """The set with that share of the fine labels of training clips observed."""
    import numpy as np

    from hmic_keras.data import FeatureSet, FeatureSplits

    fine = splits.train.labels["fine"].copy()
    hidden = np.random.default_rng(percent).random(fine.shape) >= percent / 100
    fine[hidden] = -1
    train = FeatureSet(splits.taxonomy, splits.train.features, {"fine": fine})
    return FeatureSplits(f"rendered_{percent}", train=train, test=splits.test)
