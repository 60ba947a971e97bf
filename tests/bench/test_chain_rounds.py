"""The benchmark of chains prints its tables; its times are not tested."""

import re

import pytest

from dts_gym.bench.chain_rounds import run_chain_bench


def test_the_tables_have_every_setting_and_finite_ratios():
    chains, glm = run_chain_bench(rounds=12, repeats=3, glm_rounds=200).split("\n\n")
    rows = [re.fullmatch(r" +(\d+) +(\d+)((?: +[\d.]+){4})", line) for line in chains.splitlines()]
    found = {(int(row[1]), int(row[2])): [float(x) for x in row[3].split()] for row in rows if row}
    assert sorted(found) == [(L, P) for L in (2, 40) for P in (1, 16, 64)]
    for median, mean, links, ratio in found.values():
        assert min(median, mean, links) > 0
        assert ratio == pytest.approx(median / links, abs=0.02 + 0.01 * ratio)
    assert "after 12 rounds" in chains
    assert "contracts" in chains
    rows = [re.fullmatch(r"(\S+) +(map|online) +([\d.]+) +([\d.]+) +([\d.]+)", line) for line in glm.splitlines()]
    kept = [row for row in rows if row]
    expected = [(agent, mode) for agent in ("GLM-TS", "dTS") for mode in ("map", "online")]
    assert [(row[1], row[2]) for row in kept] == expected
    for row in kept:
        assert float(row[5]) == pytest.approx(float(row[4]) / float(row[3]), abs=0.02)
    assert "µs at 2 " in glm
    assert "µs at 200" in glm


@pytest.mark.parametrize(("name", "value"), [("rounds", 0), ("repeats", 0), ("glm_rounds", 99), ("seed", -1)])
def test_bad_sizes_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer >= "):
        run_chain_bench(**{name: value})
