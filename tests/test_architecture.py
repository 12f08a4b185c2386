"""The rules of the house, checked on the source."""

import ast
import pathlib
import subprocess
import sys

import lrpet_tf

ROOT = pathlib.Path(lrpet_tf.__file__).parent
ORDER = [
    "version", "errors", "quiet", "files", "data", "report", "linalg", "decompositions", "layers", "adapters", "graph",
    "litert", "costs", "ranks", "plan", "planning", "analysis", "methods", "training", "search",
]  # fmt: skip
# These stand beside the line and may use only what is named.
ALLOWED = {
    "factorization": {
        "errors",
        "linalg",
        "decompositions",
        "layers",
        "adapters",
        "graph",
        "costs",
        "ranks",
        "plan",
        "planning",
        "report",
    },
    "export": {"version", "errors", "files", "data", "report", "adapters", "graph", "litert", "costs", "ranks", "plan"},
    "interop": {"errors", "quiet", "files", "data", "report", "adapters", "graph", "litert", "ranks", "export"},
    "report": {"errors", "files"},
    "cli": {*ORDER, "factorization", "export"},
    "__main__": {"cli"},
}
LIGHT = {"keras", "numpy"} | set(sys.stdlib_module_names)


def _imports(node):
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names if child.module == "lrpet_tf")


def _modules():
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__":
            yield path, room, ast.parse(path.read_text())


def test_imports_go_left_to_right():
    wrong = []
    for path, room, tree in _modules():
        for name in _imports(tree):
            parts = name.split(".")
            if parts[0] != "lrpet_tf" or len(parts) < 2 or parts[1] == room:
                continue
            if room in ALLOWED:
                allowed = parts[1] in ALLOWED[room]
            else:
                allowed = parts[1] in ORDER and ORDER.index(parts[1]) < ORDER.index(room)
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_every_room_has_its_place():
    rooms = {room for _, room, _ in _modules()}
    assert rooms == set(ORDER) | set(ALLOWED)


def test_only_keras_and_numpy_at_import_time():
    heavy = []
    for path, _, tree in _modules():
        top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = [name.split(".")[0] for node in top for name in _imports(node)]
        heavy += [f"{path.relative_to(ROOT)}: {name}" for name in names if name not in LIGHT | {"lrpet_tf"}]
    assert not heavy


def test_importing_loads_no_optional_package():
    optional = [
        "ai_edge_litert",
        "matplotlib",
        "sklearn",
        "tensorflow_datasets",
        "optuna",
        "scipy.linalg",
        "tf_keras",
        "tensorflow_model_optimization",
    ]
    code = f"import sys, keras; before = set(sys.modules); import lrpet_tf; print({{*{optional}}} & {{*sys.modules}} - before)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_layer_types_are_named_in_the_adapters_alone():
    """No isinstance ladder over Keras layers grows outside of adapters/ and the layers themselves."""
    wrong = []
    for path, room, tree in _modules():
        if room in ("adapters", "layers"):
            continue
        for node in ast.walk(tree):
            named = isinstance(node, ast.Attribute) and node.attr in {
                "Conv2D",
                "Dense",
                "BatchNormalization",
                "DepthwiseConv2D",
            }
            if named:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}")
    assert not wrong


def test_the_public_names_exist_and_are_documented():
    for name in lrpet_tf.__all__:
        value = getattr(lrpet_tf, name)
        assert name.startswith("__") or value.__doc__, name
