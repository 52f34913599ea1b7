"""Tests of `hmic_keras.data.pipeline` and of the lazy names of `hmic_keras.data`."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from audio_files import FORMATS, bell, cut, tone, write, write_float

import hmic_keras.data
from hmic_keras.config import AudioConfig
from hmic_keras.data import prepare_clips
from hmic_keras.data._graph_files import GraphFiles
from hmic_keras.data.audio import load_audio
from hmic_keras.data.pipeline import audio_errors, make_dataset
from hmic_keras.data.sources.folder import LabelledClips
from hmic_keras.errors import AudioError, HmicError, MissingDependencyError, RecordError
from hmic_keras.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["trumpet"]})
RATE = 1000
try:
    import tensorflow_io  # noqa: F401
except ImportError:
    HAS_TFIO = False
else:
    HAS_TFIO = tf.__version__.startswith("2.16.")
needs_tfio = pytest.mark.skipif(
    not HAS_TFIO, reason="tensorflow-io loads in the TensorFlow 2.16 environment only"
)
CACHES = pytest.mark.parametrize("cache", [True, False])


def make_clips(paths):
    fine = np.random.default_rng(0).integers(-1, 2, (len(paths), 3)).astype(np.float32)
    return LabelledClips(TAXONOMY, tuple(paths), {"fine": fine})


@pytest.fixture
def ramps(tmp_path):
    """Ten clips of 1.0 to 3.7 s; sample `i` of clip `c` is `(4000 c + i) / 65536`, exactly."""
    paths = [
        write_float(
            tmp_path / f"{c}.wav", (4000 * c + 1 + np.arange(1000 + 300 * c)) / 65536, RATE
        )
        for c in range(10)
    ]
    return make_clips(paths)


def ramp_dataset(clips, **options):
    return make_dataset(
        clips, **{"sample_rate": RATE, "crop_seconds": 1.0, "batch_size": 4, **options}
    )


def one_pass(dataset):
    """All waveforms and labels of one pass, and the sizes of its batches."""
    batches = list(dataset.as_numpy_iterator())
    waveforms = np.concatenate([waveform for waveform, _ in batches])
    labels = {
        level: np.concatenate([label[level] for _, label in batches]) for level in batches[0][1]
    }
    return waveforms, labels, [len(waveform) for waveform, _ in batches]


def whereabouts(waveforms):
    """The clip number and first sample that each crop of `ramps` was taken from."""
    numbers = np.round(waveforms * 65536).astype(int) - 1
    np.testing.assert_array_equal(np.diff(numbers, axis=1), 1)
    return numbers[:, 0] // 4000, numbers[:, 0] % 4000


@CACHES
def test_evaluation_takes_the_centre_of_every_clip_in_order(ramps, cache):
    waveforms, labels, sizes = one_pass(ramp_dataset(ramps, cache=cache))
    clips, starts = whereabouts(waveforms)
    np.testing.assert_array_equal(clips, np.arange(10))
    np.testing.assert_array_equal(starts, 150 * np.arange(10))
    assert sizes == [4, 4, 2]
    assert list(labels) == ["fine", "coarse"]
    for level, values in labels.items():
        np.testing.assert_array_equal(values, ramps.labels[level])


@CACHES
def test_training_visits_every_clip_once_a_pass_at_changing_places(ramps, cache):
    dataset = ramp_dataset(ramps, training=True, cache=cache)
    orders, places = [], []
    for _ in range(4):
        waveforms, labels, _ = one_pass(dataset)
        clips, starts = whereabouts(waveforms)
        assert sorted(clips) == list(range(10))
        assert (starts <= 300 * clips).all()
        for level, values in labels.items():
            np.testing.assert_array_equal(values, ramps.labels[level][clips])
        orders.append(tuple(clips))
        places.append(tuple(starts[np.argsort(clips)]))
    assert len(set(orders)) == len(set(places)) == 4


def test_random_crops_reach_both_ends(ramps):
    dataset = ramp_dataset(ramps.subset([0, 1] * 100), training=True, crop_seconds=1.29)
    clips, starts = whereabouts(one_pass(dataset)[0][:, :200])
    assert set(starts[clips == 1]) == set(range(11))


@CACHES
def test_a_seed_repeats_every_pass_whatever_the_threads_and_the_global_seed(ramps, cache):
    tf.random.set_seed(1)
    first = ramp_dataset(ramps, training=True, seed=5, num_parallel_calls=1)
    tf.random.set_seed(2)
    second = ramp_dataset(ramps, training=True, seed=5, num_parallel_calls=4, cache=cache)
    other = ramp_dataset(ramps, training=True, seed=6)
    for _ in range(3):
        waveforms, labels, _ = one_pass(first)
        again, same_labels, _ = one_pass(second)
        np.testing.assert_array_equal(waveforms, again)
        np.testing.assert_array_equal(labels["fine"], same_labels["fine"])
        assert not np.array_equal(waveforms, one_pass(other)[0])


def test_repeat_goes_on_to_the_next_pass(ramps):
    dataset = ramp_dataset(ramps, training=True, seed=1)
    expected = np.concatenate([one_pass(dataset)[0] for _ in range(2)])
    repeated = one_pass(ramp_dataset(ramps, training=True, seed=1).repeat(2))[0]
    np.testing.assert_array_equal(repeated, expected)


@CACHES
def test_a_short_clip_is_repeated(ramps, cache):
    waveforms, _, _ = one_pass(ramp_dataset(ramps, crop_seconds=2.5, cache=cache))
    np.testing.assert_array_equal(
        waveforms[0], np.resize(load_audio(ramps.paths[0], RATE), 2500)
    )


def test_shapes_are_static_and_the_length_is_known(ramps):
    dataset = ramp_dataset(ramps)
    waveform, labels = dataset.element_spec
    assert waveform == tf.TensorSpec((None, 1000), tf.float32)
    assert labels == {
        "fine": tf.TensorSpec((None, 3), tf.float32),
        "coarse": tf.TensorSpec((None, 2), tf.float32),
    }
    assert len(dataset) == 3


def test_keras_fits_on_it_and_repeats_the_run(ramps):
    import keras

    def losses():
        keras.utils.set_random_seed(0)
        waveform = keras.Input((1000,))
        outputs = {
            level: keras.layers.Dense(len(TAXONOMY.classes(level)), name=level)(waveform)
            for level in TAXONOMY.levels
        }
        model = keras.Model(waveform, outputs)
        model.compile("sgd", "mse")
        # Keras warns that its own shuffling, the default, does not apply to a dataset.
        dataset = ramp_dataset(ramps, training=True)
        return model.fit(dataset, epochs=3, verbose=0, shuffle=False).history["loss"]

    first = losses()
    assert len(set(first)) == 3
    assert losses() == first


def test_files_of_every_kind_come_resampled(tmp_path):
    paths = [write(tmp_path / f"a.{kind}", bell(2.0, 48000), 48000) for kind in FORMATS]
    waveforms, _, _ = one_pass(make_dataset(make_clips(paths), crop_seconds=2.0))
    for path, waveform in zip(paths, waveforms, strict=True):
        np.testing.assert_array_equal(waveform, load_audio(path))


# Onsets, balance, augmentation, records


@pytest.fixture
def noted(ramps):
    """The ramps with two notes each: trumpet at 0.1 s, and cello at 0.9 s of odd clips."""
    events = [[(2, 0.1, 0.2), *([(1, 0.9, 1.0)] if c % 2 else [])] for c in range(10)]
    return LabelledClips(TAXONOMY, ramps.paths, {"fine": -np.ones((10, 3))}, tuple(events))


def prepared(clips, tmp_path):
    audio = AudioConfig(sample_rate=RATE, fmax=500.0)
    return prepare_clips(
        clips, tmp_path / "records", audio=audio, clips_per_shard=4, processes=1
    )


class Later:
    """An augmentation that wants half as much again and spoils that half."""

    context = 1.5

    def __call__(self, waveform, random):
        assert waveform.dtype == np.float32
        assert len(waveform) == 1500
        waveform[1000:] = -1  # in place, which must not reach what is held in memory
        return waveform.astype(np.float64)


TRAINING = [
    {"seed": 3, "crop_seconds": 2.0, "balance": 0.7},
    {"crops": "onset", "balance": 1.0, "first_epoch": 2},
    {"augment": lambda x, random: x * random.random()},
    {"augment": Later(), "crops": "onset"},
]


@pytest.mark.parametrize("options", TRAINING)
def test_every_source_gives_the_same_batches(noted, tmp_path, options):
    expected = ramp_dataset(noted, training=True, **options)
    files = ramp_dataset(noted, training=True, **options, cache=False)
    records = ramp_dataset(prepared(noted, tmp_path), training=True, **options)
    for _ in range(2):
        waveforms, labels, _ = one_pass(expected)
        # Records hold 16 bits, and the ramps' steps are half as high.
        for other, bound in ((files, 0), (records, 1 / 65536)):
            found, same, _ = one_pass(other)
            np.testing.assert_allclose(found, waveforms, rtol=0, atol=bound)
            np.testing.assert_array_equal(same["fine"], labels["fine"])
            assert other.element_spec == expected.element_spec


def test_a_resumed_run_sees_the_passes_it_would_have_seen(ramps):
    def passes(first, count, **options):
        dataset = ramp_dataset(ramps, training=True, first_epoch=first, **options)
        return [one_pass(dataset)[0] for _ in range(count)]

    for options in ({"seed": 2}, {"augment": lambda x, random: x + random.random()}):
        whole = passes(0, 4, **options)
        for mine, theirs in zip(passes(2, 2, **options), whole[2:], strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert not np.array_equal(whole[0], whole[2])


@pytest.mark.parametrize("augment", [None, Later()], ids=["plain", "augmented"])
def test_crops_contain_an_onset(noted, augment):
    dataset = ramp_dataset(noted, training=True, crops="onset", augment=augment)
    seen = set()
    for _ in range(6):
        clips, starts = whereabouts(one_pass(dataset)[0])
        for clip, start in zip(clips, starts, strict=True):
            inside = [at for at in (100, 900) if start <= at < start + 1000]
            assert 100 in inside or (clip % 2 and inside)
            seen.add((clip % 2, inside[0]))
    assert seen == {(0, 100), (1, 100), (1, 900)}


def test_balance_draws_rare_classes_more_often(ramps):
    labels = np.zeros((10, 3))
    labels[:9, 0] = labels[9, 1] = 1
    clips = LabelledClips(TAXONOMY, ramps.paths, {"fine": labels})
    for balance, expected in ((0.0, 1), (1.0, 5)):
        _, labels, _ = one_pass(ramp_dataset(clips, training=True, balance=balance))
        assert labels["fine"][:, 1].sum() == expected
        assert len(labels["fine"]) == 10
    # Evaluation is never balanced.
    _, labels, _ = one_pass(ramp_dataset(clips, balance=1.0))
    assert labels["fine"][:, 1].sum() == 1


@CACHES
def test_an_augmentation_gets_its_context_and_crops_still_reach_the_end(ramps, cache):
    clips = ramps.subset([0, 1] * 50)
    dataset = ramp_dataset(clips, training=True, crop_seconds=1.0, augment=Later(), cache=cache)
    for _ in range(2):
        numbers, starts = whereabouts(one_pass(dataset)[0])
        assert (starts[numbers == 0] == 0).all()
        assert starts[numbers == 1].max() > 250
    # Evaluation is never augmented.
    assert (one_pass(ramp_dataset(clips, augment=Later(), cache=cache))[0] > 0).all()


def test_a_shorter_answer_of_an_augmentation_is_repeated(ramps):
    dataset = ramp_dataset(ramps, training=True, augment=lambda x, random: x[:400])
    waveforms, _, _ = one_pass(dataset)
    np.testing.assert_array_equal(waveforms[:, 400:800], waveforms[:, :400])
    np.testing.assert_array_equal(waveforms[:, 800:], waveforms[:, :200])


@pytest.mark.parametrize("answer", [np.zeros((2, 500)), np.zeros(0), np.zeros(5, int), None])
def test_an_augmentation_that_returns_no_waveform(ramps, answer):
    dataset = ramp_dataset(ramps, training=True, augment=lambda x, random: answer)
    with pytest.raises(HmicError, match="`augment` must return"), audio_errors():
        one_pass(dataset)


def test_records_suit_their_rate_and_a_cut_one_is_named(ramps, tmp_path):
    clips = prepared(ramps, tmp_path)
    dataset = ramp_dataset(clips)
    with pytest.raises(HmicError, match=r"`sample_rate` must be that of .*1000 Hz.*16000"):
        make_dataset(clips)
    (tmp_path / "records" / "shard-00001-of-00003.tfrecord").write_bytes(b"")
    with pytest.raises(RecordError, match=r"ends within clip '4\.wav'"), audio_errors():
        one_pass(dataset)


def test_onset_crops_need_notes(ramps):
    for events in (None, tuple(np.zeros((0, 3)) for _ in range(10))):
        clips = LabelledClips(TAXONOMY, ramps.paths, ramps.labels, events)
        with pytest.raises(HmicError, match=r'`crops="onset"` needs labelled notes'):
            ramp_dataset(clips, training=True, crops="onset")
        one_pass(ramp_dataset(clips, crops="onset"))


# Bad input


@CACHES
def test_what_a_header_shows_is_refused_at_once(ramps, tmp_path, cache):
    bad = tmp_path / "bad.wav"
    bad.write_text("not audio")
    clips = make_clips([*ramps.paths, bad, tmp_path / "none.wav"])
    with pytest.raises(AudioError, match=r"^2 of 12 .*bad\.wav: not audio.* \| .*none\.wav"):
        ramp_dataset(clips, cache=cache)
    with pytest.raises(AudioError, match=f"^{bad}: not audio"):
        ramp_dataset(clips.subset(range(11)), cache=cache)


@pytest.mark.parametrize(
    ("samples", "found"),
    [(np.zeros(2000), "is silent"), (np.full(2000, np.nan), "NaN or infinite")],
)
def test_what_decoding_shows_is_refused_at_once_or_named_later(ramps, tmp_path, samples, found):
    bad = write_float(tmp_path / "bad.wav", samples, RATE)
    clips = make_clips([*ramps.paths, bad])
    with pytest.raises(AudioError, match=f"^{bad}: .*{found}"):
        ramp_dataset(clips)
    dataset = ramp_dataset(clips, cache=False)
    with pytest.raises(AudioError, match=f"^{bad}: .*{found}"), audio_errors():
        one_pass(dataset)


def test_other_tensorflow_errors_pass_through():
    with pytest.raises(tf.errors.InvalidArgumentError), audio_errors():
        tf.reshape(tf.zeros(3), (2, 2))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"crop_seconds": 0.5}, "crop_seconds"),
        ({"crop_seconds": np.nan}, "crop_seconds"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.0}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"decoder": "librosa"}, "decoder"),
        ({"num_parallel_calls": 0}, "num_parallel_calls"),
        ({"first_epoch": -1}, "first_epoch"),
        ({"first_epoch": 0.5}, "first_epoch"),
        ({"balance": 1.01}, "balance"),
        ({"balance": np.nan}, "balance"),
        ({"crops": "centre"}, "crops"),
        ({"augment": "loud", "training": True}, "augment"),
        ({"augment": type("A", (Later,), {"context": 0.5})(), "training": True}, "augment"),
        ({"sample_rate": 10}, "sample_rate"),
    ],
)
def test_arguments_out_of_range(ramps, options, name):
    with pytest.raises(HmicError, match=f"`{name}` must be .*Received: "):
        ramp_dataset(ramps, cache=False, **options)


def test_no_clips(ramps):
    with pytest.raises(HmicError, match="`clips`"):
        ramp_dataset(ramps.subset([]))


# The package's face


def test_importing_the_data_package_loads_neither_tensorflow_nor_pandas():
    code = (
        "import sys, hmic_keras.data as data; data.read_clips; data.load_audio; "
        "heavy = {'tensorflow', 'keras', 'pandas', 'soundfile', 'soxr'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", hmic_keras.data.__all__)
def test_public_names_resolve(name):
    assert callable(getattr(hmic_keras.data, name))
    assert name in dir(hmic_keras.data)


def test_unknown_names_do_not_resolve():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hmic_keras.data.nothing


# Decoding inside the graph


@pytest.mark.skipif(HAS_TFIO, reason="tensorflow-io is there")
def test_tfio_says_what_to_install(ramps):
    with pytest.raises(MissingDependencyError, match=r"0\.37\.1.*hmic-keras\[io\].*2\.16\.2"):
        ramp_dataset(ramps, decoder="tfio")


EXACT = {
    "u8.wav": ("WAV", "PCM_U8"),
    "16.wav": ("WAV", "PCM_16"),
    "24.wav": ("WAV", "PCM_24"),
    "24x.wav": ("WAVEX", "PCM_24"),
    "float.wav": ("WAV", "FLOAT"),
    "16.flac": ("FLAC", "PCM_16"),
    "24.flac": ("FLAC", "PCM_24"),
    "vorbis.ogg": ("OGG", "VORBIS"),
    "a.mp3": ("MP3", "MPEG_LAYER_III"),
}


@pytest.mark.tfio
@needs_tfio
@CACHES
@pytest.mark.parametrize("channels", [1, 2])
def test_tfio_decodes_the_same_samples(tmp_path, channels, cache):
    paths = []
    for name, (form, subtype) in EXACT.items():
        paths.append(tmp_path / name)
        soundfile.write(paths[-1], tone(2.0, 16000, channels), 16000, subtype, format=form)
    dataset = make_dataset(make_clips(paths), crop_seconds=2.0, decoder="tfio", cache=cache)
    waveforms, _, _ = one_pass(dataset)
    for path, waveform in zip(paths, waveforms, strict=True):
        bound = 1e-7 if path.suffix in (".wav", ".flac") else 2e-6
        np.testing.assert_allclose(waveform, load_audio(path), atol=bound, err_msg=path.name)


@pytest.mark.tfio
@needs_tfio
@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000])
def test_tfio_resamples_like_soxr_without_delay_or_loss_at_the_ends(tmp_path, rate):
    # The first clip is silent at its ends, the second starts and stops at full level.
    frequencies = (110.0, 440.0, 1000.0, 2500.0, 0.375 * min(rate, 16000))
    whole = bell(2.0, rate, frequencies)
    sudden = tone(1.2345, rate, 1, frequencies)[:, 0]
    paths = [
        write(tmp_path / "bell.flac", whole, rate),
        write(tmp_path / "sudden.flac", sudden, rate),
    ]
    files = GraphFiles(tuple(paths), 16000, 1)
    for path, waveform, bound in zip(paths, files.decode_all(1), (5e-5, 5e-3), strict=True):
        expected = load_audio(path)
        assert waveform.shape == expected.shape
        np.testing.assert_allclose(waveform, expected, atol=bound)
        inside = slice(200, -200)
        np.testing.assert_allclose(waveform[inside], expected[inside], atol=5e-5)


@pytest.mark.tfio
@needs_tfio
@CACHES
def test_tfio_crops_and_repeats_as_soundfile_does(ramps, cache):
    options = {"training": True, "seed": 3, "crop_seconds": 1.5}
    expected = ramp_dataset(ramps, **options)
    dataset = ramp_dataset(ramps, **options, decoder="tfio", cache=cache)
    for _ in range(2):
        waveforms, _, sizes = one_pass(dataset)
        np.testing.assert_array_equal(waveforms, one_pass(expected)[0])
    assert sizes == [4, 4, 2]
    assert dataset.element_spec == expected.element_spec


@pytest.mark.tfio
@needs_tfio
@CACHES
@pytest.mark.parametrize("options", TRAINING)
def test_tfio_follows_the_same_plan(noted, options, cache):
    expected = ramp_dataset(noted, training=True, **options)
    dataset = ramp_dataset(noted, training=True, **options, decoder="tfio", cache=cache)
    for _ in range(2):
        np.testing.assert_array_equal(one_pass(dataset)[0], one_pass(expected)[0])


@pytest.mark.tfio
@needs_tfio
def test_tfio_refuses_bad_files_by_name(ramps, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (160_000, 1))
    bad = {
        "is silent": write_float(tmp_path / "silent.wav", np.zeros(16000)),
        "NaN": write_float(tmp_path / "nan.wav", np.full(16000, np.nan)),
        "FLAC|flac|decode": cut(write(tmp_path / "cut.flac", noise, 16000), 0.5),
        "lasts less": write_float(tmp_path / "short.wav", np.full(99, 0.1)),
        "OGG OPUS": write(tmp_path / "a.opus", noise, 48000),
    }
    for found, path in bad.items():
        with pytest.raises(AudioError, match=f"^{path}: .*({found})"):
            ramp_dataset(make_clips([*ramps.paths, path]), decoder="tfio")
    dataset = ramp_dataset(make_clips([bad["is silent"]]), decoder="tfio", cache=False)
    with pytest.raises(AudioError, match=r"^.*silent\.wav: is silent"), audio_errors():
        one_pass(dataset)
