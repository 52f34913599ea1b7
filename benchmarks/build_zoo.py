"""Makes a folder of the model zoo from a trained model.

    python benchmarks/build_zoo.py MODEL --about CARD.yaml --validation labels.csv --out FOLDER
        [--sets FOLDER] [--real FOLDER] [--formats keras,savedmodel,float16,dynamic_int8]

Calibrates the model and chooses its thresholds on the validation clips (more than one table
may be given), scores it on the test sets of `evaluate_zoo.py`, exports it, and writes the
model card. What the model learned from must not be among the validation clips.
"""

import argparse
import os
from pathlib import Path

import evaluate_zoo


def joined(tables, taxonomy):
    """Returns the clips of several label tables as one."""
    import numpy as np

    from hmic_keras.data.sources.folder import LabelledClips, read_clips

    parts = [read_clips(table, taxonomy) for table in tables]
    labels = {
        level: np.concatenate([part.labels[level] for part in parts])
        for level in taxonomy.levels
    }
    return LabelledClips(taxonomy, tuple(path for part in parts for path in part.paths), labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--about", required=True)
    parser.add_argument("--validation", nargs="+", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--sets", type=Path, default=evaluate_zoo.SCRATCH)
    parser.add_argument("--soundfont", default=evaluate_zoo.SOUNDFONT)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--formats", default="keras,savedmodel,float16,dynamic_int8")
    arguments = parser.parse_args()
    from hmic_keras import load_model
    from hmic_keras.publishing import About, publish

    model = load_model(arguments.model)
    tests = evaluate_zoo.test_sets(model.taxonomy, arguments)
    results = publish(
        model,
        arguments.out,
        about=About.load(arguments.about),
        validation=joined(arguments.validation, model.taxonomy),
        tests=tests,
        # Made from a seed, so that a reader can look at the very clips.
        examples=["timgm6mb"],
        formats=arguments.formats.split(","),
    )
    evaluate_zoo.show(Path(arguments.out).name, results["tests"])
    print(results["silence"])


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from hmic_keras.cli._terminal import keep_freed_memory

    keep_freed_memory()
    main()
