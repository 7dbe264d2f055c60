"""Callbacks: what watches and steers training from outside."""

from oneiros.callbacks.callback import Callback, CallbackList, History, LambdaCallback
from oneiros.callbacks.checkpoint import BackupAndRestore, ModelCheckpoint
from oneiros.callbacks.monitor import EarlyStopping, MonitorCallback, ReduceLROnPlateau
from oneiros.callbacks.progress import ProgbarLogger
from oneiros.callbacks.records import (
    CSVLogger,
    LearningRateScheduler,
    RemoteMonitor,
    SwapEMAWeights,
    TerminateOnNaN,
)

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History",
    "LambdaCallback", "LearningRateScheduler", "ModelCheckpoint", "MonitorCallback",
    "ProgbarLogger", "ReduceLROnPlateau", "RemoteMonitor", "SwapEMAWeights", "TerminateOnNaN",
]  # fmt: skip
