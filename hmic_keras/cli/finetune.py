"""`hmic finetune`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from . import _terminal


def finetune(
    model: Annotated[
        str, typer.Option("--from", help="Model name or path of the model to start from.")
    ],
    taxonomy: Annotated[str, typer.Option(help="Packaged name or file of your classes.")],
    data: Annotated[
        Path, typer.Option(help="Label table, or a folder with a sub-folder for each class.")
    ],
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for the model and the report.")
    ] = Path("finetuned"),
    mode: Annotated[
        Literal["frozen", "gradual", "full"],
        typer.Option(help="How much of the network learns."),
    ] = "frozen",
    mapping: Annotated[
        Path | None,
        typer.Option(help="File that maps your classes to those of the model they go on from."),
    ] = None,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Keep the model's classes beside yours.")
    ] = False,
    method: Annotated[
        str | None, typer.Option(help="Joint-training method; the model's by default.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Clips to test on, given like those of --data.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--formats",
            "--format",
            help="As in hmic export; keras and float32, the file for a phone, by default.",
        ),
    ] = None,
    check_only: Annotated[
        bool, typer.Option("--check", help="Only check what was given; write nothing.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything drawn.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, like report.json.")
    ] = False,
) -> None:
    """Teach a trained model your own classes, from ten recordings of each on.

    Checks the labels, trains, says how good each class is and how sure that is, and exports.

    Example: `hmic finetune --from hmic-mobile --taxonomy mine.yaml --data clips --out mine`
    """
    with _terminal.quiet(), _terminal.progress() as progress:
        from .. import fine_tuning
        from ..config import FineTuneConfig

        given: dict[str, Any] = {
            "mapping": mapping,
            "keep_old": keep_old,
            "method": method,
            "test": test,
        }
        if check_only:
            checks = fine_tuning.check_fine_tuning(model, taxonomy, data, **given)
        else:
            result = fine_tuning.fine_tune(
                model,
                taxonomy,
                data,
                **given,
                config=FineTuneConfig(mode=mode, seed=seed),
                out=out,
                formats=_terminal.names(formats) if formats else fine_tuning.FORMATS,
                provenance={"data": data.name},
                checked=lambda found: _show_findings(found.to_dict()),
                progress=progress,
            )
    if check_only:
        if as_json:
            _terminal.say_json(checks.to_dict())
        else:
            _show_findings(checks.to_dict())
            _show_counts(checks.counts)
        checks.refuse()
    elif as_json:
        _terminal.say_json(result.report.results)
    else:
        _show(result.report.results, out)


def _show_findings(found: dict[str, Any]) -> None:
    for one in found["findings"]:
        if one["severity"] != "error":  # those end the command, with their words
            _terminal.err.print(
                f"{one['severity']}: {one['message']}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def _show_counts(counts: Any) -> None:
    from rich.table import Table

    table = Table(title="Labels")
    for column in ("level", "class"):
        table.add_column(column)
    kinds = ("present", "absent", "unobserved")
    for kind in kinds:
        table.add_column(kind, justify="right")
    for level, rows in counts.items():
        for name, count in rows.items():
            table.add_row(level, name, *(str(count[kind]) for kind in kinds))
    _terminal.out.print(table)


def _show(results: dict[str, Any], out: Path) -> None:
    for level, result in results["levels"].items():
        _show_classes(f"{level}: mAP {_range(result['map'])}", result["per_class"])
    _show_not_scored(results)
    for one in results["doubtful_labels"][:5]:
        _terminal.say(
            f"looks wrong: {one['clip']}, {one['class']} labelled {one['labelled']} "
            f"(probability {one['probability']:.2f})"
        )
    if results["more_examples"] is not None:
        for factor, expected in results["more_examples"]["expected"].items():
            _terminal.say(f"{factor} as many examples: mAP {_range(expected)} expected")
    if results["test"] is not None:
        for level, one in results["test"]["levels"].items():
            title = f"The test clips, {level}: mAP {_range(one['interval'])}"
            _show_classes(title, one["per_class"])
        _show_not_scored(results["test"])
    cost = results["cost"]
    memory = cost["peak_memory_mb"]
    held = "" if memory is None else f", {memory / 1000:.1f} GB of memory at most"
    _terminal.say(f"{cost['total_seconds']:.0f} s{held}")
    _terminal.say(f"The model, its files and report.html are in {out}")


def _show_classes(title: str, per_class: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=title)
    table.add_column("class")
    for column in ("clips", "average precision", "F1"):
        table.add_column(column, justify="right")
    for name, row in per_class.items():
        table.add_row(name, str(row["positives"]), _range(row["ap"]), _range(row["f1"]))
    _terminal.out.print(table)


def _show_not_scored(results: dict[str, Any]) -> None:
    for one in results["not_scored"]:
        _terminal.say(f"not scored: {one['level']}:{one['class']}, {one['why']}")


def _range(one: dict[str, float]) -> str:
    return f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
