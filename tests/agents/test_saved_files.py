"""Files of agents: whose they are, what is refused in them, and new random streams for several servers."""

import re
import zipfile

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
from dts_gym.agents import Agent, DiffusionTS, LinTS
from dts_gym.registry import agent_class
from dts_gym.utils.archives import read_archive, write_archive

PROBLEM = BanditProblem(4, 2, random_linear_prior(2, 2, branch=1), GaussianReward(0.5))
# Name of a case -> id, settings, the environment's settings.
CASES = {
    **{name: (name, {}, {}) for name in ("LinTS", "LinUCB", "HierTS", "MarginalLinTS", "JointTS", "EpsilonGreedy",
                                         "Random", "Oracle", "TunedTS", "MixTS", "dUCB", "IDS")},
    "dTS": ("dTS", {}, {}),
    "dTS float32": ("dTS", {"dtype": "float32"}, {}),
    "GLM-TS": ("GLM-TS", {}, {"reward": "bernoulli"}),
    "dTS clicks": ("dTS", {}, {"reward": "bernoulli"}),
    "dTS slice": ("dTS", {"approximation": "slice"}, {"link": "mlp", "branch": 0}),
    "dTS shared levels": ("dTS", {}, {"link": "mlp", "branch": 0}),
    "dTS between": ("dTS", {}, {"link": "mlp", "branch": 1}),
    "dTS own levels": ("dTS", {}, {"link": "mlp", "branch": 2}),
    "dTS own levels clicks": ("dTS", {}, {"link": "mlp", "branch": 2, "reward": "bernoulli"}),
}  # fmt: skip


def made(case, rounds=12):
    agent_id, settings, env_settings = CASES[case]
    env = gym.make("DiffusionBandit-v0", num_actions=5, dim=2, **env_settings)
    agent = make_agent(agent_id, env, seed=0, **settings)
    if rounds:
        dts_gym.run(env, agent, rounds, seed=0)
    return agent


def plays(agent, count=20):
    contexts = np.random.default_rng(0).uniform(-1, 1, (count, agent.problem.dim))
    return [agent.act(x) for x in contexts]


def assert_equal_states(one, other):
    first, second = one._state(), other._state()
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@pytest.mark.parametrize(("case", "rounds"), [(case, n) for case in CASES for n in (0, 12) if n or case != "Oracle"])
def test_what_was_saved_is_loaded_by_its_class_and_by_any(case, rounds, tmp_path):
    agent = made(case, rounds)
    agent.save(tmp_path / "agent")
    for cls in (Agent, type(agent)):
        loaded = cls.load(tmp_path / "agent")
        assert type(loaded) is type(agent)
        assert_equal_states(loaded, agent)
    if case != "Oracle":
        assert plays(loaded) == plays(agent)


def resealed(path, change):
    """Change a file's arrays and settings and give it a right digest, as no damage does."""
    arrays, settings = read_archive(path)
    change(arrays, settings)
    write_archive(path, arrays, settings)


def variants(array):
    """Arrays that are no state where ``array`` is one: of other shapes, with NaN."""
    wrong = [array[None], np.concatenate([array, array]) if array.size else np.zeros((3, 3, 3, 3, 3))]
    if array.size:
        wrong += [array[:-1], array.ravel()[:1]] if array.shape != (1,) else []
    if array.dtype.kind == "f" and array.size:
        for bad in (np.nan, np.inf):
            wrong.append(array.copy())
            wrong[-1].flat[-1] = bad
    return wrong


@pytest.mark.parametrize("case", CASES)
def test_arrays_that_are_no_state_are_refused_in_a_line_though_the_digest_is_right(case, tmp_path):
    agent, path = made(case), tmp_path / "agent"
    agent.save(path)
    whole = path.read_bytes()
    arrays, _ = read_archive(path)
    names = [name for name in arrays if name.startswith("state.") and not name.startswith("state.prior.")]
    assert names or case == "Random"
    for name in names:
        for wrong in [None, *variants(arrays[name])]:
            path.write_bytes(whole)
            resealed(path, lambda found, _: found.pop(name) if wrong is None else found.update({name: wrong}))  # noqa: B023
            with pytest.raises(ValueError, match="path must be a whole file of") as caught:
                Agent.load(path)
            assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    resealed(path, lambda found, _: found.update({"state.more": np.zeros(2)}))
    with pytest.raises(ValueError, match=r"state must have the arrays .*more"):
        Agent.load(path)


@pytest.mark.parametrize("actions", [[0, 0], [0, 4], [-1, 0]])
def test_actions_that_nobody_can_have_played_are_refused(actions, tmp_path):
    agent, path = make_agent("LinTS", PROBLEM, seed=0), tmp_path / "agent"
    agent.update([[1.0, 0.0]] * 2, [0, 1], [1.0, 2.0])
    agent.save(path)
    resealed(path, lambda arrays, _: arrays.update({"state.actions": np.array(actions)}))
    with pytest.raises(ValueError, match=r"actions must be the played actions, each once, in 0\.\.3"):
        Agent.load(path)


def loaded_or_refusal(path):
    try:
        return Agent.load(path), None
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_a_damaged_file_is_refused_in_a_line_or_is_whole(count, tmp_path):
    """Bytes are changed, cut off, put in and swapped at random: the agent that comes out is the one that was saved."""
    rng, path, whole = np.random.default_rng(count), tmp_path / "agent", 0
    files = {}
    for case in ("LinTS", "dTS", "dTS own levels", "GLM-TS", "Oracle"):
        agent = made(case)
        agent.save(path)
        files[case] = agent, path.read_bytes()
    for number in range(count):
        agent, content = files[list(files)[number % len(files)]]
        damaged = bytearray(content)
        place, length = int(rng.integers(len(content))), int(rng.integers(1, 40))
        match int(rng.integers(5)):
            case 0:
                damaged[place] ^= 1 << int(rng.integers(8))
            case 1:
                del damaged[place:]
            case 2:
                damaged[place : place + length] = rng.bytes(length)
            case 3:
                damaged[place:place] = rng.bytes(length)
            case 4:
                del damaged[place : place + length]
        path.write_bytes(bytes(damaged))
        loaded, refusal = loaded_or_refusal(path)
        if loaded is None:
            assert str(path) in refusal
            assert "\n" not in refusal
            continue
        whole += 1
        assert_equal_states(loaded, agent)
        assert loaded._rngs["act"].bit_generator.state == agent._rngs["act"].bit_generator.state
        assert loaded.num_updates == agent.num_updates
    assert whole < count / 2  # what a zip says twice, or not at all


def test_an_edited_file_is_refused(tmp_path):
    path = tmp_path / "agent"
    make_agent("LinTS", PROBLEM, seed=0).save(path)
    with np.load(path) as file:
        members = {name: file[name] for name in file.files}
    members["problem.prior.cov.0"] = members.pop(next(name for name in members if name.startswith("problem.prior"))) * 2
    with open(path, "wb") as handle:
        np.savez(handle, **members)
    with pytest.raises(ValueError, match="damaged or edited"):
        Agent.load(path)


def test_members_of_no_agent_and_compressed_ones_are_refused_unread(tmp_path):
    path = tmp_path / "agent"
    make_agent("LinTS", PROBLEM, seed=0).save(path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("elsewhere.npy", b"")
    with pytest.raises(ValueError, match=r"it must not hold 'elsewhere\.npy'"):
        Agent.load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("state.bomb.npy", bytes(10**7))
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match=r"'state\.bomb\.npy' must not be compressed"):
        Agent.load(path)


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr("dts_gym.registry._AGENTS", dict(dts_gym.registry._AGENTS))


def as_format_1(path):
    """Make a file what an earlier version would have written."""
    arrays, settings = read_archive(path)
    for name in ("id", "defined"):
        del settings[name]
    write_archive(path, arrays, {**settings, "format": 1})
    with np.load(path) as file:
        members = {name: file[name] for name in file.files if name != "sha256.txt"}
    with open(path, "wb") as handle:
        np.savez(handle, **members)


@pytest.mark.parametrize("old", [False, True])
def test_a_registration_that_cannot_be_imported_stops_its_own_files_only(old, registry, tmp_path):
    dts_gym.register_agent("Broken", "no_such_module:Broken")
    dts_gym.register_agent("Half", "dts_gym.agents:NoSuchClass")
    path = tmp_path / "agent"
    for agent in (
        make_agent("LinTS", PROBLEM, seed=0),
        make_agent("Mine", PROBLEM, seed=0) if register_mine() else None,
    ):
        agent.save(path)
        if old:
            as_format_1(path)
        assert type(Agent.load(path)) is type(agent)
    if not old:
        resealed(path, lambda _, settings: settings.update(id="Broken"))
        with pytest.raises(ValueError, match="an agent that can be imported, got 'Broken', which cannot") as caught:
            Agent.load(path)
        assert str(path) in str(caught.value)


class Mine(LinTS):
    pass


def register_mine():
    dts_gym.register_agent("Mine", Mine)
    return True


@pytest.mark.parametrize("old", [False, True])
def test_a_class_of_the_same_name_does_not_take_the_file_of_another(old, registry, tmp_path):
    theirs = type("LinTS", (LinTS,), {"__module__": __name__, "__qualname__": "Theirs.LinTS"})
    built_in, path = make_agent("LinTS", PROBLEM, seed=0), tmp_path / "agent"
    built_in.save(path)
    if old:
        as_format_1(path)
    dts_gym.register_agent("Aardvark", theirs)
    assert type(Agent.load(path)) is LinTS
    assert type(LinTS.load(path)) is LinTS
    with pytest.raises(
        ValueError, match=rf"path must be a file of LinTS, as defined in {re.escape(__name__)}, got one"
    ):
        theirs.load(path)
    if not old:
        theirs(PROBLEM, seed=0).save(path)
        assert type(Agent.load(path)) is type(theirs.load(path)) is theirs
        with pytest.raises(
            ValueError, match=r"path must be a file of LinTS, as defined in dts_gym\.agents\.linear, got"
        ):
            LinTS.load(path)


def test_a_class_that_is_not_registered_loads_its_own_files(tmp_path):
    path = tmp_path / "agent"
    Mine(PROBLEM, seed=0).save(path)
    assert type(Mine.load(path)) is Mine
    with pytest.raises(ValueError, match=r"a registered Agent, got one of .*Mine'.*import the module that"):
        Agent.load(path)


def test_the_packages_own_classes_are_known_wherever_they_have_moved(tmp_path):
    path = tmp_path / "agent"
    make_agent("LinTS", PROBLEM, seed=0).save(path)
    resealed(path, lambda _, settings: settings.update(defined="dts_gym.agents.before:LinTS"))
    assert type(Agent.load(path)) is type(LinTS.load(path)) is LinTS
    with pytest.raises(ValueError, match="path must be a file of DiffusionTS"):
        DiffusionTS.load(path)


@pytest.mark.parametrize("case", ["LinTS", "dTS own levels", "MixTS"])
def test_files_of_before_are_read(case, tmp_path):
    agent, path = made(case), tmp_path / "agent"
    agent.save(path)
    as_format_1(path)
    assert_equal_states(Agent.load(path), agent)
    resealed_name = next(name for name in agent._state() if agent._state()[name].dtype.kind == "f")
    with np.load(path) as file:
        members = {name: file[name] for name in file.files}
    members[f"state.{resealed_name}"] = members[f"state.{resealed_name}"] * np.nan
    with open(path, "wb") as handle:
        np.savez(handle, **members)
    with pytest.raises(ValueError, match="path must be a whole file of"):
        Agent.load(path)


@pytest.mark.parametrize("case", ["LinTS", "dTS", "dTS own levels", "MixTS", "EpsilonGreedy", "Random"])
def test_servers_with_seeds_of_their_own_know_the_same_and_draw_differently(case, tmp_path):
    agent, path = made(case), tmp_path / "agent"
    agent.act(np.ones(2))  # where draws are kept for the next choices, some are left
    agent.save(path)

    def streams(one):
        return {name: rng.bit_generator.state["state"]["state"] for name, rng in one._rngs.items()}

    one, other, twin = (Agent.load(path, seed=seed) for seed in (1, 2, 1))
    for server in (one, other):
        assert server.num_updates == agent.num_updates
        assert server._plan == agent._plan
        assert not set(streams(server).values()) & set(streams(agent).values())
        for name, array in server._state().items():
            if name not in ("clouds", "left"):
                np.testing.assert_array_equal(array, agent._state()[name])
    # Contexts of a few thousand rounds, so that agents that draw apart choose apart at least once.
    assert plays(one, 300) == plays(twin, 300)
    assert plays(Agent.load(path, seed=1), 300) != plays(other, 300)
    agent.reseed(2)
    assert plays(agent, 50) == plays(Agent.load(path, seed=2), 50)
    with pytest.raises(ValueError, match="seed must be an integer >= 0, got -1"):
        agent.reseed(-1)


def test_draws_kept_from_before_are_not_used_up_twice(tmp_path):
    """dTS on chains with own levels keeps draws for its next choices: two servers of one file must not share them."""
    agent, path = made("dTS own levels"), tmp_path / "agent"
    agent.act(np.ones(2))
    assert agent._state()["left"].any()
    agent.save(path)
    assert not Agent.load(path, seed=1)._state()["left"].any()
    assert Agent.load(path)._state()["left"].any()


def test_every_class_of_the_package_is_told_by_its_id():
    for agent_id in dts_gym.agent_ids():
        assert dts_gym.registry.agent_id_of(agent_class(agent_id)) == agent_id
