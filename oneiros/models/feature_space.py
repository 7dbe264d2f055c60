"""Tables made ready for models: each column preprocessed, encoded, crossed with others.

A feature is a dtype, a layer that preprocesses, and how its outputs are encoded. The same layers run
on tables (dicts of arrays, pandas, Arrow, batches of pipelines) and in the functional models that
`get_inputs` and `get_encoded_features` begin.
"""

from __future__ import annotations

import numpy as np

from oneiros import layers, ops
from oneiros.core import backend
from oneiros.core.configurable import Configurable
from oneiros.core.naming import auto_name
from oneiros.core.spec import dtype_name
from oneiros.core.symbol import Symbol
from oneiros.layers import Layer
from oneiros.layers.text.strings import holds_strings

__all__ = ["Cross", "Feature", "FeatureSpace", "TFDIdentity"]

ROWS = 4096  # of a table that comes row by row, put together


class TFDIdentity(Layer):
    """What a feature that needs no preprocessing has for it, under its name in files."""

    def call(self, inputs):
        return inputs


def _mode(owner, output_mode, modes):
    if output_mode not in modes:
        raise ValueError(
            f"{owner}: Invalid value for argument `output_mode`. Expected one of {modes}. Received: "
            f"output_mode={output_mode}"
        )
    return output_mode


class Feature:
    """How one column is treated.

    Args:
        dtype: Of its input.
        preprocessor: The layer (or function) that the input goes through.
        output_mode: "int" and "float" leave what comes of it, "one_hot" encodes it.
    """

    def __init__(self, dtype, preprocessor, output_mode):
        self.dtype, self.preprocessor = dtype, preprocessor
        self.output_mode = _mode("Feature", output_mode, ("int", "one_hot", "float"))
        if isinstance(preprocessor, dict):
            from oneiros.core.registry import deserialize_keras_object

            self.preprocessor = deserialize_keras_object(preprocessor)

    def get_config(self):
        from oneiros.core.registry import serialize_keras_object

        preprocessor = serialize_keras_object(self.preprocessor)
        return dict(dtype=self.dtype, preprocessor=preprocessor, output_mode=self.output_mode)

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class Cross(Configurable):
    """Which columns are crossed, into how many bins, and whether the bin is encoded."""

    feature_names: tuple
    crossing_dim: int
    output_mode: str = "one_hot"

    def _ready(self):
        self.feature_names = tuple(self.feature_names)
        _mode("Cross", self.output_mode, ("int", "one_hot"))

    @property
    def name(self):
        return "_X_".join(self.feature_names)

    def get_config(self):
        return {**super().get_config(), "feature_names": list(self.feature_names)}


class FeatureSpace(Layer):
    """The columns of a table as one array of numbers (or a dict of arrays).

    Args:
        features: Name to how the column is treated: "float", "float_normalized", "float_rescaled",
            "float_discretized", "integer_categorical", "integer_hashed", "string_categorical",
            "string_hashed", or what the methods of these names give, or `FeatureSpace.feature(...)`.
        output_mode: "concat" for one array of all, "dict" for one of each.
        crosses: Tuples of names of categorical columns, or what `FeatureSpace.cross(...)` gives.
        crossing_dim: Bins of crosses that say nothing else.
        hashing_dim: Bins of hashed columns that say nothing else.
        num_discretization_bins: Bins of discretized columns that say nothing else.

    >>> from oneiros.utils import FeatureSpace
    >>> space = FeatureSpace({"size": "float", "color": "string_categorical"})
    >>> space.adapt({"size": [1.0, 2.0], "color": ["red", "blue"]})
    >>> space({"size": [3.0], "color": ["blue"]}).shape
    (1, 4)
    """

    _convert_input_args = False
    _allow_non_tensor_positional_args = True

    # Features -------------------------------------------------------------------------------------
    @classmethod
    def cross(cls, feature_names, crossing_dim, output_mode="one_hot"):
        """Columns that are crossed: hashed together into `crossing_dim` bins."""
        return Cross(feature_names, crossing_dim, output_mode=output_mode)

    @classmethod
    def feature(cls, dtype, preprocessor, output_mode):
        """A column treated by a layer or function of your own."""
        return Feature(dtype, preprocessor, output_mode)

    @classmethod
    def float(cls, name=None):
        """Numbers as they are."""
        return Feature("float32", TFDIdentity(name=_named(name, "float")), "float")

    @classmethod
    def float_rescaled(cls, scale=1.0, offset=0.0, name=None):
        """Numbers times `scale` plus `offset`."""
        name = _named(name, "float_rescaled")
        return Feature("float32", layers.Rescaling(scale, offset, name=name), "float")

    @classmethod
    def float_normalized(cls, name=None):
        """Numbers shifted and scaled to mean 0 and variance 1."""
        name = _named(name, "float_normalized")
        return Feature("float32", layers.Normalization(axis=-1, name=name), "float")

    @classmethod
    def float_discretized(cls, num_bins, bin_boundaries=None, output_mode="one_hot", name=None):
        """Numbers as bins: of equally many values, or between given boundaries."""
        preprocessor = layers.Discretization(
            num_bins=None if bin_boundaries is not None else num_bins,
            bin_boundaries=bin_boundaries,
            name=_named(name, "float_discretized"),
        )
        return Feature("float32", preprocessor, output_mode)

    @classmethod
    def integer_categorical(
        cls, max_tokens=None, num_oov_indices=1, output_mode="one_hot", name=None
    ):
        """Integers by their numbers in a vocabulary."""
        name = _named(name, "integer_categorical")
        lookup = layers.IntegerLookup(max_tokens, num_oov_indices, name=name)
        return Feature("int32", lookup, output_mode)

    @classmethod
    def string_categorical(
        cls, max_tokens=None, num_oov_indices=1, output_mode="one_hot", name=None
    ):
        """Strings by their numbers in a vocabulary."""
        name = _named(name, "string_categorical")
        lookup = layers.StringLookup(max_tokens, num_oov_indices, name=name)
        return Feature("string", lookup, output_mode)

    @classmethod
    def string_hashed(cls, num_bins, output_mode="one_hot", name=None):
        """Strings by their hashes."""
        name = _named(name, "string_hashed")
        return Feature("string", layers.Hashing(num_bins, name=name), output_mode)

    @classmethod
    def integer_hashed(cls, num_bins, output_mode="one_hot", name=None):
        """Integers by their hashes."""
        name = _named(name, "integer_hashed")
        return Feature("int32", layers.Hashing(num_bins, name=name), output_mode)

    # Making it ------------------------------------------------------------------------------------
    def __init__(
        self, features, output_mode="concat", crosses=None, crossing_dim=32, hashing_dim=32,
        num_discretization_bins=32, name=None,
    ):  # fmt: skip
        super().__init__(name=name)
        if not features:
            raise ValueError("The `features` argument cannot be None or empty.")
        self.crossing_dim, self.hashing_dim = crossing_dim, hashing_dim
        self.num_discretization_bins = num_discretization_bins
        self.output_mode = output_mode
        if output_mode not in ("concat", "dict"):
            raise ValueError(
                "Invalid value for argument `output_mode`. Expected one of ('concat', 'dict'). "
                f"Received: output_mode={output_mode}"
            )
        self.features = {n: self._standard(n, f) for n, f in features.items()}
        self.crosses = [self._standard_cross(c) for c in crosses or ()]
        self.crosses_by_name = {c.name: c for c in self.crosses}
        self.inputs = {
            n: layers.Input(shape=(1,), dtype=f.dtype, name=n) for n, f in self.features.items()
        }
        self.preprocessors = {n: f.preprocessor for n, f in self.features.items()}
        self.crossers = {
            c.name: layers.HashedCrossing(c.crossing_dim, name=c.name) for c in self.crosses
        }
        self.one_hot_encoders = {}
        self.concat = layers.Concatenate(axis=-1, name="tfd_concat")
        self.encoded_features = None
        self._is_adapted = not self._adaptable()

    def _standard(self, name, feature):
        if isinstance(feature, Feature):
            return feature
        if isinstance(feature, dict):
            from oneiros.core.registry import deserialize_keras_object

            return deserialize_keras_object(feature)
        makers = {
            "float": self.float,
            "float_rescaled": self.float_rescaled,
            "float_normalized": self.float_normalized,
            "float_discretized": lambda name: self.float_discretized(
                self.num_discretization_bins, name=name
            ),
            "integer_categorical": self.integer_categorical,
            "string_categorical": self.string_categorical,
            "integer_hashed": lambda name: self.integer_hashed(self.hashing_dim, name=name),
            "string_hashed": lambda name: self.string_hashed(self.hashing_dim, name=name),
        }
        if not isinstance(feature, str) or feature not in makers:
            raise ValueError(
                f"Invalid feature type: {feature!r} of feature '{name}'; it must be one of "
                f"{tuple(makers)}, or what the methods of FeatureSpace of these names give"
            )
        return makers[feature](name=name)

    def _standard_cross(self, cross):
        if isinstance(cross, dict):
            from oneiros.core.registry import deserialize_keras_object

            cross = deserialize_keras_object(cross)
        if not isinstance(cross, Cross):
            names = (cross,) if isinstance(cross, str) else cross
            if not isinstance(names, (list, tuple)):
                raise ValueError(f"a cross must be a tuple of names of features; got {cross!r}")
            cross = Cross(names, self.crossing_dim)
        unknown = [n for n in cross.feature_names if n not in self.features]
        if unknown:
            raise ValueError(
                "All features referenced in the `crosses` argument should be present in the "
                f"`features` dict. Received unknown features: {unknown}"
            )
        return cross

    # Adapting -------------------------------------------------------------------------------------
    def _adaptable(self):
        """The names of the features whose preprocessors learn from data."""
        fixed = lambda p: (
            getattr(p, "num_bins", 0) is None
            or getattr(p, "input_mean", None) is not None
            or getattr(p, "_static", False)
        )
        return [n for n, p in self.preprocessors.items() if hasattr(p, "adapt") and not fixed(p)]

    def adapt(self, dataset):
        """Let the preprocessors learn from a table.

        Args:
            dataset: A dict of columns, a pandas DataFrame, an Arrow table; or what gives dicts of
                rows or batches: tf.data, DataLoader, generators.
        """
        names = self._adaptable()
        if is_table(dataset):
            for name in names:
                self.preprocessors[name].adapt(_tall(column(dataset, name)))
        else:
            dataset = _batched(dataset)
            again = not hasattr(dataset, "__next__")
            kept = None if again else [{n: row[n] for n in names} for row in map(_first, dataset)]
            for name in names:
                rows = map(_first, dataset) if again else kept
                self.preprocessors[name].adapt(_columns(rows, name))
        self._is_adapted = True
        self.get_encoded_features()
        object.__setattr__(self, "built", True)

    def _check_adapted(self):
        if not self._is_adapted:
            raise ValueError(
                "You need to call `.adapt(dataset)` on the FeatureSpace before you can start using it."
            )

    # Computing ------------------------------------------------------------------------------------
    def get_inputs(self):
        """The symbolic inputs of a model on raw columns, by name."""
        self._check_adapted()
        return self.inputs

    def get_encoded_features(self):
        """What comes of the inputs: the symbolic features that a model is made of."""
        self._check_adapted()
        if self.encoded_features is None:
            self.encoded_features = self._merged(self._preprocessed(self.inputs))
        return self.encoded_features

    def get_preprocessed_features(self):
        """What the preprocessors make of the inputs, before anything is encoded, by name."""
        self._check_adapted()
        return self._preprocessed(self.inputs)

    def _preprocessed(self, columns):
        return {n: self.preprocessors[n](columns[n]) for n in self.features}

    def _merged(self, values):
        """Features encoded and crossed: one array, or a dict."""
        made = {n: self._encoded(n, f, values[n]) for n, f in sorted(self.features.items())}
        for name, cross in sorted(self.crosses_by_name.items()):
            crossed = self.crossers[name]([values[n] for n in cross.feature_names])
            made[name] = self._encoded(name, cross, crossed)
        if self.output_mode == "dict":
            return made
        for name, value in made.items():
            if "float" not in dtype_name(value.dtype):
                raise ValueError(
                    f"Cannot concatenate features because feature '{name}' has not been encoded (it "
                    f"has dtype {value.dtype}). Consider using `output_mode='dict'`."
                )
        return self.concat(list(made.values())) if len(made) > 1 else next(iter(made.values()))

    def _encoded(self, name, feature, value):
        if feature.output_mode != "one_hot":
            return value
        if name not in self.one_hot_encoders:
            count = self._count(name)
            if not dtype_name(value.dtype).startswith(("int", "uint")):
                raise ValueError(
                    f"Feature '{name}' has `output_mode='one_hot'`. Thus its preprocessor should "
                    f"return an integer dtype. Instead it returns a {value.dtype} dtype."
                )
            self.one_hot_encoders[name] = layers.CategoryEncoding(count, output_mode="multi_hot")
        return self.one_hot_encoders[name](value)

    def _count(self, name):
        """How many categories the preprocessor of a feature, or a cross, may give."""
        if name in self.crosses_by_name:
            return self.crosses_by_name[name].crossing_dim
        p = self.preprocessors[name]
        if hasattr(p, "vocabulary_size"):
            return p.vocabulary_size()
        if isinstance(p, layers.Discretization):
            return len(p.bin_boundaries) + 1 if p.num_bins is None else p.num_bins
        for size in ("num_bins", "num_tokens"):
            if getattr(p, size, None):
                return getattr(p, size)
        raise ValueError(
            f"Feature '{name}' has `output_mode='one_hot'`. However it isn't a standard feature and "
            "the dimensionality of its output space is not known, thus it cannot be one-hot encoded. "
            "Try using `output_mode='int'`."
        )

    def __call__(self, data):
        """The features of a table: a dict of columns (or of one row's values), pandas, Arrow."""
        self._check_adapted()
        if not is_table(data):
            raise ValueError(
                f"A FeatureSpace can only be called with a dict (or a table). Received: data={data!r} "
                f"(of type {type(data)})"
            )
        columns = {}
        for name, feature in self.features.items():
            columns[name] = _typed(column(data, name), feature.dtype)
        # Their backend is there before ops are asked for sizes that it may not know.
        backend.owner({type(x) for x in columns.values() if hasattr(x, "dtype")}, "FeatureSpace")
        single = all(len(_shape(x)) == 0 for x in columns.values())
        made = self._merged(self._preprocessed({n: _column(x) for n, x in columns.items()}))
        if not single:
            return made
        first = lambda x: ops.squeeze(x, 0)
        return {n: first(x) for n, x in made.items()} if isinstance(made, dict) else first(made)

    def call(self, *args, **kwargs):
        return self(*args, **kwargs)

    def compute_output_shape(self, *args, **kwargs):
        """The shapes of the features."""
        made = self.get_encoded_features()
        shapes = {n: x.shape for n, x in made.items()} if isinstance(made, dict) else made.shape
        return shapes

    # Configs and files ----------------------------------------------------------------------------
    def get_config(self):
        from oneiros.core.registry import serialize_keras_object

        return {
            "features": serialize_keras_object(self.features),
            "output_mode": self.output_mode,
            "crosses": [serialize_keras_object(c) for c in self.crosses],
            "crossing_dim": self.crossing_dim,
            "hashing_dim": self.hashing_dim,
            "num_discretization_bins": self.num_discretization_bins,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{k: v for k, v in config.items() if k not in ("trainable", "dtype")})

    def get_build_config(self):
        configs = {n: getattr(p, "get_build_config", dict)() for n, p in self.preprocessors.items()}
        return {n: c or {"input_shape": (None, 1)} for n, c in configs.items()}

    def build_from_config(self, config):
        for name, inner in config.items():
            preprocessor = self.preprocessors.get(name)
            if preprocessor is not None and not preprocessor.built:
                preprocessor.build_from_config(inner)
        self._is_adapted = True
        object.__setattr__(self, "built", True)

    def save(self, filepath):
        """Write the features, with what they have learned, to a `.keras` file."""
        from oneiros.saving import save_model

        save_model(self, filepath)

    def save_own_variables(self, store):
        """The preprocessors keep their own."""

    def load_own_variables(self, store):
        """The preprocessors take their own."""


# Tables -------------------------------------------------------------------------------------------
def is_table(data):
    """Whether `data` has columns by name: a dict, pandas, Arrow."""
    return isinstance(data, dict) or hasattr(data, "columns") or hasattr(data, "column_names")


def column(data, name):
    """One column of a table."""
    try:
        if hasattr(data, "column_names"):  # Arrow
            found = data.column(name)
            return found if _of_strings(found) else found.to_numpy()
        found = data[name]
    except KeyError:
        given = data if isinstance(data, dict) else getattr(data, "columns", data)
        raise KeyError(f"the data have no column '{name}'; they have {list(given)}") from None
    return found.to_numpy() if hasattr(found, "to_numpy") and not _of_strings(found) else found


def _of_strings(x):
    return holds_strings(getattr(x, "type", None) and x.slice(0, 1).to_pylist() or x)


def _typed(x, dtype):
    """A column as an array; arrays of frameworks and symbols stay what they are."""
    if isinstance(x, Symbol) or (hasattr(x, "dtype") and not isinstance(x, np.ndarray)):
        if not hasattr(x, "to_numpy"):
            return x
    if dtype == "string":
        if hasattr(x, "to_pylist"):
            return np.array(x.to_pylist(), object)
        x = np.asarray(x, object) if not isinstance(x, (np.ndarray, str, bytes)) else np.asarray(x)
        return x
    return np.asarray(x, dtype)


def _shape(x):
    return tuple(x.shape)


def _column(x):
    """A column with an axis for features: (rows, 1)."""
    rank = len(x.shape)
    if rank > 1:
        return x
    if isinstance(x, np.ndarray):
        return x.reshape(-1, 1)
    return ops.reshape(x, (-1, 1)) if rank == 0 else ops.expand_dims(x, -1)


def _tall(x):
    """A column in memory as (rows, 1), strings as they are."""
    if hasattr(x, "to_pylist"):
        return x
    x = x if hasattr(x, "shape") else np.asarray(x)
    return _column(x) if isinstance(x, np.ndarray) else x


def _first(row):
    return row[0] if isinstance(row, (tuple, list)) else row


def _batched(dataset):
    """A data set of TensorFlow that gives single rows, in batches."""
    spec = getattr(dataset, "element_spec", None)
    spec = _first(spec) if spec is not None else None
    if isinstance(spec, dict) and all(len(s.shape) == 0 for s in spec.values()):
        return dataset.batch(ROWS)
    return dataset


def _columns(rows, name):
    """The batches of one column; single values are put together."""
    waiting = []
    for row in rows:
        value = column(row, name)
        if len(np.shape(value)) == 0:
            waiting.append(value)
            if len(waiting) == ROWS:
                yield _tall(np.array(waiting))
                waiting = []
        else:
            yield _tall(value.numpy() if hasattr(value, "numpy") else value)
    if waiting:
        yield _tall(np.array(waiting))


def _named(name, kind):
    return f"{name or auto_name(kind)}_preprocessor"
