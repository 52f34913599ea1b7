"""What may be wrong with labelled clips, found before anything is trained on them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LabelError
from ..taxonomy import Taxonomy, as_labels
from ._tables import some
from .audio import load_audio
from .fingerprints import RATE, fingerprint, matches
from .sources.folder import LabelledClips

__all__ = ["Finding", "LabelChecks", "check_labels", "contradictions"]

Severity = Literal["error", "warning", "note"]

FEW = 10
"""Below so many clips, a class is hard to learn and harder to measure."""
# Two files of different sound agree by chance in a few seconds at most.
_LONGEST_SECONDS = 60.0


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: `"missing"`, `"no_examples"`, `"few_examples"`, `"single_recording"`,
            `"one_kind"`, `"kept"`, `"only_present"`, `"undecided"`, `"duplicate"`,
            `"contradiction"`, `"leak"` or `"untested"`.
        severity: `"error"` if training cannot go on, `"warning"` if it should not, `"note"`
            for what one should know.
        message: What was found and what to do about it.
        clips: Names of the files concerned.
    """

    kind: str
    severity: Severity
    message: str
    clips: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON-able values."""
        return {**vars(self), "clips": list(self.clips)}


@dataclass(frozen=True)
class LabelChecks:
    """What the checks found.

    Attributes:
        findings: Errors first.
        counts: By level and class, the clips that are `present`, `absent` and `unobserved`.
        groups: For each clip the number of its group: clips that share sound, and must not be
            on both sides of a split, have the same one.
    """

    findings: tuple[Finding, ...]
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    groups: NDArray[np.int64]

    def refuse(self) -> None:
        """Raises a `LabelError` that names every error, if there are any."""
        errors = [one.message for one in self.findings if one.severity == "error"]
        if errors:
            raise LabelError(" ".join(errors))

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON-able values."""
        return {
            "findings": [one.to_dict() for one in self.findings],
            "counts": {level: dict(rows) for level, rows in self.counts.items()},
        }


def check_labels(
    clips: LabelledClips,
    test: LabelledClips | None = None,
    *,
    known: Sequence[tuple[str, str]] = (),
) -> LabelChecks:
    """Looks for missing and doubtful labels, for copies, and for leaks into a test set.

    Copies are found by their bytes and by audio fingerprint (`data.fingerprints`), so whatever
    their coding, level and cut; of a long recording the first minute is compared. Different
    parts of one recording cannot be told from two recordings.

    Args:
        clips: The clips to train on.
        test: Clips to test on, which must share no sound with them.
        known: Classes as `(level, name)` that a model knows already and that therefore need no
            examples.

    Returns:
        The findings; `refuse` raises if there are errors among them.

    Raises:
        AudioError: If a file cannot be decoded.
        LabelError: If `test` is of another taxonomy.
    """
    if test is not None and test.taxonomy.hash != clips.taxonomy.hash:
        raise LabelError(
            "The clips to test on must be labelled with the taxonomy of those to train on, "
            f"{clips.taxonomy.name!r}. Received: {test.taxonomy.name!r}"
        )
    counts = _counts(clips)
    together = [*clips.paths, *(test.paths if test is not None else ())]
    copies = _copies(together)
    groups = _groups(len(clips), [(i, j) for i, j, _ in copies if j < len(clips)])
    findings = [
        *_coverage(clips, counts, set(known)),
        *_scarce(clips, counts, groups),
        *_unlabelled(clips),
        *_undecided(clips),
        *_judge_copies(clips, test, copies),
        *(_untested(test) if test is not None else ()),
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    findings.sort(key=lambda one: order[one.severity])
    return LabelChecks(tuple(findings), counts, groups)


def contradictions(
    taxonomy: Taxonomy, labels: Mapping[str, ArrayLike]
) -> list[tuple[int, str, str]]:
    """Lists where a class is labelled present below one that is labelled absent.

    Args:
        taxonomy: The hierarchy.
        labels: By level, as given, `(clips, classes)`.

    Returns:
        For each contradiction the row, the child and the parent, the classes as `level:name`.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin"], "brass": ["horn"]})
        >>> contradictions(taxonomy, {"fine": [[1, 0]], "coarse": [[0, 0]]})
        [(0, 'fine:violin', 'coarse:strings')]
    """
    arrays = {level: as_labels(values, level) for level, values in labels.items()}
    found = []
    for number, child in enumerate(taxonomy.levels):
        for parent in taxonomy.levels[number + 1 :]:
            if child not in arrays or parent not in arrays:
                continue
            for p, c in taxonomy.links(parent, child):
                above = arrays[parent][:, p]
                wrong = (arrays[child][:, c] > 0.5) & (above >= 0) & (above <= 0.5)
                names = taxonomy.classes(child)[c], taxonomy.classes(parent)[p]
                found += [
                    (int(row), f"{child}:{names[0]}", f"{parent}:{names[1]}")
                    for row in np.flatnonzero(wrong)
                ]
    return sorted(found)


def _counts(clips: LabelledClips) -> dict[str, dict[str, dict[str, int]]]:
    found: dict[str, dict[str, dict[str, int]]] = {}
    for level, values in clips.labels.items():
        present, unknown = values > 0.5, values < 0
        found[level] = {
            name: {
                "present": int(present[:, i].sum()),
                "absent": int((~present & ~unknown)[:, i].sum()),
                "unobserved": int(unknown[:, i].sum()),
            }
            for i, name in enumerate(clips.taxonomy.classes(level))
        }
    return found


def _coverage(
    clips: LabelledClips,
    counts: Mapping[str, Mapping[str, Mapping[str, int]]],
    known: set[tuple[str, str]],
) -> list[Finding]:
    """Finds classes without examples, or with one kind of them only."""
    lacking: dict[tuple[str, bool], list[str]] = {}
    for (level, name), count in _leaves(clips.taxonomy, counts).items():
        for kind in ("present", "absent"):
            if not count[kind]:
                place = kind, (level, name) in known
                lacking.setdefault(place, []).append(f"{level}:{name}")
                break
    findings = []
    if empty := lacking.get(("present", False)):
        it, target = ("it", "a class") if len(empty) == 1 else ("them", "classes")
        findings.append(
            Finding(
                "no_examples",
                "error",
                f"No clip shows {some(empty)}, and the base model does not know {it}. Add "
                f"clips, take {it} out of the taxonomy, or map {it} to {target} of the base "
                "model.",
            )
        )
    if one_kind := lacking.get(("absent", False)):
        findings.append(
            Finding(
                "one_kind",
                "error",
                f"No clip is labelled as lacking {some(one_kind)}, so there is nothing to tell "
                f"{_it(one_kind)} from. Add clips of other sound (in a folder: a sub-folder "
                "'none'), or label some 0.",
            )
        )
    if only := lacking.get(("absent", True)):
        findings.append(
            Finding(
                "only_present",
                "warning",
                f"No clip is labelled as lacking {some(only)}, so the clips teach nothing "
                f"about {_it(only)}: the base model's classifier goes on unchanged, and cannot "
                "be scored. Add clips of other sound (in a folder: a sub-folder 'none'), or "
                "label some 0.",
            )
        )
    if kept := lacking.get(("present", True)):
        findings.append(
            Finding(
                "kept",
                "note",
                f"No clip shows {some(kept)}, which the base model knows: its classifier goes "
                "on unchanged, and is not scored. Add clips if you want it to learn.",
            )
        )
    return findings


def _leaves(
    taxonomy: Taxonomy, counts: Mapping[str, Mapping[str, Mapping[str, int]]]
) -> dict[tuple[str, str], Mapping[str, int]]:
    """Returns the counts of classes without children; those of others follow from them."""
    return {
        (level, name): count
        for level, rows in counts.items()
        for name, count in rows.items()
        if not taxonomy.children(name, level)
    }


def _scarce(
    clips: LabelledClips,
    counts: Mapping[str, Mapping[str, Mapping[str, int]]],
    groups: NDArray[np.int64],
) -> list[Finding]:
    """Finds classes with few examples, and those with a single recording."""
    leaves, findings = _leaves(clips.taxonomy, counts), []
    single = []
    for level, name in leaves:
        shown = clips.labels[level][:, clips.taxonomy.index(level)[name]] > 0.5
        if len(set(groups[shown])) == 1:
            single.append(f"{level}:{name}")
    if single:
        findings.append(
            Finding(
                "single_recording",
                "warning",
                f"A single recording shows {some(single)}: whatever scores it has never heard "
                f"{_it(single)}, so the score means nothing. Add recordings, better ten than "
                "two.",
            )
        )
    counted = [(name, count["present"]) for (_, name), count in leaves.items()]
    few = [f"{name} ({present})" for name, present in counted if 0 < present < FEW]
    if few:
        findings.append(
            Finding(
                "few_examples",
                "warning",
                f"Fewer than {FEW} clips show {some(few, quote=False)}: expect wide intervals, "
                "or add clips.",
            )
        )
    return findings


def _unlabelled(clips: LabelledClips) -> list[Finding]:
    """Finds clips without any label."""
    blank = ~np.any([(values >= 0).any(axis=1) for values in clips.labels.values()], axis=0)
    if not blank.any():
        return []
    names = _names(clips, np.flatnonzero(blank))
    return [
        Finding(
            "missing",
            "warning",
            f"{len(names)} clip(s) have no label at all and teach nothing: {some(names)}. "
            "Label them, or leave them out.",
            names,
        )
    ]


def _untested(test: LabelledClips) -> list[Finding]:
    """Finds classes that the clips to test on cannot score."""
    leaves = _leaves(test.taxonomy, _counts(test))
    found = [
        f"{level}:{name} ({'none shows it' if not count['present'] else 'none lacks it'})"
        for (level, name), count in leaves.items()
        if not (count["present"] and count["absent"])
    ]
    if not found:
        return []
    return [
        Finding(
            "untested",
            "warning",
            f"The clips to test on cannot score {some(found, quote=False)}. Add clips with and "
            "without each class.",
        )
    ]


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _undecided(clips: LabelledClips) -> list[Finding]:
    """Finds clips that show a class and leave open which of its children."""
    taxonomy, open_clips = clips.taxonomy, np.zeros(len(clips), bool)
    for parent, child, links in taxonomy.linked_levels():
        for p in np.unique(links[:, 0]):
            members = clips.labels[child][:, links[links[:, 0] == p, 1]]
            silent = ~(members > 0.5).any(axis=1) & (members < 0).any(axis=1)
            open_clips |= (clips.labels[parent][:, p] > 0.5) & silent
    if not open_clips.any():
        return []
    names = _names(clips, np.flatnonzero(open_clips))
    return [
        Finding(
            "undecided",
            "note",
            f"{len(names)} clip(s) show a family but not which of its members: {some(names)}. "
            "With the method 'gmp' they teach only in the modes gradual and full.",
            names,
        )
    ]


def _copies(paths: Sequence[Path]) -> list[tuple[int, int, str]]:
    """Returns pairs of files with the same sound, and in what they agree."""
    first: dict[str, int] = {}
    same: dict[tuple[int, int], str] = {}
    prints = []
    for index, path in enumerate(paths):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        before = first.setdefault(digest, index)
        if before != index:
            same[before, index] = "the same bytes"
            prints.append(np.zeros(0, np.uint32))
            continue
        sound = load_audio(path, RATE, duration=_LONGEST_SECONDS)
        prints.append(fingerprint(sound))
    for match in matches(prints):
        same[match.first, match.second] = f"{match.seconds:.1f} s of the same sound"
    return [(i, j, what) for (i, j), what in sorted(same.items())]


def _judge_copies(
    clips: LabelledClips, test: LabelledClips | None, copies: Sequence[tuple[int, int, str]]
) -> list[Finding]:
    findings = []
    count = len(clips)
    for i, j, what in copies:
        if i < count <= j and test is not None:
            pair = (str(clips.paths[i]), str(test.paths[j - count]))
            findings.append(
                Finding(
                    "leak",
                    "error",
                    f"{pair[0]} (training) and {pair[1]} (test) hold {what}; take one out.",
                    pair,
                )
            )
        elif j < count:
            pair = (str(clips.paths[i]), str(clips.paths[j]))
            differing = _differences(clips, i, j)
            if differing:
                text = f"{pair[0]} and {pair[1]} hold {what}, but differ in {some(differing)}."
                advice = " Correct one of them or leave one out."
                findings.append(Finding("contradiction", "warning", text + advice, pair))
            else:
                text = f"{pair[0]} and {pair[1]} hold {what}; they count as one recording."
                findings.append(Finding("duplicate", "warning", text, pair))
    return findings


def _differences(clips: LabelledClips, i: int, j: int) -> list[str]:
    found = []
    for level, values in clips.labels.items():
        seen = (values[i] >= 0) & (values[j] >= 0)
        for place in np.flatnonzero(seen & ((values[i] > 0.5) != (values[j] > 0.5))):
            found.append(f"{level}:{clips.taxonomy.classes(level)[place]}")
    return found


def _groups(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Joins clips that are copies of one another, through others too."""
    group = list(range(count))

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    for i, j in pairs:
        group[root(j)] = root(i)
    return np.array([root(index) for index in range(count)])


def _names(clips: LabelledClips, rows: Sequence[int] | np.ndarray) -> tuple[str, ...]:
    return tuple(str(clips.paths[row]) for row in rows)
