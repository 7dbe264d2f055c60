"""Data sets of files: the same as Keras reads, the same order everywhere, broken files named."""

import pathlib

import keras
import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import oneiros
from oneiros import layers, utils
from oneiros.preprocessing import on_broken_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folders of three classes: pictures, texts and sounds of several sizes."""
    root = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for number, (name, count) in enumerate([("b", 5), ("a", 4), ("c", 3)]):
        (root / name / "below").mkdir(parents=True)
        for i in range(count):
            place = root / name / ("below" if i == 2 else "")
            size = 6 + i, 9 - number
            pixels = rng.integers(0, 256, (*size, 3), dtype="uint8")
            Image.fromarray(pixels).save(place / f"{i}.{'png' if i else 'bmp'}")
            (place / f"{i}.txt").write_text(f"text {number} {i} " + "ä" * i)
            sound = rng.integers(-30000, 30000, (20 + 3 * i,)).astype("int16")
            wavfile.write(place / f"{i}.wav", 8000, sound)
        (root / name / "notes.md").write_text("not wanted")
    (root / ".hidden").mkdir()
    return root


def same(ours, theirs, tolerance=1e-3):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        a, b = (e if isinstance(e, tuple) else (e,) for e in (a, b))
        assert len(a) == len(b)
        for u, v in zip(a, b):
            v = np.asarray(v)
            if v.dtype == object:
                assert [t.encode() for t in np.ravel(np.asarray(u, object))] == v.ravel().tolist()
                continue
            assert (u.dtype, u.shape) == (v.dtype, v.shape)
            np.testing.assert_allclose(u, v, atol=tolerance)


SPLIT = dict(validation_split=0.3, subset="validation")
ROWS = [
    dict(),
    dict(label_mode="categorical", batch_size=5),
    dict(label_mode="binary", class_names=["c", "a"]),
    dict(label_mode=None),
    dict(labels=None),
    dict(labels=None, label_mode=None, **SPLIT),
    dict(labels=list(range(12)), label_mode="int", batch_size=4),
    dict(class_names=["c", "b", "a"], batch_size=None),
    dict(validation_split=0.3, subset="training"),
    SPLIT,
]
IMAGE_ROWS = [
    dict(image_size=(4, 5)),
    dict(image_size=(12, 12), interpolation="bicubic"),
    dict(image_size=(5, 4), interpolation="nearest", color_mode="rgba"),
    dict(image_size=(4, 8), crop_to_aspect_ratio=True),
    dict(image_size=(4, 8), pad_to_aspect_ratio=True, data_format="channels_first"),
]
AUDIO_ROWS = [dict(), dict(output_sequence_length=25), dict(output_sequence_length=50)]


def both(kind, folder, **kwargs):
    name = f"{kind}_dataset_from_directory"
    kwargs = {"shuffle": False, "verbose": False, **kwargs}
    return getattr(utils, name)(folder, **kwargs), getattr(keras.utils, name)(folder, **kwargs)


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_files_and_labels_are_those_of_keras(folder, row):
    ours, theirs = both("text", folder, **ROWS[row])
    same(ours, theirs)
    if "label_mode" not in ROWS[row] and "labels" not in ROWS[row]:
        assert ours.class_names == theirs.class_names


@pytest.mark.parametrize("row", range(len(IMAGE_ROWS)))
def test_pictures_are_those_of_keras(folder, row):
    ours, theirs = both("image", folder, **IMAGE_ROWS[row])
    # TensorFlow reads the cubic kernel from a table.
    same(ours, theirs, 0.2 if IMAGE_ROWS[row].get("interpolation") == "bicubic" else 1e-3)
    assert ours.file_paths == theirs.file_paths and ours.class_names == theirs.class_names


@pytest.mark.parametrize("row", range(len(AUDIO_ROWS)))
def test_sounds_are_those_of_keras(folder, row):
    same(*both("audio", folder, **AUDIO_ROWS[row]), tolerance=1e-6)


def test_texts_are_cut_to_characters(folder):
    x = next(iter(utils.text_dataset_from_directory(folder, max_length=8, verbose=False)))[0]
    assert all(len(t) == 8 for t in x)


def test_gray_pictures_and_sounds_of_another_rate(folder):
    x, _ = next(iter(utils.image_dataset_from_directory(folder, color_mode="grayscale")))
    assert x.shape == (12, 256, 256, 1) and 0 <= x.min() < x.max() <= 255
    kwargs = dict(shuffle=False, batch_size=None, verbose=False)
    fast = utils.audio_dataset_from_directory(folder, sampling_rate=16000, **kwargs)
    slow = utils.audio_dataset_from_directory(folder, **kwargs)
    assert [len(x) for x, _ in fast] == [2 * len(x) for x, _ in slow]
    ragged = utils.audio_dataset_from_directory(folder, ragged=True, shuffle=False, verbose=False)
    assert [len(x) for x in next(iter(ragged))[0]] == [len(x) for x, _ in slow]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_every_kind_of_wav_is_from_minus_one_to_one(tmp_path, dtype):
    (tmp_path / "a").mkdir()
    wave = np.stack([np.sin(np.arange(50)), np.cos(np.arange(50))], -1) * 0.9
    scale = {"uint8": 127, "int16": 2**15 - 1, "int32": 2**31 - 1}.get(dtype, 1)
    stored = (wave * scale + (128 if dtype == "uint8" else 0)).astype(dtype)
    wavfile.write(tmp_path / "a" / "x.wav", 8000, stored)
    data = utils.audio_dataset_from_directory(tmp_path, batch_size=None, verbose=False)
    np.testing.assert_allclose(data[0][0], wave, atol=0.02 if dtype == "uint8" else 1e-4)


def test_wav_files_of_24_bits_and_with_other_chunks_are_read(tmp_path):
    import wave

    (tmp_path / "a").mkdir()
    values = [0, 2**22, -(2**23), 2**23 - 1]
    with wave.open(str(tmp_path / "a" / "x.wav"), "wb") as file:
        file.setparams((1, 3, 8000, 4, "NONE", ""))
        file.writeframes(b"".join(v.to_bytes(3, "little", signed=True) for v in values))
    whole = (tmp_path / "a" / "x.wav").read_bytes()
    note = b"LIST" + (5).to_bytes(4, "little") + b"notes" + b"\0"
    (tmp_path / "a" / "y.wav").write_bytes(whole[:12] + note + whole[12:])
    data = utils.audio_dataset_from_directory(
        tmp_path, batch_size=None, shuffle=False, verbose=False
    )
    for x, _ in data:
        np.testing.assert_allclose(x[:, 0], [0, 0.5, -1, 1], atol=1e-6)
    for broken, why in ((b"RIFF", "no WAV"), (whole[:30], "cut off"), (whole[:36], "no sound")):
        (tmp_path / "a" / "x.wav").write_bytes(broken)
        with pytest.raises(ValueError, match=f"x.wav cannot be read: it .*{why}"):
            data[0]
    (tmp_path / "a" / "x.wav").write_bytes(whole.replace(b"\x18\0data", b"\x15\0data"))
    with pytest.raises(ValueError, match="21 bits"):
        data[0]


def test_the_order_follows_from_the_seed(folder, capsys):
    def make(**kwargs):
        return utils.text_dataset_from_directory(folder, seed=3, batch_size=5, **kwargs)

    first = [x.tolist() for x, _ in make()]
    assert first == [x.tolist() for x, _ in make()]
    assert "Found 12 files belonging to 3 classes." in capsys.readouterr().out
    train, validation = make(validation_split=0.25, subset="both")
    assert "Using 9 files for training.\nUsing 3 files for validation." in capsys.readouterr().out
    parts = [make(validation_split=0.25, subset=s) for s in ("training", "validation")]
    assert train.file_paths == parts[0].file_paths
    assert validation.file_paths == parts[1].file_paths
    assert len({*train.file_paths, *validation.file_paths}) == 12
    assert [x.tolist() for x, _ in train] == [x.tolist() for x, _ in parts[0]]
    for path, (text, _) in zip(validation.file_paths, validation.unbatch()):
        assert pathlib.Path(path).read_text() == text


def test_a_model_is_trained_from_files(folder, backend):
    data = utils.image_dataset_from_directory(
        folder, image_size=(8, 8), batch_size=4, seed=1, verbose=False
    )
    scaled = data.map(lambda x, y: (x / 255, y)).cache().prefetch()
    model = oneiros.Sequential([layers.Flatten(), layers.Dense(3)])
    model.compile("adam", oneiros.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = model.fit(scaled, epochs=5, verbose=0, validation_data=scaled).history["loss"]
    assert losses[-1] < losses[0]
    assert model.predict(scaled, verbose=0).shape == (12, 3)


def test_others_formats_on_request(folder):
    data = utils.image_dataset_from_directory(folder, image_size=(8, 8), format="tf", verbose=False)
    x, _ = next(iter(data))
    assert type(x).__module__.startswith("tensorflow") and x.shape == (12, 8, 8, 3)
    assert data.class_names == ["a", "b", "c"] and len(data.file_paths) == 12


@pytest.fixture
def damaged(folder, tmp_path):
    """The same files, four of them damaged."""
    import shutil

    root = tmp_path / "damaged"
    shutil.copytree(folder, root)
    picture = (root / "a" / "1.png").read_bytes()
    (root / "a" / "1.png").write_bytes(picture[: len(picture) // 2])
    (root / "b" / "1.png").write_bytes(b"no picture")
    (root / "b" / "1.txt").write_bytes(b"\xff\xfe\xfa")
    sound = (root / "c" / "1.wav").read_bytes()
    (root / "c" / "1.wav").write_bytes(sound[:-11])
    return root


@pytest.mark.parametrize(
    "kind, names",
    [("image", ["a/1.png", "b/1.png"]), ("text", ["b/1.txt"]), ("audio", ["c/1.wav"])],
)
def test_a_broken_file_is_named_or_left_out(damaged, kind, names, capsys):
    make = getattr(utils, f"{kind}_dataset_from_directory")
    with pytest.raises(ValueError, match=rf"{names[0]} cannot be read: "):
        list(make(damaged, shuffle=False))
    with on_broken_file("skip"):
        data = make(damaged, shuffle=False, batch_size=None)
    assert [path for path, _ in data.skipped] == [str(damaged / name) for name in names]
    assert all(name in why for name, (_, why) in zip(names, data.skipped))
    assert len(list(data)) == 12 - len(names) == len(data.file_paths)
    labels = [
        ("a", "b", "c").index(pathlib.Path(p).relative_to(damaged).parts[0])
        for p in data.file_paths
    ]
    assert [int(y) for _, y in data] == labels
    assert f"Left out {len(names)} files" in capsys.readouterr().out


BAD = [
    (dict(labels="x"), "`labels`"),
    (dict(labels=[1, 2]), "12 files"),
    (dict(labels=None, class_names=["a"]), "`class_names`"),
    (dict(class_names=["a", "z"]), r"\['z'\]"),
    (dict(label_mode="x"), "`label_mode`"),
    (dict(label_mode="binary"), "two classes"),
    (dict(batch_size=0), "`batch_size`"),
    (dict(validation_split=2, subset="both"), "`validation_split`"),
    (dict(validation_split=0.5), "`subset`"),
    (dict(subset="training"), "`subset`"),
    (dict(subset="x", validation_split=0.5), "`subset`"),
    (dict(subset="both", validation_split=0.5), "`seed`"),
    (dict(subset="both", validation_split=0.01, seed=1), "leaves no files for validation"),
    (dict(image_size=(3, 3, 3)), "`image_size`"),
    (dict(image_size=(0, 3)), "`image_size`"),
    (dict(color_mode="x"), "`color_mode`"),
    (dict(interpolation="x"), "`interpolation`"),
    (dict(crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), "only one"),
    (dict(format="x"), "`format`"),
]


@pytest.mark.parametrize("row", range(len(BAD)))
def test_arguments_that_make_no_sense_are_errors(folder, row):
    kwargs, match = BAD[row]
    with pytest.raises(ValueError, match=match):
        utils.image_dataset_from_directory(folder, **kwargs, verbose=False)


def test_folders_without_files_are_errors(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        utils.text_dataset_from_directory(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no subfolders"):
        utils.text_dataset_from_directory(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match=r"holds no files ending in .txt"):
        utils.text_dataset_from_directory(tmp_path, verbose=False)
    with pytest.raises(ValueError, match="ragged"):
        utils.audio_dataset_from_directory(tmp_path, ragged=True, output_sequence_length=3)
    with pytest.raises(ValueError, match="'x'"), on_broken_file("x"):
        pass


# Splitting ----------------------------------------------------------------------------------------
X = np.arange(20.0).reshape(10, 2).astype("float32")
SIZES = [
    dict(left_size=0.75),
    dict(left_size=3),
    dict(right_size=3),
    dict(left_size=0.2, right_size=0.3),
    dict(left_size=3, right_size=4),
    dict(left_size=0.35),
    dict(right_size=0.26),
]
SPLIT_ERRORS = [
    dict(left_size=None),
    dict(left_size=8, right_size=8),
    dict(left_size=0.8, right_size=0.8),
    dict(left_size=1.0),
    dict(left_size=0),
    dict(left_size=-1),
    dict(left_size=10),
    dict(left_size="a"),
]


@pytest.mark.parametrize("row", range(len(SIZES)))
def test_parts_are_those_of_keras(row):
    for data in (X, (X, X[:, 0]), [X, X]):
        for ours, theirs in zip(
            *(u.split_dataset(data, **SIZES[row]) for u in (utils, keras.utils))
        ):
            same(ours, theirs)


@pytest.mark.parametrize("row", range(len(SPLIT_ERRORS)))
def test_sizes_that_make_no_sense_are_errors_as_in_keras(row):
    with pytest.raises((ValueError, TypeError)) as theirs:
        keras.utils.split_dataset(X, **SPLIT_ERRORS[row])
    with pytest.raises(theirs.type, match="left_size"):
        utils.split_dataset(X, **SPLIT_ERRORS[row])


class Pairs(utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[4 * i : 4 * i + 4], X[4 * i : 4 * i + 4, 0]


def test_any_data_can_be_split():
    import tensorflow as tf
    import torch

    batches = tf.data.Dataset.from_tensor_slices(X).batch(4)
    same(utils.split_dataset(batches, 0.5)[0], keras.utils.split_dataset(batches, 0.5)[0])
    tensors = torch.utils.data.TensorDataset(torch.tensor(X))
    rows = {
        "pairs": Pairs(),
        "rows": tf.data.Dataset.from_tensor_slices(X),
        "tensors": tensors,
        "loader": torch.utils.data.DataLoader(tensors, batch_size=4),
        "generator": (x for x in X),
        "dict": {"x": X},
        "numbers": list(range(10)),
        "ours": utils.timeseries_dataset_from_array(np.arange(12), None, 3),
        "streamed": utils.timeseries_dataset_from_array(np.arange(11), None, 2)
        .filter(len)
        .unbatch(),
    }
    for name, data in rows.items():
        left, right = utils.split_dataset(data, left_size=7)
        left, right = (
            d.unbatch() if name in ("pairs", "loader", "ours") else d for d in (left, right)
        )
        assert len(list(left)) == 7 and len(list(right)) == 3, name


def test_a_split_is_shuffled_by_seed_and_given_in_other_forms():
    made = [utils.split_dataset(X[:, 0], 0.5, shuffle=True, seed=3) for _ in range(2)]
    first, second = ([float(x) for x in part] for part in made[0])
    assert [float(x) for x in made[1][0]] == first and sorted(first + second) == X[:, 0].tolist()
    tf_parts = utils.split_dataset(X, 0.5, preferred_backend="tensorflow")
    assert [type(d).__module__.partition(".")[0] for d in tf_parts] == ["tensorflow"] * 2
    assert len(list(utils.split_dataset(X, 0.5, preferred_backend="torch")[1])) == 5
    for bad in (5, "text", []):
        with pytest.raises(TypeError, match=type(bad).__name__):
            utils.split_dataset(bad, 0.5)
    with pytest.raises(ValueError, match="'x'"):
        utils.split_dataset(X, 0.5, preferred_backend="x")
