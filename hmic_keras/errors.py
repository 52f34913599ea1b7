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


class RecordError(HmicError):
    """A record, or a folder of prepared records, cannot be used."""


class ModelError(HmicError):
    """A model file, its manifest or its build arguments cannot be used."""


class MissingDependencyError(HmicError, ImportError):
    """An optional package or system library is needed and absent."""


def first_line(error: BaseException) -> str:
    r"""Returns the first line of an error's message with one full stop, to quote in another.

    Args:
        error: Somebody else's error; without a message, its type stands for one.

    Example:
        >>> first_line(ValueError("bad header\nat byte 4"))
        'bad header.'
    """
    text = str(error).strip().splitlines()
    return (text[0].rstrip(".") if text else type(error).__name__) + "."


def brief(value: object) -> str:
    """Shows a value in at most 80 characters, to say in an error what was received.

    Example:
        >>> brief("x" * 200)[-5:]
        'xx...'
    """
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # lists in lists; a number of thousands of digits
        text = f"<{type(value).__name__} too large to show>"
    return text if len(text) <= 80 else f"{text[:77]}..."
