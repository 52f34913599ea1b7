"""Answers clips with MediaPipe's AudioClassifier; run by the interpreter that has MediaPipe.

    python mediapipe_answers.py MODEL CLIPS.npz ANSWERS.json [THRESHOLD]

`CLIPS.npz` holds each clip as `name` and its sample rate as `name/rate`. The answers are, by
clip, one dict a window: `ms`, where it starts, and `heads`, `[index, name, {class: score}]`.
Without a threshold, that of the file's metadata holds.
"""

import json
import sys

import numpy as np
from mediapipe.tasks.python import audio
from mediapipe.tasks.python.components.containers import AudioData
from mediapipe.tasks.python.core.base_options import BaseOptions


def answers(classifier, samples, rate):
    results = classifier.classify(AudioData.create_from_array(samples, float(rate)))
    return [
        {
            "ms": result.timestamp_ms,
            "heads": [
                [
                    head.head_index,
                    head.head_name,
                    {category.category_name: category.score for category in head.categories},
                ]
                for head in result.classifications
            ],
        }
        for result in results
    ]


def main(model, clips, out, threshold=None):
    options = audio.AudioClassifierOptions(
        base_options=BaseOptions(model_asset_path=model),
        max_results=-1,
        score_threshold=None if threshold is None else float(threshold),
    )
    given = np.load(clips)
    names = [name for name in given.files if not name.endswith("/rate")]
    with audio.AudioClassifier.create_from_options(options) as classifier:
        found = {n: answers(classifier, given[n], given[f"{n}/rate"]) for n in names}
    with open(out, "w", encoding="utf-8") as stream:
        json.dump(found, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
