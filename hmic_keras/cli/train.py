"""`hmic train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import _terminal


def train(
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the model, manifest and history."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Packaged name, YAML file, or folder of an earlier run to repeat."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder of a stopped run to go on with."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Label table or prepared folder; the demo corpus by default."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(help="The same to validate on; by default a share is held out."),
    ] = None,
    taxonomy: Annotated[
        str | None, typer.Option(help="Packaged name or file of the classes; else openmic.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Joint-training method.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Feature extractor.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the clips.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Clips in a batch.")] = None,
    crop_seconds: Annotated[
        float | None, typer.Option(help="Length of a training crop, in seconds.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decoupled weight decay.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of weights, order and crops.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting of a recipe: training.patience=5"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Train a model on labelled audio files.

    The table has a column `path` and a column for each class: 1 present, 0 absent, empty
    unobserved. What is not given comes from the recipe. A run that is stopped, by Ctrl-C or
    otherwise, is resumed with `--resume FOLDER` to the numbers it would have had.

    Example: `hmic train --data labels.csv --out model --method f2ca`
    """
    changes = {
        "data": None if data is None else str(data.resolve()),
        "validation": None if validation is None else str(validation.resolve()),
        "taxonomy": taxonomy,
        "model": {"method": method, "backbone": backbone},
        "training": {
            "epochs": epochs,
            "batch_size": batch_size,
            "crop_seconds": crop_seconds,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "seed": seed,
        },
    }
    with _terminal.quiet(), _terminal.progress() as progress:
        from .. import training
        from ..recipe import Recipe

        if resume is not None:
            folder, chosen = resume, Recipe.load(resume)
            _refuse_changes(out, recipe, changes, settings)
        else:
            folder = _needed(out)
            start = Recipe.load(recipe) if recipe is not None else Recipe()
            chosen = _changed(start, changes, settings or [])
        total = chosen.training.epochs
        progress("train", 0, total)
        report = training.epoch_callback(lambda done: progress("train", done, total))
        try:
            result = training.run_recipe(
                chosen, folder, resume=resume is not None, callbacks=[report]
            )
        except KeyboardInterrupt:
            if not training.can_resume(folder):
                raise
            _terminal.error(f"stopped. Go on with it: hmic train --resume {folder}")
            raise typer.Exit(130) from None
    final = {name: values[result.best_epoch - 1] for name, values in result.history.items()}
    if as_json:
        outcome = {
            "model": str(folder),
            "epochs": len(result.history["loss"]),
            "best_epoch": result.best_epoch,
            "seconds": round(result.seconds, 1),
            **final,
        }
        _terminal.say_json(outcome)
        return
    for name in sorted(final):
        _terminal.say(f"{name:<24}{final[name]:.4f}")
    _terminal.say(f"The model is in {folder}")


def _needed(out: Path | None) -> Path:
    if out is None:
        raise typer.BadParameter("Name a folder with --out, or one to --resume.")
    return out


def _refuse_changes(out: Any, recipe: Any, changes: dict[str, Any], settings: Any) -> None:
    given = [value for part in changes.values() for value in _values(part)]
    if any(value is not None for value in (out, recipe, *given)) or settings:
        raise typer.BadParameter(
            "--resume goes on with a run as it was started; give it alone."
        )


def _values(part: Any) -> list[Any]:
    return list(part.values()) if isinstance(part, dict) else [part]


def _changed(recipe: Any, changes: dict[str, Any], settings: list[str]) -> Any:
    """Returns the recipe with what the command line gave in place of its own."""
    from ..errors import HmicError
    from ..recipe import parse

    values = recipe.to_dict()
    for name, change in changes.items():
        if isinstance(change, dict):
            values[name].update({k: v for k, v in change.items() if v is not None})
        elif change is not None:
            values[name] = change
    for setting in settings:
        key, equals, text = setting.partition("=")
        *parents, name = key.split(".")
        target = values
        for parent in parents:
            target = target.get(parent) if isinstance(target, dict) else None
        try:
            value = parse(text)
        except HmicError:
            target = None
        if not equals or not isinstance(target, dict):
            raise HmicError(
                "`--set` needs NAME=VALUE with a name as in a recipe, such as "
                f"training.patience=5. Received: {setting}"
            )
        target[name] = value
    return type(recipe).from_dict(values)
