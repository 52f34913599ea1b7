"""Models by name, and loading one from wherever it lies.

A zoo is a folder of models, each a folder written by `hmic_keras.export`. The package brings
one; your own is named by an argument `zoo` or the environment variable `HMIC_ZOO`, and is
looked through first.
"""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._files import read_json, sha256, size_of
from .errors import ModelError, first_line

if TYPE_CHECKING:
    from .hierarchical_model import HierarchicalModel

DEFAULT_MODEL = "hmic-mobile"
MANIFEST = "manifest.json"
VARIABLE = "HMIC_ZOO"
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
ONNX_CHECKSUM = "hmic_keras_sha256"
"""The metadata of an ONNX file that is the checksum of its manifest."""
CONTENT_BYTES = "content_bytes"
"""What the manifest of an ONNX file calls the length of the model before its metadata."""
_EXPORTED = (".tflite", ".onnx")

__all__ = [
    "DEFAULT_MODEL",
    "ZooModel",
    "load_model",
    "models",
    "names",
    "read_manifest",
    "resolve",
]

ZooPath = str | os.PathLike[str] | None


@dataclass(frozen=True)
class ZooModel:
    """What a zoo knows of one of its models, without loading it.

    Attributes:
        name: Its name, which is its folder's.
        folder: Where it lies.
        taxonomy: Name of its taxonomy.
        parameters: Number of its weights; None if its manifest does not say.
        licence: Licence of its weights; None if its manifest does not say.
        description: What it is, in a sentence.
        files: Size in bytes of each of its files that is here, by format.
        missing: Formats that its manifest names and whose files are not here.
        results: Headline results, by test set and level: mean average precision.
    """

    name: str
    folder: Path
    taxonomy: str
    parameters: int | None
    licence: str | None
    description: str
    files: Mapping[str, int]
    missing: tuple[str, ...]
    results: Mapping[str, Mapping[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON-able values."""
        return {
            **vars(self),
            "folder": str(self.folder),
            "files": dict(self.files),
            "missing": list(self.missing),
            "results": {test: dict(levels) for test, levels in self.results.items()},
        }


def names(zoo: ZooPath = None) -> list[str]:
    """Returns the names of all models, those of your own zoo among them.

    Args:
        zoo: Your zoo; by default the folder that `HMIC_ZOO` names, if it does.

    Raises:
        ModelError: If there is no such folder.
    """
    return sorted({path.parent.name for root in _roots(zoo) for path in _manifests(root)})


def models(zoo: ZooPath = None) -> list[ZooModel]:
    """Returns what is known of every model, by name.

    Args:
        zoo: See `names`.

    Raises:
        ModelError: If there is no such folder, or a manifest cannot be read.

    Example:
        >>> [model.taxonomy for model in models() if model.name == "hmic-mobile"]
        ['openmic']
    """
    return [_describe(name, resolve(name, zoo)) for name in names(zoo)]


def resolve(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL, zoo: ZooPath = None) -> Path:
    """Returns the path of a model.

    Args:
        name_or_path: A name that `names` lists, or a path: a folder written by
            `hmic_keras.export`, a `.keras` or `.tflite` file, or a SavedModel folder.
        zoo: See `names`.

    Raises:
        ModelError: If there is neither such a model nor such a path.
    """
    path = Path(name_or_path)
    roots = _roots(zoo)
    if len(path.parts) == 1:
        for root in roots:
            if os.path.isfile(root / path / MANIFEST):
                return root / path
    if not os.path.exists(path):
        places = " and ".join(f"'{root}'" for root in roots)
        raise ModelError(
            f"There is no model {str(name_or_path)!r}: it is neither a path nor one of the "
            f"packaged models or those of your zoo, {names(zoo)}, in {places}."
        )
    return path


def check_present(path: Path) -> None:
    """Refuses a file of a model that its folder describes and does not hold.

    Raises:
        ModelError: If `path` does not exist; it says how to get the file.
    """
    if path.exists():
        return
    folder = path.parent
    known = path.name in (read_manifest(folder) or {}).get("files", {}).values()
    if known and folder.parent == _folder():
        raise ModelError(
            f"The model {folder.name!r} is described in '{folder}', but its file "
            f"'{path.name}' does not come with the installed package, which holds "
            f"{DEFAULT_MODEL!r} only. Copy the folder 'saved_models/{folder.name}' of the "
            f"project's repository into a folder of yours and name that one by `zoo`, or by "
            f"the environment variable {VARIABLE}."
        )
    raise ModelError(
        f"The folder '{folder}' holds no '{path.name}'. Name a model's folder that does, or "
        "export the model again with that format among the others."
    )


def load_model(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL, zoo: ZooPath = None
) -> "HierarchicalModel":
    """Loads a Keras model, ready to predict and to train further.

    Args:
        name_or_path: See `resolve`; a folder must hold a `.keras` file.
        zoo: See `names`.

    Returns:
        The functional model, with its taxonomy and manifest.

    Raises:
        ModelError: If there is no such model, its checksum is wrong, it cannot be read, or it
            is no model of this package.

    Example:
        >>> import hmic_keras as hk
        >>> hk.load_model("hmic-mobile").taxonomy.name
        'openmic'
    """
    path = resolve(name_or_path, zoo)
    if path.is_dir():
        path = path / FILES["keras"]
        check_present(path)
    if path.suffix in _EXPORTED:
        raise ModelError(
            f"'{path}' is an exported file, which `hmic_keras.Predictor` and `hmic predict` "
            "run. To train, fine-tune, export or compress, name the '.keras' file it was made "
            "from, or its folder."
        )
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


def _describe(name: str, folder: Path) -> ZooModel:
    manifest = read_manifest(folder) or {}
    about = manifest.get("zoo", {})
    files = manifest.get("files", {})
    here = {kind: folder / file for kind, file in files.items() if (folder / file).exists()}
    try:
        return ZooModel(
            name=name,
            folder=folder,
            taxonomy=manifest["taxonomy"]["name"],
            parameters=about.get("parameters"),
            licence=about.get("licence"),
            description=about.get("description", ""),
            files={kind: size_of(path) for kind, path in here.items()},
            missing=tuple(kind for kind in files if kind not in here),
            results=about.get("results", {}),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            f"'{folder / MANIFEST}' does not describe a model ({first_line(error)}). Export "
            "the model again."
        ) from error


def _manifests(root: Path) -> list[Path]:
    return list(root.glob(f"*/{MANIFEST}"))


def _roots(zoo: ZooPath) -> list[Path]:
    """Returns the folders to look through: yours first."""
    own = zoo if zoo is not None else os.environ.get(VARIABLE)
    if not own:
        return [_folder()]
    if not os.path.isdir(own):
        source = "`zoo`" if zoo is not None else f"the environment variable {VARIABLE}"
        raise ModelError(
            f"{source} names '{own}', which is no folder; name a folder of models."
        )
    return [Path(own), _folder()]


def _folder() -> Path:
    # In an installed wheel the models lie inside the package, in a checkout beside it.
    package = Path(__file__).resolve().parent
    installed = package / "saved_models"
    return installed if installed.is_dir() else package.parent / "saved_models"
