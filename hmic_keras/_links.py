"""The links of a taxonomy, level by level."""

import numpy as np
from numpy.typing import NDArray

from .taxonomy import Taxonomy


def direct_links(taxonomy: Taxonomy) -> list[tuple[str, str, NDArray[np.int64]]]:
    """Lists `(parent level, child level, direct links)` where there are any links.

    Args:
        taxonomy: The hierarchy.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin", "cello"]})
        >>> [(parent, child, pairs.tolist()) for parent, child, pairs in direct_links(taxonomy)]
        [('coarse', 'fine', [[0, 0], [0, 1]])]
    """
    found = [
        (parent, child, taxonomy.direct_links(parent, child))
        for i, child in enumerate(taxonomy.levels)
        for parent in taxonomy.levels[i + 1 :]
    ]
    return [entry for entry in found if len(entry[2])]
