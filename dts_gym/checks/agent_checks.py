"""A conformance suite for agents, the package's and your own, as Gymnasium's `check_env` is for environments."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import gymnasium as gym
import numpy as np

from dts_gym.checks.prior_checks import check_prior
from dts_gym.registry import make_agent
from dts_gym.utils.seeding import stream

if TYPE_CHECKING:
    from dts_gym.agents import Agent

__all__ = ["AgentMaker", "check_agent", "check_prior"]

_ROUNDS = 40
_DRAWS = 2000
# Two distributions are judged different at a p-value of one in a million.
_FALSE_ALARM = 1e-6


class AgentMaker(Protocol):
    """Makes a fresh agent for an environment: ``make(env, seed=0)``."""

    def __call__(self, env: Any, *, seed: int) -> Agent:
        """Make a fresh agent."""


def check_agent(make: str | type[Agent] | AgentMaker, env: gym.Env[Any, Any] | None = None) -> None:
    """Check that an agent keeps the contract of this package.

    Parameters
    ----------
    make : an agent's id, a subclass of `Agent`, or a callable ``make(env, seed=...)`` that returns a fresh agent, for
        example a `functools.partial` of `make_agent` with an id and settings.
    env : a bandit environment that the agent can play; None: a small `DiffusionBandit-v0`.

    Raises
    ------
    AssertionError
        If a check fails; the message says what the agent does and what it should do.
    ValueError
        If ``make`` cannot make an agent.

    Notes
    -----
    The checks: actions have the right shapes and types; the same seed leads to the same actions; `reset` starts anew;
    spawned agents are fresh and do not change this one; a batch has the distribution of a loop (chi-square, a false
    alarm once in a million), or for agents that pick in order its first pick has; saved and loaded agents continue bit
    for bit; bad input raises ValueError and changes nothing; `predict` and `action_probabilities` never learn nor
    advance the stream of `act`; no action is picked that a mask does not allow, and a mask that allows all changes
    nothing. For agents that estimate rewards: the estimates of a batch are those of its rows, lower and upper ends are
    in order, and computing estimates changes nothing.

    Examples
    --------
    >>> check_agent("LinTS")
    """
    maker = _maker(make)
    if env is None:
        env = gym.make("DiffusionBandit-v0", num_actions=12, dim=3)
    _check_names(maker(env, seed=0))
    for check in (
        _check_actions,
        _check_seeds,
        _check_spawn,
        _check_batches,
        _check_files,
        _check_refusals,
        _check_predict,
        _check_masks,
        _check_probabilities,
        _check_estimates,
    ):
        env.reset(seed=0)
        check(maker, env)


def _maker(make: str | type[Agent] | AgentMaker) -> AgentMaker:
    if isinstance(make, str):
        return lambda env, *, seed: make_agent(make, env, seed=seed)
    if not callable(make):
        raise ValueError(f"make must be an agent's id, a class or make(env, seed=...), got {make!r:.200}")
    # A class that is not an Agent is called like any other callable.
    return make.from_env if isinstance(make, type) and hasattr(make, "from_env") else cast(AgentMaker, make)


def _check_names(agent: Any) -> None:
    also = ("action_probabilities", "act_with_probability")
    methods = ("act", "update", "predict", *also, "reset", "spawn", "save", "load")
    for name in (*methods, "num_updates", "problem"):
        assert hasattr(agent, name), (
            f"an agent must have {name!r} (dts_gym.agents.Agent defines it), {agent!r:.100} has not"
        )


def _play(agent: Agent, env: gym.Env[Any, Any], *, seed: int, rounds: int = _ROUNDS) -> list[int]:
    """Play some rounds of one instance and learn from them; returns the actions."""
    context, _ = env.reset(seed=seed, options={"instance_seed": 0})
    actions = []
    for _ in range(rounds):
        action = agent.act(context)
        following, reward, _, truncated, _ = env.step(action)
        agent.update(context, action, reward)
        actions.append(int(action))
        context = following
        if truncated:
            context, _ = env.reset(options={"instance_seed": 0})
    return actions


def _contexts(env: gym.Env[Any, Any], count: int) -> Any:
    """``count`` contexts of the environment."""
    rng = stream(0, "check")
    seeds = rng.integers(1 << 30, size=count).tolist()
    return np.stack([env.reset(seed=seed, options={"instance_seed": 0})[0] for seed in seeds])


def _check_actions(make: AgentMaker, env: Any) -> None:
    agent, K = make(env, seed=0), env.unwrapped.problem.num_actions
    assert agent.num_updates == 0, f"a fresh agent must have num_updates 0, got {agent.num_updates}"
    contexts = _contexts(env, 5)
    action = agent.act(contexts[0])
    assert type(action) is int, f"act must return an int for one context, got {action!r}"
    assert 0 <= action < K, f"act must return an action in 0..{K - 1}, got {action}"
    for n in (5, 1, 0):
        actions = agent.act(contexts[:n])
        assert isinstance(actions, np.ndarray), f"act must return an array for a batch, got {actions!r}"
        assert actions.shape == (n,), f"act must return shape ({n},) for {n} contexts, got {actions.shape}"
        assert actions.dtype.kind in "iu", f"act must return integers, got {actions.dtype}"
        assert ((actions >= 0) & (actions < K)).all(), f"act must return actions in 0..{K - 1}, got {actions}"
    agent.update(contexts[0], action, 1.0)
    agent.update(contexts, np.arange(5) % K, np.ones(5))
    assert agent.num_updates == 6, f"num_updates must count observations, 6 by now, got {agent.num_updates}"


def _check_seeds(make: AgentMaker, env: Any) -> None:
    first, second = make(env, seed=3), make(env, seed=3)
    actions = _play(first, env, seed=1)
    assert _play(second, env, seed=1) == actions, "two agents of one seed must play alike"
    first.reset(3)
    assert first.num_updates == 0, f"reset must set num_updates to 0, got {first.num_updates}"
    assert _play(first, env, seed=1) == actions, "a reset agent must play as a fresh one of that seed"


def _check_spawn(make: AgentMaker, env: Any) -> None:
    agent, twin = make(env, seed=10), make(env, seed=10)
    spawned, again = agent.spawn(2), agent.spawn(3)[:2]
    assert len(spawned) == 2, f"spawn(2) must return two agents, got {len(spawned)}"
    for one, other in zip(spawned, again, strict=True):
        assert one.num_updates == 0, f"a spawned agent must be fresh, got num_updates {one.num_updates}"
        assert _play(one, env, seed=1) == _play(other, env, seed=1), "spawn must return the same agents again"
    assert agent.num_updates == 0, "what a spawned agent learns must not reach the agent that it comes from"
    assert _play(agent, env, seed=1) == _play(twin, env, seed=1), "spawn must leave the agent unchanged"


def _check_batches(make: AgentMaker, env: Any) -> None:
    agent, twin, other = (make(env, seed=seed) for seed in (4, 4, 5))
    contexts = _contexts(env, 30)
    actions = np.arange(30) % env.unwrapped.problem.num_actions
    rewards = (np.arange(30) % 3 == 0).astype(np.float64)
    agent.update(contexts, actions, rewards)
    for learner in (twin, other):
        for context, action, reward in zip(contexts, actions, rewards, strict=True):
            learner.update(context, action, reward)
    asked = _contexts(env, 200)
    batch, _ = agent.predict(asked, deterministic=True)
    loop = np.array([twin.predict(context, deterministic=True)[0] for context in asked])
    # Rounding may change the result of a tie or two.
    assert (batch != loop).sum() <= 2, "a batch of updates must have the result of the same updates one by one"
    for context in asked[:3]:
        one_by_one = [other.act(context) for _ in range(_DRAWS)]
        if agent.picks_in_order:  # only the first pick of a batch equals that of a single context
            pair = np.repeat(context[None], 2, axis=0)
            together = np.array([np.asarray(agent.act(pair))[0] for _ in range(_DRAWS)])
        else:
            together = np.asarray(agent.act(np.repeat(context[None], _DRAWS, axis=0)))
        p_value = _same_law(together, np.array(one_by_one))
        assert p_value > _FALSE_ALARM, f"a batch must have the distribution of a loop, got a p-value of {p_value:.2g}"


def _same_law(first: Any, second: Any) -> float:
    """p-value of the chi-square test that two samples of equal size have one distribution; rare values are pooled."""
    from scipy.special import chdtrc

    counts = np.stack(
        [np.bincount(part, minlength=int(max(first.max(), second.max())) + 1) for part in (first, second)]
    )
    total = counts.sum(axis=0)
    common = total >= 20
    table = np.column_stack([counts[:, common], counts[:, ~common].sum(axis=1)]).astype(np.float64)
    table = table[:, table.sum(axis=0) > 0]
    statistic = ((table[0] - table[1]) ** 2 / table.sum(axis=0)).sum()
    return float(chdtrc(table.shape[1] - 1, statistic)) if table.shape[1] > 1 else 1.0


def _check_files(make: AgentMaker, env: Any) -> None:
    agent = make(env, seed=6)
    _play(agent, env, seed=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.saved"
        agent.save(path)
        assert path.is_file(), f"save must write exactly the path given, got {[p.name for p in Path(folder).iterdir()]}"
        loaded = type(agent).load(path)
        path.write_bytes(path.read_bytes()[:50])
        _refused("load of a damaged file", type(agent).load, path)
    assert loaded.num_updates == agent.num_updates, "load must keep num_updates"
    assert _play(loaded, env, seed=8) == _play(agent, env, seed=8), "a loaded agent must continue bit for bit"


def _refused(what: str, call: Callable[..., Any], *arguments: Any) -> None:
    try:
        call(*arguments)
    except ValueError:
        return
    raise AssertionError(f"{what} must raise ValueError, got nothing")


def _check_refusals(make: AgentMaker, env: Any) -> None:
    agent, twin = make(env, seed=7), make(env, seed=7)
    _play(agent, env, seed=3)
    _play(twin, env, seed=3)
    K, good = env.unwrapped.problem.num_actions, _contexts(env, 2)
    holed = good.copy()
    holed.flat[0] = np.nan
    numberless = (good[0] + 1j, good[0].astype(str), "x", None)
    for context in (good[0, ..., :-1], good[None], holed, holed[0], np.full_like(good[0], np.inf), *numberless):
        _refused(f"act({context!r:.60})", agent.act, context)
        _refused(f"predict({context!r:.60})", agent.predict, context)
        _refused(f"update with the context {context!r:.60}", agent.update, context, 0, 1.0)
    for action in (-1, K, 0.5, 1.0, True, None, "0", [0]):
        _refused(f"update with the action {action!r}", agent.update, good[0], action, 1.0)
    for reward in (np.nan, np.inf, None, "good", 1j, [1.0]):
        _refused(f"update with the reward {reward!r}", agent.update, good[0], 0, reward)
    for actions, rewards in (([0, K], [1.0, 1.0]), ([0], [1.0, 1.0]), ([0, 1], [1.0, np.nan]), ([0, 1], 1.0), (0, 1.0)):
        _refused(f"update with the actions {actions} and rewards {rewards}", agent.update, good, actions, rewards)
    assert agent.num_updates == twin.num_updates, "a refused update must not count"
    assert _play(agent, env, seed=9) == _play(twin, env, seed=9), "refused input must leave the agent unchanged"


def _check_predict(make: AgentMaker, env: Any) -> None:
    agent, twin = make(env, seed=8), make(env, seed=8)
    _play(agent, env, seed=4)
    _play(twin, env, seed=4)
    contexts = _contexts(env, 4)
    for deterministic in (True, False):
        for observation, shape in ((contexts, (4,)), (contexts[0], ())):
            actions, state = agent.predict(observation, (1,), None, deterministic)
            assert isinstance(actions, np.ndarray), f"predict must return arrays, got {actions!r}"
            assert actions.shape == shape, f"predict must return shape {shape}, got {actions.shape}"
            assert state == (1,), f"predict must return the state, got {state!r}"
    again = [agent.predict(contexts, deterministic=True)[0].tolist() for _ in range(2)]
    assert again[0] == again[1], "predict(deterministic=True) must return the same actions again"
    assert agent.num_updates == twin.num_updates, "predict must not count as an update"
    assert _play(agent, env, seed=5) == _play(twin, env, seed=5), "predict must neither learn nor move act"


def _check_masks(make: AgentMaker, env: Any) -> None:
    agent, twin = make(env, seed=11), make(env, seed=11)
    _play(agent, env, seed=6, rounds=5)
    _play(twin, env, seed=6, rounds=5)
    n, K = 30, env.unwrapped.problem.num_actions
    contexts = _contexts(env, n)
    every = np.ones((n, K), dtype=bool)
    plain = [twin.act(context) for context in contexts]
    assert [agent.act(x, every[0]) for x in contexts] == plain, "a mask that allows all must change nothing"
    some = stream(1, "check").random((n, K)) < 0.3
    some[np.arange(n), np.arange(n) % K] = True
    actions = agent.act(contexts, some)
    assert some[np.arange(n), actions].all(), "act must pick actions that the row's mask allows"
    assert some[0, agent.act(contexts, some[0])].all(), "act must pick actions that the one mask of a batch allows"
    for deterministic in (True, False):
        guesses = agent.predict(contexts, deterministic=deterministic, mask=some)[0]
        assert some[np.arange(n), guesses].all(), "predict must pick actions that the row's mask allows"
    for a in range(K):
        only = np.arange(K) == a
        assert agent.act(contexts[0], only) == a, "act must pick the only action that a mask allows"
        assert agent.act(contexts[0], only.astype(np.int8)) == a, "act must accept a mask of Gymnasium's type int8"
    for mask in (~every[0], every[0, 1:], every[:1], np.ones(K), "all", [True, [False]]):
        _refused(f"act with the mask {mask!r:.60}", agent.act, contexts[0], mask)
    holed = every.copy()
    holed[1] = False
    for mask in (holed, every[1:], every[None]):
        _refused(f"act with the masks {mask!r:.60}", agent.act, contexts, mask)


def _check_probabilities(make: AgentMaker, env: Any) -> None:
    agent, twin = make(env, seed=12), make(env, seed=12)
    for one in (agent, twin):
        _play(one, env, seed=7)
    contexts, K = _contexts(env, 3), env.unwrapped.problem.num_actions
    mask = np.arange(K) % 2 == 0
    for asked, shape in ((contexts, (3, K)), (contexts[0], (K,))):
        for given in (None, mask):
            shares = agent.action_probabilities(asked, 20, given)
            assert shares.shape == shape, f"action_probabilities must return shape {shape}, got {shares.shape}"
            assert np.allclose(shares.sum(axis=-1), 1.0), "action_probabilities must sum to one"
            assert given is None or not shares[..., ~mask].any(), "a forbidden action must have probability 0"
    for x in (contexts[0], contexts):
        actions, p = agent.act_with_probability(x, mask)
        twin.act_with_probability(x, mask)
        assert mask[actions].all(), "act_with_probability must pick allowed actions"
        assert np.shape(actions) == np.shape(p) == x.shape[: x.ndim - contexts[0].ndim], "one a context"
        assert ((np.asarray(p) > 0) & (np.asarray(p) < 1 + 1e-9)).all(), f"a probability must be in 0..1, got {p}"
    for count in (0, 1.5):
        _refused(f"action_probabilities with num_draws {count!r}", agent.action_probabilities, contexts, count)
    assert _play(agent, env, seed=5) == _play(twin, env, seed=5), "action_probabilities must neither learn nor move act"


def _check_estimates(make: AgentMaker, env: Any) -> None:
    agent: Any = make(env, seed=13)
    twin = make(env, seed=13)
    if not hasattr(agent, "mean_reward"):
        return
    _play(agent, env, seed=8)
    _play(twin, env, seed=8)
    contexts, K = _contexts(env, 3), env.unwrapped.problem.num_actions
    for name in ("mean_reward", "marginals", "credible_interval"):
        ask = getattr(agent, name)
        batch, rows = np.array(ask(contexts)), np.stack([np.array(ask(x)) for x in contexts], axis=-2)
        parts = () if name == "mean_reward" else (2,)
        assert batch.shape == (*parts, 3, K), f"{name} must return shape {(3, K)} for 3 contexts, got {batch.shape}"
        assert np.isfinite(batch).all(), f"{name} must be finite"
        assert np.allclose(batch, rows, rtol=1e-9, atol=1e-9), f"{name} of a batch must be that of its rows"
        _refused(f"{name} of a context that is not finite", ask, np.full_like(contexts[0], np.nan))
    assert (agent.marginals(contexts)[1] >= 0).all(), "standard deviations must not be negative"
    lower, upper = agent.credible_interval(contexts, 0.5)
    outer = agent.credible_interval(contexts, 0.9)
    assert (lower <= upper).all(), "the ends of credible_interval must be in order"
    assert (outer[0] <= lower).all(), "a credible interval of higher level must hold one of lower level"
    assert (upper <= outer[1]).all(), "a credible interval of higher level must hold one of lower level"
    for level in (0.0, 1.0, "0.9"):
        _refused(f"credible_interval at level {level!r}", agent.credible_interval, contexts, level)
    assert _play(agent, env, seed=5) == _play(twin, env, seed=5), "estimates must neither learn nor move act"
