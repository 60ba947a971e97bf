"""Teams of agents: stacked ones play as each would by itself, and hand back what they learned."""

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import BanditProblem, BernoulliReward, GaussianReward, PoissonReward, make_agent, random_linear_prior
from dts_gym.agents import LinTS
from dts_gym.agents.lockstep import StackedTeam
from dts_gym.envs.vector import BanditVectorEnv
from dts_gym.harness.teams import Team
from dts_gym.priors.random_priors import random_mlp_prior

STACKED = ["dTS", "dUCB", "LinTS", "LinUCB", "HierTS", "MarginalLinTS", "TunedTS", "TunedUCB"]


def problems(count=5, model=None, **settings):
    rewards = GaussianReward(0.5) if model is None else model
    return [BanditProblem(6, 3, random_linear_prior(3, 2, seed=i), rewards, **settings) for i in range(count)]


def agents(agent_id, count=5, **settings):
    made = problems(count, horizon=200)
    return [make_agent(agent_id, problem, seed=i, **settings) for i, problem in enumerate(made)]


def feed(play, learn, start, rounds):
    """Rounds under rewards that depend on round, row and action."""
    rng = np.random.default_rng(start)
    for x in rng.uniform(-1, 1, (rounds, 5, 3)):
        a = play(x)
        learn(x, a, np.sin(3.0 * a + np.arange(5)) + x.sum(axis=1))


def one_by_one(team, start, rounds):
    def learn(x, a, y):
        for agent, *one in zip(team, x, a, y, strict=True):
            agent.update(*one)

    feed(lambda x: np.array([agent.act(row) for agent, row in zip(team, x, strict=True)]), learn, start, rounds)


def together(team, start, rounds):
    with team[0].together(team) as playing:
        feed(playing.act, playing.update, start, rounds)


@pytest.mark.filterwarnings("ignore:the rewards so far")
@pytest.mark.parametrize("agent_id", STACKED)
def test_a_team_plays_as_its_agents_would_and_they_go_on_by_themselves(agent_id, tmp_path):
    alone, team = agents(agent_id), agents(agent_id)
    one_by_one(alone, 0, 60)
    assert isinstance(team[0].together(team), StackedTeam)
    together(team, 0, 60)
    one_by_one(alone, 1, 10)
    one_by_one(team, 1, 10)
    x = np.array([0.2, -0.4, 0.9])
    for mine, other in zip(team, alone, strict=True):
        assert mine.num_updates == other.num_updates == 70
        assert mine.exploration_scale == other.exploration_scale
        for a, b in zip(mine.moments(), other.moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
        mine.save(tmp_path / "agent.npz")
        assert mine.act(x) == other.act(x) == type(mine).load(tmp_path / "agent.npz").act(x)


@pytest.mark.parametrize(
    ("agent_id", "settings"),
    [
        ("dTS", {}),
        ("dTS", {"branch": 1}),
        ("dTS", {"branch": 2}),  # all levels are the actions' own: nothing is shared
        ("dTS", {"expansion": "online"}),
        ("dUCB", {}),
        ("GLM-TS", {}),
        ("GLM-TS", {"intercept": True}),
        ("UCB-GLM", {}),
    ],
)
@pytest.mark.parametrize("model", [BernoulliReward(), PoissonReward()], ids=["clicks", "counts"])
@pytest.mark.filterwarnings("ignore:the rewards so far")
def test_a_team_under_clicks_or_counts_plays_as_its_agents_would(agent_id, settings, model, tmp_path):
    def made():
        return [
            make_agent(agent_id, problem, seed=i, **settings)
            for i, problem in enumerate(problems(model=model, horizon=100))
        ]

    def told(learn):
        return lambda x, a, y: learn(x, a, 1.0 * (y > 0) if model.name == "bernoulli" else np.floor(np.exp(y)))

    def learn_alone(x, a, y):
        for agent, *one in zip(alone, x, a, y, strict=True):
            agent.update(*one)

    alone, team = made(), made()
    feed(lambda x: np.array([one.act(row) for one, row in zip(alone, x, strict=True)]), told(learn_alone), 0, 40)
    with team[0].together(team) as playing:
        assert isinstance(playing, StackedTeam)
        feed(playing.act, told(playing.update), 0, 40)
    for mine, other in zip(team, alone, strict=True):
        assert mine.num_updates == other.num_updates == 40
        for a, b in zip(mine.moments(), other.moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
        mine.save(tmp_path / "agent.npz")
        loaded = type(mine).load(tmp_path / "agent.npz")
        for t, x in enumerate(np.random.default_rng(5).uniform(-1, 1, (10, 3))):
            action = mine.act(x)
            assert action == loaded.act(x) == other.act(x)
            for each in (mine, loaded, other):
                each.update(x, action, float(t % 2))
        for name, array in mine._posterior.state().items():
            assert array.tobytes() == loaded._posterior.state()[name].tobytes(), name


def test_a_team_goes_on_one_by_one_where_an_agent_refuses_a_context():
    """Clicks under a context of a length of 1e9: that agent raises, as alone, and those before it have learned."""
    team, alone = ([make_agent("dTS", p, seed=0) for p in problems(model=BernoulliReward())] for _ in range(2))
    x, far = np.ones((5, 3)), np.ones((5, 3))
    far[2] *= 1e9

    def play():
        with team[0].together(team) as playing:
            playing.update(x, np.arange(5), np.ones(5))
            playing.update(far, np.arange(5), np.zeros(5))

    with pytest.raises(ValueError, match="context must give x' theta a prior standard deviation"):
        play()
    for i, (mine, other) in enumerate(zip(team, alone, strict=True)):
        other.update(x[i], i, 1.0)
        if i < 2:
            other.update(x[i], i, 0.0)
        assert mine.num_updates == other.num_updates == (2 if i < 2 else 1)
        for a, b in zip(mine.moments(), other.moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("agent_id", ["dTS", "dUCB"])
def test_a_team_on_perceptrons_plays_as_its_agents_would(agent_id, tmp_path):
    def made():
        priors = [random_mlp_prior(3, 2, seed=i) for i in range(5)]
        known = [BanditProblem(6, 3, prior, GaussianReward(0.5), horizon=100) for prior in priors]
        return [make_agent(agent_id, problem, seed=i, num_particles=8) for i, problem in enumerate(known)]

    alone, team = made(), made()
    assert isinstance(team[0].together(team), StackedTeam)
    together(team, 0, 12)
    with pytest.raises(ValueError, match="reward must be finite"), team[0].together(team) as playing:
        playing.update(np.ones((5, 3)), np.arange(5), np.full(5, np.nan))
    together(team, 1, 5)
    assert team[0].num_updates == 17
    one_by_one(alone, 0, 12)
    one_by_one(alone, 1, 5)
    for mine, other in zip(team, alone, strict=True):
        left, right = mine._posterior.state(), other._posterior.state()
        assert left.keys() == right.keys()
        for name, array in left.items():
            np.testing.assert_allclose(array, right[name], rtol=1e-9, atol=1e-10, err_msg=name)
        mine.save(tmp_path / "agent.npz")
        loaded = type(mine).load(tmp_path / "agent.npz")
        assert mine.act(np.ones(3)) == other.act(np.ones(3)) == loaded.act(np.ones(3))


def test_an_exception_leaves_what_was_learned():
    team = agents("dTS")

    def stopped():
        with team[0].together(team) as playing:
            playing.update(np.ones((5, 3)), np.arange(5), np.ones(5))
            playing.update(np.ones((5, 3)), np.arange(5), np.array([1.0, np.nan, 1.0, 1.0, 1.0]))

    with pytest.raises(ValueError, match="reward must be finite"):
        stopped()
    alone = agents("dTS")
    for i, (mine, theirs) in enumerate(zip(team, alone, strict=True)):
        theirs.update(np.ones(3), i, 1.0)
        assert mine.num_updates == 1
        np.testing.assert_allclose(mine.moments()[0], theirs.moments()[0], rtol=1e-12)
        mine.update(np.ones(3), 0, 1.0)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("context must be finite", lambda team: team.act(np.full((5, 3), np.nan))),
        ("context must have shape", lambda team: team.act(np.ones((5, 4)))),
        ("mask must allow an action", lambda team: team.act(np.ones((5, 3)), np.zeros((5, 6), bool))),
        ("action must be", lambda team: team.update(np.ones((5, 3)), [0, 1, 2, 3, 6], np.ones(5))),
        ("reward must be at most", lambda team: team.update(np.ones((5, 3)), np.arange(5), np.full(5, 1e60))),
    ],
)
def test_bad_input_is_refused_in_the_words_of_an_agent_and_changes_nothing(words, call):
    team = agents("dTS")
    before = [agent.moments()[0] for agent in team]
    with pytest.raises(ValueError, match=words), team[0].together(team) as playing:
        call(playing)
    for agent, mean in zip(team, before, strict=True):
        assert agent.num_updates == 0
        np.testing.assert_array_equal(agent.moments()[0], mean)


class Stubborn(LinTS):
    """A user's agent that chooses in a way of its own."""

    def _choose(self, contexts, rng, mask):
        return np.zeros(contexts.shape[:-1], dtype=np.int64)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Stubborn(problem, seed=0) for problem in problems()],
        lambda: agents("dTS", dtype="float32"),
        lambda: agents("JointTS"),
        lambda: agents("EpsilonGreedy"),
        lambda: [
            make_agent("GLM-TS", problem, seed=0, expansion="mle") for problem in problems(model=BernoulliReward())
        ],
        lambda: agents("IDS"),
        lambda: [*agents("dTS")[:2], *agents("LinTS")[2:]],
        lambda: [*agents("LinTS")[:2], *agents("LinTS", intercept=True)[2:]],
        lambda: (
            [make_agent("LinTS", BanditProblem(2000, 10, random_linear_prior(10, 1), GaussianReward()), seed=0)] * 5
        ),
    ],
)
def test_what_is_not_stacked_plays_one_by_one(make):
    team = make()
    assert type(team[0].together(team)) is Team


def test_agents_of_one_run_may_have_other_scales_and_other_pasts():
    def made():
        team = [
            make_agent("dTS", problem, seed=i, exploration=0.5 + 0.2 * i, horizon=100)
            for i, problem in enumerate(problems())
        ]
        team[3].update([1.0, 0.0, 0.0], 2, 1.0)
        return team

    alone, team = made(), made()
    one_by_one(alone, 0, 40)
    together(team, 0, 40)
    for mine, theirs in zip(alone, team, strict=True):
        assert mine.num_updates == theirs.num_updates
        np.testing.assert_allclose(mine.moments()[0], theirs.moments()[0], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("agent_id", ["dTS", "dUCB", "LinUCB"])
def test_run_on_a_vector_environment_has_the_regret_of_single_runs(agent_id):
    settings = {"num_actions": 8, "dim": 3, "horizon": 300}
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=4, prior_seeds=[3, 1, 4, 1], **settings)
    team = [make_agent(agent_id, problem, seed=i) for i, problem in enumerate(envs.unwrapped.problems)]
    found = dts_gym.run(envs, team, 300, seed=[7, 8, 9, 2])
    for i, (prior_seed, seed) in enumerate([(3, 7), (1, 8), (4, 9), (1, 2)]):
        env = gym.make("DiffusionBandit-v0", prior_seed=prior_seed, **settings)
        alone = dts_gym.run(env, make_agent(agent_id, env, seed=i), 300, seed=seed)
        np.testing.assert_allclose(found.regret[i], alone.regret, rtol=1e-12)
        assert (found.instance(i).actions == alone.actions).all()


@pytest.mark.parametrize("agent_id", ["dTS", "dUCB", "LinTS", "LinUCB", "TunedTS", "GLM-TS"])
def test_runs_with_one_parameter_for_all_actions_have_the_regret_of_single_runs(agent_id):
    settings = {"num_actions": 8, "dim": 5, "horizon": 100}
    if agent_id == "GLM-TS":
        settings["reward"] = "bernoulli"
    priors = [
        random_mlp_prior(5, 2, seed=i) if agent_id == "dUCB" else random_linear_prior(5, 2, seed=i) for i in (0, 1)
    ]
    singles = [gym.make("SharedDiffusionBandit-v0", prior=prior, **settings) for prior in priors]
    envs = BanditVectorEnv([env.unwrapped for env in singles], 2)
    team = [make_agent(agent_id, env, seed=i) for i, env in enumerate(singles)]
    assert isinstance(team[0].together(team), StackedTeam)
    found = dts_gym.run(envs, team, 60, seed=[7, 8])
    for i, env in enumerate(singles):
        alone = dts_gym.run(env, make_agent(agent_id, env, seed=i), 60, seed=7 + i)
        np.testing.assert_allclose(found.regret[i], alone.regret, rtol=1e-12)
        assert (found.instance(i).actions == alone.actions).all()


@pytest.mark.parametrize("agent_id", ["dTS", "dUCB", "LinTS", "LinUCB"])
def test_a_team_goes_on_one_by_one_where_rewards_get_too_precise_for_stacked_posteriors(agent_id):
    """A noise of 1e-4 under contexts that grow to a length of 50: from some round on more than float64 is needed."""

    def made():
        return [
            make_agent(agent_id, BanditProblem(6, 3, random_linear_prior(3, 2, seed=i), GaussianReward(1e-4)), seed=i)
            for i in range(5)
        ]

    def plays(team, start, play, learn):
        rng = np.random.default_rng(start)
        chosen = []
        for t, x in enumerate(rng.uniform(-1, 1, (40, 5, 3))):
            x = x * 1.1**t
            chosen.append(play(x))
            learn(x, chosen[-1], (x * np.sin(chosen[-1])[:, None]).sum(axis=1) + 1e-4 * rng.standard_normal(5))
        return np.array(chosen)

    def learned_alone(x, a, y):
        for agent, *one in zip(alone, x, a, y, strict=True):
            agent.update(*one)

    alone, team = made(), made()
    singly = plays(
        alone, 0, lambda x: np.array([one.act(row) for one, row in zip(alone, x, strict=True)]), learned_alone
    )
    careful = []
    with team[0].together(team) as playing:
        assert isinstance(playing, StackedTeam)

        def learn(x, a, y):
            playing.update(x, a, y)
            careful.append([agent._is_careful() for agent in team])

        together = plays(team, 0, playing.act, learn)
    assert not any(careful[0])
    assert 5 < sum(not any(row) for row in careful) < 35  # it happens in the middle
    assert (singly == together).all()
    for mine, theirs in zip(team, alone, strict=True):
        assert mine.num_updates == theirs.num_updates == 40
        assert mine._is_careful() == theirs._is_careful()
        for a, b in zip(mine.moments(), theirs.moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
        assert mine._posterior.table.columns.arrays["cov"].base is None
    assert type(team[0].together(team)) is Team  # careful from the start: not stacked


@pytest.mark.parametrize("agent_id", ["dTS", "GLM-TS"])
def test_actions_do_not_change_while_agents_play_together(agent_id):
    model = GaussianReward(0.5) if agent_id == "dTS" else BernoulliReward()
    team = [make_agent(agent_id, problem, seed=i) for i, problem in enumerate(problems(model=model, horizon=200))]
    with team[0].together(team) as playing:
        assert isinstance(playing, StackedTeam)
        playing.update(np.ones((5, 3)), np.arange(5), np.ones(5))
        for change in (lambda: team[1].add_actions(count=1), lambda: team[1].retire(1)):
            with pytest.raises(ValueError, match="must be called after the block in which agents play together"):
                change()
        playing.update(np.ones((5, 3)), np.arange(5), np.ones(5))
    assert team[1].num_actions == 6
    assert team[1].num_updates == 2
    team[1].add_actions(count=1)
    team[1].retire(1)
    assert team[1].num_actions == 7
