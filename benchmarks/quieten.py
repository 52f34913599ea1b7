r"""Teaches a trained network that noise, hum and tones are no instruments, and keeps the rest.

A network that takes mains hum for an organ needs a threshold that few organs reach. Here its
classifiers learn from windows without instruments that nothing plays, and from mixtures of the
recipe's stems what they said before. The features below them stay as they are.

    python benchmarks/quieten.py network/model.keras --corpora network/run/corpora/* \
        --out quiet/model.keras [--recipe hmic-mobile]
"""

import argparse
import os
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MIXTURES, SILENT = 8192, 4096
BATCH = 64
# Seed of the windows without instruments; thresholds and cards use others.
SEED = 7
STEPS, LEARNING_RATE = 1500, 1e-3
SILENT_WEIGHT = 0.5


def main() -> None:
    import retraining

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    retraining.add_options(parser, recipe="hmic-mobile")
    args = parser.parse_args()
    import keras

    from hmic_keras import load_model
    from hmic_keras.data.stems import read_stems
    from hmic_keras.export.precision import as_float32
    from hmic_keras.recipe import Recipe

    model = as_float32(load_model(args.network))
    training = Recipe.load(args.recipe).training
    classifiers = [layer for layer in model.layers if layer.name.endswith("_logits")]
    features = keras.Model(model.input, [layer.input for layer in classifiers])
    bank = read_stems(args.corpora, model.taxonomy)
    window = round(training.crop_seconds * bank.sample_rate)
    drawn = retraining.mixtures(
        bank, training, seed=training.seed + 1, count=MIXTURES, batch=BATCH
    )
    heard = retraining.features_of(features, drawn)
    quiet = retraining.features_of(features, _silence(window, bank.sample_rate))
    for layer, music, nothing in zip(classifiers, heard, quiet, strict=True):
        first, last = _teach(layer, music, nothing)
        print(f"{layer.name}: one of 200 silent windows exceeded {first:.3f}, now {last:.3f}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    model.save(args.out)


def _silence(window: int, rate: int) -> Any:
    from hmic_keras.data.no_music import KINDS, no_music
    from hmic_keras.data.synthesis import draw_silence

    rng = np.random.default_rng(SEED)

    def one(index: int) -> np.ndarray:
        if index % 2:
            return draw_silence(rng, window, rate, 1)[1]
        kind = KINDS[index // 2 % len(KINDS)]
        return no_music(kind, window, rate, rng)

    for start in range(0, SILENT, BATCH):
        yield np.stack([one(index) for index in range(start, start + BATCH)]).astype("float32")


def _teach(layer: Any, music: np.ndarray, nothing: np.ndarray) -> tuple[float, float]:
    """Fits one classifier and returns how high it answers to nothing, before and after.

    That is what one of 200 such windows exceeds.
    """
    import keras
    import retraining

    logits = retraining.by_itself(layer, music.shape[1:])

    def answers(x: np.ndarray) -> np.ndarray:
        return np.asarray(keras.ops.sigmoid(logits.predict(x, batch_size=512, verbose=0)))

    def boldest() -> float:
        return float(np.quantile(answers(nothing).max(axis=1), 0.995))

    first, targets = boldest(), answers(music)
    inputs = np.concatenate([music, nothing])
    wanted = np.concatenate([targets, np.zeros((len(nothing), targets.shape[1]), "float32")])
    weights = np.concatenate([np.ones(len(music)), np.full(len(nothing), SILENT_WEIGHT)])
    keras.utils.set_random_seed(0)
    logits.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, STEPS)),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    epochs = max(1, round(STEPS * 256 / len(inputs)))
    logits.fit(inputs, wanted, sample_weight=weights, batch_size=256, epochs=epochs, verbose=0)
    layer.set_weights(logits.get_weights())
    return first, boldest()


if __name__ == "__main__":
    main()
