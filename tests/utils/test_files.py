"""Downloads from a server on this machine that breaks off, lies and sends hostile archives."""

import gzip
import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile

import pytest

from oneiros import utils
from oneiros.utils import files

CONTENT = bytes(range(256)) * 5000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; `server.breaks` says after how many bytes answers break off."""

    def do_GET(self):
        server, headers = self.server, self.headers
        server.requests.append((self.path, headers.get("Range"), headers.get("If-Range")))
        if server.errors:
            return self.send_error(server.errors.pop(0))
        content = server.files.get(self.path.partition("?")[0])
        if content is None:
            return self.send_error(404)
        start = 0
        asked = headers.get("Range")
        if asked and server.ranges and headers.get("If-Range") in (None, server.etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + server.breaks.pop(0) if server.breaks else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(files, "PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.files, made.requests, made.breaks, made.errors = {"/data.bin": CONTENT}, [], [], []
    made.ranges, made.etag = True, '"one"'
    made.url = f"http://127.0.0.1:{made.server_port}"
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def get(server, tmp_path):
    def get(name="data.bin", **kwargs):
        return utils.get_file(origin=f"{server.url}/{name}", cache_dir=tmp_path, **kwargs)

    return get


def read(path):
    with open(path, "rb") as file:
        return file.read()


def listed(folder):
    return sorted(
        os.path.relpath(os.path.join(place, name), folder)
        for place, _, names in os.walk(folder)
        for name in names
    )


def test_a_file_is_fetched_once(get, server, tmp_path, capsys):
    path = get(file_hash=hashlib.sha256(CONTENT).hexdigest())
    assert path == str(tmp_path / "datasets" / "data.bin") and read(path) == CONTENT
    assert get(md5_hash=hashlib.md5(CONTENT).hexdigest()) == path
    assert len(server.requests) == 1 and listed(tmp_path) == ["datasets/data.bin"]
    assert "Downloading data" in capsys.readouterr().out
    get(force_download=True)
    assert len(server.requests) == 2


def test_another_hash_fetches_anew_and_is_an_error_if_it_stays(get, server, tmp_path):
    path = get()
    with open(path, "wb") as file:
        file.write(b"something else")
    assert read(get(file_hash=hashlib.md5(CONTENT).hexdigest())) == CONTENT
    with pytest.raises(ValueError, match="sha256 hash must be 0000"):
        get("data.bin", fname="other", file_hash="0" * 64)
    assert listed(tmp_path) == ["datasets/data.bin"]


def test_a_download_goes_on_where_it_broke_off(get, server):
    server.breaks = [400_000, 300_000, 10]
    assert read(get()) == CONTENT
    ranges = [r for _, r, _ in server.requests]
    assert ranges == [None, "bytes=400000-", "bytes=700000-", "bytes=700010-"]
    assert all(version == '"one"' for _, _, version in server.requests[1:])


def test_a_later_call_goes_on_too(get, server, tmp_path):
    server.breaks = [100_000] + [0] * files.TRIES
    with pytest.raises(
        ConnectionError, match=r"100,000 of 1,280,000 bytes; 100,000 bytes are kept"
    ):
        get()
    assert "datasets/data.bin" not in listed(tmp_path)
    del server.requests[:], server.breaks[:]
    assert read(get()) == CONTENT and server.requests[0][1] == "bytes=100000-"


@pytest.mark.parametrize("way", ["other version", "no ranges", "no version", "longer part"])
def test_what_cannot_go_on_begins_anew(get, server, tmp_path, way):
    if way == "no version":
        server.etag = None
    server.breaks = [100_000] + [0] * files.TRIES
    with pytest.raises(ConnectionError):
        get()
    server.breaks.clear()
    server.files["/data.bin"] = CONTENT[::-1]
    if way == "other version":
        server.etag = '"two"'
    server.ranges = way != "no ranges"
    if way == "longer part":
        (tmp_path / "datasets" / "data.bin.part").write_bytes(CONTENT * 2)
    assert read(get()) == CONTENT[::-1]


def test_a_wrong_beginning_is_told_by_the_hash(get, server, tmp_path):
    server.etag = None
    right = hashlib.sha256(CONTENT).hexdigest()
    server.breaks = [100_000] + [0] * files.TRIES
    with pytest.raises(ConnectionError):
        get(file_hash=right)
    (tmp_path / "datasets" / "data.bin.part").write_bytes(b"x" * 100_000)
    server.breaks.clear()
    assert read(get(file_hash=right)) == CONTENT


def test_a_server_in_trouble_is_asked_again(get, server):
    server.errors = [503, 429, 500]
    assert read(get()) == CONTENT
    server.errors = [503] * files.TRIES
    with pytest.raises(ConnectionError, match="503"):
        get(fname="other")


def test_what_is_not_there_is_an_error_at_once(get, server):
    with pytest.raises(ConnectionError, match="404 Not Found"):
        get("nothing.bin")
    assert len(server.requests) == 1


def test_several_at_once_fetch_one_file(get, server):
    threads = [threading.Thread(target=get) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "kwargs, match",
    [
        (dict(), '"origin"'),
        (dict(origin="gopher://a/b"), "gopher"),
        (dict(origin="b.txt"), "URL"),
        (dict(origin="http://127.0.0.1/"), "`fname`"),
        (dict(origin="http://127.0.0.1/b", fname="../b"), "'../b'"),
        (dict(origin="http://127.0.0.1/b", fname="/tmp/b"), "'/tmp/b'"),
        (dict(origin="http://127.0.0.1/.."), "'..'"),
        (dict(origin="http://127.0.0.1/%2e%2e%2fb%5c"), r"b\\\\"),
        (dict(origin="http://127.0.0.1/b", hash_algorithm="crc"), "crc"),
        (dict(origin="http://127.0.0.1/b", extract=True, archive_format="rar"), "rar"),
    ],
)
def test_arguments_that_make_no_sense_are_errors(kwargs, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        utils.get_file(**kwargs, cache_dir=tmp_path)


# Archives -----------------------------------------------------------------------------------------
def tar(*members, mode="w:gz", before=None):
    """A tar file of pairs (name or TarInfo, content)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode, format=tarfile.GNU_FORMAT) as archive:
        for member, content in members:
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
            if content is not None:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content or b""))
    return made.getvalue()


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, None


def zipped(*members):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return made.getvalue()


def zip_link(name, target):
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member, target


GOOD = [("a/x.txt", b"one"), ("y.txt", b"two")]


@pytest.mark.parametrize(
    "name, kwargs, folder",
    [
        ("t.tar.gz", dict(extract=True), "t.tar.gz"),
        ("t.tar.gz", dict(untar=True, fname="t"), "t"),
        ("t.tar.gz", dict(extract=True, fname="u.tar.gz"), "u_extracted"),
        ("t.tar.xz", dict(extract=True, archive_format="tar"), "t.tar.xz"),
        ("t.tar.bz2", dict(extract=True), "t.tar.bz2"),
        ("t.tar", dict(extract=True, archive_format=["zip", "tar"]), "t.tar"),
        ("t.zip", dict(extract=True), "t.zip"),
        ("t.zip", dict(extract=True, fname="t"), "t"),
    ],
)
def test_an_archive_is_unpacked_where_keras_has_it(get, server, tmp_path, name, kwargs, folder):
    mode = {"xz": "w:xz", "bz2": "w:bz2", "gz": "w:gz"}.get(name.rpartition(".")[2], "w")
    server.files[f"/{name}"] = zipped(*GOOD) if name.endswith("zip") else tar(*GOOD, mode=mode)
    for _ in range(2):
        path = get(name, **kwargs)
        assert path == str(tmp_path / "datasets" / folder)
        assert listed(path) == ["a/x.txt", "y.txt"] and read(f"{path}/a/x.txt") == b"one"
    assert len(server.requests) == 1


def test_links_to_files_of_the_archive_become_copies(get, server):
    server.files["/t.tgz"] = tar(
        *GOOD, link("a/l.txt", "../y.txt"), link("h.txt", "a/x.txt", tarfile.LNKTYPE)
    )
    path = get("t.tgz", extract=True)
    assert read(f"{path}/a/l.txt") == b"two" and read(f"{path}/h.txt") == b"one"
    server.files["/t.zip"] = zipped(*GOOD, zip_link("a/l.txt", "../y.txt"))
    path = get("t.zip", extract=True)
    assert read(f"{path}/a/l.txt") == b"two" and not os.path.islink(f"{path}/a/l.txt")


def device(kind):
    member = tarfile.TarInfo("device")
    member.type = kind
    return member, None


def long_header():
    """A member whose name is said to take gigabytes."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 22))


HOSTILE = {
    "parent": tar(*GOOD, ("../out.txt", b"!")),
    "hidden parent": tar(*GOOD, ("a/../../out.txt", b"!")),
    "absolute": tar(*GOOD, ("/tmp/oneiros-out.txt", b"!")),
    "backslashes": tar(*GOOD, ("..\\out.txt", b"!")),
    "symlink out": tar(*GOOD, link("l", "../../secret.txt")),
    "symlink absolute": tar(*GOOD, link("l", "/etc/passwd")),
    "symlink to a folder": tar(*GOOD, link("l", "."), ("l/out.txt", b"!")),
    "symlink up, then through it": tar(*GOOD, link("l", ".."), ("l/out.txt", b"!")),
    "hard link out": tar(*GOOD, link("l", "../secret.txt", tarfile.LNKTYPE)),
    "hard link absolute": tar(*GOOD, link("l", "/etc/passwd", tarfile.LNKTYPE)),
    "link to itself": tar(link("l", "l")),
    "character device": tar(*GOOD, device(tarfile.CHRTYPE)),
    "block device": tar(*GOOD, device(tarfile.BLKTYPE)),
    "pipe": tar(*GOOD, device(tarfile.FIFOTYPE)),
    "a file as a folder": tar(*GOOD, ("y.txt/z", b"!")),
    "bomb": tar(("zeros", bytes(1 << 23))),
    "many zeros": tar(*[(f"zeros{i}", bytes(1 << 20)) for i in range(8)], mode="w:bz2"),
    "long header": long_header(),
    "cut off": tar(("noise", os.urandom(100_000)))[:-50_000],
    "damaged": tar(*GOOD)[:40] + b"\xff" * 40 + tar(*GOOD)[80:],
    "zip parent": zipped(*GOOD, ("../out.txt", b"!")),
    "zip absolute": zipped(*GOOD, ("/tmp/oneiros-out.txt", b"!")),
    "zip drive": zipped(*GOOD, ("C:/out.txt", b"!")),
    "zip symlink out": zipped(*GOOD, zip_link("l", "../../secret.txt")),
    "zip bomb": zipped(("zeros", bytes(1 << 23))),
    "zip cut off": zipped(("noise", os.urandom(100_000)))[50_000:],
    "text": b"no archive",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_leaves_nothing_behind(get, server, tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "UNPACKED", 1 << 20)
    monkeypatch.setattr(files, "TIMES", 1)
    (tmp_path / "secret.txt").write_text("secret")
    server.files["/t.bin"] = HOSTILE[name]
    with pytest.raises(ValueError, match=r"t.bin_archive (holds|is no archive|cannot|unpacks)"):
        get("t.bin", extract=True)
    assert listed(tmp_path) == ["datasets/t.bin_archive", "secret.txt"]
    assert not os.path.exists("/tmp/oneiros-out.txt")


def test_too_many_members_are_refused(get, server, monkeypatch):
    monkeypatch.setattr(files, "MEMBERS", 5)
    server.files["/t.tar"] = tar(*[(f"{i}", b"") for i in range(6)], mode="w")
    with pytest.raises(ValueError, match="more than 5 members"):
        get("t.tar", extract=True)


def test_the_paths_are_those_of_keras(server, tmp_path, capsys):
    import keras

    server.files["/t.tar.gz"] = tar(*GOOD)
    rows = [
        dict(),
        dict(fname="f"),
        dict(extract=True),
        dict(fname="f.tar.gz", extract=True),
        dict(fname="g.tgz", untar=True),
        dict(fname="t.tar.gz", extract=True, cache_subdir="other"),
    ]
    for i, row in enumerate(rows):
        made = []
        for library in (keras, utils):
            library = getattr(library, "utils", library)
            folder = tmp_path / f"{i}{library is utils}"
            folder.mkdir()
            path = library.get_file(origin=f"{server.url}/t.tar.gz", cache_dir=folder, **row)
            made.append((os.path.relpath(path, folder), listed(folder)))
        assert made[0] == made[1], row
