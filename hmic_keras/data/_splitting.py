"""Which clips to hold out, so that each class keeps about its share on both sides."""

from collections.abc import Sequence

import numpy as np

from ..errors import HmicError


def held_out(labels: Sequence[np.ndarray], fraction: float, seed: int) -> np.ndarray:
    """Chooses the clips to hold out.

    Classes are served rarest first. A class with two or more present clips aims for at least
    one on each side, so with many rare classes the held-out part can exceed `fraction`; where
    clips hold several rare classes at once, that aim can be missed.

    Args:
        labels: One array `(clips, classes)` a level; above 0.5 counts as present.
        fraction: Share of the clips to hold out, above 0 and below 1.
        seed: Seed of the choice.

    Returns:
        Boolean `(clips,)`.

    Raises:
        HmicError: If `fraction` is out of range or there are fewer than two clips.
    """
    present = np.concatenate(list(labels), axis=1) > 0.5
    clips = len(present)
    if not 0 < fraction < 1 or clips < 2:
        raise HmicError(
            "`split` needs a fraction above 0 and below 1, and at least two clips. "
            f"Received: fraction={fraction!r} and {clips} clips"
        )
    order = np.random.default_rng(seed).permutation(clips)
    held = np.zeros(clips, bool)
    decided = np.zeros(clips, bool)
    counts = present.sum(axis=0)
    for column in np.argsort(counts, kind="stable"):
        if counts[column] < 2:
            continue
        members = order[present[order, column]]
        target = min(max(1, round(fraction * len(members))), len(members) - 1)
        _hold_out(members, target, held, decided)
    # Clips that no class decided make up the rest of the share.
    _hold_out(order, min(max(1, round(fraction * clips)), clips - 1), held, decided)
    return held


def _hold_out(members: np.ndarray, target: int, held: np.ndarray, decided: np.ndarray) -> None:
    """Marks undecided `members` as held out up to `target`, and all of them as decided."""
    free = members[~decided[members]]
    held[free[: max(0, target - held[members].sum())]] = True
    decided[members] = True
