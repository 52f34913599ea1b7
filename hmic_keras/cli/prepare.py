"""`hmic prepare`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import _terminal


def prepare(
    data: Annotated[Path, typer.Option(help="Label table (CSV).", dir_okay=False)],
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder to make, to complete or to check.")
    ],
    taxonomy: Annotated[
        str, typer.Option(help="Packaged name or YAML file of the classes.")
    ] = "openmic",
    features: Annotated[
        Literal["waveform", "log_mel"], typer.Option(help="What to store.")
    ] = "waveform",
    sample_rate: Annotated[int, typer.Option(help="Rate to resample to, in Hz.")] = 16000,
    clips_per_shard: Annotated[int, typer.Option(min=1, help="Clips in a file.")] = 128,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a core by default.")
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out bad files and list them in skipped.csv."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Turn labelled audio files into records for fast training.

    Decodes and resamples once, in several processes; `hmic train --data` takes the folder in
    place of the table. A run that was stopped goes on where it was.

    Example: `hmic prepare --data labels.csv --out records --skip-bad`
    """
    from ..config import AudioConfig
    from ..data.prepare import prepare_clips
    from ..data.sources.folder import read_clips
    from ..taxonomy import Taxonomy

    with _terminal.progress() as progress:
        clips = prepare_clips(
            read_clips(data, Taxonomy.load(taxonomy)),
            out,
            features=features,
            audio=AudioConfig(sample_rate=sample_rate, fmax=min(8000.0, sample_rate / 2)),
            clips_per_shard=clips_per_shard,
            processes=processes,
            on_error="skip" if skip_bad else "raise",
            progress=lambda done, total: progress("prepare", done, total),
        )
    manifest = clips.manifest
    if as_json:
        names = ("features", "audio", "clips", "skipped", "seconds", "events", "class_counts")
        result = {"out": str(out), **{name: manifest[name] for name in names}}
        _terminal.say_json(result)
        return
    _terminal.say(f"{len(clips)} clips, {manifest['seconds']:.0f} s, are in {out}")
    if manifest["skipped"]:
        _terminal.say(f"{manifest['skipped']} files skipped; see {out / 'skipped.csv'}")
