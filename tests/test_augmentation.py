"""`Augmentation`: a chain of layers from a recipe's values."""

import json

import keras
import numpy as np
import pytest
from layer_contract import check_random_layer

from hmic_keras.layers import (
    Augmentation,
    Mixup,
    RandomGain,
    SpecAugment,
)
from hmic_keras.layers.augmentation import WAVEFORM_LAYERS

ALWAYS = {name: {"probability": 1.0} for name in WAVEFORM_LAYERS}


def inputs(size=4, samples=1000):
    rng = np.random.default_rng(0)
    labels = {"fine": rng.integers(-1, 2, (size, 3)), "coarse": rng.integers(0, 2, (size, 2))}
    return (
        rng.uniform(-0.5, 0.5, (size, samples)).astype("float32"),
        {level: values.astype("float32") for level, values in labels.items()},
    )


def test_contract_of_everything_at_once():
    spec = {"waveform": dict(ALWAYS), "mix": {"name": "mixup"}}
    spec["waveform"]["reverb"] = {"decay_seconds": [0.05, 0.1], "probability": 0.5}
    # All layers are compiled by XLA here, once.
    check_random_layer(
        lambda **kwargs: with_policy(Augmentation.from_spec(spec, seed=2), **kwargs),
        inputs(),
        jit=True,
    )


def test_contract_of_remixing():
    spec = {"waveform": {"gain": {"probability": 0.5}}, "mix": {"name": "stem_remix"}}
    check_random_layer(
        lambda **kwargs: with_policy(Augmentation.from_spec(spec, seed=2), **kwargs),
        inputs(),
    )


def with_policy(layer, **policy):
    return type(layer).from_config({**layer.get_config(), **policy})


def test_the_order_is_that_of_the_recipe():
    text = '{"waveform": {"clipping": {}, "gain": null, "equalizer": {"gain_db": 9}}}'
    augmentation = Augmentation.from_spec(json.loads(text), sample_rate=8000)
    names = [type(one).__name__ for one in augmentation.waveform]
    assert names == ["RandomClipping", "RandomGain", "RandomEqualizer"]
    assert augmentation.waveform[2].sample_rate == 8000
    assert augmentation.waveform[2].gain_db == 9
    assert augmentation.mix is None


def test_first_mixing_then_the_chain():
    x, labels = inputs()
    chain = Augmentation([RandomGain((-20, 0), seed=1)], Mixup(seed=2))
    found, found_labels = chain((x, labels), training=True)
    mixed, mixed_labels = Mixup(seed=2)((x, labels), training=True)
    expected = RandomGain((-20, 0), seed=1)(mixed, training=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(found_labels["fine"], mixed_labels["fine"])


def test_the_seed_decides_and_layers_draw_apart():
    spec = {"waveform": {"gain": {}, "noise": {}}, "mix": {"name": "mixup"}}
    seeds = [
        [one.seed for one in (layer.mix, *layer.waveform)]
        for layer in (Augmentation.from_spec(spec, seed=seed) for seed in (0, 0, 1))
    ]
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 6


def test_its_variables_are_all_that_a_resumed_run_needs():
    augmentation = Augmentation.from_spec({"waveform": ALWAYS, "mix": {"name": "mixup"}})
    augmentation(inputs(), training=True)
    assert len(augmentation.variables) == 1 + len(ALWAYS)
    saved = [np.array(variable) for variable in augmentation.variables]
    expected, _ = augmentation(inputs(), training=True)
    resumed = Augmentation.from_spec({"waveform": ALWAYS, "mix": {"name": "mixup"}})
    for variable, value in zip(resumed.variables, saved, strict=True):
        variable.assign(value)
    found, _ = resumed(inputs(), training=True)
    np.testing.assert_array_equal(found, expected)


def test_without_layers_it_changes_nothing():
    x, labels = inputs()
    found, same = Augmentation.from_spec({})((x, labels), training=True)
    np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(same["fine"], labels["fine"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], r"must be a mapping.*\[\]"),
        ({"wave": {}}, r"no \['wave'\]; it has \['waveform', 'mix'\]"),
        ({"waveform": ["gain"]}, r"`waveform` must be a mapping.*\['gain'\]"),
        ({"waveform": {"echo": {}}}, r"`waveform` has no \['echo'\]; it has \['gain'"),
        ({"waveform": {"gain": 3}}, "`gain` must be a mapping.*3"),
        ({"waveform": {"gain": {"db": 3}}}, r"`gain` has no \['db'\]; it has \['gain_db'"),
        ({"waveform": {"noise": {"sample_rate": 3}}}, r"no \['sample_rate'\]"),
        ({"waveform": {"gain": {"gain_db": [1]}}}, r"'gain': `gain_db`.*\[1\]"),
        ({"mix": "mixup"}, "`mix` must hold a 'name'.*'mixup'"),
        ({"mix": {"name": "cutmix"}}, "one of.*'mixup'.*'cutmix'"),
        ({"mix": {"name": "mixup", "beta": 1}}, r"`mixup` has no \['beta'\]"),
        ({"mix": {"name": "mixup", "alpha": -1}}, "'mixup': `alpha`.*-1"),
    ],
)
def test_refuses_bad_recipes(spec, message):
    with pytest.raises(ValueError, match=message):
        Augmentation.from_spec(spec)


def test_refuses_other_layers_and_inputs():
    with pytest.raises(ValueError, match="`waveform` must hold waveform layers"):
        Augmentation([SpecAugment()])
    with pytest.raises(ValueError, match="`mix` must be Mixup"):
        Augmentation(mix=RandomGain())
    with pytest.raises(ValueError, match=r"pair \(x, labels\)"):
        Augmentation([RandomGain()])(inputs()[0])
    with pytest.raises(ValueError, match=r"\(batch, samples\)"):
        Augmentation([RandomGain()])((inputs()[0][..., None], inputs()[1]))


def test_it_trains_a_model():
    x, labels = inputs(8)
    augmentation = Augmentation.from_spec({"waveform": {"gain": {}}, "mix": {"name": "mixup"}})

    class Model(keras.Sequential):
        def train_step(self, data):
            return super().train_step(augmentation(data, training=True))

    model = Model([keras.layers.Dense(3, activation="sigmoid")])
    model.compile("sgd", "mse")
    history = model.fit(x, labels["fine"], epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
