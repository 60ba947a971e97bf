"""The benchmark of runs together prints its table; its times are not tested."""

import re

import pytest

from dts_gym.bench.together import SETTINGS, Setting, run_together_bench


def test_the_table_has_every_setting_and_its_ratio():
    lines = run_together_bench(num_runs=2, rounds=4, repeats=1, progress=False).splitlines()
    row = re.compile(r" *(\d+) +(\d+) (\S+) +(\S+) +([\d.]+) +([\d.]+) +([\d.]+)(  agents one by one)?")
    found = [match for match in map(row.fullmatch, lines) if match]
    assert [Setting(int(row[1]), int(row[2]), row[3], row[4]) for row in found] == list(SETTINGS)
    assert {setting.reward for setting in SETTINGS} == {"gaussian", "bernoulli", "poisson"}
    for row in found:
        singles, together, ratio = (float(row[i]) for i in (5, 6, 7))
        assert min(singles, together) > 0
        assert ratio == pytest.approx(together / singles, rel=0.01, abs=0.001)
        assert bool(row[8]) == (int(row[1]) * int(row[2]) * (int(row[2]) + 1) // 2 > 1 << 16)
    assert "one of 2 runs" in lines[-1]


@pytest.mark.parametrize(("name", "value"), [("num_runs", 0), ("rounds", 0), ("repeats", 0), ("seed", -1)])
def test_bad_sizes_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer >= "):
        run_together_bench(**{name: value})
