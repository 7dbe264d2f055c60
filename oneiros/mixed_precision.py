"""Mixed precision under Keras's older names: policies, and the optimizer that scales losses."""

from oneiros.dtype_policies import DTypePolicy, dtype_policy, set_dtype_policy

__all__ = [
    "DTypePolicy",
    "LossScaleOptimizer",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]

Policy = DTypePolicy
global_policy = dtype_policy
set_global_policy = set_dtype_policy


def __getattr__(name):
    if name == "LossScaleOptimizer":
        from oneiros.optimizers import LossScaleOptimizer

        return LossScaleOptimizer
    raise AttributeError(f"module 'oneiros.mixed_precision' has no attribute {name!r}")
