"""What the shell offers for a parameter's value.

A person waits for it at each press of the key, so names are read from files: importing the
registries of methods and backbones imports Keras, which takes seconds.
"""

import ast
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
    return _starting(_stems("taxonomies"), incomplete)


def methods(incomplete: str) -> list[str]:
    """Names of joint-training methods."""
    return _starting(_registered("heads", "HEADS"), incomplete)


def backbones(incomplete: str) -> list[str]:
    """Names of backbones."""
    return _starting(_registered("backbones", "BACKBONES"), incomplete)


def recipes(incomplete: str) -> list[str]:
    """Names of packaged training recipes; paths are completed by the shell."""
    return _starting(_stems("recipes"), incomplete)


def formats(incomplete: str) -> list[str]:
    """Names of export formats."""
    from .. import zoo

    return _starting(zoo.FILES, incomplete)


def ways(incomplete: str) -> list[str]:
    """Names of ways to compress."""
    from ..config import COMPRESSIONS

    return _starting(COMPRESSIONS, incomplete)


# A parameter of that name means the same in every command, so a new command has it at once.
_BY_PARAMETER: dict[str, Callable[[str], list[str]]] = {
    "model": models,
    "taxonomy": taxonomies,
    "method": methods,
    "backbone": backbones,
    "recipe": recipes,
    "formats": formats,
    "how": ways,
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


def _stems(folder: str) -> list[str]:
    files = resources.files(_PACKAGE).joinpath(folder)
    names = [item.name for item in files.iterdir()] if files.is_dir() else []
    return [name.removesuffix(".yaml") for name in names if name.endswith(".yaml")]


def _registered(package: str, registry: str) -> list[str]:
    """The keys of a dict that the source of a package assigns to `registry`."""
    source = resources.files(_PACKAGE).joinpath(package, "__init__.py").read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.AnnAssign)
            and ast.unparse(node.target) == registry
            and isinstance(node.value, ast.Dict)
        ):
            keys = (key for key in node.value.keys if isinstance(key, ast.Constant))
            return [str(key.value) for key in keys]
    return []


def _starting(names: Any, incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
