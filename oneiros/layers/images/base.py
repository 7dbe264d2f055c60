"""The base of image layers: what is common to all of them, so that each says its own thing only.

A layer says which amounts it draws (`draw`), and what they do to a batch of images with channels
last (`apply`), to masks (`apply_to_masks`) and to boxes (`apply_to_boxes`). The base takes images
alone or in a dict with labels, masks and boxes, one or a batch of them, in either data format, of
any backend, and gives them back so. Amounts come from seeds by arithmetic that is the same on all
backends. Outside of a graph, a signature of inputs that comes again is compiled.
"""

from __future__ import annotations

import functools
import inspect
import multiprocessing
import os
import threading

import numpy as np

from oneiros import ops
from oneiros.core import backend, tree
from oneiros.core.dtypes import is_float
from oneiros.core.graph import STACK, trace
from oneiros.core.op import array, dtype_of, is_unsized, to_dtype
from oneiros.core.spec import Spec
from oneiros.core.symbol import Symbol
from oneiros.layers.data_layer import DataLayer
from oneiros.layers.fields import DataFormat
from oneiros.layers.images.draws import Draws
from oneiros.ops.control import saturate_cast
from oneiros.random.seed_generator import SeedGenerator, draw_seed
from oneiros.utils import bounding_boxes as boxes_in

__all__ = ["ImageLayer"]

KEPT = 32  # compiled functions that a layer keeps
_SEED = threading.local()  # a seed that was drawn before a call was traced


class ImageLayer(DataLayer):
    """A layer that changes images; see the module.

    Class attributes:
        random: Whether it draws amounts, and does nothing outside of training.
        own_dtype: When integer images keep their dtype: `"never"`, `"idle"` (outside of training)
            or `"always"`; elsewhere the result has the compute dtype.
        channels: The number of channels that it needs, if any.
    """

    random = True
    own_dtype = "never"
    channels = None
    training_only = False  # whether it does nothing outside of training, though not random
    bounding_box_format = None
    generator = None
    config_also = ("data_format", "bounding_box_format")
    config_when_set = ("bounding_box_format",)
    _untracked = (*DataLayer._untracked, "_compiled")

    def adopt(self, bounding_box_format=None, data_format=None, **options):
        super().adopt(**options)
        self.data_format = DataFormat.convert(data_format, self, "data_format")
        if bounding_box_format is not None and bounding_box_format not in boxes_in.FORMATS:
            raise ValueError(
                f"{type(self).__name__}: bounding_box_format must be one of "
                f"{tuple(boxes_in.FORMATS)}; got {bounding_box_format!r}"
            )
        self.bounding_box_format = bounding_box_format
        object.__setattr__(self, "_compiled", {})
        object.__setattr__(self, "_process", os.getpid())

    def __init_subclass__(cls, optional=(), **kwargs):
        """`optional`: what Keras's method `transform_...` takes without a transformation, too."""
        super().__init_subclass__(**kwargs)
        for word in optional:
            name = f"transform_{word}"
            setattr(cls, name, _with_default(getattr(cls, name)))

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if self.__dict__.get("_compiled"):
            self._compiled.clear()

    # What a layer says ----------------------------------------------------------------------------
    def draw(self, draws, shape):
        """The amounts for images of `shape` (batch, height, width, channels): a dict, or None."""
        return None

    def apply(self, x, amounts):
        """Float images (batch, height, width, channels) after the change."""
        return x

    def apply_to_masks(self, masks, amounts):
        """Masks (batch, height, width, channels), of their own dtype."""
        return masks

    def apply_to_labels(self, labels, amounts):
        return labels

    def apply_to_boxes(self, boxes, labels, amounts, size):
        """Corners in pixels (four columns), their labels, and the image's new size.

        Args:
            boxes: Four arrays (batch, boxes).
            labels: (batch, boxes).
            size: (height, width) of the image before.
        """
        return boxes, labels, size

    moves_boxes = False  # whether `apply_to_boxes` is to be asked

    def rounded(self, y, dtype):
        """Float images as integers of `dtype`."""
        return saturate_cast(y, dtype)

    # Calling --------------------------------------------------------------------------------------
    def __call__(self, data, *args, **kwargs):
        seed = self._seed_of_host(data) if STACK.top is None else None
        if seed is None:
            return super().__call__(data, *args, **kwargs)
        before, _SEED.value = getattr(_SEED, "value", None), seed
        try:
            return super().__call__(data, *args, **kwargs)
        finally:
            _SEED.value = before

    def call(self, data, training=True):
        self._check(data)
        if (self.random or self.training_only) and not training:
            return self._idle(data)
        if STACK.top is not None:
            return self._changed(data, self.get_random_transformation(data, True, self._seed()))
        if any(_is_abstract(x) for x in tree.flatten(data)):
            return self._in_graph(data)
        return self._eager(data)

    def _changed(self, data, amounts):
        if not isinstance(data, dict):
            return self.transform_images(data, amounts)
        made = dict(data)
        for key, change in (
            ("bounding_boxes", self.transform_bounding_boxes),
            ("labels", self.transform_labels),
            ("segmentation_masks", self.transform_segmentation_masks),
            ("images", self.transform_images),
        ):
            if key not in data:
                continue
            if key == "bounding_boxes":
                made[key] = self._boxes(data[key], amounts, self._size(data["images"]))
            else:
                made[key] = change(data[key], amounts)
        return made

    def _idle(self, data):
        """`data` as it is, images in the dtype that results have."""
        if isinstance(data, dict):
            return {**data, "images": self._as_result(array(data["images"]))}
        return self._as_result(array(data))

    def _as_result(self, x):
        return x if self.own_dtype != "never" else self._cast(x, self.compute_dtype)

    @staticmethod
    def _cast(x, dtype):
        return to_dtype(x, dtype) if is_float(dtype) else saturate_cast(x, dtype)

    def _result_dtype(self, x):
        own = dtype_of(x)
        return own if self.own_dtype == "always" and not is_float(own) else self.compute_dtype

    # Checks ---------------------------------------------------------------------------------------
    def _check(self, data):
        name = f"{type(self).__name__} '{self.name}'"
        images = data
        if isinstance(data, dict):
            if "images" not in data:
                raise ValueError(f"{name}: data must have the key 'images'; got {sorted(data)}")
            images, boxes = data["images"], data.get("bounding_boxes")
            if boxes is not None and (not isinstance(boxes, dict) or "boxes" not in boxes):
                raise ValueError(f"{name}: bounding_boxes must be a dict with 'boxes' and 'labels'")
            if boxes is not None and self.bounding_box_format is None and self.moves_boxes:
                raise ValueError(
                    f"{name}: data hold bounding_boxes, so bounding_box_format must be given: one "
                    f"of {tuple(boxes_in.FORMATS)}"
                )
        shape = tuple(images.shape)
        if len(shape) not in (3, 4):
            raise ValueError(
                f"{name}: images must have rank 3 (one image) or 4 (a batch); got shape {shape}"
            )
        found = shape[-1 if self.data_format == "channels_last" else -3]
        if self.channels and found not in self.channels:
            wanted = " or ".join(map(str, self.channels))
            raise ValueError(
                f"{name}: images must have {wanted} channels ({self.data_format}); got shape {shape}"
            )

    # Seeds ----------------------------------------------------------------------------------------
    def _seed_of_host(self, data):
        """For arrays of a graph of another backend than the session's, a seed from the host."""
        if not self.random:
            return None
        leaves = tree.flatten(data)
        first = leaves[0] if leaves else None
        if first is None or isinstance(first, Symbol) or not hasattr(first, "dtype"):
            return None
        owner = backend.owner_of(type(first)) if not isinstance(first, np.ndarray) else None
        if owner in (None, backend.current()) or not owner.is_abstract(first):
            return None
        return owner.host_call(self._host_seed, [], (2,), "uint32")

    def _host_seed(self):
        return self._own_seed(self._next_seed())

    def _next_seed(self):
        with _LOCK:
            return backend.to_numpy(self.generator.next())

    def _own_seed(self, seed):
        """`seed`; in a process forked after the layer was made, another one in each of them."""
        if os.getpid() == self._process:
            return seed
        place = (*multiprocessing.current_process()._identity, 0)[0]
        return np.array([seed[0] ^ np.uint32(place * 0x9E3779B9 % 2**32), seed[1]], np.uint32)

    def _seed(self):
        """The seed of this call."""
        if not self.random:
            return None
        given = getattr(_SEED, "value", None)
        return self.generator.next() if given is None else given

    # Amounts --------------------------------------------------------------------------------------
    def get_random_transformation(self, data, training=True, seed=None):
        """The amounts that a call on `data` would draw: a dict for the methods `transform_...`.

        Args:
            data: Images, or a dict with them.
            training: None comes back if false.
            seed: An int, a `SeedGenerator`, or None for the layer's own.
        """
        if self.random and not training:
            return None
        shape = self._shape(data["images"] if isinstance(data, dict) else data)
        if not self.random:
            return self._stated(self.draw(None, shape), shape)
        if STACK.top is None and (seed is None or isinstance(seed, (int, SeedGenerator))):
            seed = self._host_seed() if seed is None else backend.to_numpy(draw_seed(seed))
            return self._stated(self._drawn(seed, shape), shape)
        seed = self.generator.next() if seed is None else draw_seed(seed)
        return self._stated(self.draw(Draws(seed), shape), shape)

    def _stated(self, amounts, shape):
        """The amounts beside what the public methods must know of the images."""
        return {**amounts, "input_shape": shape} if isinstance(amounts, dict) else amounts

    def _drawn(self, seed, shape):
        """The amounts on the host, by a function compiled once for each shape."""
        key = ("draw", shape)
        known = self._compiled.get(key)
        if known is None:
            form = []

            def flat(seed):
                form.append(self.draw(Draws(seed), shape))
                return [x for x in tree.flatten(form[0]) if hasattr(x, "dtype")]

            graph = trace(flat, [Spec((2,), "uint32")])
            known = self._keep(key, (backend.load("numpy").compile(graph), form[0]))
        run, form = known
        values = iter([np.array(v) for v in run(np.asarray(seed))])
        return tree.map_structure(lambda x: next(values) if hasattr(x, "dtype") else x, form)

    def _keep(self, key, value):
        while len(self._compiled) >= KEPT:
            self._compiled.pop(next(iter(self._compiled)))
        self._compiled[key] = value
        return value

    # Outside of graphs ----------------------------------------------------------------------------
    def _eager(self, data):
        """The change of real arrays: call by call at first, compiled when a signature comes again."""
        return self._run_eager(data, self.get_random_transformation(data))

    def _run_eager(self, data, amounts):
        whole, engine = (data, amounts), self._engine(data)
        flat = tree.flatten(whole)
        places = [i for i, x in enumerate(flat) if hasattr(x, "dtype")]
        arrays = [engine.to_array(flat[i]) for i in places]
        keys = tuple(data) if isinstance(data, dict) else None
        key = (engine.name, keys, *((dtype_of(x), tuple(x.shape)) for x in arrays))
        known = self._compiled.get(key)
        if known is None and engine is backend.current():
            self._keep(key, False)
            return self._changed(*_refilled(whole, places, arrays))
        if not known:
            change = lambda *given: self._changed(*_refilled(whole, places, given))
            known = self._keep(key, _compiled(engine, change, arrays))
        run, form = known
        return tree.pack_sequence_as(form, list(run(*arrays)))

    def _in_graph(self, data):
        """The change of arrays in a framework's own graph, drawn and made there."""
        engine, seed = self._engine(data), self._seed()
        leaves = tree.flatten(data)
        places = [i for i, x in enumerate(leaves) if hasattr(x, "dtype")]
        arrays = [leaves[i] for i in places]

        def change(*given):
            inner, *seeds = _refilled(data, places, given[: len(places)]), *given[len(places) :]
            return self._changed(inner, self.get_random_transformation(inner, True, *seeds))

        arrays += [] if seed is None else [seed]
        run, form = _compiled(engine, change, arrays)
        return tree.pack_sequence_as(form, list(run(*arrays)))

    def _engine(self, data):
        """The backend whose arrays the data are."""
        kinds = {type(x) for x in tree.flatten(data) if hasattr(x, "dtype")}
        return backend.owner(kinds, self.name) or backend.current()

    # Keras's public methods -----------------------------------------------------------------------
    def transform_images(self, images, transformation, training=True):
        """Images after the change that `transformation` states."""
        x = array(images)
        if not training or transformation is None and self.random:
            return self._as_result(x)
        dtype = self._result_dtype(x)
        x, back = self._batch(x)
        y = self.apply(to_dtype(x, "float32"), transformation)
        if not is_float(dtype) and is_float(dtype_of(y)):
            y = self.rounded(y, dtype)
        return back(self._cast(y, dtype))

    def transform_labels(self, labels, transformation, training=True):
        """Labels after the change."""
        if not training or transformation is None:
            return labels
        return self.apply_to_labels(array(labels), transformation)

    def transform_segmentation_masks(self, segmentation_masks, transformation, training=True):
        """Segmentation masks after the change, in their own dtype."""
        if not training or transformation is None and self.random:
            return segmentation_masks
        x, back = self._batch(array(segmentation_masks))
        return back(self.apply_to_masks(x, transformation))

    def transform_bounding_boxes(self, bounding_boxes, transformation, training=True):
        """Boxes after the change; those of which nothing is left become -1, with the label -1."""
        if not training or transformation is None and self.random:
            return bounding_boxes
        size = self.size_in(transformation) if self.moves_boxes else None
        return self._boxes(bounding_boxes, transformation, size)

    def size_in(self, amounts):
        """The (height, width) of images that their amounts tell."""
        for form in (amounts, *amounts.get("transforms", {}).values()):
            if form and "input_shape" in form:
                return tuple(form["input_shape"])[-3:-1]
            if form and "image_height" in form:
                return form["image_height"], form["image_width"]
        raise ValueError(
            f"{type(self).__name__}: boxes need amounts with 'input_shape'; got {amounts}"
        )

    def transform_single_image(self, image, transformation, training=True):
        """One image after the change."""
        return self.transform_images(image, transformation, training)

    def transform_single_label(self, label, transformation, training=True):
        """One label after the change."""
        return self.transform_labels(label, transformation, training)

    def transform_single_bounding_box(self, bounding_box, transformation, training=True):
        """The boxes of one image after the change."""
        return self.transform_bounding_boxes(bounding_box, transformation, training)

    def transform_single_segmentation_mask(self, segmentation_mask, transformation, training=True):
        """One mask after the change."""
        return self.transform_segmentation_masks(segmentation_mask, transformation, training)

    # Forms ----------------------------------------------------------------------------------------
    def _shape(self, images):
        """(batch, height, width, channels) of images."""
        shape = tuple(images.shape)
        shape = (1, *shape) if len(shape) == 3 else shape
        if self.data_format == "channels_first":
            shape = (shape[0], *shape[2:], shape[1])
        return shape

    def _size(self, images):
        shape = tuple(images.shape)
        return shape[-2:] if self.data_format == "channels_first" else shape[-3:-1]

    def _batch(self, x):
        """A batch with channels last, and a function that brings results back to the form of `x`."""
        alone, first = len(x.shape) == 3, self.data_format == "channels_first"
        x = ops.expand_dims(x, 0) if alone else x
        x = ops.transpose(x, (0, 2, 3, 1)) if first else x

        def back(y):
            y = ops.transpose(y, (0, 3, 1, 2)) if first else y
            return ops.squeeze(y, 0) if alone else y

        return x, back

    def _boxes(self, given, amounts, size):
        if not self.moves_boxes:
            return given
        boxes, labels = array(given["boxes"]), array(given["labels"])
        dtype, alone = dtype_of(boxes), len(boxes.shape) == 2
        if alone:
            boxes, labels = ops.expand_dims(boxes, 0), ops.expand_dims(labels, 0)
        columns = boxes_in.corners(boxes, self.bounding_box_format, *size)
        columns, labels, size = self.apply_to_boxes(columns, labels, amounts, size)
        height, width = size
        columns = [ops.clip(c, 0.0, n) for c, n in zip(columns, [float(width), float(height)] * 2)]
        area = (columns[2] - columns[0]) * (columns[3] - columns[1])
        gone = ops.logical_or(ops.less_equal(area, 0.0), ops.equal(labels, -1))
        made = boxes_in.convert_format(
            ops.stack(columns, axis=-1), "xyxy", self.bounding_box_format, height, width
        )
        made = ops.where(ops.expand_dims(gone, -1), -1.0, made)
        made = self._cast(made, dtype if is_float(dtype) else "float32")
        labels = ops.where(gone, ops.full_like(labels, -1), labels)
        if alone:
            made, labels = ops.squeeze(made, 0), ops.squeeze(labels, 0)
        return {**given, "boxes": made, "labels": labels}


_LOCK = threading.RLock()


def _is_abstract(x):
    if isinstance(x, (Symbol, np.ndarray)) or not hasattr(x, "dtype"):
        return isinstance(x, Symbol)
    owner = backend.owner_of(type(x))
    return is_unsized(x) or owner is not None and owner.is_abstract(x)


def _with_default(method):
    """`method(self, x, transformation, training)` with None as the default transformation."""

    @functools.wraps(method)
    def optional(self, x, transformation=None, training=True):
        return method(self, x, transformation, training)

    signature = inspect.signature(method)
    rows = [
        r.replace(default=None) if r.name == "transformation" else r
        for r in signature.parameters.values()
    ]
    optional.__signature__ = signature.replace(parameters=rows)
    return optional


def _compiled(engine, change, arrays):
    """`change` as a compiled function of arrays like these, and the form of what it gives."""
    form = []

    def flat(*given):
        made = change(*given)
        form.append(tree.map_structure(lambda _: 0, made))
        return tree.flatten(made)

    specs = [Spec(tuple(x.shape), dtype_of(x)) for x in arrays]
    graph = trace(flat, specs, engine.kept("predict"))
    return engine.compile(graph), form[0]


def _refilled(whole, places, arrays):
    """The structure with other arrays at `places` of its leaves."""
    leaves = tree.flatten(whole)
    for i, x in zip(places, arrays):
        leaves[i] = x
    return tree.pack_sequence_as(whole, leaves)
