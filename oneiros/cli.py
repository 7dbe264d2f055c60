"""The command `oneiros`: it runs Keras scripts with Oneiros, and says what is installed.

`run` reads `import keras` as `import oneiros`, in the script and in all that it imports. The script
is otherwise run as `python script.py` runs it: same arguments, same `__main__`, same tracebacks,
same exit codes. Nothing heavy is imported before the script, which may still choose a backend by an
environment variable.
"""

from __future__ import annotations

import argparse
import builtins
import importlib
import importlib.machinery
import importlib.util
import io
import os
import platform
import sys
import types

import oneiros
from oneiros.stand_in import read_keras_as_oneiros

__all__ = ["info", "kernels", "main", "run_script", "setup"]

USAGE = """\
usage: oneiros run SCRIPT [ARGUMENT ...]   run a Keras script, unchanged, with Oneiros
       oneiros info                        version, backends and devices
       oneiros info --backend NAME         what the backend computes itself
       oneiros setup NAME                  fetch what the backend needs beside Python packages
       oneiros --help | --version

`python -m oneiros` does the same, and takes `python -m oneiros SCRIPT` for `run`.

In a script that is run this way `import keras`, `from keras import layers`,
`import keras.ops as ops` and the like give Oneiros. The backend is chosen as always:
ONEIROS_BACKEND, else KERAS_BACKEND, else Keras's settings file, else jax.

examples:
  oneiros run train.py --epochs 3
  ONEIROS_BACKEND=numpy oneiros run train.py
"""
# The package that a backend needs, where it has another name; CNTK's is in a Python of its own.
FRAMEWORKS = {"dl4j": "jpype", "cntk": "numpy"}


def main(arguments=None):
    """The exit code of the command with these arguments, those of the process if None."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if command == "--version":
        print(f"oneiros {oneiros.version()}")
        return 0
    if command == "info":
        parser = argparse.ArgumentParser("oneiros info", description=info.__doc__)
        parser.add_argument("--backend", metavar="NAME", help="what this backend computes itself")
        name = parser.parse_args(rest).backend
        return info() if name is None else kernels(name)
    if command == "setup" and len(rest) == 1:
        return setup(*rest)
    if command == "run" and rest:
        if rest[0] in ("-h", "--help"):
            print(USAGE, end="")
            return 0
        return run_script(*rest)
    if command.endswith(".py") or os.path.isfile(command):
        return run_script(command, *rest)
    if command == "run":
        return _refuse("run needs a script")
    return _refuse(f"there is no command {command!r}; there are run, info and setup")


def _refuse(why):
    print(f"oneiros: {why}\n\n{USAGE}", end="", file=sys.stderr)
    return 2


# Scripts ------------------------------------------------------------------------------------------
def run_script(path, *arguments):
    """Run the script at `path` as `__main__`, with `keras` meaning Oneiros; errors pass through."""
    full = os.path.abspath(path)
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as error:
        print(f"oneiros: can't open file {full!r}: {error.strerror}", file=sys.stderr)
        return 2
    read_keras_as_oneiros()
    module = types.ModuleType("__main__")
    module.__dict__.update(
        __file__=path, __builtins__=builtins, __cached__=None, __annotations__={}
    )
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    run_script.launcher = sys.modules["__main__"]  # its functions are still running
    sys.modules["__main__"] = module
    sys.argv = [path, *arguments]
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    sys.excepthook = _without_launcher(sys.excepthook, module.__dict__)
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    return 0


def _without_launcher(show, namespace):
    """`show`, for tracebacks that begin in the script."""

    def hook(kind, error, traceback):
        while traceback is not None and traceback.tb_frame.f_globals is not namespace:
            traceback = traceback.tb_next
        show(kind, error.with_traceback(traceback), traceback)

    return hook


# What is here -------------------------------------------------------------------------------------
def info():
    """Print the version, the backends found, and the devices of the session's backend."""
    import numpy
    from rich.console import Console
    from rich.table import Table

    from oneiros.core import backend, config

    chosen = config.backend()
    table = Table(title=f"Oneiros {oneiros.version()}", title_justify="left")
    for heading in ("backend", "state", "devices"):
        table.add_column(heading)
    for name in dict.fromkeys((*(n for n in config.BACKENDS if n not in backend.ALIASES), chosen)):
        state, devices = _state(name), ""
        if name == chosen and state == "ready":
            try:
                devices = ", ".join(backend.load(name).devices())
            except Exception as error:  # a broken installation is to be shown, not to end the table
                state = f"does not load: {error}"
        mark = " (this session's)" if name == chosen else ""
        table.add_row(f"{name}{mark}", state, devices, style="bold" if mark else "")
    console = Console()
    console.print(table)
    console.print(
        f"Python {platform.python_version()}, NumPy {numpy.__version__}, {platform.platform()}"
    )
    return 0


def kernels(name):
    """Print how many primitives the backend has kernels for, and what becomes of the others."""
    from oneiros.core import backend
    from oneiros.core.primitive import PRIMITIVES

    try:
        found = backend.load(name)
    except (ImportError, ValueError) as error:
        print(f"oneiros: {error}", file=sys.stderr)
        return 1
    refused = sorted(n for n, target in PRIMITIVES.items() if target not in found.primitives)
    elsewhere = found.in_numpy()
    own = len(PRIMITIVES) - len(refused) - len(elsewhere)
    print(f"backend {found.name}: {own} of {len(PRIMITIVES)} primitives are its own")
    for names, what in ((elsewhere, "run in NumPy between its parts"), (refused, "are refused")):
        if names:
            print(f"{len(names)} {what}: {', '.join(names)}")
    return 0


def setup(name):
    """Fetch what the backend `name` needs beside Python packages; the exit code."""
    from oneiros.core import backend, config

    name = backend.ALIASES.get(name, name)
    if name not in config.BACKENDS:
        return _refuse(f"there is no backend {name!r}; there are {', '.join(config.BACKENDS)}")
    module = f"oneiros.backends.{name}_setup"
    if importlib.util.find_spec(module) is None:
        print(f"backend {name} needs Python packages only: pip install 'oneiros[{name}]'")
        return 0
    try:
        importlib.import_module(module).setup()
    except RuntimeError as error:
        print(f"oneiros: {error}", file=sys.stderr)
        return 1
    return 0


def _state(name):
    """Whether the backend could be loaded, found out without importing it."""
    from importlib import metadata

    if importlib.util.find_spec(f"oneiros.backends.{name}") is None:
        if metadata.entry_points(group="oneiros.backends", name=name):
            return "ready"
        return "not in this version"
    package = FRAMEWORKS.get(name, name)
    if not importlib.util.find_spec(package):
        return f"needs the package {package}"
    module = f"oneiros.backends.{name}_setup"
    if importlib.util.find_spec(module) and not importlib.import_module(module).home().exists():
        return f"needs `oneiros setup {name}`"
    return "ready"
