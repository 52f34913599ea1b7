"""Compressing a trained model while it is fine-tuned: quantisation, pruning, clustering."""

import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import metrics
from .._backends import KerasBackend, TFLiteBackend
from .._files import write_json
from .._mel import log_mel
from ..config import CompressionConfig
from ..errors import LabelError, ModelError, brief
from ..zoo import FILES
from . import _fine_tuning, _quantised_training, _sparse_training, tflite
from ._exporter import Exporter
from ._inputs import Inputs
from ._twin import Twin, twin
from .bundle import check_folder, export_model, write_folder
from .parity import largest_difference
from .precision import as_float32

REPORT = "compression.json"
# Inputs on which ranges of values are found.
_CALIBRATION = 128
# Weights are carried over exactly, and tests hold answers to 1e-6. In a deep network the sums
# of two libraries may differ by a little more (1.0e-6 in hmic-mobile), a layer that means
# something else by far more.
_SAME = 1e-5
_AFTER_TRAINING = ("dynamic_int8", "static_int8")


def compress(
    model: Any,
    data: Any,
    validation: Any,
    out: str | os.PathLike[str],
    config: CompressionConfig | None = None,
    *,
    loss: Any = "binary_crossentropy",
    tolerance: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compresses a model, writes its int8 TensorFlow Lite file and says what it cost.

    The model is rebuilt in Keras 2, which TensorFlow Model Optimization needs, with its
    weights; fine-tuned there with its own loss; and converted. It is not changed itself. For
    comparison, the model as it is becomes int8 after training too: that takes no training, and
    is often as good.

    `"qat"` and `"prune_qat"` write `static_int8`: convolutions and dense layers in int8, the
    log-mel front end, attention and the rules of the hierarchy in float. The others write
    `model.keras` with the sparse or clustered weights, and `dynamic_int8` made of it.

    Args:
        model: A trained model from `build_model`.
        data: `tf.data.Dataset` of inputs and a dict of labels by level, as `model.fit` takes
            it; finite. Inputs have the length of `manifest["window_seconds"]`.
        validation: The same, on which mean average precision is measured.
        out: Folder to write, as `export_model` takes it; also gets `compression.json`.
        config: What to do; the default `CompressionConfig()`.
        loss: What `model.compile` takes.
        tolerance: Largest difference between a probability of the int8 file and one of the
            fine-tuned model; by default that of `export_model`.
        progress: Called with the number of passes done and that of all.

    Returns:
        The report: `"float"`, `"post_training"` by format, and `"compressed"`, each with
        `size_bytes`, `zipped_bytes`, `latency_ms`, the share of `zeros` among the weights of
        convolutions and dense layers, the largest number of different `values` in one output
        channel of them, and `map` by level; `"settings"`; `"data"`; `"loss"` by pass; and
        `"post_training_is_as_good"`, whether a file made after training scores no less with no
        more bytes when zipped.

    Raises:
        LabelError: If there are no labels to train or measure on, or not by level.
        MissingDependencyError: If the extra `[compress]` is not installed.
        ModelError: If the model cannot be compressed, or the inputs do not fit it.
    """
    config = config or CompressionConfig()
    check_folder(out)
    task = _Task(model, data, validation, config, loss, tolerance, progress)
    reference = task.reference()
    trained = task.train()
    if config.how in ("qat", "prune_qat"):
        with _TwinExporter(task, trained) as exporter:
            manifest = write_folder(model, out, ["static_int8"], exporter)
    else:
        compressed = task.carried_back(trained)
        manifest = export_model(
            compressed, out, formats=("keras", "dynamic_int8"), tolerance=tolerance
        )
    (name,) = (name for name in manifest["files"] if name != "keras")
    report = {
        "settings": config.to_dict(),
        "data": {"batches": task.batches, "validation": task.validated},
        **reference,
        "compressed": {
            "format": name,
            **task.measured(manifest["exports"][name], Path(out) / FILES[name]),
        },
        "loss": [round(value, 5) for value in task.losses],
    }
    report["post_training_is_as_good"] = _is_as_good(report)
    write_json(Path(out) / REPORT, report)
    return report


def datasets(
    model: Any,
    clips: Any,
    validation: Any = None,
    *,
    batch_size: int = 16,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Makes the two datasets that `compress` takes from labelled clips.

    Args:
        model: A model from `build_model` of waveforms or log-mel spectrograms.
        clips: `LabelledClips` or `PreparedClips` of waveforms, of the model's taxonomy.
        validation: The same to measure on; by default a share of `clips` is held out.
        batch_size: Clips in a batch.
        validation_fraction: The share.
        seed: Of order, crops and the share.

    Raises:
        LabelError: If there are too few clips.
        ModelError: If the model takes embeddings.
    """
    from ..data.pipeline import make_dataset
    from ..layers import LogMelSpectrogram

    kind, audio = model.manifest["input"], model.manifest["audio"]
    if kind not in ("waveform", "log_mel"):
        raise ModelError(
            "Clips are audio and the model takes embeddings; give `compress` a tf.data.Dataset "
            "of embeddings and labels."
        )
    if validation is None:
        if len(clips) < 2:
            raise LabelError(
                f"Holding clips out needs at least two. Received {len(clips)}; give more, or "
                "clips to validate on."
            )
        clips, validation = clips.split(validation_fraction, seed=seed)
    front_end = LogMelSpectrogram(**audio)

    def make(chosen: Any, training: bool) -> Any:
        dataset = make_dataset(
            chosen,
            sample_rate=audio["sample_rate"],
            crop_seconds=model.manifest.get("window_seconds", 10.0),
            batch_size=batch_size,
            training=training,
            seed=seed,
        )
        return dataset if kind == "waveform" else dataset.map(lambda x, y: (front_end(x), y))

    return make(clips, True), make(validation, False)


class _Task:
    """One model on its way to a smaller one."""

    def __init__(
        self,
        model: Any,
        data: Any,
        validation: Any,
        config: CompressionConfig,
        loss: Any,
        tolerance: float | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        if not hasattr(model, "manifest"):
            raise ModelError(
                "`model` must be a model built by `hmic_keras.build_model`. Received: "
                f"{type(model).__name__}"
            )
        model.update_manifest(window_seconds=model.manifest.get("window_seconds", 10.0))
        self.model, self.takes = as_float32(model), Inputs(model)
        self.batches = _check("data", data, self.takes.shape, model.taxonomy.levels)
        _check("validation", validation, self.takes.shape, model.taxonomy.levels)
        self.calibration = _first_inputs(data, _CALIBRATION)
        self.twin: Twin = twin(self.model)
        self._check_twin()
        self.validated = 0
        self.losses: list[float] = []
        self._data, self._validation, self.config = data, validation, config
        self._loss = _fine_tuning.own_loss(self.model, loss)
        self.tolerance, self._progress = tolerance, progress

    def reference(self) -> dict[str, Any]:
        """Measures the model in float, and in int8 made after training."""
        scores = self._scores(KerasBackend(self.model), as_log_mel=False)
        found = {}
        with (
            # All of it in int8, whatever the tolerance of an export would leave in float.
            Exporter(self.model, None, self.calibration, None, (), 1.0) as exporter,
            tempfile.TemporaryDirectory() as folder,
        ):
            for name in ("float32", *_AFTER_TRAINING):
                path = Path(folder) / FILES[name]
                found[name] = self.measured(exporter.write(name, path), path)
        return {
            "float": {**found.pop("float32"), "map": self._map(scores)},
            "post_training": found,
        }

    def train(self) -> Any:
        """Returns the Keras 2 model, compressed and fine-tuned."""
        config, network = self.config, self.twin.model
        if config.how in ("prune", "prune_2_4", "prune_qat"):
            share = None if config.how == "prune_2_4" else config.sparsity
            network, callbacks = _sparse_training.pruned(
                network, self.batches * config.epochs, sparsity=share
            )
            self._fit(network, callbacks)
            network = _sparse_training.stripped(network)
        if config.how == "cluster":
            network = _sparse_training.clustered(network, config.clusters)
            self._fit(network)
            network = _sparse_training.stripped(network)
        if config.how in ("qat", "prune_qat"):
            network = _quantised_training.quantised(network, keep_zeros=config.how != "qat")
            steps = np.array_split(self.calibration, -(-len(self.calibration) // 16))
            _quantised_training.calibrate(network, steps)
            self._fit(network)
        return network

    def carried_back(self, network: Any) -> Any:
        """Returns a copy of the model with the weights of the Keras 2 model."""
        copy = type(self.model).from_config(self.model.get_config())
        copy.set_weights(self.twin.weights_for(self.model, network))
        return copy

    def answers(self, network: Any, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what the Keras 2 model answers, by level."""
        found = network.predict(inputs, verbose=0)
        found = found if isinstance(found, list) else [found]
        return dict(zip(self.twin.outputs, found, strict=True))

    def measured(self, entry: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Returns size, latency and mean average precision of an exported file."""
        scores = self._scores(TFLiteBackend(path), as_log_mel=entry["input"] != self.takes.kind)
        return {
            "input": entry["input"],
            "size_bytes": entry["size_bytes"],
            "zipped_bytes": len(zlib.compress(path.read_bytes(), 9)),
            "latency_ms": entry["latency_ms"],
            **_contents(path.read_bytes()),
            "map": self._map(scores),
        }

    def _check_twin(self) -> None:
        inputs = self.calibration[:8]
        found = largest_difference(
            KerasBackend(self.model).run(inputs), self.answers(self.twin.model, inputs)
        )
        if not max(found.values()) <= _SAME:
            raise ModelError(
                f"The model {self.model.name!r} answers differently in Keras 2, by up to "
                f"{found}, where {_SAME:g} is rounding: one of its layers means something else "
                "there. It cannot be compressed."
            )

    def _fit(self, network: Any, callbacks: Any = ()) -> None:
        total = self.config.epochs * (2 if self.config.how == "prune_qat" else 1)
        before, report = len(self.losses), self._progress
        self.losses += _fine_tuning.fine_tune(
            network,
            self.twin.outputs,
            self._data,
            loss=self._loss,
            epochs=self.config.epochs,
            learning_rate=self.config.learning_rate,
            callbacks=callbacks,
            progress=None if report is None else lambda done: report(before + done, total),
        )

    def _scores(self, backend: Any, as_log_mel: bool) -> dict[str, np.ndarray]:
        parts = [
            backend.run(log_mel(x, self.takes.audio) if as_log_mel else x)
            for x, _ in _arrays(self._validation)
        ]
        return {level: np.concatenate([part[level] for part in parts]) for level in parts[0]}

    def _map(self, scores: Mapping[str, np.ndarray]) -> dict[str, float | None]:
        labels = [y for _, y in _arrays(self._validation)]
        joined = {
            level: np.concatenate([part[level] for part in labels]) for level in labels[0]
        }
        self.validated = len(next(iter(joined.values())))
        found = metrics.evaluate(self.model.taxonomy, joined, scores)["levels"]
        return {level: result["map"] for level, result in found.items()}


class _TwinExporter(Exporter):
    """Writes a quantised Keras 2 model as `static_int8`, compared with what it answered."""

    def __init__(self, task: _Task, network: Any) -> None:
        super().__init__(task.model, None, None, None, (), task.tolerance)
        self._task, self._network = task, network
        self._expected = task.answers(network, self._inputs)

    def _tools(self, name: str) -> tuple[str, ...]:
        return ("tf_keras", "tensorflow-model-optimization")

    def _tflite(self, name: str, path: Path) -> tuple[bytes, Any]:
        task = self._task
        content = _quantised_training.convert(
            self._network, task.twin.outputs, self._takes.shape
        )
        tflite.check_operations(content)
        how = task.config.how
        # By its way and not by its format, whose files of other origin lack the front end.
        return self._with_metadata(content, how), [{"training": task.config.to_dict()}]


def _is_as_good(report: Mapping[str, Any]) -> bool:
    """Tells whether a file made after training scores as much with as few bytes."""
    compressed = report["compressed"]
    return any(
        _mean(found["map"]) >= _mean(compressed["map"])
        and found["zipped_bytes"] <= compressed["zipped_bytes"]
        # A file without the front end is not the same thing, and always smaller.
        and found["input"] == compressed["input"]
        for found in report["post_training"].values()
    )


def _contents(content: bytes) -> dict[str, Any]:
    """Returns the share of zeros in a file's kernels, and how many values a channel holds."""
    kernels = tflite.kernels(content)
    return {
        "zeros": sum(int((k == 0).sum()) for k in kernels) / sum(k.size for k in kernels),
        "values": max(len(np.unique(row)) for kernel in kernels for row in kernel),
    }


def _mean(scores: Mapping[str, float | None]) -> float:
    known = [score for score in scores.values() if score is not None]
    return float(np.mean(known)) if known else 0.0


def _check(name: str, data: Any, shape: tuple[int, ...], levels: Sequence[str]) -> int:
    """Checks what a dataset holds; returns the number of its batches."""
    spec = getattr(data, "element_spec", None)
    pairs = isinstance(spec, tuple) and len(spec) in (2, 3) and isinstance(spec[1], Mapping)
    if spec is None or not pairs:
        raise ModelError(
            f"`{name}` must be a tf.data.Dataset of batches (inputs, labels), labels in a dict "
            f"by level. Received: {brief(data if spec is None else spec)}"
        )
    if missing := [level for level in levels if level not in spec[1]]:
        raise LabelError(
            f"The labels of `{name}` must hold every level. Received: {sorted(spec[1])}, "
            f"without {missing}"
        )
    given = tuple(getattr(spec[0], "shape", ()))
    if len(given) != len(shape) + 1 or any(
        size not in (None, wanted) for size, wanted in zip(given[1:], shape, strict=True)
    ):
        raise ModelError(
            f"`{name}` must hold batches of inputs of shape {shape}, the length that the "
            f"model's window_seconds states. Received: shape {given}"
        )
    batches = int(data.cardinality())
    if batches == -2:
        batches = sum(1 for _ in data)
    if batches < 1:
        raise LabelError(
            f"`{name}` must end and hold at least one batch. Received: "
            f"{'one that repeats for ever' if batches < 0 else 'an empty one'}"
        )
    return batches


def _arrays(data: Any) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    for element in data.as_numpy_iterator():
        yield np.asarray(element[0], "float32"), element[1]


def _first_inputs(data: Any, count: int) -> np.ndarray:
    parts: list[np.ndarray] = []
    for inputs, _ in _arrays(data):
        parts.append(inputs)
        if sum(map(len, parts)) >= count:
            break
    return np.concatenate(parts)[:count]
