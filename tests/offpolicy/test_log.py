"""Logs: what is checked, what is reported, how they are kept, and what is read of other libraries."""

import numpy as np
import pytest

from dts_gym import BernoulliReward, GaussianReward
from dts_gym.offpolicy import BanditLog
from dts_gym.utils.archives import write_archive

N, K, D = 30, 3, 2


def rounds(seed=0, n=N):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(K), n)
    actions = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return {"contexts": rng.normal(size=(n, D)), "actions": actions, "rewards": rng.normal(size=n), "propensities": p}


def same(one, other):
    assert one.num_actions == other.num_actions
    for name in ("contexts", "actions", "rewards", "propensities", "masks", "action_features"):
        first, second = getattr(one, name), getattr(other, name)
        assert (first is None) == (second is None), name
        if first is not None:
            np.testing.assert_array_equal(first, second)


BAD = {
    "contexts": ("contexts", np.full((N, D), np.nan)),
    "too few rewards": ("rewards", np.zeros(N - 1)),
    "no contexts": ("contexts", np.zeros((0, D))),
    "action out of range": ("actions", np.full(N, K)),
    "negative action": ("actions", np.full(N, -1)),
    "rewards": ("rewards", np.full(N, np.inf)),
    "above 1": ("propensities", np.full(N, 1.5)),
    "negative": ("propensities", np.full(N, -0.1)),
    "not summing to 1": ("propensities", np.full((N, K), 0.5)),
    "mask of another shape": ("masks", np.ones((N, K + 1), bool)),
    "mask of floats": ("masks", np.ones((N, K))),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rounds_are_refused_by_name(case):
    name, value = BAD[case]
    with pytest.raises(ValueError, match=rf"^{name} must"):
        BanditLog(**{**rounds(), "num_actions": K, name: value})


def test_the_message_names_the_round():
    given = rounds()
    given["propensities"] = np.full(N, 0.5)
    given["propensities"][7] = 1.25
    with pytest.raises(ValueError, match=r"got 1.25 in round 7"):
        BanditLog(**given)
    masks = np.ones((N, K), bool)
    masks[4, given["actions"][4]] = False
    with pytest.raises(ValueError, match="forbidden in round 4"):
        BanditLog(**rounds(), masks=masks)


def test_the_number_of_actions_is_read_from_what_shows_it():
    given = rounds()
    assert BanditLog(**given).num_actions == K
    del given["propensities"]
    assert BanditLog(**given, num_actions=9).num_actions == 9
    assert BanditLog(given["contexts"], np.zeros(N, int), given["rewards"]).num_actions == 1
    assert BanditLog(np.zeros((N, 7, D)), np.zeros(N, int), given["rewards"]).num_actions == 7


def test_duplicates_and_propensities_of_zero_are_reported():
    given = rounds()
    assert BanditLog(**given).findings() == []
    twice = {name: np.concatenate([value, value[[2, 5, 5]]]) for name, value in given.items()}
    assert BanditLog(**twice).findings()[0].startswith(f"3 of {N + 3} rounds equal an earlier one")
    few = {**given, "contexts": np.ones((N, D)), "rewards": np.arange(N) % 2}  # contexts that repeat by themselves
    assert BanditLog(**few).num_duplicates > 10
    assert BanditLog(**few).findings() == []
    given["propensities"] = np.full(N, 0.5)
    given["propensities"][[3, 8]] = 0.0
    assert (
        "2 of 30 rounds have a played action of propensity 0 (the first is round 3)" in BanditLog(**given).findings()[0]
    )


def test_played_propensities_are_those_of_the_logged_actions():
    given = rounds()
    log = BanditLog(**given)
    np.testing.assert_array_equal(
        log.played_propensities, [p[a] for p, a in zip(log.propensities, log.actions, strict=True)]
    )
    assert log.rows(slice(3, 9)).played_propensities.tolist() == log.played_propensities[3:9].tolist()
    assert log.rows(slice(3, 9)).fingerprint != log.fingerprint
    assert BanditLog(**given).fingerprint == log.fingerprint


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_files_keep_every_digit(tmp_path, kind, every, masked):
    given = rounds()
    if not every:
        given["propensities"] = np.linspace(0.1, 1, N)
    log = BanditLog(**given, num_actions=K + (not every), masks=np.ones((N, K + (not every)), bool) if masked else None)
    log.save(tmp_path / f"log.{kind}")
    same(log, BanditLog.load(tmp_path / f"log.{kind}"))


def test_an_archive_keeps_shared_features_and_what_is_known(tmp_path):
    rng = np.random.default_rng(0)
    log = BanditLog(
        rng.normal(size=(N, K, D)), rng.integers(K, size=N), rng.integers(2, size=N), np.full(N, 0.3),
        reward=BernoulliReward(), action_features=np.eye(K), adapted=True,
    )  # fmt: skip
    log.save(tmp_path / "log.npz")
    back = BanditLog.load(tmp_path / "log.npz")
    same(log, back)
    assert (back.adapted, back.reward.name, back.features) == (True, "bernoulli", "shared")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        log.save(tmp_path / "log.csv")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("every", [False, True])
def test_parquet_files_keep_every_digit(tmp_path, every, masked):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    given = rounds()
    if not every:
        given["propensities"] = np.linspace(0.1, 1, N)
    log = BanditLog(**given, num_actions=K + (not every), masks=np.ones((N, K + (not every)), bool) if masked else None)
    log.save(tmp_path / "log.parquet")
    same(log, BanditLog.load(tmp_path / "log.parquet"))
    frame = pandas.read_parquet(tmp_path / "log.parquet")
    np.testing.assert_array_equal(frame["reward"], log.rewards)


def test_without_a_package_for_parquet_its_extra_is_named(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")

    def lacking(*arguments, **settings):
        raise ImportError("no engine")

    monkeypatch.setattr(pandas.DataFrame, "to_parquet", lacking)
    monkeypatch.setattr(pandas, "read_parquet", lacking)
    with pytest.raises(ImportError, match=r"pyarrow, which is not installed \(no engine\).*\n?.*\[parquet\]"):
        BanditLog(**rounds()).save(tmp_path / "log.parquet")
    assert not list(tmp_path.iterdir())
    (tmp_path / "log.parquet").write_bytes(b"")
    with pytest.raises(ImportError, match="pyarrow"):
        BanditLog.load(tmp_path / "log.parquet")


def block(folder, number, log, **settings):
    arrays = {name: getattr(log, name) for name in ("contexts", "actions", "rewards", "propensities")}
    write_archive(folder / f"rounds-{number:05d}.npz", arrays, {"format": 1, "num_actions": K, **settings})


def test_a_folder_of_blocks_is_one_log_in_the_order_of_their_numbers(tmp_path):
    parts = [BanditLog(**rounds(seed)) for seed in range(3)]
    for number in (2, 0, 1):
        block(tmp_path, number, parts[number])
    log = BanditLog.load(tmp_path)
    assert len(log) == 3 * N
    assert log.adapted is True
    np.testing.assert_array_equal(log.rewards, np.concatenate([part.rewards for part in parts]))
    (tmp_path / "rounds-00001.npz").unlink()
    with pytest.raises(ValueError, match="without number 1"):
        BanditLog.load(tmp_path)
    block(tmp_path, 1, parts[1], reward={"name": "gaussian", "noise_std": 2.0})
    with pytest.raises(ValueError, match=r"rounds-00001.npz with other settings"):
        BanditLog.load(tmp_path)


def test_damaged_tables_are_refused_with_line_and_column(tmp_path):
    path = tmp_path / "log.csv"
    BanditLog(**rounds()).save(path)
    lines = path.read_text().splitlines()
    for cell in ("oops", "nan", ""):
        words = lines[4].split(",")
        words[3] = cell
        path.write_text("\n".join([*lines[:4], ",".join(words), *lines[5:]]))
        with pytest.raises(ValueError, match=rf"got '{cell}' in line 5, column reward of"):
            BanditLog.load(path)
    path.write_text("\n".join([*lines[:9], lines[9] + ",1", *lines[10:]]))
    with pytest.raises(ValueError, match="must have 7 cells in each line, got 8 in line 10"):
        BanditLog.load(path)
    path.write_text("\n".join([lines[0], lines[1].replace("reward", "rewrad"), *lines[2:]]))
    with pytest.raises(ValueError, match="no column 'reward' in line 2"):
        BanditLog.load(path)
    with pytest.raises(FileNotFoundError):
        BanditLog.load(tmp_path / "none.csv")
    whole = tmp_path / "log.npz"
    BanditLog(**rounds()).save(whole)
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(ValueError, match="path must be"):
        BanditLog.load(whole)


def test_a_dictionary_of_open_bandit_pipeline_is_read():
    given = rounds()
    feedback = {
        "n_rounds": N, "n_actions": K, "context": given["contexts"], "action_context": np.eye(K),
        "action": given["actions"], "position": None, "reward": given["rewards"],
        "pi_b": given["propensities"][:, :, None],
        "pscore": given["propensities"][np.arange(N), given["actions"]],
    }  # fmt: skip
    log = BanditLog.from_obp(feedback)
    same(log, BanditLog(**given, action_features=np.eye(K)))
    feedback["pi_b"] = None
    np.testing.assert_array_equal(BanditLog.from_obp(feedback).propensities, feedback["pscore"])
    with pytest.raises(ValueError, match="one position"):
        BanditLog.from_obp({**feedback, "pi_b": np.ones((N, K, 3)) / K})
    with pytest.raises(ValueError, match="none under 'reward'"):
        BanditLog.from_obp({**feedback, "reward": None})


def test_a_folder_of_the_open_bandit_data_is_read(tmp_path):
    header = ",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user-item_affinity_0"
    rows = ["0,2019-11-24 00:00:12,2,1,0,0.25,aa,x,0.0", "1,2019-11-24 00:00:14,0,3,1,0.5,bb,x,1.0"]
    rows += ["2,2019-11-24 00:00:15,1,1,1,0.125,aa,y,0.0"]
    (tmp_path / "men.csv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "item_context.csv").write_text(
        ",item_id,item_feature_0,item_feature_1\n0,1,-0.5,u\n1,0,0.25,v\n2,2,1.5,u\n3,3,2.0,w\n"
    )
    log = BanditLog.read_obd(tmp_path)
    assert (log.num_actions, log.actions.tolist(), log.rewards.tolist()) == (4, [2, 0, 1], [0.0, 1.0, 1.0])
    assert log.propensities.tolist() == [0.25, 0.5, 0.125]
    assert log.contexts.tolist() == [[0, 0, 1], [1, 0, 1], [0, 1, 1]]
    assert log.action_features.tolist() == [[0.25, 1, 0], [-0.5, 0, 0], [1.5, 0, 0], [2.0, 0, 1]]
    assert BanditLog.read_obd(tmp_path, position=1).actions.tolist() == [2, 1]
    with pytest.raises(ValueError, match=r"position must be one of \[1, 3\], got 2"):
        BanditLog.read_obd(tmp_path, position=2)
    (tmp_path / "men.csv").write_text("\n".join([header, rows[0], rows[1].replace("0.5", "half")]) + "\n")
    with pytest.raises(ValueError, match="got 'half' in line 3, column propensity_score"):
        BanditLog.read_obd(tmp_path)


def test_text_of_vowpal_wabbit_is_read(tmp_path):
    path = tmp_path / "train.dat"
    path.write_text("1:2:0.4 | a c  \n\n3:0.5:0.2 |user b:2.5 c |item d\n4:-1.2:0.5 | a b c\n")
    log = BanditLog.read_vw(path)
    assert (log.num_actions, log.actions.tolist(), log.rewards.tolist()) == (4, [0, 2, 3], [-2.0, -0.5, 1.2])
    assert log.contexts.tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 2.5, 1, 1, 0], [1, 1, 0, 0, 0, 1]]
    assert BanditLog.read_vw(path, num_actions=9).num_actions == 9


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("3:0.5:0.2 |user b:2.5 c:z |item d", "'z' in line 2, column 25"),
        ("3:half:0.2 | b", "'half' in line 2, column 3"),
        ("3:0.5:p | b", "'p' in line 2, column 7"),
        ("0:0.5:0.2 | b", "'0' in line 2, column 1"),
        ("shared | b", "line 2, column 1"),
        ("1:0.5 | b", "line 2, column 1"),
    ],
)
def test_damaged_text_of_vowpal_wabbit_is_refused_with_line_and_column(tmp_path, line, place):
    path = tmp_path / "train.dat"
    path.write_text(f"1:2:0.4 | a c\n{line}\n")
    with pytest.raises(ValueError, match=place):
        BanditLog.read_vw(path)


def test_a_known_family_checks_the_rewards():
    given = rounds()
    with pytest.raises(ValueError, match="reward must be 0 or 1"):
        BanditLog(**given, reward=BernoulliReward())
    assert BanditLog(**given, reward=GaussianReward(2.0)).reward.noise_std == 2.0
