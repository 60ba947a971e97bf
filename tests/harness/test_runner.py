"""One run against a loop written by hand; many runs against one run each."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym.harness.agent_texts import parse_agent
from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import AgentSpec
from dts_gym.harness.jobs import run_seeds
from dts_gym.harness.runner import run
from dts_gym.registry import make_agent

SMALL = {"num_actions": 8, "dim": 3, "horizon": 60}


def small_env(**settings):
    return gym.make("DiffusionBandit-v0", **{**SMALL, **settings})


def curves(comparison):
    return {label: comparison.regret(label) for label in comparison.labels}


def assert_same_curves(one, other):
    assert list(one) == list(other)
    for label in one:
        np.testing.assert_array_equal(one[label], other[label])


def test_a_run_is_the_loop_of_gymnasium():
    env, agent = small_env(), make_agent("dTS", small_env(), seed=5)
    result = run(env, agent, 60, seed=7)
    other = make_agent("dTS", env, seed=5)
    context, _ = env.reset(seed=7)
    total, truncated = 0.0, False
    for t in range(60):
        action = other.act(context)
        following, reward, _, truncated, info = env.step(action)
        other.update(context, action, reward)
        total += info["regret"]
        assert (result.actions[t], result.rewards[t]) == (action, reward)
        assert result.regret[t] == pytest.approx(total, abs=1e-12)
        context = following
    assert truncated
    assert result.regret[-1] == pytest.approx(info["cumulative_regret"], abs=1e-9)
    assert (result.regret.dtype, result.actions.dtype) == (np.float64, np.int64)
    assert agent.num_updates == 60


def test_a_run_is_fixed_by_its_seeds():
    def regret(seed, agent_seed):
        env = small_env()
        return run(env, make_agent("LinTS", env, seed=agent_seed), 40, seed=seed).regret

    np.testing.assert_array_equal(regret(1, 2), regret(1, 2))
    assert not np.array_equal(regret(1, 2), regret(2, 2))
    assert not np.array_equal(regret(1, 2), regret(1, 3))


def test_time_is_that_of_the_agent(monkeypatch):
    passed, spent = iter(range(1000)), iter(range(0, 3000, 3))
    clocks = SimpleNamespace(perf_counter=lambda: next(passed), process_time=lambda: next(spent))
    monkeypatch.setattr("dts_gym.harness.run_record.time", clocks)
    env = small_env()
    result = run(env, make_agent("Random", env), 10, seed=0)
    assert (result.act_seconds, result.update_seconds) == (10, 10)
    assert result.cpu_seconds == 60
    assert result.microseconds_per_round == pytest.approx(6e6)


def test_what_cannot_be_run_is_refused():
    env = small_env()
    fresh = make_agent("LinTS", env, seed=0)
    learned = make_agent("LinTS", env, seed=0)
    learned.update([0.1, 0.2, 0.3], 1, 0.5)
    with pytest.raises(ValueError, match=r"1 updates: agent.reset\(seed\) clears it"):
        run(env, learned, 5)
    learned.reset(0)
    assert run(env, learned, 5, seed=0).regret.shape == (5,)
    with pytest.raises(ValueError, match="callback must be called with a Round, got 3"):
        run(env, fresh, 5, callback=3)
    assert fresh.num_updates == 0
    for wrong in ("dTS", [fresh, fresh], dts_gym):
        with pytest.raises(ValueError, match="agent must be one agent"):
            run(env, wrong, 5)
    for rounds, expected in (
        (61, r"in 1\.\.60, the env's horizon"),
        (0, ">= 1"),
        (-1, ">= 1"),
        (2.0, ">= 1"),
        (True, ">= 1"),
    ):
        with pytest.raises(ValueError, match=f"num_rounds must be an integer {expected}, got {rounds}"):
            run(env, fresh, rounds)
    with pytest.raises(ValueError, match="seed must be"):
        run(env, fresh, 5, seed=-1)
    with pytest.raises(ValueError, match="8 actions and contexts"):
        run(env, make_agent("LinTS", small_env(num_actions=9)), 5)
    with pytest.raises(ValueError, match=r"contexts \(3,\), got one for 8 actions and contexts \(4,\)"):
        run(env, make_agent("LinTS", small_env(dim=4)), 5)
    with pytest.raises(ValueError, match="must be a Gymnasium environment"):
        run(env.unwrapped.problem, fresh, 5)
    with pytest.raises(ValueError, match="episode of 3 rounds"):
        run(gym.wrappers.TimeLimit(small_env(), 3), make_agent("LinTS", env), 5)


def test_a_run_may_go_on_with_what_an_agent_has_learned():
    env = small_env(instance_seed=3)
    agent, fresh = (make_agent("dTS", env, seed=0) for _ in range(2))
    log = run(env, make_agent("Random", env, seed=1), 60, seed=4)
    contexts = np.empty((60, 3))
    contexts[0], _ = env.reset(seed=4)
    for t in range(59):
        contexts[t + 1] = env.step(log.actions[t])[0]
    agent.update(contexts, log.actions, log.rewards)
    warm = run(env, agent, 60, seed=5, warm_start=True)
    assert agent.num_updates == 120
    assert warm.regret[-1] < 0.5 * run(env, fresh, 60, seed=5, warm_start=True).regret[-1]
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=2, **SMALL)
    with pytest.raises(ValueError, match="warm_start needs a list of 2 agents"):
        run(envs, agent, 5, warm_start=True)
    team = agent.spawn(2)
    team[1].update([0.1, 0.2, 0.3], 1, 0.5)
    with pytest.raises(ValueError, match="warm_start=True goes on"):
        run(envs, team, 5)
    run(envs, team, 5, warm_start=True)
    assert [one.num_updates for one in team] == [5, 6]


def test_an_interrupt_goes_through():
    class Impatient:
        num_updates = 0

        def act(self, context):
            raise KeyboardInterrupt

        def update(self, context, action, reward):
            raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        run(small_env(), Impatient(), 5)


def test_every_run_of_a_comparison_can_be_replayed_alone():
    comparison = compare("DiffusionBandit-v0", ["dTS", "LinTS:exploration=0.5"], seeds=[4, 2], num_rounds=30,
                         env_settings=SMALL)  # fmt: skip
    assert comparison.labels == ["dTS", "LinTS (exploration 0.5)"]
    assert comparison.experiment.seeds == (4, 2)
    for label, agent_id, settings in (
        ("dTS", "dTS", {}),
        ("LinTS (exploration 0.5)", "LinTS", {"exploration": 0.5}),
    ):
        for i, record in enumerate(comparison.runs[label]):
            assert (record.env_seed, record.agent_seed) == run_seeds((4, 2)[i])[:2]
            env = small_env()
            alone = run(env, make_agent(agent_id, env, seed=record.agent_seed, **settings), 30, seed=record.env_seed)
            np.testing.assert_array_equal(record.regret, alone.regret)
            assert record.total_reward == pytest.approx(alone.rewards.sum())
            np.testing.assert_array_equal(comparison.regret(label)[i], alone.regret)
            assert comparison.final_regret(label)[i] == alone.regret[-1]


def test_agents_meet_the_same_instances_and_a_twin_does_the_same():
    twins = [AgentSpec("dTS", label="one"), AgentSpec("dTS", label="two"), AgentSpec("Oracle")]
    comparison = compare("DiffusionBandit-v0", twins, seeds=3, num_rounds=20, env_settings=SMALL)
    np.testing.assert_array_equal(comparison.regret("one"), comparison.regret("two"))
    assert len(set(comparison.final_regret("one"))) == 3
    np.testing.assert_array_equal(comparison.regret("Oracle"), 0)


def test_two_workers_give_what_one_gives(tmp_path):
    asked = {"seeds": 3, "num_rounds": 40, "env_settings": SMALL}
    agents = ["dTS", "LinUCB"]
    one = compare("DiffusionBandit-v0", agents, **asked)
    two = compare("DiffusionBandit-v0", agents, **asked, num_workers=2, out=tmp_path / "out")
    assert_same_curves(curves(one), curves(two))
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 6


def test_a_redrawn_prior_is_each_seeds_own():
    asked = {"seeds": 2, "num_rounds": 20, "env_settings": SMALL}
    kept = compare("DiffusionBandit-v0", ["dTS"], **asked)
    redrawn = compare("DiffusionBandit-v0", ["dTS"], **asked, redraw_prior=True)
    assert not np.array_equal(kept.regret("dTS"), redrawn.regret("dTS"))
    for seed in (0, 1):
        seeds = run_seeds(seed)
        env = small_env(prior_seed=seeds.prior)
        alone = run(env, make_agent("dTS", env, seed=seeds.agent), 20, seed=seeds.env)
        np.testing.assert_array_equal(redrawn.regret("dTS")[seed], alone.regret)
    with pytest.raises(ValueError, match=r"got \['prior_seed'\] there"):
        compare("DiffusionBandit-v0", ["dTS"], seeds=2, env_settings={"prior_seed": 3}, redraw_prior=True)


def test_the_horizon_is_the_default():
    comparison = compare("DiffusionBandit-v0", ["Random"], seeds=1, env_settings=SMALL)
    assert comparison.rounds[-1] == 60


def test_seeds_are_distinct_and_never_change():
    seeds = [run_seeds(s, role) for s in range(500) for role in ("report", "tuning")]
    numbers = [number for drawn in seeds for number in drawn]
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) < 2**63
    # Published numbers depend on these.
    assert run_seeds(0) == FIRST
    assert run_seeds(0, "tuning") == FIRST_TUNING


FIRST = (4793754108214791574, 129332520639908860, 3779885090947541698)
FIRST_TUNING = (3655090999323016937, 371287145145715109, 8874322056886597231)


@pytest.mark.parametrize(
    ("text", "agent_id", "settings"),
    [
        ("dTS", "dTS", {}),
        ("GLM-TS:exploration=0.3", "GLM-TS", {"exploration": 0.3}),
        ("a:x=1,y=[1, 2],z=word,w=some-word,t=true,n=None", "a",
         {"x": 1, "y": [1, 2], "z": "word", "w": "some-word", "t": True, "n": None}),
        ("a:x=-1.5e-3,path='/a:b,c=d'", "a", {"x": -0.0015, "path": "/a:b,c=d"}),
        ("my.agents:My-TS", "my.agents:My-TS", {}),
        ("my:MyTS:x=1,y='a:b'", "my:MyTS", {"x": 1, "y": "a:b"}),
    ],
)  # fmt: skip
def test_agents_are_read_from_text(text, agent_id, settings):
    spec = parse_agent(text)
    assert (spec.id, spec.settings) == (agent_id, settings)


@pytest.mark.parametrize("text", ["a:", "dTS:x", "a:*", "a:x=1,2", "a:x=1,x=2", "a:**x", "a:x=1)(", "a:x=/etc", "a:)"])
def test_what_is_no_agent_is_refused(text):
    with pytest.raises(ValueError, match="agents must"):
        parse_agent(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agents": ["dTX"]}, "got 'dTX'"),
        ({"agents": ["dTS:nope=1"]}, "nope"),
        ({"agents": ["dTS:exploration=-1"]}, "exploration must be"),
        ({"agents": ["dTS", "dTS"]}, "different labels"),
        ({"agents": []}, "at least one"),
        ({"agents": "dTS"}, "must be a list of ids"),
        ({"agents": ["dTS", dts_gym]}, "agents must be ids or AgentSpecs"),
        ({"seeds": 0}, "seeds must be an integer >= 1"),
        ({"seeds": [1, 1]}, "seeds must be a number or different integers"),
        ({"seeds": []}, "seeds must be a number or different integers"),
        ({"seeds": [-1]}, "seeds must be an integer >= 0"),
        ({"num_rounds": 61}, "num_rounds must be"),
        ({"env_settings": {"num_actons": 5}}, r"env_settings must be among \['branch'.*got 'num_actons'"),
        ({"env_settings": {"regret_info": False}}, "regret_info off"),
        ({"num_workers": 0}, "num_workers must be"),
        ({"resume": True}, "out must be the folder"),
    ],
)
def test_comparisons_that_make_no_sense_leave_no_folder(tmp_path, change, message):
    asked = {"agents": ["dTS"], "num_rounds": 5, "env_settings": SMALL, "seeds": 1} | change
    if "resume" not in change:
        asked["out"] = tmp_path / "out"
    with pytest.raises(ValueError, match=message):
        compare("DiffusionBandit-v0", **asked)
    assert not (tmp_path / "out").exists()


def test_unknown_environments_are_gymnasiums_error():
    with pytest.raises(gym.error.Error, match="Nowhere"):
        compare("Nowhere-v0", ["dTS"])
    assert compare("dts_gym:DiffusionBandit-v0", ["Random"], seeds=1, num_rounds=2).labels == ["Random"]


def test_the_package_hands_out_the_runner():
    assert dts_gym.run is run
    assert dts_gym.compare is compare


def test_an_environment_is_no_id():
    env = gym.make("DiffusionBandit-v0", num_actions=4)
    with pytest.raises(ValueError, match="env_id must be the id of an environment, got <"):
        dts_gym.compare(env, ["LinTS"], seeds=1, num_rounds=5)
