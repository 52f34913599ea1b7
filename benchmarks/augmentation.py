"""Cost of augmentation against a training step of the `conv` backbone.

Every layer runs as part of a compiled graph, with its default settings, on one batch of
four-second crops; the training step is the forward and backward pass and the update of the
default `conv` model with F2CA on the `openmic` taxonomy. The steps on the host run in one
thread of Python; they are timed for a crop that they do change, and weighed by their
probability. Medians of one run, cases in turn.

    python benchmarks/augmentation.py

Prints the figures as JSON and writes them to `benchmarks/results/augmentation.json`.
"""

import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

RATE, SECONDS, BATCH = 16_000, 4, 32
ROUNDS = 15
RESULT = Path(__file__).parent / "results" / "augmentation.json"


def batch():
    """Returns waveforms and labels of one batch of music-like noise."""
    import numpy as np

    import hmic_keras as hk

    random = np.random.default_rng(0)
    waveform = random.normal(0, 0.1, (BATCH, RATE * SECONDS)).astype("float32")
    taxonomy = hk.Taxonomy.load("openmic")
    fine = random.integers(-1, 2, (BATCH, len(taxonomy.classes("fine"))))
    return waveform, taxonomy.close_labels({"fine": fine})


def device_cases(x, labels) -> dict:
    """Returns a call without arguments for each layer, and for the training step."""
    import tensorflow as tf

    import hmic_keras as hk
    from hmic_keras.layers import Augmentation, SpecAugment
    from hmic_keras.layers.augmentation import MIXING_LAYERS, WAVEFORM_LAYERS

    data = (tf.constant(x), {level: tf.constant(one) for level, one in labels.items()})
    log_mel = tf.random.normal((BATCH, 1 + RATE * SECONDS // 320, 80))
    everything = {"waveform": {name: {} for name in WAVEFORM_LAYERS}, "mix": {"name": "mixup"}}

    def compiled(layer, inputs):
        function = tf.function(lambda one: layer(one, training=True))
        return lambda: tf.nest.map_structure(lambda one: one.numpy(), function(inputs))

    def augmentation(spec):
        return compiled(Augmentation.from_spec(spec), data)

    model = hk.build_model(hk.Taxonomy.load("openmic"), backbone="conv", method="f2ca")
    model.compile("adam", "binary_crossentropy")
    return {
        "training_step": lambda: model.train_on_batch(*data),
        **{name: augmentation({"waveform": {name: {}}}) for name in WAVEFORM_LAYERS},
        **{name: augmentation({"mix": {"name": name}}) for name in MIXING_LAYERS},
        "spec_augment": compiled(SpecAugment(), log_mel),
        "all but stem_remix": augmentation(everything),
    }


def host_cases(x) -> dict:
    """Returns a call on one crop for each step of the host, and the step's probability."""
    import numpy as np

    from hmic_keras.data import HostAugmentation

    random = np.random.default_rng(0)
    steps = {
        "host speed": ("speed", {}),
        "host pitch": ("pitch", {}),
        "host tempo": ("tempo", {}),
        **{
            f"host codec {name}": ("codec", {"formats": [name]})
            for name in ("mp3", "vorbis", "telephone")
        },
    }
    cases = {}
    for name, (step, options) in steps.items():
        probability = HostAugmentation(**{step: options}).to_dict()[step]["probability"]
        augment = HostAugmentation(**{step: {**options, "probability": 1.0}})
        wave = np.resize(x[0], round(len(x[0]) * augment.context))
        cases[name] = (lambda augment=augment, wave=wave: augment(wave, random), probability)
    return cases


def medians(calls: dict, rounds: int) -> dict[str, float]:
    """Times all calls in turn, so that a slow moment of the machine meets every one."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def measure(rounds: int) -> dict[str, dict[str, float]]:
    x, labels = batch()
    on_device, on_host = device_cases(x, labels), host_cases(x)
    times = medians(
        {**on_device, **{name: call for name, (call, _) in on_host.items()}}, rounds
    )
    step = times["training_step"]
    results = {
        name: {
            "seconds_per_1000_crops": round(times[name] / BATCH * 1000, 3),
            "share_of_a_training_step": round(times[name] / step, 4),
        }
        for name in on_device
    }
    for name, (_, probability) in on_host.items():
        results[name] = {
            "milliseconds_a_changed_crop": round(1e3 * times[name], 2),
            "seconds_per_1000_crops": round(1000 * probability * times[name], 3),
            "share_of_a_training_step": round(probability * times[name] * BATCH / step, 4),
        }
    return results


def main() -> None:
    from importlib import metadata

    rounds = int(sys.argv[1]) if len(sys.argv) == 2 else ROUNDS
    report = {
        "batch": BATCH,
        "crop_seconds": SECONDS,
        "rounds": rounds,
        "device": f"CPU, {os.cpu_count()} cores, {platform.machine()}",
        "versions": {
            name: metadata.version(name)
            for name in ("tensorflow", "keras", "numpy", "soundfile", "python-stretch")
        },
        "results": measure(rounds),
    }
    text = json.dumps(report, indent=2)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
