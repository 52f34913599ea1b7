"""Log-mel spectrograms of whole recordings, by the layer that models use."""

from functools import cache
from typing import Any

import numpy as np

from ..config import AudioConfig
from .audio import repeat_to

# An hour at once would take gigabytes of frames.
_BLOCK_FRAMES = 3000


def log_mel(waveform: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Returns what `LogMelSpectrogram` gives for a waveform, computed in blocks.

    Args:
        waveform: Float32 `(samples,)`, of any length.
        audio: Settings of the spectrogram.

    Returns:
        Float32 `(1 + samples // hop_length, n_mels)` for an even `n_fft`.
    """
    layer = _layer(audio)
    hop = audio.hop_length
    waveform = repeat_to(waveform, audio.n_fft // 2 + 1)
    # Frames whose window reaches past a block's inner ends are cut off again.
    margin = -(-audio.n_fft // (2 * hop))
    frames = 1 + (len(waveform) - audio.n_fft % 2) // hop
    blocks = []
    for first in range(0, frames, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, frames)
        # A block that ends near the recording's end takes all of it, end reflected.
        ends = last + 2 * margin >= frames
        start = max(first - margin, 0)
        stop = len(waveform) if ends else (last + margin) * hop
        block = np.asarray(layer(waveform[np.newaxis, start * hop : stop]))[0]
        blocks.append(block[first - start : last - start])
    return np.concatenate(blocks)


@cache
def _layer(audio: AudioConfig) -> Any:
    from ..layers import LogMelSpectrogram

    return LogMelSpectrogram(**audio.to_dict())
