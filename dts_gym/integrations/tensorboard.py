"""Writes metrics of a run for TensorBoard."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

from dts_gym.harness.callbacks import Metrics, Round
from dts_gym.utils.extras import missing_extra


class TensorBoard:
    """A callback of `dts_gym.run` that writes ``regret``, ``reward``, ``action_entropy`` and ``posterior_width``.

    Parameters
    ----------
    writer : a folder for the events, written with torch's ``SummaryWriter`` (extra ``tensorboard``); or a writer of
        your own with ``add_scalar(tag, value, step)``, which you close.
    every : number of rounds from one point to the next.
    prefix : text before the names, for example ``"dTS/"`` where runs share a writer.

    Raises
    ------
    ImportError
        If a folder is given and torch or tensorboard is not installed.

    Notes
    -----
    Names and meanings are those of `dts_gym.harness.callbacks.Metrics`. Several runs may follow one another, each from
    step 1.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> class Printer:
    ...     def add_scalar(self, tag, value, step):
    ...         print(step, tag)
    >>> env = gym.make("DiffusionBandit-v0", num_actions=5)
    >>> agent = dts_gym.make_agent("EpsilonGreedy", env, seed=0)
    >>> _ = dts_gym.run(env, agent, num_rounds=100, seed=0, callback=TensorBoard(Printer(), every=100))
    100 regret
    100 reward
    100 action_entropy
    100 posterior_width
    """

    def __init__(self, writer: str | os.PathLike[str] | Any, every: int = 100, prefix: str = "") -> None:
        self._owned: Any = None
        self._prefix = prefix
        self._metrics = Metrics(self._report, every)
        if isinstance(writer, str | os.PathLike):
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise missing_extra("a folder of events", "TensorBoard with torch", "tensorboard", error) from error
            writer = self._owned = SummaryWriter(os.fspath(writer))
        elif not hasattr(writer, "add_scalar"):
            raise ValueError(f"writer must be a folder or have add_scalar(tag, value, step), got {writer!r:.200}")
        self._writer = writer

    def __call__(self, played: Round, /) -> None:
        """Record one round."""
        self._metrics(played)

    def close(self) -> None:
        """Write the remaining points and close the folder's file."""
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _report(self, number: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(self._prefix + name, value, number)
        if self._owned is not None:
            self._owned.flush()
