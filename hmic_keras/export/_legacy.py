"""The libraries that compress models, loaded beside Keras 3 without disturbing it."""

import os
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from ..errors import MissingDependencyError, first_line

_INSTALL = 'Install them with: pip install "hmic-keras[compress]"'
_SWITCH = "TF_USE_LEGACY_KERAS"


@dataclass(frozen=True)
class Libraries:
    """Modules that compression needs.

    Attributes:
        tf_keras: Keras 2, in which compressed models are trained.
        tfmot: TensorFlow Model Optimization.
    """

    tf_keras: Any
    tfmot: Any


@cache
def libraries() -> Libraries:
    """Imports Keras 2 and TensorFlow Model Optimization.

    The latter tells TensorFlow, through the environment, to use Keras 2 as `tf.keras` from
    then on, in this process and its children. That is taken back, and `tf.keras` stays what it
    was, so that a session with Keras 3 goes on undisturbed.

    Raises:
        MissingDependencyError: If one is not installed, or they do not fit TensorFlow.
    """
    import tensorflow as tf

    _check_versions(tf.__version__)
    # TensorFlow decides at the first look which Keras this is, and the look comes before the
    # switch is thrown.
    before = tf.keras.__name__, os.environ.get(_SWITCH)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated names inside the libraries
            import tensorflow_model_optimization as tfmot
            import tf_keras
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f"Compression needs tf_keras and tensorflow-model-optimization, which do not load "
            f"with TensorFlow {tf.__version__}: {first_line(error)} {_INSTALL}"
        ) from error
    finally:
        if before[1] is None:
            os.environ.pop(_SWITCH, None)
        else:
            os.environ[_SWITCH] = before[1]
    return Libraries(tf_keras, tfmot)


def _check_versions(tensorflow: str) -> None:
    for package in ("tf_keras", "tensorflow-model-optimization"):
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise MissingDependencyError(
                f"Compression needs {package}, which is not installed. {_INSTALL}"
            ) from error
        wanted = tensorflow.split(".")[:2]
        if package == "tf_keras" and found.split(".")[:2] != wanted:
            raise MissingDependencyError(
                f"tf_keras {found} does not fit TensorFlow {tensorflow}: Keras 2 must have "
                f"TensorFlow's own version. Install it with: pip install "
                f'"tf_keras=={".".join(wanted)}.*"'
            )
