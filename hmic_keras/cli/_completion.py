"""What the shell offers for a parameter's value.

A person waits for it at each press of the key, so names are read from the file system: the
registries of methods and backbones import Keras, which takes seconds. One file a name is how
the package is laid out.
"""

import inspect
from collections.abc import Callable
from importlib import resources
from typing import Any, get_args

from typer.models import ParameterInfo

_PACKAGE = __package__.rpartition(".")[0]


def models(incomplete: str) -> list[str]:
    """Names of packaged models; paths are completed by the shell."""
    from .. import zoo

    return _starting(zoo.names(), incomplete)


def taxonomies(incomplete: str) -> list[str]:
    """Names of packaged taxonomies."""
    return _starting(_stems("taxonomies", ".yaml"), incomplete)


def methods(incomplete: str) -> list[str]:
    """Names of joint-training methods."""
    return _starting(_stems("heads", ".py"), incomplete)


def backbones(incomplete: str) -> list[str]:
    """Names of backbones."""
    return _starting(_stems("backbones", ".py"), incomplete)


def formats(incomplete: str) -> list[str]:
    """Names of export formats."""
    from .. import zoo

    return _starting(zoo.FILES, incomplete)


# A parameter of that name means the same in every command, so a new command has it at once.
_BY_PARAMETER: dict[str, Callable[[str], list[str]]] = {
    "model": models,
    "taxonomy": taxonomies,
    "method": methods,
    "backbone": backbones,
    "formats": formats,
}
_BY_COMMAND = {("taxonomy", "name"): taxonomies}


def with_completion(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command's parameters their completions; returns the command."""
    for name, parameter in inspect.signature(command).parameters.items():
        offered = _BY_COMMAND.get((command.__name__, name), _BY_PARAMETER.get(name))
        for info in get_args(parameter.annotation)[1:]:
            if offered and isinstance(info, ParameterInfo) and not info.autocompletion:
                info.autocompletion = offered
    return command


def _stems(package: str, suffix: str) -> list[str]:
    files = (item.name for item in resources.files(_PACKAGE).joinpath(package).iterdir())
    return [
        name.removesuffix(suffix)
        for name in files
        if name.endswith(suffix) and not name.startswith("_")
    ]


def _starting(names: Any, incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
