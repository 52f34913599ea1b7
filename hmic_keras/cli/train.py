"""`hmic train`."""

from pathlib import Path
from typing import Annotated

import typer

from . import _terminal


def train(
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for the model, manifest and history.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="Label table (CSV); the demo corpus by default.")
    ] = None,
    taxonomy: Annotated[
        str, typer.Option(help="Packaged name or YAML file of the classes.")
    ] = "openmic",
    method: Annotated[str, typer.Option(help="gmp, f2ca or multitask.")] = "f2ca",
    backbone: Annotated[str, typer.Option(help="Feature extractor.")] = "conv",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the clips.")] = 30,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in a batch.")] = 32,
    crop_seconds: Annotated[
        float, typer.Option(help="Length of a training crop, in seconds.")
    ] = 4.0,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    weight_decay: Annotated[float, typer.Option(help="Decoupled weight decay.")] = 1e-2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and crops.")] = 0,
) -> None:
    """Train a model on labelled audio files.

    The table has a column `path` and a column for each class: 1 present, 0 absent, empty
    unobserved.

    Example: `hmic train --data labels.csv --out model --method f2ca`
    """
    with _terminal.quiet(), _terminal.progress() as progress:
        import keras

        from .. import training
        from ..config import TrainConfig
        from ..data.sources.folder import read_clips
        from ..export.bundle import check_folder, export_model
        from ..taxonomy import Taxonomy
        from ._corpora import demo_clips

        check_folder(out)
        config = TrainConfig(
            epochs=epochs,
            batch_size=batch_size,
            crop_seconds=crop_seconds,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            seed=seed,
        )
        if data is None:
            clips, provenance = demo_clips("train", taxonomy)
        else:
            clips = read_clips(data, Taxonomy.load(taxonomy))
            provenance = {"table": data.name}
        report = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: progress("train", epoch + 1, epochs)
        )
        progress("train", 0, epochs)
        result = training.train(
            clips,
            backbone=backbone,
            method=method,
            config=config,
            callbacks=[report],
            provenance=provenance,
        )
        export_model(result.model, out, formats=("keras",))
        result.write_history(out / "history.csv")
    final = {name: values[-1] for name, values in result.history.items()}
    for name in sorted(final):
        _terminal.say(f"{name:<24}{final[name]:.4f}")
    _terminal.say(f"The model is in {out}")
