"""Ways in which instruments play together.

A style says which kinds of instruments it is for, how fast it goes, who leads and what the
others do. `free` puts anything together, as a label must not depend on its company.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from hmic_keras.data.synthesis._instruments import UNPITCHED, Instrument, Kind, Role
from hmic_keras.data.synthesis._score import MODES

_Weights = Mapping[Role, float]
_ANY_MODE = tuple(MODES)
_MANY = 1_000_000


@dataclass(frozen=True)
class Style:
    """One way of playing together.

    Attributes:
        name: Its name in the tables.
        weight: How often it is chosen among the styles that fit.
        kinds: Kinds of instruments it takes; `None` takes all.
        sizes: Fewest and most classes.
        tempo: Slowest and fastest, in beats a minute.
        lead: What the leading part may play, with weights; empty: nobody leads.
        others: What the other parts may play, with weights; empty: anything they can.
        modes: Modes of the scale.
        meters: Beats in a bar.
        swing: Chance that the second half of each beat comes late.
        doubling: Chance that one part is played twice or shared by two instruments.
    """

    name: str
    weight: float
    kinds: frozenset[Kind] | None
    sizes: tuple[int, int]
    tempo: tuple[float, float]
    lead: _Weights
    others: _Weights
    modes: tuple[str, ...] = _ANY_MODE
    meters: tuple[int, ...] = (4,)
    swing: float = 0.0
    doubling: float = 0.2

    def takes(self, instrument: Instrument) -> bool:
        """Whether the style has a place for this instrument."""
        return self.kinds is None or instrument.kind in self.kinds

    def roles(self, instrument: Instrument, *, leads: bool) -> dict[Role, float]:
        """Returns what an instrument may play here, with weights.

        Args:
            instrument: Who plays.
            leads: Whether it has the leading part.
        """
        own = instrument.roles
        if instrument.kind in UNPITCHED:
            return dict.fromkeys(own, 1.0)
        wanted = self.lead if leads else self.others
        fitting = {role: wanted[role] for role in wanted if role in own or role in _EVERYONE}
        return fitting or {role: float(own.count(role)) for role in own}


def _all_but(*kinds: Kind) -> frozenset[Kind]:
    return frozenset(get_args(Kind)) - set(kinds)


# Roles that every pitched instrument can play, whatever it prefers.
_EVERYONE = frozenset({"chorale", "ostinato", "drone"})
STYLES: tuple[Style, ...] = (
    Style("free", 2.0, None, (1, _MANY), (66, 176), {}, {}, meters=(4, 4, 4, 3), swing=0.1),
    Style("solo", 2.0, None, (1, 1), (56, 168), {}, {}, meters=(4, 4, 3), swing=0.1),
    Style(
        "band",
        2.0,
        _all_but("bowed", "effect", "mallets", "reeds"),
        (2, _MANY),
        (84, 168),
        {"melody": 3, "arpeggio": 1, "chords": 1},
        {"bass": 2, "chords": 3, "arpeggio": 2, "pad": 2, "long": 1, "ostinato": 1},
        swing=0.25,
    ),
    Style(
        "chamber",
        1.5,
        _all_but("bass", "cymbals", "drums", "effect", "synth"),
        (2, _MANY),
        (52, 104),
        {"chorale": 2, "melody": 1, "long": 1},
        {"chorale": 3, "long": 1, "pad": 1},
        modes=("major", "minor", "dorian"),
        meters=(4, 4, 3),
        doubling=0.3,
    ),
    Style(
        "accompanied",
        1.5,
        None,
        (2, 4),
        (60, 152),
        {"melody": 4, "long": 1, "tremolo": 1},
        {"chords": 3, "arpeggio": 3, "pad": 2, "bass": 2, "long": 1, "tremolo": 1},
        meters=(4, 4, 3),
        swing=0.1,
    ),
    Style(
        "ostinato",
        1.0,
        None,
        (1, _MANY),
        (88, 160),
        {"ostinato": 3, "arpeggio": 1, "melody": 1},
        {"ostinato": 4, "arpeggio": 1, "pad": 1, "bass": 1},
    ),
    Style(
        "folk",
        1.0,
        _all_but("brass", "cymbals", "effect", "ensemble", "keys", "synth"),
        (1, _MANY),
        (96, 184),
        {"melody": 4, "tremolo": 1},
        {"drone": 3, "chords": 2, "bass": 2, "melody": 1},
        modes=("major", "dorian", "mixolydian"),
        meters=(4, 3),
        swing=0.2,
        doubling=0.4,
    ),
)


def fitting_styles(
    instrument: Instrument, playable: Sequence[Instrument], size: int
) -> list[Style]:
    """Returns the styles in which `size` of the playable classes may meet one of them.

    Args:
        instrument: The one that is to play.
        playable: All there are to choose from.
        size: How many are wanted.
    """
    return [
        style
        for style in STYLES
        if style.takes(instrument)
        and style.sizes[0] <= size <= style.sizes[1]
        and sum(map(style.takes, playable)) >= size
    ]
