"""Modelled instruments: sounds that follow from how an instrument works, not from samples.

A SoundFont holds one or two recordings of each instrument. A model draws its instrument anew
for every part, so that what stays the same is what makes the class.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from hmic_keras.data.synthesis._instruments import INSTRUMENTS, Instrument
from hmic_keras.data.synthesis._models._blown import (
    cello,
    clarinet,
    flute,
    saxophone,
    trombone,
    trumpet,
    violin,
)
from hmic_keras.data.synthesis._models._plucked import (
    acoustic_guitar,
    banjo,
    bass,
    electric_guitar,
    guitar,
    mandolin,
    ukulele,
)
from hmic_keras.data.synthesis._models._reeds import accordion, organ
from hmic_keras.data.synthesis._models._stage import Model, Stage
from hmic_keras.data.synthesis._models._struck import (
    cymbals,
    drums,
    mallet_percussion,
    piano,
)
from hmic_keras.data.synthesis._models._synthesizer import synthesizer
from hmic_keras.data.synthesis._models._voice import voice
from hmic_keras.data.synthesis._score import Part

MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "accordion": accordion,
        "acoustic_guitar": acoustic_guitar,
        "banjo": banjo,
        "bass": bass,
        "cello": cello,
        "clarinet": clarinet,
        "cymbals": cymbals,
        "drums": drums,
        "electric_guitar": electric_guitar,
        "flute": flute,
        "guitar": guitar,
        "mallet_percussion": mallet_percussion,
        "mandolin": mandolin,
        "organ": organ,
        "piano": piano,
        "saxophone": saxophone,
        "synthesizer": synthesizer,
        "trombone": trombone,
        "trumpet": trumpet,
        "ukulele": ukulele,
        "violin": violin,
        "voice": voice,
    }
)
# The range of FluidSynth's peaks.
_PEAKS = (0.12, 0.45)


def has_model(class_name: str, instrument: Instrument) -> bool:
    """Returns whether a class is one of ours and has a model; not if a program defines it."""
    return class_name in MODELS and INSTRUMENTS.get(class_name) == instrument


def play(rng: np.random.Generator, part: Part, frames: int, rate: int) -> np.ndarray:
    """Plays a part by the model of its class.

    Args:
        rng: Source of every choice: of the instrument and of how it is played.
        part: What to play; its class must be in `MODELS`, its first note before the end.
        frames: Length of the result in samples.
        rate: Samples a second.

    Returns:
        Left and right, float32 of shape `(2, frames)`, with a peak of 0.12 to 0.45.
    """
    sound = MODELS[part.class_name](Stage(rng, part, frames, rate))
    gain = rng.uniform(*_PEAKS) / max(float(np.abs(sound).max()), 1e-12)
    return np.broadcast_to(np.float32(gain) * sound, (2, frames)).astype(np.float32)
