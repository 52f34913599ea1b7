"""The report of fine-tuning as one page that needs nothing else."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;
color:#222;background:#fff}table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.25rem .75rem;text-align:left;border-bottom:1px solid #ddd}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}
.error{color:#b00020}.warning{color:#8a5a00}.note{color:#555}code{overflow-wrap:anywhere}
"""


def page(results: Mapping[str, Any]) -> str:
    """Returns the HTML of a report.

    Args:
        results: `FineTuningReport.results`.
    """
    parts = [
        "<h1>How good is the model?</h1>",
        f"<p>{_summary(results)}</p>",
        *_scores(results["levels"]),
        *_not_scored(results["not_scored"]),
        *_test(results["test"]),
        *_doubtful(results["doubtful_labels"], results["labels_judged"]),
        *_more(results["more_examples"]),
        *_findings(results["labels"]["findings"]),
        *_network(results["network"]),
        *_cost(results["cost"]),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Fine-tuning report</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _summary(results: Mapping[str, Any]) -> str:
    kept = f" {len(results['kept'])} classes go on from the base model." * bool(results["kept"])
    return (
        f"{results['clips']} clips ({results['recordings']} different recordings), mode "
        f"<b>{escape(results['mode'])}</b>, method <b>{escape(results['method'])}</b>.{kept} "
        f"Every score below is of clips that the model which scored them did not learn from "
        f"({results['folds']} folds). The intervals say where the score will lie, 95 times in "
        "100, on as many fresh clips of the same kind: other recordings, rooms and players "
        "than these may be harder."
    )


def _scores(levels: Mapping[str, Any]) -> Iterable[str]:
    if not levels:
        yield "<p class=warning>No class has labels of both kinds; nothing can be scored.</p>"
        return
    yield _image(_score_figure(levels), "Average precision by class, with intervals")
    for level, result in levels.items():
        yield f"<h2>{escape(level)}: mean average precision {_range(result['map'])}</h2>"
        yield _class_table(result["per_class"])


def _class_table(per_class: Mapping[str, Any]) -> str:
    rows = [
        [name, str(row["positives"]), _range(row["ap"]), _range(row["f1"])]
        for name, row in per_class.items()
    ]
    return _table(["class", "clips that show it", "average precision", "F1"], rows)


def _not_scored(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if rows:
        named = "; ".join(f"{row['level']}:{row['class']} ({row['why']})" for row in rows)
        yield f"<p class=warning>Not scored: {escape(named)}.</p>"


def _test(test: Mapping[str, Any] | None) -> Iterable[str]:
    if test is None:
        return
    yield f"<h2>On the {test['clips']} test clips</h2>"
    if not test["levels"]:
        yield "<p class=warning>No class has test clips of both kinds.</p>"
    for level, one in test["levels"].items():
        yield (
            f"<h3>{escape(level)}: mean average precision {_range(one['interval'])}, by chance "
            f"{one['map_baseline']:.2f}</h3>"
        )
        yield _class_table(one["per_class"])
    yield from _not_scored(test["not_scored"])


def _doubtful(found: Sequence[Mapping[str, Any]], judged: bool) -> Iterable[str]:
    yield "<h2>Labels that look wrong</h2>"
    if not judged:
        yield "<p>Nobody can tell: no class has two labels of each kind.</p>"
        return
    if not found:
        yield "<p>None: where label and model differ, the model is not sure.</p>"
        return
    yield "<p>Listen to these first. The model may be the one that errs.</p>"
    rows = [
        [one["clip"], one["class"], one["labelled"], f"{one['probability']:.2f}"]
        for one in found
    ]
    yield _table(["clip", "class", "labelled", "the model's probability"], rows)


def _more(more: Mapping[str, Any] | None) -> Iterable[str]:
    yield "<h2>Would more examples help?</h2>"
    if more is None:
        yield "<p>There are too few clips to tell.</p>"
        return
    yield _image(_curve_figure(more), "Mean average precision by number of examples")
    expected = "; ".join(f"{f} as many: {_range(one)}" for f, one in more["expected"].items())
    yield f"<p>Expected mean average precision with {expected}.</p>"
    rows = [[name, _signed(gain)] for name, gain in more["gains"].items()]
    yield _table(["class", "expected gain with twice as many examples"], rows)


def _findings(findings: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield "<h2>What the check of the labels found</h2>"
    if not findings:
        yield "<p>Nothing.</p>"
        return
    items = "".join(
        f'<li class="{one["severity"]}">{one["severity"]}: {escape(one["message"])}</li>'
        for one in findings
    )
    yield f"<ul>{items}</ul>"


def _network(network: Mapping[str, Any] | None) -> Iterable[str]:
    if network is None:
        return
    losses = network["loss_on_clips_not_trained_on"]
    yield "<h2>Training the network</h2>"
    yield (
        f"<p>Stopped after {network['epochs']} epochs, with a loss on clips not trained on of "
        f"{losses[network['epochs']]:.4f}, against {losses[0]:.4f} with new classifiers alone; "
        f"no other number of epochs, up to {len(losses) - 1}, does better.</p>"
    )
    if drift := network["drift_of_old_classes"]:
        yield (
            "<p>What moves the answers for classes that stay counts against an epoch: these "
            f"moved by {drift[network['epochs']]:.4f} nats a label.</p>"
        )


def _cost(cost: Mapping[str, Any] | None) -> Iterable[str]:
    if cost is None:
        return
    memory = cost["peak_memory_mb"]
    yield "<h2>What it took</h2>"
    rows = [[step, f"{seconds:.1f}"] for step, seconds in cost["seconds"].items()]
    yield _table(["step", "seconds"], [*rows, ["all", f"{cost['total_seconds']:.1f}"]])
    if memory is not None:
        processors = cost["processors"]
        yield f"<p>At most {memory / 1000:.1f} GB of memory, {processors} processors.</p>"


def _score_figure(levels: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    sizes = [len(one["per_class"]) for one in levels.values()]
    figure = Figure(figsize=(7.5, 1.0 * len(levels) + 0.3 * sum(sizes)), layout="constrained")
    panels = figure.subplots(
        len(levels), 1, squeeze=False, gridspec_kw={"height_ratios": [n + 1 for n in sizes]}
    )[:, 0]
    for panel, (level, result) in zip(panels, levels.items(), strict=True):
        rows = [row["ap"] for row in result["per_class"].values()]
        values = np.array([row["value"] for row in rows])
        ends = np.array([[row["low"], row["high"]] for row in rows])
        panel.barh(np.arange(len(rows)), values, 0.6, color="#9ecae1")
        panel.errorbar(
            values,
            np.arange(len(rows)),
            xerr=np.abs(ends.T - values),
            fmt="none",
            ecolor="0.2",
            capsize=3,
        )
        panel.set(
            yticks=np.arange(len(rows)),
            yticklabels=list(result["per_class"]),
            xlim=(0, 1),
            ylim=(len(rows) - 0.4, -0.6),
            xlabel="average precision",
            title=level,
        )
    return figure


def _curve_figure(more: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    panel = figure.subplots()
    sizes = [point["examples_a_class"] for point in more["curve"]]
    panel.plot(sizes, [point["map"] for point in more["curve"]], "o-", label="measured")
    later = [sizes[-1] * int(factor.split()[0]) for factor in more["expected"]]
    values = np.array([one["value"] for one in more["expected"].values()])
    ends = np.array([[one["low"], one["high"]] for one in more["expected"].values()])
    panel.errorbar(
        later, values, yerr=np.abs(ends.T - values), fmt="s", capsize=3, label="expected"
    )
    panel.set(
        xscale="log",
        xlabel="examples a class",
        ylabel="mean average precision",
        ylim=(0.0, 1.02),
    )
    # Plain numbers where there are points, not powers of ten between them.
    places = [*np.asarray(sizes, float), *np.asarray(later, float)]
    panel.set_xticks(places, [f"{place:.0f}" for place in places])
    panel.set_xticks([], minor=True)
    panel.legend(loc="lower right", fontsize="small")
    return figure


def _image(figure: Any, text: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if i else ''}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{line(header, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _range(one: Mapping[str, float]) -> str:
    return f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"


def _signed(one: Mapping[str, float]) -> str:
    return f"{one['value']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
