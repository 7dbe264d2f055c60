"""Calls of the public ops for the conformance kit: arguments go by the parameters' names."""

from __future__ import annotations

import numpy as np

__all__ = ["BY_HAND", "EAGER", "arguments"]

_rng = np.random.default_rng(77)


def real(*shape, low=0.1, high=0.9):
    return _rng.uniform(low, high, shape).astype("float32")


def whole(high, *shape, low=0):
    return _rng.integers(low, high, shape).astype("int32")


def even(*shape):
    """Floats that are far from each other."""
    n = int(np.prod(shape))
    return ((_rng.permutation(n) + 0.5) / n).reshape(shape).astype("float32")


SQUARE = real(3, 3) + 2 * np.eye(3, dtype="float32")
SYMMETRIC = SQUARE @ SQUARE.T
IMAGE = even(2, 6, 6, 4)
ONES, TWOS = whole(2, 2, 3), whole(5, 2, 3, low=1)


def alike(names, arguments):
    """The same arguments for several ops."""
    return dict.fromkeys(names, arguments)


# What stands for a parameter of this name
BY_NAME = {
    "x": even(2, 3), "x1": even(2, 3), "x2": real(2, 3), "y": real(2, 3), "a": even(2, 3),
    "array": even(2, 3),
    "xs": [real(2, 3), real(2, 3)], "data": even(5, 3),
    "segment_ids": np.array([0, 0, 1, 2, 2], "int32"),
    "indices_or_sections": 2, "shape": (2, 3), "start": 1.0, "stop": 3.0, "target": real(2, 3),
    "output": real(2, 3), "inputs": IMAGE, "kernel": real(3, 3, 4, 2), "repeats": 2,
    "indices": whole(2, 4),
    "N": 3, "n": 3, "dtype": "float16", "pool_size": 2, "output_size": 3, "block_size": 2,
    "x_min": 0.3,
    "x_max": 0.6, "newshape": (3, 2), "axis1": 0, "axis2": 1, "source": 0, "destination": 1,
    "axis": 1,
    "pad_width": 1, "shift": 1, "fill_value": 2.0, "beta": 1.5,
    "bins": np.array([0.2, 0.5], "float32"),
    "kth": 1, "k": 2, "q": 0.3, "condition": np.array([True, False, True]), "values": real(4),
    "sorted_sequence": np.array([0.2, 0.5, 0.7], "float32"), "num_classes": 4, "axes": (0,),
    "mean": real(3), "variance": real(3), "threshold": 0.4, "default_value": 0.0,
    "query": real(2, 4, 2, 3),
    "key": real(2, 5, 2, 3), "value": real(2, 5, 2, 3), "abs_": real(3), "angle": real(3),
    "max_val": 1.0,
    "variable": real(2, 3), "kernel_size": 2, "a_min": 0.3, "x3": real(3),
}  # fmt: skip

BITS = (
    "gcd lcm bitwise_and bitwise_or bitwise_xor left_shift right_shift bitwise_left_shift "
    "bitwise_right_shift"
).split()
SPECTRUM = {"sequence_length": 4, "sequence_stride": 2, "fft_length": 4}

# Where an op wants something else
BY_OP = {
    **alike(BITS, {"x1": TWOS, "x2": TWOS[::-1], "x": TWOS, "y": ONES}),
    **alike(("bitwise_not", "bitwise_invert", "bincount"), {"x": TWOS}),
    **alike(("bartlett", "blackman", "hamming", "hanning", "kaiser"), {"x": 5}),
    **alike(("split", "array_split", "hsplit"), {"x": real(4, 4)}),
    **alike(("adaptive_average_pool", "adaptive_max_pool"), {"output_size": (3, 3)}),
    **alike(("depth_to_space", "space_to_depth"), {"x": IMAGE}),
    **alike(("det", "inv", "lu_factor", "slogdet", "svd", "qr"), {"x": SQUARE}),
    **alike(("cholesky", "eigh", "cholesky_inverse", "logdet"), {"x": SYMMETRIC}),
    **alike(("solve", "solve_triangular", "lstsq"), {"a": SQUARE, "b": real(3, 2)}),
    **alike(("logical_not", "any", "all"), {"x": real(2, 3) > 0.5}),
    **alike(("fft", "ifft", "irfft"), {"x": (real(2, 4), real(2, 4))}),
    **alike(("fft2", "ifft2"), {"x": (real(2, 4, 4), real(2, 4, 4))}),
    **alike(("arccosh",), {"x": real(2, 3) + 1}),
    **alike(("vander", "diag", "diagflat"), {"x": real(3)}),
    **alike(("stack", "average"), {"x": real(2, 3)}),
    "vsplit": {"x": real(4, 2)}, "dsplit": {"x": real(2, 2, 4)}, "matmul": {"x2": real(3, 2)},
    "dot": {"x2": real(3, 2)}, "inner": {"x2": real(4, 3)}, "tensordot": {"x2": real(2, 3)},
    "vdot": {"x1": real(3), "x2": real(3)}, "correlate": {"x1": real(5), "x2": real(3)},
    "ldexp": {"x2": ONES},
    "sparse_categorical_crossentropy": {"target": whole(3, 2)},
    "depthwise_conv": {"kernel": real(3, 3, 4, 2)},
    "conv_transpose": {"kernel": real(3, 3, 2, 4)}, "take_along_axis": {"indices": whole(2, 2, 3)},
    "slice": {"start_indices": (0, 1, 0, 2), "shape": (2, 3, 2, 2)},
    "get_item": {"key": (slice(None), 1)},
    "slice_update": {"start_indices": (0, 1, 0, 2), "updates": real(1, 3, 2, 2)},
    "switch": {"index": 1},
    "scatter": {"indices": whole(2, 4, 2), "values": real(4), "shape": (2, 3)},
    "einsum": {"subscripts": "ab,cb->ac"},
    "scatter_update": {"inputs": real(4, 3), "indices": whole(4, 2, 1), "updates": real(2, 3)},
    "where": {"x1": real(2, 3), "x2": real(2, 3)},
    "select": {"condlist": [real(3) > 0.5], "choicelist": [real(3)]},
    "unravel_index": {"indices": whole(5, 3)}, "searchsorted": {"values": real(4)},
    "one_hot": {"x": whole(4, 3)},
    "view_as_complex": {"x": real(3, 2)}, "view_as_real": {"x": real(3) + 1j * real(3)},
    "rearrange": {"tensor": real(2, 3), "pattern": "a b -> b a"},
    "multi_hot": {"inputs": whole(4, 2, 3), "num_classes": 4},
    "separable_conv": {"depthwise_kernel": real(3, 3, 4, 1), "pointwise_kernel": real(1, 1, 4, 2)},
    "unfold": {"x": real(1, 2, 4, 4)}, "fold": {"x": real(1, 8, 9), "output_size": (4, 4)},
    "glu": {"x": real(2, 4)},
    "in_top_k": {"targets": whole(3, 2), "predictions": even(2, 3)},
    "broadcast_to": {"shape": (2, 2, 3)},
    "ctc_loss": {"target": whole(4, 2, 3, low=1), "output": real(2, 6, 5),
    "target_length": np.array([3, 2], "int32"), "output_length": np.array([6, 5], "int32")},
    "ctc_decode": {"inputs": real(2, 6, 5), "sequence_lengths": np.array([6, 5], "int32")},
    "nonzero": {"x": ONES}, "histogram": {"x": real(6)}, "view": {"dtype": "int32"},
    "stft": {"x": real(2, 12), **SPECTRUM},
    "extract_sequences": {"sequence_length": 4, "sequence_stride": 2, "x": real(2, 12)},
    "rfft": {"x": real(2, 4)},
    "istft": {"x": (real(2, 5, 3), real(2, 5, 3)), **SPECTRUM},
}  # fmt: skip
BY_HAND = {  # they take functions, or have no one right answer; tests of their own run them
    "cond", "switch", "while_loop", "fori_loop", "scan", "map", "vectorized_map",
    "associative_scan", "custom_gradient",
    "jvp", "trapezoid", "corrcoef", "ctc_decode", "eig", "eigh", "svd",
}  # fmt: skip
EAGER = set(
    "nonzero unique histogram bincount allclose empty empty_like view arange".split()
)  # they look at values, or make arrays of nothing else
ROUGH = {"empty", "empty_like"}  # only shapes count


def arguments(name, signature):
    """Positional and keyword arguments for the op, or None if some parameter is not known here."""
    own, args, named = BY_OP.get(name, {}), [], {}
    for key, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            arrays = [real(3), real(4)] if name == "meshgrid" else [real(2, 3), real(4, 3)]
            args = [*named.values(), *arrays]
            named = {}
        elif key in own or parameter.default is parameter.empty:
            if key not in own and key not in BY_NAME:
                return None
            named[key] = own[key] if key in own else BY_NAME[key]
    return args, named
