"""Mixtures of a recipe's stems, for scripts that teach a trained network something more."""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def add_options(parser: argparse.ArgumentParser, recipe: str) -> None:
    """Adds the network, where its stems lie and where the result goes."""
    parser.add_argument("network", help="trained network, such as network/model.keras")
    parser.add_argument(
        "--corpora", nargs="+", required=True, help="rendered corpora with stems"
    )
    parser.add_argument("--out", type=Path, required=True, help="the new model.keras")
    parser.add_argument(
        "--recipe", default=recipe, help="whose settings are used (default: %(default)s)"
    )


def draw(
    bank: Any, training: Any, *, seed: int, count: int, batch: int
) -> Iterator[np.ndarray]:
    """Yields batches of mixtures `(batch, samples)`, augmented as in training.

    Args:
        bank: The stems.
        training: The `TrainConfig` that says how they are mixed and augmented.
        seed: Seed of the draws; that of the training would repeat what was heard there.
        count: How many mixtures to draw, a multiple of `batch`.
        batch: Mixtures of a batch.
    """
    import tensorflow as tf

    from hmic_keras.training._fit_stems import augmentation
    from hmic_keras.training._stem_mixer import StemMixer

    settings = dataclasses.replace(training, batch_size=batch, seed=seed)
    mixer = StemMixer.from_settings(bank, settings)
    mixer.build()
    change = augmentation(settings, bank.sample_rate)

    @tf.function
    def one() -> Any:
        return change((mixer(None)[0], {}), training=True)[0]

    for _ in range(count // batch):
        yield one().numpy()
