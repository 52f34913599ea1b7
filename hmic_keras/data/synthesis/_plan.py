"""Who plays in which clip, and in what style."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import floor

import numpy as np

from hmic_keras.data.synthesis._instruments import Instrument
from hmic_keras.data.synthesis._settings import Settings
from hmic_keras.data.synthesis._styles import Style, fitting_styles


@dataclass(frozen=True)
class Job:
    """One clip to make.

    Attributes:
        index: Its number.
        class_names: Who plays; empty for a clip without instruments.
        style: How they play together; `None` without instruments or from a MIDI file.
        from_midi: Whether a MIDI file decides who plays.
    """

    index: int
    class_names: tuple[str, ...] = ()
    style: Style | None = None
    from_midi: bool = False


def plan(
    settings: Settings, players: Mapping[str, Instrument], clips: int, *, from_midi: bool
) -> Iterator[Job]:
    """Plans the clips; the plan of one depends on those before it only.

    Args:
        settings: Seed, polyphony and share of empty clips.
        players: The classes that can sound.
        clips: Number of clips.
        from_midi: Whether MIDI files say who plays.
    """
    deck = _Deck(settings, players)
    for index in range(clips):
        # Spread evenly, so that every part of the corpus has its share of empty clips.
        if floor((index + 1) * settings.empty) > floor(index * settings.empty):
            yield Job(index)
        elif from_midi:
            yield Job(index, from_midi=True)
        else:
            yield deck.deal(index)


class _Deck:
    """Deals the classes like cards from one shuffled deck after another.

    The card that has waited longest chooses the style; those who fit it join in the order of
    the deck. So all classes occur about equally often, whatever company they suit.
    """

    def __init__(self, settings: Settings, players: Mapping[str, Instrument]) -> None:
        self._settings, self._players = settings, players
        self._waiting: list[str] = []
        self._decks = 0

    def deal(self, index: int) -> Job:
        low, high = self._settings.polyphony
        sizes = np.arange(low, min(high, len(self._players)) + 1)
        weights = self._settings.polyphony_decay ** (sizes - low).astype(np.float64)
        rng = self._settings.rng("size", index)
        size = int(rng.choice(sizes, p=weights / weights.sum()))
        if not self._waiting:
            self._shuffle()
        first = self._waiting.pop(0)
        style = self._style(index, first, size)
        hand = [first]
        while len(hand) < size:
            fitting = (
                name
                for name in self._waiting
                if name not in hand and style.takes(self._players[name])
            )
            name = next(fitting, None)
            if name is None:
                self._shuffle()
            else:
                hand.append(name)
                self._waiting.remove(name)
        return Job(index, tuple(hand), style)

    def _style(self, index: int, first: str, size: int) -> Style:
        rng = self._settings.rng("style", index)
        styles = fitting_styles(self._players[first], list(self._players.values()), size)
        weights = np.array([style.weight for style in styles])
        return styles[rng.choice(len(styles), p=weights / weights.sum())]

    def _shuffle(self) -> None:
        rng = self._settings.rng("deck", self._decks)
        self._waiting += rng.permutation(list(self._players)).tolist()
        self._decks += 1
