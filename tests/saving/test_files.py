"""Files on disk: what is written, how it is replaced, and what broken ones say."""

import io
import json
import os
import stat
import zipfile

import h5py
import numpy as np
import pytest

import oneiros
from oneiros import saving
from oneiros.saving import archive, hdf5, stores
from tests.saving import cases


def model():
    return cases.randomize(cases.sequential(oneiros))


def same(a, b):
    x = cases.inputs(None)
    np.testing.assert_array_equal(
        np.asarray(a(x, training=False)), np.asarray(b(x, training=False))
    )


@pytest.mark.parametrize("name", ["m.weights.h5", "m.weights.json", "m.safetensors"])
def test_weights_come_back(name, tmp_path, backend):
    first, second = model(), cases.sequential(oneiros)
    first.save_weights(tmp_path / name)
    second.load_weights(tmp_path / name)
    same(first, second)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "folder"])
def test_models_come_back(name, tmp_path, backend):
    first = cases.randomize(cases.compiled(oneiros))
    first.save(tmp_path / name, zipped=False if name == "folder" else None)
    second = saving.load_model(tmp_path / name)
    same(first, second)
    assert second.compiled
    for a, b in zip(first.optimizer.variables, second.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert not saving.load_model(tmp_path / name, compile=False).compiled


def test_models_go_into_memory_and_come_back(tmp_path):
    first, memory = model(), io.BytesIO()
    saving.save_model(first, memory)
    memory.seek(0)
    same(first, saving.load_model(memory))
    (tmp_path / "m.keras").write_bytes(memory.getvalue())
    same(first, saving.load_model(tmp_path / "m.keras"))


def test_the_weights_of_a_model_file_are_loaded_alone(tmp_path):
    first, second = model(), cases.sequential(oneiros)
    first.save(tmp_path / "m.keras")
    second.load_weights(tmp_path / "m.keras")
    same(first, second)


def test_the_optimizer_may_be_left_out(tmp_path):
    first = cases.compiled(oneiros)
    first.save(tmp_path / "m.keras", include_optimizer=False)
    second = saving.load_model(tmp_path / "m.keras")
    assert not second.compiled
    same(first, second)


def test_safetensors_are_what_others_read(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    first = model()
    first.save_weights(tmp_path / "m.safetensors")
    found = numpy.load_file(tmp_path / "m.safetensors")
    assert sorted(found) == sorted(v.path for v in first.weights)
    for v in first.weights:
        np.testing.assert_array_equal(found[v.path], v.numpy())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    model().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(archive.hdf5_writer, "write", fail)
    with pytest.raises(OSError, match="no space"):
        model().save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.keras"]


def test_permissions_follow_the_umask_and_links_are_kept(tmp_path):
    before = os.umask(0o027)
    try:
        model().save(tmp_path / "real.keras")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "real.keras").st_mode) == 0o640
    (tmp_path / "link.keras").symlink_to(tmp_path / "real.keras")
    model().save(tmp_path / "link.keras")
    assert (tmp_path / "link.keras").is_symlink()


def test_overwriting_is_asked_for(tmp_path, monkeypatch):
    path = tmp_path / "m.weights.h5"
    path.write_bytes(b"old")
    monkeypatch.setattr("builtins.input", lambda _: "n")
    model().save_weights(path, overwrite=False)
    assert path.read_bytes() == b"old"
    monkeypatch.setattr("builtins.input", lambda _: "y")
    model().save_weights(path, overwrite=False)
    assert path.read_bytes() != b"old"


def test_shards_keep_to_their_size(tmp_path):
    first = oneiros.Sequential(
        [oneiros.Input((64,))] + [oneiros.layers.Dense(64) for _ in range(6)]
    )
    size = 20_000
    first.save_weights(tmp_path / "m.weights.json", max_shard_size=size / 1024**3)
    index = json.loads((tmp_path / "m.weights.json").read_text())
    assert index["metadata"]["total_size"] == 6 * (64 * 64 + 64) * 4
    names = sorted(n for n in os.listdir(tmp_path) if n.endswith(".h5"))
    assert names == [f"m_{i:05d}.weights.h5" for i in range(6)]
    for name in names:
        with h5py.File(tmp_path / name) as file:
            sizes = []
            file.visititems(lambda _, d, s=sizes: s.append(getattr(d, "nbytes", 0)))
            assert sum(sizes) <= size


@pytest.mark.parametrize("name", ["m.txt", "m.tf", "m", "m.h5.zip"])
def test_other_endings_are_refused(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"x")
    for act in (model().save, saving.load_model, model().save_weights, model().load_weights):
        with pytest.raises(ValueError, match=r"\.keras|\.h5"):
            act(path)


def test_unknown_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="colour"):
        model().save(tmp_path / "m.keras", colour=1)
    model().save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match="colour"):
        model().load_weights(tmp_path / "m.weights.h5", colour=1)


@pytest.mark.parametrize("ending", ["weights.h5", "weights.json", "safetensors", "keras", "h5"])
def test_what_does_not_fit_is_named_with_its_shapes(ending, tmp_path):
    k = oneiros

    def net(units):
        return k.Sequential(
            [k.Input((4,)), k.layers.Dense(3, name="a"), k.layers.Dense(units, name="b")], name="n"
        )

    path = tmp_path / f"m.{ending}"
    first, second = cases.randomize(net(2)), net(5)
    (first.save_weights if "weights" in ending or "safe" in ending else first.save)(path)
    with pytest.raises(ValueError) as caught:
        second.load_weights(path)
    for part in (str(path), "b/kernel", "(3, 5)", "(3, 2)"):
        assert part in str(caught.value)
    with pytest.warns(UserWarning, match="could not be loaded"):
        second.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(second.layers[0].kernel.numpy(), first.layers[0].kernel.numpy())
    if ending != "h5":
        third = net(5)
        third.load_weights(path, objects_to_skip=[third.layers[1]])
        np.testing.assert_array_equal(
            third.layers[0].kernel.numpy(), first.layers[0].kernel.numpy()
        )


def test_legacy_weights_are_found_by_name(tmp_path):
    k = oneiros
    first = cases.randomize(k.Sequential([k.Input((4,)), k.layers.Dense(4, name="a")]))
    first.save(tmp_path / "m.h5")
    second = k.Sequential([k.Input((4,)), k.layers.Dense(4, name="b"), k.layers.Dense(4, name="a")])
    second.load_weights(tmp_path / "m.h5", by_name=True)
    np.testing.assert_array_equal(second.layers[1].kernel.numpy(), first.layers[0].kernel.numpy())


def test_missing_files_are_named(tmp_path):
    for name in ("m.keras", "m.weights.h5", "m.safetensors", "m.h5"):
        with pytest.raises((ValueError, FileNotFoundError), match=name):
            model().load_weights(tmp_path / name)
    for name in ("m.keras", "m.h5"):
        with pytest.raises((ValueError, FileNotFoundError), match=name):
            saving.load_model(tmp_path / name)


class Notes(oneiros.layers.Layer):
    """A layer that keeps a text beside its weights."""

    text = ""

    def build(self, shape):
        self.inner = Inner(name="inner")

    def call(self, x):
        return x

    def save_own_variables(self, store):
        store["table"] = np.arange(3)

    def load_own_variables(self, store):
        self.table = store["table"]

    def save_assets(self, folder):
        os.makedirs(os.path.join(folder, "deep"))
        with open(os.path.join(folder, "deep", "note.txt"), "w") as file:
            file.write(self.text)

    def load_assets(self, folder):
        with open(os.path.join(folder, "deep", "note.txt")) as file:
            self.text = file.read()


class Inner(Notes):
    def build(self, shape=None):
        pass


@pytest.mark.parametrize("zipped", [None, False])
def test_layers_keep_arrays_and_files_of_their_own(zipped, tmp_path):
    layer = Notes(name="notes")
    first = oneiros.Sequential([oneiros.Input((4,)), layer])
    layer.text, layer.inner.text = "a word", "another"
    path = tmp_path / ("m.keras" if zipped is None else "m")
    first.save(path, zipped=zipped)
    found = saving.load_model(path, custom_objects={"Notes": Notes}).layers[0]
    assert (found.text, found.inner.text) == ("a word", "another")
    assert found.table.tolist() == [0, 1, 2]


# Broken and hostile files
# --------------------------------------------------------------------------------------------------


def saved(tmp_path, **members):
    """The path of a model's file whose members were replaced (None takes one out)."""
    model().save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as good:
        kept = {n: good.read(n) for n in good.namelist()}
    kept |= {
        {"config": "config.json", "weights": "model.weights.h5"}.get(k, k): v
        for k, v in members.items()
    }
    path = tmp_path / "bad.keras"
    with zipfile.ZipFile(path, "w") as bad:
        for name, data in kept.items():
            if data is not None:
                bad.writestr(name, data)
    return path


def config_of(**changes):
    """The config of one dense layer, changed."""
    dense = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"units": 3, "name": "d", **changes},
    }
    dense["build_config"] = {"input_shape": changes.pop("input_shape", [None, 4])}
    first = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {"batch_shape": [None, 4]},
    }
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [first, dense]},
        "registered_name": None,
    }


CONFIGS = {
    "empty": b"",
    "not JSON": b"{nope",
    "not UTF-8": b"\xff\xfe\xff",
    "a list": b"[1, 2]",
    "a number": b"12",
    "a string": b'"Dense"',
    "not a model": b'{"module": "keras.layers", "class_name": "Flatten", "config": {}}',
    "an initializer": b'{"module": "keras.initializers", "class_name": "Zeros", "config": {}}',
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "nan units": json.dumps(config_of(units=float("nan"))).encode(),
    "negative units": json.dumps(config_of(units=-3)).encode(),
    "units of text": json.dumps(config_of(units="many")).encode(),
    "huge units": json.dumps(config_of(units=10**15)).encode(),
    "units beyond numbers": b'{"a": ' + b"9" * 10_000 + b"}",
    "odd shape": json.dumps(config_of(input_shape=[None, "x"])).encode(),
    "a module": json.dumps(
        {"module": "os", "class_name": "system", "config": {"command": "x"}}
    ).encode(),
    "a lambda": json.dumps(
        config_of(activation={"class_name": "__lambda__", "config": {"value": "x"}})
    ).encode(),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_bad_config_is_one_clear_error(name, tmp_path):
    path = saved(tmp_path, config=CONFIGS[name])
    with pytest.raises(ValueError, match=r"bad\.keras"):
        saving.load_model(path)


@pytest.mark.parametrize(
    "members",
    [
        {"config": None},
        {"weights": None},
        {"weights": b""},
        {"weights": b"words"},
        {"weights": hdf5.SIGNATURE + bytes(500)},
        {"../evil.txt": b"x"},
        {"/etc/evil": b"x"},
        {"assets/../../evil": b"x"},
        {"assets\\..\\evil": b"x"},
        {"C:/evil": b"x"},
    ],
    ids=str,
)
def test_bad_members_are_one_clear_error(members, tmp_path):
    path = saved(tmp_path, **members)
    with pytest.raises(ValueError, match=r"bad\.keras"):
        saving.load_model(path)
    assert sorted(os.listdir(tmp_path)) == ["bad.keras", "good.keras"]


def test_links_in_a_zip_are_refused(tmp_path):
    path = saved(tmp_path)
    info = zipfile.ZipInfo("assets/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as bad:
        bad.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="link"):
        saving.load_model(path)


def test_a_member_twice_is_refused(tmp_path):
    path = saved(tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as bad:
        bad.writestr("config.json", "{}")
    with pytest.raises(ValueError, match="two members"):
        saving.load_model(path)


def test_compressed_files_are_read_and_bombs_are_not(tmp_path, monkeypatch):
    path = saved(tmp_path)
    packed = tmp_path / "packed.keras"
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name in good.namelist():
            made.writestr(name, good.read(name))
    same(saving.load_model(packed), saving.load_model(path))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("config.json", b" " * (1 << 22))
        made.writestr("model.weights.h5", b"")
    (tmp_path / "bomb.keras").write_bytes(bomb.getvalue())
    monkeypatch.setattr(archive, "CONFIG_LIMIT", 1 << 20)
    with pytest.raises(ValueError, match="limit"):
        saving.load_model(tmp_path / "bomb.keras")


def test_a_file_that_is_cut_off_is_one_clear_error(tmp_path):
    good = saved(tmp_path).read_bytes()
    path = tmp_path / "cut.keras"
    for size in range(0, len(good) - 1, 997):
        path.write_bytes(good[:size])
        with pytest.raises(ValueError, match=r"cut\.keras"):
            saving.load_model(path)


def test_a_shard_elsewhere_is_refused(tmp_path):
    first = model()
    first.save_weights(tmp_path / "m.weights.json")
    index = json.loads((tmp_path / "m.weights.json").read_text())
    for name in ("../m_00000.weights.h5", "/etc/passwd", "other.weights.h5", 3, None):
        for place in index["weight_map"]:
            index["weight_map"][place] = [name]
        (tmp_path / "m.weights.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match=r"m\.weights\.json"):
            first.load_weights(tmp_path / "m.weights.json")
    for text in ("", "[]", "{}", '{"weight_map": 3}', "[" * 100_000):
        (tmp_path / "m.weights.json").write_text(text)
        with pytest.raises(ValueError, match=r"m\.weights\.json"):
            first.load_weights(tmp_path / "m.weights.json")


def test_the_model_is_not_filled_with_values_that_the_file_brings(tmp_path):
    """A dense layer of 4 TB is only a shape until the file shows that it has the values."""
    path = saved(tmp_path, config=json.dumps(config_of(units=10**12)).encode())
    with pytest.raises(ValueError, match="shape"):
        saving.load_model(path)


def test_values_are_read_from_large_files_where_they_stand(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "SMALL", 100)
    monkeypatch.setattr(stores, "SMALL", 100)
    first, second = model(), cases.sequential(oneiros)
    first.save(tmp_path / "m.keras")
    same(first, saving.load_model(tmp_path / "m.keras"))
    first.save_weights(tmp_path / "m.weights.h5")
    second.load_weights(tmp_path / "m.weights.h5")
    same(first, second)


def test_the_editor_changes_a_file(tmp_path, capsys):
    first = model()
    path = tmp_path / "m.weights.h5"
    first.save_weights(path)
    editor = saving.KerasFileEditor(path)
    assert editor.compare(first) == {"status": "success", "error_count": 0, "match_count": 8}
    editor.rename_object("dense", "renamed")
    editor.delete_object("layers/batch_normalization")
    editor.add_object("layers/new", {"0": np.ones(3)})
    editor.add_weights("new", {"1": np.zeros(2)})
    editor.delete_weight("new", "0")
    editor.save(tmp_path / "edited.weights.h5")
    editor = saving.KerasFileEditor(tmp_path / "edited.weights.h5")
    assert editor.compare(first)["status"] == "error"
    editor.summary()
    shown = capsys.readouterr().out
    assert "renamed" in shown and "batch_normalization" not in shown.rpartition("Weights")[2]
    with pytest.raises(ValueError, match="absent"):
        editor.rename_object("absent", "x")
