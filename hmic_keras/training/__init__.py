"""Training a hierarchical model on labelled clips.

`fit` trains a model, `train` builds one first, and `run_recipe` does all that `hmic train`
does: data, model, training that can be resumed, and the folder that comes of it.
"""

from .._versions import versions
from ._callbacks import epoch_callback
from ._fit import TrainingResult, fit, train
from ._options import compile_options
from ._recipes import can_resume, run_recipe
from ._start import start_from

__all__ = [
    "TrainingResult",
    "can_resume",
    "compile_options",
    "epoch_callback",
    "fit",
    "run_recipe",
    "start_from",
    "train",
    "versions",
]
