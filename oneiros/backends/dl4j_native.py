"""ND4J's engine in this process: started by a JVM, called through the C functions under its Java.

JPype starts the JVM and ND4J in it, which unpacks and prepares the engine. The calls of a step then
go to the functions of the engine's library that Java's own calls end in, by ctypes: a third of the
way through Java, and arrays are NumPy's memory as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import weakref
from ctypes import c_bool, c_char, c_char_p, c_double, c_int, c_longlong, c_void_p
from pathlib import Path

import jpype

from oneiros.backends import dl4j_setup
from oneiros.core.dtypes import np_dtype

__all__ = ["DTYPES", "Memory", "native"]

DTYPES = {
    "bool": 1, "float16": 3, "float32": 5, "float64": 6, "int8": 7, "int16": 8, "int32": 9,
    "int64": 10, "uint8": 11, "uint16": 12, "uint32": 13, "uint64": 14, "bfloat16": 17,
}  # fmt: skip
CODES = {np_dtype(name): code for name, code in DTYPES.items()}
POINTERS = {  # functions of pointers and one op number each: how many pointers follow the number
    "execPairwiseTransform": 10, "execPairwiseTransformBool": 10, "execScalar": 10,
    "execScalarBool": 10, "execTransformSame": 7, "execTransformStrict": 7,
    "execTransformFloat": 7, "execTransformBool": 7, "execTransformAny": 7, "execReduceSame": 7,
    "execRandom": 5, "execRandom3": 11,
}  # fmt: skip
OTHERS = {  # name: result, arguments
    "createGraphContext": (c_void_p, c_int),
    "deleteGraphContext": (None, c_void_p),
    "setGraphContextInputBuffer": (None, c_void_p, c_int, c_void_p, c_void_p, c_void_p),
    "setGraphContextOutputBuffer": (None, c_void_p, c_int, c_void_p, c_void_p, c_void_p),
    "setGraphContextTArguments": (None, c_void_p, c_void_p, c_int),
    "setGraphContextIArguments": (None, c_void_p, c_void_p, c_int),
    "setGraphContextBArguments": (None, c_void_p, c_void_p, c_int),
    "ctxAllowHelpers": (None, c_void_p, c_bool),
    "ctxShapeFunctionOverride": (None, c_void_p, c_bool),
    "dbCreateExternalDataBuffer": (c_void_p, c_longlong, c_int, c_void_p, c_void_p),
    "dbSetPrimaryBuffer": (None, c_void_p, c_void_p, c_longlong),
    "deleteDataBuffer": (None, c_void_p),
    "shapeBuffer": (c_void_p, c_int, c_void_p, c_void_p, c_int, c_char, c_longlong, c_bool),
    "getConstantShapeBufferPrimary": (c_void_p, c_void_p),
    "createRandomGenerator": (c_void_p, c_longlong, c_longlong),
    "setRandomGeneratorStates": (None, c_void_p, c_longlong, c_longlong),
    "deleteRandomGenerator": (None, c_void_p),
    "setOmpNumThreads": (None, c_int),
    "getAllCustomOps": (c_char_p,),
    "lastErrorCode": (c_int,),
    "lastErrorMessage": (c_char_p,),
}


@functools.cache
def native():
    """The engine, started when it is first asked for."""
    return Native()


class Native:
    """The engine's C functions as attributes, and `ops`: names of its ops to their hashes."""

    def __init__(self):
        start()
        library = ctypes.CDLL(str(_library()))
        for name, (result, *arguments) in OTHERS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        for name in (*POINTERS, "execCustomOp2"):
            function = library[name]  # its own: prebuilt arguments need no conversion
            function.restype = c_int if name == "execCustomOp2" else None
            setattr(self, name, function)
        self.setOmpNumThreads(1)
        rows = self.getAllCustomOps().decode().split(";")
        self.ops = {name: int(h) for name, h, *_ in (r.split(":") for r in rows if r)}
        self.shape_of = functools.cache(self._shape)

    def _shape(self, shape, strides, dtype):
        """The engine's record of a layout, which it keeps; strides count elements."""
        rank = len(shape)
        numbers = [(c_longlong * max(rank, 1))(*v) for v in (shape, strides)]
        dense = strides == tuple(itertools.accumulate(shape[:0:-1], int.__mul__, initial=1))[::-1]
        dense = dense or not rank
        made = self.shapeBuffer(rank, *numbers, CODES[dtype], b"c", int(dense), 0 in shape)
        return self.getConstantShapeBufferPrimary(made)

    def check(self):
        """An error of the engine's since the last look, as Python's."""
        if self.lastErrorCode():
            raise RuntimeError(f"ND4J: {self.lastErrorMessage().decode(errors='replace')}")


def start():
    """Start the JVM and ND4J in it, with one thread for everything."""
    paths = dl4j_setup.jars()
    ending = dl4j_setup.extension(paths)
    if not jpype.isJVMStarted():
        javacpp = {
            "cachedir": dl4j_setup.home() / "natives",
            "platform.extension": ending,
            "maxbytes": 0,  # no limits: Python's memory counts too
            "maxphysicalbytes": 0,
        }
        flags = [f"-Dorg.bytedeco.javacpp.{k}={v}" for k, v in javacpp.items() if v != ""]
        with _told("a Java virtual machine"):
            jpype.startJVM(
                *flags, "-Xmx256m", "-Xrs", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                classpath=paths, convertStrings=False,
            )  # fmt: skip
    with _told("ND4J (in a JVM that is already running, its jars must be in the class path)"):
        nd4j = jpype.JClass("org.nd4j.linalg.factory.Nd4j")
        environment = nd4j.getEnvironment()
        environment.setMaxThreads(1)
        environment.setMaxMasterThreads(1)
        jpype.JClass("org.bytedeco.openblas.global.openblas_nolapack").blas_set_num_threads(1)


@contextlib.contextmanager
def _told(what):
    try:
        yield
    except Exception as error:
        raise RuntimeError(f"backend 'dl4j' could not start {what}: {error}") from error


def _library():
    """The file of the engine's library, which ND4J unpacked and loaded."""
    loader = jpype.JClass("org.bytedeco.javacpp.Loader")
    # as a name: JPype takes two seconds to look through that class
    bindings = jpype.JClass("java.lang.Class").forName(
        "org.nd4j.linalg.cpu.nativecpu.bindings.Nd4jCpu"
    )
    folder = Path(str(loader.load(bindings))).parent
    return next(f for f in sorted(folder.glob("*nd4jcpu.*")) if "jni" not in f.name)


class Memory:
    """What one compiled step holds of the engine: buffers over arrays, contexts, generators.

    An array that is a view of an input's place is bound anew when the input's memory changes.
    """

    def __init__(self):
        self.native = native()
        self.made, self.buffers, self.arrays, self.places = [], {}, [], []
        weakref.finalize(self, _freed, self.native, self.made)

    def place(self, array):
        """An array that stands for an input, and the function that binds the input's memory."""
        low, moved = array.__array_interface__["data"][0], []
        self.places.append((low, low + max(array.nbytes, 1), moved))
        return moved

    def bind(self, moved, address):
        for buffer, offset, size in moved:
            self.native.dbSetPrimaryBuffer(buffer, address + offset, size)

    def buffer(self, array):
        """The engine's buffer over an array's memory."""
        address = array.__array_interface__["data"][0]
        span = (
            sum((n - 1) * abs(s) for n, s in zip(array.shape, array.strides)) // array.itemsize + 1
        )
        key = address, span, array.dtype
        if key not in self.buffers:
            made = self.native.dbCreateExternalDataBuffer(span, CODES[array.dtype], address, None)
            self.made.append(("deleteDataBuffer", made))
            self.arrays.append(array)
            self.buffers[key] = made
            for low, high, moved in self.places:
                if low <= address < high:
                    moved.append((made, address - low, span))
        return self.buffers[key]

    def shape(self, array):
        strides = tuple(s // array.itemsize for s in array.strides)
        return self.native.shape_of(array.shape, strides, array.dtype)

    def pair(self, array):
        """What a function of pointers takes for an array: buffer, layout, and no device's layout."""
        return [c_void_p(self.buffer(array)), c_void_p(self.shape(array)), None]

    def context(self, name, inputs, outputs, t=(), i=(), b=(), helpers=True, exact=True):
        """The arguments of `execCustomOp2` that run the op `name` on these arrays."""
        engine = self.native
        made = engine.createGraphContext(1)
        self.made.append(("deleteGraphContext", made))
        for k, x in enumerate(inputs):
            engine.setGraphContextInputBuffer(made, k, self.buffer(x), self.shape(x), None)
        for k, x in enumerate(outputs):
            engine.setGraphContextOutputBuffer(made, k, self.buffer(x), self.shape(x), None)
        for put, kind, values in (
            (engine.setGraphContextTArguments, c_double, t),
            (engine.setGraphContextIArguments, c_longlong, i),
            (engine.setGraphContextBArguments, c_bool, b),
        ):
            if len(values):
                put(made, (kind * len(values))(*values), len(values))
        if not helpers:
            engine.ctxAllowHelpers(made, False)
        if exact:
            engine.ctxShapeFunctionOverride(made, True)
        return None, c_longlong(engine.ops[name]), c_void_p(made)

    def generator(self):
        made = self.native.createRandomGenerator(1, 1)
        self.made.append(("deleteRandomGenerator", made))
        return made


def _freed(engine, made):
    for name, pointer in reversed(made):
        getattr(engine, name)(pointer)
