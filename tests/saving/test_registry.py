"""Objects as configs: what is written equals what Keras writes, and only known names are read."""

import inspect
import json
import operator

import keras
import numpy as np
import pytest
from keras.src.api_export import get_name_from_symbol

import oneiros
from oneiros import saving
from oneiros.core import registry


class Plain:
    def __init__(self, amount=1):
        self.amount = amount

    def get_config(self):
        return {"amount": self.amount}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def double(x):
    return x + x


@pytest.fixture
def registered():
    """`Plain` and `double`, known to both libraries while a test runs."""
    for k in (keras, oneiros):
        k.saving.register_keras_serializable("pkg")(Plain)
        k.saving.register_keras_serializable("pkg", "twice")(double)
    yield
    for k in (keras, oneiros):
        for name in ("pkg>Plain", "pkg>twice"):
            k.saving.get_custom_objects().pop(name)
    registry.NAMES.clear()


VALUES = [
    None,
    3,
    2.5,
    True,
    "words",
    b"bytes",
    [1, [2, "x"]],
    {"a": {"b": [1]}},
    slice(1, None, 2),
    ...,
    np.float32(1.5),
    np.arange(6).reshape(2, 3),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_are_written_as_by_keras_and_come_back(value):
    ours, theirs = (k.saving.serialize_keras_object(value) for k in (oneiros, keras))
    named = {"__numpy__": "__tensor__"}  # Keras on NumPy calls its arrays tensors
    if isinstance(ours, dict) and "class_name" in ours:
        ours["class_name"] = named.get(ours["class_name"], ours["class_name"])
    assert json.dumps(ours) == json.dumps(theirs)
    back = saving.deserialize_keras_object(json.loads(json.dumps(ours)))
    assert np.array_equal(back, value) if hasattr(value, "shape") else back == value


OBJECTS = {
    "dense": lambda k: k.layers.Dense(
        3, activation="relu", kernel_regularizer=k.regularizers.L2(0.1)
    ),
    "conv": lambda k: k.layers.Conv2D(3, 2),
    "initializer": lambda k: k.initializers.GlorotUniform(seed=3),
    "regularizer": lambda k: k.regularizers.L1L2(0.1, 0.2),
    "constraint": lambda k: k.constraints.MaxNorm(3),
    "policy": lambda k: k.dtype_policies.DTypePolicy("mixed_float16"),
    "loss": lambda k: k.losses.CategoricalCrossentropy(label_smoothing=0.1),
    "metric": lambda k: k.metrics.BinaryAccuracy(threshold=0.3),
    "schedule": lambda k: k.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5),
    "optimizer": lambda k: k.optimizers.SGD(0.1, momentum=0.5),
    "function": lambda k: k.activations.relu,
    "nested": lambda k: [{"x": k.layers.Flatten(name="f")}],
    "custom": lambda k: Plain(4),
    "custom function": lambda k: double,
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_written_as_by_keras_and_come_back(name, registered):
    made = OBJECTS[name](oneiros)
    ours = json.loads(json.dumps(saving.serialize_keras_object(made)))
    theirs = json.loads(json.dumps(keras.saving.serialize_keras_object(OBJECTS[name](keras))))
    for config in (ours, theirs):
        forget_name(config)
    assert ours == theirs
    back = saving.deserialize_keras_object(json.loads(json.dumps(ours)))
    again = json.loads(json.dumps(saving.serialize_keras_object(back)))
    forget_name(again)
    assert again == ours


def forget_name(config):
    """Made-up names of layers and optimizers depend on what was made before."""
    if isinstance(config, dict) and isinstance(config.get("config"), dict):
        if config.get("module") in ("keras.layers", "keras.optimizers"):
            config["config"].pop("name", None)


ROOMS = (
    "layers initializers regularizers constraints losses metrics optimizers optimizers.schedules "
    "dtype_policies quantizers random models distillation"
).split()


@pytest.mark.parametrize("room", ROOMS)
def test_classes_are_written_under_keras_names(room):
    theirs = operator.attrgetter(room)(keras)
    ours = pytest.importorskip(f"oneiros.{room}")
    for name in dir(theirs):
        cls, own = getattr(theirs, name), getattr(ours, name, None)
        if not (inspect.isclass(cls) and hasattr(cls, "get_config") and inspect.isclass(own)):
            continue
        if own.__name__ == cls.__name__:  # no alias of ours
            wanted = get_name_from_symbol(cls)
            assert ".".join(registry.public_name(own)) == wanted


def test_symbols_say_where_they_come_from():
    def written(k):
        x = k.Input((4,), name="x")
        dense = k.layers.Dense(4, name="d")
        y = dense(dense(x))
        z = k.ops.split(y, 2, axis=1)[1]
        return [k.saving.serialize_keras_object(s) for s in (x, y, z)]

    ours, theirs = written(oneiros), written(keras)
    for config in (ours, theirs):
        config[2]["config"]["keras_history"][0] = "made up"
    assert json.dumps(ours) == json.dumps(theirs)
    symbol = saving.deserialize_keras_object(ours[1])
    assert (symbol.shape, symbol.dtype) == ((None, 4), "float32")


def test_a_lambda_is_written_as_by_keras_and_never_read():
    with pytest.warns(UserWarning, match="compiled code"):
        config = saving.serialize_keras_object(lambda x: x + 1)
    assert config["class_name"] == "__lambda__"
    for safe_mode in (True, False):
        with pytest.raises(ValueError, match="lambda"):
            saving.deserialize_keras_object(config, safe_mode=safe_mode)
    layer = {"class_name": "Holder", "config": {"name": "mine", "inner": config}}
    holder = {"Holder": Holder, "mine": double}
    assert saving.deserialize_keras_object(layer, custom_objects=holder).inner is double


class Holder:
    def __init__(self, name, inner):
        self.inner = inner

    @classmethod
    def from_config(cls, config):
        return cls(config["name"], saving.deserialize_keras_object(config["inner"]))


def config(class_name, module=None, **inner):
    return {"module": module, "class_name": class_name, "config": inner, "registered_name": None}


UNKNOWN = {
    "a module": config("system", "os", command="true"),
    "a submodule": config("Popen", "subprocess", args=["true"]),
    "a builtin": config("eval", "builtins", source="1"),
    "our own insides": config("load", "oneiros.core.backend", name="numpy"),
    "a hidden name": config("_Later", "keras.layers"),
    "a function of a room": config("get", "keras.layers", identifier="x"),
    "loading a model": config("load_model", "keras.models", filepath="x"),
    "fetching a file": config("get_file", "keras.utils", fname="x", origin="http://x"),
    "a module in a room": config("base", "keras.layers"),
    "numpy through a room": config("np", "keras.layers"),
    "a function of utils": config("function", "builtins"),
    "dots": config("layers.Dense", "keras"),
    "a class of NumPy": config("ndarray", "numpy"),
    "a stranger": config("Stranger", "somewhere"),
    "no name": {"class_name": None, "config": {}},
    "a number as module": {"class_name": "Dense", "module": 3, "config": {}},
    "a type specification": {"class_name": "__typespec__", "config": [[1], "float32"]},
}
for _name in ("eval", "exec", "open", "__import__", "get_file", "load_model", "np", "importlib"):
    UNKNOWN[f"function {_name}"] = {
        "module": "builtins",
        "class_name": "function",
        "config": _name,
        "registered_name": "function",
    }


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_refused(name):
    with pytest.raises(ValueError) as caught:
        saving.deserialize_keras_object(UNKNOWN[name])
    assert isinstance(caught.value, TypeError)  # as Keras has it


@pytest.mark.parametrize(
    "module",
    [
        "keras.layers",
        "keras.src.layers.core.dense",
        "keras.layers.core.dense",
        "tensorflow.keras.layers",
        "tf_keras.src.layers",
        "oneiros.layers",
    ],
)
def test_modules_of_every_time_are_understood(module):
    made = saving.deserialize_keras_object(config("Dense", module, units=3))
    assert type(made) is oneiros.layers.Dense


def test_errors_say_where_in_the_config():
    bad = config("Dense", "keras.layers", units=3, name="head", sizes=4)
    model = config("Sequential", "keras", name="net", layers=[bad])
    with pytest.raises(ValueError, match=r"Sequential 'net' > Dense 'head'.*sizes"):
        saving.deserialize_keras_object(model)


def test_deep_nesting_is_an_error_and_no_crash():
    deep = leaf = {}
    for _ in range(100_000):
        leaf["x"] = leaf = {}
    with pytest.raises(ValueError, match="deep"):
        saving.deserialize_keras_object(deep)
    wrapped = config("Flatten", "keras.layers")
    for _ in range(500):
        wrapped = config("TimeDistributed", "keras.layers", layer=wrapped)
    with pytest.raises(ValueError):
        saving.deserialize_keras_object(wrapped)
    lists = []
    for _ in range(100_000):
        lists = [lists]
    with pytest.raises(ValueError, match="deep"):
        saving.deserialize_keras_object(lists)


def test_custom_objects_are_found_by_class_or_registered_name():
    written = {
        "class_name": "Plain",
        "module": None,
        "config": {"amount": 3},
        "registered_name": "p>Q",
    }
    for name in ("Plain", "p>Q"):
        assert saving.deserialize_keras_object(written, custom_objects={name: Plain}).amount == 3
        with saving.custom_object_scope({name: Plain}):
            assert saving.deserialize_keras_object(written).amount == 3
    with pytest.raises(ValueError, match="p>Q"):
        saving.deserialize_keras_object(written)


def test_names_are_registered_with_their_package(registered):
    assert saving.get_registered_name(Plain) == "pkg>Plain"
    assert saving.get_registered_name(double) == "pkg>twice"
    assert saving.get_registered_object("pkg>twice") is double
    assert saving.get_registered_object("twice") is None
    assert saving.get_custom_objects()["pkg>Plain"] is Plain
    assert saving.get_registered_object("a", {"a": 1}, {"a": 2}) == 1
    with pytest.raises(ValueError, match="get_config"):
        saving.register_keras_serializable()(type("Bare", (), {}))


def test_what_is_shared_stays_shared():
    inner = oneiros.layers.Dense(3)
    with registry.object_sharing():
        config = saving.serialize_keras_object([inner, inner])
    assert config[0]["shared_object_id"] == config[1]["shared_object_id"]
    with registry.object_sharing():
        first, second = saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert first is second


def test_an_object_without_config_is_refused_when_written():
    for value in (object(), {1, 2}, 1 + 2j, Plain):
        with pytest.raises(TypeError, match="get_config"):
            saving.serialize_keras_object(value)
