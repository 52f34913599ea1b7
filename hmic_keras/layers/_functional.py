"""The mathematics of the layers, as plain functions over tensors.

They hold no state and know no layer, so the Keras 3 layers and a tf_keras twin of a model can
both call them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops


def pooling_plan(links: np.ndarray, num_parents: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Arranges the groups of a hierarchy for `grouped_max`.

    Groups of like size share one rectangular table whose rows are filled up with the group's
    own members from the first on: the gradient of a maximum is shared among equals, and one
    member repeated thousands of times would add up its shares to a little less than one.
    Padding to the next power of two at most doubles the number of links, so work and memory
    stay proportional to it however uneven the groups are.

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
        table = np.stack([np.resize(members[row], width) for row in rows]).astype("int32")
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
    pooled = _reduce_rows(ops.max, ops.moveaxis(scores, -1, 0), plan)
    return ops.moveaxis(pooled, 0, -1)


def _reduce_rows(
    reduce: Callable[..., Any], rows: Any, plan: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Any:
    """Reduces the member rows of each group: `(children, ...)` to `(parents, ...)`."""
    reduced = [reduce(ops.take(rows, table, axis=0), axis=1) for _, table in plan]
    if len(reduced) == 1:
        return reduced[0]
    order = np.argsort(np.concatenate([parents for parents, _ in plan])).astype("int32")
    return ops.take(ops.concatenate(reduced, axis=0), order, axis=0)


class PropagationStep(NamedTuple):
    """One step of a walk through a hierarchy, over all classes of one depth.

    Attributes:
        classes: The classes reached in this step.
        groups: Plan of `grouped_max` that gives each of them its neighbours among the rows at
            hand; empty in the first step.
        kept: Which of the rows at hand and of this step's, in that order, are needed later.
    """

    classes: np.ndarray
    groups: list[tuple[np.ndarray, np.ndarray]]
    kept: np.ndarray


def propagation_plan(
    links: np.ndarray, num_classes: int, *, upward: bool
) -> list[PropagationStep]:
    """Arranges a hierarchy for `descendant_max` (upward) or `path_product` (downward).

    Every step treats the classes of one depth, the longest path from a root, and keeps the
    rows that later steps look at. In a tree those are the neighbours of the next step only, so
    the work is linear in the links; a link over several depths carries its class along.

    Args:
        links: Integers `(num_links, 2)`: parent and child among all classes.
        num_classes: Number of classes.
        upward: Whether parents depend on their children, or children on their parents.

    Returns:
        The steps in order.

    Raises:
        ValueError: If the links run in a circle.
    """
    depths = _depths(links, num_classes)
    targets, sources = (links if upward else links[:, ::-1]).T
    place, carried, steps = np.full(num_classes, -1), np.empty(0, int), []
    last_use = np.full(num_classes, -1)
    times = depths.max(initial=0) - depths if upward else depths
    np.maximum.at(last_use, sources, times[targets])
    for time in range(times.max(initial=-1) + 1):
        classes = np.flatnonzero(times == time)
        rows = np.concatenate([carried, classes])
        place[rows] = np.arange(len(rows))
        now = np.flatnonzero(times[targets] == time)
        groups = np.stack([np.searchsorted(classes, targets[now]), place[sources[now]]], axis=1)
        if upward:
            # A class is a member of its own group, so one without children needs no more.
            own = np.arange(len(classes))
            groups = np.concatenate([groups, np.stack([own, place[classes]], axis=1)])
        groups = groups[np.lexsort(groups.T[::-1])]
        kept = np.flatnonzero(last_use[rows] > time)
        plan = pooling_plan(groups, len(classes)) if time else []
        steps.append(PropagationStep(classes.astype("int32"), plan, kept.astype("int32")))
        carried = rows[kept]
    return steps


def _depths(links: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the longest path from a root to each class."""
    depths = np.zeros(num_classes, int)
    for _ in range(num_classes + 1):
        below = depths.copy()
        np.maximum.at(below, links[:, 1], depths[links[:, 0]] + 1)
        if (below == depths).all():
            return depths
        depths = below
    raise ValueError(
        "The links must not run in a circle, since no class is above itself. Received links "
        f"that lead back to class {int(np.argmax(depths))}"
    )


def descendant_max(scores: Any, plan: Sequence[PropagationStep]) -> Any:
    """Raises each class to the highest of itself and all classes below it.

    The max-constraint of Giunchiglia and Lukasiewicz (NeurIPS 2020, equation 1), depth by
    depth along direct links instead of over all pairs of ancestor and descendant.

    Args:
        scores: `(batch, num_classes)`.
        plan: From `propagation_plan`, upward.

    Returns:
        `(batch, num_classes)`; no class is below one of its descendants.
    """

    def highest(own: Any, rows: Any, step: PropagationStep) -> Any:
        return _reduce_rows(ops.max, rows, step.groups)

    return _propagate(scores, plan, highest)


def path_product(scores: Any, plan: Sequence[PropagationStep]) -> Any:
    """Multiplies each class with the least of its parents' products.

    Args:
        scores: Probabilities given the parents, `(batch, num_classes)`.
        plan: From `propagation_plan`, downward.

    Returns:
        `(batch, num_classes)`; no class is above one of its ancestors.
    """

    def scaled(own: Any, rows: Any, step: PropagationStep) -> Any:
        return own * _reduce_rows(ops.min, rows, step.groups)

    return _propagate(scores, plan, scaled)


def _propagate(
    scores: Any, plan: Sequence[PropagationStep], combine: Callable[..., Any]
) -> Any:
    rows = ops.moveaxis(scores, -1, 0)
    carried, results = None, []
    for step in plan:
        own = result = ops.take(rows, step.classes, axis=0)
        if carried is not None:
            result = combine(own, ops.concatenate([carried, own], axis=0), step)
        results.append(result)
        if not len(step.kept):
            continue
        at_hand = result if carried is None else ops.concatenate([carried, result], axis=0)
        carried = ops.take(at_hand, step.kept, axis=0)
    order = np.argsort(np.concatenate([step.classes for step in plan])).astype("int32")
    return ops.moveaxis(ops.take(ops.concatenate(results, axis=0), order, axis=0), 0, -1)


def rescaled_odds(scores: Any, scale: np.ndarray, offset: np.ndarray) -> Any:
    """Rescales probabilities in logit space: `sigmoid(scale * logit(p) + offset)`.

    Args:
        scores: float32 probabilities `(..., classes)`.
        scale: Positive, `(classes,)`.
        offset: `(classes,)`.

    Returns:
        `(..., classes)`.
    """
    return ops.sigmoid(_logits(scores) * scale.astype("float32") + offset.astype("float32"))


def mean_odds(scores: Any, shares: Sequence[float]) -> Any:
    """Joins probabilities by the weighted mean of their logits.

    Args:
        scores: float32 probabilities `(..., models, classes)`.
        shares: Weight of each model; they sum to 1.

    Returns:
        `(..., classes)`.
    """
    weights = np.array(shares, "float32")[:, np.newaxis]
    return ops.sigmoid(ops.sum(_logits(scores) * weights, axis=-2))


def _logits(scores: Any) -> Any:
    inside = ops.clip(scores, 1e-7, 1.0 - 1e-7)
    return ops.log(inside) - ops.log1p(-inside)


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
