"""Time and memory of `GroupedMaxPool` on a large, uneven hierarchy.

10,000 classes under 1,000 parents, one group of 9,001 members, batch 64, against the dense
formulation `max(where(mask, scores, -inf))`, which needs one cell for each pair of parent and
child. Every case runs in a process of its own, since peak memory never falls again.

    python benchmarks/grouped_max_pool.py

Prints the figures as JSON and writes them to `benchmarks/results/grouped_max_pool.json`.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

NUM_PARENTS, NUM_CHILDREN, LARGE_GROUP, BATCH = 1_000, 10_000, 9_001, 64
RUNS = 30
LIMITS = {"milliseconds": 20.0, "extra_megabytes": 100.0}
# The dense comparison holds the broadcast scores and their copy through the reduction.
DENSE_BYTES = 3 * BATCH * NUM_PARENTS * NUM_CHILDREN * 4
CASES = (
    "grouped_eager",
    "grouped_graph",
    "grouped_xla",
    "grouped_graph_gradient",
    "dense_graph",
)
RESULT = Path(__file__).parent / "results" / "grouped_max_pool.json"


def hierarchy() -> list[list[int]]:
    """Links `[parent, child]`: parent 0 holds 9,001 children, every other parent one."""
    large = [[0, child] for child in range(LARGE_GROUP)]
    return large + [[parent, LARGE_GROUP - 1 + parent] for parent in range(1, NUM_PARENTS)]


def build(case: str):
    """Returns the function under test, from scores `(batch, children)`."""
    import numpy as np
    import tensorflow as tf

    from hmic_keras.layers import GroupedMaxPool

    links = hierarchy()
    if case == "dense_graph":
        mask = np.zeros((NUM_PARENTS, NUM_CHILDREN), bool)
        mask[tuple(np.array(links).T)] = True
        mask = tf.constant(mask)
        lowest = tf.constant(-np.inf, "float32")
        return tf.function(
            lambda x: tf.reduce_max(tf.where(mask, x[:, tf.newaxis], lowest), axis=-1)
        )
    layer = GroupedMaxPool({"links": links, "shape": [NUM_PARENTS, NUM_CHILDREN]})
    if case == "grouped_eager":
        return layer
    if case == "grouped_graph_gradient":
        return tf.function(lambda x: tf.gradients(layer(x), x)[0])
    return tf.function(lambda x: layer(x), jit_compile=case == "grouped_xla")


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(case: str) -> dict[str, float]:
    """Times one case; memory is the rise of the peak over a process that ran TensorFlow."""
    import numpy as np
    import tensorflow as tf

    scores = tf.constant(
        np.random.default_rng(0).standard_normal((BATCH, NUM_CHILDREN)), "float32"
    )
    function = build(case)
    # A first function of each kind loads what TensorFlow loads lazily; that is not the layer's.
    warm_up = tf.function(lambda x: tf.reduce_max(tf.gather(x, [[0, 1]], axis=-1), axis=-1))
    warm_up(scores)
    tf.function(lambda x: x + 1.0, jit_compile=case == "grouped_xla")(scores)
    before = peak_megabytes()
    milliseconds = []
    for _ in range(RUNS if case != "dense_graph" else 3):
        started = time.perf_counter()
        function(scores).numpy()
        milliseconds.append(1e3 * (time.perf_counter() - started))
    return {
        "first_call_ms": round(milliseconds[0], 2),
        "median_ms": round(statistics.median(milliseconds[1:]), 2),
        "best_ms": round(min(milliseconds), 2),
        "extra_peak_mb": round(peak_megabytes() - before, 1),
    }


def available_bytes() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def run(case: str) -> dict[str, float | str]:
    if case == "dense_graph" and available_bytes() < DENSE_BYTES:
        return {"not_run": f"needs about {DENSE_BYTES / 1e9:.1f} GB of free memory"}
    finished = subprocess.run(
        [sys.executable, __file__, case],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if finished.returncode:
        raise SystemExit(f"{case} failed:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def main() -> None:
    if len(sys.argv) == 2:
        print(json.dumps(measure(sys.argv[1])))
        return
    from importlib import metadata

    results = {case: run(case) for case in CASES}
    grouped = [results[case] for case in CASES if case.startswith("grouped")]
    report = {
        "hierarchy": {
            "parents": NUM_PARENTS,
            "children": NUM_CHILDREN,
            "largest_group": LARGE_GROUP,
            "links": len(hierarchy()),
        },
        "batch": BATCH,
        "device": f"CPU, {os.cpu_count()} cores, {platform.machine()}",
        "versions": {name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        "results": results,
        "limits": LIMITS,
        "within_limits": all(
            case["median_ms"] < LIMITS["milliseconds"]
            and case["extra_peak_mb"] < LIMITS["extra_megabytes"]
            for case in grouped
        ),
    }
    text = json.dumps(report, indent=2)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
