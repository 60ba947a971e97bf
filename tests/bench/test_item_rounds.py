"""The benchmark of items prints its table; its times are not tested."""

import re

import pytest

from dts_gym.bench.item_rounds import ItemTiming, item_table, run_item_bench


def test_the_table_has_every_prior_and_its_ratios():
    lines = run_item_bench(num_actions=60, played=30, dim=2, effects=(2, 3), rounds=4, progress=False).splitlines()
    assert lines[0] == "K = 60, d = 2, 30 actions played, dTS, medians of 4 rounds"
    names = ["linear chain", *(f"q = {q}, {kind}" for q in (4, 6) for kind in ("50 kinds", "all different"))]
    for name, line in zip(names, lines[2:-1], strict=True):
        assert line.startswith(name)
        choice, update, item, ratio, share = (float(x) for x in re.findall(r"[\d.]+", line[24:]))
        assert min(choice, update, item, ratio, share) > 0
    assert re.search(r" 1\.00 ", lines[2])


def test_ratios_are_to_the_first():
    table = item_table([ItemTiming("a", 3.0, 1.0, 2.0), ItemTiming("b", 5.0, 3.0, 4.5)], "title").splitlines()
    assert [line.split()[-2:] for line in table[2:-1]] == [["1.00", "2.00"], ["2.00", "1.50"]]


@pytest.mark.parametrize(
    ("name", "value"), [("num_actions", 0), ("dim", 0), ("played", 0), ("rounds", 0), ("seed", -1), ("effects", (0,))]
)
def test_bad_sizes_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer "):
        run_item_bench(**{"num_actions": 5, "played": 3, "rounds": 1, "progress": False, name: value})
