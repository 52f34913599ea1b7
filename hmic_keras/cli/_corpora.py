"""The corpus a command falls back to."""

from typing import Any, Literal

from ..data.sources import demo
from ..errors import HmicError
from ..taxonomy import Taxonomy


def demo_clips(
    split: Literal["train", "test"], taxonomy: str | Taxonomy = "openmic"
) -> tuple[Any, Any]:
    """Returns the demo corpus and its provenance.

    Raises:
        HmicError: If `taxonomy` is another one than the demo corpus is labelled with.
    """
    clips = demo.demo_clips(split)
    wanted = taxonomy if isinstance(taxonomy, Taxonomy) else Taxonomy.load(taxonomy)
    if wanted.hash != clips.taxonomy.hash:
        raise HmicError(
            f"The demo corpus is labelled with {clips.taxonomy.name!r}, not {wanted.name!r}; "
            "give a table of your own with --data."
        )
    return clips, demo.PROVENANCE
