"""The floors of the package, read from its imports, and what its code never does."""

import ast
import graphlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import hmic_keras

PACKAGE = Path(hmic_keras.__file__).parent
ROOT = "hmic_keras"

# The longest matching name decides. A package's own `__init__` stands where its modules do.
FLOORS = {
    "errors": 0,
    "_files": 0,
    "_mel": 0,
    "_tflite_file": 0,
    "_tflite_metadata": 0,
    "_versions": 0,
    "config": 0,
    "_links": 0,
    "metrics": 0,
    "recipe": 0,
    "recipes": 0,
    "pseudo_labels": 0,
    "taxonomy": 0,
    "taxonomies": 0,
    "label_map": 0,
    "_label_closure": 0,
    "_taxonomy_edit": 0,
    "_taxonomy_files": 0,
    "_taxonomy_forms": 0,
    "_taxonomy_tables": 0,
    "_taxonomy_tree": 0,
    "layers": 1,
    "losses": 1,
    "streaming_metrics": 1,
    "hierarchical_model": 1,
    "data": 1,
    "data.pipeline": 2,
    "data._graph_files": 2,
    "backbones": 2,
    "heads": 2,
    "models": 2,
    "calibration": 2,
    "ensembles": 2,
    "zoo": 2,
    "training": 3,
    "_backends": 3,
    "inference": 3,
    "batch": 4,
    "export": 3,
    "evaluation": 4,
    "explain": 4,
    "fine_tuning": 4,
    "demo": 4,
    "model_card": 4,
    "publishing": 4,
    "cli": 5,
}
HEAVY = {"tensorflow", "keras", "tf_keras", "tensorflow_io"}


@dataclass(frozen=True)
class Import:
    """One imported module or name, as `importer` wrote it on `line`."""

    importer: str
    target: str
    line: int
    top_level: bool

    def __str__(self):
        return f"{self.importer}:{self.line} imports {self.target}"


def module_name(path):
    parts = (ROOT, *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}


def for_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(tree, top_level=True):
    """Every import statement but those for type checkers, and whether it runs on import."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, top_level
        elif for_type_checking(node):
            for other in node.orelse:
                yield from statements(other, top_level)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from statements(node, top_level and not inside)


def imports(name):
    """What a module imports: the full name of a module, or of a name in it."""
    for node, top_level in statements(TREES[name]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno, top_level)
            continue
        base = node.module or ""
        if node.level:
            package = name.split(".")
            if FILES[name].name != "__init__.py":
                package = package[:-1]
            package = package[: len(package) - node.level + 1]
            base = ".".join([*package, *([node.module] if node.module else [])])
        for alias in node.names:
            yield Import(name, f"{base}.{alias.name}", node.lineno, top_level)


IMPORTS = {name: list(imports(name)) for name in TREES}
OWN = [one for found in IMPORTS.values() for one in found if one.target.split(".")[0] == ROOT]


def module_of(target):
    """The module that a dotted target is, or is defined in."""
    while target not in FILES:
        target = target.rpartition(".")[0]
    return target


def floor(module):
    """The floor of a module; the package root has none, being a lazy list of names."""
    parts = module.split(".")[1:]
    while parts:
        if ".".join(parts) in FLOORS:
            return FLOORS[".".join(parts)]
        parts.pop()
    return None


def test_the_reader_sees_what_is_there():
    assert len(FILES) > 30
    targets = {one.target for one in OWN if one.importer == "hmic_keras.heads.f2ca"}
    assert "hmic_keras.layers.FineToCoarseAttention" in targets
    assert "hmic_keras.heads._common.children_of" in targets
    inside = [one for one in IMPORTS["hmic_keras.export.tflite"] if not one.top_level]
    assert "tensorflow" in {one.target for one in inside}
    assert module_of("hmic_keras.layers.FineToCoarseAttention") == "hmic_keras.layers"


def test_every_module_has_a_floor():
    homeless = [name for name in FILES if name != ROOT and floor(name) is None]
    assert homeless == []


def test_no_module_imports_from_a_higher_floor():
    breaches = [
        str(one)
        for one in OWN
        if (above := floor(module_of(one.target))) is not None
        and one.importer != ROOT
        and above > floor(one.importer)
    ]
    assert breaches == []


def test_nothing_private_is_imported_from_outside_its_package():
    breaches = []
    for one in OWN:
        parts = one.target.split(".")
        for i, part in enumerate(parts):
            owner = ".".join(parts[:i])
            private = part.startswith("_") and not part.endswith("__")
            # A module's private name belongs to the module, a package's to all inside it.
            if owner in FILES and FILES[owner].name != "__init__.py":
                inside = one.importer == owner
            else:
                inside = one.importer == owner or one.importer.startswith(owner + ".")
            if private and not inside:
                breaches.append(str(one))
    assert breaches == []


def test_no_cycle_among_imports_at_the_top_level():
    graph = {name: set() for name in FILES}
    for one in OWN:
        if one.top_level:
            target = module_of(one.target)
            # `from . import name` within a package needs the module it names, not the whole.
            if target != one.importer and not one.importer.startswith(target + "."):
                graph[one.importer].add(target)
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == set(FILES)


def heavy(name):
    return [str(one) for one in IMPORTS[name] if one.target.split(".")[0] in HEAVY]


def test_the_ground_floor_never_imports_tensorflow_or_keras():
    names = [name for name in FILES if floor(name) == 0]
    assert len(names) >= 5
    assert [one for name in names for one in heavy(name)] == []


def test_layers_know_no_taxonomy():
    names = [name for name in FILES if name.startswith(f"{ROOT}.layers.")]
    assert len(names) >= 5
    targets = {module_of(one.target) for one in OWN if one.importer in names}
    outside = {target for target in targets if not target.startswith(f"{ROOT}.layers")}
    # Plain NumPy, shared with those who run a model without Keras.
    assert outside <= {f"{ROOT}._mel"}


def test_layers_reach_tensorflow_in_one_place_and_only_when_it_runs():
    names = [name for name in FILES if name.startswith(f"{ROOT}.layers.")]
    found = [
        one
        for name in names
        for one in IMPORTS[name]
        if one.target.split(".")[0] == "tensorflow"
    ]
    assert {one.importer for one in found} == {f"{ROOT}.layers._tensorflow"}
    assert not any(one.top_level for one in found)


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        (
            "import hmic_keras",
            [*HEAVY, "pandas", "sklearn", "scipy", "soundfile", "matplotlib"],
        ),
        (
            "import hmic_keras.taxonomy, hmic_keras.metrics, hmic_keras.config\n"
            "import hmic_keras.data, hmic_keras.data.audio\n"
            "hmic_keras.Taxonomy.load('openmic').tree()",
            [*HEAVY, "pandas", "sklearn", "matplotlib"],
        ),
    ],
    ids=["root", "ground_floor"],
)
def test_importing_loads_nothing_heavy(code, forbidden):
    report = f"import sys\nprint(*sorted(set(sys.modules) & set({forbidden})))"
    finished = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    assert finished.stdout.split() == []


def test_every_public_name_of_the_root_exists():
    for name in hmic_keras.__all__:
        assert getattr(hmic_keras, name) is not None
    assert set(hmic_keras.__all__) <= set(dir(hmic_keras))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hmic_keras.nothing


def places(matches):
    return [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if matches(node)
    ]


def calls(*names):
    def matches(node):
        return isinstance(node, ast.Call) and ast.unparse(node.func) in names

    return matches


def test_the_library_never_prints():
    assert places(calls("print", "builtins.print", "sys.stdout.write")) == []


def test_there_is_no_lambda_layer():
    names = ("Lambda", "layers.Lambda", "keras.layers.Lambda", "tf.keras.layers.Lambda")
    assert places(calls(*names)) == []


def test_the_library_never_asserts():
    assert places(lambda node: isinstance(node, ast.Assert)) == []


def test_no_exception_is_caught_blindly():
    def matches(node):
        if not isinstance(node, ast.ExceptHandler):
            return False
        blind = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
        raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        return blind and not raises

    assert places(matches) == []


@pytest.mark.xdist_group("one_process")
def test_tests_of_a_group_stay_in_one_process(request):
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("only with several processes and --dist loadgroup")
    # Where they do not, nothing else fails, and the costly fixtures are made in every process.
    assert request.node.nodeid.endswith("@one_process"), (
        "this pytest-xdist does not group with this pytest; install what setup.cfg asks for"
    )
