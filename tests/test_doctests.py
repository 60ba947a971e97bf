"""The examples of all docstrings run, module by module, by import name."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import dts_gym

MODULES = sorted(module.name for module in pkgutil.walk_packages(dts_gym.__path__, "dts_gym."))
# Tests by path find only dts_gym/ of a checkout; these two folders are beside it.
MODULES += [
    f"dts_gym.{name}.{module.name}"
    for name in ("agents", "envs")
    for module in pkgutil.iter_modules(importlib.import_module(f"dts_gym.{name}").__path__)
    if f"dts_gym.{name}.{module.name}" not in MODULES
]
# What a module imports at its head that may not be installed.
NEEDS = {
    "dts_gym.integrations.sb3": "stable_baselines3",
    "dts_gym.integrations.sb3_learners": "stable_baselines3",
    "dts_gym.posteriors.fast.kernels": "numba",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_run(name, monkeypatch, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    always = [name for name in MODULES if name not in NEEDS]
    tests = [test for name in always for test in finder.find(importlib.import_module(name))]
    assert sum(len(test.examples) for test in tests) > 30
