r"""Does joint training help on recordings too, when all that was learned from is rendered?

    python benchmarks/joint_on_recordings.py --run RUN --real FOLDER --out DIR
        [--seeds N] [--record]

`RUN` is the folder that `hmic train --recipe hmic-transfer --out RUN` left: it keeps what the
frozen network of musicnn found in each augmented training clip, pooled over time. The methods
are trained on these features and tested on the recordings in `FOLDER` (as `--real` of
`evaluate_zoo.py`), whose features are computed here; nothing is chosen on them. `--record`
writes `benchmarks/results/joint_on_recordings.json`. It is resumable.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import evaluate_zoo

RESULTS = Path(__file__).parent / "results" / "joint_on_recordings.json"
METHODS = ("independent", "multitask", "gmp", "f2ca", "logistic_regression")
SETTINGS = {
    "units": (256,),
    "dropout": 0.5,
    "learning_rate": 1e-3,
    "batch_size": 128,
    "epochs": 60,
    "patience": 8,
    "validate_every": 2,
}
MEASURES = ("map.fine", "map.coarse", "hierarchical_f", "violation_rate")


def trained_on(run, taxonomy):
    """Returns the features of the training clips that a run of `feature_passes` keeps."""
    import numpy as np

    from hmic_keras.data import FeatureSet

    parts = [dict(np.load(path)) for path in sorted((run / "run" / "features").glob("*.npz"))]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    features = joined.pop(" features")
    return FeatureSet(taxonomy, features, {level: joined[level] for level in taxonomy.levels})


def recorded(run, folder, taxonomy):
    """Returns the features of recordings: the mean over the windows of each."""
    import numpy as np

    from hmic_keras import load_model
    from hmic_keras._backends import TFLiteBackend
    from hmic_keras.data import FeatureSet, load_audio
    from hmic_keras.data.audio import frame
    from hmic_keras.export import export_model

    model = load_model(run)
    clips = evaluate_zoo.labelled_folder(folder, taxonomy)
    rate = model.manifest["audio"]["sample_rate"]
    samples = round(model.manifest["window_seconds"] * rate)
    with tempfile.TemporaryDirectory() as place:
        place = Path(place) / "model"
        export_model(model, place, formats=("float32",), extras=("embedding",))
        network = TFLiteBackend(place / "model.tflite")
        windows = [frame(load_audio(path, rate), samples, samples) for path in clips.paths]
        rows = [network.run(one)["embedding"].mean(axis=0) for one in windows]
    return FeatureSet(taxonomy, np.stack(rows), dict(clips.labels))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    from hmic_keras import Taxonomy
    from hmic_keras._versions import versions
    from hmic_keras.data import FeatureSplits
    from hmic_keras.evaluation import compare

    taxonomy = Taxonomy.load("openmic")
    features = arguments.out / "features.npz"
    if not features.is_file():
        arguments.out.mkdir(parents=True, exist_ok=True)
        train = trained_on(arguments.run, taxonomy)
        test = recorded(arguments.run, arguments.real, taxonomy)
        FeatureSplits("recordings", train=train, test=test).standardise().save(features)
    found = compare(
        FeatureSplits.load(features),
        METHODS,
        arguments.out / "comparison",
        seeds=arguments.seeds,
        settings=SETTINGS,
        jobs=arguments.jobs,
        progress=lambda done, total: print(f"{done}/{total} trials", flush=True),
    )
    report = {
        "settings": SETTINGS,
        "seeds": arguments.seeds,
        "measures": {
            measure: {
                "mean_low_high": {
                    name: [round(float(value), 4) for value in row]
                    for name, row in found.summary(measure).items()
                },
                "tests": found.tests(measure),
            }
            for measure in MEASURES
        },
        "versions": versions(),
    }
    for measure in MEASURES:
        for name, row in report["measures"][measure]["mean_low_high"].items():
            print(f"{measure:<16}{name:<22}" + "  ".join(f"{value:.4f}" for value in row))
    if arguments.record:
        RESULTS.write_text(json.dumps(report, indent=2, default=float) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
