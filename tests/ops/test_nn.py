"""Neural network ops: values and shapes against Keras, derivatives against the bodies', errors."""

import numpy as np
import pytest
from against_keras import check
from cases_nn import ROWS, WINDOWS

from oneiros import ops


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # Keras's own formulas overflow on NumPy
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_values_are_keras(row, backend):
    check(row)


@pytest.mark.parametrize("row", WINDOWS, ids=str)
def test_windows_are_keras(row, backend):
    check(row)


def test_nan_is_kept():
    assert np.isnan(ops.relu(np.float32([np.nan])))[0]
