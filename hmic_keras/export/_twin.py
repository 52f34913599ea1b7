"""A Keras 3 model rebuilt in Keras 2, weights included.

TensorFlow Model Optimization knows Keras 2 only, and Keras 2 reads neither a `.keras` file nor
a config of Keras 3. So the graph that `model.get_config()` describes is replayed call by call:
layers whose weights can be compressed become their namesakes in Keras 2, everything else is
called as it is, by `Replayed`. Backbones, methods and layers of a user's own need nothing.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import ModelError, first_line
from ..layers import BatchNormalization
from ._legacy import libraries
from .precision import as_float32

# Layers that mean the same in both versions of Keras.
_NAMESAKES = frozenset(
    {
        *("Activation", "Add", "AveragePooling1D", "AveragePooling2D", "BatchNormalization"),
        *("Concatenate", "Conv1D", "Conv2D", "Dense", "DepthwiseConv2D", "Dropout", "Flatten"),
        *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D"),
        *("GlobalMaxPooling2D", "LayerNormalization", "MaxPooling1D", "MaxPooling2D"),
        *("Multiply", "Permute", "ReLU", "Reshape", "SpatialDropout1D", "SpatialDropout2D"),
        *("ZeroPadding1D", "ZeroPadding2D"),
    }
)
# Arguments that say how to call, which the mode of the Keras 2 model decides.
_MODES = ("training", "mask")
# A tensor in a config: name of the operation, number of its call, place in the call's result.
_Key = tuple[str, int, int]


@dataclass(frozen=True)
class Twin:
    """A Keras 2 model that answers as a Keras 3 model does.

    Attributes:
        model: Functional Keras 2 model; its outputs are a list, named as in `outputs`.
        outputs: Names of the outputs: the levels of a model from `build_model`.
        variables: Pairs of the variables of a Keras 3 layer, and the name of the layer in
            Keras 2 whose weights they are, in that order.
    """

    model: Any
    outputs: tuple[str, ...]
    variables: tuple[tuple[Sequence[Any], str], ...]

    def weights_for(self, source: Any, network: Any) -> list[np.ndarray]:
        """Returns weights for the model that the twin was made of.

        Args:
            source: That model.
            network: The twin's model, or a trained copy with the same layers.

        Returns:
            What `set_weights` of `source`, or of a copy of it, takes.
        """
        found = {
            id(variable): value
            for variables, name in self.variables
            for variable, value in zip(
                variables, network.get_layer(name).get_weights(), strict=True
            )
        }
        return [
            found.get(id(variable), value)
            for variable, value in zip(source.weights, source.get_weights(), strict=True)
        ]


def twin(model: Any) -> Twin:
    """Rebuilds a functional Keras 3 model in Keras 2 with the same weights.

    Args:
        model: Functional or sequential Keras 3 model with one output, or outputs in a dict.

    Raises:
        MissingDependencyError: If Keras 2 is not installed.
        ModelError: If the model is not functional, or one of its layers cannot be rebuilt; the
            message names the layer.
    """
    tf_keras = libraries().tf_keras
    if not isinstance(model, keras.Model) or not _is_graph(model) or not model.built:
        raise ModelError(
            "`model` must be a built functional or sequential Keras 3 model, as `build_model` "
            f"returns and `load_model` loads. Received: {_kind(model)}"
        )
    model = as_float32(model)
    if not isinstance(model.output, Mapping) and len(model.outputs) != 1:
        raise ModelError(
            "`model` must have one output or a dict of outputs, so that each has a name. "
            f"Received: {len(model.outputs)} outputs in a {type(model.output).__name__}"
        )
    named = (
        dict(model.output)
        if isinstance(model.output, Mapping)
        else {model.output_names[0]: model.output}
    )
    inputs = [
        tf_keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]
    replay = _Replay(reserved={*named, *(tensor.name for tensor in model.inputs)})
    # Behind the input, so that an input is quantised where its layer is, and else stays float.
    entrances = [
        tf_keras.layers.Identity(name=replay.name_for(f"{tensor.name}_input"))(rebuilt)
        for tensor, rebuilt in zip(model.inputs, inputs, strict=True)
    ]
    found = replay.run(model, entrances)
    outputs = [
        tf_keras.layers.Identity(name=name)(tensor)
        for name, tensor in zip(named, found, strict=True)
    ]
    rebuilt = tf_keras.Model(inputs, outputs, name=model.name)
    return Twin(rebuilt, tuple(named), tuple(replay.variables))


class _Replay:
    """Calls what a Keras 3 model calls, on tensors of Keras 2.

    Attributes:
        variables: As in `Twin`.
    """

    def __init__(self, reserved: set[str]) -> None:
        self.variables: list[tuple[Sequence[Any], str]] = []
        self._names = set(reserved)
        self._namesakes: dict[int, Any] = {}
        self._filled: set[str] = set()
        self._replayed: set[int] = set()

    def run(self, model: Any, inputs: Sequence[Any], prefix: str = "") -> list[Any]:
        """Returns the outputs of a model, or of a model within a model, as a flat list."""
        if isinstance(model, keras.Sequential):
            tensors = list(inputs)
            for layer in model.layers:
                tensors = self._call(layer, [[{"__place__": 0}], {}], tensors, prefix)
            return tensors
        config = model.get_config()
        operations = {operation.name: operation for operation in model.operations}
        known: dict[_Key, Any] = dict(zip(_keys(config["input_layers"]), inputs, strict=True))
        waiting = [
            (operations[entry["name"]], call, node)
            for entry in config["layers"]
            for call, node in enumerate(entry["inbound_nodes"])
        ]
        while waiting:
            later = []
            for operation, call, node in waiting:
                keys: list[_Key] = []
                arguments = _with_places([node["args"], node["kwargs"]], keys)
                if any(key not in known for key in keys):
                    later.append((operation, call, node))
                    continue
                outputs = self._call(operation, arguments, [known[key] for key in keys], prefix)
                for place, tensor in enumerate(outputs):
                    known[operation.name, call, place] = tensor
            if len(later) == len(waiting):
                raise ModelError(
                    f"The graph of {model.name!r} has no beginning: {later[0][0].name!r} waits "
                    "for what nothing computes."
                )
            waiting = later
        # Among outputs alone, a config counts a functional model's own graph as its first call.
        return [
            known[name, call - _is_functional(operations[name]), place]
            for name, call, place in _keys(config["output_layers"])
        ]

    def _call(
        self, operation: Any, arguments: Any, tensors: Sequence[Any], prefix: str
    ) -> list[Any]:
        args, kwargs = arguments
        kwargs = {name: value for name, value in kwargs.items() if name not in _MODES}
        if _is_graph(operation):
            found = self.run(operation, tensors, f"{prefix}{operation.name}_")
            return _as_numbered(operation, found)
        simple = len(args) == 1 and not kwargs
        namesake = self._namesake(operation, prefix) if simple else None
        try:
            if namesake is not None:
                listed = isinstance(args[0], list | tuple)
                outputs = namesake(list(tensors) if listed else tensors[0])
                if operation.weights and namesake.name not in self._filled:
                    self._filled.add(namesake.name)
                    namesake.set_weights(operation.get_weights())
                    self.variables.append((operation.weights, namesake.name))
            else:
                outputs = self._as_it_is(operation, [args, kwargs], tensors, prefix)
        except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
            raise ModelError(
                f"The layer {operation.name!r} ({_kind(operation)}) cannot be rebuilt in "
                f"Keras 2: {first_line(error)}"
            ) from error
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]

    def _namesake(self, layer: Any, prefix: str) -> Any:
        """Returns the Keras 2 layer that does the same; None if there is none."""
        if id(layer) not in self._namesakes:
            found = _rebuilt(layer, lambda: self.name_for(f"{prefix}{layer.name}"))
            self._namesakes[id(layer)] = found
        return self._namesakes[id(layer)]

    def _as_it_is(
        self, operation: Any, arguments: Any, tensors: Sequence[Any], prefix: str
    ) -> Any:
        from ._keras2 import Replayed

        if id(operation) in self._replayed and getattr(operation, "weights", None):
            raise ValueError("it has weights and is called more than once")
        self._replayed.add(id(operation))
        layer = Replayed(operation, arguments, name=self.name_for(f"{prefix}{operation.name}"))
        layer.trainable = getattr(operation, "trainable", True)
        if isinstance(operation, keras.layers.Layer):
            held = [*operation.trainable_variables, *operation.non_trainable_variables]
            self.variables.append((held, layer.name))
        return layer(list(tensors) if len(tensors) != 1 else tensors[0])

    def name_for(self, wanted: str) -> str:
        """Returns a name like the wanted one that no other layer has."""
        name = wanted
        number = 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name


def _as_numbered(model: Any, outputs: list[Any]) -> list[Any]:
    """Returns the outputs of a model within a model in the order that Keras counts them."""
    if not isinstance(model.output, Mapping):
        return outputs
    named = dict(zip(model.output, outputs, strict=True))
    # By name, whatever the order of the dict.
    return [named[name] for name in keras.tree.flatten({name: name for name in named})]


def _rebuilt(layer: Any, name: Callable[[], str]) -> Any:
    """Makes the Keras 2 layer of a Keras 3 layer's config, with weights of its own."""
    kind = type(layer).__name__
    # Ours only trains faster.
    like = keras.layers.BatchNormalization if type(layer) is BatchNormalization else type(layer)
    if kind not in _NAMESAKES or like is not getattr(keras.layers, kind):
        return None
    tf_keras = libraries().tf_keras
    make = getattr(tf_keras.layers, kind)
    known = inspect.signature(make.__init__).parameters
    newer = inspect.signature(like.__init__).parameters
    arguments: dict[str, Any] = {}
    for key, value in layer.get_config().items():
        if key.endswith("_initializer") or key in ("name", "dtype", "trainable"):
            continue
        if key not in known:
            # What Keras 2 does not have may only be what Keras 3 does without being asked.
            default = newer[key].default if key in newer else None
            if value and value != default:
                return None
            continue
        if key.endswith(("_regularizer", "_constraint")) and value is not None:
            value = _same_in_keras2(tf_keras, key, value)
            if value is None:
                return None
        if key == "activation" and not _is_known_activation(tf_keras, value):
            return None
        arguments[key] = value
    return make(**arguments, trainable=layer.trainable, name=name())


def _same_in_keras2(tf_keras: Any, key: str, value: Mapping[str, Any]) -> Any:
    module = tf_keras.regularizers if key.endswith("_regularizer") else tf_keras.constraints
    make = getattr(module, str(value.get("class_name")), None)
    return None if make is None else make(**value["config"])


def _is_known_activation(tf_keras: Any, value: Any) -> bool:
    return value is None or (isinstance(value, str) and hasattr(tf_keras.activations, value))


def _with_places(value: Any, keys: list[_Key]) -> Any:
    """Replaces the tensors of a call by their places in `keys`, which it extends."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            keys.append(tuple(value["config"]["keras_history"]))
            return {"__place__": len(keys) - 1}
        if "class_name" in value:
            return value
        return {key: _with_places(item, keys) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_places(item, keys) for item in value]
    return value


def _keys(structure: Any) -> Iterator[_Key]:
    """Yields the tensors of a config's inputs or outputs, in the order of a dict's values."""
    if isinstance(structure, Mapping):
        for value in structure.values():
            yield from _keys(value)
    elif len(structure) == 3 and isinstance(structure[0], str):
        yield (structure[0], structure[1], structure[2])
    else:
        for value in structure:
            yield from _keys(value)


def _is_graph(operation: Any) -> bool:
    return isinstance(operation, keras.Sequential) or _is_functional(operation)


def _is_functional(operation: Any) -> bool:
    return isinstance(operation, keras.Model) and isinstance(operation, keras.Function)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
