"""Tests of `hmic_keras.data._plan`: what each pass over a dataset draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmic_keras.data._crops import from_waveforms, mirror_to, place
from hmic_keras.data._plan import Onsets, Plan, class_weights, clip_weights

SEEDS = st.integers(0, 2**31 - 1)


def one_pass(plan, epoch=0):
    batches = list(plan.batches(epoch))
    return [np.concatenate(column) for column in zip(*batches, strict=True)]


def test_the_draws_of_a_seed_are_those_of_the_first_release():
    # What a model was trained on follows from these numbers; they must not change.
    random = np.random.default_rng([7, 3])
    rows, positions, starts, ordinals, epochs = one_pass(Plan(23, 5, seed=7), epoch=3)
    np.testing.assert_array_equal(rows, random.permutation(23))
    np.testing.assert_array_equal(positions, random.random(23))
    assert np.isnan(starts).all()
    np.testing.assert_array_equal(ordinals, np.arange(23))
    np.testing.assert_array_equal(epochs, 3)


@given(st.integers(1, 60), st.integers(1, 9), SEEDS, st.integers(0, 5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_pass_is_as_long_as_there_are_clips(clips, size, seed, epoch, balanced):
    weights = np.linspace(1, 5, clips) if balanced else None
    plan = Plan(clips, size, seed, weights)
    batches = list(plan.batches(epoch))
    assert [len(batch.row) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    rows, positions, *_ = one_pass(plan, epoch)
    assert len(rows) == clips
    assert ((positions >= 0) & (positions < 1)).all()
    if not balanced:
        assert sorted(rows) == list(range(clips))
    for mine, again in zip(one_pass(plan, epoch), one_pass(plan, epoch), strict=True):
        np.testing.assert_array_equal(mine, again)


@given(hnp.arrays(np.float64, st.integers(2, 40), elements=st.floats(1, 30)), SEEDS)
@settings(max_examples=60, deadline=None)
def test_a_clip_comes_as_often_as_it_is_due_rounded_up_or_down(weights, seed):
    rows = one_pass(Plan(len(weights), 8, seed, weights))[0]
    due = len(weights) * weights / weights.sum()
    counts = np.bincount(rows, minlength=len(weights))
    assert (counts >= np.floor(due - 1e-9)).all()
    assert (counts <= np.ceil(due + 1e-9)).all()


def test_on_average_a_clip_comes_exactly_as_often_as_it_is_due():
    weights = np.array([1.0, 1.0, 1.0, 2.5])
    plan = Plan(4, 4, 0, weights)
    counts = sum(np.bincount(one_pass(plan, epoch)[0], minlength=4) for epoch in range(3000))
    np.testing.assert_allclose(counts / 3000, 4 * weights / weights.sum(), atol=0.03)


LABELS = np.float32([[1, 0, -1], [1, -1, -1], [0.9, 1, 0], [1, 0.5, 0], [0, -1, -1]])


def test_rare_classes_weigh_more_by_the_documented_formula():
    # Present: 4 times, once, never. 0.5 and -1 do not count.
    np.testing.assert_allclose(class_weights(LABELS, 1.0), [1, 4, 0])
    np.testing.assert_allclose(class_weights(LABELS, 0.5), [1, 2, 0])
    np.testing.assert_allclose(class_weights(LABELS, 0.0), [1, 1, 0])
    np.testing.assert_allclose(clip_weights(LABELS, 1.0), [1, 1, 4, 1, 1])
    np.testing.assert_allclose(clip_weights(LABELS, 0.5), [1, 1, 2, 1, 1])
    np.testing.assert_allclose(clip_weights(-np.ones((2, 3)), 1.0), [1, 1])


def test_with_balance_one_disjoint_classes_come_alike():
    labels = np.zeros((100, 2), np.float32)
    labels[:90, 0] = labels[90:, 1] = 1
    rows = one_pass(Plan(100, 10, 0, clip_weights(labels, 1.0)))[0]
    assert labels[rows].sum(axis=0).tolist() == [50, 50]


EVENTS = [
    np.float32([[0, 0.5, 1], [0, 4, 5], [0, 7.9, 8], [2, 3, 9]]),
    np.zeros((0, 3), np.float32),
    np.float32([[1, 0, 1]]),
]


@given(SEEDS, st.floats(1, 12), st.floats(8, 20))
@settings(max_examples=60, deadline=None)
def test_a_crop_contains_the_onset_it_was_drawn_for(seed, crop, clip):
    onsets = Onsets(EVENTS, np.ones(3), crop)
    rows, positions, starts, *_ = one_pass(Plan(3, 2, seed, onsets=onsets))
    length, size, rate = round(clip * 1000), round(crop * 1000), 1000
    for row, position, start in zip(rows, positions, starts, strict=True):
        assert np.isnan(start) == (row == 1)
        long = max(length, size)
        first = place(long, size, position, start, rate)
        assert 0 <= first <= long - size
        if row != 1:
            at = EVENTS[row][:, 1] * rate
            assert ((at >= first - 1) & (at < first + size)).any()


def test_every_onset_is_drawn_and_classes_before_notes():
    onsets = Onsets(EVENTS, np.array([1.0, 1.0, 3.0]), 0.25)  # nothing to place: all onset
    random = np.random.default_rng(0)
    drawn = [onsets.start(0, *random.random(3)) for _ in range(4000)]
    starts, counts = np.unique(np.round(drawn, 3), return_counts=True)
    np.testing.assert_allclose(starts, [0.5, 3, 4, 7.9], atol=1e-3)
    np.testing.assert_allclose(counts / 4000, [1 / 12, 3 / 4, 1 / 12, 1 / 12], atol=0.02)


@pytest.mark.parametrize(
    ("position", "start", "expected"),
    [
        (0.0, np.nan, 0),
        (0.999, np.nan, 60),
        (0.5, np.nan, 30),
        (0.5, 0.2, 20),
        (0, -3, 0),
        (0, 9, 60),
    ],
)
def test_a_place_lies_inside_the_clip(position, start, expected):
    assert place(100, 40, position, start, 100) == expected


def test_what_an_augmentation_gets_beyond_the_end_is_mirrored():
    window = from_waveforms(lambda row: np.arange(10.0), 1)
    assert window(0, 0.99, np.nan, 6, 9).tolist() == [4, 5, 6, 7, 8, 9, 9, 8, 7]
    assert window(0, 0.0, np.nan, 6, 9).tolist() == list(range(9))
    assert window(0, 0.0, 3.0, 6, 6).tolist() == [3, 4, 5, 6, 7, 8]
    assert mirror_to(np.arange(2), 7).tolist() == [0, 1, 1, 0, 0, 1, 1]
