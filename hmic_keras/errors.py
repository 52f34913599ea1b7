"""Errors a user can cause and mend.

Each message names what was wrong, the rule and what to do about it; the command line prints
it as one line. All derive from `ValueError`, so code that expects the built-in one works.
"""


class HmicError(ValueError):
    """Base class of the package's own errors."""


class TaxonomyError(HmicError):
    """A taxonomy breaks a rule, or a class or level is not part of it."""


class AudioError(HmicError):
    """An audio file or waveform cannot be used."""


class LabelError(HmicError):
    """A label table or label array cannot be used."""


class ModelError(HmicError):
    """A model file, its manifest or its build arguments cannot be used."""


class MissingDependencyError(HmicError, ImportError):
    """An optional package or system library is needed and absent."""
