"""Reading the published weights of musicnn from its wheel."""

import ast
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError, first_line

CHECKPOINTS = ("MTT_musicnn", "MSD_musicnn")
_DOWNLOAD = "Get it with: pip download --no-deps musicnn==0.1.0"
_FILES = (".index", ".data-00000-of-00001")


def read_checkpoint(wheel: str | os.PathLike[str], checkpoint: str) -> dict[str, np.ndarray]:
    """Reads the tensors of a checkpoint, without those of its optimizer.

    Args:
        wheel: Path of `musicnn-0.1.0-py3-none-any.whl`.
        checkpoint: `"MTT_musicnn"` or `"MSD_musicnn"`.

    Returns:
        float32 arrays by their names in the checkpoint.

    Raises:
        ModelError: If the name is unknown, or the file is missing, no wheel of musicnn or
            damaged.
    """
    if checkpoint not in CHECKPOINTS:
        raise ModelError(
            f"`checkpoint` must be one of {list(CHECKPOINTS)}. Received: {checkpoint!r}"
        )
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / checkpoint
        for suffix in _FILES:
            content = _read(wheel, f"musicnn/{checkpoint}/{suffix}")
            prefix.with_name(checkpoint + suffix).write_bytes(content)
        try:
            reader = tf.train.load_checkpoint(os.fspath(prefix))
            return {
                name: reader.get_tensor(name)
                for name in reader.get_variable_to_shape_map()
                if "Adam" not in name and not name.endswith("_power")
            }
        # What TensorFlow raises for a damaged file depends on where the damage lies.
        except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"The checkpoint {checkpoint!r} in '{wheel}' cannot be read: "
                f"{first_line(error)} {_DOWNLOAD}"
            ) from error


def read_tags(wheel: str | os.PathLike[str], checkpoint: str) -> tuple[str, ...]:
    """Reads the names of a checkpoint's 50 tags, in the order of its outputs.

    Args:
        wheel: As `read_checkpoint` takes it.
        checkpoint: As `read_checkpoint` takes it.

    Raises:
        ModelError: If the wheel does not hold them.
    """
    wanted = f"{checkpoint.partition('_')[0]}_LABELS"
    tree = ast.parse(_read(wheel, "musicnn/configuration.py"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == wanted:
            return tuple(ast.literal_eval(node.value))
    raise ModelError(f"'{wheel}' does not name its tags in {wanted}. {_DOWNLOAD}")


def assign(layer: Any, tensors: dict[str, np.ndarray], scope: str) -> None:
    """Fills one layer with the tensors of one scope.

    Raises:
        ModelError: If a shape differs from the published one.
    """
    for variable in layer.weights:
        value = tensors[f"{scope}/{variable.name}"]
        shape = tuple(variable.shape)
        # What convolves over all channels at once is one-dimensional here, so one axis less.
        if value.size != np.prod(shape) or value.shape[0] != shape[0]:
            raise ModelError(
                f"The published weights {scope!r} have the shape {value.shape}, but the layer "
                f"{layer.name!r} needs {shape}: weights are for the default options and 96 mel "
                "bands only."
            )
        variable.assign(value.reshape(shape))


def _read(wheel: str | os.PathLike[str], member: str) -> bytes:
    if not isinstance(wheel, str | os.PathLike):
        raise ModelError(
            f"The wheel of musicnn must be given as a path. Received: {wheel!r}. {_DOWNLOAD}"
        )
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except FileNotFoundError as error:
        raise ModelError(f"There is no wheel of musicnn at '{wheel}'. {_DOWNLOAD}") from error
    except KeyError as error:
        raise ModelError(
            f"'{wheel}' is no wheel of musicnn 0.1.0: it lacks '{member}'. {_DOWNLOAD}"
        ) from error
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"'{wheel}' cannot be read as a wheel of musicnn: {first_line(error)} {_DOWNLOAD}"
        ) from error
