"""The bandit of a catalogue: which items live when, regret among them, refusals; single, and many as arrays."""

import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import dts_gym
from dts_gym import make_agent

ID, N = "CatalogueBandit-v0", 4
# 12 items live, 3 of them leave after every 7 of 40 rounds: after rounds 7, 14, 21, 28 and 35.
SMALL = {"num_live": 12, "change": 0.25, "every": 7, "horizon": 40, "dim": 3, "num_features": 2}
K = 12 + 3 * 5


def made(**settings):
    return gym.make(ID, **{**SMALL, **settings})


def random_episode(env, seed, rng, reset_seed=None):
    """The contexts, masks, actions, rewards and infos of an episode whose actions are drawn among those allowed."""
    context, info = env.reset(seed=seed if reset_seed is None else reset_seed)
    steps, truncated = [], False
    while not truncated:
        mask = info["action_mask"].copy()
        action = int(rng.choice(np.flatnonzero(mask)))
        following, reward, _, truncated, info = env.step(action)
        steps.append((context, mask, action, reward, info))
        context = following
    return steps


def test_gymnasiums_checks_pass_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made().unwrapped, skip_render_check=True)
        check_env(made(render_mode="rgb_array").unwrapped)


def test_items_leave_and_arrive_on_schedule_and_no_number_is_used_again():
    env = made()
    assert env.action_space.n == env.unwrapped.problem.num_actions == K
    _, info = env.reset(seed=0)
    rng, masks = np.random.default_rng(0), []
    for _ in range(40):
        assert info["action_mask"].dtype == np.int8
        masks.append(info["action_mask"].astype(bool))
        *_, truncated, info = env.step(rng.choice(np.flatnonzero(masks[-1])))
    assert truncated
    np.testing.assert_array_equal(info["action_mask"], masks[-1])  # no round comes: the last one's items
    masks = np.array(masks)
    assert (masks.sum(axis=1) == 12).all()
    assert masks.any(axis=0).all()
    starts = np.diff(np.pad(masks.astype(int), ((1, 0), (0, 0))), axis=0) == 1
    assert (starts.sum(axis=0) == 1).all(), "an item that left must not come back"
    assert (np.diff(starts.argmax(axis=0)) >= 0).all(), "items are numbered in the order of their arrival"
    moved = np.flatnonzero((masks[1:] != masks[:-1]).any(axis=1)) + 1
    np.testing.assert_array_equal(moved, [7, 14, 21, 28, 35])
    for t in moved:
        assert (masks[t] & ~masks[t - 1]).sum() == (masks[t - 1] & ~masks[t]).sum() == 3


@pytest.mark.parametrize(
    ("settings", "num_actions"),
    [
        ({"change": 0.0}, 12),
        ({"every": 40}, 12),
        ({"every": 39}, 15),
        ({"change": 0.01}, 12 + 5),  # one item or more
        ({"change": 1.0}, 12 * 6),
        ({"every": 1, "change": 0.25}, 12 + 3 * 39),
    ],
)
def test_actions_are_all_items_that_ever_live(settings, num_actions):
    env = made(**settings)
    assert env.action_space.n == num_actions
    steps = random_episode(env, 1, np.random.default_rng(0))
    assert np.any([mask for _, mask, *_ in steps], axis=0).all()


def test_features_and_schedule_exist_before_a_reset_and_are_those_of_the_prior_seed():
    one, same, other = (made(prior_seed=seed).unwrapped for seed in (0, 0, 1))
    z = one.problem.item_features
    assert z.shape == (K, 2)
    np.testing.assert_array_equal(same.problem.item_features, z)
    assert (other.problem.item_features != z).all()
    np.testing.assert_array_equal(one.problem.prior.mixing, z)
    rounds = np.arange(40)
    np.testing.assert_array_equal(same.masks(rounds), one.masks(rounds))
    assert (other.masks(rounds) != one.masks(rounds)).any()
    for seed in (0, 5):
        one.reset(seed=seed)
        np.testing.assert_array_equal(one.problem.item_features, z)


def test_parameters_are_what_features_and_items_bring():
    # theta_a = B z_a + delta_a over 500 instances: all second moments against their formula, |z| < 4.5, where a product
    # of normal x, y has the variance E[x^2] E[y^2] + E[x y]^2.
    env = made(feature_std=2.0, item_std=0.5, num_live=4, every=40).unwrapped
    z = env.problem.item_features
    thetas = []
    for seed in range(500):
        env.reset(seed=seed)
        thetas.append(env.instance.parameters.copy())
    theta = np.array(thetas)
    expected = 2.0**2 / 2 * z @ z.T + 0.5**2 * np.eye(4)
    for i in range(3):
        found = theta[:, :, i].T @ theta[:, :, i] / 500
        std = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 500)
        assert np.abs((found - expected) / std).max() < 4.5
    apart = (theta[:, :, 0] * theta[:, :, 1]).mean(axis=0) / np.diag(expected) * np.sqrt(500)
    assert np.abs(apart).max() < 4.5


def test_regret_is_against_the_best_item_that_lives():
    env = made()
    total, elsewhere = 0.0, 0
    for context, mask, action, _, info in random_episode(env, 3, np.random.default_rng(1)):
        means = env.unwrapped.instance.parameters @ context.astype(np.float64)
        live = np.flatnonzero(mask)
        best = live[means[live].argmax()]
        elsewhere += means.argmax() != best
        total += means[best] - means[action]
        assert info["optimal_action"] == best
        assert abs(info["expected_reward"] - means[action]) < 1e-12
        assert abs(info["regret"] - (means[best] - means[action])) < 1e-12
        assert abs(info["cumulative_regret"] - total) < 1e-12
    assert elsewhere > 10  # the best of all items is often one that has left or is to come
    oracle = dts_gym.run(env, make_agent("Oracle", env, seed=0), 40, seed=3)
    np.testing.assert_array_equal(oracle.regret, 0.0)


def test_without_regret_info_there_is_the_mask_alone():
    loud = random_episode(made(), 0, np.random.default_rng(0))
    quiet = random_episode(made(regret_info=False), 0, np.random.default_rng(0))
    assert all(list(info) == ["action_mask"] for *_, info in quiet)
    assert [step[3] for step in quiet] == [step[3] for step in loud]


def test_the_seed_decides_everything_and_a_copy_continues_alike():
    env = made()
    first, again, other = (random_episode(env, seed, np.random.default_rng(0)) for seed in (3, 3, 4))
    for one, same in zip(first, again, strict=True):
        for left, right in zip(one[:4], same[:4], strict=True):
            np.testing.assert_array_equal(left, right)
    assert [step[3] for step in other] != [step[3] for step in first]
    env.reset(seed=1)
    for _ in range(10):
        env.step(env.action_space.sample())
    copy = pickle.loads(pickle.dumps(env))
    for _ in range(10):
        action = env.action_space.sample()
        assert copy.action_space.sample() == action
        one, same = env.step(action), copy.step(action)
        np.testing.assert_array_equal(one[0], same[0])
        assert one[1] == same[1]
        np.testing.assert_array_equal(one[4]["action_mask"], same[4]["action_mask"])


def test_agents_that_play_differently_meet_the_same_items_contexts_and_noise():
    env = made()
    first, second = (random_episode(env, 5, np.random.default_rng(seed)) for seed in (0, 1))
    assert [step[2] for step in first] != [step[2] for step in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
        noise = [step[3] - step[4]["expected_reward"] for step in (one, other)]
        assert abs(noise[0] - noise[1]) < 1e-12


def test_an_item_that_does_not_live_is_refused_and_the_round_stands():
    env, twin = made(), made()
    for each in (twin, env):
        _, info = each.reset(seed=0)
        for _ in range(7):
            *_, info = each.step(np.flatnonzero(info["action_mask"])[0])
    gone = np.flatnonzero(info["action_mask"][:12] == 0)
    assert len(gone) == 3
    for action in (*gone, K - 1):
        with pytest.raises(ValueError, match=rf"action must be one that info\['action_mask'\] allows.*, got {action}"):
            env.step(action)
    info["action_mask"][:] = 1  # a caller's copy
    with pytest.raises(ValueError, match="action_mask"):
        env.step(gone[0])
    assert not set(gone) & {env.action_space.sample() for _ in range(200)}
    alive = int(np.flatnonzero(env.action_space.live)[0])
    one, same = env.step(alive), twin.step(alive)
    np.testing.assert_array_equal(one[0], same[0])
    assert one[1] == same[1]


def test_the_space_samples_items_that_live():
    env = made()
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(40):
        live = env.action_space.live.astype(bool)
        assert all(live[env.action_space.sample()] for _ in range(20))
        env.step(env.action_space.sample())
    only = np.zeros(K, np.int8)
    only[K - 1] = 1
    assert env.action_space.sample(only) == K - 1
    assert env.action_space.sample(probability=only.astype(float)) == K - 1
    assert env.action_space == gym.spaces.Discrete(K)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_live": 0}, "num_live must be an integer >= 1, got 0"),
        ({"change": 1.5}, r"change must be a number in 0\.\.1, got 1\.5"),
        ({"every": 0}, "every must be an integer >= 1, got 0"),
        ({"num_features": 0}, "num_features must be an integer >= 1, got 0"),
        ({"dim": 0}, "dim must be an integer >= 1, got 0"),
        ({"horizon": 0}, "horizon must be an integer >= 1, got 0"),
        ({"feature_std": -1.0}, r"feature_std must be in 0\.\.1e\+50, got -1\.0"),
        ({"item_std": 1e60}, r"item_std must be in 0\.\.1e\+50, got 1e\+60"),
        ({"feature_law": "simplex"}, "feature_law must be one of"),
        ({"reward": "beta"}, "reward"),
        ({"prior_seed": -1}, "prior_seed must be an integer >= 0, got -1"),
        ({"num_live": 10**12}, "num_live, change and horizon must fit memory: 1250000000000 items"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        gym.make(ID, **{**SMALL, "every": 39, **settings})


# Many at once.


def allowed_plays(masks, rng):
    return np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])


def assert_same_masks(one, other):
    for key in ("action_mask", "_action_mask"):
        assert one[key].dtype == other[key].dtype
        np.testing.assert_array_equal(one[key], other[key])


def test_each_sub_environment_is_the_single_one_of_its_seed():
    envs, rng = gym.make_vec(ID, num_envs=N, **SMALL), np.random.default_rng(0)
    contexts, infos = envs.reset(seed=11)
    singles = [made() for _ in range(N)]
    told = [env.reset(seed=11 + i) for i, env in enumerate(singles)]
    for t in range(40):
        for i in range(N):
            np.testing.assert_array_equal(contexts[i], told[i][0])
            np.testing.assert_array_equal(infos["action_mask"][i], told[i][-1]["action_mask"])
        actions = allowed_plays(infos["action_mask"], rng)
        contexts, rewards, _, truncations, infos = envs.step(actions)
        told = [env.step(a) for env, a in zip(singles, actions, strict=True)]
        assert truncations.tolist() == [t == 39] * N
        for i in range(N):
            assert rewards[i] == told[i][1]
            for key in ("expected_reward", "optimal_action", "regret", "cumulative_regret"):
                assert infos[key][i] == told[i][-1][key]
    np.testing.assert_array_equal(infos["final_info"]["action_mask"][2], told[2][-1]["action_mask"])
    assert infos["action_mask"][:, :12].all()  # the next episode's first round


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=str)
def test_masks_in_every_mode_are_gymnasiums_own(mode):
    settings = {**SMALL, "horizon": 16}
    ours = gym.make_vec(ID, num_envs=N, autoreset_mode=mode.value, **settings)
    theirs = SyncVectorEnv([lambda: gym.make(ID, **settings)] * N, autoreset_mode=mode)
    rng, ended = np.random.default_rng(0), np.zeros(N, bool)
    one, other = ours.reset(seed=3)[1], theirs.reset(seed=3)[1]
    allowed = one["action_mask"]
    assert allowed.shape == (N, ours.single_action_space.n)
    for t in range(45):
        assert_same_masks(one, other)
        allowed = np.where(one["_action_mask"][:, None], one["action_mask"], allowed)
        if t == 5 and mode is not AutoresetMode.SAME_STEP:  # from here on episodes end at different steps
            part = np.array([True, False, False, True])
        elif mode is AutoresetMode.DISABLED and ended.any():
            part = ended
        else:
            part = None
        if part is not None:
            one, other = (envs.reset(options={"reset_mask": part})[1] for envs in (ours, theirs))
            assert_same_masks(one, other)
            allowed = np.where(one["_action_mask"][:, None], one["action_mask"], allowed)
            ended = ended & ~part
        actions = allowed_plays(allowed, rng)
        if mode is AutoresetMode.NEXT_STEP:
            actions[ended] = allowed.argmin(axis=1)[ended]  # where an episode begins it is not played
        *first, one = ours.step(actions)
        *second, other = theirs.step(actions)
        for left, right in zip(first, second, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-12)
        if "final_info" in other:
            assert_same_masks(one["final_info"], other["final_info"])
        ended = first[-1]


def test_an_item_that_does_not_live_in_one_instance_is_refused_and_all_rounds_stand():
    envs, twin = (gym.make_vec(ID, num_envs=N, **SMALL) for _ in range(2))
    for each in (envs, twin):
        _, infos = each.reset(seed=0)
        for _ in range(7):
            *_, infos = each.step(allowed_plays(infos["action_mask"], np.random.default_rng(0)))
    actions = allowed_plays(infos["action_mask"], np.random.default_rng(1))
    wrong = actions.copy()
    wrong[2] = np.flatnonzero(infos["action_mask"][2] == 0)[0]
    with pytest.raises(ValueError, match=rf"actions must be ones that .* allows, got {wrong[2]} in instance 2"):
        envs.step(wrong)
    np.testing.assert_array_equal(envs.step(actions)[1], twin.step(actions)[1])


def test_every_instance_may_have_a_catalogue_of_its_own():
    envs, rng = gym.make_vec(ID, num_envs=3, prior_seeds=[5, 6, 7], **SMALL), np.random.default_rng(0)
    _, infos = envs.reset(seed=2)
    singles = [made(prior_seed=5 + i) for i in range(3)]
    for i, env in enumerate(singles):
        env.reset(seed=2 + i)
        np.testing.assert_array_equal(envs.problems[i].item_features, env.unwrapped.problem.item_features)
    seen = []
    for _ in range(39):
        actions = allowed_plays(infos["action_mask"], rng)
        _, rewards, _, _, infos = envs.step(actions)
        for i, env in enumerate(singles):
            _, reward, _, _, info = env.step(actions[i])
            assert (reward, info["regret"]) == (rewards[i], infos["regret"][i])
            np.testing.assert_array_equal(infos["action_mask"][i], info["action_mask"])
        seen.append(infos["action_mask"])
    seen = np.array(seen)
    assert (seen[:, 0] != seen[:, 1]).any()


@pytest.mark.parametrize("agent_id", ["dTS", "LinTS", "Random"])
def test_a_run_of_many_is_single_runs(agent_id):
    envs = gym.make_vec(ID, num_envs=N, **SMALL)
    agent = make_agent(agent_id, envs, seed=4)
    result = dts_gym.run(envs, agent, 40, seed=9)
    for i in range(N):
        env = made()
        alone = dts_gym.run(env, make_agent(agent_id, env, seed=4).spawn(N)[i], 40, seed=9 + i)
        np.testing.assert_array_equal(result.actions[i], alone.actions)
        np.testing.assert_allclose(result.regret[i], alone.regret, rtol=1e-12)


def test_comparisons_redraw_the_catalogue():
    settings = {**SMALL, "horizon": 200, "every": 20}
    result = dts_gym.compare(
        ID, ["dTS", "LinTS", "Random"], seeds=12, num_rounds=200, env_settings=settings, redraw_prior=True
    )
    means = {name: result.regret(name)[:, -1].mean() for name in ("dTS", "LinTS", "Random")}
    assert means["dTS"] < means["LinTS"] < means["Random"]
