r"""Gives a trained `multitask` model the attention of `f2ca`, and leaves all else as it is.

Families of `f2ca` with `own_scores` score as the higher of two: a classifier of their own, and
the mixture that attention makes of their instruments. Here network and classifiers are those
that `multitask` trained; attention alone learns, on mixtures of the recipe's stems. It learns
to tell the families without their classifiers: beside them it would only learn to stay silent.
So the model answers as well as before, and can say what a family is made of.

    python benchmarks/add_attention.py network/model.keras --out run/model.keras \
        --corpora network/run/corpora/*

`--recipe` names the recipe that the network was trained by: its stems, augmentation and
settings are used, for `--steps` steps.
"""

import argparse
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# The same classifier's layer in `f2ca` and in `multitask`.
OWN, OTHER = "_own_logits", "_logits"
BUDGET = {
    "batch_size": 64,
    "learning_rate": 5e-3,
    "weight_decay": 0.0,
    "weight_averaging": 0.98,
}
STEPS = 50  # of an epoch


def with_attention(network: Any, *, own_scores: bool) -> Any:
    """Returns an `f2ca` model with the weights of a `multitask` one; attention can learn."""
    import retraining

    options = {"own_scores": own_scores, "detach_children": True}
    model = retraining.rebuilt(network, "f2ca", options, spec_augment={})
    given = {layer.name: layer for layer in network.layers}
    for layer in model.layers:
        if layer.name.endswith("_attention") or not layer.weights:
            continue
        if layer.name != "spec_augment":
            layer.set_weights(given[layer.name.replace(OWN, OTHER)].get_weights())
        layer.trainable = False
    return model


def main() -> None:
    import retraining

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    retraining.add_options(parser, recipe="hmic-mobile")
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    from hmic_keras import load_model
    from hmic_keras.config import TrainConfig
    from hmic_keras.data.stems import read_stems
    from hmic_keras.recipe import Recipe
    from hmic_keras.training import fit

    network = load_model(args.network)
    mixing = with_attention(network, own_scores=False)
    config = Recipe.load(args.recipe).training.to_dict() | BUDGET
    config |= {
        "epochs": max(1, args.steps // STEPS),
        "stems": {**config["stems"], "steps": STEPS},
    }
    bank = read_stems(args.corpora, network.taxonomy)
    result = fit(mixing, bank, TrainConfig.from_dict(config))
    model = with_attention(network, own_scores=True)
    for layer in model.layers:
        if layer.name.endswith("_attention"):
            layer.set_weights(mixing.get_layer(layer.name).get_weights())
    attention = result.model.manifest["training"]
    # How the network came to be is what a reader asks for first.
    kept = ("training", "provenance", "versions")
    told = {name: network.manifest[name] for name in kept if name in network.manifest}
    model.update_manifest(**told)
    model.update_manifest(
        training={**told.get("training", {}), "attention": attention},
        window_seconds=config["crop_seconds"],
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    model.save(args.out)
    first, *_, last = result.history["loss"]
    print(f"{args.out}: loss {first:.4f} to {last:.4f}")


if __name__ == "__main__":
    main()
