"""The names that files give to ops: Keras's class and module, and which arguments are the node's
own.

A class has the function's name in CamelCase, and the function's home is NumPy's namespace; what
differs
stands in the tables. A node holds the operands; the settings stand in the op's config.
"""

from __future__ import annotations

import functools

from oneiros.core import tree
from oneiros.core.op import OPS, VARIABLES
from oneiros.core.symbol import Symbol

__all__ = ["class_name_of", "function_of", "module_of", "split_arguments"]


def class_name_of(function):
    """The class name under which files hold a call of `function`."""
    return CLASSES.get(function.name) or _camel(function.name)


def module_of(function):
    """The module that files name beside it."""
    return f"keras.src.ops.{_homes().get(class_name_of(function), 'numpy')}"


def function_of(class_name):
    """The op of a class name, or None."""
    from oneiros import ops

    name = _by_class(len(OPS)).get(class_name)
    return None if name is None else getattr(ops, name, None) or getattr(ops.image, name, None)


def split_arguments(call):
    """The arguments of a call of an op: (operands by name, settings by name).

    Operands are in the order of the node's arguments; those that are absent before given ones are
    None.
    """
    bound = call.target.op.signature.bind(*call.args, **call.kwargs)
    bound.apply_defaults()
    name = call.target.name
    held = operands_of(name, tuple(bound.arguments))
    operands = {n: bound.arguments[n] for n in held if n in bound.arguments}
    settings = {n: v for n, v in bound.arguments.items() if n not in operands and n != "kwargs"}
    settings |= bound.arguments.get("kwargs", {})
    for key in named_by(call):
        settings.pop(key, None)
    for key, value in list(settings.items()):
        if any(isinstance(v, Symbol) or type(v) in VARIABLES for v in tree.flatten(value)):
            operands[key] = settings.pop(key)
    star = next((p.name for p in _parameters(name) if p.kind is p.VAR_POSITIONAL), None)
    if star in operands:
        rest = operands.pop(star)
        operands |= {f"{star}_{i}": x for i, x in enumerate(rest)}
    while operands and operands[key := next(reversed(operands))] is None:
        del operands[key]
    return operands, settings


def named_by(call):
    """The parameters that take keywords of any name, and what the call gave there."""
    bound = call.target.op.signature.bind(*call.args, **call.kwargs)
    free = [p.name for p in _parameters(call.target.name) if p.kind is p.VAR_KEYWORD]
    return {n: bound.arguments[n] for n in free if n != "kwargs" and n in bound.arguments}


def operands_of(name, parameters):
    """The names of those among an op's parameters that a node holds."""
    if name in HELD:
        return HELD[name].split()
    settings = SETTINGS.get(name, "").split()
    return [p for p in parameters if p in OPERANDS and p not in settings]


def _parameters(name):
    return OPS[name].signature.parameters.values()


def _camel(name):
    """`reduce_max` as `ReduceMax`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


@functools.cache
def _homes():
    """Class names to the modules of those that are not in NumPy's."""
    return {name: module for module, names in MODULES.items() for name in names.split()}


@functools.lru_cache(maxsize=1)
def _by_class(count):
    return {CLASSES.get(name) or _camel(name): name for name in OPS}


CLASSES = {
    "allclose": "AllClose",
    "isin": "IsIn",
    "searchsorted": "SearchSorted",
    "batch_normalization": "BatchNorm",
    "layer_normalization": "LayerNorm",
    "rms_normalization": "RMSNorm",
    "ctc_loss": "CTCLoss",
    "ctc_decode": "CTCDecode",
    "psnr": "PSNR",
    "cdist": "CDist",
    "fft": "FFT",
    "fft2": "FFT2",
    "ifft2": "IFFT2",
    "rfft": "RFFT",
    "irfft": "IRFFT",
    "stft": "STFT",
    "istft": "ISTFT",
    "rgb_to_grayscale": "RGBToGrayscale",
    "rgb_to_hsv": "RGBToHSV",
    "hsv_to_rgb": "HSVToRGB",
    "ssim": "SSIM",
    "svd": "SVD",
    "jvp": "JVP",
}
MODULES = {
    "einops": "Rearrange",
    "nn": "Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign SoftShrink SparsePlus Silu Squareplus "
    "LogSigmoid LeakyRelu HardSigmoid HardSilu Elu Selu Gelu Celu Glu TanhShrink HardTanh HardShrink "
    "Threshold Softmax LogSoftmax Sparsemax MaxPool AdaptiveMaxPool AveragePool AdaptiveAveragePool Conv "
    "DepthwiseConv SeparableConv ConvTranspose OneHot BinaryCrossentropy CategoricalCrossentropy "
    "SparseCategoricalCrossentropy MultiHot Moments BatchNorm CTCLoss CTCDecode Normalize PSNR "
    "DotProductAttention RMSNorm LayerNorm Polar Unfold Fold DepthToSpace SpaceToDepth",
    "core": "Map Scan AssociativeScan Scatter ScatterUpdate Slice SliceUpdate Switch WhileLoop StopGradient "
    "ForiLoop Unstack Cast SaturateCast ConvertToTensor Cond VectorizedMap",
    "math": "SegmentReduction SegmentSum SegmentMax SegmentMin SegmentProd TopK InTopK Logsumexp CDist "
    "ExtractSequences FFT FFT2 IFFT2 RFFT IRFFT STFT ISTFT Rsqrt Erf Erfc Erfinv Logdet ViewAsComplex "
    "ViewAsReal",
    "image": "RGBToGrayscale RGBToHSV HSVToRGB Resize AffineTransform ExtractPatches MapCoordinates "
    "PadImages CropImages PerspectiveTransform GaussianBlur ElasticTransform ScaleAndTranslate SobelEdges "
    "SSIM",
    "linalg": "Cholesky CholeskyInverse Det Eig Eigh Inv LuFactor Norm Qr Solve SolveTriangular SVD Lstsq "
    "MatrixRank Pinv JVP",
}
# Parameters that nodes hold, in whichever op they stand.
OPERANDS = frozenset(
    "x x1 x2 y xs inputs a b condition indices values updates start_indices query key value kernel target "
    "output bias mask gamma beta mean variance offset scale data segment_ids images image1 image2 weights "
    "operands elements depthwise_kernel pointwise_kernel coordinates sorted_sequence bins branches index "
    "true_fn false_fn pred variable target_length output_length sequence_lengths transform "
    "start_points end_points translation primals tangents abs_ angle array".split()
)
SETTINGS = {
    "bincount": "weights",
    "diagonal": "offset",
    "histogram": "bins",
    "normalize": "scale",
    "squareplus": "b",
    "trace": "offset",
    "trapezoid": "x",
}
# Ops whose nodes hold other parameters, in order.
HELD = {
    "rearrange": "tensor pattern",
    "arange": "start stop step",
    "associative_scan": "f elems",
    "dot_product_attention": "query key value bias mask scale",
    "fori_loop": "init_val",
    "full": "fill_value",
    "full_like": "x fill_value",
    "geomspace": "start stop",
    "in_top_k": "targets predictions",
    "isclose": "x1 x2 rtol atol",
    "jvp": "fun primals tangents",
    "linspace": "start stop",
    "logspace": "start stop",
    "map": "f xs",
    "nanpercentile": "x q",
    "nanquantile": "x q",
    "pad": "x constant_values",
    "percentile": "x q",
    "quantile": "x q",
    "scan": "f init xs",
    "select": "condlist choicelist default",
    "while_loop": "loop_vars",
}
