"""From a trained model and a few labelled recordings to a model of other classes.

`fine_tune` does the whole of it: checks the labels, teaches the model, says how good each
class is and how sure that is, and exports. `hmic finetune` calls it.
"""

from ..config import FineTuneConfig
from ._data import open_recordings
from ._fine_tune import FORMATS, FineTuned, check_fine_tuning, fine_tune, peak_memory_mb
from ._honesty import Interval
from ._report import FineTuningReport
from ._surgery import LINEAR_METHODS, Transplant, match_classes, transplant

__all__ = [
    "FORMATS",
    "LINEAR_METHODS",
    "FineTuneConfig",
    "FineTuned",
    "FineTuningReport",
    "Interval",
    "Transplant",
    "check_fine_tuning",
    "fine_tune",
    "match_classes",
    "open_recordings",
    "peak_memory_mb",
    "transplant",
]
