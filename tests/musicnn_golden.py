"""Writes `musicnn_golden.npz`: what musicnn's own code answers for a synthetic clip.

Run once, with the wheel unpacked and tf_keras installed, which the original's layers need:

    pip download --no-deps musicnn==0.1.0 && unzip musicnn-0.1.0-py3-none-any.whl
    sed -i 's/np.float16/np.float32/' musicnn/extractor.py
    sed -i 's/n_mels=config.N_MELS/&, pad_mode="reflect"/' musicnn/extractor.py
    python tests/musicnn_golden.py

The first change keeps the spectrogram in single precision: under NumPy 2 the original's
10000 * x overflows half precision to NaN. The second names what librosa did by default when
musicnn was published.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

CHECKPOINTS = ("MTT_musicnn", "MSD_musicnn")
KEEP = ("mean_pool", "max_pool", "penultimate")


def waveform():
    """6.5 s of plucked chords over a pulse, loud and quiet, float32 at 16 kHz."""
    time = np.arange(104000) / 16000
    signal = np.zeros_like(time)
    for index, pitch in enumerate((110.0, 146.83, 220.0, 329.63, 246.94, 164.81)):
        since = time - 1.07 * index
        pluck = np.where(since >= 0, np.exp(-2.5 * np.maximum(since, 0)), 0)
        for partial in range(1, 13):
            signal += 0.25 / partial * pluck * np.sin(2 * np.pi * pitch * partial * since)
    beat = np.mod(time, 0.4)
    signal += 0.2 * np.exp(-60 * beat) * np.sin(2 * np.pi * 9000 * beat**2 * (1 + beat))
    return (0.5 * signal * (0.2 + 0.8 * np.sin(np.pi * time / 6.5) ** 2)).astype("float32")


def main():
    # Here and not on import, which the tests do too: it would change TensorFlow for them.
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    sys.path.insert(0, os.getcwd())
    from musicnn.extractor import extractor

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "clip.wav")
        soundfile.write(path, waveform(), 16000, subtype="FLOAT")
        for checkpoint in CHECKPOINTS:
            taggram, tags, features = extractor(path, model=checkpoint)
            found[f"{checkpoint}/taggram"] = taggram
            found[f"{checkpoint}/tags"] = np.array(tags)
            for name in KEEP:
                found[f"{checkpoint}/{name}"] = features[name]
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **found)


if __name__ == "__main__":
    main()
