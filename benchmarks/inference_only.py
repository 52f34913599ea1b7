"""Measures the installation that only runs TensorFlow Lite files, as docs/export.md gives it.

Makes a virtual environment, installs this checkout and the short list of the documentation,
answers a clip with the packaged model, and counts the bytes that were installed. Needs a
package index.

    python benchmarks/inference_only.py

Writes `benchmarks/results/inference_only.json` and the sentence in `docs/export.md`.
"""

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import documents
from export_figures import DOCUMENT, ROOT

from hmic_keras._files import write_json

RESULTS = ROOT / "benchmarks" / "results" / "inference_only.json"
CLIP = ROOT / "hmic_keras" / "data" / "demo" / "test" / "clips" / "00000.ogg"
ANSWER = """
import json, sys
import hmic_keras as hk
answer = hk.Predictor(format="float32").predict(sys.argv[1]).to_dict()
heavy = {"tensorflow", "keras", "pandas", "scipy", "sklearn", "matplotlib"}
assert not heavy & set(sys.modules)
print(json.dumps(answer))
"""


def main():
    block = re.search(r"<!-- inference only -->\n```bash\n(.*?)```", DOCUMENT.read_text(), re.S)
    (alone, others) = block.group(1).splitlines()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / "bin" / "python"
        before = size(folder / "env")
        install(python, alone.replace("hmic-keras", str(ROOT)))
        package = size(folder / "env") - before
        install(python, others)
        everything = size(folder / "env") - before
        command = [python, "-I", "-c", ANSWER, CLIP]
        answered = subprocess.run(command, capture_output=True, text=True, check=True)
    result = {
        "requirements": others.split()[2:],
        "python": sys.version.split()[0],
        "package_mb": round(package / 1e6, 1),
        "all_mb": round(everything / 1e6, 1),
        "answer": json.loads(answered.stdout)["coarse"],
    }
    write_json(RESULTS, result)
    text = (
        f"That is {result['all_mb']:.0f} MB in all, {result['package_mb']:.0f} MB of them this "
        "package with its demo corpus and model (`benchmarks/inference_only.py`)."
    )
    documents.put(DOCUMENT, "inference-only size", text)
    print(text)


def install(python, line):
    _, *arguments = line.split()  # after the word pip
    subprocess.run([python, "-m", "pip", "-q", *arguments], check=True)


def size(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files if "__pycache__" not in path.parts)


if __name__ == "__main__":
    main()
