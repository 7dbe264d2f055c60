"""What every test shares: the oracle's environment and the backends to run on."""

import contextlib
import functools
import os
import pathlib
import zlib

os.environ.setdefault("KERAS_BACKEND", "numpy")
os.environ.setdefault("ONEIROS_BACKEND", "numpy")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests compile thousands of small functions and run each once: XLA is told to hurry.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure, and the same checkout gives the same verdict.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("steady")

# All by default; a backend's author names one to run the whole suite on it alone.
BACKENDS = os.environ.get("ONEIROS_TEST_BACKENDS", "numpy jax torch tensorflow").split()


# NumPy runs every row in every dtype. The others run each row once, in float32; of the rest each
# takes its own share, chosen by the row's name, so that one more backend costs about a minute.
SHARERS = ("jax", "torch", "tensorflow", "pytensor", "dl4j", "cntk")


@pytest.fixture
def turn(backend):
    """`turn(what, of=3)`: whether this backend is to run `what`, a row that all need not run."""
    return functools.partial(is_turn_of, backend)


def is_turn_of(backend, what, of=3):
    place = SHARERS.index(backend) % of if backend in SHARERS else 0
    return backend == "numpy" or zlib.crc32(str(what).encode()) % of == place


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Each backend in turn, as the session's."""
    from oneiros import config

    before = config.backend()
    config.set_backend(request.param)
    with contextlib.nullcontext() if request.param != "torch" else _no_grad():
        yield request.param
    config.set_backend(before)


def _no_grad():
    """Values alone: NumPy does not take PyTorch's tensors that track derivatives."""
    import torch

    return torch.no_grad()


DATA = pathlib.Path(__file__).parent.parent / ".data"
NO_DATA = "real data are not there: `make data` fetches them"


@pytest.fixture(scope="session")
def data():
    """`data("reviews")`: the folder with real data of that name (examples/fetch.py); else a skip."""

    def folder(name):
        if not (DATA / name).exists():
            pytest.skip(NO_DATA)
        return DATA / name

    return folder


def pytest_terminal_summary(terminalreporter):
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if NO_DATA in str(r.longrepr)]
    if skipped:
        terminalreporter.line(f"{len(skipped)} tests skipped: {NO_DATA}")
