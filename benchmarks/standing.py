"""Which method stands best over the published sets and the label budgets together.

It reads the finished trials in `benchmarks/results/` (`published_sets_trials.json` and
`label_budgets_trials.json`), so it takes a second. Five scores a method and seed: AU(PRC) on
each of the four published sets, and the mean over levels and budgets of macro mAP on the
rendered music. Methods are ranked on each of the five; the best mean rank wins, and its lead
over the second is the mean over the five of the difference, paired over seeds.

    python benchmarks/standing.py
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = Path(__file__).parent / "results"
MUSIC = "rendered music"


def published(trials):
    """AU(PRC) by set, method and seed."""
    found = {}
    for name, trial in trials.items():
        part, data, _, method, _ = name.split("/")
        if part == "final":
            found.setdefault(data, {}).setdefault(method, {})[trial["seed"]] = trial["au_prc"]
    return found


def rendered(trials):
    """Mean mAP over levels and budgets, by method and seed; only of methods at every budget."""
    found = {}
    for name, trial in trials.items():
        _, budget, _, method, _ = name.split("/")
        levels = trial["results"]["levels"].values()
        score = float(np.mean([level["map"] for level in levels]))
        found.setdefault(method, {}).setdefault(trial["seed"], {})[budget] = score
    budgets = {name.split("/")[1] for name in trials}
    return {
        method: {seed: float(np.mean(list(one.values()))) for seed, one in seeds.items()}
        for method, seeds in found.items()
        if all(set(one) == budgets for one in seeds.values())
    }


def standing(sets):
    """Ranks, and the best against every other.

    Args:
        sets: Score by set, method and seed.
    """
    from hmic_keras.evaluation import mean_ranks, paired_tests

    methods = sorted(set.intersection(*map(set, sets.values())))
    seeds = sorted(set.intersection(*(set(one[m]) for one in sets.values() for m in methods)))
    means = {
        name: {m: float(np.mean([one[m][s] for s in seeds])) for m in methods}
        for name, one in sets.items()
    }
    ranks = mean_ranks(list(means.values()))
    together = {
        m: [float(np.mean([one[m][s] for one in sets.values()])) for s in seeds]
        for m in methods
    }
    first, second, *_ = sorted(ranks, key=lambda m: (ranks[m], -np.mean(together[m])))
    test = paired_tests({first: together[first], second: together[second]})[0]
    ahead = test["first"] == first
    return {
        "seeds": len(seeds),
        "mean": {name: {m: round(v, 4) for m, v in one.items()} for name, one in means.items()},
        "mean_rank": {m: round(ranks[m], 2) for m in sorted(ranks, key=ranks.get)},
        "first": first,
        "second": second,
        "lead": round(test["difference"] if ahead else -test["difference"], 5),
        "low": round(test["low"] if ahead else -test["high"], 5),
        "high": round(test["high"] if ahead else -test["low"], 5),
    }


def table(report):
    """Means, mean rank and the lead as Markdown."""
    import documents

    rows = [["", *report["mean"], "mean rank"]]
    for method, rank in report["mean_rank"].items():
        cells = [f"{one[method]:.3f}" for one in report["mean"].values()]
        rows.append([f"`{method}`", *cells, f"{rank:.1f}"])
    lead = (
        f"`{report['first']}` is ahead of `{report['second']}` by {report['lead']:.4f}; the "
        f"95 % interval over {report['seeds']} seeds is {report['low']:.4f} to "
        f"{report['high']:.4f}."
    )
    return f"{documents.table(rows)}\n\n{lead}"


def main():
    import documents

    found = {
        name: json.loads((RESULTS / f"{name}_trials.json").read_text())
        for name in ("published_sets", "label_budgets")
    }
    report = standing(
        published(found["published_sets"]) | {MUSIC: rendered(found["label_budgets"])}
    )
    print(json.dumps(report, indent=2))
    (RESULTS / "standing.json").write_text(json.dumps(report, indent=2) + "\n")
    documents.put(ROOT / "docs" / "comparison.md", "standing", table(report))


if __name__ == "__main__":
    main()
