"""PyTorch's kernels for composites of sorting, counting, windows and images; see `torch_fused.py`.

A kernel that may give NotImplemented because of values takes the op's body there itself, so that a
traced step can keep it whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from oneiros.backends import torch_fused
from oneiros.backends.torch_fused import by_autograd, is_float, symbolic
from oneiros.core import config
from oneiros.core.op import OPS
from oneiros.core.symbol import Symbol

__all__ = ["FASTER", "ISLANDS", "KEPT"]

COUNTS = (torch.int32, torch.int64)


def is_vector(x, dtypes):
    return isinstance(x, torch.Tensor) and x.dim() == 1 and x.dtype in dtypes


def body(name, *args):
    return OPS[name].body(*args)


# Reductions ----------------------------------------------
def spread(f):
    """`f(x, axis, keepdims)` for floats and given axes."""

    def kernel(x, axis=None, keepdims=False):
        if not is_float(x) or not x.numel():
            return NotImplemented
        axis = tuple(range(x.dim())) if axis is None else axis
        return NotImplemented if axis == () or type(axis) is list else f(x, axis, keepdims)

    return kernel


def norm(x, ord=None, axis=None, keepdims=False):
    if ord is not None or not is_float(x) or not x.numel() or type(axis) is not int:
        return NotImplemented
    return torch.linalg.vector_norm(x, dim=axis, keepdim=keepdims)


def quantile(x, q, axis=None, method="linear", keepdims=False):
    """Of arrays that PyTorch takes: it sorts 16 million elements at most."""
    usual = is_float(x) and 0 < x.numel() <= 1 << 24 and type(q) is float and 0 <= q <= 1
    if not usual or method != "linear" or type(axis) not in (int, type(None)):
        return NotImplemented
    return torch.quantile(x, q, dim=axis, keepdim=keepdims)


# Sorting and counting ------------------------------------
def sort(x, axis=-1):
    if not is_float(x) or type(axis) is not int or not x.dim():
        return NotImplemented
    return torch.sort(x, dim=axis)[0]


def take(x, indices, axis=None):
    usual = isinstance(indices, torch.Tensor) and indices.dim() and indices.dtype in COUNTS
    if not usual or type(axis) is not int:
        return NotImplemented
    axis = axis + x.dim() if axis < 0 else axis
    made = x.index_select(axis, indices.reshape(-1))  # fails on negative ones
    return made if indices.dim() == 1 else made.unflatten(axis, indices.shape)


def searchsorted(sorted_sequence, values, side="left"):
    same = isinstance(values, torch.Tensor) and values.dtype is sorted_sequence.dtype
    if not same or not is_vector(sorted_sequence, (torch.float32, torch.int32)):
        return NotImplemented
    if side not in ("left", "right"):
        return NotImplemented
    if sorted_sequence.is_floating_point() and bool(sorted_sequence[-1:].isnan().any()):
        return body("searchsorted", sorted_sequence, values, side)
    return torch.searchsorted(sorted_sequence, values.contiguous(), side=side, out_int32=True)


def bincount(x, weights=None, minlength=0, sparse=False):
    if weights is not None or sparse or not is_vector(x, COUNTS):
        return NotImplemented
    try:
        return torch.bincount(x, minlength=minlength).to(torch.int32)
    except RuntimeError:  # negative numbers
        return NotImplemented


def unique(
    x,
    sorted=True,
    return_index=False,
    return_inverse=False,
    return_counts=False,
    axis=None,
    size=None,
    fill_value=None,
):
    if return_index or axis is not None or size is not None or x.dtype not in (
        torch.float32, torch.int32
    ):  # fmt: skip
        return NotImplemented
    if x.is_floating_point() and bool(x.isnan().any()):  # to PyTorch each is another one
        return NotImplemented
    made = torch.unique(x, return_inverse=return_inverse, return_counts=return_counts)
    if not isinstance(made, tuple):
        return made
    return made[0], *(v.to(torch.int32) for v in made[1:])


def segment_sum(data, segment_ids, num_segments=None, sorted=False):
    if not is_float(data) or type(num_segments) is not int or not is_vector(segment_ids, COUNTS):
        return NotImplemented
    if data.shape[:1] != segment_ids.shape:
        return NotImplemented
    total = data.new_zeros((num_segments, *data.shape[1:]))
    try:
        return total.index_add(0, segment_ids, data)
    except (IndexError, RuntimeError):  # a segment that there is not
        return NotImplemented


# Crossentropies ------------------------------------------
def binary_crossentropy(target, output, from_logits=False):
    if not is_float(output) or not isinstance(target, torch.Tensor):
        return NotImplemented
    if target.dtype is not output.dtype or target.shape != output.shape:
        return NotImplemented
    if from_logits:
        return F.binary_cross_entropy_with_logits(output, target, reduction="none")
    low = config.epsilon()
    inside = output.clip(low, 1.0 - low)
    return F.binary_cross_entropy(inside, target, reduction="none")


def ctc_loss(target, output, target_length, output_length, mask_index=0):
    """The body's where no path fits, or where the labels are not PyTorch's to take."""
    args = target, output, target_length, output_length
    usual = is_float(output) and output.dim() == 3 and all(
        isinstance(x, torch.Tensor) and x.dtype in COUNTS for x in (target, *args[2:])
    )  # fmt: skip
    if not usual or type(mask_index) is not int or not target.numel():
        return body("ctc_loss", *args, mask_index)
    try:
        logs = torch.log_softmax(output, -1).transpose(0, 1)
        loss = F.ctc_loss(logs, target, output_length, target_length, mask_index, "none")
    except (RuntimeError, IndexError, ValueError):
        return body("ctc_loss", *args, mask_index)
    fits = torch.isfinite(loss.detach()).all() and not (target == mask_index).any()
    return loss if fits else body("ctc_loss", *args, mask_index)


def ctc_kept(target, output, target_length, output_length, mask_index):
    sizes = (target, target_length, output_length)
    return symbolic(output, 3) and all(isinstance(x, Symbol) and "int" in x.dtype for x in sizes)


# Windows and images --------------------------------------
POOLS = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}


def average_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    """With padding that PyTorch has: the same on both ends, or one more at each end behind."""
    rank = inputs.dim() - 2
    layout = data_format or config.image_data_format()
    if not is_float(inputs) or inputs.dim() not in POOLS or padding not in ("same", "valid"):
        return NotImplemented
    size, step = (
        (x,) * rank if type(x) is int else x
        for x in (pool_size, pool_size if strides is None else strides)
    )
    plain = all(type(x) is tuple and len(x) == rank for x in (size, step))
    if not plain or layout not in ("channels_last", "channels_first"):
        return NotImplemented
    x = inputs if layout == "channels_first" else inputs.movedim(-1, 1)
    before, behind = [0] * rank, False
    if padding == "same":
        for i, (n, k, s) in enumerate(zip(x.shape[2:], size, step)):
            total = max((-(-n // s) - 1) * s + k - n, 0)
            before[i] = total // 2
            behind = behind or total % 2
        if behind and any(before):
            return NotImplemented
    elif any(n < k for n, k in zip(x.shape[2:], size)):
        return NotImplemented
    y = POOLS[inputs.dim()](x, size, step, tuple(before), bool(behind), False)
    if padding == "same" and list(y.shape[2:]) != [-(-n // s) for n, s in zip(x.shape[2:], step)]:
        return NotImplemented
    return y if layout == "channels_first" else y.movedim(1, -1)


def resize(
    images,
    size,
    interpolation="bilinear",
    antialias=False,
    crop_to_aspect_ratio=False,
    pad_to_aspect_ratio=False,
    fill_mode="constant",
    fill_value=0.0,
    data_format=None,
):
    plain = not (antialias or crop_to_aspect_ratio or pad_to_aspect_ratio)
    layout = data_format or config.image_data_format()
    if not plain or interpolation != "bilinear" or not is_float(images) or images.dim() != 4:
        return NotImplemented
    pair = type(size) in (tuple, list) and [type(n) for n in size] == [int, int]
    if not pair or min(size) < 1 or layout not in ("channels_last", "channels_first"):
        return NotImplemented
    x = images if layout == "channels_first" else images.movedim(-1, 1)
    y = F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
    return y if layout == "channels_first" else y.movedim(1, -1)


def resize_kept(images, size, interpolation, antialias, crop, pad, *_):
    plain = not (antialias or crop or pad) and interpolation == "bilinear"
    return plain and symbolic(images, 4) and len(size) == 2


def stft(x, sequence_length, sequence_stride, fft_length, window="hann", center=True):
    if not is_float(x) or x.dim() != 2 or window != "hann" or x.shape[-1] <= fft_length:
        return NotImplemented
    if not 1 < sequence_length <= fft_length or type(center) is not bool:
        return NotImplemented
    shape = torch.hann_window(sequence_length, dtype=x.dtype, device=x.device)
    made = torch.stft(
        x, fft_length, sequence_stride, sequence_length, shape, center, "reflect",
        return_complex=True,
    ).mT  # fmt: skip
    return made.real, made.imag


FASTER = {
    **torch_fused.FASTER,
    "var": spread(lambda x, axis, keep: torch.var(x, axis, correction=0, keepdim=keep)),
    "logsumexp": spread(torch.logsumexp), "norm": norm, "quantile": quantile, "sort": sort,
    "searchsorted": searchsorted, "bincount": bincount, "unique": unique,
    "take": take, "segment_sum": segment_sum, "binary_crossentropy": binary_crossentropy,
    "ctc_loss": ctc_loss, "average_pool": average_pool, "resize": resize, "stft": stft,
}  # fmt: skip
ISLANDS = torch_fused.ISLANDS | {
    name: by_autograd(FASTER[name]) for name in ("gelu", "sort", "quantile", "ctc_loss", "resize")
}
KEPT = {
    **torch_fused.KEPT,
    "gelu": lambda x, approximate: symbolic(x),
    "sort": lambda x, axis: symbolic(x) and type(axis) is int and bool(x.shape),
    "quantile": lambda x, q, axis, method, keepdims: (
        symbolic(x) and type(q) is float and 0 <= q <= 1 and 0 < x.size <= 1 << 24
        and method == "linear" and type(axis) in (int, type(None))
    ),
    "searchsorted": lambda x, v, side: (
        isinstance(x, Symbol) and isinstance(v, Symbol) and len(x.shape) == 1
        and x.dtype == v.dtype and x.dtype in ("float32", "int32")
    ),
    "ctc_loss": ctc_kept, "resize": resize_kept,
}  # fmt: skip
