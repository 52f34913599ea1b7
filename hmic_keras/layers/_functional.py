"""The mathematics of the layers, as plain functions over tensors.

They hold no state and know no layer, so the Keras 3 layers and a tf_keras twin of a model can
both call them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops


def pooling_plan(links: np.ndarray, num_parents: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Arranges the groups of a hierarchy for `grouped_max`.

    Groups of like size share one rectangular table whose rows are filled up with the group's
    own first member. Padding to the next power of two at most doubles the number of links, so
    work and memory stay proportional to it however uneven the groups are.

    Args:
        links: Integers `(num_links, 2)`: parent and child index, sorted by parent.
        num_parents: Number of groups; each has at least one link.

    Returns:
        Pairs of the parents `(rows,)` and their members `(rows, width)`.
    """
    parents, starts = np.unique(links[:, 0], return_index=True)
    members = np.split(links[:, 1], starts[1:])
    sizes = np.array([len(group) for group in members])
    widths = 1 << np.ceil(np.log2(sizes)).astype(int)
    # One table is the smaller graph; take it where filling up costs no more than tables would.
    if num_parents * sizes.max() <= 2 * len(links):
        widths = np.full_like(sizes, sizes.max())
    plan = []
    for width in np.unique(widths):
        rows = np.flatnonzero(widths == width)
        table = np.empty((len(rows), width), "int32")
        for row, group in zip(table, (members[index] for index in rows), strict=True):
            row[: len(group)] = group
            row[len(group) :] = group[0]
        plan.append((parents[rows].astype("int32"), table))
    return plan


def grouped_max(scores: Any, plan: Sequence[tuple[np.ndarray, np.ndarray]]) -> Any:
    """Maximum over each group's members.

    Gathers members instead of masking: no fill value enters the result, so logits stay exact
    and the range of a quantised graph stays that of the scores.

    Args:
        scores: `(..., num_children)`.
        plan: From `pooling_plan`.

    Returns:
        `(..., num_parents)`.
    """
    # Gathered along the first axis, a member is one contiguous row: several times faster.
    children = ops.moveaxis(scores, -1, 0)
    pooled = [ops.max(ops.take(children, table, axis=0), axis=1) for _, table in plan]
    if len(pooled) == 1:
        return ops.moveaxis(pooled[0], 0, -1)
    order = np.argsort(np.concatenate([parents for parents, _ in plan])).astype("int32")
    return ops.moveaxis(ops.take(ops.concatenate(pooled, axis=0), order, axis=0), 0, -1)


def residual_attention(values: Any, queries: Any, residual_weight: float) -> Any:
    """Class-specific residual attention over time (Zhu and Wu, ICCV 2021, equations 2 to 5).

    The feature of class `c` is the mean over time plus `residual_weight` times the mean
    weighted by how much `c` attends to each step.

    Args:
        values: `(batch, time, heads, dim)`.
        queries: `(heads, classes, dim)`.
        residual_weight: Weight of the attended mean beside the plain one.

    Returns:
        `(batch, heads, classes, dim)`.
    """
    scale = 1.0 / np.sqrt(values.shape[-1])
    scores = ops.einsum("bthd,hcd->bhct", values, queries) * scale
    attended = ops.einsum("bhct,bthd->bhcd", _softmax(scores), values)
    mean = ops.expand_dims(ops.mean(values, axis=1), axis=2)
    return mean + residual_weight * attended


def attention_maps(features: Any, queries: Any, keys: Any, bias: Any) -> Any:
    """Softmax maps over children, one for each parent, averaged over heads.

    Args:
        features: Class-specific features `(batch, heads, parents, dim)`.
        queries: `(heads, parents, dim)`, which gate the features.
        keys: `(heads, children, dim)`.
        bias: `(heads, parents, children)` or broadcastable to it: the map before any audio.

    Returns:
        `(batch, parents, children)`; each row is positive and sums to 1.
    """
    scale = 1.0 / np.sqrt(features.shape[-1])
    logits = ops.einsum("bhcd,hnd->bhcn", features * queries, keys) * scale + bias
    return ops.mean(_softmax(logits), axis=1)


def weighted_children(maps: Any, children: Any) -> Any:
    """Parent scores `(batch, parents)`: the children weighted by the attention maps."""
    return ops.sum(maps * ops.expand_dims(children, axis=1), axis=-1)


def _softmax(scores: Any) -> Any:
    # One step of time or one child leaves nothing to choose, of which Keras would warn.
    if scores.shape[-1] == 1:
        return ops.exp(scores - scores)
    return ops.softmax(scores, axis=-1)


def log_mel(
    waveform: Any,
    filters: Any,
    *,
    window_length: int,
    hop_length: int,
    n_fft: int,
    log_offset: float,
) -> Any:
    """Natural logarithm of the mel power spectrogram, `log(mel + log_offset)`.

    Frames are centred (reflected at both ends) and weighted by a periodic Hann window, as in
    `librosa.feature.melspectrogram`.

    Args:
        waveform: float32 `(..., samples)`.
        filters: `(n_fft // 2 + 1, n_mels)`.
        window_length: Window length in samples.
        hop_length: Step between frames in samples.
        n_fft: FFT length in samples.
        log_offset: Added before the logarithm.

    Returns:
        `(..., 1 + samples // hop_length, n_mels)`, for an even `n_fft`.
    """
    # By name, TensorFlow's window of an odd length is the symmetric one.
    angles = 2.0 * np.pi / window_length * np.arange(window_length)
    window = (0.5 - 0.5 * np.cos(angles)).astype("float32")
    real, imaginary = ops.stft(
        waveform, window_length, hop_length, n_fft, window=window, center=True
    )
    power = ops.square(real) + ops.square(imaginary)
    return ops.log(ops.matmul(power, filters) + log_offset)
