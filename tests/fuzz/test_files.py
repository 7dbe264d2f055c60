"""Files that someone broke or forged: reading them ends soon, and in a model or a ValueError.

Each test changes golden files: bytes, lengths, members of the zip, nodes of the JSON. `FUZZ_EXAMPLES` says
how often.
"""

import copy
import io
import json
import os
import pathlib
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oneiros
from oneiros import saving
from oneiros.saving import hdf5
from tests.saving import cases

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
FILES = ["compiled.keras", "shared_and_nested.keras", "with_ops.keras", "compiled.h5", "keras_2.h5"]
fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", 40)),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def survives(path, load=saving.load_model):
    """Load; only a ValueError that names the file may come of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load(path)
        except ValueError as error:
            assert str(path) in str(error)


def broken(data, draw):
    """`data` with some bytes changed, inserted or taken out, or cut off."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 12))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(
            st.sampled_from(["byte", "byte", "byte", "word", "cut", "insert", "delete", "copy"])
        )
        if kind == "byte":
            data[at : at + 1] = bytes([draw(st.sampled_from([0, 1, 2, 8, 127, 128, 255]))])
        elif kind == "word":
            size = draw(st.sampled_from([2, 4, 8]))
            value = draw(st.sampled_from([0, 1, 2**16 - 1, len(data), 2**63, 2**64 - 1, 96]))
            data[at : at + size] = value.to_bytes(8, "little")[:size]
        elif kind == "cut" and draw(st.booleans()):
            del data[at:]
        elif kind == "insert":
            data[at:at] = bytes(draw(st.integers(1, 9)))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 9))]
        elif kind == "copy":
            start = draw(st.integers(0, max(len(data) - 1, 0)))
            data[at : at + 16] = data[start : start + 16]
    return bytes(data)


@pytest.mark.parametrize("name", FILES)
@fuzz
@given(data=st.data())
def test_changed_bytes(name, data, tmp_path):
    path = tmp_path / name
    path.write_bytes(broken((GOLDEN / name).read_bytes(), data.draw))
    survives(path)


@pytest.mark.parametrize("name", ["half.weights.h5", "shards.weights.json"])
@fuzz
@given(data=st.data())
def test_changed_bytes_of_weights(name, data, tmp_path):
    for shard in GOLDEN.glob("shards_*"):
        (tmp_path / shard.name).write_bytes(shard.read_bytes())
    path = tmp_path / name
    path.write_bytes(broken((GOLDEN / name).read_bytes(), data.draw))
    survives(path, MODELS[name].load_weights)


MODELS = {
    "half.weights.h5": cases.half(oneiros),
    "shards.weights.json": cases.sequential(oneiros),
    "m.safetensors": cases.sequential(oneiros),
}


@fuzz
@given(data=st.data())
def test_changed_bytes_of_safetensors(data, tmp_path):
    path = tmp_path / "m.safetensors"
    MODELS[path.name].save_weights(path)
    path.write_bytes(broken(path.read_bytes(), data.draw))
    survives(path, MODELS[path.name].load_weights)


@pytest.mark.parametrize("name", ["compiled.h5", "half.weights.h5", "tracked.weights.h5"])
@fuzz
@given(data=st.data())
def test_changed_bytes_of_hdf5(name, data):
    changed = broken((GOLDEN / name).read_bytes(), data.draw)
    try:
        everything(hdf5.read(hdf5.Bytes(changed), 1 << 20), 0)
    except hdf5.Broken:
        pass


def everything(group, depth):
    """Read all of a file, but not for ever where it holds itself."""
    group.attrs
    for name in group if depth < 6 else ():
        found = group[name]
        if isinstance(found, hdf5.Group):
            everything(found, depth + 1)
        else:
            assert isinstance(found.read(), np.ndarray)


def members_of(name):
    with zipfile.ZipFile(GOLDEN / name) as file:
        return {n: file.read(n) for n in file.namelist()}


def packed(path, members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    path.write_bytes(out.getvalue())


@pytest.mark.parametrize("name", FILES[:3])
@fuzz
@given(data=st.data())
def test_changed_bytes_inside_a_sound_zip(name, data, tmp_path):
    members = members_of(name)
    member = data.draw(st.sampled_from(["config.json", "model.weights.h5"]))
    members[member] = broken(members[member], data.draw)
    path = tmp_path / name
    packed(path, members)
    survives(path)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.sampled_from([0, -1, 1, 3, 4, 10**6, 10**12, float("nan"), float("inf"), "", "x", [], {}]),
    st.sampled_from(
        ["keras.layers", "os", "builtins", "Dense", "Lambda", "function", "__lambda__"]
    ),
    st.sampled_from(["Sequential", "Functional", "Model", "Layer", "float32", "string", "../x"]),
    st.lists(st.one_of(st.none(), st.integers(-3, 5)), max_size=4),
    st.just({"class_name": "__tensor__", "config": {"value": [1, [2]], "dtype": "float32"}}),
    st.just({"class_name": "__keras_tensor__", "config": {"shape": [None, "x"]}}),
    st.just({"class_name": "Dense", "module": "keras.layers", "config": {"units": 3}}),
    st.just({"class_name": "system", "module": "os", "config": {"command": "true"}}),
    st.dictionaries(st.text(max_size=5), st.none(), max_size=2),
)


def places(value, path=()):
    """The paths of all nodes of a JSON value."""
    yield path
    if isinstance(value, dict):
        for k, v in value.items():
            yield from places(v, (*path, k))
    elif isinstance(value, list):
        for i, v in enumerate(value):
            yield from places(v, (*path, i))


def forged(config, draw):
    """`config` with some nodes replaced by others, by junk, or taken out."""
    config = copy.deepcopy(config)
    for _ in range(draw(st.integers(1, 3))):
        all_places = [p for p in places(config) if p]
        if not all_places:
            break
        *path, last = draw(st.sampled_from(all_places))
        owner = config
        for step in path:
            owner = owner[step]
        kind = draw(st.sampled_from(["junk", "junk", "remove", "other"]))
        if kind == "remove":
            del owner[last]
        elif kind == "junk":
            owner[last] = copy.deepcopy(draw(JUNK))
        else:
            other = config
            for step in draw(st.sampled_from(all_places)):
                other = other[step]
            owner[last] = copy.deepcopy(other)
    return config


@pytest.mark.parametrize("name", FILES[:3])
@fuzz
@given(data=st.data())
def test_forged_configs(name, data, tmp_path):
    members = members_of(name)
    config = forged(json.loads(members["config.json"]), data.draw)
    members["config.json"] = json.dumps(config)
    path = tmp_path / name
    packed(path, members)
    survives(path)


@fuzz
@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=4)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["class_name", "config", "module", "a"]), inner, max_size=4
            ),
            st.fixed_dictionaries(
                {
                    "class_name": st.sampled_from(
                        ["Dense", "Zeros", "function", "__slice__", "__numpy__"]
                    ),
                    "config": inner,
                    "module": st.sampled_from(
                        ["keras.layers", "keras.initializers", "keras", "builtins"]
                    ),
                }
            ),
        ),
        max_leaves=12,
    )
)
def test_any_json(config):
    try:
        saving.deserialize_keras_object(config)
    except ValueError:
        pass
