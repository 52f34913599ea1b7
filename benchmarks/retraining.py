"""What the scripts share that teach a trained network something more."""

import argparse
import dataclasses
from collections.abc import Iterable, Iterator
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


def mixtures(
    bank: Any, training: Any, *, seed: int, count: int, batch: int
) -> Iterator[np.ndarray]:
    """Yields batches of mixtures of stems, `(batch, samples)`, augmented as in training.

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


def features_of(model: Any, batches: Iterable[Any]) -> list[np.ndarray]:
    """Returns each of a model's outputs for all batches."""
    import keras
    import tensorflow as tf

    compute = tf.function(lambda x: model(x, training=False))
    found = [[np.asarray(one) for one in keras.tree.flatten(compute(b))] for b in batches]
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def by_itself(layer: Any, shape: tuple[int, ...]) -> Any:
    """Returns a model of nothing but a copy of a layer, for inputs of a shape."""
    import keras

    given = keras.Input(shape)
    copy = type(layer).from_config({**layer.get_config(), "name": "copy"})
    model = keras.Model(given, copy(given))
    copy.set_weights(layer.get_weights())
    return model


def rebuilt(network: Any, method: str, method_options: Any, **options: Any) -> Any:
    """Returns a new model with the network's taxonomy, audio settings and backbone.

    Args:
        network: The trained model.
        method: Method of the new one.
        method_options: Its options.
        **options: Others of `build_model`.
    """
    import hmic_keras as hk
    from hmic_keras.config import AudioConfig

    told = network.manifest
    return hk.build_model(
        network.taxonomy,
        told["backbone"]["name"],
        method,
        audio=AudioConfig.from_dict(told["audio"]),
        backbone_options=told["backbone"]["options"],
        method_options=method_options,
        **options,
    )
