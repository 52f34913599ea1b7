"""`hmic compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from . import _terminal

if TYPE_CHECKING:
    from ..evaluation import Comparison

_EVERY = (
    "independent multitask gmp f2ca c_hmcnn hmcn_f top_down chorus logistic_regression "
    "random_forest"
)

# What a column of a table takes beside its text.
_BORDER = 3


def compare(
    dataset: Annotated[
        str,
        typer.Option(
            help="`openmic`, a published ARFF set such as `enron` or `spo_GO`, or an .npz file "
            "of features and labels."
        ),
    ],
    root: Annotated[
        Path | None, typer.Option(file_okay=False, help="Where the data set lies.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder of trials, tables and plots; `comparison-` and the data set's name "
            "by default.",
        ),
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Methods and baselines, separated by commas or spaces.")
    ] = _EVERY,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each method.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="The most passes over the data.")] = 100,
    patience: Annotated[
        int, typer.Option(min=0, help="Passes without a better one before stopping; 0 for all.")
    ] = 10,
    units: Annotated[str, typer.Option(help="Widths of the hidden layers.")] = "512",
    dropout: Annotated[float, typer.Option(help="Rate of dropout.")] = 0.5,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 64,
    monitor: Annotated[
        str, typer.Option(help="What the epoch is chosen by: `map` or `au_prc`.")
    ] = "map",
    jobs: Annotated[int, typer.Option(min=1, help="Trials side by side.")] = 1,
    seconds: Annotated[
        float | None, typer.Option(help="Stop after so many seconds, to go on later.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print means, intervals and tests as JSON.")
    ] = False,
) -> None:
    """Compare methods over seeds on one data set, under the same conditions.

    Called again with the same arguments, it goes on where it stopped.

    Example: `hmic compare --dataset openmic --root openmic-2018`
    """
    out = Path(f"comparison-{Path(dataset).stem}") if out is None else out
    with _terminal.quiet(), _terminal.progress() as progress:
        from .. import evaluation

        comparison = evaluation.compare(
            _read(dataset, root),
            methods.replace(",", " ").split(),
            out,
            seeds=seeds,
            settings={
                "units": _widths(units),
                "dropout": dropout,
                "learning_rate": learning_rate,
                "batch_size": batch_size,
                "epochs": epochs,
                "patience": patience,
            },
            monitor=monitor,
            jobs=jobs,
            seconds=seconds,
            progress=lambda done, total: progress("trials", done, total),
        )
    if as_json:
        _terminal.say_json(comparison.report())
    else:
        _show(comparison, out)


def _read(dataset: str, root: Path | None) -> Any:
    from ..data import FeatureSplits
    from ..data.sources.hierarchical_arff import PUBLISHED, read_published
    from ..data.sources.openmic import openmic_splits
    from ..errors import HmicError

    if dataset.endswith(".npz"):
        return FeatureSplits.load(dataset).standardise()
    if dataset != "openmic" and dataset not in PUBLISHED:
        raise HmicError(
            f"`--dataset` must be 'openmic', one of {', '.join(PUBLISHED)}, or a file that "
            f"ends in .npz. Received: {dataset!r}"
        )
    if root is None:
        raise HmicError(f"`--root` is needed: the folder that holds {dataset!r}.")
    read = openmic_splits(root) if dataset == "openmic" else read_published(dataset, root)
    return read.standardise()


def _widths(text: str) -> tuple[int, ...]:
    from ..errors import HmicError

    parts = text.replace(",", " ").split()
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise HmicError(
            f"`--units` must be positive whole numbers, such as '512 512'. Received: {text!r}"
        )
    return tuple(int(part) for part in parts)


def _show(comparison: "Comparison", out: Path) -> None:
    from rich.table import Table

    about = comparison.about
    shown = [
        *(m for m in comparison.measures if m.startswith(("map.", "f1."))),
        *("hierarchical_f", "au_prc", "violation_rate", "parameters", "seconds"),
    ]
    shown = [measure for measure in shown if measure in comparison.measures]
    rows = {measure: comparison.summary(measure) for measure in shown}
    order = sorted(comparison.trials, key=lambda n: -rows[comparison.main][n][0])
    title = f"{escape(about['data'])}: mean ± 95 % of {len(about['seeds'])} seeds"
    columns = [
        [_heading(measure), *(_cell(measure, rows[measure][name]) for name in order)]
        for measure in shown
    ]
    names = ["method", *map(escape, order)]
    for number, part in enumerate(_parts(names, columns)):
        table = Table(title=None if number else title)
        table.add_column(names[0], no_wrap=True)
        for heading, *_ in part:
            table.add_column(heading, justify="right")
        for cells in list(zip(names, *part, strict=True))[1:]:
            table.add_row(*cells)
        _terminal.out.print(table)
    best, *rest = order
    for row in comparison.tests(comparison.main):
        if row["first"] == best and rest and row["second"] == rest[0]:
            _terminal.say(
                f"{comparison.main}: {best} is ahead of {rest[0]} by {row['difference']:.4f} "
                f"[{row['low']:.4f}, {row['high']:.4f}], p = {row['p_t_holm']:.3g} (paired t, "
                "Holm)"
            )
    if not about["complete"]:
        _terminal.say("The time was over; the same command goes on.")
    _terminal.say(f"Tables, tests and plots are in {out}")


def _parts(names: list[str], columns: list[list[str]]) -> list[list[list[str]]]:
    """Divides columns among tables, so that none is too wide and loses its numbers."""

    def width(cells: list[str]) -> int:
        return _BORDER + max(len(line) for cell in cells for line in cell.splitlines())

    room = _terminal.out.width - width(names) - 1
    parts: list[list[list[str]]] = [[]]
    for column in columns:
        if parts[-1] and sum(map(width, parts[-1])) + width(column) > room:
            parts.append([])
        parts[-1].append(column)
    return parts


def _heading(measure: str) -> str:
    words = measure.replace("hierarchical", "hierar-_chical").replace(".", "_").split("_")
    return escape("\n".join(words))


def _cell(measure: str, row: tuple[float, float, float]) -> str:
    mean, _, high = row
    if measure == "parameters":
        return f"{mean:,.0f}"
    if measure == "seconds":
        return f"{mean:.1f}"
    return f"{mean:.3f}" if high != high else f"{mean:.3f}\n± {high - mean:.3f}"
