"""Files that cannot be used, reported together and by name."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import AudioError, HmicError, RecordError

_NAMED = {"AudioError": AudioError, "HmicError": HmicError, "RecordError": RecordError}


def named_failure(report: str) -> HmicError | None:
    """Finds the error that the text of TensorFlow's report of it stems from."""
    found = re.search(rf"\b({'|'.join(_NAMED)}): (.+)", report)
    return _NAMED[found[1]](found[2]) if found else None


def for_all(act: Callable[[Path], Any], paths: tuple[Path, ...], workers: int) -> list[Any]:
    """Applies `act` to every file in threads; reports all files that fail in one error."""

    def attempt(path: Path) -> Any:
        try:
            return act(path)
        except AudioError as error:
            return error

    # Decoders and resampler release the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(attempt, paths))
    _raise_failures([result for result in results if isinstance(result, AudioError)], paths)
    return results


def _raise_failures(failures: list[AudioError], paths: tuple[Path, ...]) -> None:
    if len(failures) == 1:
        raise failures[0]
    if failures:
        shown = " | ".join(str(failure) for failure in failures[:3])
        more = " | ..." if len(failures) > 3 else ""
        raise AudioError(f"{len(failures)} of {len(paths)} files cannot be used: {shown}{more}")
