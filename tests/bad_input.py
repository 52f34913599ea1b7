"""Generated damage, and what every reader owes whoever hands it damaged input."""

import copy
import hashlib

import hypothesis
from hypothesis import strategies as st

from hmic_keras.errors import HmicError

_SCALE = 1 << 16
_PIECES = (b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\n", b'"', b",", b"[" * 3000, b"-", b"9")
_CHANGES = st.tuples(
    st.sampled_from(["cut", "set", "insert", "drop"]),
    st.integers(0, _SCALE),
    st.one_of(st.sampled_from(_PIECES), st.binary(max_size=6)),
)
DAMAGE = st.lists(_CHANGES, min_size=1, max_size=3)
"""Changes to a file, for `damaged`."""

WRONG = (
    *(None, True, False, 0, 1, -1, 2.5, 1e308, 10**30, 10**400),
    *(float("nan"), float("inf"), "", "x", "a\0b", "~nobody/x", "x" * 5000),
    *([], [None], [[]], [-1], ["x", "x"], {}, {"": None}, {"x": 1}),
)
"""Values that few settings may have; each can be written as JSON."""


def settings(examples):
    """The same examples in every run, however slow the machine."""
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def damaged(data, changes):
    """Applies `DAMAGE` to bytes."""
    for change, at, piece in changes:
        place = at * len(data) // _SCALE
        end = {"cut": len(data), "set": place + len(piece), "drop": place + 1 + len(piece)}
        put = b"" if change in ("cut", "drop") else piece
        data = data[:place] + put + data[end.get(change, place) :]
    return data


def places(tree, at=()):
    """Lists the way to each value in nested dicts and lists, the whole first."""
    found = [at]
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            found += places(value, (*at, key))
    return found


def replaced(tree, at, value):
    """Copies nested dicts and lists, with another value at one of their `places`."""
    if not at:
        return value
    tree = copy.deepcopy(tree)
    inner = tree
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return tree


def without(tree, at):
    """Copies nested dicts and lists without the value at one of their `places`."""
    tree = copy.deepcopy(tree)
    inner = tree
    for key in at[:-1]:
        inner = inner[key]
    del inner[at[-1]]
    return tree


def wrong_trees(tree):
    """Draws `tree` with one value replaced or left out."""
    ways = places(tree)
    return st.one_of(
        st.builds(
            lambda at, value: replaced(tree, at, value),
            st.sampled_from(ways),
            st.sampled_from(WRONG),
        ),
        st.sampled_from(ways[1:]).map(lambda at: without(tree, at)),
    )


def listing(folder):
    """The content of each file below a folder, as a digest by path."""
    return {
        path.relative_to(folder).as_posix(): path.is_file()
        and hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
    }


def attempt(act, *names, folder=None, kind=HmicError):
    """Returns what `act` returns; None where it refuses its input as it should.

    The error must be of the package (or of `kind`), say something, and name one of `names`;
    nothing in `folder` may have changed, whichever way it ended.
    """
    before = folder and listing(folder)
    try:
        found = act()
    except kind as error:
        message = str(error)
        assert message.strip()
        assert not names or any(str(name) in message for name in names), message
        found = None
    assert before == (folder and listing(folder))
    return found
