"""Vector environments against single ones of the same seeds, number for number, and against Gymnasium's own."""

import pickle
import warnings
from itertools import combinations, pairwise

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import dts_gym
from dts_gym import make_agent
from dts_gym.envs import vector

N, K, HORIZON = 4, 9, 6
D, S, Y, M = (f"{name}Bandit-v0" for name in ("Diffusion", "SharedDiffusion", "Synthetic", "MovieLens"))
KINDS = {
    "diffusion": (D, {}),
    "poisson": (D, {"reward": "poisson"}),
    "bernoulli-mlp": (D, {"reward": "bernoulli", "link": "mlp"}),
    "branch": (D, {"branch": 2, "dim": 7}),
    "sphere": (D, {"feature_law": "sphere", "weight_norm": 1.0, "stds": [0.5, 1.0, 2.0]}),
    "quiet": (D, {"regret_info": False}),
    "fixed": (D, {"fixed_features": True}),
    "pinned": (D, {"instance_seed": 5}),
    "shared": (S, {}),
    "shared-ball": (S, {"feature_law": "ball", "reward": "bernoulli"}),
    "shared-fixed": (S, {"fixed_features": True}),
    "shared-quiet": (S, {"regret_info": False}),
    "synthetic": (Y, {"num_past": 50}),
    "synthetic-shared": (Y, {"num_past": 50, "features": "shared", "feature_law": "ball", "fixed_features": True}),
    "synthetic-ball": (Y, {"num_past": 50, "feature_law": "ball", "shape": "moons"}),
    "movielens": (M, {"rank": 3}),
}


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    """A small ratings file."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("ratings")
    stars = np.clip(3 + rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30)), 0.5, 5)
    rows = [f"{u}\t{m}\t{stars[u, m]:.2f}\t0\n" for u in range(40) for m in range(30) if rng.random() < 0.8]
    (folder / "u.data").write_text("".join(rows))
    return folder


@pytest.fixture(params=KINDS)
def kind(request, ratings, monkeypatch, tmp_path_factory):
    """An id and settings for it."""
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path_factory.getbasetemp() / "cache"))
    env_id, settings = KINDS[request.param]
    return env_id, {
        "num_actions": K,
        "horizon": HORIZON,
        **settings,
        **({"data": ratings, "min_ratings": 5} if env_id == M else {}),
    }


def made(kind, **more):
    env_id, settings = kind
    return gym.make_vec(env_id, num_envs=N, **{**settings, **more})


def in_sync(kind):
    env_id, settings = kind
    return SyncVectorEnv([lambda: gym.make(env_id, **settings)] * N, autoreset_mode=AutoresetMode.SAME_STEP)


def small(**settings):
    return gym.make_vec(D, num_envs=N, **{"num_actions": K, "horizon": HORIZON, **settings})


def plays(rounds, seed=0):
    return np.random.default_rng(seed).integers(K, size=(rounds, N))


def assert_same(one, other, path="info"):
    """Equal to the bit: keys, types, dtypes, values."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}[{key!r}]")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for i, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{path}[{i}]")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), path
        if one.dtype == object:
            assert_same(list(one), list(other), path)
        else:
            np.testing.assert_array_equal(one, other, err_msg=path)
    else:
        assert one == other, path


def told_of_all(step):
    """Gymnasium's step, its infos with what an ended episode's last step reported, which it has in final_info only."""
    *numbers, infos = step
    infos, final = dict(infos), infos.get("final_info", {})
    for key in [key for key in final if not key.startswith("_")]:
        infos[key] = np.where(final[f"_{key}"], final[key], infos.get(key, 0))
        infos[f"_{key}"] = final[f"_{key}"] | infos.get(f"_{key}", False)
    return (*numbers, infos)


def test_each_sub_environment_is_the_single_one_of_its_seed(kind):
    envs, actions = made(kind, horizon=60), plays(60)  # over two blocks of rounds drawn ahead
    contexts, infos = envs.reset(seed=11)
    assert infos == {}
    steps = [envs.step(a) for a in actions]
    assert contexts.dtype == np.float32
    for i in range(N):
        single = gym.make(kind[0], **{**kind[1], "horizon": 60})
        context, _ = single.reset(seed=11 + i)
        np.testing.assert_array_equal(contexts[i], context)
        for t, (following, rewards, terminations, truncations, infos) in enumerate(steps):
            context, reward, _, truncated, info = single.step(actions[t, i])
            assert (rewards[i], terminations[i], truncations[i]) == (reward, False, truncated)
            if truncated:
                np.testing.assert_array_equal(infos["final_obs"][i], context)
                infos = infos["final_info"]
            else:
                np.testing.assert_array_equal(following[i], context)
            assert {key: infos[key][i] for key in infos if not key.startswith("_")} == info


def test_autoreset_is_gymnasiums_step_for_step(kind):
    envs, sync = made(kind), in_sync(kind)
    drawn = {"render_modes": [], "autoreset_mode": sync.metadata["autoreset_mode"]}  # frames are of single environments
    assert envs.metadata == drawn
    for name in ("single_action_space", "action_space", "single_observation_space", "observation_space"):
        assert getattr(envs, name) == getattr(sync, name)
    assert_same(envs.reset(seed=3), sync.reset(seed=3))
    ended = 0
    for t, a in enumerate(plays(40)):
        if t in (8, 21):  # out of phase from here on: some episodes end, others do not
            mask = np.array([True, False, t > 8, False])
            assert_same(
                envs.reset(seed=[t, None, None, 7], options={"reset_mask": mask}),
                sync.reset(seed=[t, None, None, 7], options={"reset_mask": mask}),
            )
        if t == 30:
            pinned = {"instance_seed": 2}
            assert_same(envs.reset(options=pinned), sync.reset(options=pinned))
        one, other = envs.step(a), told_of_all(sync.step(a))
        assert_same(one, other, f"step {t}")
        ended += 0 < one[3].sum() < N
        assert envs.observation_space.contains(one[0])
    assert ended >= 6


@pytest.mark.parametrize("horizon", [1, 2, 17])
@pytest.mark.parametrize("longest", [1, 2, 256])
def test_blocks_of_any_length_give_the_same(horizon, longest, monkeypatch):
    monkeypatch.setattr(vector, "_LONGEST_BLOCK", longest)
    kind = D, {"num_actions": K, "horizon": horizon}
    envs, sync = made(kind), in_sync(kind)
    assert_same(envs.reset(seed=0), sync.reset(seed=0))
    for a in plays(40):
        assert_same(envs.step(a), told_of_all(sync.step(a)))


def test_blocks_stay_small_where_contexts_or_actions_are_many():
    def longest(env_id, num_envs=2, **settings):
        return gym.make_vec(env_id, num_envs=num_envs, **settings)._longest

    assert longest(D) == 256
    assert longest(D, horizon=9) == 9
    assert longest(D, num_actions=2**18) == 4
    assert longest(S, num_actions=2**15, dim=4, num_envs=32) == 4
    assert longest(D, num_actions=2**21) == 1


@pytest.mark.parametrize("kind", [name for name in KINDS if "quiet" not in name], indirect=True)
def test_the_best_action_has_no_regret_at_all(kind):
    envs = made(kind, horizon=200)
    contexts, _ = envs.reset(seed=1)
    for _ in range(50):
        x = contexts.astype(np.float64)
        theta = [instance.parameters for instance in envs.instances]
        means = np.array([x[i] @ theta[i] if theta[i].ndim == 1 else theta[i] @ x[i] for i in range(N)])
        contexts, _, _, _, infos = envs.step(means.argmax(axis=1))
        np.testing.assert_array_equal(infos["optimal_action"], means.argmax(axis=1))
        np.testing.assert_array_equal(infos["regret"], 0.0)


def test_the_seed_decides_everything_and_none_goes_on(kind):
    def rollout(envs, seed):
        return [envs.reset(seed=seed), *(envs.step(a) for a in plays(15))]

    envs = made(kind)
    first = rollout(envs, 4)
    going_on = rollout(envs, None)
    assert_same(rollout(envs, 4), first)
    assert_same(rollout(made(kind), [4, 5, 6, 7]), first)
    assert_same(rollout(envs, None), going_on)
    firsts = [first, going_on, rollout(envs, 40), rollout(made(kind), None), rollout(made(kind), None)]
    for one, other in combinations([part[0][0] for part in firsts], 2):
        assert (one != other).any()


def test_a_pickled_environment_continues_alike(kind):
    envs = made(kind)
    envs.reset(seed=1)
    for a in plays(4):
        envs.step(a)
    copy = pickle.loads(pickle.dumps(envs))
    for a in plays(30, seed=1):
        assert_same(envs.step(a), copy.step(a))


def test_what_was_handed_out_stays_as_it_was():
    envs = small()
    handed = [envs.reset(seed=0), *(envs.step(a) for a in plays(20))]
    instances = [instance.parameters for instance in envs.instances]
    kept = pickle.loads(pickle.dumps((handed, instances)))
    for part in handed:
        part[0][:] = 7.0
    again = [envs.reset(seed=0), *(envs.step(a) for a in plays(20))]
    assert_same(again, kept[0])
    for _ in range(10):
        envs.step(plays(1)[0])
    for one, other in zip(instances, kept[1], strict=True):
        np.testing.assert_array_equal(one, other)
    envs.reset(seed=0)[0][:] = 7.0
    for a, expected in zip(plays(20), kept[0][1:], strict=True):  # scribbled over before the next step
        step = envs.step(a)
        assert_same(step, expected)
        for value in [*step[:4], *step[4].values()]:
            if isinstance(value, np.ndarray) and value.dtype != object:
                value[:] = 1


def test_instances_are_independent_unless_pinned():
    envs = small()
    assert (envs.instances, envs.instance) == ([], None)
    envs.reset(seed=0)
    assert len({instance.parameters.tobytes() for instance in envs.instances}) == N
    assert (envs.instance, envs.instance_seed) == (None, None)
    pinned = small(instance_seed=3)
    contexts, _ = pinned.reset(seed=0)
    assert pinned.instance_seed == 3
    single = gym.make(D, num_actions=K, instance_seed=3)
    single.reset(seed=99)
    for instance in [*pinned.instances, pinned.instance]:
        np.testing.assert_array_equal(instance.parameters, single.unwrapped.instance.parameters)
    assert len(np.unique(contexts, axis=0)) == N  # contexts and noise stay apart
    rewards = pinned.step([2] * N)[1]
    assert len(set(rewards)) == N
    for a in plays(2 * HORIZON):  # over episodes too
        pinned.step(a)
    np.testing.assert_array_equal(pinned.instance.parameters, single.unwrapped.instance.parameters)
    envs.reset(options={"instance_seed": 3, "reset_mask": np.array([True, False, False, True])})
    same = [(i.parameters == single.unwrapped.instance.parameters).all() for i in envs.instances]
    assert same == [True, False, False, True]
    for a in plays(HORIZON):
        envs.step(a)
    assert not (envs.instances[0].parameters == single.unwrapped.instance.parameters).any()


def test_generators_are_those_of_the_single_environments():
    envs = small()
    envs.reset(seed=8)
    assert envs.np_random_seed == (8, 9, 10, 11)
    single = gym.make(D, num_actions=K).unwrapped
    single.reset(seed=10)
    assert envs.np_random[2].bit_generator.state == single.np_random.bit_generator.state
    assert len(set(small().np_random_seed)) == N


def refused(call, message, error=ValueError):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 1, 2, K], rf"actions must be in 0\.\.{K - 1}, got {K}"),
        ([0, -1, 2, 3], r"actions must be in 0\.\.8, got -1"),
        ([0, 1, 2], r"actions must be 4 integers, got shape \(3,\)"),
        ([[0, 1, 2, 3]], r"actions must be 4 integers, got shape \(1, 4\)"),
        ([0, [1], 2, 3], "actions must be 4 integers"),
        ([0.0, 1.0, 2.0, 3.0], "actions must be 4 integers, got shape .* of float64"),
        ([True] * 4, r"actions must be 4 integers, got \[True, True, True, True\]"),
        (0, r"actions must be 4 integers, got shape \(\)"),
        (None, "actions must be 4 integers"),
        ("0123", "actions must be 4 integers"),
    ],
)
def test_bad_actions_are_refused_and_the_round_stands(actions, message):
    envs, twin = small(), small()
    for one in (envs, twin):
        one.reset(seed=0)
        one.step([1] * N)
    refused(lambda: envs.step(actions), message)
    for a in plays(10):
        assert_same(envs.step(a), twin.step(a))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": 1.5}, r"seed must be an integer, None or 4 of these, got 1\.5"),
        ({"seed": True}, "seed must be an integer >= 0, got True"),
        ({"seed": "abcd"}, "seed must be an integer, None or 4 of these"),
        ({"seed": [1, 2, 3]}, r"seed must be an integer, None or 4 of these, got \[1, 2, 3\]"),
        ({"seed": [1, 2, 3, -4]}, "seed must be an integer >= 0, got -4"),
        ({"options": {"seed": 1}}, r"options must be among \['instance_seed', 'reset_mask'\], got \['seed'\]"),
        ({"options": {"instance_seed": -3}}, "instance_seed must be an integer >= 0, got -3"),
        ({"options": {"reset_mask": [True]}}, r"options\['reset_mask'\] must be 4 booleans"),
        ({"options": {"reset_mask": [1, 0, 0, 0]}}, r"options\['reset_mask'\] must be 4 booleans"),
        ({"options": {"reset_mask": np.zeros(4, bool)}}, "one or more of them True"),
        ({"options": {"reset_mask": None}}, r"options\['reset_mask'\] must be 4 booleans"),
    ],
)
def test_bad_resets_are_refused_and_the_round_stands(arguments, message):
    envs, twin = small(), small()
    for one in (envs, twin):
        one.reset(seed=0)
        one.step([1] * N)
    refused(lambda: envs.reset(**arguments), message)
    for a in plays(20):
        assert_same(envs.step(a), twin.step(a))


def test_the_first_call_is_a_reset_of_all():
    envs = small()
    refused(lambda: envs.step([0] * N), "reset must come before step", gym.error.ResetNeeded)
    some = {"reset_mask": np.array([True, True, True, False])}
    refused(lambda: envs.reset(seed=0, options=some), "first reset must be of all", gym.error.ResetNeeded)
    refused(lambda: envs.step([0] * N), "reset must come before step", gym.error.ResetNeeded)
    options = {"reset_mask": np.ones(N, bool), "instance_seed": 1}
    envs.reset(seed=0, options=options)
    assert set(options) == {"reset_mask", "instance_seed"}
    envs.step([0] * N)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_envs": 0}, ValueError, "num_envs must be an integer >= 1, got 0"),
        ({"num_envs": 2.0}, ValueError, r"num_envs must be an integer >= 1, got 2\.0"),
        ({"num_arms": 3}, TypeError, "num_arms"),
        ({"num_actions": 0}, ValueError, "num_actions must be"),
        (
            {"num_envs": 1000, "num_actions": 10**9},
            ValueError,
            r"num_envs \* num_actions \* dim must fit memory: 1000 x 1000000000 x 5 parameters take 80000\.0 GB",
        ),
        ({"wrappers": [gym.wrappers.TimeLimit]}, gym.error.Error, "vector_entry_point"),
    ],
)
def test_bad_settings_are_refused(settings, error, message, monkeypatch):
    monkeypatch.setattr("dts_gym.utils.memory.memory_bytes", lambda: 10**11)
    refused(lambda: gym.make_vec(D, **settings), message, error)


def test_memory_is_that_of_all_instances(monkeypatch):
    monkeypatch.setattr("dts_gym.utils.memory.memory_bytes", lambda: 16 * 3 * 100 * 5)
    gym.make_vec(D, num_envs=3)
    refused(lambda: gym.make_vec(D, num_envs=4), "4 x 100 x 5 parameters")


def test_gymnasium_makes_it_without_a_warning_and_wraps_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs = small()
        assert type(envs) is vector.BanditVectorEnv
        assert repr(envs) == f"BanditVectorEnv({D}, num_envs={N})"
        assert envs.unwrapped.problem.num_actions == K
        assert gym.make_vec(envs.spec).num_envs == N
        recorded = gym.wrappers.vector.RecordEpisodeStatistics(envs)
        recorded.reset(seed=0)
        paid = np.zeros(N)
        for a in plays(HORIZON):
            step = recorded.step(a)
            paid += step[1]
        np.testing.assert_allclose(step[4]["episode"]["r"], paid)
        envs.close()
    for env_id in dts_gym.env_ids():
        assert gym.spec(env_id).vector_entry_point.endswith(":make_vector")
    sync = gym.make_vec(D, num_envs=2, vectorization_mode="sync")
    assert type(sync) is SyncVectorEnv


def test_instances_have_the_law_of_the_prior():
    # Means over 400 instances of the two-level prior's moments, |z| < 4.5.
    envs = gym.make_vec(D, num_envs=400, num_actions=3, dim=2)
    envs.reset(seed=123)
    theta = np.array([instance.parameters for instance in envs.instances])
    prior = envs.problem.prior.two_level()
    std = np.sqrt(np.diagonal(prior.shared_cov + prior.action_cov))
    assert np.abs(theta.mean(axis=0) / std * np.sqrt(400)).max() < 4.5
    squares = (theta**2).mean(axis=0) / std**2 - 1
    assert np.abs(squares * np.sqrt(400 / 2)).max() < 4.5
    contexts = np.array([envs.step(np.zeros(400, int))[0] for _ in range(20)])
    assert np.abs(contexts.mean(axis=(0, 1)) * np.sqrt(3 * 8000)).max() < 4.5
    for one, other in pairwise(contexts):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4.5 / np.sqrt(800)


# Runs.


@pytest.mark.parametrize("agent_id", ["dTS", "MixTS", "EpsilonGreedy", "Oracle"])
def test_a_run_is_n_runs_of_spawned_agents(agent_id):
    envs = small(horizon=30)
    agent = make_agent(agent_id, envs, seed=4)
    result = dts_gym.run(envs, agent, 30, seed=9)
    assert result.regret.shape == result.rewards.shape == result.actions.shape == (N, 30)
    assert agent.num_updates == 0
    for i in range(N):
        env = gym.make(D, num_actions=K, horizon=30)
        twin = make_agent(agent_id, env, seed=4).spawn(N)[i]
        alone = dts_gym.run(env, twin, 30, seed=9 + i)
        for name in ("regret", "rewards", "actions"):
            np.testing.assert_array_equal(getattr(result, name)[i], getattr(alone, name))
    if agent_id == "Oracle":
        np.testing.assert_array_equal(result.regret, 0.0)
    else:
        assert len({row.tobytes() for row in result.actions}) == N
    assert result.microseconds_per_round == pytest.approx(1e6 * result.cpu_seconds / (30 * N))


def test_agents_of_ones_own_are_played_as_they_are():
    envs = small(horizon=30)
    agents = [make_agent("LinTS", envs, seed=i) for i in range(N)]
    result = dts_gym.run(envs, agents, 20, seed=0)
    assert [agent.num_updates for agent in agents] == [20] * N
    env = gym.make(D, num_actions=K, horizon=30)
    alone = dts_gym.run(env, make_agent("LinTS", env, seed=2), 20, seed=2)
    np.testing.assert_array_equal(result.regret[2], alone.regret)


def test_one_agent_learns_all_rows_of_a_pinned_instance():
    envs = small(horizon=25, instance_seed=1)
    agent, twin = (make_agent("dTS", envs, seed=4) for _ in range(2))
    result = dts_gym.run(envs, agent, 25, seed=9)
    assert agent.num_updates == 25 * N
    contexts, _ = envs.reset(seed=9)
    total = np.zeros(N)
    for t in range(25):
        actions = twin.act(contexts)
        following, rewards, _, _, infos = envs.step(actions)
        twin.update(contexts, actions, rewards)
        total += infos["final_info"]["regret"] if t == 24 else infos["regret"]
        np.testing.assert_array_equal(result.actions[:, t], actions)
        np.testing.assert_array_equal(result.rewards[:, t], rewards)
        np.testing.assert_array_equal(result.regret[:, t], total)
        contexts = following
    oracle = dts_gym.run(envs, make_agent("Oracle", envs), 25, seed=9)
    np.testing.assert_array_equal(oracle.regret, 0.0)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_gymnasiums_own_vector_environments_run_too(mode):
    env = gym.make(D, num_actions=K, horizon=12)
    sync = SyncVectorEnv([lambda: gym.make(D, num_actions=K, horizon=12)] * N, autoreset_mode=mode)
    agent = make_agent("LinTS", env, seed=0)
    ours = dts_gym.run(small(horizon=12), agent, 12, seed=1)
    theirs = dts_gym.run(sync, agent, 12, seed=1)
    np.testing.assert_array_equal(ours.regret, theirs.regret)
    limited = SyncVectorEnv([lambda: gym.wrappers.TimeLimit(gym.make(D, num_actions=K), 3)] * N, autoreset_mode=mode)
    refused(lambda: dts_gym.run(limited, agent, 5), "episode of 3 rounds")


def test_a_vector_environment_that_keeps_its_regret_to_itself_gives_rewards():
    quiet, told = small(regret_info=False), small()
    agent = make_agent("LinTS", quiet, seed=0)
    result = dts_gym.run(quiet, agent, 5, seed=2)
    assert np.isnan(result.regret).all()
    np.testing.assert_array_equal(result.rewards, dts_gym.run(told, agent, 5, seed=2).rewards)


def test_runs_that_make_no_sense_are_refused():
    envs = small()
    agent = make_agent("LinTS", envs, seed=0)
    refused(lambda: dts_gym.run(envs, agent.spawn(3), 5), "agent must be 4 different agents, one an instance, got 3")
    refused(lambda: dts_gym.run(envs, [agent] * 4, 5), "agent must be 4 different agents")
    refused(lambda: dts_gym.run(gym.make(D, num_actions=K), [agent], 5), "agent must be one agent on a single")
    refused(
        lambda: dts_gym.run(envs, agent, HORIZON + 1),
        r"num_rounds must be an integer in 1\.\.6, the env's horizon, got 7",
    )
    refused(lambda: dts_gym.run(envs, agent, 5, callback=print), "callback must be left out on a vector environment")
    refused(lambda: small(render_mode="rgb_array"), "render_mode must be None of a vector environment")
    refused(lambda: dts_gym.run(envs, make_agent("LinTS", small(num_actions=5)), 5), "9 actions and contexts")
    learned = agent.spawn(4)
    learned[2].update(np.ones(5), 1, 0.5)
    refused(lambda: dts_gym.run(envs, learned, 5), "1 updates")
    refused(lambda: dts_gym.run(envs, make_agent("Oracle", envs).spawn(5)[4:] * 1, 5), "got 1")
    one = make_agent("Oracle", envs)
    envs.reset(seed=0)
    refused(lambda: one.act(np.ones(5)), "spawn an oracle")

    class Plain:
        num_updates = 0
        act = update = print

    refused(lambda: dts_gym.run(envs, Plain(), 5), "agent must be a list of 4 agents, or have spawn")
