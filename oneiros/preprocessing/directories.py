"""Data sets of the files in a folder: pictures, texts, sound.

Which files there are, their labels and their split are found at once; what is in them is read when it is
wanted, on threads. The order and the split follow from the seed, the same everywhere.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import fractions
import os
import struct

import numpy as np

from oneiros.callbacks.progress import message
from oneiros.core import config, seeding
from oneiros.core.dtypes import np_dtype
from oneiros.preprocessing.dataset import WORKERS, Dataset, _Batched, stacked
from oneiros.utils.images import CHANNELS, img_to_array, load_img, resized

__all__ = [
    "audio_dataset_from_directory",
    "image_dataset_from_directory",
    "on_broken_file",
    "text_dataset_from_directory",
]

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
SUBSETS = ("training", "validation", "both")
LABEL_MODES = ("int", "categorical", "binary", None)
# The samples of WAV files by code and bits.
WAVES = {
    (1, 8): "u1",
    (1, 16): "<i2",
    (1, 24): None,
    (1, 32): "<i4",
    (3, 32): "<f4",
    (3, 64): "<f8",
}
_BROKEN = contextvars.ContextVar("broken", default="raise")


class _Default(str):
    """A default that is told apart from the same text given by the user."""


# Of `format`: named as in Keras; left as it is, it stands for a data set of ours.
OURS = _Default("tf")


def image_dataset_from_directory(
    directory,
    labels="inferred",
    label_mode="int",
    class_names=None,
    color_mode="rgb",
    batch_size=32,
    image_size=(256, 256),
    shuffle=True,
    seed=None,
    validation_split=None,
    subset=None,
    interpolation="bilinear",
    follow_links=False,
    crop_to_aspect_ratio=False,
    pad_to_aspect_ratio=False,
    data_format=None,
    format=OURS,
    verbose=True,
):
    """Batches of the pictures in a folder (BMP, GIF, JPEG, PNG), with the labels of its subfolders.

    A picture is float32 (uint8 with "nearest") from 0 to 255: (height, width, channels).

    Args:
        directory: The folder; its subfolders are the classes if `labels="inferred"`.
        labels: `"inferred"`, None, or a list of whole numbers, one for each file by its path's order.
        label_mode: `"int"`, `"categorical"` (one-hot), `"binary"` (0.0 or 1.0) or None.
        class_names: The subfolders to take, in the order of their numbers; all by name if None.
        color_mode: `"grayscale"`, `"rgb"` or `"rgba"`.
        batch_size: Pictures in a batch; None for pictures one by one.
        image_size: (height, width) that they are brought to.
        shuffle: Whether they come in a new order in each pass; else by their paths.
        seed: Of the order and of the split.
        validation_split: The share of the files that is for validation.
        subset: `"training"`, `"validation"`, or `"both"` for a pair of data sets.
        interpolation: As in `ops.image.resize`.
        follow_links: Whether to go into folders that are links.
        crop_to_aspect_ratio: Whether to cut off what exceeds the new ratio of sides first.
        pad_to_aspect_ratio: Whether to fill up to the new ratio first.
        data_format: Where the channels are; the session's setting if None.
        format: Left as it is: a `preprocessing.Dataset`. `"tf"`: a `tf.data.Dataset`; `"grain"`: a
            grain data set.
        verbose: Whether to say how many files were found.

    Raises:
        ValueError: if arguments do not fit together, the folder holds no pictures, or (when it is
            read) a file holds none that can be read; `on_broken_file("skip")` leaves such out.
    """
    from oneiros.ops.resizing import METHODS

    if color_mode not in CHANNELS:
        raise ValueError(f"`color_mode` must be one of {tuple(CHANNELS)}; got {color_mode!r}")
    if interpolation not in METHODS:
        raise ValueError(f"`interpolation` must be one of {tuple(METHODS)}; got {interpolation!r}")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("only one of `crop_to_aspect_ratio` and `pad_to_aspect_ratio` can be true")
    size = tuple(int(n) for n in np.ravel(image_size))
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"`image_size` must be a pair (height, width); got {image_size!r}")
    first = config.standardize_data_format(data_format) == "channels_first"

    def read(path):
        image = load_img(path, color_mode)
        deep = image.mode.startswith("I")  # 16 bits: of these the high ones, as all have one scale
        x = img_to_array(image, "channels_last", "int32" if deep else "uint8")
        x = (x >> 8).astype("uint8") if deep else x
        x = resized(x, size, interpolation, crop_to_aspect_ratio, pad_to_aspect_ratio)
        return x.transpose(2, 0, 1) if first else x

    return _dataset(read, IMAGES, locals())


def text_dataset_from_directory(
    directory,
    labels="inferred",
    label_mode="int",
    class_names=None,
    batch_size=32,
    max_length=None,
    shuffle=True,
    seed=None,
    validation_split=None,
    subset=None,
    follow_links=False,
    format=OURS,
    verbose=True,
):
    """Batches of the texts in a folder (`.txt`, UTF-8), with the labels of its subfolders.

    A batch is an array of objects: Python's strings.

    Args:
        max_length: How many characters of a text are taken.
        directory, labels, label_mode, class_names, batch_size, shuffle, seed, validation_split,
            subset, follow_links, format, verbose: As in `image_dataset_from_directory`.

    Raises:
        ValueError: as there.
    """

    def read(path):
        with open(path, encoding="utf-8") as file:
            return file.read(max_length if max_length is not None else -1)

    return _dataset(read, (".txt",), locals())


def audio_dataset_from_directory(
    directory,
    labels="inferred",
    label_mode="int",
    class_names=None,
    batch_size=32,
    sampling_rate=None,
    output_sequence_length=None,
    ragged=False,
    shuffle=True,
    seed=None,
    validation_split=None,
    subset=None,
    follow_links=False,
    verbose=True,
):
    """Batches of the sounds in a folder (`.wav`), with the labels of its subfolders.

    A sound is float32 from -1 to 1, of shape (samples, channels). In a batch all are filled up with
    zeros to the length of the longest.

    Args:
        sampling_rate: Samples in a second that all are brought to; each keeps its own if None.
        output_sequence_length: Samples that each is cut or filled up to.
        ragged: Whether a batch is an array of objects, each of its own length.
        directory, labels, label_mode, class_names, batch_size, shuffle, seed, validation_split,
            subset, follow_links, verbose: As in `image_dataset_from_directory`.

    Raises:
        ValueError: as there.
    """
    if ragged and output_sequence_length is not None:
        raise ValueError(
            "with `ragged=True` sounds keep their lengths: no `output_sequence_length`"
        )
    length = output_sequence_length

    def read(path):
        x = read_wav(path, sampling_rate)
        if length is None:
            return x
        return np.pad(x[:length], ((0, max(length - len(x), 0)), (0, 0)))

    given = {**locals(), "format": OURS}
    return _dataset(read, (".wav",), given, _kept_apart if ragged else _filled_up)


@contextlib.contextmanager
def on_broken_file(what):
    """Within it, files that cannot be read are left out by the loaders (`"skip"`), not an error.

    Every file is then read once at the beginning; the data set lists those left out in `skipped`, as
    pairs (path, reason).

    >>> from oneiros.preprocessing import on_broken_file
    >>> with on_broken_file("skip"):
    ...     pass  # image_dataset_from_directory(...)

    Raises:
        ValueError: if `what` is neither "skip" nor "raise".
    """
    if what not in ("skip", "raise"):
        raise ValueError(f'a broken file can be "skip" or "raise"; got {what!r}')
    token = _BROKEN.set(what)
    try:
        yield
    finally:
        _BROKEN.reset(token)


# What all have in common --------------------------------------------------------------------------
def _dataset(read, endings, given, stack=stacked):
    """The data set (or pair of them) that a loader's arguments, `given`, describe."""
    _check(given)
    paths, numbers, names = _files(given, endings)

    def checked(path):
        try:
            return read(path)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error

    skipped = []
    if _BROKEN.get() == "skip":
        paths, numbers, skipped = _readable(checked, paths, numbers)
    if given["label_mode"] == "binary" and len(names) != 2:
        raise ValueError(
            f'`label_mode="binary"` is for two classes; {given["directory"]} has {len(names)}: '
            f"{names}"
        )
    seed = seeding.fresh_seed() if given["seed"] is None else int(given["seed"])
    order = np.arange(len(paths))
    if given["shuffle"]:
        order = seeding.generator([seed, 2**32]).permutation(len(paths))
    if given["verbose"]:
        classes = f" belonging to {len(names)} classes" if names else ""
        message(f"Found {len(paths) + len(skipped)} files{classes}.")
        if skipped:
            message(f"Left out {len(skipped)} files that cannot be read (`.skipped` lists them).")
    if not paths:
        raise ValueError(f"{given['directory']} holds no files ending in {', '.join(endings)}")
    labels = _labels(numbers, given["label_mode"], len(names))
    made = []
    for subset, part in _parts(order, given):
        if not len(part):
            raise ValueError(
                f"`validation_split={given['validation_split']}` leaves no files for {subset}: "
                f"there are {len(paths)}"
            )
        if given["verbose"] and subset:
            message(f"Using {len(part)} files for {subset}.")
        shuffle = given["shuffle"] and not (given["subset"] == "both" and subset == "validation")
        rows = part.tolist()
        made.append(_of_files(checked, [paths[i] for i in rows], labels, rows))
        if shuffle:
            made[-1] = made[-1].shuffle(seed=seed)
        if given["batch_size"] is not None:
            made[-1] = made[-1]._then(_Batched(made[-1], given["batch_size"], stack=stack))
        made[-1].class_names, made[-1].skipped = names or None, skipped
    made = [_in_format(dataset, given["format"]) for dataset in made]
    return made[0] if len(made) == 1 else tuple(made)


def _of_files(read, paths, labels, rows):
    def element(i):
        return read(paths[i]) if labels is None else (read(paths[i]), labels[rows[i]])

    dataset = Dataset(element, len(paths), workers=WORKERS)
    dataset.file_paths = paths
    return dataset


def _in_format(dataset, format):
    makers = {"tf": dataset.as_tf, "grain": dataset.as_grain}
    if format is OURS or format is None:
        return dataset
    if format not in makers:
        raise ValueError(f'`format` must be "tf" or "grain", or left as it is; got {format!r}')
    return makers[format]()


def _check(given):
    labels, split, subset = given["labels"], given["validation_split"], given["subset"]
    batch_size = given["batch_size"]
    if isinstance(labels, str) and labels != "inferred":
        raise ValueError(f'`labels` must be "inferred", None or a list; got {labels!r}')
    if labels is not None and not isinstance(labels, (str, list, tuple, np.ndarray)):
        raise ValueError(f'`labels` must be "inferred", None or a list; got {labels!r}')
    if labels != "inferred" if isinstance(labels, str) or labels is None else True:
        if given["class_names"] is not None:
            raise ValueError(
                '`class_names` says which subfolders are taken: only with `labels="inferred"`'
            )
    if given["label_mode"] not in LABEL_MODES:
        raise ValueError(f"`label_mode` must be one of {LABEL_MODES}; got {given['label_mode']!r}")
    if batch_size is not None and (isinstance(batch_size, bool) or batch_size < 1):
        raise ValueError(
            f"`batch_size` must be a positive whole number or None; got {batch_size!r}"
        )
    if split is not None and not 0 < split < 1:
        raise ValueError(f"`validation_split` must be between 0 and 1; got {split!r}")
    if (split is None) != (subset is None):
        raise ValueError("`subset` and `validation_split` are given together, or neither")
    if subset is not None and subset not in SUBSETS:
        raise ValueError(f"`subset` must be one of {SUBSETS}; got {subset!r}")
    if split is not None and given["shuffle"] and given["seed"] is None:
        raise ValueError(
            "with `validation_split`, give a `seed` or `shuffle=False`: else the two subsets overlap"
        )


def _files(given, endings):
    """The paths of all files in order, their classes' numbers (or None), and the classes' names."""
    directory, labels = os.fspath(given["directory"]), given["labels"]
    if not os.path.isdir(directory):
        raise ValueError(f"there is no folder {directory!r}")
    inferred = isinstance(labels, str)
    if not inferred:
        paths = list(_below(directory, endings, given["follow_links"]))
        if labels is None or given["label_mode"] is None:
            return paths, None, []
        if len(labels) != len(paths):
            raise ValueError(
                f"`labels` must have one number for each file: there are {len(paths)} files in "
                f"{directory!r}, and {len(labels)} labels"
            )
        numbers = np.asarray(labels, "int64")
        return paths, numbers, [str(n) for n in np.unique(numbers)]
    found = sorted(e.name for e in os.scandir(directory) if e.is_dir() and e.name[0] != ".")
    names = found if given["class_names"] is None else list(given["class_names"])
    if set(names) - set(found):
        raise ValueError(
            f"`class_names` names folders that are not in {directory!r}: "
            f"{sorted(set(names) - set(found))}; there are {found}"
        )
    if not found:
        raise ValueError(f"{directory!r} has no subfolders to infer the labels from")
    paths, numbers = [], []
    for number, name in enumerate(names):
        more = list(_below(os.path.join(directory, name), endings, given["follow_links"]))
        paths, numbers = paths + more, numbers + [number] * len(more)
    if given["label_mode"] is None:
        return paths, None, names
    return paths, np.array(numbers, "int64"), names


def _below(folder, endings, follow_links):
    """The files with certain endings in a folder and all below it, by path."""
    for place, _, names in sorted(os.walk(folder, followlinks=follow_links)):
        for name in sorted(names):
            if name.lower().endswith(endings):
                yield os.path.join(place, name)


def _labels(numbers, mode, classes):
    if numbers is None:
        return None
    if mode == "binary":
        return numbers.astype(np_dtype(config.floatx()))[:, None]
    if mode == "categorical":
        return np.eye(classes, dtype=np_dtype(config.floatx()))[numbers]
    return numbers.astype("int32")


def _parts(order, given):
    """Pairs of a subset's name and the numbers of its files."""
    if given["subset"] is None:
        return [(None, order)]
    validation = int(given["validation_split"] * len(order))
    parts = {
        "training": order[: len(order) - validation],
        "validation": order[len(order) - validation :],
    }
    return [(name, part) for name, part in parts.items() if given["subset"] in ("both", name)]


def _readable(read, paths, numbers):
    """The files that can be read, their numbers, and the others with the reason."""

    def reason(path):
        try:
            read(path)
        except ValueError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        reasons = list(pool.map(reason, paths))
    good = [i for i, why in enumerate(reasons) if why is None]
    skipped = [(path, why) for path, why in zip(paths, reasons) if why is not None]
    return [paths[i] for i in good], None if numbers is None else numbers[good], skipped


# Sound --------------------------------------------------------------------------------------------
def read_wav(path, sampling_rate=None):
    """A WAV file as float32 (samples, channels) from -1 to 1, brought to `sampling_rate`.

    Raises:
        ValueError: if it holds no whole sound, or one that is compressed.
    """
    with open(path, "rb") as file:
        content = file.read()
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError("it is no WAV file")
    form, place = None, 12
    while place + 8 <= len(content):
        kind, size = (
            content[place : place + 4],
            int.from_bytes(content[place + 4 : place + 8], "little"),
        )
        chunk = content[place + 8 : place + 8 + size]
        if len(chunk) < size:
            raise ValueError("it is cut off")
        if kind == b"fmt " and size >= 16:
            form = struct.unpack("<HHIIHH", chunk[:16])
            if form[0] == 0xFFFE and size >= 26:  # the real code stands further behind
                form = (int.from_bytes(chunk[24:26], "little"), *form[1:])
        elif kind == b"data" and form is not None:
            return _resampled(_samples(chunk, form), form[2], sampling_rate)
        place += 8 + size + size % 2
    raise ValueError("it holds no sound")


def _samples(data, form):
    """The samples in a chunk, (samples, channels), whose form the header describes."""
    code, channels, rate, _, _, bits = form
    width = bits // 8
    if (code, bits) not in WAVES or not channels or not rate:
        raise ValueError(f"its form (code {code}, {bits} bits, {channels} channels) is not known")
    data = data[: len(data) // (width * channels) * width * channels]
    if bits == 24:  # as the upper bytes of 32 bits
        wide = np.zeros((len(data) // 3, 4), "u1")
        wide[:, 1:] = np.frombuffer(data, "u1").reshape(-1, 3)
        x = wide.view("<i4")[:, 0]
    else:
        x = np.frombuffer(data, WAVES[code, bits])
    if x.dtype.kind in "iu":
        half = 1 << (8 * x.dtype.itemsize - 1)
        x = (x.astype("float64") - (half if x.dtype.kind == "u" else 0)) / half
    return x.reshape(-1, channels)


def _resampled(x, rate, wanted):
    if wanted is not None and wanted != rate:
        from scipy.signal import resample_poly

        ratio = fractions.Fraction(int(wanted), rate)
        x = resample_poly(x, ratio.numerator, ratio.denominator, axis=0)
    return x.astype("float32")


def _filled_up(elements):
    """`stacked`, after sounds are filled up with zeros to the length of the longest."""
    pairs = isinstance(elements[0], tuple)
    sounds = [e[0] if pairs else e for e in elements]
    longest = max(map(len, sounds))
    sounds = [np.pad(x, ((0, longest - len(x)), (0, 0))) for x in sounds]
    return stacked([(x, e[1]) for x, e in zip(sounds, elements)] if pairs else sounds)


def _kept_apart(elements):
    """`stacked`, with sounds of their own lengths in an array of objects."""
    pairs = isinstance(elements[0], tuple)
    sounds = np.empty(len(elements), object)
    sounds[:] = [e[0] if pairs else e for e in elements]
    return (sounds, stacked([e[1] for e in elements])) if pairs else sounds
