"""musicnn: a CNN whose filters were shaped by what music looks like."""

import math
import os
from typing import Any

import keras
from keras import layers

from ..config import AudioConfig
from ..layers import BatchNormalization
from ._common import as_image, as_sequence, check_counts, check_log_mel, check_rate
from ._musicnn_wheel import assign, read_checkpoint

# librosa's defaults at the settings of the original. Its log10(10000 mel + 1) is the natural
# logarithm of mel + 1e-4 but for a factor and a constant, which the backbone applies.
MUSICNN_AUDIO = AudioConfig(
    sample_rate=16000,
    n_fft=512,
    window_length=512,
    hop_length=256,
    n_mels=96,
    fmin=0.0,
    fmax=8000.0,
    mel_scale="slaney",
    log_offset=1e-4,
)

# Share of the mel bands that a timbral filter spans, and frames that a temporal one does.
_TIMBRAL = (0.4, 0.7)
_TEMPORAL = (128, 64, 32)
_MIDEND = 3
_SCOPES = {
    "input_norm": "batch_normalization",
    "timbral1": "conv2d",
    "timbral1_norm": "batch_normalization_1",
    "timbral2": "conv2d_1",
    "timbral2_norm": "batch_normalization_2",
    "temporal1": "conv2d_2",
    "temporal1_norm": "batch_normalization_3",
    "temporal2": "conv2d_3",
    "temporal2_norm": "batch_normalization_4",
    "temporal3": "conv2d_4",
    "temporal3_norm": "batch_normalization_5",
    "midend1": "conv2d_5",
    "midend1_norm": "batch_normalization_6",
    "midend2": "conv2d_6",
    "midend2_norm": "batch_normalization_7",
    "midend3": "conv2d_7",
    "midend3_norm": "batch_normalization_8",
}


def musicnn(
    inputs: Any,
    *,
    timbral_filters: int = 204,
    temporal_filters: int = 51,
    midend_filters: int = 64,
    dropout: float = 0.2,
    weights: str | os.PathLike[str] | None = None,
    checkpoint: str = "MTT_musicnn",
    trainable: bool = True,
) -> Any:
    """Extracts features with the front and middle end of musicnn (Pons and Serra, 2019).

    Two tall filters see timbre, three long ones rhythm; the highest response over frequency
    counts. Three residual convolutions over time follow, and what all stages found is joined,
    a step for every frame. Layers, sizes and order are those of the published network; pooling
    over time and the classifier are left to `build_model` and the method.

    Args:
        inputs: Symbolic log-mel spectrogram `(batch, frames, mels)`.
        timbral_filters: Filters of each of the two timbral convolutions.
        temporal_filters: Filters of each of the three temporal convolutions.
        midend_filters: Filters of each of the three residual convolutions.
        dropout: Rate of dropout on the features.
        weights: Path of the wheel `musicnn-0.1.0-py3-none-any.whl` (ISC licence), from which
            the published weights are read; without it, training starts from scratch. Published
            weights need the audio settings `MUSICNN_AUDIO`, which `build_model` takes by
            default.
        checkpoint: Which weights: `"MTT_musicnn"` (MagnaTagATune) or `"MSD_musicnn"` (Million
            Song Dataset).
        trainable: Whether training changes the backbone, its normalisation included, or only
            what follows it.

    Returns:
        Symbolic features `(batch, frames, 2 * timbral + 3 * (temporal + midend) filters)`.

    Raises:
        ModelError: If the input has no time axis, an option is out of range or the weights
            cannot be read or do not fit.

    Example:
        >>> import keras
        >>> musicnn(keras.Input((187, 96))).shape
        (None, 187, 753)

    References:
        Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio
        tagging", ISMIR 2019 late-breaking demo (arXiv 1909.06654). Pons et al., "End-to-end
        learning for music audio tagging at scale", ISMIR 2018.
    """
    check_log_mel("musicnn", inputs)
    check_counts(
        timbral_filters=timbral_filters,
        temporal_filters=temporal_filters,
        midend_filters=midend_filters,
    )
    check_rate("dropout", dropout)
    network = _network(inputs.shape[-1], timbral_filters, temporal_filters, midend_filters)
    if weights is not None:
        tensors = read_checkpoint(weights, checkpoint)
        for name, scope in _SCOPES.items():
            assign(network.get_layer(name), tensors, scope)
    network.trainable = trainable
    return layers.Dropout(dropout, name="features_dropout")(network(inputs))


def _network(mels: int, timbral: int, temporal: int, midend: int) -> keras.Model:
    inputs = keras.Input((None, mels), name="log_mel")
    x = layers.Rescaling(1 / math.log(10), offset=4.0, name="log10")(inputs)
    x = BatchNormalization(name="input_norm")(as_image(x))
    padded = layers.ZeroPadding2D(((3, 3), (0, 0)), name="timbral_padding")(x)
    found = []
    for index, share in enumerate(_TIMBRAL, start=1):
        kernel = (7, max(1, int(share * mels)))
        found.append(_front(padded, timbral, kernel, "valid", f"timbral{index}"))
    for index, frames in enumerate(_TEMPORAL, start=1):
        found.append(_front(x, temporal, (frames, 1), "same", f"temporal{index}"))
    x = layers.Concatenate(name="frontend")(found)
    stages = [x]
    for index in range(1, _MIDEND + 1):
        name = f"midend{index}"
        y = layers.Conv1D(midend, 7, padding="same", activation="relu", name=name)(x)
        y = BatchNormalization(name=f"{name}_norm")(y)
        x = y if index == 1 else layers.Add(name=f"{name}_sum")([y, x])
        stages.append(x)
    return keras.Model(inputs, layers.Concatenate(name="stages")(stages), name="musicnn")


def _front(x: Any, filters: int, kernel: tuple[int, int], padding: str, name: str) -> Any:
    x = layers.Conv2D(filters, kernel, padding=padding, activation="relu", name=name)(x)
    # After the rectifier, as published: a negative gain would change which band is highest.
    x = BatchNormalization(name=f"{name}_norm")(x)
    x = layers.MaxPooling2D((1, x.shape[2]), name=f"{name}_highest")(x)
    return as_sequence(x, f"{name}_sequence")
