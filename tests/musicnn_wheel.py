"""A wheel laid out as musicnn's, with random weights, and its network written independently."""

import zipfile

import numpy as np
import tensorflow as tf

CONVOLUTIONS = {
    "conv2d": (7, 38, 1, 204),
    "conv2d_1": (7, 67, 1, 204),
    "conv2d_2": (128, 1, 1, 51),
    "conv2d_3": (64, 1, 1, 51),
    "conv2d_4": (32, 1, 1, 51),
    "conv2d_5": (7, 561, 1, 64),
    "conv2d_6": (7, 64, 1, 64),
    "conv2d_7": (7, 64, 1, 64),
    "dense": (1506, 200),
    "dense_1": (200, 5),
}
NORMS = (1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200)
TAGS = ("guitar", "no vocals", "cello", "harp", "weird")


def random_tensors(seed=0):
    rng = np.random.default_rng(seed)
    tensors = {"beta1_power": np.float32(0.9), "conv2d/kernel/Adam": np.zeros(3, "float32")}
    for scope, shape in CONVOLUTIONS.items():
        # The last one small, so that no tag is certain.
        scale = 0.01 if scope == "dense_1" else np.sqrt(2.0 / np.prod(shape[:-1]))
        tensors[f"{scope}/kernel"] = rng.normal(0, scale, shape)
        tensors[f"{scope}/bias"] = rng.normal(0, 0.1, shape[-1])
    for index, size in enumerate(NORMS):
        scope = f"batch_normalization_{index}" if index else "batch_normalization"
        # Gains of both signs, so that normalising after pooling would not go unnoticed.
        tensors[f"{scope}/gamma"] = rng.normal(0, 1, size)
        tensors[f"{scope}/beta"] = rng.normal(0, 0.3, size)
        tensors[f"{scope}/moving_mean"] = rng.normal(0.3, 0.3, size)
        tensors[f"{scope}/moving_variance"] = rng.uniform(0.001, 2, size)
    return {name: np.asarray(value, "float32") for name, value in tensors.items()}


def write(path, tensors, checkpoint="MTT_musicnn"):
    """Writes the wheel and returns its path."""
    prefix = path.parent / "checkpoint"
    names, values = zip(*tensors.items(), strict=True)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(names),
        shape_and_slices=[""] * len(names),
        tensors=list(values),
    )
    with zipfile.ZipFile(path, "w") as archive:
        for suffix in (".index", ".data-00000-of-00001"):
            archive.write(f"{prefix}{suffix}", f"musicnn/{checkpoint}/{suffix}")
        labels = f"SR = 16000\nMTT_LABELS = {list(TAGS)}\n"
        archive.writestr("musicnn/configuration.py", labels)
    return path


def stages(tensors, log_mel):
    """The joined front and middle end on `log10(10000 mel + 1)`, as published: NHWC, TF ops."""

    def norm(x, index):
        scope = f"batch_normalization_{index}" if index else "batch_normalization"
        gamma, beta, mean, variance = (
            tensors[f"{scope}/{name}"]
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def convolve(x, scope, padding):
        y = tf.nn.conv2d(x, tensors[f"{scope}/kernel"], 1, padding)
        return tf.nn.relu(y + tensors[f"{scope}/bias"])

    def padded(x):
        return tf.pad(x, [[0, 0], [3, 3], [0, 0], [0, 0]])

    x = norm(log_mel[..., np.newaxis], 0)
    front = [
        norm(convolve(padded(x), s, "VALID"), i) for i, s in ((1, "conv2d"), (2, "conv2d_1"))
    ]
    front += [norm(convolve(x, f"conv2d_{i}", "SAME"), i + 1) for i in (2, 3, 4)]
    x = tf.concat([tf.reduce_max(part, axis=2) for part in front], axis=2)[..., np.newaxis]
    found = [x]
    for index in (5, 6, 7):
        y = norm(convolve(padded(x), f"conv2d_{index}", "VALID"), index + 1)
        y = tf.transpose(y, [0, 1, 3, 2])
        x = y if index == 5 else x + y
        found.append(x)
    return tf.concat(found, axis=2)[..., 0].numpy()


def tags(tensors, log_mel):
    """The tag probabilities, as published."""

    def norm(x, index):
        gamma, beta, mean, variance = (
            tensors[f"batch_normalization_{index}/{name}"]
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    found = stages(tensors, log_mel)
    pooled = np.stack([found.max(axis=1), found.mean(axis=1)], axis=2)
    x = norm(pooled.reshape(len(pooled), -1), 9)
    x = norm(np.maximum(x @ tensors["dense/kernel"] + tensors["dense/bias"], 0), 10)
    logits = x @ tensors["dense_1/kernel"] + tensors["dense_1/bias"]
    return 1 / (1 + np.exp(-logits.astype("float64")))
