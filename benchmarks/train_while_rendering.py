r"""Trains deeper networks for the zoo, while the music they learn from is being rendered.

A GPU mixes stems faster than processors render them. Here both happen at once: every mixture is
of the stems that there are by then. Else it is as in `side_by_side.py`: the same mixtures for
all networks, the learning rate by the clock, one optimizer. The networks are `conv` with
bottlenecks, of about as many weights as those of `hmic-mobile` and `hmic-base`; one learns half
from labels and half from what the large one answers at that moment.

No model of the zoo was made so: this is for whoever has a GPU for a quarter of an hour.

`render` renders `CORPORA` in turn. It needs FluidSynth and the SoundFonts.

    python benchmarks/train_while_rendering.py render --corpora DIR --processes 14

`train`, started meanwhile, waits for the first of them and takes in each of the others once it
is whole. It needs room for them on the device: 320 kB a stem, twice that for a moment.

    KERAS_BACKEND=jax python benchmarks/train_while_rendering.py train --corpora DIR \
        --out DIR --seconds 700
"""

import argparse
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from side_by_side import Student, teach  # noqa: E402

RECIPE = "hmic-mobile"  # whose taxonomy, and settings of the mixer, all share
DEEP = {"blocks": 2, "squeeze": 2}
SMALL: dict[str, Any] = {"backbone_options": {"width": 24, **DEEP}}
STUDENTS = {
    "mobile": Student("from labels alone", "hmic-mobile", model=SMALL, seed=1),
    "taught": Student(
        "half from what the larger one answers",
        "hmic-mobile",
        model=SMALL,
        augmented_as="hmic-base",
        taught_by="base",
        seed=2,
    ),
    "base": Student(
        "twice as wide",
        "hmic-base",
        model={"backbone_options": {"width": 48, **DEEP}},
        seed=4,
    ),
}

FLUID, MUSE = "FluidR3_GM.sf2", "MuseScore_General_Lite.sf3"
# SoundFont, clips, and share of the parts that a model plays. The first is small, so that
# training begins soon.
_ROUND = ((FLUID, 0.45), (FLUID, 0.1), (MUSE, 0.35), (FLUID, 0.45), (MUSE, 0.8), (FLUID, 0.1))
_PLAN = ((MUSE, 0.35, 700), (MUSE, 0.35, 1500), *((*one, 1200) for one in _ROUND * 2))
CORPORA = [
    {"soundfont": font, "modelled": share, "clips": clips, "seed": 20 + number, "empty": 0.06}
    for number, (font, share, clips) in enumerate(_PLAN)
]


def render(args: argparse.Namespace) -> None:
    from hmic_keras import Taxonomy
    from hmic_keras.data import render_corpus
    from hmic_keras.recipe import Recipe

    taxonomy = Taxonomy.load(Recipe.load(RECIPE).taxonomy)
    for number, settings in enumerate(CORPORA):
        folder = args.corpora / f"{number:02d}"
        if folder.exists() or (args.only and number not in args.only):
            continue
        begun = time.time()
        render_corpus(taxonomy, folder, **settings, stems=True, processes=args.processes)
        print(f"{folder}: {time.time() - begun:.0f} s", flush=True)


def train(args: argparse.Namespace) -> None:
    import keras

    from hmic_keras import Taxonomy
    from hmic_keras.data.stems import read_stems
    from hmic_keras.errors import HmicError
    from hmic_keras.recipe import Recipe

    begun = time.time()
    taxonomy = Taxonomy.load(Recipe.load(RECIPE).taxonomy)
    seen = set(_whole(args.corpora, (), wait=True))
    arrived: queue.Queue[Any] = queue.Queue(1)

    def until() -> float:
        # A file may put the end off, or bring it forward.
        if args.deadline is not None and args.deadline.is_file():
            return float(args.deadline.read_text())
        return begun + args.seconds

    def read() -> None:
        try:
            while True:
                for folder in _whole(args.corpora, seen):
                    seen.add(folder)
                    arrived.put((folder, read_stems([folder], taxonomy)))
                time.sleep(0.5)
        except (HmicError, OSError) as error:  # for the training to stop with
            arrived.put((None, error))

    class Arrivals(keras.callbacks.Callback):
        """Takes in what was rendered meanwhile."""

        def __init__(self, mixer: Any) -> None:
            super().__init__()
            self.mixer = mixer

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 0:
                threading.Thread(target=read, daemon=True).start()
            while not arrived.empty():
                folder, bank = arrived.get()
                if folder is None:
                    raise bank
                self.mixer.extend(bank)
                print(f"epoch {epoch}: {len(self.mixer)} stems with {folder}", flush=True)

    teach(
        STUDENTS,
        sorted(seen),
        args.out,
        until,
        capacity=args.capacity,
        callbacks=lambda mixer: [Arrivals(mixer)],
    )


def _whole(folder: Path, known: Any, *, wait: bool = False) -> Sequence[Path]:
    """Returns the corpora that are whole and not known yet."""
    while True:
        found = sorted(one.parent for one in folder.glob("*/manifest.json"))
        if new := [one for one in found if one not in known]:
            return new
        if not wait:
            return []
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("render", "train"))
    parser.add_argument("--corpora", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--processes", type=int, help="of rendering")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of corpora to render")
    parser.add_argument("--out", type=Path, help="folder of the models")
    parser.add_argument("--seconds", type=float, default=700.0, help="of training, all in all")
    parser.add_argument("--deadline", type=Path, help="file that holds another end, Unix time")
    parser.add_argument("--capacity", type=int, default=72_000, help="of stems on the device")
    args = parser.parse_args()
    {"render": render, "train": train}[args.part](args)


if __name__ == "__main__":
    main()
