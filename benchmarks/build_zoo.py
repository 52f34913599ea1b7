"""Makes a folder of the model zoo from a trained model, or from several as one.

    python benchmarks/build_zoo.py MODEL... [--weights W...] --about CARD.yaml
        --validation labels.csv... --out FOLDER [--sets FOLDER] [--real FOLDER] [--corrupted]
        [--shifted] [--stand-in MODEL...] [--tolerance 0.008]
        [--formats keras,savedmodel,float16,dynamic_int8]

Several models become an ensemble, the mean of their logits, by `--weights`. Calibrates the
model and chooses its thresholds on the validation clips (more than one table may be given),
scores it on the test sets of `evaluate_zoo.py`, exports it, and writes the model card. What the
model learned from must not be among the validation clips.
"""

import argparse
import hashlib
import os
from pathlib import Path

import evaluate_zoo


def joined(tables, taxonomy):
    """Returns the clips of several label tables as one."""
    from hmic_keras.data.sources.folder import LabelledClips, read_clips

    return LabelledClips.joined([read_clips(table, taxonomy) for table in tables])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--weights", type=float, nargs="+", help="of the models, all alike")
    parser.add_argument("--about", required=True)
    parser.add_argument("--validation", nargs="+", required=True)
    parser.add_argument("--out", required=True)
    evaluate_zoo.add_sets(parser)
    parser.add_argument(
        "--shifted", action="store_true", help="calibrate on bad copies of the clips, too"
    )
    parser.add_argument(
        "--stand-in",
        nargs="+",
        help="calibrate by models that never heard such clips",
    )
    parser.add_argument("--tolerance", type=float, help="of dynamic_int8")
    parser.add_argument("--formats", default="keras,savedmodel,float16,dynamic_int8")
    arguments = parser.parse_args()
    from hmic_keras import ensemble, load_model
    from hmic_keras.data.sources.folder import LabelledClips
    from hmic_keras.publishing import About, calibrate, publish

    def joint(names, weights=None):
        models = [load_model(name) for name in names]
        name = Path(arguments.out).name.replace("-", "_")
        return models[0] if len(models) == 1 else ensemble(models, weights=weights, name=name)

    model = joint(arguments.models, arguments.weights)
    tests = evaluate_zoo.test_sets(model.taxonomy, arguments)
    validation = joined(arguments.validation, model.taxonomy)
    heard = validation
    if arguments.shifted:
        # Answers are less sure on sound unlike that of training; so they should say.
        tables = b"".join(Path(table).read_bytes() for table in arguments.validation)
        place = arguments.sets / f"shifted-{hashlib.sha256(tables).hexdigest()[:12]}"
        bad = evaluate_zoo.corrupted(validation, place, seed=1)
        heard = LabelledClips.joined([validation, bad])
    stand_in = None if arguments.stand_in is None else joint(arguments.stand_in)
    model = calibrate(model, heard, stand_in=stand_in)
    results = publish(
        model,
        arguments.out,
        about=About.load(arguments.about),
        validation=validation,
        tests=tests,
        # Made from a seed, so that a reader can look at the very clips.
        examples=["timgm6mb"],
        formats=arguments.formats.split(","),
        tolerance=arguments.tolerance and {"dynamic_int8": arguments.tolerance},
    )
    evaluate_zoo.show(Path(arguments.out).name, results["tests"])
    print(results["silence"])


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from hmic_keras.cli._terminal import keep_freed_memory

    keep_freed_memory()
    main()
