"""The benchmark of environments prints its tables; its times are not tested."""

import re

import pytest

from dts_gym.bench.env_steps import SETTINGS, run_env_bench


def test_the_table_has_every_setting_and_its_ratio():
    lines = run_env_bench(num_envs=2, rounds=8, repeats=1).splitlines()
    rows = [re.fullmatch(r"(\S+Bandit-v0(?: \S+=\S+)*) +(\d+) +(\d+) +([\d.]+) +(\d+)", line) for line in lines]
    found = [row for row in rows if row]
    assert [row[1].split() for row in found] == [
        [env_id, *(f"{name}={value}" for name, value in settings.items())] for env_id, settings in SETTINGS
    ]
    for row in found:
        singles, vector, ratio, steps = (float(row[i]) for i in range(2, 6))
        assert min(singles, vector) > 0
        rounding = singles / vector * (0.6 / singles + 0.6 / vector) + 0.06  # of the times shown, and of the ratio
        assert ratio == pytest.approx(singles / vector, abs=rounding)
        assert steps == pytest.approx(2e6 / vector, rel=0.6 / vector + 0.01)
    assert "a round of 2 instances" in lines[-1]


@pytest.mark.parametrize(("name", "value"), [("num_envs", 0), ("rounds", 3), ("repeats", 0), ("seed", -1)])
def test_bad_sizes_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer >= "):
        run_env_bench(**{name: value})
