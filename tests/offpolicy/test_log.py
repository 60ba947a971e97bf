"""Logs: what is checked, what is reported, how they are kept, and what is read of other libraries."""

import numpy as np
import pytest

from dts_gym import BernoulliReward, GaussianReward, PoissonReward
from dts_gym.harness.round_log import RoundLog
from dts_gym.offpolicy import BanditLog
from dts_gym.problem.unknown import UnknownReward
from dts_gym.utils.archives import write_archive

N, K, D = 30, 3, 2


def rounds(seed=0, n=N):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(K), n)
    actions = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return {"contexts": rng.normal(size=(n, D)), "actions": actions, "rewards": rng.normal(size=n), "propensities": p}


def fields(log):
    return {name: value for name, value in vars(log).items() if name not in ("fingerprint", "num_duplicates")}


def same(one, other):
    assert fields(one).keys() == fields(other).keys()
    for name, first in fields(one).items():
        second = fields(other)[name]
        if name == "reward":
            assert (type(first), getattr(first, "noise_std", None)) == (
                type(second),
                getattr(second, "noise_std", None),
            )
        elif first is None or second is None:
            assert first is second, name
        elif name == "action_names":
            assert first == second
        else:
            assert np.asarray(first).dtype == np.asarray(second).dtype, name
            np.testing.assert_array_equal(first, second)


BAD = {
    "contexts": ("contexts", np.full((N, D), np.nan)),
    "too few rewards": ("rewards", np.zeros(N - 1)),
    "no contexts": ("contexts", np.zeros((0, D))),
    "action out of range": ("actions", np.full(N, K)),
    "negative action": ("actions", np.full(N, -1)),
    "names of actions": ("actions", np.full(N, "shoes")),
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


@pytest.mark.parametrize("bad", [-1, "shoes"])
def test_actions_that_are_no_numbers_from_0_are_named_and_the_cure_works(bad):
    with pytest.raises(ValueError, match=rf"^actions must be numbered 0, 1, .* got .*{bad}.*: names, numbers ="):
        BanditLog([[1.0], [2.0]], [bad, bad], [0.0, 1.0])
    names, numbers = np.unique(["socks", "shoes"], return_inverse=True)
    log = BanditLog([[1.0], [2.0]], numbers, [0.0, 1.0], action_names=names)
    assert [log.action_names[a] for a in log.actions] == ["socks", "shoes"]


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


def write_folder(log, folder):
    settings = {"kind": "rounds", "format": 1, "num_actions": log.num_actions, "adapted": log.adapted}
    if log.reward is not None:
        settings["reward"] = {"name": log.reward.name, **log.reward.settings()}
    if log.action_names is not None:
        settings["action_names"] = list(log.action_names)
    folder.mkdir()
    rounds = RoundLog(folder, settings)
    for i in range(len(log)):
        probability = None if log.propensities is None else float(log.propensities[i])
        mask = None if log.masks is None else log.masks[i]
        rounds.add(log.contexts[i], log.actions[i], probability, log.rewards[i], mask)
        if i in (9, 19):
            rounds.write()
    rounds.write()


FULL = {
    "nothing": {},
    "propensities": {"propensities": np.linspace(0.1, 1, N), "num_actions": K + 2},
    "propensities of every action": {"propensities": rounds()["propensities"]},
    "masks": {"masks": np.ones((N, K), bool)},
    "features of actions": {"action_features": np.random.default_rng(1).normal(size=(K, 2))},
    "names": {"action_names": ['#1, "blue"', "2", "größe"]},
    "a log that adapted": {"adapted": True, "reward": GaussianReward(0.3)},
    "a log that did not": {"adapted": np.False_, "rewards": np.arange(N) % 2, "reward": BernoulliReward()},
    "counts": {"rewards": np.arange(N), "reward": PoissonReward()},
    "features of shared parameters": {"contexts": np.random.default_rng(1).normal(size=(N, K, D))},
}


# Runs write neither the probability of every action nor features, so no folder holds them.
WRITTEN = [
    (kind, case)
    for kind in ("npz", "csv", "parquet", "folder")
    for case in FULL
    if kind != "folder" or case not in ("propensities of every action", "features of actions")
]


@pytest.mark.parametrize(("kind", "case"), WRITTEN)
def test_a_log_that_is_read_equals_the_one_that_was_written(tmp_path, kind, case):
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    log = BanditLog(**{**rounds(), "propensities": None, **FULL[case]})
    path = tmp_path / (kind if kind == "folder" else f"log.{kind}")
    if kind == "folder":
        write_folder(log, path)
    elif kind != "npz" and log.features == "shared":
        with pytest.raises(ValueError, match=r"must end in \.npz"):
            log.save(path)
        return
    else:
        log.save(path)
    same(log, BanditLog.load(path))
    assert log == BanditLog.load(path)


@pytest.mark.parametrize("case", FULL)
def test_equal_logs_are_equal_in_everything_that_they_hold(case):
    arguments = {**rounds(), "propensities": None, **FULL[case]}
    log, plain = BanditLog(**arguments), BanditLog(**{**rounds(), "propensities": None, "num_actions": K})
    assert log == BanditLog(**arguments)
    assert (log == plain) == (case == "nothing")
    assert log != BanditLog(**{**arguments, "rewards": np.roll(log.rewards, 1)})
    assert log != "a log"
    with pytest.raises(TypeError, match="unhashable"):
        hash(log)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_actions_that_are_words_are_numbered(tmp_path, kind):
    pandas = pytest.importorskip("pandas")
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    frame = pandas.DataFrame({"context_0": [0.5, 1.0, 2.0], "action": ["socks", "hat", "socks"], "reward": [1, 0, 1]})
    path = tmp_path / f"shop.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path, index=False)
    log = BanditLog.load(path)
    assert log.action_names == ("hat", "socks")
    assert log.actions.tolist() == [1, 0, 1]
    log.save(tmp_path / "again.csv")
    assert BanditLog.load(tmp_path / "again.csv") == log


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (["hat", "3"], "must hold words, as the first round does, got '3' in line 3, column action"),
        (["0", "hat"], "must hold whole numbers from 0, got 'hat' in line 3, column action"),
        (["hat", " "], "got ' ' in line 3, column action"),
        (["", "hat"], "must hold whole numbers from 0, got '' in line 2, column action"),
        (["nan", "hat"], "got 'nan' in line 2, column action"),
    ],
)
def test_actions_that_are_words_and_numbers_are_refused(tmp_path, actions, said):
    path = tmp_path / "mixed.csv"
    path.write_text("context_0,action,reward\n" + "".join(f"1,{action},1\n" for action in actions))
    with pytest.raises(ValueError, match=said):
        BanditLog.load(path)


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
def test_a_family_of_rewards_that_files_do_not_know_is_refused_before_anything_is_written(tmp_path, kind):
    class Own(GaussianReward):
        name = "own"

    for reward in (Own(), UnknownReward()):
        with pytest.raises(ValueError, match="reward must be of a family that files know"):
            BanditLog(**rounds(), reward=reward).save(tmp_path / f"log.{kind}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_are_read_by_pandas(tmp_path, kind):
    pandas = pytest.importorskip("pandas")
    log = BanditLog(**rounds(), adapted=True, action_names=["a", "b", "c"], action_features=np.eye(K))
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    log.save(tmp_path / f"log.{kind}")
    read = pandas.read_parquet if kind == "parquet" else lambda path: pandas.read_csv(path, skiprows=1)
    frame = read(tmp_path / f"log.{kind}")
    numbered = [f"propensity_{a}" for a in range(K)]
    assert [*frame.columns] == ["context_0", "context_1", "action", "action_name", "reward", *numbered]
    np.testing.assert_array_equal(frame["reward"], log.rewards)


def test_a_table_of_a_users_own_may_have_other_columns_and_a_mark_of_spreadsheets(tmp_path):
    text = "user,context_0,action,reward,time\nann,0.5,0,1,2024-01-01\nbob,0.25,1,0,\n"
    (tmp_path / "own.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    log = BanditLog.load(tmp_path / "own.csv")
    same(log, BanditLog([[0.5], [0.25]], [0, 1], [1.0, 0.0]))


def test_a_table_with_a_damaged_first_line_or_of_another_format_is_refused(tmp_path):
    path = tmp_path / "log.csv"
    BanditLog(**rounds()).save(path)
    first, rest = path.read_text().split("\n", 1)
    for damaged, message in (
        (first[:-3], "path must have JSON after"),
        ("# dts_gym log 3", "path must have JSON after"),
        (first.replace(": 1,", ": 2,"), "path must be a log of format 1, got 2"),
        (first[:-1] + ', "reward": 3}', "rewards of a family that is known, got 3"),
        (first[:-1] + ', "reward": {"name": "weibull"}}', "rewards of a family that is known, got .*weibull"),
    ):
        path.write_text(f"{damaged}\n{rest}")
        with pytest.raises(ValueError, match=message):
            BanditLog.load(path)


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


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("action", "1.5", "whole numbers from 0"),
        ("action", "-1", "whole numbers from 0"),
        ("propensity", "1.2", "probabilities in 0..1"),
        ("propensity", "-0.2", "probabilities in 0..1"),
        ("context_0", "inf", "finite numbers"),
    ],
)
def test_a_cell_of_a_table_out_of_range_is_refused_with_its_line_and_column(tmp_path, column, cell, expected):
    path = tmp_path / "log.csv"
    row = {"context_0": "0.5", "action": "1", "reward": "0.3", "propensity": "0.25"}
    lines = [",".join(row), ",".join(row.values()), ",".join({**row, column: cell}.values())]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=rf"path must hold {expected}, got '{cell}' in line 3, column {column} of"):
        BanditLog.load(path)


def test_an_action_beyond_the_known_ones_in_a_text_of_vowpal_wabbit_is_refused_with_its_place(tmp_path):
    path = tmp_path / "log.vw"
    path.write_text("1:0.5:0.5 | a\n5:0.5:0.5 | b\n")
    with pytest.raises(ValueError, match=r"path must have actions 1\.\.2, got '5' in line 2, column 1 of"):
        BanditLog.read_vw(path, num_actions=2)
    path.write_text("1:0.5:1.5 | a\n")
    with pytest.raises(ValueError, match=r"path must hold probabilities in 0\.\.1, got '1.5' in line 1, column 7 of"):
        BanditLog.read_vw(path)
