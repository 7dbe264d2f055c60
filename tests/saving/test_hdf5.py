"""HDF5 against h5py: what we write it reads, what it writes we read, and the rest is refused."""

import io

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneiros.saving import hdf5, hdf5_writer

RNG = np.random.default_rng(0)
DTYPES = "i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8 ? c8 c16".split()


def written(root):
    file = io.BytesIO()
    hdf5_writer.write(file, root)
    return file.getvalue()


def read(data, budget=1 << 30):
    return hdf5.read(hdf5.Bytes(data), budget)


def by_h5py(fill, **options):
    file = io.BytesIO()
    with h5py.File(file, "w", **options) as f:
        fill(f)
    return file.getvalue()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3), (1, 2, 3, 4)])
def test_arrays_go_both_ways(dtype, shape):
    array = np.asarray(RNG.normal(size=shape) * 3).astype(dtype)
    root = hdf5_writer.Node()
    root.at("a/b")["x"] = array
    data = written(root)
    with h5py.File(io.BytesIO(data)) as f:
        found = f["a/b/x"]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found[()], array)
    for made in (data, by_h5py(lambda f: f.create_dataset("a/b/x", data=array))):
        found = read(made)["a/b/x"].read()
        assert found.dtype == array.dtype
        assert found.flags.writeable
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_dtypes_that_hdf5_does_not_know_are_named_by_an_attribute(dtype):
    array = RNG.normal(size=(2, 3)).astype(getattr(ml_dtypes, dtype))
    root = hdf5_writer.Node()
    root["x"] = array
    data = written(root)
    np.testing.assert_array_equal(read(data)["x"].read(), array)
    with h5py.File(io.BytesIO(data)) as f:
        assert f["x"].attrs["dtype"] == dtype
        assert f["x"].dtype == f"V{array.itemsize}"


@pytest.mark.parametrize("count", [0, 1, 8, 9, 64, 65, 600, 5000])
def test_groups_of_any_size_go_both_ways(count):
    names = [f"name_{i}" for i in range(count)]
    root = hdf5_writer.Node()
    for i, name in enumerate(names):
        root.at("g")[name] = np.int32(i)
    root.at("g")
    data = written(root)
    with h5py.File(io.BytesIO(data)) as f:
        assert list(f["g"]) == sorted(names)
        assert all(f["g"][n][()] == i for i, n in enumerate(names))
    group = read(data)["g"]
    assert sorted(group) == sorted(names)
    theirs = by_h5py(lambda f: [f.create_group("g"), *[f["g"].create_group(n) for n in names]])
    assert sorted(read(theirs)["g"]) == sorted(names)


ATTRIBUTES = {
    "text": "words",
    "long": "é" * 100_000,
    "number": 3,
    "floats": np.arange(3.0),
    "names": ["a", "bb", ""],
    "none": np.zeros(0),
}


def test_attributes_go_both_ways():
    root = hdf5_writer.Node(dict(ATTRIBUTES))
    data = written(root)
    with h5py.File(io.BytesIO(data)) as f:
        assert f.attrs["text"] == "words"
        assert f.attrs["long"] == ATTRIBUTES["long"]
        assert list(f.attrs["names"]) == ATTRIBUTES["names"]
    theirs = by_h5py(lambda f: f.attrs.update(ATTRIBUTES))
    for made in (data, theirs):
        found = read(made).attrs
        assert list(found) == list(ATTRIBUTES)
        for name, value in ATTRIBUTES.items():
            assert np.array_equal(found[name], value)


def test_many_strings_need_several_heaps():
    root = hdf5_writer.Node()
    root.attrs["names"] = [str(i) for i in range(4000)]
    for i in range(70_000 // 4000):
        root.at(f"g{i}").attrs["names"] = [str(i)] * 4000
    with h5py.File(io.BytesIO(written(root))) as f:
        assert list(f["g16"].attrs["names"]) == ["16"] * 4000


@pytest.mark.parametrize(
    "options",
    [
        dict(chunks=(7, 9)),
        dict(compression="gzip"),
        dict(compression="gzip", shuffle=True, fletcher32=True),
        dict(chunks=(64, 128), maxshape=(None, None)),
    ],
)
def test_chunks_and_common_filters_are_read(options):
    array = RNG.normal(size=(50, 70))
    data = by_h5py(lambda f: f.create_dataset("x", data=array, **options))
    np.testing.assert_array_equal(read(data)["x"].read(), array)


def test_files_of_the_newest_kind_are_read_where_simple():
    def fill(f):
        f.attrs["a"] = "b"
        f["g/x"] = np.arange(3)

    root = read(by_h5py(fill, libver="latest"))
    assert root.attrs == {"a": "b"}
    assert root["g/x"].read().tolist() == [0, 1, 2]


def test_big_endian_values_become_native():
    data = by_h5py(lambda f: f.create_dataset("x", data=np.arange(5, dtype=">f4")))
    assert read(data)["x"].read().dtype == np.float32


def test_a_file_that_h5py_changed_is_read():
    root = hdf5_writer.Node()
    for i in range(50):
        root.at("g")[str(i)] = np.full(3, i)
    file = io.BytesIO(written(root))
    with h5py.File(file, "r+") as f:
        del f["g/7"]
        f["g/new"] = np.ones(4)
    group = read(file.getvalue())["g"]
    assert len(group) == 50
    assert group["new"].read().tolist() == [1, 1, 1, 1]


REFUSED = {
    "external link": lambda f: f.__setitem__("x", h5py.ExternalLink("other.h5", "/x")),
    "soft link": lambda f: f.__setitem__("x", h5py.SoftLink("/y")),
    "external data": lambda f: f.create_dataset("x", (3,), "f4", external=[("data.bin", 0, 12)]),
    "lzf": lambda f: f.create_dataset("x", data=np.zeros(100), compression="lzf"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_leaves_the_file_is_refused(name):
    with pytest.raises(hdf5.Broken):
        read(by_h5py(REFUSED[name]))["x"].read()


def test_virtual_datasets_are_refused():
    def fill(f):
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
        f.create_virtual_dataset("x", layout)

    with pytest.raises(hdf5.Broken):
        read(by_h5py(fill, libver="latest"))["x"].read()


def test_a_bomb_stays_within_the_budget():
    data = by_h5py(lambda f: f.create_dataset("x", (1 << 30,), "f4", compression="gzip"))
    with pytest.raises(hdf5.Broken, match="budget"):
        read(data, 1 << 20)["x"].read()


def test_a_group_that_holds_itself_is_not_followed_for_ever():
    def fill(f):
        f["g/inside"] = f["/"]

    root = read(by_h5py(fill))
    assert "g/inside/g/inside/g" in root


def test_a_window_reads_a_part_of_a_file(tmp_path):
    root = hdf5_writer.Node()
    root["x"] = array = RNG.normal(size=(300, 400))
    root["y"] = np.arange(5)
    data = written(root)
    (tmp_path / "f").write_bytes(b"before" + data + b"after")
    with open(tmp_path / "f", "rb") as file:
        found = hdf5.read(hdf5.FileWindow(file, 6, len(data)))
        np.testing.assert_array_equal(found["x"].read(), array)
        np.testing.assert_array_equal(found["y"].read(), np.arange(5))


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.dictionaries(st.text("abcxyz_0é", min_size=1, max_size=8), st.just(None), max_size=4),
        lambda inner: st.dictionaries(
            st.text("abc/"[:3], min_size=1, max_size=3), inner, max_size=12
        ),
        max_leaves=40,
    )
)
def test_any_tree_of_names_goes_through_h5py(tree):
    def node_of(tree):
        node = hdf5_writer.Node()
        for name, child in tree.items():
            node[name] = np.zeros(2) if child is None else node_of(child)
        return node

    def names(group):
        return {
            k: None if hasattr(v, "shape") else names(v) for k, v in ((k, group[k]) for k in group)
        }

    data = written(node_of(tree))
    with h5py.File(io.BytesIO(data)) as f:
        assert names(f) == tree
    assert names(read(data)) == tree
