"""Matrix products by BLAS, called from numba's code by name.

NumPy's own library is taken where it can be found, as it is newer than SciPy's, which numba takes.
A function is known to LLVM by a name of ours, so that code that calls it can be kept on disk.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.np import arrayobj

__all__ = ["PRODUCTS"]


def _address(name):
    """Where the Fortran routine is: its integers have 64 bits in NumPy's library, 32 in SciPy's."""
    for path in Path(np.__file__).parent.parent.glob("numpy.libs/*openblas64*"):
        routine = getattr(ctypes.CDLL(str(path)), f"scipy_{name}_64_", None)
        if routine is not None:
            return ctypes.cast(routine, ctypes.c_void_p).value
    return numba.extending.get_cython_function_address("scipy.linalg.cython_blas", name)


for name in ("sgemm", "dgemm"):
    llvmlite.binding.add_symbol(f"oneiros_{name}", _address(name))


def _product(turned_x, turned_y):
    """`out = x @ y + rest * out` for C-contiguous matrices, either of which may be given turned."""

    @numba.extending.intrinsic
    def product(typingctx, x, y, out, rest):
        def codegen(context, builder, signature, args):
            a, b, c = (
                arrayobj.make_array(t)(context, builder, v)
                for t, v in zip(signature.args[:3], args)
            )
            shape_a, shape_b = (cgutils.unpack_tuple(builder, v.shape, 2) for v in (a, b))
            k, m = shape_a if turned_x else shape_a[::-1]
            n = shape_b[0] if turned_y else shape_b[1]
            number = context.get_value_type(out.dtype)
            place = lambda v: builder.bitcast(cgutils.alloca_once_value(builder, v), pointer)
            pointer = ir.IntType(8).as_pointer()
            letter = lambda turned: place(ir.Constant(ir.IntType(8), ord("T" if turned else "N")))
            size = lambda v: place(builder.zext(v, ir.IntType(64)) if v.type.width < 64 else v)
            data = lambda v: builder.bitcast(v.data, pointer)
            beta = context.cast(builder, args[3], signature.args[3], out.dtype)
            values = [  # columns first: the product is turned
                letter(turned_y), letter(turned_x), size(n), size(m), size(k),
                place(ir.Constant(number, 1.0)), data(b), size(shape_b[1]), data(a),
                size(shape_a[1]), place(beta), data(c), size(n),
            ]  # fmt: skip
            kind = ir.FunctionType(ir.VoidType(), [pointer] * len(values))
            routine = f"oneiros_{'s' if out.dtype.bitwidth == 32 else 'd'}gemm"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, routine), values)
            return context.get_dummy_value()

        return numba.types.void(x, y, out, rest), codegen

    return product


PRODUCTS = {
    f"product_{'nt'[i]}{'nt'[j]}": _product(bool(i), bool(j)) for i in range(2) for j in range(2)
}
