"""Posteriors of chains by particles at branch 0, many at once: `ChainPosterior` with a leading axis of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.action_table import HEAVIEST, transformed
from dts_gym.posteriors.chain.chain import Chain
from dts_gym.posteriors.chain.chain_posterior import (
    ChainPosterior,
    moment_stream,
    weighted_moments,
    weighted_values,
)
from dts_gym.posteriors.chain.messages import upward_messages, without_missing
from dts_gym.posteriors.chain.particles import Particles, pick, sample_shared
from dts_gym.posteriors.chain.run_chains import chain_rows, stacked_chain, stacked_maps
from dts_gym.posteriors.chain.run_streams import RunStreams
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_posterior import REFRESH_EVERY
from dts_gym.posteriors.lockstep.run_choices import RunChoices, Streams
from dts_gym.posteriors.lockstep.search_runs import Guided, SearchRuns
from dts_gym.priors.denoisers import DenoiserLink
from dts_gym.problem.rewards import GaussianReward
from dts_gym.utils.arrays import Array, IntArray


class ChainRuns(RunChoices[ChainPosterior]):
    """R posteriors of chains of equal sizes, each of a run of its own.

    Parameters
    ----------
    posteriors : R posteriors for which `fit_together` is true, used as `RunChoices` says.

    Notes
    -----
    Consistent as each posterior is. Links are evaluated for all runs at once, and so are messages, tangents and
    filters; runs with different numbers of modes have filters apart.
    """

    def __init__(self, posteriors: Sequence[ChainPosterior]) -> None:
        super().__init__(posteriors)
        singles = [posterior.chain for posterior in posteriors]
        chain = stacked_chain(singles)
        assert chain is not None
        self._chain: Chain = chain
        self._variance = np.array([posterior.evidence.model.dispersion for posterior in posteriors])
        self._inverse = self._table.inverse
        self._message = Evidence(
            np.stack([posterior.message.G for posterior in posteriors]),
            np.stack([posterior.message.h for posterior in posteriors]),
        )
        self._changes = posteriors[0].changes
        self._sample_size = np.array([posterior.effective_sample_size for posterior in posteriors])
        self._fixed = stacked_maps([posterior.fixed for posterior in posteriors])
        searches = [posterior.search for posterior in posteriors if posterior.search is not None]
        self._search = SearchRuns(searches, singles, chain) if searches else None
        self._parts: dict[bytes, Chain] = {}  # of the runs that have filters together

    def part(self) -> None:
        self._table.part()
        if self._search is not None:
            self._search.part()
        for posterior, G, h, size in zip(self._posteriors, *self._message, self._sample_size, strict=True):
            posterior.take_over(Evidence(G.copy(), h.copy()), self._changes, float(size))

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> bool:
        self._mark_played(actions)
        targets = rewards - np.vecdot(contexts, self._centers)
        seen = self._table.seen(actions, contexts, targets, self._variance)
        if self._table.weights_after(seen).max() > HEAVIEST / self._centers.shape[1]:
            return False  # one of them refuses its reward
        increments = self._table.increments_of(seen)
        self._table.take_in(seen, increments)
        more = transformed(increments.evidence(), self._inverse)
        self._message = Evidence(self._message.G + more.G, self._message.h + more.h)
        self._changes += 1
        if self._changes % REFRESH_EVERY == 0:
            tables = [posterior.table for posterior in self._posteriors]
            totals = [table.to_parameters(table.total()) for table in tables]
            self._message = Evidence(np.stack([one.G for one in totals]), np.stack([one.h for one in totals]))
        if self._search is not None:
            self._search.search(self._spread_message(), self._changes)
        return True

    def _spread_message(self) -> Evidence:
        return Evidence(self._message.G[:, None], self._message.h[:, None])

    def _draw_shared(self, rngs: Streams, scale: Array) -> Array:
        drawn = np.empty((len(rngs), len(self._centers[0])))
        for guided in self._guided():
            streams = RunStreams([rngs[run] for run in guided.runs.tolist()])
            drawn[guided.runs] = pick(self._filtered(guided, 1, streams, scale), streams)[:, 0]
        return np.asarray(np.matvec(self._inverse, drawn))

    def _shared_moments(self) -> tuple[Array, Array]:
        R, d = self._centers.shape
        mean, root = np.empty((R, d)), np.empty((R, d, d))
        size = self._posteriors[0].num_moment_filters
        for guided in self._guided():
            runs, streams = guided.runs, RunStreams([moment_stream() for _ in guided.runs])
            weights, values = weighted_values(self._filtered(guided, size, streams, np.ones(R)), 1)
            mean[runs], root[runs] = weighted_moments(weights, values @ np.swapaxes(self._inverse[runs], -1, -2))
        return mean, root

    def _guided(self) -> list[Guided]:
        """The runs in parts whose filters are one array each."""
        if self._search is None:
            return [Guided(np.arange(len(self._centers)), self._fixed)]
        return self._search.by_modes()

    def _filtered(self, guided: Guided, size: int, streams: RunStreams, scale: Array) -> Particles:
        """As `ChainPosterior` filters, of some runs: (r, size, P, d)."""
        runs = guided.runs
        chain = self._parts.get(runs.tobytes())
        if chain is None:
            if len(self._parts) > len(self._centers):
                self._parts.clear()
            chain = self._parts[runs.tobytes()] = chain_rows(self._chain, runs)
        one = self._posteriors[0]
        message = Evidence(self._message.G[runs, None], self._message.h[runs, None])
        messages = upward_messages(chain, guided.maps, message)
        if guided.missing is not None:
            messages = without_missing(messages, guided.missing)
        particles = sample_shared(
            chain, messages, 0, one.num_particles, streams,
            size=size, exploration=scale[runs, None], defensive=one.defensive, mixed=guided.missing is not None,
        )  # fmt: skip
        self._sample_size[runs] = particles.effective_sample_size.mean(axis=1)
        return particles


def fit_together(posteriors: Sequence[object]) -> bool:
    """Whether posteriors can be one `ChainRuns`: Gaussian rewards, equal sizes, as many rewards learned.

    Not where tangents of denoisers are searched for: the rounding of networks in single precision, which depends on how
    many points are evaluated at once, can end a search elsewhere.
    """
    own = [posterior for posterior in posteriors if type(posterior) is ChainPosterior]
    if len(own) < len(posteriors) or not all(isinstance(one.evidence.model, GaussianReward) for one in own):
        return False
    if any(one.search is not None and any(isinstance(link, DenoiserLink) for link in one.chain.links) for one in own):
        return False
    sizes = {
        (
            one.num_actions,
            one.table.dim,
            int(one.table.reached.sum()),
            one.num_particles,
            one.defensive,
            one.changes,
            one.search is None,
        )
        for one in own
    }
    return len(sizes) == 1 and stacked_chain([one.chain for one in own]) is not None
