"""Models by name, and loading one from wherever it lies."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._files import read_json, sha256
from .errors import ModelError, first_line

if TYPE_CHECKING:
    from .hierarchical_model import HierarchicalModel

DEFAULT_MODEL = "hmic-demo"
MANIFEST = "manifest.json"
FILES: Mapping[str, str] = {
    "keras": "model.keras",
    "savedmodel": "saved_model",
    "float32": "model.tflite",
    "float16": "model_float16.tflite",
    "dynamic_int8": "model_dynamic_int8.tflite",
    "weight_int8": "model_weight_int8.tflite",
    "static_int8": "model_static_int8.tflite",
    "w4": "model_w4.tflite",
    "onnx": "model.onnx",
}
"""The formats, the first ones preferred, and what each is called in a model's folder."""
ALIASES: Mapping[str, str] = {"tflite": "float32"}
"""Other names of formats."""
ASSETS = "assets.extra"
"""The folder in a SavedModel that holds its manifest; TensorFlow leaves it alone."""
ONNX_ENTRY = "hmic_keras"
"""The metadata of an ONNX file that is its manifest."""

__all__ = ["DEFAULT_MODEL", "load_model", "names", "read_manifest", "resolve"]


def names() -> list[str]:
    """Returns the names of the models that come with the package."""
    return sorted(path.parent.name for path in _folder().glob(f"*/{MANIFEST}"))


def resolve(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> Path:
    """Returns the path of a model.

    Args:
        name_or_path: A name that `names` lists, or a path: a folder written by
            `hmic_keras.export`, a `.keras` or `.tflite` file, or a SavedModel folder.

    Raises:
        ModelError: If there is neither such a model nor such a path.
    """
    path = Path(name_or_path)
    packaged = _folder() / path
    if len(path.parts) == 1 and os.path.isfile(packaged / MANIFEST):
        return packaged
    if not os.path.exists(path):
        raise ModelError(
            f"There is no model {str(name_or_path)!r}: it is neither a path nor one of the "
            f"packaged models {names()}."
        )
    return path


def load_model(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> "HierarchicalModel":
    """Loads a Keras model, ready to predict and to train further.

    Args:
        name_or_path: See `resolve`; a folder must hold a `.keras` file.

    Returns:
        The functional model, with its taxonomy and manifest.

    Raises:
        ModelError: If there is no such model, its checksum is wrong, it cannot be read, or it
            is no model of this package.

    Example:
        >>> import hmic_keras as hk
        >>> hk.load_model("hmic-demo").taxonomy.name
        'openmic'
    """
    path = resolve(name_or_path)
    if path.is_dir():
        path = path / FILES["keras"]
        if not path.is_file():
            raise ModelError(f"The folder '{path.parent}' holds no '{path.name}'.")
    verify(path)
    # Keras reports a file that is cut off as one that is missing.
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise ModelError(
            f"'{path}' is no Keras model, or was cut off. Copy it again or save it anew with "
            "`model.save`."
        )
    import keras

    from . import layers
    from .hierarchical_model import HierarchicalModel

    del layers  # imported because it registers what saved models refer to
    try:
        model = keras.saving.load_model(path, safe_mode=True)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"'{path}' cannot be read as a Keras model: {first_line(error)} Check that the "
            "file is whole and was saved by `model.save`."
        ) from error
    if not isinstance(model, HierarchicalModel):
        raise ModelError(
            f"'{path}' holds a {type(model).__name__}, not a model built by "
            "`hmic_keras.build_model`."
        )
    return model


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Returns the manifest that lies in a model's folder, or None if there is none.

    Args:
        path: The model's folder, or a file in it.

    Raises:
        ModelError: If the manifest is not a JSON object.
    """
    manifest = (path if path.is_dir() else path.parent) / MANIFEST
    if not manifest.is_file():
        return None
    try:
        content = read_json(manifest)
    except ValueError as error:
        raise ModelError(f"'{manifest}' is not valid JSON: {error}.") from error
    if not isinstance(content, dict) or any(
        not isinstance(content.get(entry, {}), dict) for entry in ("files", "sha256")
    ):
        raise ModelError(
            f"'{manifest}' is no manifest of a model: it, its 'files' and its 'sha256' must be "
            "JSON objects. Export the model again."
        )
    return content


def verify(path: Path) -> None:
    """Checks a file or SavedModel folder against the checksum in its manifest, if it has one.

    Raises:
        ModelError: If the checksums differ.
    """
    expected = (read_manifest(path.parent) or {}).get("sha256", {}).get(path.name)
    if expected is not None and path.exists() and sha256(path) != expected:
        raise ModelError(
            f"'{path}' does not have the SHA-256 that '{path.parent / MANIFEST}' states: it "
            "was changed or cut off after export. Export or install it again."
        )


def _folder() -> Path:
    # In an installed wheel the models lie inside the package, in a checkout beside it.
    package = Path(__file__).resolve().parent
    installed = package / "saved_models"
    return installed if installed.is_dir() else package.parent / "saved_models"
