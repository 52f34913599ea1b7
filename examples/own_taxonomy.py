"""Train on a hierarchy of one's own: the demo clips, grouped by how sound is made.

Run it from any folder: `python own_taxonomy.py`. It takes about a minute on two cores.
"""

import sys

import hmic_keras as hk
from hmic_keras.config import TrainConfig
from hmic_keras.data import demo_clips
from hmic_keras.training import train

EXCITATION = {
    "blown": ["clarinet", "flute", "saxophone", "trombone", "trumpet", "voice"],
    "bowed": ["cello", "violin"],
    "plucked": ["banjo", "bass", "guitar", "mandolin", "ukulele"],
    "struck": ["cymbals", "drums", "mallet_percussion", "piano"],
    "sustained_by_machine": ["accordion", "organ", "synthesizer"],
}


def main(epochs: int = 10) -> None:
    taxonomy = hk.Taxonomy.from_dict(EXCITATION)
    clips = demo_clips("train", taxonomy)
    config = TrainConfig(epochs=epochs, batch_size=16, crop_seconds=3.0)
    result = train(clips, method="gmp", config=config)

    report = hk.evaluation.evaluate(result.model, demo_clips("test", taxonomy))
    for level, scores in report.results["levels"].items():
        print(f"{level}: mAP {scores['map']:.3f}, chance {scores['map_baseline']:.3f}")
    result.model.save("own_taxonomy.keras")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
