"""Quantisation-aware training of a Keras 2 twin: what is quantised, and within which range."""

import io
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache
from typing import Any

import keras

from ..errors import ModelError
from ._legacy import libraries

# What TensorFlow Model Optimization multiplies an activation's range with at each step of
# training, and how often the ranges are measured, each time through better ones before them.
_DECAY = 0.999
_PASSES = 3
_INT8_ACTIVATIONS = ("relu", "relu6", "swish", "gelu")


def quantised(model: Any, *, keep_zeros: bool = False) -> Any:
    """Returns a copy that computes as its int8 version would, and can be trained.

    Convolutions, dense layers and what lies between them are quantised; a batch normalisation
    behind a convolution is folded into it. Layers of Keras 3 (the front end, the heads of the
    hierarchy, attention), other normalisation and the final sigmoid stay float, and where int8
    layers follow, their result is quantised.

    Args:
        model: Functional Keras 2 model from `twin`.
        keep_zeros: Whether weights that are zero stay zero, for a pruned model.

    Raises:
        ModelError: If the model has no layer that can be quantised.
    """
    tf_keras, tfmot = libraries().tf_keras, libraries().tfmot
    quantize = tfmot.quantization.keras
    scheme = (
        _zero_keeping_scheme()()
        if keep_zeros
        else quantize.default_8bit.Default8BitQuantizeScheme()
    )
    consumers = _consumers(model)
    kinds = {layer.name: layer for layer in model.layers}
    int8 = {name for name, layer in kinds.items() if _is_int8(layer)}
    int8 |= {name for name in kinds if _folds(kinds, consumers, int8, name)}
    int8 -= _of_probabilities(kinds, consumers)
    if not any(kinds[name].trainable_weights for name in int8):
        raise ModelError(
            f"The model {model.name!r} has no convolution and no dense layer that could be "
            "quantised."
        )

    def annotate(layer: Any) -> Any:
        if layer.name in int8:
            return quantize.quantize_annotate_layer(layer)
        if _is_sigmoid(layer):
            return _float_sigmoid(layer)
        # A layer that was pruned before has been called again; all its calls are alike.
        single = not isinstance(layer.get_output_at(0), list | tuple)
        if single and any(name in int8 for name in consumers[layer.name]):
            return quantize.quantize_annotate_layer(layer, _output_range()())
        return layer

    annotated = tf_keras.models.clone_model(model, clone_function=annotate)
    own = {"OutputRange": _output_range(), "_sigmoid_in_float": _sigmoid_in_float}
    with quantize.quantize_scope(own):
        return quantize.quantize_apply(annotated, scheme)


def calibrate(model: Any, batches: Iterable[Any]) -> None:
    """Sets the ranges of a quantised model's activations to what some batches show.

    During training a range moves by a thousandth of its way a step, starting from -6 to 6,
    which a short fine-tuning never leaves. Here the same average is taken over a few batches
    and its start is divided out, as Adam does (Kingma and Ba 2015, algorithm 1); again from
    the ranges found, since a wrong range distorts those behind it.

    Args:
        model: From `quantised`; its weights stay as they are.
        batches: Inputs of the model.
    """
    batches = list(batches)
    ranges = [weight for weight in model.weights if _is_activation_range(weight.name)]
    others = [weight for weight in model.weights if not _is_range(weight.name)]
    values = [weight.numpy() for weight in others]
    kept = _DECAY ** len(batches)
    for _ in range(_PASSES):
        start = [weight.numpy() for weight in ranges]
        for batch in batches:
            model(batch, training=True)
        for weight, first in zip(ranges, start, strict=True):
            weight.assign((weight.numpy() - kept * first) / (1 - kept))
        for weight, value in zip(others, values, strict=True):
            weight.assign(value)


def convert(model: Any, outputs: Sequence[str], input_shape: Sequence[int]) -> bytes:
    """Converts a trained quantised model to TensorFlow Lite, for one input at a time.

    Args:
        model: From `quantised`.
        outputs: Names of its outputs.
        input_shape: Shape of one input.

    Returns:
        The file: float32 in and out, int8 where it was trained so.
    """
    import tensorflow as tf

    (given,) = model.inputs
    signature = [tf.TensorSpec((1, *input_shape), tf.float32, name=given.name)]

    def serve(inputs: Any) -> dict[str, Any]:
        found = model(inputs, training=False)
        found = found if isinstance(found, list | tuple) else [found]
        return dict(zip(outputs, found, strict=True))

    with tempfile.TemporaryDirectory() as folder:
        archive = libraries().tf_keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", serve, signature)
        with redirect_stdout(io.StringIO()):  # it lists every variable
            archive.write_out(folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return converter.convert()


def _is_range(name: str) -> bool:
    return name.split(":")[0].endswith(("_min", "_max"))


def _is_activation_range(name: str) -> bool:
    # Those of weights and inputs are the extremes themselves, not averages.
    variable = name.rpartition("/")[2]
    return variable.split(":")[0] in (
        *("output_min", "output_max", "post_activation_min", "post_activation_max"),
        *("pre_activation_min", "pre_activation_max"),
    )


def _consumers(model: Any) -> dict[str, list[str]]:
    """Returns who takes what each layer gives; the model itself counts as `""`."""
    config = model.get_config()
    found: dict[str, list[str]] = {layer.name: [] for layer in model.layers}
    for entry in config["layers"]:
        for node in entry["inbound_nodes"]:
            for name, *_ in node:
                found[name].append(entry["name"])
    for name, *_ in config["output_layers"]:
        found[name].append("")
    return found


def _is_int8(layer: Any) -> bool:
    quantize = libraries().tfmot.quantization.keras
    if not quantize.default_8bit.Default8BitQuantizeRegistry().supports(layer):
        return False
    activation = getattr(getattr(layer, "activation", None), "__name__", None)
    if type(layer).__name__ == "Activation":
        return activation in _INT8_ACTIVATIONS
    return activation is None or activation in (*_INT8_ACTIVATIONS, "linear")


def _is_sigmoid(layer: Any) -> bool:
    return getattr(layer, "activation", None) is libraries().tf_keras.activations.sigmoid


def _of_probabilities(
    layers: Mapping[str, Any], consumers: Mapping[str, list[str]]
) -> set[str]:
    """Names the layers without weights that do nothing but rearrange probabilities.

    So it is in an ensemble, whose members end in a sigmoid. 256 different probabilities would
    be too few there, too.
    """
    found = {name for name, layer in layers.items() if _is_sigmoid(layer)}
    sources = {name: [other for other in layers if name in consumers[other]] for name in layers}
    grown = True
    while grown:
        more = {
            name
            for name, layer in layers.items()
            if sources[name] and not layer.weights and found.issuperset(sources[name])
        }
        grown = not more <= found
        found |= more
    return found


def _folds(
    layers: Mapping[str, Any], consumers: Mapping[str, list[str]], int8: set[str], name: str
) -> bool:
    """Tells whether a layer is a normalisation that the weights before it can absorb."""
    if type(layers[name]).__name__ != "BatchNormalization":
        return False
    (source,) = (other for other in layers if name in consumers[other])
    return (
        source in int8
        and consumers[source] == [name]
        # A dense layer's weights share one scale, which a factor for each unit would spoil.
        and type(layers[source]).__name__ in ("Conv2D", "DepthwiseConv2D")
        and layers[source].activation.__name__ == "linear"
    )


@cache
def _zero_keeping_scheme() -> Any:
    """Returns the scheme for pruned models, mended.

    The library's own takes any layer without weights for one it can quantise, and then fails
    over those it cannot.
    """
    tfmot = libraries().tfmot
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme
    known = tfmot.quantization.keras.default_8bit.Default8BitQuantizeRegistry()
    registry = type(scheme().get_quantize_registry())

    class Registry(registry):  # type: ignore[misc, valid-type]
        @classmethod
        def supports(cls, layer: Any) -> bool:
            return known.supports(layer) and super().supports(layer)

    class Scheme(scheme):  # type: ignore[misc, valid-type]
        def get_quantize_registry(self) -> Any:
            return Registry()

    return Scheme


def _float_sigmoid(layer: Any) -> Any:
    """Returns the layer with a sigmoid that stays float.

    The converter would make int8 of one behind an int8 layer, and probabilities of it: 256
    different ones, nothing below 0.2 %. It knows no int8 form of this way to write it.
    """
    config = layer.get_config()
    config["activation"] = _sigmoid_in_float
    return type(layer).from_config(config)


def _sigmoid_in_float(logits: Any) -> Any:
    return 1.0 / (1.0 + keras.ops.exp(-logits))


@cache
def _output_range() -> Any:
    """Returns the class of what a float layer brings where int8 layers take its result."""
    quantize = libraries().tfmot.quantization.keras
    base = quantize.QuantizeConfig

    class OutputRange(base):  # type: ignore[misc, valid-type]
        """Leaves the layer float and quantises what it gives."""

        def __init__(self, quantize_output: bool = True) -> None:
            # Cleared by the library where a concatenation behind it sets one range for all.
            self.quantize_output = quantize_output

        def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None:
            del layer, quantize_weights  # none were asked for

        def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
            del layer, quantize_activations  # none were asked for

        def get_output_quantizers(self, layer: Any) -> list[Any]:
            if not self.quantize_output:
                return []
            return [
                quantize.quantizers.MovingAverageQuantizer(
                    num_bits=8, per_axis=False, symmetric=False, narrow_range=False
                )
            ]

        def get_config(self) -> dict[str, Any]:
            return {"quantize_output": self.quantize_output}

    return OutputRange
