"""Agents with the diffusion prior's posterior: dTS draws from it, dUCB uses its upper confidence bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np

from dts_gym.agents.adapting import Rounds, in_parts
from dts_gym.agents.approximations import DEFAULT_PARTICLES, Approximation, ClosedForm, approximation_of
from dts_gym.agents.inputs import linear_chain
from dts_gym.agents.posterior_agents import PosteriorAgent
from dts_gym.agents.score_agents import AnyWay, UpperConfidence
from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.action_table import Dtype
from dts_gym.posteriors.careful_posterior import CarefulPosterior
from dts_gym.posteriors.chain.branched_levels import Pool
from dts_gym.posteriors.chain.branched_posterior import BranchedPosterior
from dts_gym.posteriors.chain.chain_posterior import ChainPosterior, Surrogate
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.exploration import Setting, stepped
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.interface import ConfidencePosterior
from dts_gym.posteriors.linear_chain import downward, upward
from dts_gym.posteriors.mixed_effects.choices import MixedEffectChoices
from dts_gym.posteriors.prior_scale import believed_scale, gauge
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.misspecified import rescaled_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.seeding import Seed
from dts_gym.utils.validation import boolean, finite_array, positive


class ChainAgent(PosteriorAgent[ConfidencePosterior]):
    """An agent with the posterior of the problem's chain; subclasses define how to choose with it.

    Parameters
    ----------
    problem : a problem whose prior is any chain, or a `MixedEffectPrior`, whose posterior is exact for Gaussian rewards
        and which accepts neither ``branch`` nor ``approximation`` nor float32.
    seed : seed for all of the agent's random draws; None uses fresh entropy.
    exploration : factor on the posterior standard deviations, the name of a rule, or a function of ``(t, n)``, see
        `dts_gym.posteriors.exploration.Exploration`. None: 1, the Bayesian answer, where the agent draws (dTS);
        where it uses bounds (dUCB) "horizon", or "max" if the number of rounds is unknown.
    horizon : number of rewards that a rule plans for; None uses the run's number, else the problem's.
    branch : levels above this one are shared by all actions, 0..L; None uses the prior's own branch.
    noise_std : assume Gaussian rewards of this standard deviation instead of the problem's rewards; None assumes the
        problem's.
    approximation : method for chains whose links are not affine: "particles" (the default for them), "linearised" (one
        particle), "deck" (one particle, and every link counts as the identity in the messages) or "slice" (Markov
        chains: slow, the reference for the others; branch 0). None for a linear chain is its closed form.
    num_particles : number of particles of "particles", 32 if None; for "slice" the number of Markov chains. The other
        approximations refuse it.
    num_steps : number of steps of "slice" after each reward and for each draw, 10 if None; the other approximations
        refuse it.
    surrogate : affine maps that replace the links in the messages: "jacobian" or "statistical"; None uses "statistical"
        for denoisers, else "jacobian".
    expansion : point at which evidence of rewards that are not Gaussian is expanded: "map", "mle" or "online".
    pool_size : with a chain by approximation and a branch above 0, draws of the prior that stand for the unplayed
        actions of a round; exact up to that many of them.
    pool : "fresh", drawn anew each round; or "kept", drawn once and assigned to actions at random each round: much
        faster with many actions, but the same ``pool_size`` draws stand for the prior in all rounds. At branch L only.
    num_shared_draws : with particles and a branch between 0 and L, draws of the shared part that each posterior draw
        chooses from, by how well the played actions' own filters explain the rewards under each. With one, the
        draw is that of the surrogates, unchecked; more cost as many filters of all played actions a round, which is why
        one is the default, and need particles of the order of the played actions.
    dtype : of the matrices that choices read: "float64", or "float32", 1.4 to 2.1 times as fast with thousands of
        actions played, and with rounding errors of single precision relative to each action's own standard deviation;
        all else stays in float64. For linear chains in closed form, Gaussian rewards and a parameter an action.
    adapt_scale : whether to move the prior's variance as rewards come: at 16, 32, 64 and so on rewards it is multiplied
        by the number that makes them most probable, among 49 from 1/64 to 64, and the rounds, which are kept, are
        learned again. For linear chains in closed form.
    """

    _expands = True

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: Setting | None = None,
        horizon: int | None = None,
        contexts: Array | None = None,
        tuning_rounds: int | None = None,
        branch: int | None = None,
        noise_std: float | None = None,
        approximation: Approximation | None = None,
        num_particles: int | None = None,
        num_steps: int | None = None,
        surrogate: Surrogate | None = None,
        expansion: Mode = "map",
        pool_size: int = 10_000,
        pool: Pool = "fresh",
        num_shared_draws: int = 1,
        dtype: Dtype = "float64",
        adapt_scale: bool = False,
    ) -> None:
        settings: dict[str, Any] = {
            "branch": branch,
            "approximation": approximation,
            "num_particles": num_particles,
            "num_steps": num_steps,
            "surrogate": surrogate,
            "expansion": expansion,
            "pool_size": pool_size,
            "pool": pool,
            "num_shared_draws": num_shared_draws,
            "dtype": dtype,
        }
        self._approximation = approximation_of(problem, **settings)
        if exploration is None:  # Markov chains follow one scale
            exploration = 1.0 if approximation == "slice" else self.default_exploration
        elif approximation == "slice" and (isinstance(exploration, str) or callable(exploration)):
            raise ValueError(f"exploration must be a number for approximation 'slice', got {exploration!r}")
        self.adapt_scale = boolean("adapt_scale", adapt_scale)
        if self.adapt_scale and not isinstance(self._approximation, ClosedForm):
            raise ValueError("adapt_scale must be False but for chains of affine links in closed form, got True")
        self._prior_scale = 1.0
        self.branch = self._approximation.branch
        self.approximation: Approximation | None = self._approximation.name
        self.num_particles = DEFAULT_PARTICLES if num_particles is None else int(num_particles)
        settings |= {"adapt_scale": True} if self.adapt_scale else {}
        super().__init__(
            problem,
            seed=seed,
            exploration=exploration,
            horizon=horizon,
            contexts=contexts,
            tuning_rounds=tuning_rounds,
            noise_std=noise_std,
            **settings,
        )

    @property
    def diagnostics(self) -> dict[str, float]:
        """Diagnostics of the last choice and of the prior.

        With a linear chain in closed form, ``prior_scale``: the factor on the variance of the problem's prior under
        which the rewards seen are most probable, among 49 from 1/64 to 64; and ``prior_surprise``: the logarithm of how
        many times more probable they are under it. Where the prior is right that is above 5 about once in 600 runs, so
        a larger one says that the prior is too wide or too narrow. It is exact for Gaussian rewards and costs some
        milliseconds.

        With a chain by approximation, ``effective_sample_size``: of the particles, relative to their number, the least
        over the levels; a small one says that the surrogates stand in badly, a large one alone says nothing of modes
        that no particle visits. With all levels shared or none, ``mode_coverage`` does: of the mass of the modes that a
        search of this call's own finds, from 64 draws of the prior, the share at modes that the particles of a filter
        can be expected to visit. With none shared it is the least of the eight actions with most rewards. A search
        takes some milliseconds; nothing is drawn from the agent's streams and nothing is kept.
        """
        with self._lock:
            engine = self._engine
            if isinstance(self._approximation, ClosedForm):
                found = gauge(self._approximation.chain.two_level(self.branch), self._evidence())
                return {"prior_scale": found.scale, "prior_surprise": found.surprise}
            if not isinstance(engine, ChainPosterior | BranchedPosterior):
                return {}
            gauges = {"effective_sample_size": engine.effective_sample_size}
            levels = engine if isinstance(engine, ChainPosterior) else engine.levels
            if isinstance(levels, ChainPosterior) or levels.independent:
                gauges["mode_coverage"] = levels.mode_coverage()
            return gauges

    @property
    def _engine(self) -> ActionPosterior | BranchedPosterior | MixedEffectChoices:
        """The posterior of all actions, of the shared parameter, or of what offsets leave where there are any."""
        posterior = getattr(self._posterior, "engine", self._posterior)
        assert isinstance(posterior, ActionPosterior | BranchedPosterior | MixedEffectChoices)
        return posterior

    def sample_chain(self) -> list[Array]:
        """One posterior draw of every level: entry ``ell`` is ``psi_ell``, (1, d) above the branch, else (K, d).

        K is 1 where all actions share a parameter. For linear chains, exact given the evidence; entry 0 has the
        distribution of `sample_parameters`. The cost is O(L d^3) above the branch and O(K d^3) a level below.
        """
        chain = rescaled_prior(linear_chain(type(self).__name__, self.problem), self._prior_scale)
        assert isinstance(chain, LinearDiffusionPrior)
        with self._lock:
            engine = self._engine
            assert isinstance(engine, ActionPosterior | BranchedPosterior)
            K, d, tempering = engine.num_actions, self.problem.dim, self.exploration_scale**2
            table = engine.table
            if isinstance(engine, CarefulPosterior) and engine.is_careful:
                raise ValueError(
                    "agent must have rewards that outweigh the prior by less than 2e9 for sample_chain, got more: draw "
                    "the actions' parameters, with sample_parameters, instead"
                )
            G, h = np.zeros((K, d, d)), np.zeros((K, d))
            G_played, h_played = table.evidence()  # of parameters centred by the chain's mean
            center = chain.two_level(self.branch).mean if self.approximation is None else np.zeros(d)
            G[table.actions] = G_played / tempering
            h[table.actions] = (h_played + G_played @ center) / tempering
            covariances = [cov * tempering for cov in chain.covariances]
            tempered = LinearDiffusionPrior(chain.weights, covariances, chain.offsets)
            levels = upward(tempered, Evidence(G, h), self.branch)
            return downward(tempered, levels, K, self.branch, self._rngs["parameters"])

    def _make_posterior(self) -> ConfidencePosterior:
        rng = self._rngs["posterior"]
        scale = self.exploration_scale if self._exploration.is_constant else 1.0  # Markov chains follow one
        approximation = self._approximation
        if isinstance(approximation, ClosedForm) and self._prior_scale != 1.0:
            chain: Any = rescaled_prior(approximation.chain, self._prior_scale)
            approximation = replace(approximation, chain=chain)
        return approximation.posterior(self.problem, self.reward_model, scale, rng)

    def _may_refuse(self) -> bool:
        return super()._may_refuse() or self.approximation is not None

    def _evidence(self) -> Evidence:
        """What rewards say of the played actions' parameters less their prior mean."""
        engine: Any = self._engine  # of agents that adapt their prior: of a chain in closed form
        return Evidence(*engine.table.evidence())

    def _forget(self) -> None:
        self._prior_scale, self._rounds = 1.0, Rounds(self.problem.context_shape)
        super()._forget()

    def _learn(self, context: Array, action: int, reward: float) -> None:
        if self.adapt_scale:
            self._learn_all(context[None], np.array([action]), np.array([reward]))
        else:
            super()._learn(context, action, reward)

    def _learn_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        if not self.adapt_scale:
            super()._learn_all(contexts, actions, rewards)
            return
        learn_all = super()._learn_all

        def learn(contexts: Array, actions: IntArray, rewards: Array) -> None:
            if len(rewards) == 1:
                self._posterior.update(contexts[0], int(actions[0]), float(rewards[0]))
            else:
                learn_all(contexts, actions, rewards)
            self._rounds.append(contexts, actions, rewards)

        def judge() -> None:
            assert isinstance(self._approximation, ClosedForm)
            prior = self._approximation.chain.two_level(self.branch)
            found = believed_scale(prior, self._evidence())
            if found != self._prior_scale:
                self._prior_scale = found
                self._posterior = self._make_posterior()
                learn_all(*self._rounds.all())

        in_parts(len(self._rounds), contexts, actions, rewards, learn, judge)

    def _state(self) -> Mapping[str, Array | IntArray]:
        state = super()._state()
        if not self.adapt_scale:
            return state
        kept = {f"rounds.{name}": array for name, array in self._rounds.state().items()}
        return {**state, "prior_scale": np.array([self._prior_scale]), **kept}

    def _restore(self, state: Mapping[str, Any]) -> None:
        if self.adapt_scale:
            kept = {name[7:]: array for name, array in state.items() if name.startswith("rounds.")}
            self._rounds = Rounds(self.problem.context_shape)
            self._rounds.restore(kept, self.problem.num_actions)
            (scale,) = finite_array("prior_scale", state["prior_scale"], (1,))
            self._prior_scale = positive("prior_scale", scale, 64.0)
            self._posterior = self._make_posterior()
            state = {name: v for name, v in state.items() if name != "prior_scale" and not name.startswith("rounds.")}
        super()._restore(state)

    def _pristine(self) -> Self:
        settings = {name: value for name, value in self._settings.items() if name != "adapt_scale"}
        return self._rebuild(self.problem, settings, self._state())

    @property
    def exploration_scale(self) -> float:
        """The factor on posterior standard deviations in the next choice, as for every agent.

        Where particles represent levels of each action's own, a rule moves the scale in some 40 steps, so that the
        clouds of draws and the pools kept for one scale serve for a while.
        """
        scale = super().exploration_scale
        kept = self._approximation.keeps_draws and not self._by_bounds
        if self._exploration.is_constant or not kept:
            return scale
        return stepped(scale)


class DiffusionTS(AnyWay[ConfidencePosterior], ChainAgent):
    """Diffusion Thompson sampling (dTS): a posterior draw under the chain prior, then its best action.

    The parameters are those of `ChainAgent`.

    Notes
    -----
    Exact for linear chains and Gaussian rewards: a round costs one pass over the played actions' packed matrices,
    whatever K and L. Rewards of other families enter by a quadratic expansion, links that are not affine by particles.

    Source: Aouali, "Diffusion Models Meet Contextual Bandits".

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=5, dim=3)
    >>> agent = dts_gym.agents.DiffusionTS(env.unwrapped.problem, seed=0)
    >>> agent.update([0.1, 0.2, 0.3], 2, 1.5)
    >>> agent.num_updates
    1
    """

    def _drop_draws(self) -> None:
        posterior = getattr(self, "_posterior", None)  # none yet while the agent is made
        if isinstance(posterior, BranchedPosterior):
            posterior.levels.drop_clouds()

    def _choose_to_play(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        if isinstance(self._posterior, BranchedPosterior) and not self._by_bounds:
            return self._posterior.thompson(contexts, rng, self.exploration_scale, mask, from_clouds=True)
        return self._choose(contexts, rng, mask)


class DiffusionUCB(UpperConfidence[ConfidencePosterior], ChainAgent):
    """Upper confidence bounds on the posterior of dTS: the mean plus a number of standard deviations.

    That number falls over the horizon, ``(1 - t / n) sqrt(log(1 + M n / d))`` after ``t`` of ``n`` rewards, where M is
    the number of parameter vectors (K, or 1 that all actions share), unless ``exploration`` sets another rule: no scale
    has to be tuned, and nothing is drawn. With a large bonus the agent starts few new actions and plays each of them
    until it is settled; the bonus is large while there is time to use what is learned.

    The parameters are those of `ChainAgent`.

    Notes
    -----
    The posterior is that of dTS, and as exact. The standard deviations are those of the untempered posterior, and
    include the uncertainty of the shared levels.
    A choice costs one pass over the played actions' packed matrices, and O(d^2) for each action whose bound might be
    the largest. In a batch every pick costs a choice, because each narrows the bounds of those after it.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=100, dim=5)
    >>> agent = dts_gym.make_agent("dUCB", env, seed=0, horizon=1000)
    >>> agent.exploration, round(agent.exploration_scale, 2)
    ('horizon', 3.15)
    """

    default_exploration = None  # "horizon", or "max" where the number of rounds is unknown
