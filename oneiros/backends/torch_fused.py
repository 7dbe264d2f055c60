"""PyTorch's own kernels for composites, and how a step differentiates them (islands).

A kernel has the op's own signature and gives NotImplemented where it does not do what the op says.
An island is a pair: `forward(*args)` gives the outputs and a tape, `backward(tape, *g)` the
cotangents of the floating arguments; `by_autograd` makes one of a kernel, by PyTorch's derivative
of that one call.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from oneiros.core import config
from oneiros.core.symbol import Symbol

__all__ = ["FASTER", "ISLANDS", "KEPT"]

ENGINE = torch.autograd.Variable._execution_engine
FLOATS = (torch.float32, torch.float64)
NAMES = ("float32", "float64")


def is_float(x):
    return isinstance(x, torch.Tensor) and x.dtype in FLOATS


def symbolic(x, rank=None):
    """Whether `x` is a symbol of a usual floating dtype (and of this rank)."""
    return isinstance(x, Symbol) and x.dtype in NAMES and (rank is None or len(x.shape) == rank)


def by_autograd(kernel):
    """An island of a kernel: the tape is PyTorch's own."""

    def forward(*args, needs):
        wanted = iter(needs)
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_(next(wanted)) if is_float(x) else x for x in args]
            made = kernel(*leaves)
        outputs = made if isinstance(made, tuple) else (made,)
        detached = tuple(y.detach() for y in outputs)
        return detached if isinstance(made, tuple) else detached[0], (outputs, leaves, needs)

    def backward(tape, *g):
        outputs, leaves, needs = tape
        pairs = [(y, v) for y, v in zip(outputs, g) if v is not None]
        moving = [x for x in leaves if is_float(x) and x.requires_grad]
        ys, gs = [y for y, _ in pairs], [v for _, v in pairs]
        # What `torch.autograd.grad` does, but for checks of shapes that import sympy.
        made = ENGINE.run_backward(
            tuple(ys), tuple(gs), False, False, tuple(moving),
            allow_unreachable=True, accumulate_grad=False,
        )  # fmt: skip
        made = iter(torch.zeros_like(x) if v is None else v for v, x in zip(made, moving))
        return [next(made) if need else None for need in needs]

    forward.taped = True
    return forward, backward


# Activations ---------------------------------------------
def plain(f, *more):
    """`f(x)` for floats."""

    def kernel(x, *args, **named):
        return f(x, *more) if is_float(x) and not args and not named else NotImplemented

    return kernel


def over_axis(f):
    """`f(x, axis)` for floats and one axis."""

    def kernel(x, axis=-1):
        if not is_float(x) or type(axis) is not int or x.shape[axis] == 1:
            return NotImplemented
        return f(x, axis)

    return kernel


def gelu(x, approximate=True):
    return (
        F.gelu(x, approximate="tanh" if approximate else "none") if is_float(x) else NotImplemented
    )


def reduced(f):
    """`f` over axes, of floats."""

    def kernel(x, axis=None, keepdims=False):
        if not is_float(x) or not x.numel():
            return NotImplemented
        if axis is None:
            axis = tuple(range(x.dim()))
        if axis == ():
            return NotImplemented
        return f(x, axis, keepdims)

    return kernel


def matmul(x1, x2):
    if is_float(x1) and is_float(x2) and x1.dtype is x2.dtype and x1.dim() > 1 and x2.dim() > 1:
        return torch.matmul(x1, x2)
    return NotImplemented


def affine(x, kernel, bias):
    if not is_float(x) or not x.dtype is kernel.dtype is bias.dtype or kernel.dim() != 2:
        return NotImplemented
    if x.dim() == 2:
        return torch.addmm(bias, x, kernel)
    return F.linear(x, kernel.t(), bias) if x.dim() > 2 else NotImplemented


def divide_no_nan(x1, x2):
    if not (is_float(x1) and is_float(x2)) or x1.dtype is not x2.dtype:
        return NotImplemented
    still = x2 == 0
    if not (torch.is_grad_enabled() and (x1.requires_grad or x2.requires_grad)):
        return (x1 / x2).masked_fill_(still, 0.0)
    return torch.where(still, 0.0, x1 / torch.where(still, 1.0, x2))


# Crossentropy ---------------------------------------------
def classes_kept(target, output, from_logits, axis):
    return (
        from_logits and symbolic(output, 2) and axis in (-1, 1) and isinstance(target, Symbol)
        and len(target.shape) == 1
    )  # fmt: skip


def classes(target, output, from_logits=False, axis=-1):
    if not (from_logits and is_float(output) and output.dim() == 2 and axis in (-1, 1)):
        return NotImplemented
    if target.dim() != 1:
        return NotImplemented
    return classes_forward(target, output, from_logits, axis)[0]


NONE, NOBODY = 0, -100  # PyTorch's: no reduction, the class that is left out
CLASSES_BACK = torch.ops.aten.nll_loss_backward.default
SOFTMAX_BACK = torch.ops.aten._log_softmax_backward_data.default


def classes_forward(target, output, from_logits, axis):
    logs = torch.log_softmax(output, -1)
    places = target.to(torch.int64)
    if logs.device.type == "cpu":
        try:
            loss = torch._C._nn.nll_loss(logs, places, None, NONE, NOBODY)
            return loss, (logs, places, None, target.is_floating_point())
        except IndexError:  # a class that there is not: its loss is 0
            pass
    inside = places.clamp(0, output.shape[1] - 1)
    fits = (inside == places).to(logs.dtype)
    inside = inside.unsqueeze(1)
    loss = logs.gather(1, inside).squeeze(1).mul(fits).neg()
    return loss, (logs, inside, fits, target.is_floating_point())


def classes_backward(tape, g):
    logs, inside, fits, more = tape
    if fits is None:
        g = CLASSES_BACK(g, logs, inside, None, NONE, NOBODY, logs.new_empty(()))
        return (*[None] * more, SOFTMAX_BACK(g, logs, 1, logs.dtype))
    slope = torch.exp(logs)
    slope.scatter_add_(1, inside, slope.new_full((1, 1), -1.0).expand(len(slope), 1))
    return (*[None] * more, slope.mul_((g * fits).unsqueeze(1)))


# Normalization ---------------------------------------------
def layer_kept(x, gamma, beta, axis, epsilon):
    last = (
        axis == -1 or isinstance(axis, (list, tuple)) and list(axis) in ([-1], [len(x.shape) - 1])
    )
    last = last or axis == len(x.shape) - 1
    return (
        symbolic(x) and last and symbolic(gamma, 1) and symbolic(beta, 1) and x.dtype == gamma.dtype
    )


def layer_normalization(x, gamma=None, beta=None, axis=-1, epsilon=None, **kwargs):
    one = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
    if not is_float(x) or kwargs or one not in (-1, x.dim() - 1) or x.shape[-1] == 0:
        return NotImplemented
    if any(w is not None and (not is_float(w) or w.dim() != 1) for w in (gamma, beta)):
        return NotImplemented
    return F.layer_norm(
        x, x.shape[-1:], gamma, beta, config.epsilon() if epsilon is None else epsilon
    )


def layer_forward(x, gamma, beta, axis, epsilon):
    epsilon = config.epsilon() if epsilon is None else epsilon
    y, mean, factor = torch.native_layer_norm(x, x.shape[-1:], gamma, beta, epsilon)
    return y, (x, gamma, beta, mean, factor)


LAYER_BACK = torch.ops.aten.native_layer_norm_backward.default


def layer_backward(tape, g):
    x, gamma, beta, mean, factor = tape
    return LAYER_BACK(g, x, x.shape[-1:], mean, factor, gamma, beta, [True, True, True])


def batch_kept(x, scale, offset, axis, epsilon):
    return (
        symbolic(x) and len(x.shape) > 1 and 0 not in x.shape
        and all(v is None or symbolic(v, 1) and v.dtype == x.dtype for v in (scale, offset))
    )  # fmt: skip


def batch_normalized(x, scale, offset, axis, epsilon):
    weights = [v for v in (scale, offset) if v is not None]
    if not is_float(x) or x.dim() < 2 or not x.numel():
        return NotImplemented
    if any(v.dtype is not x.dtype or v.dim() != 1 for v in weights):
        return NotImplemented
    return batch_forward(x, scale, offset, axis, epsilon)[0]


def channels_second(x, axis):
    """`x` as PyTorch's kernel takes it quickest, with the channels on the second axis."""
    if x.dim() < 4 and axis == x.dim() - 1:
        return x.reshape(-1, x.shape[-1])
    return x.movedim(axis, 1)


def channels_at(y, axis, like):
    """`channels_second` undone."""
    return y.reshape(like.shape) if y.dim() != like.dim() else y.movedim(1, axis)


def batch_forward(x, scale, offset, axis, epsilon):
    rows = channels_second(x, axis)
    y, mean, factor = torch.native_batch_norm(rows, scale, offset, None, None, True, 0.0, epsilon)
    variance = (factor.detach() ** -2).sub_(epsilon).clamp_min_(0.0)
    tape = x, rows, scale, offset, axis, epsilon, mean, factor
    return (channels_at(y, axis, x), mean.detach(), variance), tape


BATCH_BACK = torch.ops.aten.native_batch_norm_backward.default


def batch_backward(tape, g, g_mean, g_variance):
    x, rows, scale, offset, axis, epsilon, mean, factor = tape
    made = [
        torch.zeros_like(rows),
        *[None if v is None else torch.zeros_like(v) for v in (scale, offset)],
    ]
    if g is not None:
        wanted = [True, scale is not None, offset is not None]
        g = channels_second(g, axis)
        made = BATCH_BACK(g, rows, scale, None, None, mean, factor, True, epsilon, wanted)
    slope, n = made[0], rows.numel() // mean.numel()
    along = (-1, *(1,) * (rows.dim() - 2))
    if g_mean is not None:
        slope = slope + (g_mean / n).reshape(along)
    if g_variance is not None:
        slope = slope + (rows - mean.reshape(along)) * (g_variance * (2 / n)).reshape(along)
    given = [v for v, w in zip(made[1:], (scale, offset)) if w is not None]
    return channels_at(slope, axis, x), *given


# Attention ---------------------------------------------
def attention_kept(query, key, value, bias, mask, scale, is_causal, flash_attention, cap):
    return (
        bias is None and cap is None and mask is None and symbolic(query, 4)
        and symbolic(key, 4) and symbolic(value, 4) and query.dtype == key.dtype == value.dtype
        and query.shape[2] == key.shape[2]
    )  # fmt: skip


def attention(
    query, key, value, bias=None, mask=None, scale=None, is_causal=False, flash_attention=None,
    attn_logits_soft_cap=None,
):  # fmt: skip
    if bias is not None or attn_logits_soft_cap is not None or mask is not None:
        return NotImplemented
    if not all(is_float(x) and x.dim() == 4 for x in (query, key, value)):
        return NotImplemented
    if query.shape[2] != key.shape[2] or query.dtype is not key.dtype:
        return NotImplemented
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=bool(is_causal), scale=scale)
    return y.transpose(1, 2)


# Recurrent layers ---------------------------------------------
def lstm(xs, hidden, cell, kernel, recurrent_kernel, bias, reverse=False):
    """As the op `lstm`: time first, the gates in the order input, forget, cell, output."""
    if not is_float(xs):
        return NotImplemented
    xs = xs.flip(0) if reverse else xs
    weights = [
        kernel.t().contiguous(),
        recurrent_kernel.t().contiguous(),
        bias,
        torch.zeros_like(bias),
    ]
    state = [hidden.unsqueeze(0), cell.unsqueeze(0)]
    ys, h, c = torch.lstm(xs, state, weights, True, 1, 0.0, False, False, False)
    return ys.flip(0) if reverse else ys, h.squeeze(0), c.squeeze(0)


def gru(xs, hidden, kernel, recurrent_kernel, bias, reverse=False):
    """As the op `gru`: the gates in the order update, reset, candidate (PyTorch's first two swap)."""
    if not is_float(xs):
        return NotImplemented
    xs = xs.flip(0) if reverse else xs
    rows = []
    for x in (kernel.t(), recurrent_kernel.t(), bias[0], bias[1]):
        update, reset, rest = x.chunk(3)
        rows.append(torch.cat([reset, update, rest]))
    ys, h = torch.gru(xs, hidden.unsqueeze(0), rows, True, 1, 0.0, False, False, False)
    return ys.flip(0) if reverse else ys, h.squeeze(0)


def all_floats(*args):
    return all(symbolic(x) for x in args if isinstance(x, Symbol)) and len({
        x.dtype for x in args if isinstance(x, Symbol)
    }) == 1  # fmt: skip


def adam_update(weight, g, mean, square, lr, beta_1, beta_2, epsilon):
    if not is_float(weight):
        return NotImplemented
    mean = torch.lerp(mean, g, 1 - beta_1)
    square = torch.lerp(square, g * g, 1 - beta_2)
    return weight - lr * mean / (square.sqrt() + epsilon), mean, square


FASTER = {
    "relu": plain(torch.relu), "silu": plain(F.silu), "gelu": gelu, "square": plain(torch.square),
    "softmax": over_axis(torch.softmax), "log_softmax": over_axis(torch.log_softmax),
    "sum": reduced(torch.sum), "mean": reduced(torch.mean), "matmul": matmul, "affine": affine,
    "divide_no_nan": divide_no_nan,
    "sparse_categorical_crossentropy": classes, "layer_normalization": layer_normalization, "batch_normalized": batch_normalized,
    "dot_product_attention": attention, "lstm": lstm, "gru": gru, "adam_update": adam_update,
}  # fmt: skip
ISLANDS = {
    "sparse_categorical_crossentropy": (classes_forward, classes_backward),
    "layer_normalization": (layer_forward, layer_backward),
    "batch_normalized": (batch_forward, batch_backward),
    "dot_product_attention": by_autograd(attention),
    "lstm": by_autograd(lstm),
    "gru": by_autograd(gru),
}
KEPT = {  # what a traced step keeps whole, and when
    "sparse_categorical_crossentropy": classes_kept,
    "layer_normalization": layer_kept,
    "batch_normalized": batch_kept,
    "dot_product_attention": attention_kept,
    "lstm": all_floats,
    "gru": all_floats,
    "adam_update": all_floats,
    **dict.fromkeys(("relu", "silu"), symbolic),
    "softmax": lambda x, axis: symbolic(x) and type(axis) is int and x.shape[axis] != 1,
    "log_softmax": lambda x, axis: symbolic(x) and type(axis) is int and x.shape[axis] != 1,
}
