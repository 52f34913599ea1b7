"""Makes a model of the zoo anew: runs the recipe of its card, command by command.

    python benchmarks/repeat_recipe.py hmic-mobile --out FOLDER [--list]

What a card gives as its recipe is what runs, in `--out`; the model ends up in its
`saved_models/`. A command that was done is not done again and a training that was stopped goes
on, so after an interruption call it again. `hmic-mobile` and `hmic-base` want a GPU.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "benchmarks" / "cards"


def commands(card: Path) -> list[str]:
    """Returns the commands of a card's recipe, each on one line."""
    recipe = yaml.safe_load(card.read_text("utf-8"))["recipe"]
    text = recipe.replace("\\\n", " ")
    found: list[str] = []
    for line in text.splitlines():
        # A quoted value may go on in the next line.
        if found and found[-1].count("'") % 2:
            found[-1] += " " + line
        else:
            found.append(line)
    return [" ".join(one.split()) for one in found if one.strip()]


def repeat(steps: list[str], folder: Path) -> None:
    """Runs what was not run before.

    Raises:
        subprocess.CalledProcessError: If a command fails; what was done before is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The `python` and `hmic` of this environment, from any folder.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for step in steps:
        mark = folder / f"done-{sha256(step.encode()).hexdigest()[:12]}"
        if mark.exists():
            print(f"done: {step}", flush=True)
            continue
        print(f"$ {step}", flush=True)
        subprocess.run(
            ["bash", "-c", _at_home(_resumed(step, folder))],
            cwd=folder,
            env={**os.environ, "PATH": path},
            check=True,
        )
        mark.touch()


def _at_home(command: str) -> str:
    """Returns the command with the scripts and cards of this repository."""
    return re.sub(r"\bbenchmarks/", f"{shlex.quote(str(ROOT))}/benchmarks/", command)


def _resumed(step: str, folder: Path) -> str:
    """Returns how a training that was stopped goes on, else the command itself."""
    from hmic_keras.training import can_resume

    found = re.match(r"(?P<start>.*\bhmic train) .*--out (?P<out>\S+)", step)
    if found and can_resume(folder / found["out"]):
        return f"{found['start']} --resume {found['out']}"
    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=sorted(card.stem for card in CARDS.glob("*.yaml")))
    parser.add_argument("--out", type=Path, help="folder of everything that is made")
    parser.add_argument("--list", action="store_true", help="only say what would run")
    args = parser.parse_args()
    steps = commands(CARDS / f"{args.model}.yaml")
    if args.list:
        print("\n".join(steps))
    elif args.out is None:
        parser.error("--out is needed, a folder for everything that is made")
    else:
        repeat(steps, args.out)


if __name__ == "__main__":
    main()
