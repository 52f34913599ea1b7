"""From a recipe to a model's folder."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from .._files import read_json, write_json
from ..config import AudioConfig
from ..data import open_clips, render_corpus
from ..data.sources import demo
from ..data.sources.folder import LabelledClips, read_clips
from ..data.stems import read_stems
from ..data.synthesis import find_soundfont
from ..errors import HmicError, ModelError
from ..export.bundle import check_folder, export_model
from ..recipe import Recipe
from ..taxonomy import Taxonomy
from ..zoo import FILES
from ._fit import TrainingResult, build, train
from ._run import HISTORY, Run, remove

_LOG = logging.getLogger("hmic_keras")


def run_recipe(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
) -> TrainingResult:
    """Trains what a recipe describes and writes the folder of the model.

    The folder holds `model.keras`, `manifest.json`, `history.csv` and `run/`, with the recipe
    that repeats the run and its TensorBoard logs; what the recipe rendered stays in
    `run/corpora`. Until the run is finished it holds the last
    two and a checkpoint, from which `resume=True` goes on.

    Args:
        recipe: What to train, on what and how.
        out: The folder. An existing one must be empty, or hold an earlier export or run.
        resume: Whether to go on with the unfinished run in `out`; `Recipe.load(out)` is the
            recipe it was started with.
        callbacks: Keras callbacks.

    Returns:
        The trained model, its history and the time taken.

    Raises:
        HmicError: As `train` and `export_model` do.
    """
    run = Run(out)
    if resume and not run.unfinished:
        raise ModelError(f"'{out}' holds no unfinished run that could be resumed.")
    check_folder(out)
    if not resume:
        run.refuse_unfinished()
    taxonomy = Taxonomy.load(recipe.taxonomy)
    if recipe.render:
        # Rendering takes long; a mistake in the settings of the model shows before.
        build(taxonomy, recipe.model, recipe.training.seed)
    clips, provenance = _clips(recipe, taxonomy, run)
    validation = None if recipe.validation is None else open_clips(recipe.validation, taxonomy)
    # Written once the data proved usable, so that a mistake leaves nothing behind.
    record = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: recipe.save(run.folder / "recipe.yaml")
    )
    result = train(
        clips,
        config=recipe.training,
        validation=validation,
        run=out,
        resume=resume,
        callbacks=[record, *callbacks],
        provenance=provenance,
        **vars(recipe.model),
    )
    _export(result, run)
    run.finish()
    return result


def can_resume(out: str | os.PathLike[str]) -> bool:
    """Tells whether `out` holds a stopped run with at least one whole epoch."""
    return Run(out).resumable


def _export(result: TrainingResult, run: Run) -> None:
    """Puts the model into the folder file by file: the run in it must never be out of place."""
    staging = run.folder / ".export"
    export_model(result.model, staging, formats=("keras",))
    for old in {*FILES.values()} - {path.name for path in staging.iterdir()}:
        remove(run.out / old)
    for path in sorted(staging.iterdir(), reverse=True):  # the manifest vouches for the model
        os.replace(path, run.out / path.name)
    staging.rmdir()
    result.write_history(run.out / HISTORY)


def _clips(recipe: Recipe, taxonomy: Taxonomy, run: Run) -> tuple[Any, dict[str, Any]]:
    if recipe.training.stems:
        return _stems(recipe, taxonomy, run)
    if recipe.render:
        return _rendered_clips(recipe, taxonomy, run)
    if recipe.data is None:
        return demo.demo_clips("train", taxonomy), dict(demo.PROVENANCE)
    return open_clips(recipe.data, taxonomy), {"table": Path(recipe.data).name}


def _stems(recipe: Recipe, taxonomy: Taxonomy, run: Run) -> tuple[Any, dict[str, Any]]:
    folders = [] if recipe.data is None else [Path(recipe.data)]
    folders += _render(recipe, taxonomy, run)
    rate = (recipe.model.audio or AudioConfig()).sample_rate
    return read_stems(folders, taxonomy, rate), {"corpora": _sources(folders)}


def _rendered_clips(
    recipe: Recipe, taxonomy: Taxonomy, run: Run
) -> tuple[LabelledClips, dict[str, Any]]:
    parts, provenance = [], {}
    if recipe.data is not None:
        given = open_clips(recipe.data, taxonomy)
        if not isinstance(given, LabelledClips):
            raise HmicError(
                "`data` of a recipe that renders clips must be a table of labels, since "
                f"prepared records cannot be joined with them. Received: '{recipe.data}'"
            )
        parts.append(given)
        provenance["table"] = Path(recipe.data).name
    folders = _render(recipe, taxonomy, run)
    parts += [read_clips(folder / "labels.csv", taxonomy) for folder in folders]
    return LabelledClips.joined(parts), {**provenance, "corpora": _sources(folders)}


def _render(recipe: Recipe, taxonomy: Taxonomy, run: Run) -> list[Path]:
    """Renders what the recipe asks for, unless it is there from before."""
    folders = []
    for number, settings in enumerate(recipe.render):
        folder = run.folder / "corpora" / f"{number:02d}"
        options = {"stems": bool(recipe.training.stems), **settings}
        note = folder.with_suffix(".json")
        if folder.exists():
            if note.is_file() and read_json(note) != options:
                raise HmicError(
                    f"'{folder}' was rendered with other settings than `render` of the recipe "
                    "has now. Remove it, or choose another `out`."
                )
        else:
            soundfont = find_soundfont(options["soundfont"])
            _LOG.info("rendering %d clips with %s", options["clips"], soundfont.name)
            try:
                render_corpus(taxonomy, folder, **{**options, "soundfont": soundfont})
            except TypeError as error:
                raise HmicError(f"`render` of the recipe: {error}") from error
            # Last, so that a mistake leaves nothing behind.
            write_json(note, options)
        folders.append(folder)
    return folders


def _sources(folders: Sequence[Path]) -> list[dict[str, Any]]:
    entries = ("soundfont", "clips", "settings", "versions")
    manifests = [read_json(folder / "manifest.json") for folder in folders]
    return [{name: manifest.get(name) for name in entries} for manifest in manifests]
