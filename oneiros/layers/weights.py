"""Ways of reading a kernel: as it is, or with a trained product of two thin matrices added to it."""

from __future__ import annotations

from oneiros import ops

__all__ = ["LowRank"]


class LowRank:
    """A layer whose main weight can be frozen, a low-rank product being trained beside it (Hu et
    al., 2021).
    """

    low_rank_of = "kernel"
    lora_enabled = False

    def _read(self):
        value = self.__dict__.get(f"_{self.low_rank_of}")
        if value is None:
            raise AttributeError(
                f"You must build the layer before accessing `{self.low_rank_of}` of '{self.__dict__.get('name')}'."
            )
        if not self.lora_enabled:
            return value
        low, high = self._lora_parts()
        return value + (self.lora_alpha / self.lora_rank) * ops.matmul(low, high)

    def _lora_parts(self):
        name = self.low_rank_of
        return getattr(self, f"lora_{name}_a"), getattr(self, f"lora_{name}_b")

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.low_rank_of not in dir(cls):
            setattr(
                cls,
                cls.low_rank_of,
                property(LowRank._read, doc="The main weight, as the layer uses it."),
            )

    @property
    def variable_serialization_spec(self):
        """The names of the weights in the order of files, by way of quantization."""
        return {None: ["kernel", "bias"] if self.low_rank_of == "kernel" else [self.low_rank_of]}

    def get_config(self):
        config = super().get_config()
        if config.get("lora_rank"):
            config.setdefault("lora_alpha", config["lora_rank"])
        return config

    def start_low_rank(self):
        """Begin training low-rank parts if the constructor asked for them."""
        if getattr(self, "lora_rank", None):
            self.enable_lora(self.lora_rank, lora_alpha=self.lora_alpha)

    def enable_lora(self, rank, lora_alpha=None, a_initializer="he_uniform", b_initializer="zeros"):
        """Freeze the main weight and train a product of rank `rank` beside it.

        Args:
            rank: Inner size of the product.
            lora_alpha: The product is scaled by `lora_alpha / rank`; `rank` if None.
            a_initializer: For the first factor.
            b_initializer: For the second factor; zeros leave the layer as it was.
        """
        name = self.low_rank_of
        main = self.__dict__.get(f"_{name}")
        if getattr(self, f"{name}_constraint", None) is not None:
            raise ValueError(
                f"Lora is incompatible with {name} constraints. In order to enable lora on this layer, remove the "
                f"`{name}_constraint` argument."
            )
        if not self.built and main is None:
            raise ValueError("Cannot enable lora on a layer that isn't yet built.")
        if self.lora_enabled:
            raise ValueError("lora is already enabled. This can only be done once per layer.")
        first, second = self._lora_shapes(main.shape, rank)
        a = self.add_weight(
            first,
            a_initializer,
            name=f"lora_{name}_a",
            regularizer=getattr(self, f"{name}_regularizer", None),
        )
        b = self.add_weight(
            second,
            b_initializer,
            name=f"lora_{name}_b",
            regularizer=getattr(self, f"{name}_regularizer", None),
        )
        setattr(self, f"lora_{name}_a", a)
        setattr(self, f"lora_{name}_b", b)
        main.trainable = False
        self.lora_rank, self.lora_alpha = rank, rank if lora_alpha is None else lora_alpha
        self.lora_enabled = True

    def _lora_shapes(self, shape, rank):
        return (*shape[:-1], rank), (rank, shape[-1])

    def save_own_variables(self, store):
        if not self.lora_enabled:
            return super().save_own_variables(store)
        from oneiros.core import backend

        low = {id(v) for v in self._lora_parts()}
        main = self.__dict__[f"_{self.low_rank_of}"]
        kept = [main, *[v for v in self._own_variables() if id(v) not in low and v is not main]]
        for i, v in enumerate(kept):
            store[str(i)] = backend.to_numpy(self._read()) if v is main else v.numpy()

    def load_own_variables(self, store):
        if not self.lora_enabled:
            return super().load_own_variables(store)
        low = self._lora_parts()
        main = self.__dict__[f"_{self.low_rank_of}"]
        kept = [
            main,
            *[v for v in self._own_variables() if v is not main and all(v is not w for w in low)],
        ]
        for i, v in enumerate(kept):
            v.assign(store[str(i)])
        for v in low:  # what they had learned is in the file's main weight
            v.assign(ops.zeros(v.shape, v.dtype))
