"""The rounds of a run, written as they are played: a folder of blocks that can be read at any moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dts_gym.harness.masks import filled, play
from dts_gym.problem.problem import names_of, problem_of
from dts_gym.utils.archives import write_archive
from dts_gym.utils.locks import LOCK, locked

FORMAT = 1
_BLOCK_ROUNDS = 1000


class RoundLog:
    """A folder of rounds, in blocks of 1000: ``rounds-00000.npz`` and so on.

    A block is written under another name and renamed, so a killed run loses at most the rounds since the last one.

    Parameters
    ----------
    folder : folder of the blocks.
    settings : facts that every block holds, as JSON.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder, self._settings = folder, settings
        self._rounds: list[dict[str, Any]] = []
        self._masks: list[Any] = []
        self._written = 0

    def play(self, agent: Any, context: Any, mask: Any) -> tuple[Any, float | None]:
        """The agent's action, and its probability; None for an agent that does not know it."""
        if not hasattr(agent, "act_with_probability"):
            return play(agent, context, mask), None
        action, probability = agent.act_with_probability(context, mask)
        return action, float(probability)

    def add(self, context: Any, action: Any, probability: float | None, reward: Any, mask: Any) -> None:
        """Add a round, and write the block that it completes."""
        one = {"contexts": np.asarray(context), "actions": int(action), "rewards": float(reward)}
        if probability is not None:
            one["propensities"] = probability
        self._masks.append(None if mask is None else np.array(mask))
        self._rounds.append(one)
        if len(self._rounds) == _BLOCK_ROUNDS:
            self.write()

    def write(self) -> None:
        """Write the rounds that are in no block yet."""
        if self._rounds:
            arrays = {name: np.array([one[name] for one in self._rounds]) for name in self._rounds[0]}
            masks = filled(self._masks)
            if masks is not None:
                arrays["masks"] = masks.astype(bool)
            write_archive(self._folder / f"rounds-{self._written:05d}.npz", arrays, self._settings)
            self._written, self._rounds, self._masks = self._written + 1, [], []


@contextmanager
def round_log(folder: str | os.PathLike[str], env: Any, agent: Any) -> Iterator[RoundLog]:
    """A log of the run of an agent, in a folder that is new or empty; what is left is written at the end.

    Raises
    ------
    ValueError
        If the folder holds files.
    BlockingIOError
        If another process writes to it.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with locked(place / LOCK, name=f"log={os.fspath(folder)!r}"):
        if any(path.name != LOCK for path in place.iterdir()):
            raise ValueError(f"log must be a new or empty folder, got {os.fspath(folder)!r}, which holds files")
        problem = problem_of(env) or getattr(agent, "problem", None)
        settings: dict[str, Any] = {"kind": "rounds", "format": FORMAT, "adapted": getattr(agent, "learns", True)}
        settings["num_actions"] = int(env.action_space.n if problem is None else problem.num_actions)
        if problem is not None:
            settings["reward"] = {"name": problem.reward_model.name, **problem.reward_model.settings()}
        names = names_of(env, agent)
        if names is not None:
            settings["action_names"] = list(names)
        log = RoundLog(place, settings)
        try:
            yield log
        finally:
            log.write()
