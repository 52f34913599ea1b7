"""Time and memory of `MaxConstraint` on large hierarchies, beside the dense formula.

A tree and a hierarchy with several parents of 1,000 and of 5,000 classes at batch 64: the
answer, and the gradient of the loss's view to every score. The dense formula of the original,
`max(R * h, axis=-1)` over batch x N x N doubles, is timed at 1,000 classes in the same run;
at 5,000 it would need `dense_bytes`. Every case runs in a process of its own, since peak memory
never falls again.

    python benchmarks/max_constraint.py

Prints the figures as JSON and writes them to `benchmarks/results/max_constraint.json`.
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

BATCH, RUNS, DEPTH = 64, 30, 8
LIMITS = {"forward_milliseconds": 200.0, "forward_extra_megabytes": 50.0}
CASES = (
    "tree_1000_forward",
    "dense_1000_forward",
    "tree_5000_forward",
    "dag_5000_forward",
    "tree_5000_loss_gradient",
    "dag_5000_loss_gradient",
)
RESULT = Path(__file__).parent / "results" / "max_constraint.json"


def hierarchy(kind: str, size: int):
    """Returns links `(parent, child)`: depths of like size; in a `dag` up to three parents."""
    import numpy as np

    rng = np.random.default_rng(0)
    ends = np.linspace(0, size, DEPTH + 1).astype(int)
    links = []
    for depth in range(1, DEPTH):
        for child in range(ends[depth], ends[depth + 1]):
            count = int(rng.integers(1, 4)) if kind == "dag" else 1
            # Most parents are one depth up, some further.
            lowest = ends[depth - 1] if kind == "tree" or rng.random() < 0.8 else 0
            parents = rng.choice(np.arange(lowest, ends[depth]), count, replace=False)
            links += [[int(parent), child] for parent in parents]
    return np.array(links)


def descendants(links, size: int):
    """Returns R, boolean `(size, size)`: each class above itself and its descendants."""
    import numpy as np

    reach = np.eye(size, dtype=bool)
    for parent, child in links[np.argsort(-links[:, 1])]:
        reach[parent] |= reach[child]
    return reach


def build(case: str):
    """Returns the function under test, of scores `(batch, classes)`."""
    import numpy as np
    import tensorflow as tf

    from hmic_keras.layers import MaxConstraint

    kind, size, *what = case.split("_")
    count = int(size)
    links = hierarchy("tree" if kind == "dense" else kind, count)
    if kind == "dense":
        reach = tf.constant(descendants(links, count), "float64")
        return tf.function(
            lambda x: tf.reduce_max(reach * tf.cast(x, "float64")[:, tf.newaxis], axis=-1)
        )
    layer = MaxConstraint([["classes", "classes", links.tolist()]])
    layer.build({"classes": (None, count)})
    if what == ["forward"]:
        return tf.function(lambda x: layer({"classes": x})["classes"])
    rng = np.random.default_rng(1)
    present = tf.constant((rng.random((BATCH, count)) < 0.1).astype("float32"))

    def gradient(x):
        _, view, _ = layer.loss_view({"classes": present}, {"classes": x})
        return tf.gradients(view["classes"], x)[0]

    return tf.function(gradient)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(case: str) -> dict[str, float]:
    """Times one case; memory is the rise of the peak over a process that ran TensorFlow."""
    import numpy as np
    import tensorflow as tf

    size = int(case.split("_")[1])
    rng = np.random.default_rng(0)
    scores = tf.constant(rng.random((BATCH, size)), "float32")
    function = build(case)
    # A first function of each kind loads what TensorFlow loads lazily; that is not the layer's.
    tf.function(lambda x: tf.reduce_max(tf.gather(x, [[0, 1]], axis=-1), axis=-1))(scores)
    before = peak_megabytes()
    milliseconds = []
    for _ in range(RUNS if not case.startswith("dense") else 3):
        started = time.perf_counter()
        function(scores).numpy()
        milliseconds.append(1e3 * (time.perf_counter() - started))
    return {
        "first_call_ms": round(milliseconds[0], 2),
        "median_ms": round(statistics.median(milliseconds[1:]), 2),
        "best_ms": round(min(milliseconds), 2),
        "extra_peak_mb": round(peak_megabytes() - before, 1),
    }


def check() -> float:
    """Returns the largest difference from the dense formula, at 300 classes."""
    import numpy as np

    from hmic_keras.layers import MaxConstraint

    worst = 0.0
    for kind in ("tree", "dag"):
        links = hierarchy(kind, 300)
        scores = np.random.default_rng(2).random((8, 300)).astype("float32")
        layer = MaxConstraint([["classes", "classes", links.tolist()]])
        found = np.asarray(layer({"classes": scores})["classes"])
        expected = (descendants(links, 300) * scores[:, np.newaxis]).max(axis=-1)
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


def run(case: str) -> dict[str, float]:
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
    forward = [results[case] for case in CASES if case.endswith("_5000_forward")]
    report = {
        "batch": BATCH,
        "depth": DEPTH,
        "links": {
            f"{kind}_{size}": len(hierarchy(kind, size))
            for kind, size in (("tree", 1000), ("tree", 5000), ("dag", 5000))
        },
        "device": f"CPU, {os.cpu_count()} cores, {platform.machine()}",
        "versions": {name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        "largest_difference_from_dense": check(),
        "results": results,
        "dense_bytes_at_5000": BATCH * 5000 * 5000 * 8,
        "times_faster_than_dense_at_1000": round(
            results["dense_1000_forward"]["median_ms"]
            / results["tree_1000_forward"]["median_ms"],
            1,
        ),
        "limits": LIMITS,
        # The limits are those of the answer; what a gradient keeps in memory is reported.
        "within_limits": all(
            case["median_ms"] < LIMITS["forward_milliseconds"]
            and case["extra_peak_mb"] < LIMITS["forward_extra_megabytes"]
            for case in forward
        ),
    }
    text = json.dumps(report, indent=2)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
