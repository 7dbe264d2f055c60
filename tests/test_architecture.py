"""How the library hangs together: who imports whom, where backends are named, what is loaded when.

Imports are read from the source (`ast`), so that those inside functions count too. A new room gets
a place in `ORDER`; an import inside a function that points upward, a row in `UPWARD`.
"""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

import oneiros
from oneiros.core.config import BACKENDS

ROOT = pathlib.Path(oneiros.__file__).parent
LINES = 67_000  # docs/architecture.md says why

# From the ground up; a room imports rooms on lines below its own.
ORDER = """
core
tree config backend
random
ops
activations initializers regularizers constraints dtype_policies quantizers
losses optimizers
mixed_precision metrics
utils
layers
callbacks saving
training
models
applications preprocessing datasets distillation export visualization wrappers legacy distribution
testing
stand_in
cli
__main__
"""
PLACE = {room: level for level, line in enumerate(ORDER.split("\n")) for room in line.split()}

# Imports inside functions, at the time of use, of rooms that are not below.
UPWARD = {
    ("saving", "models"): "names of ops in old files",
    ("core", "ops"): "a list of arrays is stacked, a symbol's operators are ops",
    ("core", "initializers"): "a variable's initializer may be given by name",
    ("utils", "callbacks"): "a download shows its progress",
    ("config", "dtype_policies"): "the default dtype policy is a setting",
}

# Framework and helper packages that the backends import, beside the standard library.
FRAMEWORKS = {
    "numpy",
    "scipy",
    "ml_dtypes",
    "jax",
    "torch",
    "tensorflow",
    "pytensor",
    "numba",
    "llvmlite",
    "cntk",
    "jpype",
}
OPTIONAL = {"jax", "torch", "tensorflow", "pytensor", "numba", "llvmlite", "cntk", "jpype", "keras"}

# Where a backend's name, or a word that looks like one, stands as a string outside the backends.
NAMED = {
    "core/config.py": "the list of names, and the default",
    "core/backend.py": "aliases, and whose array an unknown type is",
    "core/primitive.py": "constants of a trace are computed by the numpy backend",
    "core/op.py": "on numpy, plain arrays are the backend's own",
    "core/registry.py": "words of Keras's file format",
    "cli.py": "the packages that backends need",
    "stand_in.py": "the names under which Keras's modules are found",
    "models/op_names.py": "names of Keras's modules, as files hold them",
    "training/data_streams.py": "data sets of other frameworks, known by their class's package",
    "training/loops.py": "the method `.numpy()` of other frameworks' arrays",
    "datasets/sources.py": "NumPy's module, as pickles of arrays name it",
    "preprocessing/splitting.py": "names of other frameworks' data sets, as Keras has them",
    "layers/images/base.py": "what NumPy's pixels are changed by, compiled, on every backend",
    "models/feature_space.py": "the method `.numpy()` of other frameworks' arrays",
    "layers/normalization.py": "the method `.numpy()` of other frameworks' arrays",
    "testing/kit.py": "numpy is the reference that backends are held to",
}

# Primitives without a derivative, and why.
NO_DERIVATIVE = {
    "integer or boolean results": """bitcast floor_divide equal not_equal less less_equal greater
        greater_equal isfinite isnan isinf logical_not logical_and logical_or logical_xor
        bitwise_not bitwise_and bitwise_or bitwise_xor shift_left shift_right argmax argmin argsort
        reduce_any reduce_all""",
    "no inputs to differentiate by": "iota random_bits random_uniform random_normal",
    "moves by one representable number": "nextafter",
    "derivatives of higher order than any op needs": "polygamma1",
    "eigenvectors without a fixed scale and phase": "eig",
    "reverse mode needs a known number of steps: use scan": "while_loop",
}


@functools.cache
def modules():
    """Path within the library to syntax tree, for each file."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
        for path in sorted(ROOT.rglob("*.py"))
    }


def room_of(path):
    return path.partition("/")[0].removesuffix(".py")


@functools.cache
def imports():
    """Rows (file, imported name, whether inside a function) for every import statement."""
    rows = []

    def visit(file, node, inside):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                rows.extend((file, alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{file}: relative import"
                rows.extend((file, f"{child.module}.{a.name}", inside) for a in child.names)
            deeper = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            visit(file, child, inside or deeper)

    for file, tree in modules().items():
        visit(file, tree, False)
    return rows


def between_rooms():
    """Rows (file, its room, imported room, whether inside a function)."""
    for file, name, inside in imports():
        if name.startswith("oneiros."):
            source, target = room_of(file), name.split(".")[1]
            if (
                source not in (target, "__init__")
                and (ROOT / target).exists() | (ROOT / f"{target}.py").exists()
            ):
                yield file, source, target, inside


def test_every_room_has_a_place():
    rooms = {room_of(file) for file in modules()} - {"__init__", "backends"}
    assert rooms <= PLACE.keys(), "give new rooms a line in ORDER"


def test_rooms_import_rooms_below_them():
    wrong = [
        f"{file} imports {target}"
        for file, source, target, inside in between_rooms()
        if "backends" not in (source, target)
        and not PLACE[target] < PLACE[source]
        and not (inside and (source, target) in UPWARD)
    ]
    assert not wrong


def test_the_table_of_upward_imports_is_no_longer_than_needed():
    used = {(source, target) for _, source, target, inside in between_rooms() if inside}
    assert UPWARD.keys() <= used


def test_backends_import_core_and_their_framework_only():
    allowed = FRAMEWORKS | set(sys.stdlib_module_names)
    wrong = [
        f"{file} imports {name}"
        for file, name, _ in imports()
        if room_of(file) == "backends"
        and not name.startswith(("oneiros.core", "oneiros.backends"))
        and name.partition(".")[0] not in allowed
    ]
    assert not wrong


def test_backends_are_imported_by_nobody():
    wrong = [file for file, source, target, _ in between_rooms() if target == "backends"]
    assert not wrong


def test_only_backends_import_frameworks_and_nothing_imports_keras():
    wrong = [
        f"{file} imports {name}"
        for file, name, inside in imports()
        if (root := name.partition(".")[0]) in OPTIONAL
        and (root == "keras" or not inside)
        and (root == "keras" or room_of(file) != "backends")
    ]
    assert not wrong


def test_backends_are_named_in_few_places():
    found = set()
    for file, tree in modules().items():
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in docs and node.value in BACKENDS:
                found.add(file)
    found = {file for file in found if room_of(file) not in ("backends", "config", "testing")}
    assert found <= NAMED.keys(), "ask the backend for a capability, or give the reason in NAMED"


def test_every_primitive_has_a_derivative_or_a_reason():
    from oneiros.core import primitives
    from oneiros.core.primitive import PRIMITIVES

    known = {name for name, p in PRIMITIVES.items() if p is getattr(primitives, name, None)}
    without = {name for name in known if PRIMITIVES[name].vjp_rule is None}
    assert without == {name for names in NO_DERIVATIVE.values() for name in names.split()}


@pytest.mark.parametrize("statement", ["import oneiros", "from oneiros import layers, models, ops"])
def test_importing_loads_no_framework(statement):
    heavy = sorted((OPTIONAL | {"matplotlib", "pandas", "sklearn"}) - {"jpype"})
    check = f"{statement}; import sys; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_library_is_small():
    assert sum(len(path.read_text().splitlines()) for path in ROOT.rglob("*.py")) <= LINES
