"""CPU seconds to load and validate taxonomies of 10,000 finest classes.

Three shapes: two levels (1,000 parents), four levels (2,000, 200 and 20 above), and the same
four levels as a directed acyclic graph, where every class has two parents and every tenth a
skip link besides. Each is written as YAML, JSON and CSV and loaded again; a load reads the
file, checks every rule, closes the links and computes the hash. The best of five runs counts,
in a process without TensorFlow.

    python benchmarks/taxonomy.py

Prints the figures as JSON and writes them to `benchmarks/results/taxonomy.json`.
"""

import json
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path

from hmic_keras.taxonomy import Taxonomy

CLASSES = 10_000
RUNS = 5
LIMIT_SECONDS = 1.0
RESULT = Path(__file__).parent / "results" / "taxonomy.json"


def layered(sizes: list[int], parents: int) -> dict:
    """Builds the full form of evenly spread links; with two parents, adds skip links."""
    levels = [f"level_{number}" for number in range(len(sizes))]
    classes = {
        level: [f"{level} class {i}" for i in range(size)]
        for level, size in zip(levels, sizes, strict=True)
    }
    links = {}
    for number, level in enumerate(levels[:-1]):
        above = classes[levels[number + 1]]
        links[level] = {
            name: [above[(i + 7 * k) % len(above)] for k in range(parents)]
            for i, name in enumerate(classes[level])
        }
        if parents > 1 and number + 2 < len(levels):
            far = levels[number + 2]
            for i, name in enumerate(classes[level][::10]):
                links[level][name].append(f"{far}:{classes[far][i % len(classes[far])]}")
    return {"levels": levels, "classes": classes, "parents": links}


def seconds(path: Path, expected: Taxonomy) -> float:
    best = float("inf")
    for _ in range(RUNS):
        # One thread does all the work, so that its CPU time is what a quiet machine takes.
        started = time.process_time()
        taxonomy = Taxonomy.load(path)
        for child, level in enumerate(taxonomy.levels):
            for parent in taxonomy.levels[child + 1 :]:
                taxonomy.links(parent, level)
        same = taxonomy.hash == expected.hash
        best = min(best, time.process_time() - started)
        if not same:
            raise SystemExit(f"{path.name} does not load as the taxonomy that was saved.")
    return round(best, 3)


def main() -> None:
    import yaml

    shapes = {
        "two_levels": layered([CLASSES, 1_000], 1),
        "four_levels": layered([CLASSES, 2_000, 200, 20], 1),
        "four_levels_dag": layered([CLASSES, 2_000, 200, 20], 2),
    }
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, form in shapes.items():
            taxonomy = Taxonomy.from_dict(form)
            results[name] = {}
            for suffix in ("yaml", "json", "csv"):
                path = Path(folder, f"{name}.{suffix}")
                taxonomy.save(path)
                results[name][suffix] = seconds(path, taxonomy)
    report = {
        "finest_classes": CLASSES,
        "device": f"CPU, {os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in ("PyYAML", "numpy")},
        "libyaml": bool(yaml.__with_libyaml__),
        "cpu_seconds": results,
        "limit_seconds": LIMIT_SECONDS,
        "within_limit": all(
            value < LIMIT_SECONDS for shape in results.values() for value in shape.values()
        ),
    }
    text = json.dumps(report, indent=2)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
