"""Cost of mixing stems, and of reading them at another speed.

The layer that mixes stems for `hmic train`, on noise, as a graph of TensorFlow on a CPU: with
the usual numbers of stems, and with as many in each example as in the fullest, which is what it
would cost to compute stems that do not join. Then the resampling within it, compiled by itself
and operation by operation. Best processor time of several calls.

    python benchmarks/stem_mixing.py

Prints the figures as JSON and writes them to `benchmarks/results/stem_mixing.json`.
"""

import dataclasses
import functools
import json
import os
import time
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RATE, SECONDS, BATCH, STEMS, ROUNDS = 16_000, 3, 64, 200, 4
SPEED = (0.9, 1.12)
RESULT = Path(__file__).parent / "results" / "stem_mixing.json"


def best(call) -> float:
    """Returns the least processor time of a call, after a first one."""
    call()
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return round(min(times), 4)


def main() -> None:
    import numpy as np
    import tensorflow as tf

    import hmic_keras as hk
    from hmic_keras._versions import versions
    from hmic_keras.config import StemConfig
    from hmic_keras.data.stems import FRAME, StemBank
    from hmic_keras.layers import augmentation_math
    from hmic_keras.training._stem_mixer import StemMixer

    random, taxonomy = np.random.default_rng(1), hk.Taxonomy.load("openmic")
    bank = StemBank(
        taxonomy,
        RATE,
        random.normal(0, 3000, (STEMS, 10 * RATE // FRAME, FRAME)).astype("int16"),
        random.integers(0, len(taxonomy.classes("fine")), STEMS).astype("int32"),
        (np.arange(STEMS) // 3).astype("int32"),
    )
    crop = RATE * SECONDS
    config = StemConfig(speed=SPEED, equalizer_db=8.0)
    full = dataclasses.replace(config, sizes=(0.0,) * (len(config.sizes) - 1) + (1.0,))
    mixer, full_mixer = (
        StemMixer(bank, one, crop_samples=crop, batch_size=BATCH, seed=0)
        for one in (config, full)
    )
    mixer.build()
    full_mixer.build()
    rows = BATCH * len(config.sizes)
    waveform = tf.random.normal((rows, round(crop * SPEED[1]) + 4))
    speed = tf.random.uniform((rows, 1), *SPEED)
    plain = tf.function(functools.partial(augmentation_math._cubic, samples=crop))
    fast = tf.function(functools.partial(augmentation_math.resampled, samples=crop))
    mixed, fully_mixed = tf.function(mixer), tf.function(full_mixer)
    report = {
        "batch": BATCH,
        "crop_seconds": SECONDS,
        "processor_seconds": {
            "mixing": best(lambda: mixed(None)[0].numpy()),
            "mixing, every example full": best(lambda: fully_mixed(None)[0].numpy()),
            "resampling, compiled": best(lambda: fast(waveform, speed).numpy()),
            "resampling, operation by operation": best(lambda: plain(waveform, speed).numpy()),
        },
        "largest_difference": float(
            tf.reduce_max(tf.abs(fast(waveform, speed) - plain(waveform, speed)))
        ),
        "versions": versions(),
        "processors": os.cpu_count(),
    }
    text = json.dumps(report, indent=2)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
