"""OpenMIC-2018: 20,000 clips of ten seconds, 20 tags, about a tenth of them observed.

E. J. Humphrey, S. Durand and B. McFee, "OpenMIC-2018: An open data set for multiple instrument
recognition", ISMIR 2018. Excerpts of recordings in the Free Music Archive; several people
judged each tag of a clip that was put to them, and their answers were aggregated to the
probability that it is present.

Download `openmic-2018-v1.0.0.tgz` (md5 `e4ccf187e2bb5ab2e115416e8aafe7f4`) from
https://zenodo.org/records/1432913 and unpack it. What is read of it::

    openmic-2018/
      openmic-2018.npz            X, Y_true, Y_mask, sample_key
      class-map.json              tag to column of Y_true and Y_mask
      partitions/split01_train.csv, split01_test.csv      sample keys, one a line
      audio/000/000046_3840.ogg   by the key's first three characters

Licence: the annotations are under CC BY 4.0; each recording is under the Creative Commons
licence, or in the public domain, as `openmic-2018-metadata.csv` states for it.

The data set has no hierarchy; families follow from the taxonomy. mirdata's loader is not used:
it does without the masks and features of the archive, works only with an index that it
downloads first, and brings the clients of three cloud stores. Its `download` and `validate`
serve to fetch and check the archive.
"""

import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..._files import DAMAGED_ARRAYS, read_json
from ...errors import HmicError, LabelError
from ...taxonomy import Taxonomy
from .._tables import some
from ..feature_sets import FeatureSet, FeatureSplits
from .folder import UNOBSERVED, LabelledClips

PROVENANCE: Mapping[str, str] = {
    "corpus": "OpenMIC-2018 v1.0.0 (Humphrey, Durand and McFee, ISMIR 2018)",
    "licence": "annotations CC BY 4.0; recordings under Creative Commons, clip by clip",
}

Split = Literal["train", "test"]
_SPLITS: tuple[Split, ...] = ("train", "test")
_FOLDER = "openmic-2018"
_ARRAYS = "openmic-2018.npz"
_CLASSES = "class-map.json"
_FEATURE_SHAPE = (10, 128)
_QUANTISED = 255.0


def openmic_clips(
    folder: str | os.PathLike[str], split: Split, taxonomy: Taxonomy | None = None
) -> LabelledClips:
    """Returns the clips of one part of the official split.

    Labels are the aggregated probabilities: above 0.5 counts as present. What nobody was asked
    is unobserved.

    Args:
        folder: The unpacked archive, `openmic-2018`, or the folder that holds it.
        split: `"train"` or `"test"`: the split `split01` of the archive.
        taxonomy: Taxonomy with the data set's tags in its finest level; by default `openmic`.

    Returns:
        The clips in the order of the archive, their audio not opened yet.

    Raises:
        HmicError: If `split` is neither of the two.
        LabelError: If a file of the archive is missing or damaged, or `taxonomy` lacks a tag.

    Example:
        >>> openmic_clips("downloads", "train")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hmic_keras.errors.LabelError: downloads/openmic-2018.npz: no such file. Download ...
    """
    archive = _Archive(folder, split, taxonomy)
    paths = [archive.audio(key) for key in archive.keys]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise LabelError(
            f"{archive.folder}: {len(missing)} of {len(paths)} audio files are missing: "
            f"{some(missing)}. Unpack the whole archive."
        )
    return LabelledClips(archive.taxonomy, tuple(paths), archive.labels)


def openmic_features(
    folder: str | os.PathLike[str], split: Split, taxonomy: Taxonomy | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the archive's VGGish features and the labels of one part of the official split.

    They suit `build_model(taxonomy, backbone="mlp", input="embedding", input_shape=(10, 128))`.

    Args:
        folder: As for `openmic_clips`.
        split: As for `openmic_clips`.
        taxonomy: As for `openmic_clips`.

    Returns:
        Features, float32 `(clips, 10, 128)`, ten steps of 0.96 s, the archive's 8-bit values
        scaled to [0, 1]; and labels, level name to float32 `(clips, classes)`, closed over the
        hierarchy, -1 unobserved.

    Raises:
        HmicError: As for `openmic_clips`.
        LabelError: As for `openmic_clips`; audio need not be there.
    """
    archive = _Archive(folder, split, taxonomy)
    closed = archive.taxonomy.close_labels(archive.labels)
    return archive.features.astype(np.float32) / np.float32(_QUANTISED), dict(closed)


def openmic_splits(
    folder: str | os.PathLike[str], taxonomy: Taxonomy | None = None
) -> FeatureSplits:
    """Returns the archive's features and labels, split officially.

    Args:
        folder: As for `openmic_clips`.
        taxonomy: As for `openmic_clips`.

    Returns:
        `train` and `test` with features `(clips, 10, 128)`; the official split has no
        validation part.

    Raises:
        LabelError: As for `openmic_clips`; audio need not be there.
    """
    taxonomy = taxonomy or Taxonomy.load("openmic")
    train, test = (
        FeatureSet(taxonomy, *openmic_features(folder, split, taxonomy)) for split in _SPLITS
    )
    return FeatureSplits("openmic", train=train, test=test)


class _Archive:
    """One part of the official split, in the order of the archive's arrays."""

    def __init__(
        self, folder: str | os.PathLike[str], split: str, taxonomy: Taxonomy | None
    ) -> None:
        if split not in _SPLITS:
            raise HmicError(f'split must be "train" or "test". Received: {split!r}')
        folder = Path(folder)
        inner = folder / _FOLDER
        self.folder = inner if inner.is_dir() else folder
        self.taxonomy = taxonomy or Taxonomy.load("openmic")
        arrays = _read_arrays(_there(self.folder / _ARRAYS))
        every = [str(key) for key in arrays["sample_key"]]
        rows = self._rows(every, split)
        self.keys = [every[row] for row in rows]
        self.features = arrays["X"][rows]
        columns = _read_columns(
            _there(self.folder / _CLASSES), self.taxonomy, arrays["Y_true"].shape[1]
        )
        finest = self.taxonomy.levels[0]
        labels = np.full((len(rows), len(self.taxonomy.classes(finest))), UNOBSERVED, "f4")
        observed = np.where(arrays["Y_mask"], arrays["Y_true"], UNOBSERVED)[rows]
        labels[:, list(columns)] = observed[:, list(columns.values())]
        self.labels = {finest: labels}

    def audio(self, key: str) -> Path:
        """Returns where the recording of a clip lies."""
        return self.folder / "audio" / key[:3] / f"{key}.ogg"

    def _rows(self, keys: Sequence[str], split: str) -> list[int]:
        path = _there(self.folder / "partitions" / f"split01_{split}.csv")
        # What is no text is no sample key either.
        wanted = set(path.read_text("utf-8", errors="replace").split())
        rows = [row for row, key in enumerate(keys) if key in wanted]
        if not rows or len(rows) != len(wanted):
            unknown = sorted(wanted - set(keys))
            raise LabelError(
                f"{path}: must list sample keys of {_ARRAYS}, one a line. Received "
                f"{len(wanted)}, unknown: {some(unknown) or 'none'}. Unpack the archive again."
            )
        return rows


def _there(path: Path) -> Path:
    if not path.is_file():
        raise LabelError(
            f"{path}: no such file. Download openmic-2018-v1.0.0.tgz from "
            "https://zenodo.org/records/1432913 and unpack it."
        )
    return path


class _Plain(pickle.Unpickler):
    """Reads an array of text objects, as which the archive keeps its keys, and nothing else.

    A pickle can name any function to be called, so a tampered archive could run code.
    """

    def find_class(self, module: str, name: str) -> Any:
        base = module.removesuffix(".multiarray")
        if (base in ("numpy.core", "numpy._core") and name == "_reconstruct") or (
            module == "numpy" and name in ("ndarray", "dtype")
        ):
            # The place of the first has moved between versions of NumPy.
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"names {module}.{name}")


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the archive's arrays and checks that they fit together."""
    try:
        with zipfile.ZipFile(path) as parts:
            arrays = {
                name: _read_array(parts, name)
                for name in ("X", "Y_true", "Y_mask", "sample_key")
            }
    except (*DAMAGED_ARRAYS, pickle.UnpicklingError) as bad:
        raise LabelError(
            f"{path}: is damaged or not the archive's ({bad}). Download it again."
        ) from bad
    clips = len(arrays["sample_key"])
    shapes = {name: array.shape for name, array in arrays.items()}
    tags = arrays["Y_true"].shape[1:]
    if shapes != {
        "X": (clips, *_FEATURE_SHAPE),
        "Y_true": (clips, *tags),
        "Y_mask": (clips, *tags),
        "sample_key": (clips,),
    }:
        raise LabelError(
            f"{path}: must hold X (clips, 10, 128), Y_true and Y_mask (clips, tags) and "
            f"sample_key (clips,). Received: {shapes}"
        )
    return arrays


def _read_array(parts: zipfile.ZipFile, name: str) -> np.ndarray:
    with parts.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, kind = read_header(stream)
        if kind.hasobject:
            return np.asarray(_Plain(stream).load()).reshape(shape)
    with parts.open(f"{name}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _read_columns(path: Path, taxonomy: Taxonomy, tags: int) -> dict[int, int]:
    """Returns the column of the archive for each column of the finest level."""
    try:
        columns = read_json(path)
    except ValueError as error:
        raise LabelError(
            f"{path}: must map each tag to its column ({error}). Unpack the archive again."
        ) from error
    if not isinstance(columns, dict) or not all(
        type(column) is int and 0 <= column < tags for column in columns.values()
    ):
        raise LabelError(
            f"{path}: must map each tag to its column, 0 to {tags - 1}. Unpack the archive "
            "again."
        )
    index = taxonomy.index(taxonomy.levels[0])
    if missing := sorted(set(columns) - set(index)):
        raise LabelError(
            f"Taxonomy {taxonomy.name!r} lacks tags of OpenMIC-2018 in its level "
            f"{taxonomy.levels[0]!r}: {some(missing)}. Use the packaged `openmic`."
        )
    return {index[tag]: column for tag, column in columns.items()}
