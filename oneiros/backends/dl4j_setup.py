"""What Deeplearning4j's engine needs, fetched once: its jars, by Maven, in a folder of our own.

The engine's own code is in the jars of a platform. On a CPU with AVX2 those with oneDNN are taken,
whose convolutions are thirty times as fast.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["extension", "home", "jars", "setup"]

POM = Path(__file__).with_name("dl4j_pom.xml")
ONEDNN = "-onednn-avx2"
JAVA = "Java 11 or newer (on Debian: apt install default-jre-headless)"
MAVEN = "Maven (on Debian: apt install maven)"


def home():
    """The folder that `setup` makes."""
    root = os.environ.get("ONEIROS_HOME") or Path.home() / ".cache" / "oneiros"
    return Path(root).expanduser() / "dl4j"


def jars():
    """The jars that `setup` fetched; ImportError if there are none."""
    found = sorted(map(str, (home() / "jars").glob("*.jar")))
    if not found:
        raise ImportError(
            f"backend 'dl4j' needs the jars of ND4J, which are not in {home()}: run `oneiros setup "
            "dl4j` (the folder is chosen by ONEIROS_HOME)"
        )
    return found


def extension(paths):
    """What is added to the platform's name for the engine's code among these jars."""
    return ONEDNN if any(ONEDNN in p for p in paths) else ""


def setup(say=print):
    """Make the folder `home()`; RuntimeError says what is missing and how to get it."""
    folder = home()
    if (folder / "jars").exists():
        say(f"ND4J is in {folder}")
        return
    own = _platform()
    missing = [how for name, how in (("java", JAVA), ("mvn", MAVEN)) if not shutil.which(name)]
    if not _has("jpype"):
        missing.append("JPype (pip install 'oneiros[dl4j]')")
    if missing:
        raise RuntimeError(f"backend 'dl4j' needs {' and '.join(missing)}")
    classifier = own + (ONEDNN if own == "linux-x86_64" and _has_avx2() else "")
    say(f"Maven fetches ND4J for {classifier} (130 MB)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="dl4j-", dir=folder.parent))
    try:
        shutil.copy(POM, part / "pom.xml")
        _maven(part, f"-Djavacpp.platform={own}", f"-Dnd4j.classifier={classifier}")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    say("ND4J unpacks its libraries (400 MB)")
    _start(folder)
    say(f"ND4J is in {folder}")


def _start(folder):
    """Start it once, which unpacks the libraries; where that fails nothing is kept."""
    command = "from oneiros.backends.dl4j_native import native; native()"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise RuntimeError(f"ND4J does not start: {done.stderr.strip().splitlines()[-1:]}")


def _maven(folder, *options):
    command = [
        "mvn",
        "-B",
        "-q",
        *options,
        "dependency:copy-dependencies",
        "-DoutputDirectory=jars",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode or not any((folder / "jars").glob("nd4j-native*")):
        told = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        raise RuntimeError(
            "backend 'dl4j' needs ND4J's jars, which Maven could not fetch; it reads its "
            "repositories and proxies from ~/.m2/settings.xml. It said:\n" + "\n".join(told[:5])
        )


def _platform():
    """The name that ND4J has for this machine."""
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(machine, machine)
    name = f"{ {'darwin': 'macosx'}.get(system, system) }-{machine}"
    if name not in ("linux-x86_64", "linux-arm64", "macosx-x86_64", "windows-x86_64"):
        raise RuntimeError(f"backend 'dl4j' needs ND4J, which there is none of for {name}")
    return name


def _has_avx2():
    try:
        return " avx2 " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _has(package):
    import importlib.util

    return importlib.util.find_spec(package) is not None
