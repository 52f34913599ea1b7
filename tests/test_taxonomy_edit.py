"""Subsets, fewer levels and merged taxonomies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taxonomy_strategies import taxonomies

from hmic_keras.errors import TaxonomyError
from hmic_keras.taxonomy import Taxonomy

SIMPLE = st.sampled_from("abcdefgh")

# Two strands that share a class, a skip link, a childless class and a middle level.
STAGE = Taxonomy.from_dict(
    {
        "name": "stage",
        "provenance": "made up",
        "levels": ["fine", "mid", "top"],
        "classes": {
            "fine": ["violin", "piano", "organ", "snare", "kazoo"],
            "mid": ["bowed", "keys", "empty"],
            "top": ["strings", "winds", "drums"],
        },
        "parents": {
            "fine": {
                "violin": ["bowed"],
                "piano": ["keys", "top:strings"],
                "organ": ["keys"],
                "snare": ["top:drums"],
            },
            "mid": {"bowed": ["strings"], "keys": ["winds"]},
        },
        "attributes": {"fine": {"violin": {"n": 40}, "organ": {"n": 19}}},
    }
)


def descents(taxonomy):
    """Every pair of a class and an ancestor, from the masks."""
    found = set()
    for number, child in enumerate(taxonomy.levels):
        for parent in taxonomy.levels[number + 1 :]:
            for p, c in np.argwhere(taxonomy.mask(parent, child)):
                above, below = taxonomy.classes(parent)[p], taxonomy.classes(child)[c]
                found.add(((child, below), (parent, above)))
    return found


def members(taxonomy):
    return {(level, name) for level in taxonomy.levels for name in taxonomy.classes(level)}


def in_order(part, whole):
    return [name for name in whole if name in set(part)] == list(part)


def test_a_subset_keeps_ancestors_and_drops_what_is_empty():
    part = STAGE.subset(["snare", "organ"])
    assert part.levels == ("fine", "mid", "top")
    assert part.classes("fine") == ("organ", "snare")
    assert part.classes("mid") == ("keys",)
    assert part.classes("top") == ("winds", "drums")
    assert part.parents("snare", "fine") == (("top", "drums"),)
    assert (part.name, part.provenance) == ("stage", "made up")
    assert part.attributes("fine")["organ"] == {"n": 19}
    assert "violin" not in part.to_dict()["attributes"]["fine"]
    # Nothing of the middle level is left, and then no level above either.
    assert STAGE.subset(["snare"]).levels == ("fine", "top")
    assert STAGE.subset(["kazoo"]).levels == ("fine",)


def test_a_subset_of_a_coarser_level_keeps_what_is_below():
    part = STAGE.subset(["keys"], level="mid")
    assert part.classes("mid") == ("keys",)
    assert part.classes("fine") == ("piano", "organ")
    assert part.classes("top") == ("strings", "winds")
    assert part.parents("piano", "fine") == (("mid", "keys"), ("top", "strings"))
    assert STAGE.subset(["empty"], level="mid").levels == ("mid",)
    assert STAGE.subset(["drums"], level="top").classes("fine") == ("snare",)


def test_a_subset_bridges_a_class_left_out():
    # Of the top level only "winds" is kept, and "keys" below it; piano keeps that descent.
    part = STAGE.subset(["winds"], level="top")
    assert part.parents("piano", "fine") == (("mid", "keys"),)
    shared = Taxonomy.from_dict(
        {
            "levels": ["a", "b", "c"],
            "classes": {"a": ["x"], "b": ["p", "q"], "c": ["r"]},
            "parents": {"a": {"x": ["p", "q"]}, "b": {"q": ["r"], "p": []}},
        }
    )
    assert shared.subset(["p"], level="b").parents("x", "a") == (("b", "p"), ("c", "r"))


@given(taxonomies(names=SIMPLE, max_classes=5), st.data())
@settings(max_examples=80, deadline=None)
def test_subsets_keep_every_descent_among_their_classes(taxonomy, data):
    level = data.draw(st.sampled_from(taxonomy.levels))
    chosen = data.draw(
        st.lists(st.sampled_from(taxonomy.classes(level)), min_size=1, unique=True)
    )
    part = taxonomy.subset(chosen, level=level)
    kept = members(part)
    whole = descents(taxonomy)
    assert descents(part) == {(c, p) for c, p in whole if c in kept and p in kept}
    wanted = {(level, name) for name in chosen}
    wanted |= {child for child, parent in whole if parent in wanted}
    coarser = taxonomy.levels[taxonomy.levels.index(level) + 1 :]
    wanted |= {p for c, p in whole if c in wanted and p[0] in coarser}
    assert kept == wanted
    for one in part.levels:
        assert in_order(part.classes(one), taxonomy.classes(one))
    assert part.subset(chosen, level=level) == part


def test_a_bridge_that_other_links_imply_is_not_built():
    taxonomy = Taxonomy.from_dict(
        {
            "levels": ["a", "b", "c", "d"],
            "classes": {"a": ["x", "y"], "b": ["p"], "c": ["q"], "d": ["r"]},
            "parents": {
                "a": {"x": ["p", "c:q"], "y": ["p"]},
                "b": {"p": ["d:r"]},
                "c": {"q": ["r"]},
            },
        }
    )
    part = taxonomy.with_levels(["d", "a", "c"])
    assert part.parents("x", "a") == (("c", "q"),)
    assert part.parents("y", "a") == (("d", "r"),)


@given(taxonomies(names=SIMPLE), st.data())
@settings(max_examples=40, deadline=None)
def test_fewer_levels_keep_every_descent_between_them(taxonomy, data):
    levels = data.draw(st.lists(st.sampled_from(taxonomy.levels), min_size=1, unique=True))
    part = taxonomy.with_levels(levels)
    assert part.levels == tuple(level for level in taxonomy.levels if level in levels)
    assert members(part) == {key for key in members(taxonomy) if key[0] in levels}
    whole = descents(taxonomy)
    assert descents(part) == {(c, p) for c, p in whole if {c[0], p[0]} <= set(levels)}
    assert taxonomy.with_levels(taxonomy.levels) == taxonomy
    # No link is given that others imply, unless it was given before.
    for level in part.levels:
        for name in part.classes(level):
            direct = set(part.parents(name, level))
            implied = {p for parent in direct for c, p in descents(part) if c == parent}
            assert direct & implied <= set(taxonomy.parents(name, level))


@given(taxonomies(names=SIMPLE, max_classes=5), st.data())
@settings(max_examples=80, deadline=None)
def test_two_subsets_merge_into_the_subset_of_both(taxonomy, data):
    level = taxonomy.levels[0]
    some = st.lists(st.sampled_from(taxonomy.classes(level)), min_size=1, unique=True)
    first, second = data.draw(some), data.draw(some)
    parts = [taxonomy.subset(chosen) for chosen in (first, second)]
    if parts[0].levels != parts[1].levels:
        with pytest.raises(TaxonomyError, match=r"same levels"):
            parts[0].merge(parts[1])
        return
    merged = parts[0].merge(parts[1], name="both")
    both = taxonomy.subset({*first, *second})
    assert members(merged) == members(both)
    assert descents(merged) == descents(both)
    for one in merged.levels:
        size = len(parts[0].classes(one))
        assert merged.classes(one)[:size] == parts[0].classes(one)
        assert dict(merged.attributes(one)) == dict(both.attributes(one))
    assert merged.name == "both"
    assert taxonomy.merge(taxonomy) == taxonomy


def test_merging_joins_names_provenance_and_attributes():
    def one(name, **attributes):
        return Taxonomy.from_dict(
            {
                "name": name,
                "provenance": f"from {name}",
                "levels": ["fine", "coarse"],
                "classes": {"fine": [name, "both"], "coarse": ["g"]},
                "parents": {"fine": {name: ["g"], "both": ["g"]}},
                "attributes": {"fine": {"both": attributes}},
            }
        )

    merged = one("a", n=1, x="x").merge(one("b", n=1, y="y"))
    assert merged.name == "a+b"
    assert merged.provenance == "from a\nfrom b"
    assert merged.classes("fine") == ("a", "both", "b")
    assert merged.attributes("fine")["both"] == {"n": 1, "x": "x", "y": "y"}
    with pytest.raises(TaxonomyError, match=r"other attributes .*fine:both n 1 and 2"):
        one("a", n=1).merge(one("b", n=2))


def test_conflicts_of_a_merge_are_named():
    names = [f"c{i}" for i in range(8)]
    first = Taxonomy.from_dict({"a": names, "b": ["z"]})
    second = Taxonomy.from_dict({"b": names, "a": ["z"]})
    with pytest.raises(TaxonomyError) as caught:
        first.merge(second)
    assert "fine:c0 [coarse:a] and [coarse:b]" in str(caught.value)
    assert "and 4 more" in str(caught.value)
    with pytest.raises(TaxonomyError, match=r"same levels .*: fine, coarse .* and a "):
        first.merge(Taxonomy.from_dict({"levels": ["a"], "classes": {"a": ["x"]}}))
    with pytest.raises(TaxonomyError, match="'other' must be a Taxonomy"):
        first.merge({"a": ["x"]})
    with pytest.raises(TaxonomyError, match="name must be printable"):
        first.merge(first, name="a:b")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: STAGE.subset([]), "'classes' must hold at least one name"),
        (lambda: STAGE.subset("violin"), "'classes' must be a list of names.*'violin'"),
        (lambda: STAGE.subset(["violn"]), "no class 'violn'.*'violin'"),
        (lambda: STAGE.subset([3]), "no class 3"),
        (lambda: STAGE.subset(["violin"], level="top"), "Level 'top' .* no class 'violin'"),
        (lambda: STAGE.subset(["violin"], level="x"), "no level 'x'"),
        (lambda: STAGE.with_levels([]), "'levels' must hold at least one name"),
        (lambda: STAGE.with_levels("fine"), "'levels' must be a list of names"),
        (lambda: STAGE.with_levels(["fine", "x"]), "no level 'x'"),
    ],
)
def test_unusable_choices_are_refused(ask, message):
    with pytest.raises(TaxonomyError, match=message):
        ask()
