"""What an agent's choice of its exploration found: the candidates, how they did, and which one was chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dts_gym.posteriors.exploration import Exploration
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.shown import Display, ShownTable
from dts_gym.utils.tables import data_frame
from dts_gym.utils.validation import finite_array, integer, integers


@dataclass(frozen=True, eq=False, repr=False)
class ExplorationTuning(ShownTable):
    """Candidates for the exploration of an agent, played on instances that it believes in; prints as a table.

    Parameters
    ----------
    rules : C candidates; the first is kept unless another is better beyond doubt.
    num_instances : (C,) number of instances that each was played on; fewer where it was dropped.
    gain : (C,) mean reward of a run more than under the first candidate, on the same instances.
    standard_error : (C,) of ``gain``; NaN where there were fewer than two instances.
    chosen : index of the chosen candidate.
    num_rounds : number of rounds of a run.
    seed : seed of the simulation.
    """

    rules: tuple[Exploration, ...]
    num_instances: IntArray
    gain: Array
    standard_error: Array
    chosen: int
    num_rounds: int
    seed: int

    @property
    def choice(self) -> Exploration:
        """The chosen candidate."""
        return self.rules[self.chosen]

    @property
    def instance_rounds(self) -> int:
        """Number of simulated rounds, of all runs together."""
        return int(self.num_instances.sum()) * self.num_rounds

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each candidate.

        Its columns are "rule", "instances", "gain", "standard_error" and "chosen".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return data_frame(
            {
                "rule": [str(rule) for rule in self.rules],
                "instances": self.num_instances,
                "gain": self.gain,
                "standard_error": self.standard_error,
                "chosen": np.arange(len(self.rules)) == self.chosen,
            }
        )

    def state(self) -> dict[str, Any]:
        """Plain data from which `from_state` makes an equal one."""
        return {
            "rules": [[rule.setting, rule.by_bounds, rule.factor] for rule in self.rules],
            "num_instances": self.num_instances.tolist(),
            "gain": self.gain.tolist(),
            "standard_error": [None if math.isnan(error) else error for error in self.standard_error.tolist()],
            "chosen": self.chosen,
            "num_rounds": self.num_rounds,
            "seed": self.seed,
        }

    @classmethod
    def from_state(cls, saved: Any) -> Self:
        """What `state` described; ValueError for anything else."""
        if not isinstance(saved, Mapping) or not isinstance(saved.get("rules"), list) or not saved["rules"]:
            raise ValueError(f"tuning must be what was saved of a choice, got {saved!r:.200}")
        try:
            rules = tuple(
                Exploration(setting, bool(by_bounds), float(factor)) for setting, by_bounds, factor in saved["rules"]
            )
            errors = [math.nan if error is None else float(error) for error in saved["standard_error"]]
            C = len(rules)
            return cls(
                rules,
                integers("num_instances", saved["num_instances"], C, 1 << 40),
                finite_array("gain", saved["gain"], (C,)),
                np.array(errors).reshape(C),
                integer("chosen", saved["chosen"], 0, C - 1),
                integer("num_rounds", saved["num_rounds"], 1),
                integer("seed", saved["seed"], 0),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"tuning must be what was saved of a choice, got {saved!r:.200}") from error

    def __str__(self) -> str:
        return repr(self)

    def _repr_table(self) -> Display:
        rows = [["exploration", "instances", "gain in reward", "standard error"]]
        for i, rule in enumerate(self.rules):
            error = self.standard_error[i]
            played = self.num_instances[i] > 0
            rows.append(
                [
                    f"{rule}{' *' if i == self.chosen else ''}",
                    str(self.num_instances[i]),
                    f"{self.gain[i]:.4g}" if played else "",
                    "" if math.isnan(error) else f"{error:.2g}",
                ]
            )
        notes = ["gain: over the first row, in a run of the agent's own prior; * chosen"]
        if not self.num_instances.any():
            notes = ["nothing was simulated: the first row is the default"]
        return Display(f"Exploration chosen for {self.num_rounds} rounds", rows, notes)
