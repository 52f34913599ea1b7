"""Putting the classes of another taxonomy onto a trained network."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from .. import heads
from ..config import AudioConfig
from ..errors import ModelError, TaxonomyError
from ..export.precision import as_float32
from ..heads.f2ca import ATTENTION_SUFFIX
from ..hierarchical_model import HierarchicalModel
from ..label_map import LabelMap
from ..models import CLIP_POOL, build_model
from ..taxonomy import Taxonomy
from ..training import start_from

ClassKey = tuple[str, str]

LINEAR_METHODS = ("c_hmcnn", "f2ca", "gmp", "multitask", "top_down")
"""Methods whose classifiers are one linear layer a level on the pooled features."""

# A class nobody taught anything yet is unlikely.
_NEW_BIAS = -2.0
# Leaves less than 1e-12 of a parent's attention to a child that is none of its own.
_FAR = -30.0


@dataclass(frozen=True)
class Column:
    """One linear classifier: the output `index` of the layer `layer`, for one class."""

    layer: str
    index: int
    key: ClassKey


@dataclass(frozen=True)
class Transplant:
    """A model of the new classes on the old network.

    Attributes:
        model: The model; classifiers of classes without an origin know nothing yet.
        origin: For each new class that was kept, the old one it comes from.
        columns: The linear classifiers of `model`.
    """

    model: HierarchicalModel
    origin: Mapping[ClassKey, ClassKey]
    columns: tuple[Column, ...]

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the classifiers' weights `(columns, dim)` and biases `(columns,)`."""
        return _rows(self.model, self.columns)

    def set_rows(self, weights: np.ndarray, biases: np.ndarray) -> None:
        """Puts weights `(columns, dim)` and biases `(columns,)` into the model."""
        by_layer: dict[str, list[int]] = {}
        for number, column in enumerate(self.columns):
            by_layer.setdefault(column.layer, []).append(number)
        for name, numbers in by_layer.items():
            kernel, bias = (np.array(one) for one in self.model.get_layer(name).get_weights())
            places = [self.columns[number].index for number in numbers]
            kernel[:, places], bias[places] = weights[numbers].T, biases[numbers]
            self.model.get_layer(name).set_weights([kernel, bias])


def transplant(
    base: HierarchicalModel,
    taxonomy: Taxonomy,
    *,
    mapping: LabelMap | None = None,
    method: str | None = None,
) -> Transplant:
    """Builds a model of another taxonomy on the network of a trained one.

    Everything before the classifiers is copied. A class that the old model knows, by its name
    on the level of the same depth or by `mapping`, keeps the weights of its classifier, and in
    `f2ca` its attention map; in a new map only the class's own children take part, evenly.

    Args:
        base: A trained model of waveforms. Its calibration, if it has one, is left behind. Of
            a method that is none of `LINEAR_METHODS`, the network alone is kept.
        taxonomy: The new classes.
        mapping: For new classes as tags, the old class whose weights each keeps; null for none,
            whatever its name.
        method: Joint-training method of the new model; by default the old one's. Where `f2ca`
            would keep no map, the default is `"gmp"`, which has nothing to learn above the
            finest level.

    Returns:
        The new model and where its classes come from.

    Raises:
        ModelError: If the model is none of waveforms, or its method or another one asked for
            has no linear classifiers on pooled features.
        TaxonomyError: If the mapping names a class that the taxonomy lacks, or gives one class
            several origins.
    """
    manifest = base.manifest
    origin = match_classes(taxonomy, base.taxonomy, mapping)
    chosen = _method(base, taxonomy, origin, method)
    if manifest["method"]["name"] not in LINEAR_METHODS:
        origin = {}  # there is no linear classifier to keep
    base = as_float32(base)
    options = {k: v for k, v in manifest["backbone"]["options"].items() if k != "weights"}
    own = manifest["method"]["name"] == chosen
    model = build_model(
        taxonomy,
        backbone=manifest["backbone"]["name"],
        method=chosen,
        audio=AudioConfig.from_dict(manifest["audio"]),
        backbone_options=options,
        method_options=manifest["method"]["options"] if own else None,
        consistent=manifest.get("consistent", False),
    )
    model.update_manifest(window_seconds=manifest.get("window_seconds", 10.0))
    # With the name of the file its weights were once read from, if there is one.
    model.update_manifest(backbone=manifest["backbone"])
    start_from(model, base)
    result = Transplant(model, origin, classifier_columns(model))
    result.set_rows(*_kept_rows(base, result))
    if chosen == "f2ca":
        _copy_attention(base, result)
    return result


def match_classes(
    taxonomy: Taxonomy, base: Taxonomy, mapping: LabelMap | None = None
) -> dict[ClassKey, ClassKey]:
    """Returns for each class that is in both taxonomies, or mapped, its key in the old one.

    Args:
        taxonomy: The new classes.
        base: The old ones.
        mapping: See `transplant`.

    Raises:
        TaxonomyError: See `transplant`.
    """
    found: dict[ClassKey, ClassKey] = {}
    for level, old in zip(taxonomy.levels, base.levels, strict=False):
        for name in taxonomy.classes(level):
            if name in base.index(old):
                found[level, name] = (old, name)
    for tag, targets in (mapping.targets if mapping is not None else {}).items():
        try:
            key = taxonomy.resolve(tag)
        except TaxonomyError as error:
            raise TaxonomyError(
                f"The mapping has {tag!r}, which is none of your classes: {error} Its keys are "
                "classes of the new taxonomy, its values classes of the base model."
            ) from error
        if len(targets) > 1:
            raise TaxonomyError(
                f"The mapping gives {tag!r} {len(targets)} old classes, but a classifier can "
                "be kept from one only; name one, or null for none."
            )
        found.pop(key, None)
        if targets:
            found[key] = targets[0]
    return found


def classifier_columns(model: HierarchicalModel) -> tuple[Column, ...]:
    """Lists the linear classifiers of a model whose method is one of `LINEAR_METHODS`."""
    taxonomy, names = model.taxonomy, {layer.name for layer in model.layers}
    found = []
    for level in taxonomy.levels:
        classes = taxonomy.classes(level)
        children = heads.children_of(taxonomy, level)
        every = np.arange(len(classes))
        layers = {
            f"{level}_logits": every,
            f"{level}_own_logits": every,
            f"{level}_childless_logits": children.childless,
        }
        found += [
            Column(name, place, (level, classes[number]))
            for name, numbers in layers.items()
            if name in names
            for place, number in enumerate(numbers)
        ]
    return tuple(found)


def _method(
    base: HierarchicalModel,
    taxonomy: Taxonomy,
    origin: Mapping[ClassKey, ClassKey],
    method: str | None,
) -> str:
    manifest = base.manifest
    if manifest["input"] != "waveform":
        raise ModelError(
            "Fine-tuning needs a model that hears waveforms, such as 'hmic-mobile'. Received: "
            f"{base.name!r}, whose input is {manifest['input']!r}"
        )
    if CLIP_POOL not in {layer.name for layer in base.layers}:
        raise ModelError(
            "Fine-tuning needs a model that pools its features over time for all classes "
            f"together; {base.name!r} (method {manifest['method']['name']!r}) does not. Start "
            "from another one, such as 'hmic-mobile', or train one with another method first."
        )
    own = manifest["method"]["name"]
    if method is None and own == "f2ca" and not any(k[0] != taxonomy.levels[0] for k in origin):
        return "gmp"
    chosen = own if method is None else method
    if chosen not in LINEAR_METHODS:
        raise ModelError(
            f"Fine-tuning needs one of the methods {list(LINEAR_METHODS)}, whose classifiers "
            f"are linear on the pooled features. Received: {chosen!r}; choose the method 'gmp' "
            "to put new classifiers onto the network."
        )
    return chosen


def _rows(
    model: HierarchicalModel, columns: tuple[Column, ...]
) -> tuple[np.ndarray, np.ndarray]:
    values = {c.layer: model.get_layer(c.layer).get_weights() for c in columns}
    weights = np.stack([values[c.layer][0][:, c.index] for c in columns])
    return weights, np.array([values[c.layer][1][c.index] for c in columns])


def _kept_rows(base: HierarchicalModel, new: Transplant) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of classes with an origin, and for the others rows that know nothing."""
    weights, biases = new.rows()
    weights, biases = np.zeros_like(weights), np.full_like(biases, _NEW_BIAS)
    if not new.origin:
        return weights, biases
    old = classifier_columns(base)
    places = {(column.key, _kind(column)): number for number, column in enumerate(old)}
    old_weights, old_biases = _rows(base, old)
    for number, column in enumerate(new.columns):
        place = places.get((new.origin.get(column.key, ("", "")), _kind(column)))
        if place is not None:
            weights[number], biases[number] = old_weights[place], old_biases[place]
    return weights, biases


def _kind(column: Column) -> str:
    # A class's word beside its children's is another thing than its score.
    return "own" if column.layer.endswith("_own_logits") else "score"


def links_to_new_children(
    taxonomy: Taxonomy, base: Taxonomy, origin: Mapping[ClassKey, ClassKey]
) -> list[list[Any]]:
    """Lists the links from classes that go on to children that they did not have.

    Links further up, to such a class as a child, are among them.

    Args:
        taxonomy: The new classes.
        base: The old ones.
        origin: Where the new ones come from, as in `Transplant`.

    Returns:
        `[parent level, child level, pairs of parent and child index]`, where there are any.
    """
    found: dict[tuple[str, str], list[list[int]]] = {}
    changed: set[ClassKey] = set()
    for level in taxonomy.levels[1:]:  # from the finest up
        for place, name in enumerate(taxonomy.classes(level)):
            old = origin.get((level, name))
            for child in taxonomy.children(name, level) if old is not None else ():
                had = old is not None and origin.get(child) in base.children(old[1], old[0])
                if not had or child in changed:
                    pair = [place, taxonomy.index(child[0])[child[1]]]
                    found.setdefault((level, child[0]), []).append(pair)
                    changed.add((level, name))
    return [[*levels, pairs] for levels, pairs in found.items()]


def _copy_attention(base: HierarchicalModel, new: Transplant) -> None:
    """Keeps the maps of old parents, and gives new ones an even map of their children."""
    levels, old_levels = new.model.taxonomy.levels[1:], base.taxonomy.levels[1:]
    names, old_names = ({x.name for x in model.layers} for model in (new.model, base))
    for level, old_level in zip_longest(levels, old_levels[: len(levels)], fillvalue=""):
        if level + ATTENTION_SUFFIX not in names:
            continue
        maps = _Maps.of(new.model, level)
        # A base model of another method has no maps: then all of them are new.
        known = old_level + ATTENTION_SUFFIX in old_names
        before = _Maps.of(base, old_level) if known else dataclasses.replace(maps, parents=[])
        origin = new.origin if known else {}
        _fill_attention(maps, before, origin, new.model.get_layer(level + ATTENTION_SUFFIX))


@dataclass(frozen=True)
class _Maps:
    """The attention of one level: its weights by name, and the classes on both sides."""

    weights: dict[str, np.ndarray]
    parents: list[ClassKey]
    children: list[ClassKey]
    links: np.ndarray  # boolean (parents, children)

    @classmethod
    def of(cls, model: HierarchicalModel, level: str) -> "_Maps":
        found = heads.children_of(model.taxonomy, level)
        layer = model.get_layer(level + ATTENTION_SUFFIX)
        classes = model.taxonomy.classes(level)
        mask = np.zeros((len(classes), len(found.names)), bool)
        mask[found.links[:, 0], found.links[:, 1]] = True
        return cls(
            {weight.name: np.array(weight) for weight in layer.weights},
            [(level, classes[number]) for number in found.parents],
            [(low, name) for low in found.levels for name in model.taxonomy.classes(low)],
            mask[found.parents],
        )


def _fill_attention(
    new: _Maps, old: _Maps, origin: Mapping[ClassKey, ClassKey], layer: Any
) -> None:
    parents = [_place(old.parents, origin.get(key)) for key in new.parents]
    children = [_place(old.children, origin.get(key)) for key in new.children]
    values = dict(new.weights)
    values["projection"] = old.weights["projection"]
    for name in ("time_queries", "map_queries"):
        for row, place in enumerate(parents):
            # A gate of 0 leaves the map to its bias.
            values[name][:, row] = 0.0 if place is None else old.weights[name][:, place]
    for column, place in enumerate(children):
        values["keys"][:, column] = 0.0 if place is None else old.weights["keys"][:, place]
    before = [None if p is None else old.weights["map_bias"][0, p] for p in parents]
    values["map_bias"] = _fill_bias(new.links, before, children, values["keys"])[np.newaxis]
    layer.set_weights([values[weight.name] for weight in layer.weights])


def _fill_bias(
    links: np.ndarray,
    before: list[np.ndarray | None],
    children: list[int | None],
    keys: np.ndarray,
) -> np.ndarray:
    """Returns the biases `(parents, children)`, and sets the keys of new members of old maps.

    Args:
        links: Boolean `(parents, children)`: whose member is whose.
        before: For each parent its old biases, None for a new parent.
        children: For each child its place among the old ones, None for a new child.
        keys: `(heads, children, dim)`, changed in place.
    """
    bias = np.where(links, 0.0, _FAR).astype(np.float32)
    places = np.array([-1 if place is None else place for place in children])
    kept = places >= 0
    for row, old in enumerate(before):
        if old is None:
            continue
        bias[row, kept] = old[places[kept]]
        siblings, added = links[row] & kept, links[row] & ~kept
        if siblings.any() and added.any():
            # A new member is listened to as much as the old ones are on the whole.
            bias[row, added] = bias[row, siblings].mean()
            keys[:, added] = keys[:, siblings].mean(axis=1, keepdims=True)
    return bias


def _place(keys: list[ClassKey], key: ClassKey | None) -> int | None:
    return keys.index(key) if key in keys else None
