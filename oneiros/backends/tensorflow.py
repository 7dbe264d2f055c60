"""TensorFlow: eager tensors, its own derivatives, steps as one `tf.function`.

Variables are `tf.Variable`s. A compiled step reads them and assigns to them where they are: a loop
is lent the variables themselves, and nobody copies state in or out.
"""

from __future__ import annotations

import contextlib

import numpy as np
import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.autograph.core import config as autograph
from tensorflow.python.eager import context
from tensorflow.python.ops import gen_array_ops as A
from tensorflow.python.ops import gen_nn_ops as N
from tensorflow.python.ops import gen_resource_variable_ops as V
from tensorflow.python.ops import gen_training_ops as T
from tensorflow.python.trackable.base import Trackable

from oneiros.backends import tensorflow_composites
from oneiros.backends.emit import emit
from oneiros.backends.tensorflow_kernels import KERNELS, is_eager, tensor
from oneiros.backends.tensorflow_windows import KERNELS as WINDOWS
from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.dtypes import result_type
from oneiros.core.graph import Graph
from oneiros.core.op import _SPECIAL, OPS
from oneiros.core.spec import dtype_name
from oneiros.core.variable import UNSTORED, Variable

__all__ = ["BACKEND"]

FuncGraph, SymbolicTensor = tf.__internal__.FuncGraph, tf.__internal__.SymbolicTensor


def is_symbolic(x):
    return isinstance(x, tf.Tensor) and not is_eager(x)


def as_tensors(kernel):
    """`kernel`, given what else its operands may be as tensors."""
    kinds = (np.ndarray, np.generic, tf.IndexedSlices)

    def run(*args, **params):
        return kernel(*[tensor(x) if isinstance(x, kinds) else x for x in args], **params)

    return run


# Control flow ---------------------------------------------
def runnable(graph):
    """A sub-graph as a function of arrays, kept with it."""
    if not isinstance(graph, Graph):
        return graph
    made = graph.__dict__.get("_tensorflow")
    if made is None:
        made = graph._tensorflow = emit(graph, BACKEND.kernel_of)
    return made


def cond(predicate, *operands, true, false):
    true, false = runnable(true), runnable(false)
    if not is_symbolic(predicate):
        return tuple((true if bool(predicate) else false)(*operands))
    run = lambda branch: lambda: [tensor(y) for y in branch(*operands)]
    return tuple(tf.cond(predicate, run(true), run(false)))


def while_loop(*operands, condition, body, carry):
    condition, body = runnable(condition), runnable(body)
    state, rest = [tensor(x) for x in operands[:carry]], operands[carry:]
    if tf.executing_eagerly():
        while bool(condition(*state, *rest)[0]):
            state = body(*state, *rest)
        return tuple(state)
    return tuple(
        tf.while_loop(
            lambda *s: condition(*s, *rest)[0],
            lambda *s: [tensor(y) for y in body(*s, *rest)],
            state,
        )
    )


def scan(*operands, body, carry, xs, length, reverse):
    step, rest = runnable(body), operands[carry + xs :]
    state = [tensor(x) for x in operands[:carry]]
    slices = operands[carry : carry + xs]
    if tf.executing_eagerly() or isinstance(length, int) and length < 3:
        rows = [tf.unstack(x, length) for x in slices]
        made = [None] * length
        for i in reversed(range(length)) if reverse else range(length):
            out = step(*state, *[r[i] for r in rows], *rest)
            state, made[i] = out[:carry], out[carry:]
        return (*state, *[A.pack(column) for column in zip(*made)])
    rows = [tf.TensorArray(x.dtype, length).unstack(x) for x in slices]
    first = length - 1 if reverse else 0
    specs = getattr(step, "specs", None) or [
        tensor(y) for y in step(*state, *[r.read(first) for r in rows], *rest)
    ]
    piles = [
        tf.TensorArray(tf.as_dtype(s.dtype), length, element_shape=s.shape) for s in specs[carry:]
    ]

    def one(i, state, piles):
        at = length - 1 - i if reverse else i
        out = step(*state, *[r.read(at) for r in rows], *rest)
        return i + 1, [tensor(y) for y in out[:carry]], [
            pile.write(at, y) for pile, y in zip(piles, out[carry:])
        ]  # fmt: skip

    _, state, piles = tf.while_loop(
        lambda i, *_: i < length, one, (0, state, piles), maximum_iterations=length
    )
    return (*state, *[pile.stack() for pile in piles])


def checkpoint(*operands, body):
    run = runnable(body)
    return tuple(tf.recompute_grad(lambda *a: tuple(map(tensor, run(*a))))(*map(tensor, operands)))


def with_gradient(*operands, outputs, wrt, gradient):
    """The outputs, with TensorFlow's own derivative replaced by the given one."""
    gradient, rest = runnable(gradient), operands[outputs + wrt :]

    @tf.custom_gradient
    def passed(*values):
        def backward(*g):
            return (*[None] * outputs, *gradient(*g, *rest))

        return tuple(A.identity(v) for v in values[:outputs]), backward

    return passed(*map(tensor, operands[: outputs + wrt]))


def ruled(primitive):
    """The kernel of `primitive` with our derivative in place of TensorFlow's, where one is asked
    for.
    """
    kernel, rule = KERNELS[primitive], primitive.vjp_rule

    def run(*args, **params):
        if tf.executing_eagerly() and pywrap_tfe.TFE_Py_TapeSetIsEmpty():
            return kernel(*args, **params)

        @tf.custom_gradient
        def made(*args):
            y = kernel(*args, **params)
            single = isinstance(y, tf.Tensor)
            return y, lambda *g: rule(g[0] if single else g, y, *args, **params)

        return made(*map(tensor, args))

    return run


RULED = (p.eigh, p.lu, p.scatter, p.scatter_along)
PRIMITIVES = KERNELS | WINDOWS | {q: ruled(q) for q in RULED} | {
    p.cond: cond, p.while_loop: while_loop, p.scan: scan, p.with_gradient: with_gradient,
    p.checkpoint: checkpoint, p.barrier: lambda *xs: tuple(A.identity_n(xs)),
}  # fmt: skip
COMPILED = (
    {q: KERNELS[q] for q in RULED}
    | {  # in a step that is differentiated already
        p.with_gradient: lambda *operands, outputs, **_: operands[:outputs],
        p.checkpoint: lambda *operands, body: tuple(body(*operands)),
    }
)


# Kernels of composite ops ---------------------------------------------
def relu(x):
    return N.relu(x) if x.dtype != tf.bool else x


def softmax(x, axis=-1):
    return N.softmax(x) if is_last(x, axis) else NotImplemented


def log_softmax(x, axis=-1):
    return N.log_softmax(x) if is_last(x, axis) else NotImplemented


def is_last(x, axis):
    """Whether `axis` is the last one, of more than one element, of floats."""
    last = len(x.shape) - 1
    floats = dtype_name(x.dtype) in ("float16", "bfloat16", "float32", "float64")
    return floats and axis in (-1, last, (last,)) and last >= 0 and x.shape[last] != 1


def categorical_crossentropy(target, output, from_logits=False, axis=-1):
    if not are_logits(target, output, from_logits, axis):
        return NotImplemented
    return N.softmax_cross_entropy_with_logits(output, target)[0]


def are_logits(target, output, from_logits, axis):
    return (
        from_logits and is_last(output, axis) and len(output.shape) == 2
        and tuple(target.shape) == tuple(output.shape)
        and dtype_name(target.dtype) == dtype_name(output.dtype)
    )  # fmt: skip


def sparse_categorical_crossentropy(target, output, from_logits=False, axis=-1):
    if not are_sparse(target, output, from_logits, axis):
        return NotImplemented
    if is_eager(output):
        try:
            return N.sparse_softmax_cross_entropy_with_logits(output, target)[0]
        except tf.errors.InvalidArgumentError:  # a class that there is not: its loss is 0
            pass
    count = tensor(output.shape[-1], target.dtype)
    inside = tf.logical_and(target >= 0, target < count)
    loss = N.sparse_softmax_cross_entropy_with_logits(output, tf.where(inside, target, 0))[0]
    return tf.where(inside, loss, tensor(0, loss.dtype))


def are_sparse(target, output, from_logits, axis):
    shapes = len(output.shape) == 2 and tuple(target.shape) == tuple(output.shape)[:1]
    return (
        from_logits and is_last(output, axis) and shapes
        and dtype_name(target.dtype) in ("int32", "int64")
    )  # fmt: skip


def adam_update(weight, g, mean, square, lr, beta_1, beta_2, epsilon):
    """In place where all three are the values of variables; lr is corrected already."""
    own = [getattr(x, "_of_variable", None) for x in (weight, mean, square)]
    if any(v is None for v in own) or not isinstance(epsilon, float):
        return OPS["adam_update"].body(weight, g, mean, square, lr, beta_1, beta_2, epsilon)
    zero = tf.zeros((), weight.dtype)
    T.resource_apply_adam(
        *[v.handle for v in own], zero, zero, tensor(lr, weight.dtype), beta_1, beta_2, epsilon, g
    )
    return tuple(value_of(v) for v in own)


def value_of(variable):
    """A variable's value in a graph, which knows where it is from."""
    value = V.read_variable_op(variable.handle, variable.dtype)
    value.set_shape(variable.shape)
    value._of_variable = variable
    return value


FASTER = tensorflow_composites.FASTER | {
    f.__name__: f
    for f in (
        relu, softmax, log_softmax, categorical_crossentropy, sparse_categorical_crossentropy,
        adam_update,
    )
}  # fmt: skip
ACCEPTS = tensorflow_composites.ACCEPTS | {
    "softmax": is_last, "log_softmax": is_last, "categorical_crossentropy": are_logits,
    "sparse_categorical_crossentropy": are_sparse, "adam_update": lambda w, *_: "float" in w.dtype,
    "relu": lambda x: x.dtype != "bool",
}  # fmt: skip


def line(call, results, source, bind):
    """The source of a call for which TensorFlow has one op together with what is around it."""
    target, args = call.target, call.args
    made = lambda f, *xs: f"{results[0]} = {bind(f)}({', '.join(map(source, xs))})"
    if target is p.select and args[2] is not None and _is_zero(args[2]):
        test = getattr(args[0], "call", None)
        if test and test.target is p.greater and _is_zero(test.args[1]):
            y, g = test.args[0], args[1]
            if getattr(g, "shape", None) == y.shape and g.dtype == y.dtype:
                return made(N.relu_grad, g, y)
    if target is p.add and all(hasattr(x, "shape") for x in args):
        x, bias = args
        before = getattr(getattr(x, "call", None), "target", None)
        if before in (p.dot_general, p.convolution) and len(x.shape) in (2, 4):
            if tuple(bias.shape) == tuple(x.shape[-1:]) and "float" in x.dtype:
                return made(N.bias_add, x, bias)
    if target is p.reduce_sum and "float" in args[0].dtype:
        if call.kwargs["axes"] == tuple(range(len(args[0].shape) - 1)) != ():
            return made(N.bias_add_grad, args[0])
    return None


def _is_zero(x):
    return type(x) in (int, float) and x == 0


# Compiled functions ---------------------------------------------
class Step:
    """A function of flat arrays as one TensorFlow function, traced when it is first called.

    Arguments that are `tf.Variable`s then belong to it: they are read where they are, and those at
    the positions `donate` are assigned the first outputs, in order.
    """

    def __init__(self, flat, donate=(), jit=False):
        self.flat, self.donate, self.jit, self.launch = flat, donate, jit, None

    def __call__(self, *values):
        if not tf.executing_eagerly():
            return self._run(values)
        if self.launch is None:
            own = {i: v for i, v in enumerate(values) if isinstance(v, tf.Variable)}
            self.places = [i for i in range(len(values)) if i not in own]
            self.kept = [own[i] for i in self.donate if i in own]

            def body(*given):
                rows = own | dict(zip(self.places, given))
                return self._run([rows[i] for i in range(len(values))])[len(self.kept) :]

            self.launch = Launch(body, [values[i] for i in self.places], self.jit)
        return [*self.kept, *self.launch([values[i] for i in self.places])]

    def _run(self, values):
        """The function in the graph that is open; what it changes is assigned."""
        kept = [values[i] for i in self.donate if isinstance(values[i], tf.Variable)]
        made = self.flat(*[value_of(v) if isinstance(v, tf.Variable) else v for v in values])
        return [*kept, *assigned(kept, made)]


def assigned(variables, made):
    """Assign the first of `made` to the variables; the rest, as tensors."""
    for v, y in zip(variables, made):
        if getattr(y, "_of_variable", None) is v:  # it never changed, or did so in place
            continue
        V.assign_variable_op(v.handle, tensor(y, v.dtype))
    return [tensor(y) for y in made[len(variables) :]]


class Launch:
    """A function compiled for arrays like the examples, called by the shortest way there is."""

    def __init__(self, function, examples, jit=False):
        signature = [tf.TensorSpec(np.shape(x), dtype_name(x.dtype)) for x in examples]
        traced = tf.function(function, input_signature=signature, autograph=False, jit_compile=jit)
        self.function = traced.get_concrete_function()
        self.dtypes = [s.dtype for s in signature]
        inner = self.function._inference_function
        self.name, self.count = inner.name, len(inner.function_type.flat_outputs)
        self.captured = list(self.function.captured_inputs)
        self.context = context.context()

    def __call__(self, arrays):
        given = [
            x if is_eager(x) else tf.convert_to_tensor(x, d) for x, d in zip(arrays, self.dtypes)
        ]
        return self.context.call_function(self.name, given + self.captured, self.count) or ()


# Variables and layers as TensorFlow knows them ---------------------------------------------
def storage(variable):
    """The `tf.Variable` of a variable, fetched from whoever holds it."""
    return variable._lease_value(None)


class Tracked(Trackable):
    """What a layer is beside: something that checkpoints and SavedModels find the variables of."""

    def _trackable_children(self, save_type="checkpoint", cache=None, **kwargs):
        children = super()._trackable_children(save_type, cache, **kwargs)
        for v in self.variables:
            name, n = v.path, 1
            while name in children:
                name, n = f"{v.path}_{n}", n + 1
            children[name] = storage(v)
        return children


# A tape takes variables as sources, and TensorFlow's functions take them as operands.
Variable._should_act_as_resource_variable = True
Variable.handle = property(lambda self: storage(self).handle)
tf.register_tensor_conversion_function(
    Variable, lambda v, dtype=None, name=None, as_ref=False: tensor(v.value, dtype)
)


# The backend ---------------------------------------------
class TensorFlow(backend.Backend):
    """See the module."""

    native, live, meets_numpy, stateful_steps = True, True, False, True
    layer_base = Tracked
    kept_wide = ("int64", "float64")

    def owns(self, kind):
        return issubclass(kind, (tf.Tensor, tf.Variable, tf.IndexedSlices))

    def to_array(self, x, dtype=None):
        if dtype is None and not hasattr(x, "dtype"):
            dtype = _default_dtype(x)
        if isinstance(x, tf.Tensor):
            return x if dtype is None else KERNELS[p.cast](x, dtype=dtype_name(dtype))
        if dtype is not None and hasattr(x, "dtype") and dtype_name(x.dtype) != dtype_name(dtype):
            return KERNELS[p.cast](tensor(x), dtype=dtype_name(dtype))
        return tensor(x, dtype)

    def to_numpy(self, x):
        return (tensor(x) if isinstance(x, tf.IndexedSlices) else x).numpy()

    # Variables ---------------------------------------------------------------------------------
    def variable(self, value, variable):
        with tf.init_scope():
            return tf.Variable(value, name=variable.name, dtype=variable.dtype)

    def assign(self, storage, value):
        if not isinstance(storage, tf.Variable):
            return value
        V.assign_variable_op(storage.handle, tensor(value, storage.dtype))
        return storage

    def lend(self, storage):
        return storage

    def copy(self, x):
        return tf.identity(x)

    # Compilation -------------------------------------------------------------------------------
    def kernel_of(self, target):
        """The kernel of a primitive, or of a composite kept whole, for compiled functions."""
        if hasattr(target, "body"):
            return as_tensors(self.faster[target.name])
        return as_tensors(COMPILED.get(target) or self.kernel(target))

    def kernel_for(self, primitive, types):
        kernel = self.kernel(primitive)
        mixed = any(issubclass(t, (np.ndarray, np.generic, tf.IndexedSlices)) for t in types)
        return as_tensors(kernel) if mixed else kernel

    def compile(self, graph, donate=()):
        return Step(emit(graph, self.kernel_of, line=line), donate)

    def kept(self, kind):
        return ACCEPTS

    def compile_function(self, function, specs, donate=()):
        self.abstract(function, specs)
        return Step(function, donate)

    def whole(self, function):
        """`function(data)`, which reads and assigns variables itself, as one TensorFlow function."""
        launch = made = None

        def run(data):
            nonlocal launch
            if launch is None:

                def flat(*given):
                    nonlocal made
                    outputs = function(tf.nest.pack_sequence_as(data, given))
                    made = tf.nest.map_structure(lambda _: 0, outputs)
                    return [tensor(y) for y in tf.nest.flatten(outputs)]

                launch = Launch(flat, tf.nest.flatten(data))
            return tf.nest.pack_sequence_as(made, launch(tf.nest.flatten(data)))

        return run

    def compile_loop(self, compiled, batch_size):
        """Many steps in one call: `(state, arrays, order, first, count)` to the changed state.

        The batches are gathered on the device by `order`, a permutation of the rows.
        """
        if compiled.function is None:
            return False
        flat = (
            emit(compiled.graph, self.kernel_of, line=line)
            if compiled.graph is not None
            else compiled.flat
        )
        position = {i: k for k, i in enumerate(compiled.read)}
        moving = [position[i] for i in compiled.write]
        launch = None

        def run(state, arrays, order, first, count):
            nonlocal launch
            kept = [state[k] for k in moving]
            if launch is None:
                jit = compiled.owner.model.jit_compile is True
                launch = Launch(_loop(flat, state, kept, batch_size),
                                [*arrays, order, np.int32(0), np.int32(0)], jit)  # fmt: skip
            launch([*arrays, order, np.int32(first), np.int32(count)])
            return kept

        return run

    def fits_device(self, arrays):
        """Whether data may be held on the device whole: at most 2 GiB."""
        return sum(a.nbytes for a in arrays) <= 2 << 30

    def abstract(self, function, specs):
        """Symbolic tensors like those that `function` gives for arrays of these specs."""
        with FuncGraph("abstract").as_default():
            given = [tf.compat.v1.placeholder(s.dtype, s.shape) for s in specs]
            return function(*given)

    def is_abstract(self, x):
        return is_symbolic(x)

    def host_call(self, function, arrays, shape, dtype):
        """What a function of NumPy arrays gives, as a call in the graph that is open."""
        stateful = not arrays  # what depends on nothing in the graph is asked again at each run
        made = tf.numpy_function(function, list(arrays), tf.as_dtype(dtype), stateful=stateful)
        made.set_shape(shape)
        return made

    def ragged(self, rows):
        """Arrays of different lengths as the rows of one tensor."""
        return tf.RaggedTensor.from_row_lengths(np.concatenate(rows), [len(r) for r in rows])

    def sizes(self, x):
        """The sizes of a graph's array as scalars of the graph."""
        return A.shape(x)

    def ratio(self, x, y):
        """The quotient of such scalars, as a float."""
        return tf.cast(x, tf.float32) / tf.cast(y, tf.float32)

    # Derivatives -------------------------------------------------------------------------------
    def value_and_grad(self, function, values):
        values = [tensor(v) for v in values]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            scalar, rest = function(values)
        zero = tf.UnconnectedGradients.ZERO
        return [tensor(g) for g in tape.gradient(scalar, values, unconnected_gradients=zero)], rest

    def vectorized_map(self, function, elements):
        return tf.vectorized_map(function, elements)

    def jvp(self, function, primals, tangents, has_aux):
        with tf.autodiff.ForwardAccumulator(list(primals), list(tangents)) as forward:
            made = function(*primals)
        value, *aux = made if has_aux else (made,)
        slope = tf.nest.map_structure(
            lambda y: forward.jvp(y, unconnected_gradients=tf.UnconnectedGradients.ZERO), value
        )
        return (value, slope, *aux)

    def custom_gradient(self, function, args, kwargs):
        return tf.custom_gradient(lambda *a: function(*a, **kwargs))(*args)

    # Devices -----------------------------------------------------------------------------------
    @contextlib.contextmanager
    def device(self, name):
        with tf.device(str(name).lower().replace("cuda", "gpu")):
            yield

    def devices(self):
        found = tf.config.list_logical_devices()
        return [d.name.split("device:")[-1].lower() for d in found]


def _loop(flat, state, kept, batch_size):
    """The function of data, order, first step and count that takes many steps."""

    def many(*given):
        *arrays, order, first, count = given

        def one(i):
            rows = A._slice(order, [(first + i) * batch_size], [batch_size])
            batch = [A.gather_v2(x, rows, 0) for x in arrays]
            assigned(kept, flat(*map(value_of, state), *batch))
            return i + 1

        tf.while_loop(lambda i: i < count, one, [tf.constant(0)], parallel_iterations=1)
        return []

    return many


def _default_dtype(x):
    """The dtype of plain Python data: floats take the default float, integers int32."""
    leaf = x
    while isinstance(leaf, (list, tuple)) and leaf:
        leaf = leaf[0]
    return result_type(type(leaf)) if type(leaf) in (bool, int, float, complex) else None


BACKEND = TensorFlow("tensorflow", PRIMITIVES, FASTER)
UNSTORED.add(tf.__internal__.EagerTensor)
backend.UNSIZED[SymbolicTensor] = BACKEND
autograph.CONVERSION_RULES = (autograph.DoNotConvert("oneiros"), *autograph.CONVERSION_RULES)
_SPECIAL.add(SymbolicTensor)
