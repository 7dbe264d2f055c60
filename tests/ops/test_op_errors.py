"""Wrong calls of ops: the type that Keras raises, one text for arrays and symbols, naming the op."""

import re

import pytest
from calls import evaluate, mapped, op_of

import oneiros
from oneiros import ops
from oneiros.core.spec import dtype_name

AXES = {
    "f(2,3), axis=5": "sum mean max min prod var std any all amax amin ptp logsumexp median nansum "
    "nanmean nanmax nanstd argmax argmin nanargmax cumsum cumprod nancumsum count_nonzero average sort "
    "argsort diff flip softmax log_softmax sparsemax glu normalize unstack squeeze trapezoid",
    "f(2,3), 1, axis=4": "take roll repeat quantile",
    "f(2,3), f(2,3)": "matmul dot",
    "f(2,3)": "cholesky det inv eigh eig slogdet logdet cholesky_inverse",
    "f(3)": "det inv cholesky fliplr tril",
    "c(3)": "signbit isneginf trunc fabs",
    "c(3), c(3)": "hypot heaviside fmod",
    "f(0,3)": "max min amax amin ptp nanmax nanmin median",
    "f(3), f(3)": "bitwise_and bitwise_or left_shift gcd lcm ldexp",
    "f(2,5,4), 9": "top_k",
    "f(2,5,4), 2, padding='odd'": "max_pool average_pool",
    "f(2,5,4), 2, data_format='odd'": "max_pool average_pool adaptive_max_pool",
    "f(2,5,4), g(3,4,2), padding='odd'": "conv conv_transpose",
    "f(2,5,4), g(3,3,4,2)": "conv depthwise_conv conv_transpose",
    "f(2,6,6,3), (3,)": "image.resize",
    "f(2,6,6,3), (3,3), 'odd'": "image.resize",
    "f(2,6,6,2)": "image.rgb_to_grayscale image.rgb_to_hsv image.hsv_to_rgb",
    "f(2,6)": "image.rgb_to_hsv image.sobel_edges image.gaussian_blur",
    "f(2,3), (4,2)": "reshape",
    "f(2,3), 1, 'odd'": "pad",
    "f(2,3), 0.5, method='odd'": "quantile nanquantile",
    "f(2,3), (0,0)": "transpose",
    "[f(2,3), f(3,2)]": "concatenate stack vstack dstack",
    "f(2,3), 0, 7": "swapaxes moveaxis",
    "f(5), 3": "split hsplit",
    "'ij,jk', f(2,3), f(4,5)": "einsum",
    "f(3), f(3), 'odd'": "correlate",
    "f(2,3), f(2,3), axes=3": "tensordot",
    "f(3), 2": "depth_to_space space_to_depth unfold",
    "f(2,3), 'float99'": "cast view",
}  # fmt: skip
ROWS = [f"{name}({args})" for args, names in AXES.items() for name in names.split()]


def caught(text, given=lambda structure: structure):
    """The error that a call raises."""
    with pytest.raises((ValueError, TypeError)) as found:
        evaluate(text, ops, given)
    return found.value


def as_symbols(structure):
    return mapped(structure, lambda x: oneiros.KerasTensor(x.shape, dtype_name(x.dtype)))


@pytest.mark.parametrize("text", ROWS)
def test_a_wrong_call_is_told_of_alike_for_arrays_and_symbols(text, backend, turn):
    if not turn(text):
        return
    message = str(caught(text))
    assert type(caught(text, as_symbols)) is type(caught(text))
    assert str(caught(text, as_symbols)) == message
    assert not re.search("80640|1680", message)
    assert op_of(text).rpartition(".")[2] in message or op_of(text) in UNNAMED, message


# Ops that speak through another one, or of the argument alone
UNNAMED = set(
    "max_pool average_pool adaptive_max_pool cast view nansum nanstd average stack vstack dstack".split()
)
