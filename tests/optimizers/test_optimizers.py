"""Optimizers against Keras's, step by step, on every backend, in traces, and their parts."""

import warnings

import keras
import numpy as np
import pytest

import oneiros
from oneiros import ops, optimizers
from oneiros.core.graph import Graph, Trace, run
from oneiros.core.symbol import Symbol
from oneiros.optimizers import schedules
from tests.optimizers.cases import OPTIONS, ROWS, SCHEDULES

# Keras reads its own variables in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPES = {"kernel": (4, 3), "bias": (3,), "filter": (2, 3, 4), "gain": ()}
NAMES = [f"{name}-{i}" for i, (name, _) in enumerate(ROWS)]


def weights(library, seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    with library.name_scope("dense"):
        return [
            library.Variable(rng.standard_normal(shape).astype("float32"), name=name)
            for name, shape in shapes.items()
        ]


def gradients(step, shapes=SHAPES):
    rng = np.random.default_rng(100 + step)
    return [rng.standard_normal(shape).astype("float32") for shape in shapes.values()]


def near(made, expected, tolerance=2e-5):
    np.testing.assert_allclose(
        np.asarray(made), np.asarray(expected), rtol=tolerance, atol=tolerance
    )


def oracle(title, /, **kwargs):
    return getattr(keras.optimizers, title)(**kwargs)


def quiet(function, *args):
    with np.errstate(all="ignore"):
        return function(*args)


def same_steps(ours, theirs, steps, tolerance=2e-5, shapes=SHAPES):
    """Both optimizers, step by step, on the same gradients: weights and state agree."""
    own, other = weights(oneiros, shapes=shapes), weights(keras, shapes=shapes)
    ours.build(own)
    theirs.build(other)
    for step in range(steps):
        grads = gradients(step, shapes)
        ours.apply(grads, own)
        quiet(theirs.apply, grads, other)
        for v, w in zip(own, other):
            near(v.numpy(), w.numpy(), tolerance)
    assert len(ours.variables) == len(theirs.variables)
    for v, w in zip(ours.variables, theirs.variables):
        assert (v.shape, v.dtype) == (tuple(w.shape), w.dtype)
        near(v.numpy(), w.numpy(), 10 * tolerance)
    return own, other


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_dozen_steps_are_keras_s(row, backend):
    name, kwargs = row
    kwargs = {"learning_rate": 0.01, **kwargs}
    same_steps(getattr(optimizers, name)(**kwargs), oracle(name, **kwargs), 12)


@pytest.mark.parametrize("options", OPTIONS, ids=[",".join(o) or "plain" for o in OPTIONS])
@pytest.mark.parametrize("name", sorted({name for name, _ in ROWS}))
def test_shared_options_do_what_keras_s_do(name, options):
    if name == "AdamW" and options.get("weight_decay") is None and "weight_decay" in options:
        pytest.skip("AdamW needs a weight decay")
    kwargs = {"learning_rate": 0.02, **options}
    ours, theirs = getattr(optimizers, name)(**kwargs), oracle(name, **kwargs)
    own, other = same_steps(ours, theirs, 13)
    assert int(np.asarray(ops.convert_to_tensor(ours.iterations))) == int(theirs.iterations)
    ours.finalize_variable_values(own)
    theirs.finalize_variable_values(other)
    for v, w in zip(own, other):
        near(v.numpy(), w.numpy())


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_names_and_order_of_variables_are_keras_s(row):
    name, kwargs = row
    for more in ({}, {"use_ema": True, "gradient_accumulation_steps": 2}):
        ours = getattr(optimizers, name)(**kwargs, **more, name="opt")
        theirs = oracle(name, **kwargs, **more, name="opt")
        ours.build(weights(oneiros))
        theirs.build(weights(keras))
        made, expected = [v.path for v in ours.variables], [v.path for v in theirs.variables]
        if name == "Nadam":  # one variable has a name of the session's count
            made, expected = made[:-1], expected[:-1]
        assert made == expected


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_its_config_is_keras_s_and_makes_it_again(row):
    name, kwargs = row
    ours, theirs = getattr(optimizers, name)(**kwargs, name="o"), oracle(name, **kwargs, name="o")
    assert ours.get_config() == theirs.get_config()
    assert type(ours).from_config(ours.get_config()).get_config() == ours.get_config()
    assert optimizers.serialize(ours) == keras.optimizers.serialize(theirs)
    again = optimizers.deserialize(optimizers.serialize(ours))
    assert type(again) is type(ours)


TRACED = [(n, k, {}) for n, k in ROWS] + [
    (n, {}, o) for n in ("SGD", "Adam", "Nadam") for o in OPTIONS[1:]
]


@pytest.mark.parametrize("row", TRACED, ids=[f"{r[0]}-{i}" for i, r in enumerate(TRACED)])
def test_a_traced_step_is_the_eager_one(row, backend):
    name, kwargs, options = row
    make = lambda: getattr(optimizers, name)(**{"learning_rate": 0.02, **kwargs, **options})
    eager, traced, first, second = make(), make(), weights(oneiros), weights(oneiros)
    eager.build(first)
    traced.build(second)
    with Trace() as t:
        own, grads, state = (
            [Symbol(v.shape, v.dtype) for v in group]
            for group in (second, second, traced.variables)
        )
        new_weights, new_state = traced.stateless_apply(state, grads, own)
    graph = Graph(t.calls, [*own, *grads, *state], [*new_weights, *new_state])
    values = [v.value for v in second], [v.value for v in traced.variables]
    for step in range(4):
        grads = gradients(step)
        eager.apply(grads)
        given = [ops.convert_to_tensor(g) for g in grads]
        made = run(graph, [*values[0], *given, *values[1]])
        values = made[: len(second)], made[len(second) :]
    for v, value in zip([*first, *eager.variables], made):
        near(v.numpy(), value)


def test_a_traced_step_shares_what_weights_share():
    """Adam's corrected learning rate is worked out once, and not for every weight."""
    adam = optimizers.Adam()
    many = [oneiros.Variable(np.ones((2, 2), "float32")) for _ in range(20)]
    adam.build(many)
    with Trace() as t:
        own, grads, state = (
            [Symbol(v.shape, v.dtype) for v in group] for group in (many, many, adam.variables)
        )
        adam.stateless_apply(state, grads, own)
    assert len(t.calls) <= 13 * len(many) + 12


@pytest.mark.parametrize("row", SCHEDULES, ids=[f"{r[0]}-{i}" for i, r in enumerate(SCHEDULES)])
def test_schedules_are_keras_s(row, backend):
    name, args, kwargs = row
    ours = getattr(schedules, name)(*args, **kwargs)
    theirs = getattr(keras.optimizers.schedules, name)(*args, **kwargs)
    for step in range(40):
        near(ours(step), quiet(theirs, step), 1e-6)
    assert ours.get_config() == theirs.get_config()
    assert schedules.serialize(ours) == keras.optimizers.schedules.serialize(theirs)
    near(schedules.deserialize(schedules.serialize(ours))(7), ours(7))
    with Trace() as t:
        step = Symbol((), "int32")
        rate = ours(step)
    if isinstance(rate, Symbol):
        for n in (0, 3, 20):
            near(run(Graph(t.calls, [step], [rate]), [np.int32(n)])[0], ours(n))


def test_schedules_and_functions_as_learning_rates(backend):
    schedule = ("ExponentialDecay", (0.1, 3, 0.5))
    ours = optimizers.Adam(getattr(schedules, schedule[0])(*schedule[1]))
    theirs = keras.optimizers.Adam(getattr(keras.optimizers.schedules, schedule[0])(*schedule[1]))
    same_steps(ours, theirs, 10)
    assert ours.get_config()["learning_rate"] == theirs.get_config()["learning_rate"]
    assert [v.path.split("/")[-1] for v in ours.variables[:2]] == [
        "iteration",
        "dense_kernel_momentum",
    ]
    near(ours.learning_rate, theirs.learning_rate)
    with pytest.raises(TypeError, match="cannot be set"):
        ours.learning_rate = 0.1
    ours.learning_rate = schedules.CosineDecay(0.2, 10)
    same_steps(optimizers.SGD(lambda: 0.3), keras.optimizers.SGD(lambda: 0.3), 3)
    again = optimizers.Adam.from_config(ours.get_config())
    assert isinstance(again._learning_rate, schedules.CosineDecay)


def test_the_learning_rate_can_be_set(backend):
    sgd = optimizers.SGD(0.1)
    assert sgd.learning_rate.path.endswith("/learning_rate")
    sgd.learning_rate = 0.5
    near(sgd.learning_rate.numpy(), 0.5)
    sgd.learning_rate.assign(0.25)
    assert sgd.get_config()["learning_rate"] == 0.25
    sgd.learning_rate = schedules.CosineDecay(0.1, 10)
    assert [v.name for v in sgd.variables] == ["iteration"]


class Heavy(optimizers.Optimizer):
    """Momentum, in the way that Keras's users write optimizers."""

    def __init__(self, learning_rate=0.1, momentum=0.9, name="heavy", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.moves = []
        for variable in variables:
            self.moves.append(
                self.add_variable_from_reference(reference_variable=variable, name="momentum")
            )

    def update_step(self, gradient, variable, learning_rate):
        lr = ops.cast(learning_rate, variable.dtype)
        move = self.moves[self._get_variable_index(variable)]
        self.assign(move, ops.subtract(move * self.momentum, gradient * lr))
        self.assign_add(variable, move)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


@pytest.mark.parametrize("options", OPTIONS, ids=[",".join(o) or "plain" for o in OPTIONS])
def test_a_subclass_as_in_keras(options, backend):
    ours = Heavy(0.01, 0.9, **options)
    theirs = keras.optimizers.SGD(0.01, momentum=0.9, name="heavy", **options)
    own, _ = same_steps(ours, theirs, 7)
    assert [v.path for v in ours.variables] == [v.path for v in theirs.variables]
    assert Heavy.from_config(ours.get_config()).momentum == 0.9
    new, state = ours.stateless_apply(
        [v.value for v in ours.variables], gradients(9), [v.value for v in own]
    )
    before = [v.numpy() for v in own]
    ours.apply(gradients(9))
    for v, old, value in zip(own, before, new):
        near(v.numpy(), value)
        assert (
            v.shape == () or options.get("gradient_accumulation_steps") or (v.numpy() != old).any()
        )
    assert len(state) == len(ours.variables)


def test_a_subclass_of_a_built_in_optimizer():
    class Half(optimizers.Adam):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate * 0.5)

    own, other = weights(oneiros), weights(keras)
    ours, theirs = Half(0.02), keras.optimizers.Adam(0.01)
    for step in range(5):
        ours.apply(gradients(step), own)
        theirs.apply(gradients(step), other)
    for v, w in zip(own, other):
        near(v.numpy(), w.numpy())


def test_constraints_come_after_the_step(backend):
    class Positive:
        def __call__(self, w):
            return ops.maximum(w, 0.0)

    own, other = weights(oneiros), weights(keras)
    for v in own:
        v.constraint = Positive()
    for v in other:
        v.constraint = keras.constraints.NonNeg()
    ours, theirs = optimizers.SGD(0.5), keras.optimizers.SGD(0.5)
    for step in range(3):
        ours.apply(gradients(step), own)
        theirs.apply(gradients(step), other)
        for v, w in zip(own, other):
            near(v.numpy(), w.numpy())


@pytest.mark.parametrize("steps", [None, 2])
def test_variables_that_their_gradient_overwrites(steps, backend):
    own, other = weights(oneiros), weights(keras)
    own[0].overwrite_with_gradient = other[0].overwrite_with_gradient = True
    ours = optimizers.SGD(0.5, gradient_accumulation_steps=steps)
    theirs = keras.optimizers.SGD(0.5, gradient_accumulation_steps=steps)
    theirs.build(other)
    for step in range(4):
        ours.apply(gradients(step), own)
        theirs.apply(gradients(step), other)
        for v, w in zip(own, other):
            near(v.numpy(), w.numpy())


def test_weights_left_out_of_weight_decay():
    for kwargs in ({"var_names": ["bias", "ga"]}, {"var_list": "first"}):
        ours, theirs = optimizers.AdamW(0.1), keras.optimizers.AdamW(0.1)
        own, other = weights(oneiros), weights(keras)
        first = kwargs.get("var_list")
        ours.exclude_from_weight_decay(**({"var_list": own[:1]} if first else kwargs))
        theirs.exclude_from_weight_decay(**({"var_list": other[:1]} if first else kwargs))
        for step in range(3):
            ours.apply(gradients(step), own)
            theirs.apply(gradients(step), other)
        for v, w in zip(own, other):
            near(v.numpy(), w.numpy())


def test_some_variables_may_have_no_gradient(backend):
    own = weights(oneiros)
    sgd = optimizers.SGD(0.1)
    sgd.build(own)
    before = own[1].numpy()
    grads = gradients(0)
    grads[1] = None
    with pytest.warns(UserWarning, match="dense/bias"):
        sgd.apply(grads)
    near(own[1].numpy(), before)
    sgd.apply(gradients(1)[:1], own[:1])  # a part of the variables
    assert int(sgd.iterations.numpy()) == 2
    sgd.apply_gradients(zip(gradients(1), own))
    assert int(sgd.iterations.numpy()) == 3
    assert sgd.apply([]) is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_other_dtypes(dtype, backend):
    if backend == "jax" and dtype == "float64":
        pytest.skip("jax has no float64 by default")
    for name in sorted({name for name, _ in ROWS}):
        v = oneiros.Variable(np.ones((3, 2), "float32"), dtype=dtype)
        optimizer = getattr(optimizers, name)(0.1)
        for _ in range(2):
            optimizer.apply([np.full((3, 2), 0.5, "float32")], [v])
        assert v.dtype == dtype
        assert np.isfinite(v.numpy().astype("float32")).all()
        assert (v.numpy().astype("float32") <= 1).all()


# Saving ------------------------------------------------------------------------------------------
def test_state_goes_to_files_and_back():
    first, second = optimizers.Adam(), optimizers.Adam()
    own = weights(oneiros)
    first.apply(gradients(0), own)
    second.build(own)
    store = {}
    first.save_own_variables(store)
    assert list(store) == [str(i) for i in range(len(first.variables))]
    second.load_own_variables(store)
    for v, w in zip(first.variables, second.variables):
        near(v.numpy(), w.numpy())
    store.pop("0")
    with pytest.warns(UserWarning, match="variables"):
        second.load_own_variables(store)
    second.set_weights([v.numpy() * 0 for v in first.variables])
    assert not second.variables[2].numpy().any()
    with pytest.raises(ValueError, match="shape"):
        second.set_weights([np.ones((7,)) for _ in first.variables])
    with pytest.raises(ValueError, match="built"):
        optimizers.Adam().set_weights([])


def test_names_stand_for_optimizers():
    assert isinstance(optimizers.get("ADAM"), optimizers.Adam)
    assert isinstance(optimizers.get("RMSprop"), optimizers.RMSprop)
    assert isinstance(optimizers.get({"class_name": "adam", "config": {}}), optimizers.Adam)
    sgd = optimizers.SGD()
    assert optimizers.get(sgd) is sgd
    for wrong in ("nothing", 3):
        with pytest.raises(ValueError, match="optimizer"):
            optimizers.get(wrong)
    from keras.src.optimizers import ALL_OBJECTS_DICT

    assert set(ALL_OBJECTS_DICT) <= set(optimizers.TABLE)


# Wrappers ----------------------------------------------------------------------------------------
def scaled(library, **kwargs):
    inner = library.optimizers.Adam(0.1)
    return library.optimizers.LossScaleOptimizer(
        inner, dynamic_growth_steps=2, initial_scale=64.0, **kwargs
    )


def test_dynamic_loss_scaling_is_keras_s(backend):
    ours, theirs = scaled(oneiros_with_optimizers()), scaled(keras)
    own, other = weights(oneiros), weights(keras)
    ours.build(own)
    theirs.build(other)
    for step in range(9):
        grads = gradients(step)
        if step in (2, 6):
            grads[0] = grads[0] * (np.inf if step == 2 else np.nan)
        ours.apply(grads)
        quiet(theirs.apply, grads)
        for v, w in zip([*own, *ours.variables], [*other, *theirs.variables]):
            near(v.numpy(), w.numpy())
        near(ours.scale_loss(3.0), theirs.scale_loss(3.0))
    assert int(ours.iterations.numpy()) == 7
    made, expected = ours.get_config(), theirs.get_config()
    made["inner_optimizer"]["config"]["name"] = expected["inner_optimizer"]["config"]["name"]
    made["name"] = expected["name"]
    assert made == expected
    again = optimizers.LossScaleOptimizer.from_config(ours.get_config())
    assert isinstance(again.inner_optimizer, optimizers.Adam)
    ours.learning_rate = 0.5
    near(ours.inner_optimizer.learning_rate.numpy(), 0.5)


def oneiros_with_optimizers():
    import types

    return types.SimpleNamespace(optimizers=optimizers)


def test_dynamic_loss_scaling_can_be_traced(backend):
    ours = scaled(oneiros_with_optimizers())
    own = weights(oneiros)
    ours.build(own)
    with Trace() as t:
        held, grads, state = (
            [Symbol(v.shape, v.dtype) for v in group] for group in (own, own, ours.variables)
        )
        new_weights, new_state = ours.stateless_apply(state, grads, held)
    graph = Graph(t.calls, [*held, *grads, *state], [*new_weights, *new_state])
    bad = gradients(0)
    bad[2] = bad[2] * np.nan
    for given in (gradients(1), bad, gradients(2)):
        before = [v.value for v in own], [v.value for v in ours.variables]
        made = run(graph, [*before[0], *map(ops.convert_to_tensor, given), *before[1]])
        ours.apply(given)
        for v, value in zip([*own, *ours.variables], made):
            near(v.numpy(), value)


def test_loss_scaling_leaves_options_to_the_inner_optimizer():
    for option in ({"weight_decay": 0.1}, {"clipnorm": 1.0}, {"gradient_accumulation_steps": 2}):
        with pytest.raises(ValueError, match=next(iter(option))):
            optimizers.LossScaleOptimizer(optimizers.SGD(), **option)


def several(library):
    o = library.optimizers
    return o.MultiOptimizer(
        o.OptimizerMap(
            o.SGD(0.1, use_ema=True, ema_momentum=0.5, name="sgd"),
            {
                ".*/bias": o.Adam(0.5, gradient_accumulation_steps=2, clipnorm=0.1, name="adam"),
                ".*/filter": o.Lion(0.01, name="lion"),
            },
        ),
        name="multi",
    )


def test_several_optimizers_are_keras_s(backend):
    ours, theirs = several(oneiros_with_optimizers()), several(keras)
    own, other = weights(oneiros), weights(keras)
    ours.build(own)
    theirs.build(other)
    assert [v.path for v in ours.variables] == [v.path for v in theirs.variables]
    for step in range(5):
        ours.apply(gradients(step), own)
        theirs.apply(gradients(step), other)
        for v, w in zip([*own, *ours.variables], [*other, *theirs.variables]):
            near(v.numpy(), w.numpy())
    assert ours.get_config() == theirs.get_config()
    new, state = ours.stateless_apply(
        [v.value for v in ours.variables], gradients(9), [v.value for v in own]
    )
    ours.apply(gradients(9))
    for v, value in zip([*own, *ours.variables], [*new, *state]):
        near(v.numpy(), value)
    assert len(optimizers.MultiOptimizer.from_config(ours.get_config()).optimizers) == 3
    ours.loss_scale_factor = 2.0
    assert [o.loss_scale_factor for o in ours.optimizers] == [2.0, 2.0, 2.0]
    for act in (lambda: ours.learning_rate, lambda: setattr(ours, "learning_rate", 0.1)):
        with pytest.raises(AttributeError, match="learning rate"):
            act()
    adam = optimizers.Adam()
    chosen = optimizers.MultiOptimizer(lambda v: adam if v.name == "bias" else optimizers.SGD(0.1))
    chosen.build(own)
    assert len(chosen.optimizers) == 4


def test_maps_take_optimizers_only():
    sgd = optimizers.SGD()
    one = optimizers.OptimizerMap(sgd, {"a.*": optimizers.Adam()})
    assert one["zzz"] is sgd is one.default_optimizer
    assert isinstance(one["abc"], optimizers.Adam)
    with pytest.raises(ValueError, match="optimizer"):
        one["b"] = 3
    with pytest.raises(ValueError, match="already"):
        one["a.*"] = sgd
    for wrong in (lambda: optimizers.OptimizerMap(3), lambda: optimizers.OptimizerMap(sgd, 3)):
        with pytest.raises(TypeError):
            wrong()


# Errors ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: optimizers.SGD(clipnorm=1.0, clipvalue=1.0), ["clipnorm", "clipvalue"]),
        (lambda: optimizers.SGD(use_ema=True, ema_momentum=2.0), ["ema_momentum", "2.0"]),
        (lambda: optimizers.SGD(gradient_accumulation_steps=1), ["gradient_accumulation_steps"]),
        (lambda: optimizers.SGD(foo=1), ["SGD", "foo"]),
        (lambda: optimizers.SGD(learning_rate="high"), ["learning_rate", "'high'"]),
        (lambda: optimizers.SGD(momentum=-1.0), ["momentum", "-1.0"]),
        (lambda: optimizers.SGD().apply([np.ones(1)]), ["built"]),
        (lambda: optimizers.SGD().stateless_apply([], [], []), ["built"]),
        (lambda: optimizers.Ftrl(learning_rate_power=0.5), ["learning_rate_power"]),
        (lambda: schedules.CosineDecay(0.1, 0), ["decay_steps", "0"]),
        (lambda: schedules.PiecewiseConstantDecay([1], [1.0]), ["boundaries"]),
    ],
)
def test_errors_say_what_was_given(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_errors_of_a_step():
    own = weights(oneiros)
    sgd = optimizers.SGD()
    sgd.build(own)
    with pytest.raises(ValueError, match="4 variables; got 1"):
        sgd.apply([np.ones(3)])
    with pytest.raises(ValueError, match="gradient"):
        sgd.apply([None] * 4)
    with pytest.raises(ValueError, match="unknown variable"):
        sgd.apply([np.ones(1)], [oneiros.Variable(np.ones(1))])
    with pytest.raises(ValueError, match="optimizer_variables"):
        sgd.stateless_apply([1], gradients(0), [v.value for v in own])
    with pytest.raises(NotImplementedError, match="update"):
        optimizers.Optimizer(0.1).apply(gradients(0), weights(oneiros))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        optimizers.SGD(decay=0.1)
    assert "decay" in str(told[0].message)
