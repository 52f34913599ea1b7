"""Makes a folder of the model zoo from a trained model, or from several as one.

    python benchmarks/build_zoo.py MODEL... [--weights W...] --about CARD.yaml
        --validation labels.csv... --out FOLDER [--sets FOLDER] [--real FOLDER] [--corrupted]
        [--shifted] [--stand-in MODEL... | --calibration-of MODEL] [--tolerance 0.008]
        [--formats keras,savedmodel,float16,dynamic_int8]

Several models become an ensemble, the mean of their logits, by `--weights`. Calibrates the
model and chooses its thresholds on the validation clips (more than one table may be given),
scores it on the test sets of `evaluate_zoo.py`, exports it, and writes the model card. What the
model learned from must not be among the validation clips.

What a stand-in says depends on it and the clips alone, so an update of a published model can
take calibration and thresholds from that model (`--calibration-of`), those raised for silence
included; how the update answers to silence is measured anew.
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
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--stand-in", nargs="+", help="calibrate by models that never heard such clips"
    )
    source.add_argument(
        "--calibration-of", help="a published model, whose calibration and thresholds to take"
    )
    parser.add_argument("--tolerance", type=float, help="of dynamic_int8")
    parser.add_argument("--formats", default="keras,savedmodel,float16,dynamic_int8")
    arguments = parser.parse_args()
    if arguments.shifted and arguments.calibration_of is not None:
        parser.error("--shifted changes nothing where --calibration-of is given")
    from hmic_keras import load_model
    from hmic_keras.calibration import Calibration, calibrated
    from hmic_keras.data.sources.folder import LabelledClips
    from hmic_keras.publishing import About, calibrate, publish

    name = Path(arguments.out).name
    model = evaluate_zoo.joint(arguments.models, arguments.weights, name.replace("-", "_"))
    tests = evaluate_zoo.test_sets(model.taxonomy, arguments)
    validation = joined(arguments.validation, model.taxonomy)
    if arguments.calibration_of is not None:
        known = load_model(arguments.calibration_of).manifest
        if "calibration" not in known:
            parser.error(f"--calibration-of: {arguments.calibration_of} is not calibrated")
        model = calibrated(model, Calibration(**known["calibration"]))
        model.update_manifest(thresholds=known["thresholds"])
    else:
        heard = validation
        if arguments.shifted:
            # Answers are less sure on sound unlike that of training; so they should say.
            tables = b"".join(Path(table).read_bytes() for table in arguments.validation)
            place = arguments.sets / f"shifted-{hashlib.sha256(tables).hexdigest()[:12]}"
            bad = evaluate_zoo.corrupted(validation, place, seed=1)
            heard = LabelledClips.joined([validation, bad])
        stand_in = arguments.stand_in and evaluate_zoo.joint(arguments.stand_in)
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
    evaluate_zoo.show(name, results["tests"])
    print(results["silence"])


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from hmic_keras.cli._terminal import keep_freed_memory

    keep_freed_memory()
    main()
