"""Files from the web: downloaded once, checked, resumed, and unpacked without leaving their folder.

A download grows in `NAME.part`, beside a note of what is being fetched; only when it is whole, and its
hash is right, does it become `NAME`. An archive is unpacked to a folder beside its place, which takes
that place when all of it is there. So what has its final name is whole, whatever was cut off when.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import http.client
import json
import lzma
import os
import pathlib
import shutil
import stat
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib

from oneiros.core import config

__all__ = ["extract_archive", "get_file"]

SCHEMES = ("http", "https", "ftp", "file")
CHUNK = 1 << 18
TIMEOUT = 60  # seconds without a byte
TRIES = 5  # in a row that bring nothing new
PAUSE = 0.5  # seconds before the second try, and doubled from there
# What an archive may unpack to, beside what its own size speaks for.
UNPACKED, TIMES = 1 << 30, 200
MEMBERS = 4_000_000
HEADER = 1 << 20  # bytes of one header


def get_file(
    fname=None,
    origin=None,
    untar=False,
    md5_hash=None,
    file_hash=None,
    cache_subdir="datasets",
    hash_algorithm="auto",
    extract=False,
    archive_format="auto",
    cache_dir=None,
    force_download=False,
):
    """The path of a file that is downloaded if it is not in the cache yet.

    A download that broke off goes on where it stopped, in this call (the server is asked up to five
    times) or in a later one.

    Args:
        fname: The file's name in the cache; the last part of `origin` if None.
        origin: Its URL.
        untar: As `extract`.
        md5_hash: As `file_hash`, of MD5.
        file_hash: Of the file, in hexadecimal: a cached file without it is fetched anew.
        cache_subdir: The folder in the cache, or an absolute one.
        hash_algorithm: `"md5"`, `"sha256"`, or `"auto"`: what the length of `file_hash` says.
        extract: Whether to unpack an archive, and return the folder with what was in it.
        archive_format: `"tar"`, `"zip"`, `"auto"` for both, or a list of them.
        cache_dir: The cache; the folder of Keras's settings if None.
        force_download: Whether to fetch a file that is there.

    Raises:
        ValueError: if the arguments make no sense, the hash is another one, or the archive is none,
            holds what would land outside of its folder, or unpacks to more than it may.
        ConnectionError: if the server does not give the file.
    """
    if origin is None:
        raise ValueError('Please specify the "origin" argument (URL of the file to download).')
    named, fname = fname is not None, _file_name(fname, origin)
    kinds = _kinds(archive_format) if extract or untar else ()
    folder = _cache(cache_dir, cache_subdir)
    path = unpacked = folder / fname
    if extract or untar:
        if named and "." in fname:
            unpacked = folder / f"{fname.partition('.')[0]}_extracted"
        else:
            path = folder / (fname + "_archive")
    file_hash, algorithm = _hash_and_algorithm(md5_hash, file_hash, hash_algorithm)
    with _alone(path):
        known = path.is_file() and not force_download
        if known and file_hash and hash_of(path, algorithm) != file_hash:
            _tell(f"{path} has another {algorithm} hash than was given: it is fetched anew")
            known = False
        if not known:
            _download(origin, path, file_hash, algorithm)
        if not (extract or untar):
            return str(path)
        if not known or not unpacked.is_dir() or not any(unpacked.iterdir()):
            extract_archive(path, unpacked, kinds)
    return str(unpacked)


# Names and places ---------------------------------------------------------------------------------
def _file_name(fname, origin):
    scheme = urllib.parse.urlsplit(str(origin)).scheme.lower()
    if scheme not in SCHEMES:
        raise ValueError(f"`origin` must be a URL of {', '.join(SCHEMES)}; got {origin!r}")
    name = _last_part(origin) if fname is None else os.fspath(fname)
    if not name:
        raise ValueError(f"`origin` {origin!r} does not end in a file's name: give it as `fname`")
    if name != os.path.basename(name) or name in (".", "..") or "\\" in name or "\0" in name:
        raise ValueError(
            f"`fname` must be a name without a folder; got {name!r}. `cache_dir` and `cache_subdir` "
            "say where it is kept"
        )
    return name


def _last_part(origin):
    return os.path.basename(urllib.parse.unquote(urllib.parse.urlsplit(str(origin)).path))


def _cache(cache_dir, cache_subdir):
    """The folder for files: of Keras's settings, or under /tmp where that cannot be written."""
    base = pathlib.Path(cache_dir or config.home()).expanduser()
    folder = base / cache_subdir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        pass
    if not os.access(folder, os.W_OK):
        folder = pathlib.Path(tempfile.gettempdir()) / ".keras" / cache_subdir
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _hash_and_algorithm(md5_hash, file_hash, algorithm):
    if md5_hash is not None and file_hash is None:
        file_hash, algorithm = md5_hash, "md5"
    if algorithm not in ("auto", "md5", "sha256"):
        raise ValueError(f'`hash_algorithm` must be "md5", "sha256" or "auto"; got {algorithm!r}')
    if algorithm == "auto":
        algorithm = "sha256" if file_hash and len(str(file_hash)) == 64 else "md5"
    return file_hash and str(file_hash).lower(), algorithm


def hash_of(path, algorithm="sha256"):
    """The hash of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextlib.contextmanager
def _alone(path):
    """While one process fetches a file, others wait for it (where the system has such locks)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    while True:
        with open(f"{path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name)):
                    try:
                        yield
                    finally:
                        os.remove(lock.name)
                    return


def _tell(text):
    from oneiros.callbacks.progress import message

    message(text)


# Downloading --------------------------------------------------------------------------------------
def _download(origin, path, file_hash, algorithm):
    """Fetch `origin` to `path`: whole and with the right hash, or not at all."""
    _tell(f"Downloading data from {origin}")
    part = pathlib.Path(f"{path}.part")
    for fresh in (False, True):
        resumed = _fetch(origin, part, file_hash, fresh)
        found = file_hash and hash_of(part, algorithm)
        if found == file_hash:
            os.replace(part, path)
            _note(part).unlink(missing_ok=True)
            return
        part.unlink()
        _note(part).unlink(missing_ok=True)
        if not resumed:
            break
    raise ValueError(
        f"what {origin} gave is incomplete or another file: its {algorithm} hash must be "
        f"{file_hash}; got {found}"
    )


def _fetch(origin, part, file_hash, fresh):
    """Let `part` grow until it is whole; whether it began with what was there before."""
    if fresh or not _may_resume(origin, part, file_hash):
        part.unlink(missing_ok=True)
    resumed, failures, bar = part.exists(), 0, None
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            bar = _receive(origin, part, before, bar, file_hash)
            return resumed
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # nothing there to go on with
                part.unlink()
                continue
            if error.code < 500 and error.code not in (408, 429):
                raise ConnectionError(
                    f"{origin} cannot be fetched: {error.code} {error.reason}"
                ) from None
            problem = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            problem = str(getattr(error, "reason", None) or error) or type(error).__name__
        now = part.stat().st_size if part.exists() else 0
        failures = failures + 1 if now <= before else 1
        if failures >= TRIES or origin.lower().startswith("file:"):
            kept = f"; {now:,} bytes are kept, and the next call goes on from there" if now else ""
            raise ConnectionError(f"{origin} cannot be fetched: {problem}{kept}")
        time.sleep(PAUSE * 2 ** (failures - 1))


def _receive(origin, part, start, bar, file_hash):
    """One request: what is missing from byte `start`, or all if the server does not give parts."""
    from oneiros.callbacks.progress import Progbar

    request = urllib.request.Request(origin, headers={"User-Agent": "oneiros"})
    note = _read_note(part)
    if start:
        request.add_header("Range", f"bytes={start}-")
        if note.get("version"):
            request.add_header("If-Range", note["version"])
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        headers = answer.headers
        version = headers.get("ETag") or headers.get("Last-Modified")
        if version and version.startswith("W/"):  # a weak one does not speak for each byte
            version = None
        if start and not _continues(answer, start):
            start = 0
        length = headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        _note(part).write_text(json.dumps({"origin": origin, "version": version}))
        bar = bar or Progbar(total, unit_name="byte")
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            done = start
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if bar.live and bar.due():
                    bar.update(done, finalize=False)
            file.truncate()
    if total is not None and done < total:
        raise ConnectionError(f"it broke off after {done:,} of {total:,} bytes")
    bar.update(done, finalize=True)
    return bar


def _continues(answer, start):
    """Whether an answer is the part that begins at `start`."""
    place = (answer.headers.get("Content-Range") or "").removeprefix("bytes ")
    return getattr(answer, "status", None) == 206 and place.startswith(f"{start}-")


def _note(part):
    return pathlib.Path(f"{part}.json")


def _read_note(part):
    try:
        note = json.loads(_note(part).read_text())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _may_resume(origin, part, file_hash):
    """Whether what is there is known to be the beginning of the same file, or a hash will show it."""
    note = _read_note(part)
    return note.get("origin") == origin and bool(note.get("version") or file_hash)


# Unpacking ----------------------------------------------------------------------------------------
def _kinds(archive_format):
    given = [archive_format] if isinstance(archive_format, str) else list(archive_format or ())
    kinds = [kind for name in given for kind in (("tar", "zip") if name == "auto" else (name,))]
    if not kinds or set(kinds) - {"tar", "zip"}:
        raise ValueError(
            f'`archive_format` must be "auto", "tar", "zip" or a list of them; got {archive_format!r}'
        )
    return kinds


def extract_archive(path, folder, kinds=("tar", "zip")):
    """Unpack an archive to a folder that was not there, or is replaced: all of it, or nothing.

    Files and folders alone are made, with plain permissions; a link to a file of the same archive
    becomes a copy of it.

    Args:
        kinds: What it may be: "tar" (also compressed) and "zip".

    Raises:
        ValueError: if it is no archive or a broken one; for a member with an absolute name, with
            `..` in it, for devices and for links to anything else; if it unpacks to more than
            `UNPACKED` bytes and `TIMES` its own size, or to more than the disk has room for.
    """
    path, folder = pathlib.Path(path), pathlib.Path(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = pathlib.Path(scratch) / "made"
        made.mkdir()
        room = min(UNPACKED + TIMES * path.stat().st_size, shutil.disk_usage(scratch).free)
        unpack = _Unpacking(path, made, room)
        try:
            if not ("tar" in kinds and unpack.tar() or "zip" in kinds and unpack.zip()):
                raise ValueError(f"{path} is no archive ({' or '.join(kinds)}): it stays as it is")
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, *_BROKEN) as error:
            raise ValueError(f"{path} cannot be unpacked: {error}") from error
        if folder.is_dir():
            shutil.rmtree(folder)
        os.replace(made, folder)


class _Unpacking:
    """One archive on its way to a folder; counts what it has written."""

    def __init__(self, path, folder, room):
        self.path, self.folder, self.room = path, folder, room
        self.left, self.members = room, 0

    def tar(self):
        """Unpack it if it is a tar file; whether it is."""
        with _plain(self.path) as stream:
            try:
                archive = tarfile.open(fileobj=stream, mode="r:")
            except (tarfile.TarError, EOFError, OSError, *_BROKEN):
                return False
            for member in archive:
                place = self.place(member.name)
                if member.isdir():
                    place.mkdir(parents=True, exist_ok=True)
                elif member.isfile():
                    self.write(place, archive.extractfile(member), member.mode)
                elif member.islnk() or member.issym():
                    start = "" if member.islnk() else os.path.dirname(member.name)
                    self.copy(place, os.path.join(start, member.linkname), member.name)
                else:
                    self.refuse(member.name, "it is neither a file nor a folder")
        return True

    def zip(self):
        """Unpack it if it is a zip file; whether it is."""
        if not zipfile.is_zipfile(self.path):
            return False
        with zipfile.ZipFile(self.path) as archive:
            for member in archive.infolist():
                place, mode = self.place(member.filename), member.external_attr >> 16
                if member.is_dir():
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                with archive.open(member) as source:
                    if stat.S_ISLNK(mode):
                        target = source.read(4096).decode("utf-8", "replace")
                        start = os.path.dirname(member.filename)
                        self.copy(place, os.path.join(start, target), member.filename)
                    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                        self.refuse(member.filename, "it is neither a file nor a folder")
                    else:
                        self.write(place, source, mode)
        return True

    def place(self, name):
        """Where a member goes."""
        self.members += 1
        if self.members > MEMBERS:
            raise ValueError(
                f"{self.path} holds more than {MEMBERS:,} members: nothing is unpacked"
            )
        plain = name.replace("\\", "/")
        if plain.startswith("/") or plain[1:2] == ":" or "\0" in name:
            self.refuse(name, "its name is absolute")
        if ".." in plain.split("/"):
            self.refuse(name, "its name leads out of the folder")
        return self.folder / plain

    def copy(self, place, target, name):
        """A link, as a copy of the file that it leads to."""
        source = pathlib.Path(os.path.normpath(self.folder / target))
        if not source.is_relative_to(self.folder) or not source.is_file():
            self.refuse(name, f"it is a link to {target!r}, which is no file unpacked before it")
        with open(source, "rb") as file:
            self.write(place, file, 0)

    def write(self, place, source, mode):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        with open(place, "xb") as file:
            while chunk := source.read(CHUNK):
                self.left -= len(chunk)
                if self.left < 0:
                    raise ValueError(
                        f"{self.path} unpacks to more than the {self.room:,} bytes that it may, or that "
                        "there is room for: nothing is unpacked"
                    )
                file.write(chunk)
        if mode & stat.S_IXUSR:
            place.chmod(0o755)

    def refuse(self, name, why):
        raise ValueError(f"{self.path} holds {name!r}, and {why}: nothing is unpacked")


class _Careful:
    """A stream that is asked for little at a time: long reads are headers with a false size."""

    def __init__(self, stream):
        self.stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, size):
        if size > HEADER:
            raise tarfile.ReadError(f"a header takes {size:,} bytes")
        return self.stream.read(size)


@contextlib.contextmanager
def _plain(path):
    """A tar file without its compression."""
    with open(path, "rb") as file:
        start = file.read(6)
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    opener = next((o for magic, o in openers.items() if start.startswith(magic)), open)
    with opener(path, "rb") as stream:
        yield _Careful(stream)


# What the decompressors of the standard library raise for broken data.
_BROKEN = (zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError)
