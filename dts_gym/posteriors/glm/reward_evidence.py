"""Adds rewards of any family to the table of played actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_table import GLMTable, Mode
from dts_gym.posteriors.glm.renewal import renew
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, IntArray


class RewardEvidence:
    """Evidence of rewards on the actions' parameters: exact for Gaussian rewards, else expanded as in `GLMTable`.

    Parameters
    ----------
    model : distribution of the rewards.
    dim : d, the dimension of the parameters.
    expansion : where rewards that are not Gaussian are expanded.
    offsets : (K, d) known vectors that are added to the parameters before rewards see them; None adds nothing.
    """

    def __init__(self, model: RewardModel, dim: int, expansion: Mode, offsets: Array | None = None) -> None:
        self.model = model
        self._offsets = offsets
        self._glm = None if isinstance(model, GaussianReward) else GLMTable(model, dim, expansion)

    @property
    def expands(self) -> bool:
        """Whether rewards are expanded, at a point that depends on the latents."""
        return self._glm is not None and self._glm.mode != "mle"

    def observe(
        self, table: ActionTable, context: Array, action: int, reward: float, law: Callable[[], tuple[Array, Array]]
    ) -> Evidence:
        """Add one reward to the table.

        Parameters
        ----------
        law : function that returns mean (d,) and covariance (d, d) of the action's parameters given the other actions'
            data; it is called where the reward must be expanded.

        Returns
        -------
        Evidence
            The change of the action's message, (d, d) and (d,), in the table's coordinates.

        Raises
        ------
        ValueError
            If a table's row cannot hold it: see `ActionTable.refuse_heavy` and `GLMTable.learn`. Nothing has changed.
        """
        if self._glm is None:
            table.refuse_heavy(action, context, self.model.dispersion)
            reward -= self.added(context, action)
            return table.observe(action, context, reward, self.model.dispersion).evidence()
        mean, cov = law()
        if self._offsets is None:
            return table.replace(action, *self._glm.learn(action, context, reward, self._glm.prior(mean, cov)))
        offset = self._offsets[action]
        G, h = self._glm.learn(action, context, reward, self._glm.prior(mean + offset, cov))
        return table.replace(action, G, h - G @ offset)

    def added(self, context: Array, action: int) -> float:
        """What its offset adds to an action's score."""
        return 0.0 if self._offsets is None else float(context @ self._offsets[action])

    def renew(
        self,
        table: ActionTable,
        shared: Callable[[], Array],
        law: Callable[[int], tuple[Array, Array]],
        turn: int,
    ) -> Evidence | None:
        """Expand one more action's rewards again, if others' data have moved it: see `renewal.renew`.

        Parameters
        ----------
        shared : function that returns ``shared`` of `renewal.renew`; it is called where rewards are expanded.
        law, turn : as in `renewal.renew`.

        Returns
        -------
        Evidence or None
            The change of that action's message; None for Gaussian rewards, for "mle" and where none is stale.
        """
        if self._glm is None or not self.expands:
            return None
        glm = self._glm
        return renew(glm, table, np.zeros(table.dim), shared(), lambda action: glm.prior(*law(action)), turn)

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit; the table keeps its own."""
        return {} if self._glm is None else {f"glm.{name}": array for name, array in self._glm.state().items()}

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        if self._glm is not None:
            self._glm.restore({name.removeprefix("glm."): v for name, v in state.items() if name.startswith("glm.")})
