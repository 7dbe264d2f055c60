"""Calls of all ops as text, run alike on Keras and on Oneiros: on arrays, or on symbols."""

import functools
import itertools
import pathlib
import zlib

import ml_dtypes
import numpy as np

PAIR = "(f(2,4,6), g(2,4,6))"
FORMATS = ("channels_last", "channels_first")
METHODS = (
    "linear lower higher midpoint nearest hazen weibull median_unbiased normal_unbiased "
    "inverted_cdf averaged_inverted_cdf closest_observation interpolated_inverted_cdf"
).split()
RESIZE = "nearest bilinear bicubic lanczos3 lanczos5".split()
SCALE = RESIZE[1:] + "linear cubic trilinear tricubic".split()


def listed():
    """The rows of `calls.txt`."""
    names, body = [], []
    lines = pathlib.Path(__file__).with_name("calls.txt").read_text().splitlines()
    for line in [*(line for line in lines if line[:1] != "#"), "end"]:
        if line.startswith(" "):
            body.append(line.strip())
            continue
        if body:
            for args in " ".join(body).split(" ;; "):
                yield from (f"{name}({args})" for name in names)
            names, body = [], []
        names += line.split()


def families():
    """Rows of every option with every other."""
    for method, axis in itertools.product(METHODS, ("", ", axis=1", ", axis=0, keepdims=True")):
        for name, x, q in (
            ("quantile", "f(4,5)", 0.3), ("percentile", "f(4,5)", 30),
            ("nanquantile", "holes(6,5)", 0.3), ("nanpercentile", "holes(6,5)", 30),
        ):  # fmt: skip
            yield f"{name}({x}, {q}{axis}, method={method!r})"
    for data_format in FORMATS:
        last, ending = data_format == "channels_last", f", data_format={data_format!r})"
        x, one = ("f(2,7,9,3)", "f(7,9,3)") if last else ("f(2,3,7,9)", "f(3,7,9)")
        for method, antialias in itertools.product(RESIZE, (False, True)):
            way = f"{method!r}, {antialias}"
            for size in ((4, 13), (14, 18), (1, 1)):
                yield f"image.resize({x}, {size}, {way}{ending}"
            yield f"image.resize({x}, (4, 4), {way}, crop_to_aspect_ratio=True{ending}"
            yield f"image.resize({x}, (9, 2), {way}, pad_to_aspect_ratio=True{ending}"
            yield f"image.resize({one}, (5, 5), {way}, pad_to_aspect_ratio=True, fill_value=2.5{ending}"
        for rank, size in enumerate(("11", "9,8", "5,6,7"), 1):
            window, step = ("3,2,2"[: 2 * rank - 1], "(2,1,3)"[: 2 * rank] + ")")
            image = f"f(2,{size},4)" if last else f"f(2,4,{size})"
            for more in (
                "", ", padding='same'", f", strides={step}, padding='SAME'", ", dilation_rate=2",
                ", dilation_rate=2, padding='same'", ", strides=2",
            ):  # fmt: skip
                yield f"conv({image}, g({window},2,6){more}{ending}"
                yield (
                    f"depthwise_conv({image}, g({window},4,2){more}{ending}"
                    if step not in more
                    else (
                        f"depthwise_conv({image}, g({window},4,2), strides=2, padding='same'{ending}"
                    )
                )
                if step not in more:
                    one = ",".join("1" * rank)
                    yield f"separable_conv({image}, g({window},4,2), g({one},8,3){more}{ending}"
                yield f"conv_transpose({image}, g({window},3,4){more}{ending}"
            yield f"conv_transpose({image}, g({window},3,4), 2, 'same', 1{ending}"
            yield f"conv_transpose({image}, g({window},3,4), 3, 'valid', 0{ending}"
            for name, more in itertools.product(
                ("max_pool", "average_pool"),
                ("2, 2", "2, strides=1", "3, 2, 'same'"),
            ):
                yield f"{name}({image}, {more}{ending}"
            for name, more in itertools.product(
                ("adaptive_max_pool", "adaptive_average_pool"),
                ("1", "3", "(" + "5,4,2"[: 2 * rank] + ")"),
            ):
                yield f"{name}({image}, {more}{ending}"
    for method, antialias in itertools.product(SCALE, (True, False)):
        yield (
            "image.scale_and_translate(f(2,7,9,3), (2,5,12,3), np.float32([0.6,1.4]), "
            f"np.float32([0.3,-1.2]), (1,2), {method!r}, {antialias})"
        )


CALLS = [
    *dict.fromkeys([
        *listed(),
        *families(),
        "argpartition(f(1,5), 2)[..., 2]", "argpartition(f(5,4), kth=-1, axis=0)[-1]",
        "svd(f(5,3), full_matrices=False)[1]", "abs(svd(f(4,5,3), full_matrices=False)[0])",
        "ones_like(empty_like(f(2, 3)))", "abs(qr(f(5,3))[1])", "abs(qr(f(2,5,3), 'complete')[1])", "abs(eigh(pos(4,3,3))[1])",
        "sort(abs(eig(pos(3,3))[0]))", "ones_like(empty((2,3)))", "hard_swish(f(5))",
        "vectorize(lambda x, y: x+y)(f(3), g(3))",
        "vectorize(lambda x, y: sum(x*y), signature='(i),(i)->()')(f(4,3), g(3))",
        "vectorize(lambda x, y: x*y, excluded={1})(f(3), 2.0)",
        "vectorize(lambda x, y: outer(x,y), signature='(n),(m)->(n,m)')(f(4,3), g(1,2))",
    ])
]  # fmt: skip

OURS = {
    # Where Keras's NumPy backend is wrong, or has another dtype than its other backends
    "saturate_cast(np.float32([1e30, -1e30, np.inf, 3.5]), 'int32')": "np.int32([2**31 - 1, -2**31, 2**31 - 1, 3])",
    "saturate_cast(np.float32([-3, 254.5, 255, 300]), 'uint8')": "np.uint8([0, 254, 255, 255])",
    "saturate_cast(i(4), 'float32')": "i(4).astype('float32')",
    "segment_max(ix([3, 5, 1]), ix([0, 0, 2]), 3)": "np.int32([5, -2**31, 1])",
    "segment_min(np.array([True, False, True]), ix([0, 0, 1]), 2)": "np.array([False, True])",
    "hard_tanh(np.uint8([0, 1, 7]))": "np.uint8([0, 1, 1])",
    "max_pool(np.array([[[True], [False], [False], [False]]]), 2)": "np.array([[[True], [False]]])",
    "adaptive_max_pool(ix([[[1], [5], [3]]]), 2)": "ix([[[5], [5]]])",
    "top_k(np.float32([3, 1, 2, 3]), 2)": "(np.float32([3, 3]), ix([0, 3]))",
    "sparsemax(np.float32([2.0, 1.5, -1.0]))": "np.float32([0.75, 0.25, 0])",
    "istft(stft(f(60), 10, 5, 10, window=None), 10, 5, 10, 60, window=None)": "f(60)",
    "logsumexp(np.uint8([200, 200]))": "np.float32(200 + np.log(2))",
    "rms_normalization(ix([3, 4]), epsilon=0)": "np.float32([3, 4]) / np.sqrt(np.float32(12.5))",
    "average_pool(f(1,4,1), 2)": "f(1,4,1).reshape(1, 2, 2, 1).mean(2)",
    "abs(c(3))": "np.sqrt((lambda z: z * z.conj())(c(3)).real)",
}  # fmt: skip


class Makers:
    """What makes the arrays of one call: the same ones for the same text."""

    def __init__(self, text, first="float32", second=None):
        self.rng = np.random.default_rng(zlib.crc32(text.encode()))
        self.dtypes = first, second or first

    def _cast(self, x, k=0):
        dtype = self.dtypes[k]
        if dtype in ("int32", "uint8"):
            x = np.ceil((np.abs(x) if dtype == "uint8" else x) * 2)
        return x.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)

    def f(self, *shape, low=-2.0, high=2.0):
        return self._cast(self.rng.uniform(low, high, _flat(shape)))

    def g(self, *shape, low=-2.0, high=2.0):
        return self._cast(self.rng.uniform(low, high, _flat(shape)), 1)

    def u(self, *shape):
        return self._cast(self.rng.uniform(0.05, 0.95, shape))

    def i(self, *shape, low=-9, high=9, dtype="int32"):
        return self.rng.integers(0 if dtype[0] == "u" else low, high, shape).astype(dtype)

    def b(self, *shape):
        return np.asarray(self.rng.integers(0, 2, shape).astype(bool))

    def c(self, *shape):
        return (self.rng.normal(size=shape) + 1j * self.rng.normal(size=shape)).astype("complex64")

    def holes(self, *shape):
        x = self.rng.uniform(-2, 2, shape).astype("float32")
        x[self.rng.uniform(size=shape) < 0.3] = np.nan
        return x

    def dist(self, *shape, axis=-1):
        x = self.rng.uniform(0.05, 1, shape)
        return self._cast(x / x.sum(axis, keepdims=True))

    def pos(self, *shape):
        x = self.rng.normal(size=shape)
        return (x @ np.swapaxes(x, -1, -2) + np.eye(shape[-1])).astype("float32")

    def ix(self, values):
        return np.array(values, "int32")


def _flat(shape):
    return shape[0] if shape and isinstance(shape[0], tuple) else shape


NAMED = dict(
    np=np,
    SPECIAL=np.float32([-np.inf, -3.5, -1, -0.5, -0.0, 0, 0.5, 1, 2.5, 1e30, np.inf, np.nan]),
    NANS=np.float32([[np.nan, np.nan], [np.nan, 1]]),
    PTS=np.float32([[[0, 0], [8, 0], [0, 6], [8, 6]]] * 2),
    MOV=np.float32([[[0.3, 0.5], [7.4, 0.2], [-0.6, 6.1], [8.8, 5.3]]] * 2),
    SHIFT=np.float32([[1.13, 0.21, -0.73, -0.11, 0.87, 1.34, 0, 0]] * 2),
)


def evaluate(text, ops, given=lambda structure: structure, dtypes=("float32",), seed=None):
    """What the call gives with the functions of `ops`; `given` may change the arrays it takes."""
    makers = Makers(seed or text, *dtypes)
    names = NAMED | {n: getattr(makers, n) for n in dir(makers) if n[0] != "_"}
    for name in words(text):
        found = functools.reduce(lambda o, n: getattr(o, n, None), name.split("."), ops)
        if name not in names and callable(found):
            names[name.split(".")[-1]] = _taking(found, given)
    return eval(text.replace("image.", ""), names)


@functools.cache
def words(text):
    import re

    return sorted(set(re.findall(r"(?<![\w'.])(?:image\.)?[a-z][a-z_0-9]*(?=\()", text)))


def _taking(function, given):
    def call(*args, **kwargs):
        args, kwargs = given((args, kwargs))
        return function(*args, **kwargs)

    return call


def mapped(x, change):
    """`x` with `change` of each NumPy array in it."""
    if isinstance(x, np.ndarray):
        return change(x)
    if isinstance(x, (list, tuple)):
        return type(x)(mapped(v, change) for v in x)
    return {k: mapped(v, change) for k, v in x.items()} if isinstance(x, dict) else x


def arrays_in(x):
    """The NumPy arrays in a structure, in order."""
    found = []
    mapped(x, found.append)
    return found


def op_of(text):
    return text.partition("(")[0]
