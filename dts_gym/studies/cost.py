"""Cost: measured CPU time and bytes of a round, beside the orders that the paper's slides (the "deck") state."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dts_gym.bench.machine import machine
from dts_gym.harness.code_state import UNKNOWN, code_state, distinct
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.figures import label_ends, looks
from dts_gym.harness.records import write_json
from dts_gym.priors.random_priors import even_chain
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.registry import make_agent
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.study import Ask, Findings, Study, Verdict, chosen, judge
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.arrays import Array
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.seeding import stream
from dts_gym.utils.tables import csv_text, mean_interval, plus_minus, standard_error
from dts_gym.utils.text_files import parse_json

_BATCHES = 10  # number of batches of rounds; the medians of the batches have a confidence interval
_MOST_JOINT = 2000  # largest K d, whose square JointTS stores
_SIMILAR, _FLAT = 2.0, 1.5  # ratios of times that are judged similar, and not growing


class Size(NamedTuple):
    """A size to measure: K, d and L."""

    num_actions: int
    dim: int
    depth: int


class Cost(NamedTuple):
    """The cost of an agent's round (act and update): medians of batches, in microseconds; and bytes of its state.

    ``code`` is the state of the code that was timed.
    """

    size: Size
    agent: str
    microseconds: tuple[float, ...]
    num_bytes: int
    code: Mapping[str, Any]


@dataclass(frozen=True)
class CostStudy(Study):
    """Times rounds in this process, one size after another."""

    def settings(self, ask: Ask) -> Mapping[str, Any]:
        quick = ask.profile == "quick"
        actions = (10, 100) if quick else (10, 100, 1000, 10_000, 100_000, 1_000_000)
        every = [Size(K, d, L) for d in ((5,) if quick else (5, 20)) for L in (2, 40) for K in actions]
        return {
            "sizes": [every[place] for place in chosen([_name(size) for size in every], ask.only)],
            "rounds_before": 200 if quick else 2000,
            "rounds_timed": 100 if quick else 500,
        }

    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        settings = self.settings(ask)
        inner = conduct.within("timings")
        costs: list[Cost] = []
        with inner.lock_folder():
            for size in progress_bar(settings["sizes"], conduct.progress, len(settings["sizes"]), "sizes"):
                costs += _kept(inner.out, size, settings["rounds_before"], settings["rounds_timed"])
        rows = [["K", "d", "L", "agent", "µs a round", "bytes"]]
        for cost in costs:
            times = np.array(cost.microseconds)
            text = plus_minus(float(times.mean()), float(standard_error(times)))
            rows.append([*map(str, cost.size), cost.agent, text, str(cost.num_bytes)])
        numbers = csv_text(
            ["K", "d", "L", "agent", "microseconds", "bytes"],
            [[*c.size, c.agent, float(np.mean(c.microseconds)), c.num_bytes] for c in costs],
        )
        states = distinct(cost.code for cost in costs)
        return Findings(rows, machine(), numbers, tuple(_verdicts(costs)), lambda path: _draw(costs, path), states)


def _kept(folder: Path | None, size: Size, before: int, timed: int) -> list[Cost]:
    """The costs of a size, measured unless the folder holds them."""
    path = None if folder is None else folder / f"{_name(size)}-{before}-{timed}.json"
    if path is not None and path.exists():
        try:
            # Rows of an earlier version end before the state of the code.
            return [
                Cost(size, agent, tuple(times), held, *(code or [UNKNOWN]))
                for agent, times, held, *code in parse_json(path.read_bytes())
            ]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{os.fspath(path)!r} must hold the costs that dts-gym measured: {error}") from error
    costs = measure_costs(size, before, timed)
    if path is not None:
        write_json(path, [cost[1:] for cost in costs])
    return costs


def measure_costs(size: Size, before: int, timed: int) -> list[Cost]:
    """Time rounds of every agent in turn, after ``before`` rounds that play as many actions as there are.

    Times are the process's own: set ``OPENBLAS_NUM_THREADS=1``, as all threads count.
    """
    K, d, L = size
    problem = BanditProblem(K, d, even_chain(d, L, 0), GaussianReward(1.0))
    names = ["dTS", "LinTS", "LinUCB", *(["JointTS"] if K * d <= _MOST_JOINT else [])]
    agents = {name: make_agent(name, problem, seed=0) for name in names}
    rng = stream(0, "history")
    played = min(K, before)
    actions = np.concatenate([np.arange(played), rng.integers(played, size=before - played)])
    contexts, rewards = rng.uniform(-1, 1, (before, d)), rng.standard_normal(before)
    for agent in agents.values():
        agent.update(contexts, actions, rewards)
    seconds = np.empty((timed, len(names)))
    for i in range(timed):
        x, action, y = rng.uniform(-1, 1, d), int(rng.integers(played)), float(rng.standard_normal())
        for j, agent in enumerate(agents.values()):
            start = time.process_time()
            agent.act(x)
            agent.update(x, action, y)  # for a played action, so that their number stays the same
            seconds[i, j] = time.process_time() - start
    medians = np.median(seconds.reshape(_BATCHES, -1, len(names)), axis=1) * 1e6  # (batches, agents)
    held = [sum(array.nbytes for array in agent._state().values()) for agent in agents.values()]
    return [Cost(size, name, tuple(medians[:, j].tolist()), held[j], code_state()) for j, name in enumerate(names)]


def _verdicts(costs: list[Cost]) -> list[Verdict]:
    times = {(cost.size, cost.agent): np.array(cost.microseconds) for cost in costs}
    found = []
    for d, L in dict.fromkeys(cost.size[1:] for cost in costs):
        sizes = [size for size in dict.fromkeys(cost.size for cost in costs) if size[1:] == (d, L)]
        largest = sizes[-1]
        ratio = times[largest, "dTS"] / times[largest, "LinTS"]
        claim = "dTS costs about what LinTS does."
        contrast = f"{_SIMILAR:g} less the ratio of their times"
        found.append(judge(claim, _name(largest), contrast, mean_interval(_SIMILAR - ratio)))
        joint = [size for size in sizes if (size, "JointTS") in times]
        if joint:
            more = times[joint[-1], "JointTS"] - times[joint[-1], "dTS"]
            claim = "The joint posterior costs more time than dTS, which has the same law."
            found.append(judge(claim, _name(joint[-1]), "µs of JointTS less those of dTS", mean_interval(more)))
        claim, contrast = (
            "Beyond the deck: the time of a round does not grow with {}.",
            f"{_FLAT:g} less the ratio of times",
        )
        shallow = Size(largest.num_actions, d, 2)
        if L > 2 and (shallow, "dTS") in times:
            deep = times[largest, "dTS"] / times[shallow, "dTS"]
            found.append(judge(claim.format("L"), _name(largest), contrast, mean_interval(_FLAT - deep)))
        few = Size(10_000, d, L)
        if few in sizes and few != largest:
            wide = times[largest, "dTS"] / times[few, "dTS"]
            text = claim.format("K once more actions exist than were played")
            found.append(judge(text, f"{_name(largest)} over K=10000", contrast, mean_interval(_FLAT - wide)))
    return found


def _draw(costs: list[Cost], path: str | os.PathLike[str]) -> None:
    """Draw time and bytes over K, a column for each (d, L); grey: the stated orders, from the smallest K on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shapes = list(dict.fromkeys(cost.size[1:] for cost in costs))
    figure = Figure(figsize=(4.8 * len(shapes) + 1.4, 6.8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(shapes), squeeze=False, sharex=True)
    known = looks(list(dict.fromkeys(cost.agent for cost in costs)))
    for column, (d, L) in enumerate(shapes):
        own = [cost for cost in costs if cost.size[1:] == (d, L)]
        for row, value in enumerate((_microseconds, _bytes)):
            axes, ends = grid[row][column], []
            axes.set_xscale("log")
            axes.set_yscale("log")
            for agent, (colour, style) in known.items():
                line = [(cost.size.num_actions, value(cost)) for cost in own if cost.agent == agent]
                if line:
                    K, y = np.array(line).T
                    axes.plot(K, y, style, color=colour, marker="o", markersize=3)
                    ends.append((float(y[-1]), agent, colour))
                    order = _order(agent, row, K, L)
                    if order is not None:
                        axes.plot(K, y[0] * order / order[0], color="0.7", linewidth=1, zorder=0)
            axes.set_title(f"d={d}, L={L}", fontsize="medium")
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            label_ends(axes, ends, 8.0)
        grid[1][column].set_xlabel("Number of actions K")
    grid[0][0].set_ylabel("Microseconds a round (grey: the deck's order)")
    grid[1][0].set_ylabel("Bytes held")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def _order(agent: str, row: int, K: Array, L: int) -> Array | None:
    """The stated order of time (row 0) or space (row 1) in K, for dTS and for the joint posterior."""
    if agent == "dTS":
        return L + K
    return K ** (3 - row) if agent == "JointTS" else None


def _microseconds(cost: Cost) -> float:
    return float(np.mean(cost.microseconds))


def _bytes(cost: Cost) -> float:
    return float(cost.num_bytes)


def _name(size: Size) -> str:
    return f"K={size.num_actions}, d={size.dim}, L={size.depth}"


STUDY = CostStudy(
    id="cost",
    claim=CLAIMS["cost"],
    description=(
        "CPU time of a round (act and update), medians of ten batches of rounds, after 2000 rounds that play min(K, "
        "2000) of the actions; bytes of an agent's state. Linear chains, Gaussian rewards; JointTS up to K d = 2000. "
        "Times differ from run to run and machine to machine: compare them within the table only."
    ),
)
