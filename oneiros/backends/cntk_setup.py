"""What CNTK needs, made once: a Python 3.6 with the last CNTK, apart from this process's own.

CNTK 2.7 was built for Python 3.6 and links to MPI, which it calls only to train on several machines.
Where there is a C compiler, a library of empty functions stands in for MPI.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["environment", "home", "interpreter", "setup"]

PACKAGES = (["numpy==1.16.6", "scipy==1.2.3"], ["--no-deps", "cntk==2.7.post2"])
PYTHON = "3.6.15"
MPI = ("libmpi.so.12", "libmpi_cxx.so.1")  # the names that CNTK asks for
SYSTEM_MPI = ("libmpi.so.40", "libmpi_cxx.so.40")  # Open MPI 3 and 4
NEEDED = re.compile(r"MPI_|ompi_|_Z.*3MPI\d")  # MPI's names in C, Open MPI's own, those in C++


def home():
    """The folder that `setup` makes."""
    root = os.environ.get("ONEIROS_HOME") or Path.home() / ".cache" / "oneiros"
    return Path(root).expanduser() / "cntk"


def interpreter():
    """The Python that has CNTK; ImportError if it is not set up."""
    python = home() / "bin" / "python"
    if not python.exists():
        raise ImportError(
            f"backend 'cntk' needs CNTK in a Python 3.6 of its own, which is not in {home()}: "
            "run `oneiros setup cntk` (the folder is chosen by ONEIROS_HOME)"
        )
    return str(python)


def environment(folder=None):
    """The variables of the process that runs CNTK: its libraries, and one thread."""
    folder = folder or home()
    libraries = [str(folder / "mpi"), os.environ.get("LD_LIBRARY_PATH", "")]
    found = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if _is_amd():
        found["MKL_DEBUG_CPU_TYPE"] = "5"  # or that MKL uses what every x86 has, and no more
    return found | {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }


def _is_amd():
    """Whether this is a processor with AVX2 that CNTK's MKL does not take for one."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "AuthenticAMD" in words and "avx2" in words


def setup(say=print):
    """Make the folder `home()`; RuntimeError says what is missing and how to get it."""
    if (home() / "bin" / "python").exists():
        say(f"CNTK is in {home()}")
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise RuntimeError("CNTK 2.7 is there for Linux on x86_64 only")
    python = _find_python(say)
    say(f"Python 3.6: {python}")
    home().parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="cntk-", dir=home().parent))
    try:
        say("making a virtual environment")
        _run([python, "-m", "venv", str(made)], "its package python3.6-venv may be missing")
        for packages in PACKAGES:
            say(f"installing {' '.join(packages)}")
            pip = [str(made / "bin" / "python"), "-m", "pip", "install", "-q"]
            _run([*pip, "--disable-pip-version-check", *packages], "pip's own settings apply here")
        _make_mpi(made, say)
        say("importing CNTK")
        _run([str(made / "bin" / "python"), "-W", "ignore", "-c", "import cntk"],
             "libraries of the system may be missing", environment(made))  # fmt: skip
        try:
            made.rename(home())
        except OSError:  # another process was first
            interpreter()
    finally:
        shutil.rmtree(made, ignore_errors=True)
    say(f"CNTK is in {home()}")


def _find_python(say):
    """The path of a Python 3.6: a setting, on PATH, or pyenv's, which is asked to build one."""
    chosen = os.environ.get("ONEIROS_PYTHON36")
    if chosen and not _is_python36(chosen):
        raise RuntimeError(f"ONEIROS_PYTHON36 is {chosen!r}, which is no Python 3.6 that runs")
    found = [chosen] if chosen else _pythons()
    if not found and shutil.which("pyenv"):
        say(f"building Python {PYTHON} with pyenv: minutes")
        _run(["pyenv", "install", "--skip-existing", PYTHON], "see pyenv's list of what it needs")
        found = _pythons()
    if not found:
        raise RuntimeError(
            "CNTK needs Python 3.6, and there is none on PATH or among pyenv's versions: install "
            f"pyenv and run `pyenv install {PYTHON}`, or set ONEIROS_PYTHON36 to the path of one"
        )
    return found[0]


def _pythons():
    root = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    of_pyenv = sorted(glob.glob(f"{root}/versions/3.6.*/bin/python3.6"), reverse=True)
    return list(filter(_is_python36, [shutil.which("python3.6"), *of_pyenv]))


def _is_python36(path):
    """Whether `path` is a Python 3.6: pyenv leaves files on PATH that run nothing."""
    check = "import sys; sys.exit(sys.version_info[:2] != (3, 6))"
    try:
        return (
            bool(path) and not subprocess.run([path, "-c", check], capture_output=True).returncode
        )
    except OSError:
        return False


def _make_mpi(folder, say):
    """Libraries with MPI's names in `folder / "mpi"`."""
    (folder / "mpi").mkdir()
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler and shutil.which("nm"):
        say("compiling what stands in for MPI")
        (folder / "mpi.c").write_text(_stubs(folder))
        library = folder / "mpi" / MPI[0]
        command = [compiler, "-shared", "-fPIC", "-w", "-o", str(library), str(folder / "mpi.c")]
        _run(command, "the C compiler does not work")
        shutil.copy(library, folder / "mpi" / MPI[1])
        return
    known = _run(["/sbin/ldconfig", "-p"], "ldconfig is missing")
    paths = [re.search(rf"{re.escape(n)} .*=> (\S+)", known) for n in SYSTEM_MPI]
    if not all(paths):
        raise RuntimeError(
            "CNTK needs a C compiler with `nm` (packages gcc and binutils), or Open MPI "
            "(package libopenmpi3 or libopenmpi3t64): none of them is here"
        )
    for name, path in zip(MPI, paths):
        (folder / "mpi" / name).symlink_to(path[1])


def _stubs(folder):
    """C code that defines what CNTK's libraries take from MPI."""
    libraries = glob.glob(f"{folder}/lib/python3.6/site-packages/cntk/libs/libCntk.*.so")
    listed = _run(["nm", "-D", "--undefined-only", *libraries], "the wheel of CNTK is not whole")
    words = (line.split()[-1].split("@")[0] for line in listed.splitlines() if line.strip())
    lines = []
    for name in sorted({w for w in words if NEEDED.match(w)}):
        data = name.startswith("ompi_mpi_") and "intercept" not in name
        lines.append(f"char {name}[1024];" if data else f"int {name}(void) {{ return 0; }}")
    return "\n".join(lines) + "\n"


def _run(command, hint, env=None):
    """What a command prints; RuntimeError with its last words if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env)
    except OSError as error:
        raise RuntimeError(f"`{command[0]}` does not run: {error}; {hint}") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-800:]
        raise RuntimeError(f"`{' '.join(command)}` failed ({hint}):\n{words}")
    return done.stdout
