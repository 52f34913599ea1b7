"""What runs inside Keras 2: a layer that calls one of Keras 3, and fine-tuning.

Imports Keras 2, so it is imported only where that is known to be there.
"""

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

import keras
import tensorflow as tf
import tf_keras

# What a config names, since a config can hold no layer. Kept alive by those that use them.
_OPERATIONS: WeakValueDictionary[str, Any] = WeakValueDictionary()
_NUMBERS = itertools.count()


@tf_keras.saving.register_keras_serializable(package="hmic_keras")
class Replayed(tf_keras.layers.Layer):
    """Calls a Keras 3 layer with weights that belong to a Keras 2 model.

    Keras 2 cannot see the variables of a Keras 3 layer, but a built layer can be called with
    values in their place (`stateless_call`). Those values are weights of this layer, so Keras 2
    trains and saves them; the Keras 3 layer keeps its own. Copies of this layer made from its
    config share the Keras 3 layer and have weights of their own, with the same start values.

    Args:
        operation: A built Keras 3 layer, an operation of `keras.ops`, or the name under which
            an earlier instance holds one.
        arguments: Structure of the call's arguments, `[args, kwargs]`, in which
            `{"__place__": index}` stands for the tensors of `call`.
        **kwargs: Base layer arguments.
    """

    def __init__(self, operation: Any, arguments: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(operation, str):
            self._token, operation = operation, _OPERATIONS[operation]
        else:
            self._token = f"{operation.name}/{next(_NUMBERS)}"
            _OPERATIONS[self._token] = operation
        # In a tuple, where Keras 2 looks for no layers of its own.
        self._held = (_Held(operation, arguments),)

    def build(self, input_shape: Any) -> None:
        """Takes over the values of the Keras 3 layer's variables."""
        operation = self._held[0].operation
        stateful = isinstance(operation, keras.layers.Layer)
        for trainable, variables in (
            (True, operation.trainable_variables if stateful else []),
            (False, operation.non_trainable_variables if stateful else []),
        ):
            for variable in variables:
                self.add_weight(
                    name=variable.path.replace("/", "_"),
                    shape=variable.shape,
                    dtype=variable.dtype,
                    initializer=_value_of(variable),
                    trainable=trainable,
                )
        super().build(input_shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Returns what the Keras 3 layer does; several tensors as a flat list."""
        held = self._held[0]
        args, kwargs = held.fill(inputs if isinstance(inputs, list | tuple) else [inputs])
        if not isinstance(held.operation, keras.layers.Layer):
            return _flat(held.operation(*args, **kwargs))
        if held.takes_training:
            # Keras 2 traces a model with a placeholder first, where any answer will do.
            known = tf.get_static_value(training) if tf.is_tensor(training) else training
            kwargs["training"] = bool(known)
        outputs, state = held.operation.stateless_call(
            self.trainable_weights, self.non_trainable_weights, *args, **kwargs
        )
        if kwargs.get("training"):
            for weight, value in zip(self.non_trainable_weights, state, strict=True):
                weight.assign(value)
        return _flat(outputs)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, the layer by its name."""
        return {
            **super().get_config(),
            "operation": self._token,
            "arguments": self._held[0].arguments,
        }


class FineTuned(tf_keras.Model):
    """A Keras 2 model that is trained on what a Keras 3 model takes for its loss.

    Args:
        network: The model to train; its outputs are a list.
        outputs: Their names.
        loss: Called with inputs, labels by name, answers by name and sample weights.
    """

    def __init__(self, network: Any, outputs: Sequence[str], loss: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self._outputs, self._loss = tuple(outputs), loss

    def call(self, inputs: Any, training: Any = None) -> dict[str, Any]:
        """Returns the answers by name."""
        found = self.network(inputs, training=training)
        found = found if isinstance(found, list | tuple) else [found]
        return dict(zip(self._outputs, found, strict=True))

    def train_step(self, data: Any) -> dict[str, Any]:
        """Trains on one batch; see `keras.Model.train_step`."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self._loss(x, y, self(x, training=True), sample_weight)
            if self.losses:
                loss += tf.add_n(self.losses)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True)
        )
        return {"loss": loss}


class _Held:
    """An operation of Keras 3 and the arguments it is called with."""

    def __init__(self, operation: Any, arguments: Any) -> None:
        self.operation = operation
        self.arguments = arguments
        self.takes_training = "training" in inspect.signature(operation.call).parameters

    def fill(self, tensors: Sequence[Any]) -> Any:
        """Puts tensors in their places and revives the other arguments."""
        args, kwargs = _fill(self.arguments, tensors)
        return args, kwargs


def _fill(value: Any, tensors: Sequence[Any]) -> Any:
    if isinstance(value, dict) and set(value) == {"__place__"}:
        return tensors[value["__place__"]]
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    if isinstance(value, dict):
        return {key: _fill(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_fill(item, tensors) for item in value)
    return value


def _flat(outputs: Any) -> Any:
    found = keras.tree.flatten(outputs)
    return found[0] if len(found) == 1 else found


def _value_of(variable: Any) -> Any:
    value = keras.ops.convert_to_numpy(variable)
    return lambda shape, dtype=None, **_: tf.constant(value, dtype=dtype)
