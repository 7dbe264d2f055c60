"""What users do wrong: one clear error each, in their own terms, of the type that Keras raises."""

import numpy as np
import pytest

import oneiros

X = np.ones((8, 4), "float32")
Y = np.ones((8, 1), "float32")
IMAGES = np.ones((2, 6, 6, 3), "float32")
SERIES = np.ones((2, 5, 3), "float32")


def model(k, loss="mse", **options):
    made = k.Sequential([k.Input((4,)), k.layers.Dense(1, name="head")])
    made.compile("sgd", loss, **options)
    return made


def two(k):
    a, b = k.Input((4,), name="a"), k.Input((4,), name="b")
    made = k.Model({"a": a, "b": b}, k.layers.Dense(1)(k.layers.Add()([a, b])))
    made.compile("sgd", "mse")
    return made


class Broken(Exception):
    pass


def fails(batch):
    raise Broken("no such file")


def generator(item):
    def items():
        yield item

    return items()


def text_file(tmp, name="model.keras"):
    path = tmp / name
    path.write_text("not a model")
    return str(path)


# A function of the library and a folder, the error's type, what its message must say
ROWS = {
    # Layers
    "negative units": (lambda k, _: k.layers.Dense(-1), ValueError, "units.*-1"),
    "units that are text": (lambda k, _: k.layers.Dense("four"), (ValueError, TypeError), "units"),
    "an argument that is not there": (lambda k, _: k.layers.Dense(2, colour=1), (ValueError, TypeError), "colour"),
    "an unknown activation": (lambda k, _: k.layers.Dense(2, activation="rellu"), ValueError, "rellu"),
    "an unknown initializer": (lambda k, _: k.layers.Dense(2, kernel_initializer="gloriot"), ValueError, "gloriot"),
    "an unknown regularizer": (lambda k, _: k.layers.Dense(2, kernel_regularizer="l3"), ValueError, "l3"),
    "an unknown dtype": (lambda k, _: k.layers.Dense(2, dtype="float31"), ValueError, "float31"),
    "no filters": (lambda k, _: k.layers.Conv2D(0, 3), ValueError, "filters"),
    "a kernel of the wrong rank": (lambda k, _: k.layers.Conv2D(2, (3, 3, 3)), ValueError, "kernel_size"),
    "a padding that is not there": (lambda k, _: k.layers.Conv2D(2, 3, padding="samen"), ValueError, "padding.*samen"),
    "strides of zero": (lambda k, _: k.layers.Conv2D(2, 3, strides=0), ValueError, "strides"),
    "groups that do not divide": (lambda k, _: k.layers.Conv2D(3, 3, groups=2), ValueError, "groups|filters"),
    "a rate over one": (lambda k, _: k.layers.Dropout(1.5), ValueError, r"rate.*1\.5|1\.5"),
    "a data format": (lambda k, _: k.layers.MaxPooling2D(2, data_format="last"), ValueError, "data_format"),
    "an image for a dense series": (lambda k, _: k.layers.Conv1D(2, 3)(IMAGES), ValueError, r"conv1d.*rank 3.*\(2, 6, 6, 3\)"),
    "a series for a convolution of images": (lambda k, _: k.layers.Conv2D(2, 3)(SERIES), ValueError, r"conv2d.*rank 4.*\(2, 5, 3\)"),
    "a row for a recurrent layer": (lambda k, _: k.layers.LSTM(2)(X), ValueError, "lstm.*ndim=3.*ndim=2"),
    "a window larger than the image": (lambda k, _: k.layers.Conv2D(2, 9)(IMAGES), ValueError, "9, 9.*6, 6.*Conv2D 'conv2d"),
    "a dict for one array": (lambda k, _: k.layers.Dense(2)({"a": X}), ValueError, "dense.*one array.*'a'"),
    "several arrays for one": (lambda k, _: k.layers.BatchNormalization()([X, X]), ValueError, "one array"),
    "nothing for an array": (lambda k, _: k.layers.Conv1D(2, 1)(None), ValueError, "conv1d.*one array.*None"),
    "other features than at first": (lambda k, _: [d := k.layers.Dense(2), d(X), d(X[:, :3])], ValueError, "dense.*4.*3"),
    "shapes that cannot be added": (lambda k, _: k.layers.Add()([X, X[:, :3]]), ValueError, "shape"),
    "one array for a merging layer": (lambda k, _: k.layers.Concatenate()(X), (ValueError, TypeError), "list"),
    "ends that do not fit": (lambda k, _: k.layers.Concatenate(axis=0)([X, X[:, :3]]), ValueError, "concat|Concat"),
    "a target shape of another size": (lambda k, _: k.layers.Reshape((3, 3))(X), ValueError, "3, 3"),
    "text for a dense layer": (lambda k, _: k.layers.Dense(2)("text"), (ValueError, TypeError, AttributeError), "dense|str"),
    "no layer to wrap": (lambda k, _: k.layers.Bidirectional(3), ValueError, "layer"),
    "a head too many": (lambda k, _: k.layers.MultiHeadAttention(0, 2)(SERIES, SERIES), ValueError, "num_heads"),
    "a config of another class": (lambda k, _: k.layers.Dense.from_config({"unit": 3}), TypeError, "unit"),
    "weights of another shape": (lambda k, _: [d := k.layers.Dense(2), d(X), d.set_weights([np.ones((3, 2)), np.ones(2)])], ValueError, r"shape"),
    "too few weights": (lambda k, _: [d := k.layers.Dense(2), d(X), d.set_weights([np.ones((4, 2))])], ValueError, "2.*1|1.*2"),
    "a state of another size": (lambda k, _: k.layers.GRU(2)(SERIES, initial_state=np.ones((2, 3), "float32")), ValueError, "state|shape"),
    "an argument that the call does not take": (lambda k, _: k.layers.Dense(2)(X, temperature=3), TypeError, "temperature"),
    "axes that are not there": (lambda k, _: k.layers.LayerNormalization(axis=5)(X), (ValueError, IndexError), "axis|axes"),
    "a permutation with a gap": (lambda k, _: k.layers.Permute((1, 3)), ValueError, "dims|permut"),
    "crops larger than the image": (lambda k, _: k.layers.Cropping2D(4)(IMAGES), ValueError, "cropping"),
    "an input of no shape": (lambda k, _: k.Input("four"), (ValueError, TypeError), "shape"),
    "a part that is not a number": (lambda k, _: k.Input((4.5,)), (ValueError, TypeError), r"4\.5"),
    "a window of zero": (lambda k, _: k.layers.MaxPooling2D(0), ValueError, "pool_size"),
    "a table without rows": (lambda k, _: k.layers.Embedding(-3, 2)(np.zeros((2, 3), "int32")), ValueError, "input_dim|-3"),
    # Models
    "a model without layers": (lambda k, _: k.Sequential().predict(X, verbose=0), ValueError, "layer|built|empty"),
    "something that is no layer": (lambda k, _: k.Sequential([X]), ValueError, "layer|Layer"),
    "an input that leads nowhere": (lambda k, _: k.Model(k.Input((4,)), k.layers.Dense(1)(k.Input((4,)))), ValueError, "not among the inputs"),
    "outputs that are arrays": (lambda k, _: k.Model(k.Input((4,)), X), ValueError, "KerasTensor|symbol"),
    "two layers of one name": (lambda k, _: k.Sequential([k.layers.Dense(1, name="a"), k.layers.Dense(1, name="a")]).build((None, 4)), ValueError, "name.*a|unique"),
    "a layer that is not there": (lambda k, _: model(k).get_layer("tail"), ValueError, "tail.*head"),
    # Training
    "no compile": (lambda k, _: k.Sequential([k.layers.Dense(1)]).fit(X, Y, verbose=0), ValueError, "compile"),
    "an unknown optimizer": (lambda k, _: model(k).compile("adm"), ValueError, "adm"),
    "an unknown loss": (lambda k, _: model(k, "msse").fit(X, Y, verbose=0), ValueError, "msse"),
    "an unknown metric": (lambda k, _: model(k, metrics=["acuracy"]).fit(X, Y, verbose=0), ValueError, "acuracy"),
    "a loss without targets": (lambda k, _: model(k).fit(X, verbose=0), ValueError, "target|`y`|y_true"),
    "more targets than rows": (lambda k, _: model(k).fit(X, Y[:5], verbose=0), ValueError, "8.*5|cardinality"),
    "inputs of two lengths": (lambda k, _: two(k).fit({"a": X, "b": X[:3]}, Y, verbose=0), ValueError, "8.*3|3.*8|cardinality"),
    "a missing input": (lambda k, _: two(k).fit({"a": X}, Y, verbose=0), (ValueError, KeyError), "b"),
    "one array for two inputs": (lambda k, _: two(k).predict(X, verbose=0), ValueError, "2|inputs"),
    "features of another number": (lambda k, _: model(k).fit(X[:, :3], Y, verbose=0), ValueError, r"4.*3"),
    "targets of another shape": (lambda k, _: model(k, "categorical_crossentropy").fit(X, np.ones((8, 3), "float32"), verbose=0), ValueError, "shape"),
    "an empty data set": (lambda k, _: model(k).fit(X[:0], Y[:0], verbose=0), ValueError, "empty|no samples|0"),
    "no rows to predict": (lambda k, _: model(k).predict(X[:0], verbose=0), ValueError, "no |empty"),
    "an empty generator": (lambda k, _: model(k).fit(iter([]), verbose=0), ValueError, "batch"),
    "batches that are lists": (lambda k, _: model(k).fit(generator([X, Y]), verbose=0), ValueError, "tuple|list"),
    "a batch size of zero": (lambda k, _: model(k).fit(X, Y, batch_size=0, verbose=0), (ValueError, ZeroDivisionError), "batch_size"),
    "no epochs at all": (lambda k, _: model(k).fit(X, Y, epochs="three", verbose=0), (ValueError, TypeError), "epochs|str"),
    "a split of everything": (lambda k, _: model(k).fit(X, Y, validation_split=1.5, verbose=0), ValueError, r"validation_split|1\.5|0 and 1"),
    "a split of a generator": (lambda k, _: model(k).fit(generator((X, Y)), validation_split=0.5, verbose=0), ValueError, "validation_split"),
    "weights of too few samples": (lambda k, _: model(k).fit(X, Y, sample_weight=np.ones(3), verbose=0), ValueError, "8.*3|3.*8|cardinality"),
    "text as features": (lambda k, _: model(k).fit(np.array([["a"] * 4] * 8), Y, verbose=0), (ValueError, TypeError), "dtype|str|string"),
    "a callback that is none": (lambda k, _: model(k).fit(X, Y, callbacks=[3], verbose=0), (ValueError, TypeError, AttributeError), "allback|int"),
    "validation data of one part": (lambda k, _: model(k).fit(X, Y, validation_data=(X,), verbose=0), ValueError, "validation_data|target|y"),
    "a loss for an output that is not there": (lambda k, _: [m := two(k), m.compile("sgd", {"c": "mse"}), m.fit({"a": X, "b": X}, Y, verbose=0)], (ValueError, KeyError), "c"),
    "two losses for one output": (lambda k, _: [m := model(k, ["mse", "mae"]), m.fit(X, Y, verbose=0)], ValueError, "loss"),
    "a class of no weight": (lambda k, _: model(k).fit(X, Y, class_weight={0: 1.0}, sample_weight=np.ones(8), verbose=0), ValueError, "class_weight"),
    "evaluation before compile": (lambda k, _: k.Sequential([k.layers.Dense(1)]).evaluate(X, Y, verbose=0), ValueError, "compile"),
    "steps below one": (lambda k, _: model(k).fit(X, Y, steps_per_epoch=-2, verbose=0), ValueError, "steps_per_epoch"),
    "targets beside a generator": (lambda k, _: model(k).fit(generator((X, Y)), Y, verbose=0), ValueError, "y"),
    "a data set that fails": (lambda k, _: model(k).fit(map(fails, [1]), verbose=0), Broken, "no such file"),
    "rows of many lengths": (lambda k, _: model(k).fit([[1.0], [1.0, 2.0]], Y[:2], verbose=0), (ValueError, TypeError), "shape|inhomogeneous|sequence|length|input"),
    # Losses, metrics, optimizers
    "predictions of another shape": (lambda k, _: k.losses.MeanSquaredError()(X, X[:, :3]), ValueError, "shape|4.*3"),
    "labels without logits": (lambda k, _: k.losses.get("nothing"), ValueError, "nothing"),
    "a reduction that is not there": (lambda k, _: k.losses.MeanSquaredError(reduction="average"), ValueError, "average"),
    "a rate that is text": (lambda k, _: k.optimizers.SGD("fast"), (ValueError, TypeError), "learning_rate|fast"),
    "two ways to clip": (lambda k, _: k.optimizers.SGD(clipnorm=1.0, clipvalue=1.0), ValueError, "clip"),
    "a monitor of no mode": (lambda k, _: k.callbacks.ModelCheckpoint("a.txt"), ValueError, "filepath|keras"),
    # Ops
    "products that do not fit": (lambda k, _: k.ops.matmul(X, X), ValueError, "matmul|shape|dimension"),
    "an axis too far": (lambda k, _: k.ops.sum(X, axis=5), (ValueError, IndexError), "axis.*5"),
    "an array of text": (lambda k, _: k.ops.convert_to_tensor(np.array(["a"])), (ValueError, TypeError), "dtype|str"),
    "a shape of another size": (lambda k, _: k.ops.reshape(X, (5, 5)), (ValueError, TypeError), "reshape.*8, 4|8, 4|32"),
    "branches that are no functions": (lambda k, _: k.ops.cond(True, 1, 2), TypeError, "true_fn"),
    "a class beyond the last": (lambda k, _: k.utils.to_categorical([0, 5], 3), (ValueError, IndexError), "5"),
    "a setting that is not there": (lambda k, _: k.config.set_floatx("float33"), ValueError, "float33"),
    "a dtype of no name": (lambda k, _: k.ops.cast(X, "float99"), (ValueError, TypeError), "float99"),
    # Files
    "a file that is not there": (lambda k, t: k.saving.load_model(str(t / "gone.keras")), (ValueError, FileNotFoundError), "gone.keras"),
    "a file that is no model": (lambda k, t: k.saving.load_model(text_file(t)), (ValueError, OSError), "model.keras"),
    "a file of another kind": (lambda k, t: k.saving.load_model(text_file(t, "model.txt")), ValueError, "model.txt"),
    "a name without an ending": (lambda k, t: model(k).save(str(t / "model")), ValueError, "model.*keras"),
    "weights of another model": (lambda k, t: [model(k).save_weights(p := str(t / "w.weights.h5")), k.Sequential([k.Input((3,)), k.layers.Dense(1)]).load_weights(p)], ValueError, "shape"),
    "weights under a wrong name": (lambda k, t: model(k).save_weights(str(t / "w.bin")), ValueError, "weights.h5"),
    "a folder that is not there": (lambda k, t: model(k).save(str(t / "no" / "model.keras")), FileNotFoundError, "no folder .*no"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # some are warned of before
@pytest.mark.parametrize("name", ROWS)
def test_a_mistake_is_told_of(name, backend, tmp_path):
    call, kind, message = ROWS[name]
    with pytest.raises(kind, match=f"(?s){message}"):
        call(oneiros, tmp_path)
