"""Actions that are put back, renewed or added in place: against dense posteriors, sets computed directly, and files."""

from __future__ import annotations

import numpy as np
import pytest

from dts_gym import BanditProblem, FeaturePrior, GaussianReward, MixedEffectPrior, make_agent, random_linear_prior
from dts_gym.agents import Agent
from dts_gym.posteriors.mixed_effects.posterior import MixedEffectPosterior
from dts_gym.posteriors.mixed_effects.unplayed_groups import UnplayedGroups
from dts_gym.posteriors.unplayed import UnplayedActions

D, NOISE = 2, 0.5


def spd(rng: np.random.Generator, n: int) -> np.ndarray:
    root = rng.normal(size=(n, n))
    return root @ root.T / n


def mixed(K: int, kind: str, seed: int = 0) -> MixedEffectPrior:
    """Weights or maps, unequal offsets; "groups" has two kinds of items."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=3 if kind == "maps" else 2 * D)
    if kind == "maps":
        own = np.array([spd(rng, D) for _ in range(K)])
        return MixedEffectPrior(rng.normal(size=(K, D, 3)), spd(rng, 3), own, mean, rng.normal(size=(K, D)))
    weights, means = rng.normal(size=(K, 2)), rng.normal(size=(K, D))
    if kind == "groups":
        weights, means = weights[np.arange(K) % 2], np.zeros((K, D))
    return MixedEffectPrior(weights, spd(rng, 2 * D), spd(rng, D), mean, means)


class Truth:
    """Every item that ever was an action has a block of parameters; the dense posterior over all of them."""

    def __init__(self, prior: MixedEffectPrior) -> None:
        self.effect_mean, self.effect_cov = prior.effect_mean, prior.effect_cov
        self.items, self.now = [], []
        for a in range(prior.num_actions):
            self.now.append(len(self.items))
            self.items.append(self._item(prior, a))
        self.rounds: list[tuple[np.ndarray, int, float]] = []

    @staticmethod
    def _item(prior: MixedEffectPrior, a: int):
        one = prior.mixing[a]
        own = prior.action_cov if prior.action_cov.ndim == 2 else prior.action_cov[a]
        return prior.action_means[a], one if one.ndim == 2 else np.kron(one, np.eye(D)), own

    def retire(self, action: int, prior: MixedEffectPrior) -> None:
        self.now[action] = len(self.items)
        self.items.append(self._item(prior, action))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        maps = np.vstack([W for _, W, _ in self.items])
        mean = maps @ self.effect_mean + np.concatenate([m for m, _, _ in self.items])
        cov = maps @ self.effect_cov @ maps.T
        for i, (_, _, own) in enumerate(self.items):
            cov[i * D : (i + 1) * D, i * D : (i + 1) * D] += own
        X = np.zeros((len(self.rounds), len(mean)))
        for row, (x, i, _) in zip(X, self.rounds, strict=True):
            row[i * D : (i + 1) * D] = x
        gain = np.linalg.solve(X @ cov @ X.T + NOISE**2 * np.eye(len(X)), X @ cov).T
        mean = mean + gain @ (np.array([y for *_, y in self.rounds]) - X @ mean)
        cov = cov - gain @ X @ cov
        at = np.concatenate([np.arange(D) + D * i for i in self.now])
        return mean[at].reshape(-1, D), cov[np.ix_(at, at)]


@pytest.mark.parametrize("kind", ["weights", "groups", "maps"])
def test_mixed_effects_with_items_that_come_and_go_are_the_dense_posterior(kind: str) -> None:
    """150 random steps on 12 actions, past several regroupings, with a state restored now and then."""
    rng, K = np.random.default_rng(3), 12
    prior = mixed(K, kind)
    posterior, truth = MixedEffectPosterior(prior, NOISE), Truth(prior)
    for step in range(150):
        action, what = int(rng.integers(len(truth.now))), rng.random()
        if what < 0.5:
            x, y = rng.normal(size=D), float(rng.normal())
            posterior.update(x, action, y)
            truth.rounds.append((x, truth.now[action], y))
        elif what < 0.9 or kind == "maps" or len(truth.now) > 20:
            if kind != "maps" and rng.random() < 0.7:
                weights = prior.mixing[0] if kind == "groups" else rng.normal(size=2)
                prior = prior.with_weights(action, weights)
                posterior.retire(action, prior)
            else:
                posterior.retire(action)
            truth.retire(action, prior)
        else:
            prior = prior.grown(rng.normal(size=(2, 2)))
            posterior.grow(prior)
            for a in range(len(truth.now), prior.num_actions):
                truth.now.append(len(truth.items))
                truth.items.append(truth._item(prior, a))
        if step % 20 == 0:
            state, posterior = posterior.state(), MixedEffectPosterior(prior, NOISE)
            posterior.restore(state)
        if step % 30 == 29:
            for ours, theirs in zip(posterior.moments(), truth.moments(), strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-9)
            played = {a for a, i in enumerate(truth.now) if any(i == j for _, j, _ in truth.rounds)}
            assert set(posterior.actions.tolist()) == played
            groups = range(len(posterior.unplayed.counts))
            unplayed = np.concatenate([posterior.unplayed.of(g) for g in groups])
            assert sorted(unplayed.tolist()) == sorted(set(range(len(truth.now))) - played)
    assert posterior.unplayed.changes <= prior.num_actions // 8 + 8


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_those_computed_directly(seed: int) -> None:
    rng, K = np.random.default_rng(seed), 9
    group = rng.integers(3, size=K)
    group[:3] = np.arange(3)
    sets, known, played = UnplayedGroups(group), {a: int(g) for a, g in enumerate(group)}, []
    for _ in range(200):
        action, what = int(rng.integers(len(known))), rng.random()
        if what < 0.5 and action not in played:
            sets.remove(action)
            played.append(action)
        elif what < 0.7 and action in played:
            sets.add(action)
            played.remove(action)
        elif what < 0.8:
            sets.renew(action)
            played = [a for a in played if a != action]
            known[action] = max(len(sets.counts) - 1, 0)
        elif what < 0.82:
            sets.grow(2)
            known |= {len(known): len(sets.counts) - 2, len(known) + 1: len(sets.counts) - 1}
        mask = rng.random(len(known)) < 0.6
        for allowed in (None, mask):
            own = [a for a in known if a not in played and (allowed is None or allowed[a])]
            counts = np.bincount([known[a] for a in own], minlength=len(sets.counts))
            np.testing.assert_array_equal(sets.allowed(allowed), counts)
        for g in np.flatnonzero(sets.counts).tolist():
            assert sorted(sets.of(g).tolist()) == [a for a in known if known[a] == g and a not in played]
            assert known[int(sets.members[g])] == g
        if state := sets.state():
            again = UnplayedGroups.restored(lambda: group, np.array(played, dtype=np.int64), state)
            assert {name: value.tolist() for name, value in again.state().items()} == {
                name: value.tolist() for name, value in state.items()
            }
            with pytest.raises(ValueError, match=r"unplayed\.counts must be"):
                UnplayedGroups.restored(lambda: group, np.array([*played, 0]), state)


def test_unplayed_actions_are_those_computed_directly() -> None:
    rng, K = np.random.default_rng(1), 8
    actions, played = UnplayedActions(K), []
    for _ in range(300):
        action = int(rng.integers(K))
        if action in played:
            actions.add(action)
            last = played.pop()
            if last != action:
                played[played.index(action)] = last
        else:
            actions.remove(action)
            played.append(action)
        left = sorted(set(range(K)) - set(played))
        assert len(actions) == len(left)
        if left:
            assert sorted(actions.draw_distinct(rng, len(left)).tolist()) == left
            assert actions.lowest(played) == left[0]
        again = UnplayedActions.restored(K, np.array(played, dtype=np.int64), actions.state())
        if actions.state() and left:
            picks = [one.draw(np.random.default_rng(5), 20).tolist() for one in (actions, again)]
            assert picks[0] == picks[1]
    with pytest.raises(ValueError, match=r"unplayed\.at must be places"):
        UnplayedActions.restored(K, np.array([0, 1]), {"unplayed.at": np.array([[3, 4]])})


def agent_of(agent_id: str) -> Agent:
    K, rng = 40, np.random.default_rng(2)
    if agent_id == "meTS":
        past = rng.normal(size=(30, 3))
        fitted = FeaturePrior.fit(past @ rng.normal(size=(3, D)) + rng.normal(size=(30, D)), past)
        prior = fitted.for_actions(rng.normal(size=(K, 3)))
    else:
        prior = random_linear_prior(D, 2)
    return make_agent(agent_id, BanditProblem(K, D, prior, GaussianReward(NOISE)), seed=0)


@pytest.mark.parametrize("agent_id", ["meTS", "dTS", "LinTS", "dUCB"])
def test_an_agent_of_changing_actions_goes_on_bit_for_bit_from_its_file(agent_id: str, tmp_path) -> None:
    agent, rng = agent_of(agent_id), np.random.default_rng(4)
    for step in range(200):
        x = rng.normal(size=D)
        agent.update(x, agent.act(x), float(rng.normal()))
        if step % 3 == 0:
            number = int(rng.integers(agent.num_actions))
            agent.retire(number, rng.normal(size=3) if agent_id == "meTS" else None)
        if step % 50 == 49:
            agent.add_actions(**({"item_features": rng.normal(size=(2, 3))} if agent_id == "meTS" else {"count": 2}))
            agent.save(tmp_path / "agent.npz")
            loaded = Agent.load(tmp_path / "agent.npz")
            contexts = rng.normal(size=(15, D))
            np.testing.assert_array_equal(agent.act(contexts), loaded.act(contexts))
            for ours, theirs in zip(agent.moments(), loaded.moments(), strict=True):
                np.testing.assert_array_equal(ours, theirs)
            agent = loaded


@pytest.mark.parametrize("noise_std", [NOISE, 1e-6], ids=["plain", "twofold"])
def test_rows_that_move_are_the_same_rows(noise_std: float) -> None:
    """Retired actions are played again, in every order of the table's rows: a fresh agent taught the same is the truth.

    Nothing is shared under LinTS, so that the truth is an agent that never saw the retired items.
    """
    K = 5
    problem = BanditProblem(K, D, random_linear_prior(D, 1), GaussianReward(noise_std))
    agent, rng = make_agent("LinTS", problem, seed=0), np.random.default_rng(6)
    told: dict[int, list] = {a: [] for a in range(K)}
    for step in range(60):
        a = int(rng.integers(K))
        if step % 4 == 3:
            agent.retire(a)
            told[a] = []
        else:
            told[a].append((rng.normal(size=D), float(rng.normal())))
            agent.update(told[a][-1][0], a, told[a][-1][1])
        truth = make_agent("LinTS", problem, seed=0)
        for b, seen in told.items():
            for x, y in seen:
                truth.update(x, b, y)
        for ours, theirs in zip(agent.moments(), truth.moments(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_lin_ts_keeps_its_own_prior_on_a_problem_of_items_with_features() -> None:
    prior = mixed(6, "weights")
    agent = make_agent("LinTS", BanditProblem(6, D, prior, GaussianReward(NOISE)), seed=0)
    agent.update([1.0, 0.0], 2, 1.0)
    agent.retire(2, [1.0, 2.0])
    agent.add_actions([[0.5, 0.5]])
    np.testing.assert_array_equal(agent.problem.prior.mixing[[2, 6]], [[1.0, 2.0], [0.5, 0.5]])
    np.testing.assert_array_equal(agent.moments()[0], np.zeros((7, D)))
