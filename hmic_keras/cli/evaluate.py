"""`hmic evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import _terminal


def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="Model name or path; the default model if left out.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Label table (CSV); the demo test clips by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Folder for report.json, per_class.csv, results.png."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, like report.json.")
    ] = False,
) -> None:
    """Score a model on labelled audio files.

    Example: `hmic evaluate model --data labels.csv --out report`
    """
    with _terminal.quiet(), _terminal.progress() as progress:
        from .. import evaluation, zoo
        from ..data.sources.demo import demo_clips
        from ..data.sources.folder import read_clips
        from ..inference import Predictor

        predictor = Predictor(model or zoo.DEFAULT_MODEL)
        if data is None:
            clips = demo_clips("test", predictor.taxonomy)
        else:
            clips = read_clips(data, predictor.taxonomy)
        report = evaluation.evaluate(
            predictor, clips, lambda done: progress("evaluate", done, len(clips))
        )
        if out is not None:
            report.write(out)
    if as_json:
        _terminal.say_json(report.results)
    else:
        _show(report.results, out)


def _show(results: dict[str, Any], out: Path | None) -> None:
    _terminal.out.print(
        _terminal.scores_table({"": results["levels"]}, f"{results['clips']} clips")
    )
    for level, result in results["levels"].items():
        if result["tags_dropped"]:
            _terminal.say(
                f"{result['tags_dropped']} {level} class(es) have no observed positive and "
                "are left out of mAP"
            )
    hierarchical = ", ".join(f"{k} {v:.3f}" for k, v in results["hierarchical"].items())
    _terminal.say(f"hierarchical: {hierarchical}")
    if results["violation_rate"] is not None:
        _terminal.say(f"child above its parent: {results['violation_rate']:.1%} of pairs")
    if out is not None:
        _terminal.say(f"The report is in {out}")
