"""What the joint-training methods share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers

from ..backbones import check_switches
from ..layers import GroupedMaxPool
from ..taxonomy import Taxonomy


@dataclass(frozen=True)
class Features:
    """What a backbone found, for a head to classify.

    Attributes:
        sequence: `(batch, time, dim)`, or `(batch, dim)` where there is no time axis.
        embedding: `(batch, dim)`: the clip as a whole; for methods in `heads.VOICED` also
            `(batch, num_voices, dim)`.
    """

    sequence: Any
    embedding: Any


@dataclass(frozen=True)
class Children:
    """The classes directly below one level: the next finer level, then skip links.

    Attributes:
        levels: The levels they come from, in the order their classes are joined.
        names: Their names, joined.
        links: Integers `(num_links, 2)`: index in the level, index in `names`.
        parents: Increasing indices of the level's classes that have a child.
        childless: Increasing indices of those that have none.
    """

    levels: tuple[str, ...]
    names: tuple[str, ...]
    links: np.ndarray
    parents: np.ndarray
    childless: np.ndarray


def children_of(taxonomy: Taxonomy, level: str) -> Children:
    """Collects everything directly below `level`."""
    finer = taxonomy.levels[: taxonomy.levels.index(level)][::-1]
    found: list[str] = []
    names: list[str] = []
    links = [np.empty((0, 2), int)]
    for low in finer:
        direct = taxonomy.direct_links(level, low)
        if len(direct):
            links.append(direct + np.array([0, len(names)]))
            found.append(low)
            names.extend(taxonomy.classes(low))
    joined = np.concatenate(links)
    every = np.arange(len(taxonomy.classes(level)))
    return Children(
        levels=tuple(found),
        names=tuple(names),
        links=joined,
        parents=np.intersect1d(every, joined[:, 0]),
        childless=np.setdiff1d(every, joined[:, 0]),
    )


def child_scores(children: Children, scores: Mapping[str, Any], level: str) -> list[Any]:
    """Returns the joined scores `(batch, len(children.names))` in a list, empty for none."""
    parts = [scores[low] for low in children.levels]
    return [join(parts, f"{level}_children")] if parts else []


def classifier(features: Features, num_classes: int, name: str) -> Any:
    """Classifies the clip: independent probabilities `(batch, num_classes)` in float32."""
    return probabilities(features.embedding, num_classes, name)


def probabilities(x: Any, num_classes: int, name: str) -> Any:
    """Turns a vector for each clip into probabilities `(batch, num_classes)` in float32."""
    logits = layers.Dense(num_classes, name=f"{name}_logits")(x)
    return layers.Activation("sigmoid", dtype="float32", name=f"{name}_probabilities")(logits)


def own_classes(children: Children, own_scores: bool) -> np.ndarray:
    """Returns the classes of a level that get a classifier of their own.

    Raises:
        ModelError: If `own_scores` is neither True nor False.
    """
    check_switches(own_scores=own_scores)
    if own_scores:
        return np.sort(np.concatenate([children.parents, children.childless]))
    return children.childless


def own_name(level: str, own_scores: bool) -> str:
    """Names the classifier of `own_classes`."""
    return f"{level}_own" if own_scores else f"{level}_childless"


def join(parts: list[Any], name: str) -> Any:
    """Joins scores along the classes; a single part stays as it is."""
    if len(parts) == 1:
        return parts[0]
    return layers.Concatenate(dtype="float32", name=name)(parts)


def pool(scores: Any, links: np.ndarray, num_parents: int, name: str) -> Any:
    """Maximum of each parent's members, in float32."""
    mask = {"links": links.tolist(), "shape": [num_parents, scores.shape[-1]]}
    return GroupedMaxPool(mask, dtype="float32", name=name)(scores)


def grouped_scores(
    taxonomy: Taxonomy, own_scores: bool, classify: Callable[[int, str], Any]
) -> dict[str, Any]:
    """Scores each coarser class as the highest of its children.

    Args:
        taxonomy: The taxonomy.
        own_scores: Whether a class with children is classified as well, as one more child.
        classify: Makes the probabilities `(..., num_classes)` of a number of classes, with a
            name for its layers.

    Returns:
        Probabilities by level.

    Raises:
        ModelError: If `own_scores` is neither True nor False.
    """
    finest, *coarser = taxonomy.levels
    scores = {finest: classify(len(taxonomy.classes(finest)), finest)}
    for level in coarser:
        children = children_of(taxonomy, level)
        parts, links = child_scores(children, scores, level), children.links
        own = own_classes(children, own_scores)
        if len(own):
            # The score of its own is one more member of a class's group.
            members = np.arange(len(own)) + len(children.names)
            links = np.concatenate([links, np.stack([own, members], axis=1)])
            parts.append(classify(len(own), own_name(level, own_scores)))
        members = join(parts, f"{level}_members")
        scores[level] = pool(members, links, len(taxonomy.classes(level)), f"{level}_gmp")
    return scores


def classifiers(features: Features, taxonomy: Taxonomy) -> dict[str, Any]:
    """Classifies every level from the same features: probabilities by level."""
    return {
        level: classifier(features, len(taxonomy.classes(level)), level)
        for level in taxonomy.levels
    }


def layer_links(taxonomy: Taxonomy) -> list[list[Any]]:
    """Returns the direct links as the layers over all levels take them."""
    return [
        [parent, child, links.tolist()] for parent, child, links in taxonomy.linked_levels()
    ]
