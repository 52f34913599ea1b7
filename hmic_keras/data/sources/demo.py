"""The demo corpus: a few minutes of labelled polyphonic music that comes with the package.

410 training and 100 test clips, 3 s each, 16 kHz mono Vorbis, with one to four (on average
2.2) of the 20 `openmic` classes sounding at once, every class present in about a tenth of the
clips. Every label is observed and exact, since `hmic_keras.data.synthesis` wrote the music.
It serves to show and test the whole path in a minute. It is no benchmark.

Provenance: the pieces are composed and rendered by this package; `train` with the SoundFont
FluidR3 GM by Frank Wen, `test` with MuseScore General 0.2.1 by S. Christian Collins and
others, and with other seeds, so no piece occurs twice. MuseScore General began as FluidR3 and
still shares the recordings of many instruments, so the test tells less than real recordings
would. Each split's `manifest.json` holds settings, versions, the SoundFont's own notices and
checksums; `README.md` beside them says how to render it again.

Licence: the clips and tables are under the package's Apache-2.0. The SoundFonts are under the
MIT licence (parts CC0 or public domain); their notices are in `demo/LICENSES.txt`.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal

from hmic_keras.data.sources.folder import LabelledClips, read_clips
from hmic_keras.errors import HmicError, LabelError
from hmic_keras.taxonomy import Taxonomy

PROVENANCE: Mapping[str, str] = {
    "corpus": "hmic_keras demo corpus",
    "soundfont": "FluidR3 GM (Frank Wen)",
    "licence": "clips Apache-2.0; SoundFont MIT, see hmic_keras/data/demo/LICENSES.txt",
}

_SPLITS = ("train", "test")


def demo_clips(
    split: Literal["train", "test"], taxonomy: Taxonomy | None = None
) -> LabelledClips:
    """Returns one split of the packaged demo corpus.

    Args:
        split: `"train"` or `"test"`.
        taxonomy: Taxonomy that has the 20 `openmic` tags; by default `openmic` itself.

    Returns:
        The clips, their audio not opened yet.

    Raises:
        HmicError: If `split` is neither of the two.
        LabelError: If the finest level of `taxonomy` lacks one of the tags, or the corpus is
            missing from the installation.

    Example:
        >>> clips = demo_clips("test")
        >>> len(clips), clips.labels["fine"].shape
        (100, (100, 20))
    """
    if split not in _SPLITS:
        raise HmicError(f'split must be "train" or "test". Received: {split!r}')
    openmic = Taxonomy.load("openmic")
    taxonomy = taxonomy or openmic
    lacking = set(openmic.classes("fine")) - set(taxonomy.classes(taxonomy.levels[0]))
    if lacking:
        raise LabelError(
            f"The demo corpus is labelled with the tags of 'openmic', and {taxonomy.name!r} "
            f"lacks {sorted(lacking)[:3]} and maybe more of them. Give clips of your own."
        )
    table = Path(str(files("hmic_keras").joinpath("data", "demo", split, "labels.csv")))
    return read_clips(table, taxonomy)
