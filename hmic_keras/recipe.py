"""Recipes: everything that makes a training run, in one file."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ._files import write_text
from .config import ModelConfig, TrainConfig
from .errors import HmicError, brief, first_line

__all__ = ["Recipe", "names", "parse"]

_SUFFIXES = (".yaml", ".yml", ".json")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained, on what and how; a YAML or JSON file holds the same.

    A file names what differs from the defaults::

        description: A wider network against overfitting.
        taxonomy: openmic
        data: corpus/labels.csv
        model:
          backbone: conv
          backbone_options: {width: 24}
          method: f2ca
          spec_augment: {}
        training:
          epochs: 60
          weight_averaging: 0.999
          augmentation:
            waveform: {gain: {}, equalizer: {}}
            mix: {name: mixup, alpha: 0.4}

    Attributes:
        description: What the recipe is for.
        taxonomy: Packaged name, or path, of the taxonomy.
        data: Label table or prepared folder to train on; None for the demo corpus. In a file,
            this and the other paths are relative to the file's folder. With `training.stems`,
            a corpus rendered with stems.
        render: Corpora to render first, which are trained on besides `data`: for each the
            arguments of `data.render_corpus`, of which `soundfont` (the name of an installed
            file, or a path) and `clips` must be there. With `training.stems` their stems are
            mixed anew for every step, else the clips are taken as they are.
        validation: The same of clips to validate on; None holds a share of `data` out.
        model: What is built.
        training: How it is trained.

    Raises:
        HmicError: If a value is of the wrong kind.

    Example:
        >>> Recipe.load("demo").training.epochs
        16
    """

    description: str = ""
    taxonomy: str = "openmic"
    data: str | None = None
    render: Sequence[Mapping[str, Any]] = ()
    validation: str | None = None
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    training: TrainConfig = dataclasses.field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        kinds = {"data": str | None, "validation": str | None}
        for name in ("description", "taxonomy", *kinds):
            value = getattr(self, name)
            if not isinstance(value, kinds.get(name, str)):
                raise HmicError(
                    f"`{name}` of a recipe must be a text. Received: {brief(value)}"
                )
        self._check_render()
        for name, kind in (("model", ModelConfig), ("training", TrainConfig)):
            if not isinstance(getattr(self, name), kind):
                raise HmicError(
                    f"`{name}` of a recipe must be a {kind.__name__}. Received: "
                    f"{brief(getattr(self, name))}"
                )

    def _check_render(self) -> None:
        whole = isinstance(self.render, list | tuple) and all(
            isinstance(one, Mapping) and {"soundfont", "clips"} <= set(one)
            for one in self.render
        )
        if not whole:
            raise HmicError(
                "`render` of a recipe must list corpora, each with its 'soundfont' and number "
                f"of 'clips'. Received: {brief(self.render)}"
            )
        # Plain copies that nobody else can change, and that YAML can write.
        object.__setattr__(self, "render", [dict(one) for one in self.render])

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as JSON-able values."""
        # JSON has no tuples, and YAML would mark them.
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Builds a recipe from `to_dict`'s form, or from parts of it.

        Raises:
            HmicError: If a name is unknown or a value out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(values, Mapping) or set(values) - set(known):
            found = sorted(map(str, values)) if isinstance(values, Mapping) else brief(values)
            raise HmicError(f"A recipe holds {known}, by name. Received: {found}")
        parts: dict[str, Any] = {"model": ModelConfig, "training": TrainConfig}
        return cls(
            **{
                name: parts[name].from_dict(value) if name in parts else value
                for name, value in values.items()
            }
        )

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> "Recipe":
        """Reads a packaged recipe, a file, or the recipe of a run's folder.

        Args:
            name_or_path: One of `names()`, the path of a `.yaml` or `.json` file, or a folder
                that `hmic train` wrote.

        Raises:
            HmicError: If there is no such recipe or it breaks a rule; the message names the
                file.
        """
        path = _find(name_or_path)
        try:
            text = path.read_text(encoding="utf-8")
            values = parse(text)
        except (OSError, UnicodeDecodeError, HmicError) as error:
            raise HmicError(
                f"{path}: cannot be read as a recipe ({first_line(error)}). It must be YAML or "
                "JSON in UTF-8."
            ) from error
        try:
            recipe = cls.from_dict({} if values is None else values)
        except HmicError as error:
            raise HmicError(f"{path}: {error}") from error
        return recipe._from_folder(path.parent)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the recipe as YAML, whole or not at all; its paths become absolute."""
        absolute = self._from_folder(Path.cwd())
        write_text(path, yaml.safe_dump(absolute.to_dict(), sort_keys=False))

    def _from_folder(self, folder: Path) -> "Recipe":
        """Returns the recipe with paths that hold from anywhere."""

        def absolute(path: str | None) -> str | None:
            return None if path is None else os.path.abspath(folder / os.path.expanduser(path))

        taxonomy = self.taxonomy
        # A bare word is a packaged name, unless such a file lies beside the recipe.
        if Path(taxonomy).suffix or os.path.isfile(folder / taxonomy):
            taxonomy = str(absolute(taxonomy))
        return dataclasses.replace(
            self,
            taxonomy=taxonomy,
            data=absolute(self.data),
            validation=absolute(self.validation),
        )


def parse(text: str) -> Any:
    """Reads YAML or JSON, of a recipe or of one of its settings, to plain data.

    Raises:
        HmicError: If it is neither, or refers to a part of itself by an alias.

    Example:
        >>> parse("{patience: 5}")
        {'patience': 5}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    # PyYAML lets through what Python says of a date in month 13 or a number without digits.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise HmicError(first_line(error)) from error
    except RecursionError as error:
        raise HmicError("nested deeper than any recipe.") from error


class _Loader(yaml.SafeLoader):
    """Plain data without aliases, of which a few lines could stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases are refused", mark)
        return super().compose_node(parent, index)


def names() -> list[str]:
    """Returns the names of the packaged recipes."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _folder() -> Path:
    return Path(str(files("hmic_keras").joinpath("recipes")))


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    path = Path(name_or_path)
    if os.path.isdir(path):
        path = path / "run" / "recipe.yaml"
    elif path.suffix not in _SUFFIXES and not os.path.isfile(path):
        path = _folder() / f"{path.name}.yaml" if len(path.parts) == 1 else path
    if not os.path.isfile(path):
        raise HmicError(
            f"There is no recipe {str(name_or_path)!r}: it is neither one of {names()}, nor a "
            "file, nor a folder that `hmic train` wrote."
        )
    return path
