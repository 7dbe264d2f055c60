"""Small files in the known formats, from a server on this machine, become what Keras makes of them."""

import gzip
import hashlib
import importlib
import io
import json
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from oneiros import config, datasets
from oneiros.datasets import sources

from ..utils.test_files import server  # noqa: F401

RNG = np.random.default_rng(0)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def texts(n):
    made = np.empty(n, object)
    made[:] = [RNG.integers(1, 50, RNG.integers(1, 12)).tolist() for _ in range(n)]
    return made


def idx(array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes())


def tar(folder, **files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            data = pickle.dumps(content, protocol=3)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def cifar(n, *keys):
    """A batch as Python 2 wrote it: its keys are bytes here."""
    labels = {key: RNG.integers(0, 10, n).tolist() for key in keys}
    return {b"data": RNG.integers(0, 256, (n, 3072), dtype="uint8"), **labels, b"batch_label": b"x"}


def pixels(n):
    return RNG.integers(0, 256, (n, 28, 28), dtype="uint8")


def digits(n):
    return RNG.integers(0, 10, n, dtype="uint8")


CIFAR = {f"data_batch_{i}": cifar(4, b"labels") for i in range(1, 6)}
CONTENT = {
    "mnist.npz": npz(x_train=pixels(6), y_train=digits(6), x_test=pixels(3), y_test=digits(3)),
    "train-images-idx3-ubyte.gz": idx(pixels(6)),
    "train-labels-idx1-ubyte.gz": idx(digits(6)),
    "t10k-images-idx3-ubyte.gz": idx(pixels(3)),
    "t10k-labels-idx1-ubyte.gz": idx(digits(3)),
    "boston_housing.npz": npz(x=RNG.normal(size=(20, 13)), y=RNG.normal(size=20)),
    "california_housing.npz": npz(x=RNG.normal(size=(700, 8)), y=RNG.normal(size=(700, 1))),
    "imdb.npz": npz(
        x_train=texts(30),
        y_train=RNG.integers(0, 2, 30),
        x_test=texts(20),
        y_test=RNG.integers(0, 2, 20),
    ),
    "imdb_word_index.json": json.dumps({"film": 1, "ä": 2}).encode(),
    "reuters.npz": npz(x=texts(40), y=RNG.integers(0, 46, 40)),
    "reuters_word_index.json": json.dumps({"oil": 1}).encode(),
    "cifar-10-python.tar.gz": tar(
        "cifar-10-batches-py",
        **CIFAR,
        test_batch=cifar(3, b"labels"),
    ),
    "cifar-100-python.tar.gz": tar(
        "cifar-100-python",
        train=cifar(5, b"fine_labels", b"coarse_labels"),
        test=cifar(3, b"fine_labels", b"coarse_labels"),
    ),
}


@pytest.fixture
def served(server, tmp_path, monkeypatch):  # noqa: F811
    """The table of files leads to the server; the cache is a new folder."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    server.files = {f"/{name}": content for name, content in CONTENT.items()}
    for name, content in CONTENT.items():
        row = f"{server.url}/", hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(sources.FILES, name, row)
    return server


ROWS = [
    ("mnist", {}),
    ("mnist", dict(path="other.npz")),
    ("fashion_mnist", {}),
    ("cifar100", {}),
    ("cifar100", dict(label_mode="coarse")),
    ("boston_housing", {}),
    ("boston_housing", dict(test_split=0.35, seed=7)),
    ("california_housing", {}),
    ("california_housing", dict(version="small", test_split=0.5)),
    ("imdb", {}),
    ("imdb", dict(num_words=30, skip_top=5, maxlen=8, seed=3)),
    ("imdb", dict(num_words=20, oov_char=None, start_char=None)),
    ("imdb", dict(start_char=None, index_from=0, skip_top=2)),
    ("reuters", {}),
    ("reuters", dict(num_words=30, maxlen=9, test_split=0.4)),
    ("reuters", dict(start_char=None, index_from=0, oov_char=None, num_words=10)),
]


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_the_arrays_are_those_of_keras(served, row, monkeypatch):
    name, kwargs = ROWS[row]
    keras_module = importlib.import_module(f"keras.src.datasets.{name}")
    real = keras_module.get_file

    def get_file(*args, origin, file_hash=None, **options):
        return real(*args, origin=f"{served.url}/{origin.rpartition('/')[2]}", **options)

    monkeypatch.setattr(keras_module, "get_file", get_file)
    want = keras_module.load_data(**kwargs)
    got = getattr(datasets, name).load_data(**kwargs)
    for ours, theirs in zip(got, want):
        for a, b in zip(ours, theirs):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert a.tolist() == b.tolist()


def test_batches_of_cifar_follow_one_another(served):
    """Keras takes whole files only, of 10,000 pictures."""
    (x, y), (x_test, y_test) = datasets.cifar10.load_data()
    assert x.dtype == y.dtype == y_test.dtype == np.uint8 and x_test.shape == (3, 32, 32, 3)
    assert y.shape == (20, 1) and y[4:8, 0].tolist() == CIFAR["data_batch_2"][b"labels"]
    red_then_green = CIFAR["data_batch_2"][b"data"][0].reshape(3, 32, 32)
    np.testing.assert_array_equal(x[4, :, :, 1], red_then_green[1])


def test_channels_come_first_if_the_setting_says_so(served):
    config.set_image_data_format("channels_first")
    try:
        assert datasets.cifar10.load_data()[0][0].shape == (20, 3, 32, 32)
    finally:
        config.set_image_data_format("channels_last")


def test_words_and_topics_have_names(served):
    assert datasets.imdb.get_word_index() == {"film": 1, "ä": 2}
    assert datasets.reuters.get_word_index() == {"oil": 1}
    from keras.datasets import reuters

    assert datasets.reuters.get_label_names() == reuters.get_label_names()


def test_every_file_is_fetched_once_and_checked(served):
    for _ in range(2):
        datasets.fashion_mnist.load_data()
    assert len(served.requests) == 4
    served.files["/mnist.npz"] = b"something else"
    with pytest.raises(ValueError, match="hash must be"):
        datasets.mnist.load_data()


def test_the_tables_hashes_are_those_of_keras():
    seen = {}
    for name in datasets.__all__:
        module = importlib.import_module(f"keras.src.datasets.{name}")
        for function in ("load_data", "get_word_index"):
            if hasattr(module, function):
                seen.update(_asked(module, function))
    for origin, file_hash in seen.items():
        folder, own = sources.FILES[origin.rpartition("/")[2]]
        assert origin.startswith(folder) and own == file_hash


def _asked(module, function):
    """What a function of Keras's asks `get_file` for first: URL to hash."""
    asked, real = {}, module.get_file

    def get_file(*args, origin, file_hash=None, **options):
        asked[origin] = file_hash
        raise InterruptedError

    module.get_file = get_file
    try:
        getattr(module, function)()
    except InterruptedError:
        pass
    finally:
        module.get_file = real
    return asked


def test_real_fashion_mnist_is_read(data):
    folder = data("fashion-mnist")
    y = sources.read_idx(folder / "t10k-labels-idx1-ubyte.gz")
    x = sources.read_idx(folder / "t10k-images-idx3-ubyte.gz")
    assert x.shape == (10000, 28, 28) and np.bincount(y).tolist() == [1000] * 10


@pytest.mark.parametrize(
    "name, kwargs, match",
    [
        ("cifar100", dict(label_mode="x"), "'x'"),
        ("california_housing", dict(version="x"), "'x'"),
        ("boston_housing", dict(test_split=1), "`test_split`"),
        ("imdb", dict(maxlen=1), "`maxlen=1`"),
    ],
)
def test_options_that_make_no_sense_are_errors(served, name, kwargs, match):
    with pytest.raises(ValueError, match=match):
        getattr(datasets, name).load_data(**kwargs)


def test_an_unknown_option_is_an_error(served):
    with pytest.raises(TypeError, match="words"):
        datasets.imdb.load_data(words=3)


# Files that are not trusted -----------------------------------------------------------------------
class Call:
    """Pickled, it calls a function when it is read."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def objects(value):
    made = np.empty(1, object)
    made[0] = value
    return made


def forged(**state):
    """A pickle of an array whose parts do not fit together."""
    row = dict(shape=(2,), dtype=np.dtype("u1"), data=b"ab", kind=np.ndarray, **{}) | state
    make = np._core.multiarray._reconstruct

    class Forged:
        def __reduce__(self):
            return (
                make,
                (row["kind"], (0,), b"b"),
                (1, row["shape"], row["dtype"], False, row["data"]),
            )

    return pickle.dumps(Forged(), protocol=2)


HOSTILE = {
    "a call": pickle.dumps(Call(print, "it ran")),
    "a call in a list": pickle.dumps({b"data": [Call(eval, "1 + 1")]}),
    "a class": pickle.dumps(Call),
    "another kind of array": pickle.dumps(np.ma.masked_array([1, 2])),
    "objects in bytes": forged(dtype=np.dtype("O"), data=b"12345678" * 2),
    "too few bytes": forged(shape=(1000,)),
    "a huge shape": forged(shape=(1 << 60,)),
    "a negative shape": forged(shape=(-2,)),
    "no dtype": forged(dtype="u1"),
    "a dtype with fields": pickle.dumps(np.zeros(2, [("a", "O")])),
    "an id from outside": b"\x80\x04\x8c\x01xQ.",
    "cut off": pickle.dumps(np.zeros(5))[:-20],
    "nothing": b"",
    "noise": bytes(range(200, 256)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_is_not_data_is_refused(tmp_path, name, capsys):
    path = tmp_path / "batch"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ValueError, match=r"batch (cannot be read|is broken)"):
        sources.load_pickle(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype="int64").reshape(2, 3),
        np.arange(6.0).reshape(2, 3).T,
        np.array(["a", "bc"]),
        objects([1, 2, [3]]),
        {b"a": [1, 2.5, None, True, b"x"], b"b": np.float32(3)},
        np.arange(3, dtype=">i4"),
    ],
    ids=lambda v: str(v)[:12],
)
def test_a_pickle_of_data_is_read(tmp_path, value, protocol):
    (tmp_path / "batch").write_bytes(pickle.dumps(value, protocol=protocol))
    made = sources.load_pickle(tmp_path / "batch")
    np.testing.assert_equal(made, value)


def test_an_npz_that_is_not_data_is_refused(tmp_path, capsys, monkeypatch):
    path = tmp_path / "arrays.npz"
    for array in (objects(Call(print, "it ran")), np.ma.masked_array([None])):
        path.write_bytes(npz(x=array))
        with pytest.raises(ValueError, match=r"arrays.npz cannot be read"):
            sources.load_npz(path)
    assert capsys.readouterr().out == ""
    whole = npz(x=np.arange(1000))
    for broken in (whole[:500], b"", b"PK", whole.replace(b"NUMPY", b"MUMPY")):
        path.write_bytes(broken)
        with pytest.raises(ValueError):
            sources.load_npz(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 22))
    monkeypatch.setattr(sources, "LIMIT", 1 << 20)
    with pytest.raises(ValueError, match="unfolds to more"):
        sources.load_npz(path)


def test_an_idx_file_that_is_broken_is_refused(tmp_path):
    path = tmp_path / "x.gz"
    whole = gzip.decompress(idx(pixels(3)))
    huge = whole[:4] + struct.pack(">3I", 1 << 30, 1 << 30, 1 << 30)
    for content, match in (
        (b"", "no IDX"),
        (b"nope", "no IDX"),
        (whole[:8], "shape"),
        (whole[:-1], "cut off"),
        (huge, "shape"),
    ):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match=match):
            sources.read_idx(path)
