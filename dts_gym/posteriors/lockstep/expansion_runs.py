"""The tables of expanded rewards of many runs, an action of each at a time: `GLMTable` with a leading axis of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_table import GLMTable
from dts_gym.posteriors.glm.map_expansion import Expansion, NormalPrior, at_map
from dts_gym.posteriors.glm.renewal import most_moved
from dts_gym.posteriors.glm.sites import Rewards, Sites, filled_up
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.columns import stacked

# Sites are filled up to a power of this, the same whatever the other runs have: rounding may depend on it.
_LENGTHS = 4


class ExpansionRuns:
    """The tables of R runs, with room for all K actions of each.

    Parameters
    ----------
    tables : R tables of one family of rewards, and of one mode other than "mle". Their arrays are views of stacked ones
        until `part`.
    num_actions : K.

    Notes
    -----
    As exact as each table. Actions with about as many sites, up to four times as many, are expanded at once.
    """

    def __init__(self, tables: Sequence[GLMTable], num_actions: int) -> None:
        self._tables, self._model = list(tables), tables[0].model
        self._columns = stacked([table.columns for table in tables], num_actions)
        self._shown: list[Sites] = []

    def part(self) -> None:
        """Give every table arrays of its own again."""
        for table in self._tables:
            table.columns.restore(table.columns.state())

    def with_one(
        self, actions: IntArray, rows: IntArray, contexts: Array, rewards: Array, prior: NormalPrior
    ) -> Expansion:
        """Expand an action's rewards and one more in every run, which counts after `keep`.

        Parameters
        ----------
        actions, rows : (R,) the actions, and their rows; a new action's is the first that is free.
        contexts, rewards : (R, d) and (R,).
        prior : distribution of each action's parameters given the other actions' data.
        """
        is_new = rows >= np.array([len(table) for table in self._tables])
        self._shown = [table.sites_of(action) for table, action in zip(self._tables, actions.tolist(), strict=True)]
        shown = zip(self._shown, contexts, rewards.tolist(), strict=True)
        used = [sites.with_one(x, y) for sites, x, y in shown]
        begin = np.where(is_new[:, None], prior.mean, self._columns["points"][np.arange(len(rows)), rows])
        return self._expanded(self._shown, used, prior, begin)

    def keep(self, actions: IntArray, rows: IntArray, found: Expansion) -> None:
        """Let the rewards that were shown last count, and store their expansions."""
        shown = zip(self._tables, actions.tolist(), self._shown, found.point, found.root, strict=True)
        for table, action, sites, point, root in shown:
            table.keep(action, sites, point, root)
        self.store(np.arange(len(rows)), rows, found)

    def again(self, runs: IntArray, rows: IntArray, prior: NormalPrior) -> Expansion:
        """Expand the rewards of an action of some runs anew."""
        pairs = [(self._tables[run], row) for run, row in zip(runs.tolist(), rows.tolist(), strict=True)]
        sites = [table.sites_of(int(table.actions[row])) for table, row in pairs]
        return self._expanded(sites, [each.used() for each in sites], prior, self._columns["points"][runs, rows])

    def store(self, runs: IntArray, rows: IntArray, found: Expansion) -> None:
        """Store expansions in a row of each of some runs."""
        self._columns["G"][runs, rows], self._columns["h"][runs, rows] = found.evidence
        self._columns["points"][runs, rows], self._columns["means"][runs, rows] = found.point, found.mean

    def most_moved(self, rows: IntArray, means: Array) -> tuple[IntArray, BoolArray]:
        """`renewal.most_moved` of some rows (R, k) of each run, given the actions' means (R, k, d)."""
        at = (np.arange(len(rows))[:, None], rows)
        return most_moved(means - self._columns["means"][at], self._columns["G"][at])

    def _expanded(self, sites: list[Sites], used: list[Rewards], prior: NormalPrior, begin: Array) -> Expansion:
        """Expansions of the rewards of k actions, which may not be finite."""
        k, d = begin.shape
        found = Expansion(
            Evidence(np.empty((k, d, d)), np.empty((k, d))), np.empty((k, d)), np.empty((k, d)), np.empty((k, d, d))
        )
        alike: dict[tuple[int, bool], list[int]] = {}
        for i, (each, rewards) in enumerate(zip(sites, used, strict=True)):
            length = _LENGTHS
            while length < len(rewards.sums):
                length *= _LENGTHS
            alike.setdefault((length, each.rest is None), []).append(i)
        for (length, is_whole), members in alike.items():
            at = np.array(members)
            rests = [rest for i in members if (rest := sites[i].rest) is not None]
            rest = (
                None if is_whole else Evidence(np.stack([one.G for one in rests]), np.stack([one.h for one in rests]))
            )
            own = NormalPrior(prior.mean[at], prior.root[at], prior.inverse[at])
            with np.errstate(over="ignore", invalid="ignore"):
                part = at_map(self._model, filled_up([used[i] for i in members], length), rest, own, begin[at])
            found.evidence.G[at], found.evidence.h[at] = part.evidence
            found.point[at], found.mean[at], found.root[at] = part.point, part.mean, part.root
        return found
