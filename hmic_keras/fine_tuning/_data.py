"""Labelled recordings as people have them, and as a model with more classes needs them."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..batch import find_audio
from ..data.label_checks import contradictions
from ..data.sources.folder import LabelledClips, read_clips, read_labels
from ..errors import LabelError, TaxonomyError
from ..taxonomy import Taxonomy

__all__ = ["open_recordings"]

_TABLE = "labels.csv"
_NOTHING = "none"
_SHOWN = 5


def open_recordings(data: str | os.PathLike[str], taxonomy: Taxonomy) -> LabelledClips:
    """Reads a label table, or a folder with a sub-folder of recordings for each class.

    In a sub-folder, the class it is named after is present (its name, or `level-name` where a
    finer level uses the name too) and every class that does not follow from it absent, so it
    is for recordings of one instrument; mixtures need a table. What lies in the sub-folder
    `none` lacks every class. A folder that holds `labels.csv` is read by that table.

    Args:
        data: A CSV as `data.read_clips` reads it, or a folder.
        taxonomy: The classes.

    Returns:
        The clips.

    Raises:
        LabelError: If there is nothing to read, a sub-folder is no class, a file lies beside
            the sub-folders, or labels contradict the hierarchy; the message lists the first
            ones.

    Example:
        >>> import tempfile
        >>> taxonomy = Taxonomy.from_dict({"plucked": ["koto", "sitar"]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("koto", "sitar", "none"):
        ...         Path(folder, name).mkdir()
        ...         Path(folder, name, "a.wav").touch()
        ...     clips = open_recordings(folder, taxonomy)
        >>> clips.labels["fine"]
        array([[1., 0.],
               [0., 0.],
               [0., 1.]], dtype=float32)
    """
    path = Path(data)
    if path.is_dir() and (path / _TABLE).is_file():
        path = path / _TABLE
    if path.is_dir():
        return _from_folders(path, taxonomy)
    if not path.is_file():
        raise LabelError(
            f"'{path}': no such file or folder. Name a table of labels, or a folder with a "
            "sub-folder for each class."
        )
    paths, labels = read_labels(path, taxonomy)
    if wrong := contradictions(taxonomy, labels):
        listed = "; ".join(
            f"row {row + 1} after the header ({paths[row]}): {child} without {parent}"
            for row, child, parent in wrong[:_SHOWN]
        )
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise LabelError(
            f"{path}: {len(wrong)} label(s) contradict the hierarchy, a class being present "
            f"and its parent absent: {listed}{more}. Correct the labels, leave the parent "
            "empty, or correct the taxonomy."
        )
    return read_clips(path, taxonomy)


def widen(clips: LabelledClips, taxonomy: Taxonomy) -> LabelledClips:
    """Labels clips in a taxonomy that has all their classes and more.

    What is absent among a family's known members may be present among those it has besides, so
    that a family counts as absent only where it has no other members.

    Args:
        clips: Labelled clips.
        taxonomy: With the same levels and at least their classes.
    """
    labels = {}
    for level in clips.taxonomy.levels:
        names = clips.taxonomy.classes(level)
        places = [taxonomy.index(level)[name] for name in names]
        values = np.full((len(clips), len(taxonomy.classes(level))), -1.0, np.float32)
        values[:, places] = clips.labels[level]
        for name, place in zip(names, places, strict=True):
            before = clips.taxonomy.children(name, level)
            if len(taxonomy.children(name, level)) > len(before):
                column = values[:, place]
                values[:, place] = np.where(column > 0.5, column, -1.0)
        labels[level] = values
    return LabelledClips(taxonomy, clips.paths, labels, None)


def with_soft_labels(
    clips: LabelledClips, scores: Mapping[str, np.ndarray], filled: Mapping[str, np.ndarray]
) -> LabelledClips:
    """Fills labels nobody gave with a teacher's probabilities, along the hierarchy.

    Args:
        clips: The clips.
        scores: By level, the teacher's probabilities `(clips, classes)`.
        filled: By level, boolean `(classes,)`: the classes to fill.
    """
    taxonomy = clips.taxonomy
    labels = {
        level: np.where((values < 0) & filled[level], scores[level], values)
        for level, values in clips.labels.items()
    }
    given = {level: values >= 0 for level, values in clips.labels.items()}
    for parent, child, links in reversed(taxonomy.linked_levels()):
        for p, c in links:
            above, below = labels[parent][:, p], labels[child][:, c]
            conflict = (above >= 0) & (below > above)
            # A label that was given stands; otherwise a family is as likely as its member.
            yields = given[parent][:, p] & ~given[child][:, c]
            labels[child][:, c] = np.where(conflict & yields, above, below)
            labels[parent][:, p] = np.where(conflict & ~given[parent][:, p], below, above)
    return LabelledClips(taxonomy, clips.paths, labels, None)


def _from_folders(folder: Path, taxonomy: Taxonomy) -> LabelledClips:
    found: list[tuple[str, dict[str, np.ndarray]]] = []
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        if sub.name.startswith("."):
            continue
        files = [name for name in find_audio([sub]) if name != str(sub)]
        if not files:
            raise LabelError(f"'{sub}' holds no audio file. Add some, or remove the folder.")
        labels = _labels_of(sub, taxonomy)
        found += [(name, labels) for name in files]
    if not found:
        raise LabelError(
            f"'{folder}' holds neither '{_TABLE}' nor sub-folders. Make a sub-folder for each "
            f"class, such as '{taxonomy.classes(taxonomy.levels[0])[0]}', with its recordings."
        )
    inside = {name for name, _ in found}
    if loose := [Path(name).name for name in find_audio([folder]) if name not in inside]:
        raise LabelError(
            f"'{folder}' holds {len(loose)} audio file(s) beside the sub-folders, whose class "
            f"nobody knows: {_some(loose)}. Move them into the sub-folder of their class, or "
            f"into '{_NOTHING}' if they show none."
        )
    return LabelledClips(
        taxonomy,
        tuple(Path(name) for name, _ in found),
        {
            level: np.stack([labels[level] for _, labels in found]).astype(np.float32)
            for level in taxonomy.levels
        },
    )


def _labels_of(folder: Path, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    """Returns the labels of a clip that shows the class the folder is named after."""
    labels = {level: np.zeros(len(taxonomy.classes(level))) for level in taxonomy.levels}
    try:
        level, name = taxonomy.resolve(_column(folder.name, taxonomy))
    except TaxonomyError as error:
        if folder.name == _NOTHING:
            return labels
        raise LabelError(
            f"'{folder}' is named after no class: {error} Rename the folder, add the class to "
            f"the taxonomy, or call it '{_NOTHING}' if it holds none of the classes."
        ) from error
    place = taxonomy.index(level)[name]
    labels[level][place] = 1.0
    number = taxonomy.levels.index(level)
    for other in taxonomy.levels[:number]:
        # Which of its members it is, the name of the folder does not say.
        labels[other][taxonomy.mask(level, other)[place]] = -1.0
    for other in taxonomy.levels[number + 1 :]:
        labels[other][taxonomy.mask(other, level)[:, place]] = 1.0
    for other in taxonomy.levels[1:]:
        # The members that are open may have other families.
        members = taxonomy.mask(other, taxonomy.levels[0])
        unknown = (members & (labels[taxonomy.levels[0]] < 0)).any(axis=1)
        labels[other][unknown & (labels[other] == 0)] = -1.0
    return labels


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more


def _column(folder: str, taxonomy: Taxonomy) -> str:
    # A colon is not allowed in the names of folders everywhere.
    level, dash, name = folder.partition("-")
    if dash and level in taxonomy.levels and name in taxonomy.index(level):
        return f"{level}:{name}"
    return folder
