"""Activations: each function is its formula; a rule under it is its derivative where that saves
work.

None overflows: large inputs of either sign give finite values and derivatives, and NaN stays NaN.
"""

from __future__ import annotations

import math
import warnings

from oneiros.core import primitives as p
from oneiros.core.dtypes import is_complex
from oneiros.core.op import array, dtype_of, float_of, op, promote, to_dtype
from oneiros.ops.common import over, spread, within
from oneiros.ops.elementwise import clip

__all__ = [
    "celu", "elu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish",
    "hard_tanh", "leaky_relu", "log_sigmoid", "log_softmax", "logsumexp", "relu", "relu6", "selu",
    "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh_shrink", "threshold",
]  # fmt: skip

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


@op
def relu(x):
    """`max(x, 0)`; NaN stays NaN, and the derivative at 0 is 0.

    >>> from oneiros import ops
    >>> ops.relu([-1.0, 0.0, 2.0]).tolist()
    [0.0, 0.0, 2.0]
    """
    x = array(x)
    if dtype_of(x) == "bool":
        return x
    return p.select(p.less_equal(x, 0), 0, x)


relu.alike = (0,)


@relu.vjp
def _(g, y, x):
    return [p.select(p.greater(y, 0), g, 0.0)]


@op
def relu6(x):
    """`x` held between 0 and 6.

    >>> from oneiros import ops
    >>> ops.relu6([-1.0, 2.0, 8.0]).tolist()
    [0.0, 2.0, 6.0]
    """
    x = array(x)
    return x if dtype_of(x) == "bool" else p.minimum(relu(x), 6)


@op
def sigmoid(x):
    """`1 / (1 + exp(-x))`.

    >>> from oneiros import ops
    >>> ops.sigmoid([-1000.0, 0.0, 1000.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    return p.sigmoid(float_of(x))


@op
def silu(x):
    """`x * sigmoid(x)`, also called swish (Elfwing et al., 2017).

    >>> from oneiros import ops
    >>> ops.silu([-1000.0, 0.0, 1000.0]).tolist()
    [-0.0, 0.0, 1000.0]
    """
    x = float_of(x)
    return p.multiply(x, p.sigmoid(x))


@silu.vjp
def _(g, y, x):
    s = p.sigmoid(x)
    return [g * (s + y * (1.0 - s))]


swish = silu


@op
def softplus(x):
    """`log(1 + exp(x))`, without overflow.

    >>> from oneiros import ops
    >>> ops.softplus([-1000.0, 1000.0]).tolist()
    [0.0, 1000.0]
    """
    x = float_of(x)
    if is_complex(dtype_of(x)):
        return p.log(p.add(p.exp(x), 1.0))
    return p.add(p.maximum(x, 0.0), p.log1p(p.exp(-p.abs(x))))


@softplus.vjp
def _(g, y, x):
    return [g * p.sigmoid(x)]


@op
def softsign(x):
    """`x / (1 + |x|)`.

    >>> from oneiros import ops
    >>> ops.softsign([-1.0, 3.0]).tolist()
    [-0.5, 0.75]
    """
    x = float_of(x)
    return p.divide(x, p.add(to_dtype(p.abs(x), dtype_of(x)), 1.0))


@op
def elu(x, alpha=1.0):
    """`x` above 0, `alpha * (exp(x) - 1)` below (Clevert et al., 2015).

    >>> from oneiros import ops
    >>> ops.elu([-1000.0, 2.0], alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    x = float_of(x)
    above = p.greater(x, 0.0)
    return p.select(above, x, p.multiply(p.expm1(p.select(above, 0.0, x)), alpha))


@op
def selu(x):
    """`elu` scaled so that activations keep mean 0 and variance 1 (Klambauer et al., 2017).

    >>> from oneiros import ops
    >>> [round(v, 4) for v in ops.selu([-1000.0, 1.0]).tolist()]
    [-1.7581, 1.0507]
    """
    return p.multiply(elu(x, SELU_ALPHA), SELU_SCALE)


@op
def celu(x, alpha=1.0):
    """`x` above 0, `alpha * (exp(x / alpha) - 1)` below: smooth at 0 for every `alpha` (Barron,
    2017).

    >>> from oneiros import ops
    >>> ops.celu([-1000.0, 2.0], alpha=2.0).tolist()
    [-2.0, 2.0]
    """
    x = float_of(x)
    above = p.greater(x, 0.0)
    return p.select(above, x, p.multiply(p.expm1(p.divide(p.select(above, 0.0, x), alpha)), alpha))


@op
def gelu(x, approximate=True):
    """`x` times the normal distribution function of `x` (Hendrycks and Gimpel, 2016).

    Args:
        x: Array.
        approximate: Whether to use the formula with tanh.

    >>> from oneiros import ops
    >>> [round(v, 4) for v in ops.gelu([-1.0, 1.0]).tolist()]
    [-0.1588, 0.8412]
    """
    x = float_of(x)
    if approximate:
        a, b = math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)
        inner = p.multiply(x, p.add(p.multiply(p.multiply(x, x), b), a))
        return p.multiply(x, p.add(p.multiply(p.tanh(inner), 0.5), 0.5))
    return p.multiply(p.multiply(x, p.erfc(p.multiply(x, -math.sqrt(0.5)))), 0.5)


@gelu.vjp
def _(g, y, x, approximate):
    if approximate:
        a, b = math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)
        square = x * x
        t = p.tanh(x * (square * b + a))
        slope = x * (1.0 - t * t) * (square * (3 * b) + a)
        return [g * ((t + 1.0 + slope) * 0.5), None]
    density = p.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return [g * (p.erfc(x * -math.sqrt(0.5)) * 0.5 + x * density), None]


@op
def leaky_relu(x, negative_slope=0.2):
    """`x` above 0, `negative_slope * x` below.

    >>> from oneiros import ops
    >>> ops.leaky_relu([-1.0, 2.0], negative_slope=0.5).tolist()
    [-0.5, 2.0]
    """
    x = float_of(x)
    return p.select(p.less(x, 0.0), p.multiply(x, negative_slope), x)


@op
def tanh_shrink(x):
    """`x - tanh(x)`.

    >>> from oneiros import ops
    >>> ops.tanh_shrink([0.0, 100.0]).tolist()
    [0.0, 99.0]
    """
    x = float_of(x)
    return x - p.tanh(x)


@op
def hard_sigmoid(x):
    """`relu6(x + 3) / 6`: straight lines in the manner of `sigmoid`.

    >>> from oneiros import ops
    >>> ops.hard_sigmoid([-4.0, 0.0, 4.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    return p.divide(relu6(p.add(float_of(x), 3.0)), 6.0)


@op
def hard_silu(x):
    """`x * hard_sigmoid(x)`, also called hard swish (Howard et al., 2019).

    >>> from oneiros import ops
    >>> ops.hard_silu([-4.0, 0.0, 4.0]).tolist()
    [-0.0, 0.0, 4.0]
    """
    x = float_of(x)
    return p.multiply(x, hard_sigmoid(x))


hard_swish = hard_silu


@op
def hard_tanh(x):
    """`x` held between -1 and 1.

    >>> from oneiros import ops
    >>> ops.hard_tanh([-4.0, 0.5, 4.0]).tolist()
    [-1.0, 0.5, 1.0]
    """
    return clip.body(x, -1, 1)


@op
def hard_shrink(x, threshold=0.5):
    """`x` where `|x| > threshold`, else 0.

    >>> from oneiros import ops
    >>> ops.hard_shrink([-0.4, 0.6]).tolist()
    [0.0, 0.6000000238418579]
    """
    x = float_of(x)
    return p.select(p.greater(p.abs(x), threshold), x, 0.0)


@op
def soft_shrink(x, threshold=0.5):
    """`x` moved towards 0 by `threshold`, and no further.

    >>> from oneiros import ops
    >>> ops.soft_shrink([-1.0, 0.4, 1.0]).tolist()
    [-0.5, 0.0, 0.5]
    """
    x = float_of(x)
    below = p.select(p.less(x, -threshold), p.add(x, threshold), 0.0)
    return p.select(p.greater(x, threshold), p.subtract(x, threshold), below)


@op
def threshold(x, threshold, default_value):
    """`x` where it is greater than `threshold`, else `default_value`.

    >>> from oneiros import ops
    >>> ops.threshold([-1.0, 2.0], 0.0, 7.0).tolist()
    [7.0, 2.0]
    """
    x, default_value = promote(x, default_value)
    return p.select(p.greater(x, threshold), x, default_value)


@op
def glu(x, axis=-1):
    """The first half of `x` along `axis` times the sigmoid of the second (Dauphin et al., 2016).

    >>> from oneiros import ops
    >>> ops.glu([1.0, 2.0, 0.0, 1000.0]).tolist()
    [0.5, 2.0]
    """
    x = float_of(x)
    (at,) = within(x, axis, "glu")
    if x.shape[at] % 2:
        raise ValueError(
            f"glu: axis {axis} must hold an even number; got an input of shape {tuple(x.shape)}"
        )
    half = x.shape[at] // 2
    first, second = (_part(x, at, i * half, (i + 1) * half) for i in range(2))
    return first * p.sigmoid(second)


def _part(x, axis, start, stop):
    """`x` from `start` to `stop` along `axis`."""
    rank = len(x.shape)
    starts = tuple(start if i == axis else 0 for i in range(rank))
    stops = tuple(stop if i == axis else n for i, n in enumerate(x.shape))
    return p.slice(x, start=starts, stop=stops, strides=(1,) * rank)


@op
def log_sigmoid(x):
    """`log(sigmoid(x))`, without underflow.

    >>> from oneiros import ops
    >>> ops.log_sigmoid([-1000.0, 1000.0]).tolist()
    [-1000.0, -0.0]
    """
    return -softplus(-float_of(x))


@op
def squareplus(x, b=4):
    """`(x + sqrt(x**2 + b)) / 2`, a smooth relu without exponentials (Barron, 2021).

    >>> from oneiros import ops
    >>> ops.squareplus([-1000000.0, 0.0]).tolist()
    [0.0, 1.0]
    """
    x = float_of(x)
    return p.multiply(p.add(x, p.sqrt(p.add(p.multiply(x, x), b))), 0.5)


@op
def sparse_plus(x):
    """0 up to -1, `(x + 1)**2 / 4` up to 1, `x` above.

    >>> from oneiros import ops
    >>> ops.sparse_plus([-2.0, 0.0, 3.0]).tolist()
    [0.0, 0.25, 3.0]
    """
    x = float_of(x)
    middle = p.add(p.maximum(x, -1.0), 1.0)
    return p.select(p.greater_equal(x, 1.0), x, p.multiply(p.multiply(middle, middle), 0.25))


@op
def sparse_sigmoid(x):
    """`(x + 1) / 2` held between 0 and 1.

    >>> from oneiros import ops
    >>> ops.sparse_sigmoid([-2.0, 0.0, 3.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    return p.minimum(p.maximum(p.add(p.multiply(float_of(x), 0.5), 0.5), 0.0), 1.0)


# Softmax ------------------------------------------------------------------------------------------
@op
def softmax(x, axis=-1):
    """`exp(x)` divided by its sum over `axis` (an int, a tuple, or None for all axes).

    >>> from oneiros import ops
    >>> ops.softmax([1000.0, 1000.0]).tolist()
    [0.5, 0.5]
    """
    x = float_of(x)
    axes = within(x, axis, "softmax")
    if math.prod(x.shape[i] for i in axes) == 1 and isinstance(axis, int):
        warnings.warn(
            f"softmax over axis {axis} of an array of shape {tuple(x.shape)}: the axis has size 1, "
            "so the "
            "result is always 1; did you mean sigmoid?",
            stacklevel=3,
        )
    e = p.exp(x - p.stop_gradient(over(p.reduce_max, x, axes)))
    return e / over(p.reduce_sum, e, axes)


@softmax.vjp
def _(g, y, x, axis):
    gy = g * y
    return [gy - y * over(p.reduce_sum, gy, within(x, axis, "softmax")), None]


@op
def log_softmax(x, axis=-1):
    """The logarithm of `softmax(x, axis)`, without underflow.

    >>> from oneiros import ops
    >>> ops.log_softmax([0.0, -1000.0]).tolist()
    [0.0, -1000.0]
    """
    x = float_of(x)
    axes = within(x, axis, "log_softmax")
    x = x - p.stop_gradient(over(p.reduce_max, x, axes))
    return x - p.log(over(p.reduce_sum, p.exp(x), axes))


@log_softmax.vjp
def _(g, y, x, axis):
    return [g - p.exp(y) * over(p.reduce_sum, g, within(x, axis, "log_softmax")), None]


@op
def logsumexp(x, axis=None, keepdims=False):
    """`log(sum(exp(x)))` over `axis`, without overflow.

    >>> from oneiros import ops
    >>> round(float(ops.logsumexp([1000.0, 1000.0])), 3)
    1000.693
    """
    x = float_of(x)
    axes = within(x, axis, "logsumexp")
    top = p.stop_gradient(over(p.reduce_max, x, axes))
    top = p.select(p.isfinite(top), top, 0.0)  # of infinities only: no inf - inf
    y = p.log(p.reduce_sum(p.exp(x - top), axes=axes))
    y = y + p.reshape(top, shape=tuple(y.shape))
    return p.reshape(y, shape=p.kept(x.shape, axes)) if keepdims else y


@logsumexp.vjp
def _(g, y, x, axis, keepdims):
    axes = within(x, axis, "logsumexp")
    return [spread(g, x, axes) * p.exp(x - spread(y, x, axes)), None, None]


@op
def sparsemax(x, axis=-1):
    """The point of the simplex that is nearest to `x` along `axis` (Martins and Astudillo, 2016).

    >>> from oneiros import ops
    >>> ops.sparsemax([2.0, 1.5, -1.0]).tolist()
    [0.75, 0.25, 0.0]
    """
    x = float_of(x)
    (at,) = within(x, axis, "sparsemax")
    falling = p.reverse(p.sort(x, axis=at), axes=(at,))
    shape = tuple(n if i == at else 1 for i, n in enumerate(x.shape))
    rank = p.add(p.iota(shape=shape, axis=at, dtype="int32"), 1)
    total = p.cumsum(falling, axis=at, reverse=False)
    reach = p.add(p.multiply(falling, p.cast(rank, dtype=dtype_of(x))), 1.0)
    inside = to_dtype(p.greater(reach, total), dtype_of(x))
    count = over(p.reduce_sum, inside, (at,))  # the size of the support
    level = p.divide(p.subtract(over(p.reduce_sum, p.multiply(falling, inside), (at,)), 1.0), count)
    return p.maximum(p.subtract(x, level), 0.0)
