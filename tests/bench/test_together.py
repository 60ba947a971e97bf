"""The benchmark of runs together prints its table; its times are not tested."""

import re

import pytest

from dts_gym.bench.together import AGENTS, SETTINGS, run_together_bench


def test_the_table_has_every_setting_and_its_ratio():
    lines = run_together_bench(num_runs=2, rounds=4, repeats=1, progress=False).splitlines()
    rows = [re.fullmatch(r" *(\d+) +(\d+) (\S+) +([\d.]+) +([\d.]+) +([\d.]+)(  agents one by one)?", x) for x in lines]
    found = [row for row in rows if row]
    assert [(int(row[1]), int(row[2]), row[3]) for row in found] == [
        (K, d, agent) for K, d in SETTINGS for agent in AGENTS
    ]
    for row in found:
        singles, together, ratio = (float(row[i]) for i in (4, 5, 6))
        assert min(singles, together) > 0
        assert ratio == pytest.approx(together / singles, rel=0.01, abs=0.001)
        assert bool(row[7]) == (int(row[1]) * int(row[2]) * (int(row[2]) + 1) // 2 > 1 << 16)
    assert "one of 2 runs" in lines[-1]


@pytest.mark.parametrize(("name", "value"), [("num_runs", 0), ("rounds", 0), ("repeats", 0), ("seed", -1)])
def test_bad_sizes_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer >= "):
        run_together_bench(**{name: value})
