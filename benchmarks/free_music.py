r"""Gathers unlabelled music under free licences: that of the games in Debian.

    python benchmarks/free_music.py --out music

Downloads the packages below (3 GB, of which only the music is kept), takes up to 200 s of each
piece of at least 25 s, in crops of 5 s, and writes `crops.npy` (int16, mono, 16 kHz, each with
its peak at 0.9) and `crops.csv` (which package and file each is from). `adapt.py` learns from
it what a model says of real music. The licences of the pieces are in each package's
`copyright`: GPL, CC BY, CC BY-SA, CC0 and the like.
"""

import argparse
import io
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = (
    "0ad-data", "asc-music", "caveexpress-data", "colobot-common-sounds", "enigma-data",
    "extremetuxracer-data", "fillets-ng-data", "freedink-data", "freeorion-data",
    "fretsonfire-songs-muldjord", "fretsonfire-songs-sectoid", "frozen-bubble-data",
    "glob2-data", "hedgewars-data", "hyperrogue-music", "lincity-ng-data", "lordsawar-data",
    "megaglest-data", "naev-data", "nexuiz-music", "planetblupi-music-ogg",
    "singularity-music", "supertux-data", "supertuxkart-data", "tuxmath-data", "ufoai-music",
    "unknown-horizons", "warzone2100-music", "wesnoth-1.16-music", "widelands-data",
    "xmoto-data", "zaz-data",
)  # fmt: skip
SOUNDS, ARCHIVES = (".ogg", ".oga", ".opus", ".mp3", ".flac"), (".zip", ".pk3")
RATE, CROP, CROPS = 16000, 80000, 40
SHORTEST, SMALLEST, QUIETEST = 25.0, 150_000, 2e-3
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    import pandas as pd

    from hmic_keras._files import atomic_path, write_text

    rng = np.random.default_rng(SEED)
    crops, rows = [], []
    for package in PACKAGES:
        for name, sound in pieces(package):
            found = cut(sound, rng)
            crops += found
            rows += [(package, name)] * len(found)
        print(f"{package}: {len(rows)} crops so far", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.out / "crops.npy") as path, path.open("wb") as stream:
        np.save(stream, np.stack(crops))
    table = pd.DataFrame(rows, columns=["package", "piece"])
    write_text(args.out / "crops.csv", table.to_csv(index=False))


def pieces(package: str) -> Iterator[tuple[str, Any]]:
    """Yields the path of each piece of a package, and where it can be read from."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["apt-get", "download", "-qq", package], cwd=scratch, check=True)
        (archive,) = Path(scratch).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive.name, "all"], cwd=scratch, check=True)
        root = Path(scratch) / "all"
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = str(path.relative_to(root))
            if path.suffix in ARCHIVES:
                with zipfile.ZipFile(path) as files:
                    for member in files.infolist():
                        if member.filename.lower().endswith(SOUNDS):
                            yield f"{name}/{member.filename}", io.BytesIO(files.read(member))
            elif path.suffix in SOUNDS and path.stat().st_size > SMALLEST:
                yield name, path


def cut(source: Any, rng: np.random.Generator) -> list[np.ndarray]:
    """Returns crops of a piece, spread over it; none of what is short or no sound."""
    import soundfile
    import soxr

    try:
        sound, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return []  # games keep other things under these names, too
    if len(sound) / rate < SHORTEST:
        return []
    mono = sound.mean(axis=1) if rng.random() < 0.7 else sound[:, 0]
    mono = soxr.resample(mono, rate, RATE)
    count = len(mono) // CROP
    start = rng.integers(0, len(mono) - count * CROP + 1)
    found = []
    for index in np.sort(rng.choice(count, min(count, CROPS), replace=False)):
        crop = mono[start + index * CROP : start + (index + 1) * CROP]
        if np.sqrt(np.mean(crop**2)) >= QUIETEST:
            found.append((crop * (0.9 * 32767 / np.abs(crop).max())).astype(np.int16))
    return found


if __name__ == "__main__":
    main()
