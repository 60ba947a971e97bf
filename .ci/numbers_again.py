"""Run some of the published numbers again: the same seeds must give the same regret, other seeds one near it.

python .ci/numbers_again.py [COUNT] [SEED] [STUDY ...]

Draws COUNT rows of docs/results/*/outcome.csv at random, of simulated bandits of at most 100 actions, and runs each
agent at the exploration of its row, first on the seeds of the table, then on as many others. Exits with 1 if a number
differs: by more than rounding on the same seeds, or by 3.5 standard errors of the difference on others.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np

import dts_gym
from dts_gym.harness.agent_texts import parse_agent
from dts_gym.harness.experiment import base_label
from dts_gym.utils.tables import standard_error

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
LARGEST, LIMIT = 100, 3.5


def published(studies: list[str]) -> list[tuple[str, dict, dict]]:
    """Study, cell and row of every number that can be run again in minutes."""
    found = []
    for path in sorted(RESULTS.glob("*/study.json")):
        study, cells = path.parent.name, json.loads(path.read_text()).get("settings", {})
        if studies and study not in studies:
            continue
        for row in csv.DictReader((path.parent / "outcome.csv").read_text().splitlines()):
            cell = cells.get(row.get("cell", ""))
            if cell is None or "env_settings" not in cell or not {"regret", "seeds", "exploration"} <= set(row):
                continue
            asked = cell["env_settings"]
            if "MovieLens" not in cell["env_id"] and asked.get("num_actions", asked.get("num_live", 0)) <= LARGEST:
                found.append((study, cell, row))
    return found


def regrets(cell: dict, row: dict, seeds: range) -> np.ndarray:
    """Final regret of the row's agent on these seeds."""
    specs = [parse_agent(text) for text in cell["agents"]]
    spec = next(each for each in specs if base_label(each) == row["agent"])
    if row["exploration"]:
        spec = dts_gym.AgentSpec(spec.id, {**spec.settings, "exploration": float(row["exploration"])})
    settings = {"env_settings": cell["env_settings"], "redraw_prior": cell["redraw_prior"]}
    result = dts_gym.compare(cell["env_id"], [spec], seeds=seeds, num_rounds=cell["num_rounds"], **settings)
    return result.final_regret(spec.label)


def main(count: int = 10, seed: int = 0, studies: list[str] | None = None) -> int:
    """Print a line for each number; the number of those that differ."""
    rows, wrong = published(studies or []), 0
    for i in np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False).tolist():
        study, cell, row = rows[i]
        told, n = float(row["regret"]), int(row["seeds"])
        same, other = regrets(cell, row, range(n)), regrets(cell, row, range(n, 2 * n))
        z = (other.mean() - told) / np.hypot(standard_error(other), float(row["standard_error"]))
        is_same, is_near = bool(np.isclose(same.mean(), told, rtol=1e-9)), abs(z) < LIMIT
        wrong += not (is_same and is_near)
        again = f"again {same.mean():.6g}{'' if is_same else ' DIFFERS'}, on other seeds z = {z:.2f}"
        what = f"{study}, {cell['name']}, {row['agent']} {row['scale']} ({row['exploration'] or 'rule'})"
        print(f"{what}: {told:.6g}, {again}", flush=True)
    print(f"{wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3]), studies=sys.argv[3:]))
