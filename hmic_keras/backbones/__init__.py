"""Feature extractors, one per file, and the registry of their names.

A backbone is a function from a symbolic tensor to features: `(batch, time, dim)` where the
input has a time axis, `(batch, dim)` otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..config import AudioConfig
from ..errors import ModelError
from . import applications
from ._common import check_counts, check_rate, check_switches
from .conv import conv
from .conv_attention import conv_attention
from .mlp import mlp, mlp_voices
from .musicnn import MUSICNN_AUDIO, musicnn
from .musicnn_tagger import MusicnnTagger
from .short_chunk_res import short_chunk_res

Backbone = Callable[..., Any]

BACKBONES: Mapping[str, Backbone] = {
    "conv": conv,
    "conv_attention": conv_attention,
    "mlp": mlp,
    "musicnn": musicnn,
    "short_chunk_res": short_chunk_res,
}

# Backbones that can see an embedding `(batch, dim)` through several voices, as
# `(batch, num_voices, dim)`; called with the number of voices, and whether they share their
# matrices, after the input.
VOICED: Mapping[str, Backbone] = {"mlp": mlp_voices}

__all__ = [
    "BACKBONES",
    "MUSICNN_AUDIO",
    "VOICED",
    "Backbone",
    "MusicnnTagger",
    "audio_for",
    "check_counts",
    "check_rate",
    "check_switches",
    "conv",
    "conv_attention",
    "get",
    "mlp",
    "mlp_voices",
    "musicnn",
    "short_chunk_res",
]


def get(name: str) -> Backbone:
    """Returns the backbone called `name`.

    Args:
        name: One of `BACKBONES`, or an image model as `keras.applications` spells it, such as
            `"MobileNetV3Small"`.

    Raises:
        ModelError: If there is none.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name in applications.names():
        return applications.application(name)
    raise ModelError(
        f"`backbone` must be one of {sorted(BACKBONES)} or the name of an image model of "
        f"keras.applications, such as 'MobileNetV3Small'. Received: {name!r}"
    )


def audio_for(name: str, options: Mapping[str, Any], audio: AudioConfig | None) -> AudioConfig:
    """Returns the audio settings to build a backbone with.

    Args:
        name: Name of the backbone.
        options: Its options.
        audio: The settings asked for, or None for those that suit the backbone.

    Raises:
        ModelError: If published weights are asked for with other settings than their own.
    """
    own = MUSICNN_AUDIO if name == "musicnn" else AudioConfig()
    if name == "musicnn" and options.get("weights") is not None and audio not in (None, own):
        raise ModelError(
            "The published weights of 'musicnn' need its own audio settings: leave `audio` "
            f"out, or give `backbones.MUSICNN_AUDIO`. Received: {audio}"
        )
    return audio or own
