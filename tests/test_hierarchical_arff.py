"""Tests of `hmic_keras.data.sources.hierarchical_arff`, on small texts in the format."""

import numpy as np
import pytest

from hmic_keras.data import FeatureSet
from hmic_keras.data.sources.hierarchical_arff import PUBLISHED, read_arff, read_published
from hmic_keras.errors import HmicError, LabelError

TREE = """% a comment
@RELATION 'toy tree'

@ATTRIBUTE loudness                numeric
@ATTRIBUTE 'two words'\tREAL
@ATTRIBUTE key {minor, major}
@ATTRIBUTE cy3_0point02%_point NUMERIC
@ATTRIBUTE class hierarchical winds,winds/brass,winds/brass/horn,strings,strings/viola,bells/cow
@DATA
0.5,1,minor,-1e1,winds/brass/horn@strings   % labelled to a leaf and to an inner class
?,2,?,3,winds/brass

1.5,?,major,4,bells/cow@strings/viola
"""

LINKS = "root/GO0003674,root/GO0008150,GO0003674/a,GO0008150/b,a/c,b/c,c/d,a/d,GO0003674/e"
DAG = f"""@relation toy
@attribute x numeric
@attribute class hierarchical {LINKS}
@data
1,d
2,c@e
3,GO0008150
4,b
"""


def write(folder, text, name="toy.arff"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def names(rows, level):
    classes = rows.taxonomy.classes(level)
    return [{classes[i] for i in np.flatnonzero(row)} for row in rows.labels[level]]


def test_a_tree_of_uneven_depth_has_a_level_for_each_depth(tmp_path):
    rows = read_arff(write(tmp_path, TREE))
    taxonomy = rows.taxonomy
    assert taxonomy.levels == ("depth_3", "depth_2", "depth_1")
    assert taxonomy.classes("depth_1") == (
        "winds",
        "strings",
        "bells",
    )  # the last one from a path
    assert taxonomy.classes("depth_2") == ("winds/brass", "strings/viola", "bells/cow")
    assert taxonomy.classes("depth_3") == ("winds/brass/horn",)
    assert taxonomy.parents("winds/brass/horn", "depth_3") == (("depth_2", "winds/brass"),)
    assert taxonomy.children("bells/cow", "depth_2") == ()
    assert names(rows, "depth_1") == [{"winds", "strings"}, {"winds"}, {"bells", "strings"}]
    assert names(rows, "depth_2") == [
        {"winds/brass"},
        {"winds/brass"},
        {"bells/cow", "strings/viola"},
    ]
    assert names(rows, "depth_3") == [{"winds/brass/horn"}, set(), set()]
    # An example that ends at an inner class lacks what is below it: nothing is unobserved.
    assert all((values >= 0).all() for values in rows.labels.values())


def test_attributes_become_columns(tmp_path):
    rows = read_arff(write(tmp_path, TREE))
    nan = float("nan")
    expected = [[0.5, 1, 1, 0, -10], [nan, 2, 0, 0, 3], [1.5, nan, 0, 1, 4]]
    np.testing.assert_array_equal(rows.features, np.array(expected, np.float32))


def test_a_dag_has_its_longest_paths_for_levels_and_no_root(tmp_path):
    rows = read_arff(write(tmp_path, DAG))
    taxonomy = rows.taxonomy
    assert taxonomy.levels == ("depth_3", "depth_2", "depth_1")
    assert taxonomy.classes("depth_1") == ("a", "b", "e")
    assert taxonomy.parents("c", "depth_2") == (("depth_1", "a"), ("depth_1", "b"))
    assert taxonomy.parents("d", "depth_3") == (("depth_2", "c"), ("depth_1", "a"))
    assert names(rows, "depth_1") == [{"a", "b"}, {"a", "b", "e"}, set(), {"b"}]
    assert names(rows, "depth_2") == [{"c"}, {"c"}, set(), set()]
    assert names(rows, "depth_3") == [{"d"}, set(), set(), set()]


def test_the_kind_of_hierarchy_can_be_said(tmp_path):
    path = write(tmp_path, DAG.replace("root/GO0003674,root/GO0008150,", "").replace("GO", "X"))
    assert read_arff(path, "dag").taxonomy.classes("depth_1")[:2] == ("X0003674", "X0008150")
    with pytest.raises(LabelError, match=r"line 5: the hierarchy has no class 'd'"):
        read_arff(path)
    with pytest.raises(HmicError, match=r"`hierarchy` must be .*Received: 'graph'"):
        read_arff(path, "graph")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.5,1,minor", "loud,1,minor", r"line 10: attribute 'loudness' must be a number"),
        ("0.5,1,minor", "inf,1,minor", r"line 10: attribute 'loudness' must be a number"),
        ("0.5,1,minor", "0.5,1,dorian", r"line 10: attribute 'key' must be one of"),
        ("0.5,1,minor", "0.5,minor", r"line 10: must have 5 values.*Received: 4"),
        ("-1e1,winds/brass/horn", "-1e1,winds/tuba", r"line 10: .* no class 'winds/tuba'"),
        ("numeric\n", "date\n", r"line 4: an attribute must be numeric"),
        ("@ATTRIBUTE class hier", "@ATTRIBUTE class {a}\n@ATTRIBUTE x hier", None),
        ("@DATA", "@DUTY", r"line 9: must start with @relation"),
        ("@ATTRIBUTE key {minor, major}", "@ATTRIBUTE key", r"line 6: must be '@attr"),
        (",bells/cow\n", ",\n", r"line 8: a class has no name"),
        ("hierarchical winds", "string winds", r"line 8: an attribute must be numeric"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line(tmp_path, old, new, message):
    assert old in TREE
    path = write(tmp_path, TREE.replace(old, new, 1))
    with pytest.raises(LabelError, match=message or r"line 11: must have 6 values"):
        read_arff(path)


def test_other_faults_are_named(tmp_path):
    with pytest.raises(LabelError, match="no such file"):
        read_arff(tmp_path / "none.arff")
    with pytest.raises(LabelError, match=r"examples after @data\. Received: .* 0 examples"):
        read_arff(write(tmp_path, TREE.split("0.5,1,minor")[0]))
    with pytest.raises(LabelError, match=r"must not form a cycle"):
        read_arff(write(tmp_path, DAG.replace("GO0003674/a", "d/a,GO0003674/a")))
    with pytest.raises(LabelError, match=r"a link of a DAG must be written parent/child"):
        read_arff(write(tmp_path, DAG.replace("GO0003674/a", "GO0003674/a/f")))
    late = TREE.replace("@DATA", "@ATTRIBUTE more numeric\n@DATA")
    with pytest.raises(LabelError, match="line 9: the hierarchical attribute must be the last"):
        read_arff(write(tmp_path, late))
    (tmp_path / "toy.arff").write_bytes(b"@RELATION \xff\xfe")
    with pytest.raises(LabelError, match="is not UTF-8 text"):
        read_arff(tmp_path / "toy.arff")


def test_published_sets_are_found_by_their_names(tmp_path):
    folder = tmp_path / "HMC_data" / "others"
    folder.mkdir(parents=True)
    write(folder, TREE, "Enron_corr_trainvalid.arff")
    with pytest.raises(LabelError, match=r"must hold Enron_corr_test\.arff once"):
        read_published("enron", tmp_path)
    write(folder, TREE, "Enron_corr_test.arff")
    splits = read_published("enron", tmp_path)
    assert (len(splits.train), splits.valid, len(splits.test)) == (3, None, 3)
    for part in ("train", "valid", "test"):
        write(tmp_path, DAG, f"spo_GO.{part}.arff")
    splits = read_published("spo_GO", tmp_path)
    assert len(splits.valid) == 4
    assert len(PUBLISHED) == 23
    with pytest.raises(LabelError, match=r"`name` must be one of .*Received: 'yeast'"):
        read_published("yeast", tmp_path)


def test_parts_of_different_hierarchies_are_refused(tmp_path):
    write(tmp_path, TREE, "Enron_corr_trainvalid.arff")
    write(tmp_path, TREE.replace(",strings,", ",strings,drums,"), "Enron_corr_test.arff")
    with pytest.raises(LabelError, match="must share one taxonomy"):
        read_published("enron", tmp_path)


def test_missing_values_are_filled_and_columns_scaled_as_published(tmp_path):
    """Against scikit-learn's imputer and scaler, fitted on training and validation part."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    from hmic_keras.data import FeatureSplits

    taxonomy = read_arff(write(tmp_path, DAG)).taxonomy
    random = np.random.default_rng(0)

    def part(rows):
        x = random.normal(3, 5, (rows, 6)).astype(np.float32)
        x[random.random(x.shape) < 0.2] = np.nan
        x[:, 5] = 7
        return FeatureSet(taxonomy, x, {"depth_1": np.zeros((rows, 3))})

    splits = FeatureSplits("toy", train=part(30), valid=part(10), test=part(8))
    scaled = splits.standardise()
    seen = np.concatenate([splits.train.features, splits.valid.features])
    imputer = SimpleImputer().fit(seen)
    scaler = StandardScaler().fit(imputer.transform(seen))
    for name in ("train", "valid", "test"):
        expected = scaler.transform(imputer.transform(getattr(splits, name).features))
        np.testing.assert_allclose(getattr(scaled, name).features, expected, atol=1e-5)
