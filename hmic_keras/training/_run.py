"""The folder of a run: what it is, how far it got, and where it can go on."""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._files import DAMAGED_ARRAYS, atomic_path, read_json, write_json, write_text
from ..errors import ModelError

HISTORY = "history.csv"
_STATE = "run.json"
_CHECKPOINT = "checkpoint.npz"


class Run:
    """The folder `run/` inside a model's folder.

    `recipe.yaml` repeats the run, `run.json` says what it is and whether it is finished,
    `checkpoint.npz` holds everything that the next epoch depends on, and `logs/` is for
    TensorBoard. `history.csv`, a row an epoch, lies beside `run/`. Every file is replaced as a
    whole, so a run that is killed at any moment goes on from its last whole epoch.

    Args:
        out: The model's folder; it need not exist.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = Path(out)
        self.folder = self.out / "run"

    @property
    def logs(self) -> Path:
        """Where TensorBoard's files go."""
        return self.folder / "logs"

    @property
    def state(self) -> dict[str, Any] | None:
        """What `run.json` says; None without one."""
        try:
            state = read_json(self.folder / _STATE)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise ModelError(f"'{self.out}' is a file; name a folder for the run.") from error
        except ValueError as error:
            raise ModelError(
                f"'{self.folder / _STATE}' is not valid JSON ({error}). Remove the folder and "
                "start the run anew."
            ) from error
        if not isinstance(state, dict) or not isinstance(state.get("identity"), dict):
            raise ModelError(
                f"'{self.folder / _STATE}' describes no run. Remove the folder and start anew."
            )
        return state

    @property
    def unfinished(self) -> bool:
        """Whether the folder holds a run that was started and not finished."""
        state = self.state
        return state is not None and not state.get("finished", False)

    @property
    def resumable(self) -> bool:
        """Whether an epoch of an unfinished run is there to go on from."""
        return self.unfinished and (self.folder / _CHECKPOINT).is_file()

    def start(self, identity: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Begins a run here.

        Args:
            identity: What must be the same when the run is resumed.
            facts: What a person may want to know besides, such as versions.

        Raises:
            ModelError: If the folder holds an unfinished run.
        """
        self.refuse_unfinished()
        for leftover in (self.logs, self.folder / _CHECKPOINT, self.out / HISTORY):
            remove(leftover)
        state = {"finished": False, "identity": dict(identity), **facts}
        write_json(self.folder / _STATE, state)

    def refuse_unfinished(self) -> None:
        """Raises a `ModelError` if a run here waits to be resumed."""
        found = self.load() if self.unfinished else None
        # Without a whole epoch there is nothing to lose.
        if found is not None:
            raise ModelError(
                f"'{self.out}' holds a run that stopped after {len(found[1]['epochs'])} "
                "epoch(s). Resume it "
                "(`hmic train --resume FOLDER`, or `resume=True`), or remove the folder."
            )

    def check(self, identity: Mapping[str, Any]) -> None:
        """Refuses to resume what is not the same run.

        Raises:
            ModelError: If no run was started here, or something differs from when it was.
        """
        state = self.state
        if state is None:
            raise ModelError(f"'{self.out}' holds no run that could be resumed.")
        before, identity = state["identity"], json.loads(json.dumps(identity))
        differing = sorted(
            key for key in {*before, *identity} if before.get(key) != identity.get(key)
        )
        if differing:
            raise ModelError(
                f"The run in '{self.out}' cannot be resumed, since this differs from when it "
                f"was started: {', '.join(differing)}. Give the same model, clips and settings."
            )
        for staging in self.folder.glob(".*"):
            remove(staging)  # what a killed process was about to write

    def save(self, arrays: Mapping[str, Sequence[np.ndarray]], facts: dict[str, Any]) -> None:
        """Writes a checkpoint and the history.

        Args:
            arrays: Lists of arrays by name.
            facts: JSON-able facts; `epochs` holds the logs of each epoch.
        """
        flat = {
            f"{name}/{i}": value
            for name, values in arrays.items()
            for i, value in enumerate(values)
        }
        # One file, so that arrays and facts are always of the same epoch.
        text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        with atomic_path(self.folder / _CHECKPOINT) as temporary:
            np.savez(temporary, facts=text, **flat)  # type: ignore[arg-type]
        write_history(self.out / HISTORY, facts["epochs"])

    def load(self) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]] | None:
        """Returns what `save` wrote; None if no epoch was finished.

        Raises:
            ModelError: If the checkpoint was damaged.
        """
        path = self.folder / _CHECKPOINT
        if not path.is_file():
            return None
        try:
            # NumPy leaves a file open that it opened and could not read.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                facts = json.loads(stored["facts"].tobytes())
                arrays: dict[str, list[np.ndarray]] = {}
                for key in stored.files:
                    if key != "facts":
                        arrays.setdefault(key.rpartition("/")[0], []).append(stored[key])
            if not isinstance(facts["epochs"], list):
                raise TypeError("its epochs are no list")
        except DAMAGED_ARRAYS as error:
            raise ModelError(
                f"'{path}' was damaged ({error}). Remove the folder and start the run anew."
            ) from error
        return arrays, facts

    def finish(self) -> None:
        """Marks the run as finished and removes what only resuming needs."""
        write_json(self.folder / _STATE, {**(self.state or {}), "finished": True})
        remove(self.folder / _CHECKPOINT)


def write_history(path: str | os.PathLike[str], epochs: Sequence[Mapping[str, float]]) -> None:
    """Writes the logs of each epoch as CSV, one row an epoch."""
    columns = sorted({name for logs in epochs for name in logs})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", *columns])
    for epoch, logs in enumerate(epochs, start=1):
        writer.writerow([epoch, *(logs.get(name, "") for name in columns)])
    write_text(path, text.getvalue())


def digest(clips: Any) -> str:
    """Returns a hash of the clips' names and labels."""
    found = hashlib.sha256(clips.taxonomy.hash.encode())
    for path in getattr(clips, "paths", ()):
        found.update(f"{Path(path).name}\n".encode())
    for values in clips.labels.values():
        found.update(np.ascontiguousarray(values, np.float32).tobytes())
    return found.hexdigest()


def remove(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
