"""Running `hmic` as a person does, for the tests of its commands."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import hmic_keras as hk

ROOT = Path(hk.__file__).parents[1]


class Done(NamedTuple):
    """What a command left: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    def message(self):
        """The one line in which a command that failed says why."""
        assert self.code == 2, (self.code, self.err)
        lines = [line for line in self.err.splitlines() if line.strip()]
        # Training shows its bar while it reads the files.
        lines = [line for line in lines if not line.startswith("train  ")]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        return lines[0]


def environment(**changes):
    """The environment variables of a process that finds this package."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **changes}


def process(*arguments, **kwargs):
    """Runs a command in a new process, as a shell does."""
    done = subprocess.run(
        [sys.executable, "-m", "hmic_keras.cli", *map(str, arguments)],
        env=environment(**kwargs.pop("env", {})),
        capture_output=True,
        text=True,
        **kwargs,
    )
    return Done(done.returncode, done.stdout, done.stderr)
