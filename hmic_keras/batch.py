"""Predicting many files: finding them, answering them one by one, and one table of it all."""

import csv
import logging
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ._files import atomic_path
from .errors import AudioError, HmicError
from .inference import Prediction, Predictor
from .taxonomy import Taxonomy

__all__ = ["AUDIO_SUFFIXES", "FileResult", "find_audio", "predict_files", "write_table"]

_LOG = logging.getLogger("hmic_keras")

_DECODED = {".wav", ".wave", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
_DECODED |= {".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"}
# Found too, so that the table says that they have no answer.
_REFUSED = {".m4a", ".mp4", ".aac", ".wma", ".webm", ".ape"}
AUDIO_SUFFIXES = frozenset(_DECODED | _REFUSED)
"""What counts as an audio file in a folder, in lower case."""

_COLUMNS = ("path", "status", "error", "seconds", "tags")
# Decoding and the model release the interpreter lock, so two threads overlap them.
_THREADS = 2
_AHEAD = 4


@dataclass(frozen=True)
class FileResult:
    """What became of one file.

    Attributes:
        path: The file, as it was named.
        outcome: The answer, or the error that says why there is none.
    """

    path: str
    outcome: Prediction | AudioError

    def prediction(self) -> Prediction:
        """Returns the answer.

        Raises:
            AudioError: If there is none.
        """
        if isinstance(self.outcome, AudioError):
            raise self.outcome
        return self.outcome


def find_audio(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Lists files, with each folder replaced by the audio files below it.

    Files are known by their suffix. Hidden files and folders are passed over, and links to
    folders are not followed. A folder without any audio file stays in the list, so that
    predicting it reports that.

    Args:
        paths: Files, which are taken as they are, and folders.

    Returns:
        Paths in the order given, those of a folder sorted by name; each once.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.WAV", "a.mp3", "notes.txt", ".hidden.wav"):
        ...         Path(folder, name).touch()
        ...     [Path(path).name for path in find_audio([folder])]
        ['a.mp3', 'b.WAV']
    """
    found: dict[str, None] = {}
    for path in paths:
        name = os.fspath(path)
        below = _below(name) if os.path.isdir(name) else []
        found.update(dict.fromkeys(below or [name]))
    return list(found)


def predict_files(
    predictor: Predictor, paths: Iterable[str | os.PathLike[str]]
) -> Iterator[FileResult]:
    """Predicts files one by one, reading the next ones meanwhile.

    Args:
        predictor: The model.
        paths: The files; see `find_audio` for folders.

    Yields:
        What became of each file, in the order given. One that cannot be used is no exception:
        its outcome says why.

    Raises:
        ModelError: If the model fails.

    Example:
        >>> import hmic_keras as hk
        >>> (result,) = predict_files(hk.Predictor("hmic-mobile"), ["nowhere.wav"])
        >>> print(result.outcome)
        nowhere.wav: no such file. Check the path.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[FileResult]] = deque()
        try:
            for path in paths:
                waiting.append(pool.submit(_predict, predictor, os.fspath(path)))
                # Bounded, so that many files take no more memory than a few.
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def write_table(
    csv_path: str | os.PathLike[str], taxonomy: Taxonomy, results: Iterable[FileResult]
) -> Counter[str]:
    """Writes one row a file as CSV, whole or not at all.

    The columns are `path`; `status`, `ok` or `failed`; `error`, why it failed; `seconds`, the
    length of the audio; `tags`, the classes that reach their threshold, separated by `; `, the
    coarsest level first; then the probability of each class, finest level first. A class's
    column is its name, or `level:name` where another column has that name. A file that failed
    leaves the cells from `seconds` on empty. Text is UTF-8.

    Args:
        csv_path: The table; an earlier one is replaced.
        taxonomy: The taxonomy of the model.
        results: From `predict_files`; written as they come.

    Returns:
        How many files had which status.

    Raises:
        HmicError: If `csv_path` does not end in `.csv` or is a folder.
    """
    csv_path = Path(csv_path)
    check_table_path(csv_path)
    columns = _class_columns(taxonomy)
    counts = Counter({"ok": 0, "failed": 0})
    with (
        atomic_path(csv_path) as temporary,
        # A file name may hold bytes that are no UTF-8; they are written as they were read.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_COLUMNS, *columns.values()])
        for result in results:
            row = _row(result, columns)
            counts[row[1]] += 1
            writer.writerow([*row, *[""] * (len(_COLUMNS) + len(columns) - len(row))])
    return counts


def check_table_path(csv_path: Path) -> None:
    """Refuses a path that `write_table` would refuse, before any work is done."""
    if csv_path.suffix.lower() != ".csv" or csv_path.is_dir():
        raise HmicError(
            f"The table of results must be a file that ends in '.csv'. Received: '{csv_path}'"
        )


def _below(folder: str) -> list[str]:
    def report(error: OSError) -> None:
        _LOG.warning("%s cannot be searched: %s.", error.filename, error.strerror)

    found = []
    for parent, folders, files in os.walk(folder, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(parent, name)
            for name in sorted(files)
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith(".")
        ]
    return found


def _predict(predictor: Predictor, path: str) -> FileResult:
    try:
        if os.path.isdir(path):
            raise AudioError(f"{path}: is a folder without audio files. Check the path.")
        return FileResult(path, predictor.predict(path))
    except AudioError as error:
        return FileResult(path, error)


def _class_columns(taxonomy: Taxonomy) -> dict[tuple[str, str], str]:
    classes = [(level, name) for level in taxonomy.levels for name in taxonomy.classes(level)]
    uses = Counter([*_COLUMNS, *(name for _, name in classes)])
    return {
        (level, name): name if uses[name] == 1 else f"{level}:{name}" for level, name in classes
    }


def _row(result: FileResult, columns: dict[tuple[str, str], str]) -> list[str]:
    prediction = result.outcome
    if isinstance(prediction, AudioError):
        return [result.path, "failed", str(prediction)]
    levels = prediction.taxonomy.levels
    tags = [
        columns[level, name] for level in reversed(levels) for name, _ in prediction.tags(level)
    ]
    scores = prediction.to_dict()
    return [
        result.path,
        "ok",
        "",
        f"{prediction.seconds:.3f}",
        "; ".join(tags),
        *(f"{scores[level][name]:.6f}" for level, name in columns),
    ]
