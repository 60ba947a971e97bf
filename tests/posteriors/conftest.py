"""Tests of posteriors in closed form run twice where the extra ``fast`` is installed: compiled, and by NumPy alone."""

import pytest

from dts_gym.posteriors.fast.switch import is_fast

TWICE = {
    "test_float32",
    "test_masks",
    "test_pruning",
    "test_two_level_posterior",
    "test_unplayed",
}


def pytest_generate_tests(metafunc):
    if metafunc.module.__name__.rpartition(".")[2] in TWICE:
        metafunc.fixturenames.append("rounds_by")
        metafunc.parametrize("rounds_by", ["numpy", "numba"] if is_fast() else ["numpy"], indirect=True)


@pytest.fixture
def rounds_by(request, monkeypatch):
    """What computes the rounds of posteriors that the test makes."""
    monkeypatch.setenv("DTS_GYM_FAST", "1" if request.param == "numba" else "0")
    return request.param
