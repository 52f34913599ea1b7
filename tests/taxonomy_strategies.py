"""Taxonomies for property tests: any hierarchy, and names that file formats stumble over."""

from hypothesis import strategies as st

from hmic_keras.taxonomy import Taxonomy

# What YAML reads as no text, what CSV and YAML quote, what pandas reads as missing, any script.
AWKWARD = """
no null ~ 1 -1 1e3 0x1F 1_000 12.30 2020-01-01 true << = NaN NA None a,b say_"x" it's #x - ?
x_#y {a} [b] *x &x !t %p @q ` | > ' " '' ; a\\nb --- ... é 弦 𝄞 levels classes attributes
"""
AWKWARD = tuple(word.replace("_", " ") for word in AWKWARD.split())


def printable(max_size, *, ends=False):
    text = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=max_size)
    return text.filter(lambda value: value.isprintable() and (ends or value == value.strip()))


NAMES = st.one_of(
    st.sampled_from(AWKWARD), printable(4).filter(lambda name: name and ":" not in name)
)
LEVELS = st.sampled_from(["fine", "coarse", "1", "no", "level.2", "null", "0x1F", "classes"])
PROVENANCE = st.lists(printable(8, ends=True), max_size=3).map("\n".join)
ATTRIBUTE = st.one_of(
    printable(6, ends=True), st.sampled_from(AWKWARD), st.integers(-(10**17), 10**17)
)


@st.composite
def taxonomies(draw, max_levels=4, max_classes=4, names=NAMES, min_levels=1):
    """Draws levels, classes, and links with skip links, several parents and orphans."""
    levels = draw(st.lists(LEVELS, unique=True, min_size=min_levels, max_size=max_levels))
    size = {"min_size": 1, "max_size": max_classes}
    classes = {level: draw(st.lists(names, unique=True, **size)) for level in levels}
    parents, attributes = {}, {}
    for number, level in enumerate(levels):
        coarser = [f"{at}:{name}" for at in levels[number + 1 :] for name in classes[at]]
        if coarser:
            links = st.lists(st.sampled_from(coarser), unique=True, max_size=3)
            parents[level] = {name: draw(links) for name in classes[level]}
        if draw(st.booleans()):
            values = st.one_of(ATTRIBUTE, st.lists(ATTRIBUTE, max_size=2))
            given = st.dictionaries(NAMES, values, max_size=2)
            attributes[level] = {name: draw(given) for name in classes[level][:2]}
    return Taxonomy.from_dict(
        {
            "name": draw(NAMES),
            "provenance": draw(PROVENANCE),
            "levels": levels,
            "classes": classes,
            "parents": parents,
            "attributes": attributes,
        }
    )
