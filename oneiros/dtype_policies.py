"""Dtype policies: in which dtype a layer computes and in which it keeps its weights.

A policy is its name: a dtype for both, `mixed_float16` or `mixed_bfloat16` for float32 weights
computed with in half precision, and `MODE_from_POLICY` for weights that are quantized.
"""

import collections.abc
import re

import numpy as np

from oneiros.core import config, lookup
from oneiros.core.dtypes import is_float, np_dtype, standardize_dtype

__all__ = [
    "AWQDTypePolicy",
    "DTypePolicy",
    "DTypePolicyMap",
    "FloatDTypePolicy",
    "GPTQDTypePolicy",
    "Int4DTypePolicy",
    "QuantizedDTypePolicy",
    "QuantizedFloat8DTypePolicy",
    "deserialize",
    "dtype_policy",
    "get",
    "serialize",
    "set_dtype_policy",
]


class DTypePolicy:
    """The dtypes of a layer: `compute_dtype` and `variable_dtype`.

    Args:
        name: A dtype, `"mixed_float16"`, `"mixed_bfloat16"`, or None for the session's policy.

    >>> policy = DTypePolicy("mixed_bfloat16")
    >>> policy.compute_dtype, policy.variable_dtype
    ('bfloat16', 'float32')

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if it is none of these.
    """

    name = compute_dtype = variable_dtype = quantization_mode = None

    def __init__(self, name=None):
        if name is None:
            default = dtype_policy()
            name = getattr(default, "source_name", default.name)
        self.name = name
        self.compute_dtype, self.variable_dtype = _dtypes(name)

    def convert_input(self, x, autocast, dtype):
        """`x` as a layer sees it: an array, cast to `dtype` if it is floating and `autocast`.

        What is no array (a number, a string, a list) stays as it is.
        """
        from oneiros.core.variable import Variable

        if getattr(x, "dtype", None) is None:
            return x
        if isinstance(x, Variable):
            x = x.value
        host = isinstance(x, (np.ndarray, np.generic))
        if host and x.dtype.kind in "OSU":
            return x
        given, dtype = standardize_dtype(x.dtype), standardize_dtype(dtype)
        cast = autocast and given != dtype and is_float(given)
        if host:
            from oneiros.core.backend import to_array

            return to_array(x.astype(np_dtype(dtype)) if cast else x)
        if cast:
            from oneiros import ops

            return ops.cast(x, dtype)
        return x

    def get_config(self):
        """The constructor's arguments."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config):
        """A policy from what `get_config` gave."""
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), self.name))

    def __repr__(self):
        return f'<{type(self).__name__} "{self.name}">'


FloatDTypePolicy = DTypePolicy


class QuantizedDTypePolicy(DTypePolicy):
    """A policy whose layers keep their kernels quantized.

    Args:
        mode: `"int8"`, `"int4"`, `"float8"`, `"gptq"` or `"awq"`.
        source_name: The policy before quantization; None for the session's.

    >>> QuantizedDTypePolicy("int8", "float32").name
    'int8_from_float32'

    Raises:
        ValueError: if `mode` is none of these, or `"int8"` with float16, which would overflow.
    """

    modes = ("int8", "float8", "int4", "gptq", "awq")

    def __init__(self, mode, source_name=None):
        super().__init__(source_name)
        self.source_name, self.full_mode = self.name, mode
        self.name = f"{mode}_from_{self.source_name}"
        self.quantization_mode = self.read_mode(mode)
        if mode == "int8" and self.compute_dtype == "float16":
            raise ValueError("`mode` 'int8' overflows in float16; use bfloat16 or float32")

    def read_mode(self, mode):
        """The kind of quantization that `mode` says; what else it says is stored."""
        if mode not in self.modes:
            raise ValueError(f"`mode` must be one of {', '.join(self.modes)}; got {mode!r}")
        return mode

    def get_config(self):
        return {"mode": self.full_mode, "source_name": self.source_name}


class QuantizedFloat8DTypePolicy(QuantizedDTypePolicy):
    """A policy of float8 kernels, scaled by the largest values of the last steps.

    Args:
        mode: `"float8"`.
        source_name: The policy before quantization; None for the session's.
        amax_history_length: How many steps back the largest values are kept.

    >>> QuantizedFloat8DTypePolicy("float8", "mixed_bfloat16").amax_history_length
    1024

    Raises:
        TypeError: if `amax_history_length` is not a whole number.
    """

    default_amax_history_length = 1024
    amax_history_length: int

    def __init__(self, mode, source_name=None, amax_history_length=1024):
        super().__init__(mode, source_name)
        if not isinstance(amax_history_length, int):
            raise TypeError(
                f"`amax_history_length` must be a whole number; got {amax_history_length!r}"
            )
        self.amax_history_length = amax_history_length

    def get_config(self):
        return {**super().get_config(), "amax_history_length": self.amax_history_length}


class _GroupedDTypePolicy(QuantizedDTypePolicy):
    """A policy whose mode has numbers in it: `kind/number/…`, stored under the names in `parts`."""

    kind = None
    parts = ()
    bits = ()

    def read_mode(self, mode):
        expected = "/".join([self.kind, *(f"<{part}>" for part in self.parts)])
        kind, *numbers = mode.split("/") if isinstance(mode, str) else [None]
        if kind != self.kind or len(numbers) != len(self.parts):
            raise ValueError(f"`mode` must have the form '{expected}'; got {mode!r}")
        try:
            values = dict(zip(self.parts, map(int, numbers), strict=True))
        except ValueError:
            raise ValueError(
                f"`mode` must have whole numbers in '{expected}'; got {mode!r}"
            ) from None
        for part, value in values.items():
            if part == "weight_bits" and value not in self.bits:
                raise ValueError(f"<weight_bits> must be one of {self.bits}; got {mode!r}")
            if part != "weight_bits" and value != -1 and value < 1:
                raise ValueError(f"<{part}> must be -1, for all, or at least 1; got {mode!r}")
        self.__dict__.update(values)
        self.mode = kind
        return kind


class GPTQDTypePolicy(_GroupedDTypePolicy):
    """A policy of kernels quantized by GPTQ (Frantar et al., 2022).

    Args:
        mode: `"gptq/<weight_bits>/<group_size>"`; 2, 3, 4 or 8 bits, -1 for one group.
        source_name: The policy before quantization; None for the session's.

    >>> GPTQDTypePolicy("gptq/4/128", "float32").weight_bits
    4

    Raises:
        ValueError: if `mode` has another form or other numbers.
    """

    kind, parts, bits = "gptq", ("weight_bits", "group_size"), (2, 3, 4, 8)


class AWQDTypePolicy(_GroupedDTypePolicy):
    """A policy of kernels quantized by AWQ (Lin et al., 2023).

    Args:
        mode: `"awq/<weight_bits>/<group_size>"`; 4 bits, -1 for one group.
        source_name: The policy before quantization; None for the session's.

    >>> AWQDTypePolicy("awq/4/128", "float32").group_size
    128

    Raises:
        ValueError: if `mode` has another form or other numbers.
    """

    kind, parts, bits = "awq", ("weight_bits", "group_size"), (4,)


class Int4DTypePolicy(_GroupedDTypePolicy):
    """A policy of int4 kernels with a scale for every block of inputs.

    Args:
        mode: `"int4/<block_size>"`; -1 for one block.
        source_name: The policy before quantization; None for the session's.

    >>> Int4DTypePolicy("int4/64", "float32").block_size
    64

    Raises:
        ValueError: if `mode` has another form or other numbers.
    """

    kind, parts = "int4", ("block_size",)


class DTypePolicyMap(DTypePolicy, collections.abc.MutableMapping):
    """Policies by the paths of layers, with a default for the rest.

    A key is a path or a regular expression that matches whole paths.

    Args:
        default_policy: The policy of layers that no key matches; None for the session's.
        policy_map: Paths to policies.

    >>> policies = DTypePolicyMap("bfloat16", {"block_.*/head": "float32"})
    >>> policies["block_1/head"], policies["block_1/body"]
    (<DTypePolicy "float32">, <DTypePolicy "bfloat16">)

    Raises:
        TypeError: if `policy_map` is not a dict.
        ValueError: if a policy is none, a key is given twice, or two expressions match one path.
    """

    default_policy: DTypePolicy

    def __init__(self, default_policy=None, policy_map=None):
        if policy_map is not None and not isinstance(policy_map, dict):
            raise TypeError(f"`policy_map` must be a dict; got {policy_map!r}")
        self.default_policy = get(default_policy)
        self._follows_session = default_policy is None
        self._policies = {}
        for path, policy in (policy_map or {}).items():
            self[path] = policy

    name = property(lambda self: f"map_{self.default_policy.name}")
    compute_dtype = property(lambda self: self.default_policy.compute_dtype)
    variable_dtype = property(lambda self: self.default_policy.variable_dtype)
    quantization_mode = property(lambda self: self.default_policy.quantization_mode)

    def __getitem__(self, path):
        if path in self._policies:
            return self._policies[path]
        matching = [key for key in self._policies if re.fullmatch(key, path)]
        if len(matching) > 1:
            raise ValueError(f"the path {path!r} must match one key; it matches {matching}")
        return self._policies[matching[0]] if matching else self.default_policy

    def __setitem__(self, path, policy):
        if path in self._policies:
            raise ValueError(f"the path {path!r} has a policy already: {self._policies[path]}")
        self._policies[path] = get(policy)

    def __delitem__(self, path):
        del self._policies[path]

    def __contains__(self, path):
        return path in self._policies

    def __len__(self):
        return len(self._policies)

    def __iter__(self):
        return iter(self._policies)

    def get_config(self):
        configs = {path: serialize(policy) for path, policy in self._policies.items()}
        if self._follows_session:
            for written in configs.values():
                if "source_name" in written["config"]:  # it follows the session's where it is read
                    written["config"]["source_name"] = None
        default = None if self._follows_session else self.default_policy.name
        return {"default_policy": default, "policy_map": configs}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        policies = {
            path: deserialize(policy, custom_objects) if isinstance(policy, dict) else policy
            for path, policy in config.get("policy_map", {}).items()
        }
        return cls(config.get("default_policy"), policies)

    __hash__ = None

    def __repr__(self):
        pairs = [(path, policy.name) for path, policy in self._policies.items()]
        return f"<DTypePolicyMap default_policy={self.default_policy.name}, mapping={pairs}>"


# The session's policy ----------------------------------------------------------------------------

_session = None


def dtype_policy():
    """The policy of layers that are given none: as last set, else `floatx()`.

    >>> dtype_policy()
    <DTypePolicy "float32">
    """
    return DTypePolicy(config.floatx()) if _session is None else _session


def set_dtype_policy(policy):
    """Set the policy of layers that are given none: a policy or a policy's name.

    >>> set_dtype_policy("mixed_bfloat16"); dtype_policy()
    <DTypePolicy "mixed_bfloat16">
    >>> set_dtype_policy("float32")

    Raises:
        ValueError: if `policy` is neither.
    """
    global _session
    if not isinstance(policy, (DTypePolicy, str)):
        raise ValueError(f"`policy` must be a policy or the name of one; got {policy!r}")
    _session = get(policy)


# By name -----------------------------------------------------------------------------------------

_, serialize, deserialize = lookup.getter(
    "dtype policy",
    lookup.named(
        *(AWQDTypePolicy, DTypePolicy, DTypePolicyMap, GPTQDTypePolicy, Int4DTypePolicy),
        *(QuantizedDTypePolicy, QuantizedFloat8DTypePolicy),
        FloatDTypePolicy=DTypePolicy,
    ),
    argument="dtype_policy",
    example=("dtype_policies", "DTypePolicy"),
)


def get(identifier):
    """The policy that `identifier` stands for.

    `identifier` is a policy, a policy's name, a dtype in any form, a config (as `serialize` gives)
    or None, for the session's policy.

    >>> get("int8_from_mixed_bfloat16")
    <QuantizedDTypePolicy "int8_from_mixed_bfloat16">

    Raises:
        ValueError: if it is none of these.
    """
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, str):
        quantized = identifier.startswith(QuantizedDTypePolicy.modes)
        return _quantized(identifier) if quantized else DTypePolicy(identifier)
    if isinstance(identifier, dict):
        found = deserialize(identifier)
    else:
        try:
            found = DTypePolicy(standardize_dtype(identifier))
        except ValueError:
            found = None
    if not isinstance(found, DTypePolicy):
        raise ValueError(
            f"`dtype` must be a dtype, a policy or the name of one; got {identifier!r}"
        )
    return found


def _dtypes(name):
    """The compute dtype and the variable dtype of the policy called `name`."""
    if not isinstance(name, str):
        raise TypeError(f"`name` must be a string, such as 'mixed_float16'; got {name!r}")
    if name in ("mixed_float16", "mixed_bfloat16"):
        return name.removeprefix("mixed_"), "float32"
    try:
        dtype = standardize_dtype(name)
    except ValueError:
        raise ValueError(
            "the name of a policy must be a dtype, 'mixed_float16' or 'mixed_bfloat16'; "
            f"got {name!r}"
        ) from None
    return dtype, dtype


def _quantized(name):
    """The quantized policy called `name`: `MODE_from_POLICY`."""
    mode, _, source = name.partition("_from_")
    if not source or "_from_" in source:
        raise ValueError(
            f"the name of a quantized policy must have the form MODE_from_POLICY; got {name!r}"
        )
    kinds = {"gptq": GPTQDTypePolicy, "awq": AWQDTypePolicy, "float8": QuantizedFloat8DTypePolicy}
    if mode.startswith("int4/"):
        return Int4DTypePolicy(mode, source)
    return kinds.get(mode.partition("/")[0], QuantizedDTypePolicy)(mode, source)
