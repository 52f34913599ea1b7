"""Times one training step of the `conv` backbone here, and of the same network in PyTorch.

Batches of 32 four-second inputs with partly unobserved labels, masked binary cross-entropy at
both levels, AdamW, two threads; PyTorch with both of its memory layouts, since on a CPU the one
that is not its default can be the faster. That the two networks are the same is checked first:
with the weights copied over they must give the same scores. Each framework has a process of its
own; the processes take turns of a few steps, so that a busy moment of the machine hits all of
them. All keep the memory they free and TensorFlow uses oneDNN, as PyTorch does: both as the
command line has it. `keras_default` is ours with TensorFlow left to choose its kernels. Prints
the medians and writes `benchmarks/results/training_step.json`; a ratio above 1 says how many
times longer the faster PyTorch takes than `keras`.

    pip install torch --index-url https://download.pytorch.org/whl/cpu
    python benchmarks/training_step.py [ROUNDS [METHOD ...]]
"""

import functools
import json
import os
import statistics
import subprocess
import sys
import time
from importlib import metadata, util
from pathlib import Path

THREADS = "2"
for variable in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = THREADS
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = Path(__file__).parent / "results" / "training_step.json"
BATCH, SECONDS, WARM_UP, STEPS = 32, 4, 3, 5
LEARNING_RATE, WEIGHT_DECAY, EPSILON = 2e-3, 1e-2, 1e-7
CASES = [(method, kind) for method in ("gmp", "f2ca") for kind in ("log_mel", "waveform")]


def build(method, kind):
    """Our model and one batch for it."""
    import numpy as np

    import hmic_keras as hk

    taxonomy = hk.Taxonomy.load("openmic")
    model = hk.build_model(taxonomy, backbone="conv", method=method, input=kind)
    rng = np.random.default_rng(0)
    shape = {"log_mel": (BATCH, 1 + SECONDS * 50, 80), "waveform": (BATCH, SECONDS * 16000)}
    x = rng.uniform(-0.5, 0.5, shape[kind]).astype("float32")
    y = taxonomy.close_labels({"fine": rng.choice([1.0, 0.0, -1.0], (BATCH, 20))})
    return model, x, y


def keras_step(method, kind):
    """A function that trains our model for a step."""
    import keras

    model, x, y = build(method, kind)
    optimizer = keras.optimizers.AdamW(
        LEARNING_RATE, weight_decay=WEIGHT_DECAY, epsilon=EPSILON
    )
    model.compile(optimizer, "binary_crossentropy")
    return lambda: model.train_on_batch(x, y)


def torch_step(method, kind, channels_last=False):
    """A function that trains the PyTorch model for a step."""
    import torch

    torch.set_num_threads(int(THREADS))
    ours, x, y = build(method, kind)
    model = torch_model(ours, method, kind).train()
    if channels_last:
        to_channels_last(model.convolutions)
    x, y = torch.from_numpy(x), {level: torch.from_numpy(v) for level, v in y.items()}
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, eps=EPSILON
    )

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = sum(masked_loss(y[level], scores) for level, scores in model(x).items())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def to_channels_last(convolutions):
    """Keeps channels innermost in memory, as TensorFlow does."""
    import torch

    for convolution in convolutions:
        convolution.weight.data = convolution.weight.data.contiguous(
            memory_format=torch.channels_last
        )
    convolutions.register_forward_pre_hook(
        lambda _, inputs: (inputs[0].contiguous(memory_format=torch.channels_last),)
    )


def masked_loss(labels, scores):
    """Binary cross-entropy over the observed labels."""
    from torch.nn import functional

    known = (labels >= 0).float()
    losses = functional.binary_cross_entropy(scores, labels.clamp(min=0), reduction="none")
    return (losses * known).sum() / known.sum()


def torch_model(ours, method, kind):
    """The network of `ours` in PyTorch, with its weights."""
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional

    weights = {w.path: torch.tensor(np.asarray(w)) for w in ours.weights}
    taxonomy = ours.taxonomy

    def norm(name, cls):
        affine = f"{name}/gamma" in weights
        size = len(weights[f"{name}/moving_mean"])
        layer = cls(size, eps=1e-3, momentum=0.01, affine=affine)
        if affine:
            layer.weight.data = weights[f"{name}/gamma"]
            layer.bias.data = weights[f"{name}/beta"]
        layer.running_mean.data = weights[f"{name}/moving_mean"]
        layer.running_var.data = weights[f"{name}/moving_variance"]
        return layer

    def same(size, kernel, stride):
        """TensorFlow's "same" padding: what is odd goes to the end."""
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2

    class Convolution(nn.Module):
        def __init__(self, index, time_stride):
            super().__init__()
            kernel = weights[f"conv{index}/kernel"].permute(3, 2, 0, 1).contiguous()
            self.strides, self.kernel = (time_stride, 2), kernel.shape[-1]
            self.weight = nn.Parameter(kernel)
            self.norm = norm(f"norm{index}", nn.BatchNorm2d)

        def forward(self, x):
            sizes = zip(x.shape[2:], self.strides, strict=True)
            time, bands = (same(n, self.kernel, s) for n, s in sizes)
            x = functional.conv2d(
                functional.pad(x, (*bands, *time)), self.weight, stride=self.strides
            )
            return functional.relu(self.norm(x), inplace=True)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.input_norm = norm("input_norm", nn.BatchNorm1d)
            self.convolutions = nn.Sequential(
                *(Convolution(i, s) for i, s in enumerate((2, 2, 2, 1), start=1))
            )
            self.mix = nn.Parameter(weights["mix_bands/kernel"])
            self.features_norm = norm("features_norm", nn.BatchNorm1d)
            self.kernel = nn.Parameter(weights["fine_logits/kernel"])
            self.bias = nn.Parameter(weights["fine_logits/bias"])
            if method == "f2ca":
                for name in ("projection", "time_queries", "map_queries", "keys", "map_bias"):
                    weight = nn.Parameter(weights[f"coarse_attention/{name}"])
                    setattr(self, name, weight)

        def log_mel(self, waveforms):
            layer = ours.get_layer("log_mel_spectrogram")
            spectrum = torch.stft(
                waveforms,
                layer.n_fft,
                layer.hop_length,
                layer.window_length,
                torch.hann_window(layer.window_length),
                return_complex=True,
            )
            power = spectrum.real.square() + spectrum.imag.square()
            filters = torch.from_numpy(layer._filters)
            return torch.log(power.transpose(1, 2) @ filters + layer.log_offset)

        def forward(self, x):
            if kind == "waveform":
                with torch.no_grad():
                    x = self.log_mel(x)
            x = self.input_norm(x.transpose(1, 2)).transpose(1, 2)
            x = self.convolutions(x.unsqueeze(1))
            x = x.permute(0, 2, 3, 1).flatten(2) @ self.mix
            x = functional.relu(self.features_norm(x.transpose(1, 2)).transpose(1, 2))
            x = functional.dropout(x, 0.2, self.training)
            embedding = torch.cat([x.mean(dim=1), x.amax(dim=1)], dim=1)
            fine = torch.sigmoid(embedding @ self.kernel + self.bias)
            return {"fine": fine, "coarse": getattr(self, method)(x, fine)}

        def gmp(self, x, fine):
            links = taxonomy.links("coarse", "fine")
            groups = [links[links[:, 0] == c, 1].tolist() for c in range(links[-1, 0] + 1)]
            return torch.stack([fine[:, group].amax(dim=1) for group in groups], dim=1)

        def f2ca(self, x, fine):
            values = torch.einsum("btd,dhk->bthk", x, self.projection)
            scale = values.shape[-1] ** -0.5
            scores = torch.einsum("bthd,hcd->bhct", values, self.time_queries) * scale
            attended = torch.einsum("bhct,bthd->bhcd", scores.softmax(dim=-1), values)
            features = values.mean(dim=1).unsqueeze(2) + attended
            logits = torch.einsum("bhcd,hnd->bhcn", features * self.map_queries, self.keys)
            maps = (logits * scale + self.map_bias).softmax(dim=-1).mean(dim=1)
            return (maps * fine.unsqueeze(1)).sum(dim=-1)

    return Network()


def check(method, kind):
    """Fails unless both networks give the same scores."""
    import numpy as np
    import torch

    ours, x, _ = build(method, kind)
    with torch.no_grad():
        theirs = torch_model(ours, method, kind).eval()(torch.from_numpy(x))
    for level, scores in ours(x, training=False).items():
        np.testing.assert_allclose(theirs[level].numpy(), np.asarray(scores), atol=1e-4)


FRAMEWORKS = {
    "keras": keras_step,
    "keras_default": keras_step,
    "torch": torch_step,
    "torch_channels_last": functools.partial(torch_step, channels_last=True),
}


def serve(framework, method, kind):
    """Runs some steps for each line read, and prints their seconds as JSON."""
    from hmic_keras.cli._terminal import keep_freed_memory, use_onednn

    keep_freed_memory()
    if framework != "keras_default":
        use_onednn()
    step = FRAMEWORKS[framework](method, kind)
    for _ in range(WARM_UP):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        times = []
        for _ in range(STEPS):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
        print(json.dumps(times), flush=True)


def measure(method, kind, rounds):
    """Median milliseconds a step by framework."""
    processes = {
        name: subprocess.Popen(
            [sys.executable, __file__, "serve", name, method, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in FRAMEWORKS
    }
    times = {name: [] for name in processes}
    for process in processes.values():
        while (line := process.stdout.readline()) != "ready\n":
            if not line:
                raise SystemExit("A process of the benchmark failed; see above.")
    for _ in range(rounds):
        for name, process in processes.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            times[name] += json.loads(process.stdout.readline())
    for process in processes.values():
        process.stdin.close()
        process.wait()
    return {name: round(1e3 * statistics.median(found), 1) for name, found in times.items()}


def main(rounds=6, *methods):
    if util.find_spec("torch") is None:
        raise SystemExit("This compares with PyTorch, not installed: see the docstring.")
    cases = []
    for method, kind in CASES:
        if methods and method not in methods:
            continue
        subprocess.run([sys.executable, __file__, "check", method, kind], check=True)
        found = measure(method, kind, rounds)
        cases.append(
            {
                "method": method,
                "input": kind,
                "ms_a_step": found,
                "ratio": round(
                    min(found["torch"], found["torch_channels_last"]) / found["keras"], 2
                ),
            }
        )
    report = {
        "backbone": "conv",
        "batch": BATCH,
        "clip_seconds": SECONDS,
        "threads": int(THREADS),
        "rounds": rounds,
        "versions": {name: metadata.version(name) for name in ("tensorflow", "keras", "torch")},
        "cases": cases,
    }
    print(json.dumps(report, indent=2))
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check", *case]:
            check(*case)
        case ["serve", *case]:
            serve(*case)
        case [rounds, *methods]:
            main(int(rounds), *methods)
        case _:
            main()
