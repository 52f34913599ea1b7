"""`hmic compress`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import _terminal


def compress(
    model: Annotated[str, typer.Argument(help="Model name or path of a trained Keras model.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder to write.")],
    how: Annotated[
        str, typer.Option(help="qat, prune, prune_2_4, cluster or prune_qat.")
    ] = "qat",
    data: Annotated[
        Path | None,
        typer.Option(help="Label table or prepared folder; the demo corpus by default."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(help="The same to measure on; by default a share is held out."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the clips.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in a batch.")] = 16,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of the weights that pruning sets to zero.")
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(help="Values that clustering leaves in a kernel.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of order and crops.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, like compression.json.")
    ] = False,
) -> None:
    """Fine-tune a model for a smaller int8 file, and compare with int8 made after training.

    Example: `hmic compress model --how qat --data labels.csv --out compressed`
    """
    given: dict[str, Any] = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "sparsity": sparsity,
        "clusters": clusters,
    }
    with _terminal.quiet(), _terminal.progress() as progress:
        from .. import zoo
        from ..config import CompressionConfig
        from ..data import demo_clips, open_clips
        from ..export import compression

        settings = {name: value for name, value in given.items() if value is not None}
        config = CompressionConfig(how, **settings)
        loaded = zoo.load_model(model)
        taxonomy = loaded.taxonomy
        train, measure = compression.datasets(
            loaded,
            demo_clips("train", taxonomy) if data is None else open_clips(data, taxonomy),
            None if validation is None else open_clips(validation, taxonomy),
            batch_size=batch_size,
            seed=seed,
        )
        report = compression.compress(
            loaded,
            train,
            measure,
            out,
            config,
            progress=lambda done, total: progress("fine-tune", done, total),
        )
    if as_json:
        _terminal.say_json(report)
    else:
        _show(report, out)


def _show(report: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    rows = {
        "float32": report["float"],
        **{f"{name}, after training": row for name, row in report["post_training"].items()},
        f"{report['compressed']['format']}, {report['settings']['how']}": report["compressed"],
    }
    levels = list(report["float"]["map"])
    table = Table(title=f"{report['data']['validation']} clips")
    table.add_column("file")
    for column in ("takes", "kB", "zipped kB", "ms", "zeros", *(f"mAP {lv}" for lv in levels)):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        scores = (row["map"][level] for level in levels)
        table.add_row(
            name,
            row["input"],
            f"{row['size_bytes'] / 1000:.0f}",
            f"{row['zipped_bytes'] / 1000:.0f}",
            f"{row['latency_ms']:.2f}",
            f"{100 * row['zeros']:.0f} %",
            *("-" if score is None else f"{score:.3f}" for score in scores),
        )
    _terminal.out.print(table)
    if report["post_training_is_as_good"]:
        _terminal.say(
            "Quantising after training is as good here, and takes no training: hmic export"
        )
    _terminal.say(f"The files and compression.json are in {out}")
