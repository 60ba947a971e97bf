"""Every registered agent keeps the contract, and each has the behaviour that it is for."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

import dts_gym
from dts_gym import BanditProblem, GaussianReward, LinearDiffusionPrior, RewardModel, make_agent
from dts_gym.agents import Agent, DiffusionTS, JointTS, LinTS, Oracle
from dts_gym.checks.agent_checks import check_agent

PRIOR = LinearDiffusionPrior(
    [np.array([[1.0, 0.5], [0.0, 1.0]])] * 2, [np.eye(2), 0.5 * np.eye(2), np.eye(2)], [np.ones(2), np.zeros(2)]
)


def problem(num_actions=4, prior=PRIOR, reward=None):
    return BanditProblem(num_actions, prior.dim, prior, reward or GaussianReward(0.5))


def taught(agent, rounds=12, seed=0):
    rng = np.random.default_rng(seed)
    K = agent.problem.num_actions
    agent.update(rng.uniform(-1, 1, (rounds, 2)), rng.integers(K - 1, size=rounds), rng.standard_normal(rounds))
    return agent


# LaplaceDPS wants another prior than the suite's environment has: see the tests of posterior sampling. SB3, there once
# its module is imported, is no agent that learns.
@pytest.mark.parametrize(
    "agent_id", [name for name in dts_gym.agent_ids() if name not in ("LaplaceDPS", "meTS", "SB3")]
)
def test_every_registered_agent_keeps_the_contract(agent_id):
    check_agent(agent_id)


@pytest.mark.parametrize(
    ("agent_id", "settings"),
    [
        ("dTS", {"exploration": 0.3, "branch": 1, "noise_std": 2.0}),
        ("LinTS", {"prior_mean": [1.0, 0.0, 0.0], "prior_cov": np.diag([1.0, 2.0, 0.0])}),
        ("LinUCB", {"prior_mean": [1.0, 0.0, 0.0], "exploration": 0.5}),
        ("JointTS", {"branch": 2}),
        ("EpsilonGreedy", {"epsilon": 0.5}),
    ],
)
def test_settings_keep_the_contract_too(agent_id, settings):
    check_agent(functools.partial(make_agent, agent_id, **settings))


class Faulty(Agent):
    """Uniform play with one fault, to see the suite find it."""

    fault = ""

    def _choose(self, contexts, rng, mask):
        if self.fault == "law" and contexts.ndim == 2:
            return np.full(len(contexts), rng.integers(self.problem.num_actions))
        if self.fault == "seed":
            rng = np.random.default_rng()
        if self.fault == "mask" or mask is None:
            return np.asarray(rng.integers(self.problem.num_actions, size=contexts.shape[:-1]))
        return np.asarray(rng.choice(np.flatnonzero(mask), size=contexts.shape[:-1]))

    def _choose_greedily(self, contexts, rng, mask):
        if self.fault == "predict":
            self.num_updates += 1
        first = 0 if mask is None or self.fault == "greedy mask" else mask.argmax()
        return np.full(contexts.shape[:-1], first, dtype=np.int64)

    def _learn(self, context, action, reward):
        if self.fault == "batch":
            self.num_updates += 1

    def _forget(self):
        self.memory = 0

    def _state(self):
        return {}

    def _restore(self, state):
        if self.fault == "load":
            self._rngs["act"].random()
            self._settings = {"broken": 1}

    @classmethod
    def _rebuild(cls, problem, settings, state):
        return cls(problem, seed=1)


@pytest.mark.parametrize("fault", ["law", "seed", "predict", "batch", "mask", "greedy mask"])
def test_the_suite_finds_faults(fault):
    cls = type("Faulty", (Faulty,), {"fault": fault})
    with pytest.raises(AssertionError):
        check_agent(lambda env, *, seed: cls.from_env(env, seed=seed))


def test_the_suite_passes_the_same_agent_without_a_fault():
    check_agent(lambda env, *, seed: Faulty.from_env(env, seed=seed))


@pytest.mark.parametrize("agent_id", ["dTS", "LinTS", "LinUCB", "HierTS", "MarginalLinTS", "JointTS"])
@pytest.mark.parametrize("exploration", [0, 0.0, -1, np.nan, np.inf, True, "1", "best", [1.0]])
def test_exploration_must_be_positive_or_a_rule(agent_id, exploration):
    with pytest.raises(ValueError, match=r"exploration must be a positive finite number.*, got"):
        make_agent(agent_id, problem(), exploration=exploration)


@pytest.mark.parametrize(
    ("agent_id", "settings", "message"),
    [
        ("dTS", {"branch": 3}, "branch must be an integer in 0..2, got 3"),
        ("dTS", {"noise_std": 0}, "noise_std must be a positive finite number, got 0"),
        (
            "dTS",
            {"explore": 1},
            r"settings of dTS must be among \['exploration', .*\], got 'explore'",
        ),
        ("LinTS", {"prior_mean": [0.0]}, r"prior_mean must have shape \(2,\), got shape \(1,\)"),
        ("LinTS", {"prior_cov": -np.eye(2)}, "prior_cov must be positive semi-definite, got the eigenvalue -1"),
        ("EpsilonGreedy", {"epsilon": 1.5}, "epsilon must be a number in 0..1, got 1.5"),
        ("Oracle", {}, "env must be a bandit environment"),
        ("dTS", {"seed": -1}, "seed must be an integer >= 0, got -1"),
        ("dTs", {}, r"agent id must be one of \['dTS', .*\], got 'dTs'"),
    ],
)
def test_bad_settings_are_refused_by_name(agent_id, settings, message):
    with pytest.raises(ValueError, match=message):
        make_agent(agent_id, problem(), **settings)


def test_what_is_no_problem_is_refused():
    with pytest.raises(ValueError, match="env_or_problem must be"):
        make_agent("dTS", "DiffusionBandit-v0")
    with pytest.raises(ValueError, match="problem must be a BanditProblem"):
        DiffusionTS(PRIOR)


class Bounded(RewardModel):
    """Some family that is not Gaussian."""

    name = "bounded"

    def mean(self, eta):
        return np.tanh(eta)

    def derivative(self, eta):
        return 1 - np.tanh(eta) ** 2

    def log_likelihood(self, reward, eta):
        return -((reward - np.tanh(eta)) ** 2)

    def draw_noise(self, rng, shape):
        return np.zeros(shape)

    def from_noise(self, noise, eta):
        return np.tanh(eta)

    def check(self, reward):
        return float(reward)

    def settings(self):
        return {}


def test_gaussian_agents_need_a_noise_scale_where_the_problem_has_none():
    other = problem(reward=Bounded())
    with pytest.raises(ValueError, match="noise_std must be given where the rewards are not Gaussian"):
        make_agent("LinTS", other)
    assert make_agent("LinTS", other, noise_std=0.3).noise_std == 0.3


def test_an_agents_branch_overrides_the_priors_and_presets_fix_theirs():
    # The posterior after data of action 0 says of the unplayed action 3 what is shared: exactly the branch.
    def drift(agent):
        for _ in range(200):
            agent.update([1.0, 1.0], 0, 10.0)
        return np.abs(agent.moments()[0][3] - PRIOR.two_level().mean).max()

    drifts = [drift(make_agent("dTS", problem(), branch=branch)) for branch in (0, 1, 2)]
    assert drifts[0] > drifts[1] > 0.1
    assert drifts[2] == 0.0
    assert drift(make_agent("HierTS", problem())) == drifts[1]
    assert drift(make_agent("MarginalLinTS", problem())) == 0.0
    assert drift(make_agent("dTS", problem(prior=PRIOR.with_branch(1)))) == drifts[1]


def test_ridge_means_of_lin_ts_by_the_normal_equations():
    agent = taught(LinTS(problem(), seed=0), rounds=20)
    rng = np.random.default_rng(0)
    X, actions, y = rng.uniform(-1, 1, (20, 2)), rng.integers(3, size=20), rng.standard_normal(20)
    mean, cov = agent.moments()
    for a in range(4):
        own = X[actions == a]
        precision = np.eye(2) + own.T @ own / 0.25
        np.testing.assert_allclose(mean[a], np.linalg.solve(precision, own.T @ y[actions == a] / 0.25), atol=1e-12)
        np.testing.assert_allclose(cov[2 * a : 2 * a + 2, 2 * a : 2 * a + 2], np.linalg.inv(precision), atol=1e-12)


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_a_chain_draw_ends_in_the_law_of_the_parameters(branch):
    # 8 000 draws; 8 means and 8 variances a branch with |z| < 4.5: a false alarm in 3 000 runs.
    agent = taught(DiffusionTS(problem(), seed=0, branch=branch, exploration=0.5))
    mean, cov = agent.moments()
    chains = [agent.sample_chain() for _ in range(8000)]
    assert [level.shape for level in chains[0]] == [(4 if ell <= branch else 1, 2) for ell in range(3)]
    theta = np.array([chain[0].ravel() for chain in chains])
    variance = np.diag(cov)
    assert (np.abs(theta.mean(axis=0) - mean.ravel()) / np.sqrt(variance / 8000)).max() < 4.5
    assert (np.abs(theta.var(axis=0) / variance - 1) / np.sqrt(2 / 8000)).max() < 4.5


def test_joint_ts_and_dts_have_one_posterior():
    first, second = taught(DiffusionTS(problem(), seed=0)), taught(JointTS(problem(), seed=0))
    for one, other in zip(first.moments(), second.moments(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_the_oracle_plays_the_best_action_and_nobody_else_needs_the_instance():
    env = gym.make("DiffusionBandit-v0", num_actions=20)
    oracle = make_agent("Oracle", env)
    with pytest.raises(ValueError, match="env must hold the one instance"):
        oracle.act(np.zeros(5))
    obs, _ = env.reset(seed=0)
    for _ in range(50):
        obs, _, _, _, info = env.step(oracle.act(obs))
    assert info["cumulative_regret"] == 0.0
    assert isinstance(oracle, Oracle)


def test_epsilon_one_is_uniform_and_epsilon_zero_greedy():
    contexts = np.random.default_rng(0).uniform(-1, 1, (4000, 2))
    counts = np.bincount(taught(make_agent("EpsilonGreedy", problem(), seed=0, epsilon=1)).act(contexts), minlength=4)
    assert (np.abs(counts - 1000) / np.sqrt(750)).max() < 4.5
    greedy = taught(make_agent("EpsilonGreedy", problem(), seed=0, epsilon=0))
    np.testing.assert_array_equal(greedy.act(contexts), greedy.predict(contexts, deterministic=True)[0])


def test_greedy_ties_go_to_the_lowest_action_and_confidence_ties_to_any():
    context = np.array([0.5, -0.5])
    ridge = make_agent("LinUCB", problem(num_actions=6), seed=0)
    assert ridge.predict(context, deterministic=True)[0] == 0
    assert set(ridge.act(np.repeat(context[None], 300, axis=0)).tolist()) == set(range(6))


def test_a_file_of_another_agent_is_refused(tmp_path):
    agent = make_agent("LinTS", problem(), seed=4)
    agent.save(tmp_path / "a")
    again = Agent.load(tmp_path / "a")
    assert type(again) is LinTS
    assert [again.act(np.ones(again.problem.dim)) for _ in range(9)] == [
        agent.act(np.ones(agent.problem.dim)) for _ in range(9)
    ]
    with pytest.raises(ValueError, match="path must be a file of DiffusionTS"):
        DiffusionTS.load(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        DiffusionTS.load(tmp_path / "b")


def test_a_user_s_agent_can_be_registered_once(monkeypatch):
    monkeypatch.setattr("dts_gym.registry._AGENTS", dict(dts_gym.registry._AGENTS))
    dts_gym.register_agent("Mine", Faulty)
    assert type(make_agent("Mine", problem())) is Faulty
    dts_gym.register_agent("Mine", Faulty)  # as its module does when it is imported again
    with pytest.raises(ValueError, match="agent_id must be new, got 'Mine'"):
        dts_gym.register_agent("Mine", LinTS)
    with pytest.raises(ValueError, match="agent_id must be a name without a colon"):
        dts_gym.register_agent("mine:Mine", Faulty)
    for wrong in ("nowhere", 3, problem):
        with pytest.raises(ValueError, match="entry_point must be a class or 'module:Class'"):
            dts_gym.register_agent("Other", wrong)
    for wrong, lacking in ((dict, r"\['act'\]"), (Agent, "'_choose', '_choose_greedily', '_forget', '_learn'")):
        with pytest.raises(ValueError, match=f"entry_point must be a class that defines .*{lacking}"):
            dts_gym.register_agent("Other", wrong)


def test_an_id_may_come_with_the_module_that_registers_it(monkeypatch, tmp_path):
    """Worker processes find it as this one does."""
    monkeypatch.setattr("dts_gym.registry._AGENTS", dict(dts_gym.registry._AGENTS))
    (tmp_path / "their_agents.py").write_text(
        "import dts_gym\nfrom dts_gym.agents import LinTS\n"
        "class Twin(LinTS):\n    pass\n"
        "dts_gym.register_agent('Twin', 'their_agents:Twin')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    get_reusable_executor().shutdown()  # workers that stand look where this process looked when they began
    assert type(make_agent("their_agents:Twin", problem(), seed=0)).__name__ == "Twin"
    asked = {"seeds": 2, "num_rounds": 20, "env_settings": {"num_actions": 5}, "num_workers": 2}
    agents = ["their_agents:Twin:exploration=0.5", "LinTS:exploration=0.5"]
    result = dts_gym.compare("DiffusionBandit-v0", agents, **asked)
    np.testing.assert_array_equal(*(result.regret(label) for label in result.labels))
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        make_agent("nowhere:Twin", problem())
    with pytest.raises(ValueError, match="got 'their_agents:Triplet'"):
        make_agent("their_agents:Triplet", problem())


def test_spawned_agents_draw_apart_and_hang_on_the_seed():
    def plays(agent):
        return [agent.act([1.0, 1.0]) for _ in range(30)]

    agent = make_agent("Random", problem(), seed=0)
    three = [plays(one) for one in agent.spawn(3)]
    assert len({tuple(played) for played in [*three, plays(make_agent("Random", problem(), seed=0))]}) == 4
    assert [plays(one) for one in make_agent("Random", problem(), seed=0).spawn(2)] == three[:2]
    assert [plays(one) for one in make_agent("Random", problem(), seed=1).spawn(2)] != three[:2]
    greedy = make_agent("LinTS", problem(), seed=0, exploration=0.5)
    greedy.update([1.0, 2.0], 1, 3.0)
    (fresh,) = greedy.spawn(1)
    assert (fresh.exploration, fresh.num_updates, greedy.num_updates) == (0.5, 0, 1)
    np.testing.assert_array_equal(fresh.moments()[0], make_agent("LinTS", problem()).moments()[0])
    with pytest.raises(ValueError, match="count must be an integer >= 1, got 0"):
        agent.spawn(0)
