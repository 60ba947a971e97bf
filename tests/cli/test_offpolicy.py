"""``dts-gym offpolicy``: tables, figures and policies from logs in every form; refusals in a line."""

import numpy as np
import pytest

from dts_gym.cli.entry import main
from dts_gym.offpolicy import BanditLog

N, K = 80, 3


@pytest.fixture
def log():
    rng = np.random.default_rng(0)
    x, a = rng.uniform(-1, 1, (N, 2)), rng.integers(K, size=N)
    return BanditLog(x, a, (rng.random(N) < 0.5).astype(float), np.full(N, 1 / K), K)


def test_a_policy_is_learned_then_judged_from_its_file(log, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log.save("log.npz")
    assert main(["offpolicy", "learn", "log.npz", "--policy", "LS", "--reward", "bernoulli"]) == 0
    out = capsys.readouterr().out
    assert "policy learned was" not in out
    assert "the policy was learned on this log" in out
    folder = tmp_path / "results" / "offpolicy-learn-log"
    assert {path.name for path in folder.iterdir()} == {"table.txt", "values.png", "policy.npz"}
    words = ["offpolicy", "evaluate", "log.npz", "--policy", str(folder / "policy.npz"), "--estimators", "IPS", "LS"]
    assert main([*words, "--reward-range", "0", "1", "--out", "judged"]) == 0
    assert "LS bounds" in capsys.readouterr().out
    assert (tmp_path / "judged" / "values.png").exists()
    assert main([*words, "--out", "judged"]) == 2
    assert "--out must be a new folder" in capsys.readouterr().err


def test_the_usual_estimators_are_those_that_the_log_allows(log, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bare = BanditLog(log.contexts, log.actions, log.rewards, None, K)
    bare.save("bare.csv")
    assert main(["offpolicy", "evaluate", "bare.csv"]) == 0
    shown, errors = capsys.readouterr()
    assert "warning: the log has no propensities" in shown
    assert errors == ""  # warnings stand once, below the table
    assert "DM" in shown
    assert "IPS" not in shown
    np.save("pi.npy", np.full((N, K), 1 / K))
    log.save("log.npz")
    assert main(["offpolicy", "evaluate", "log.npz", "--policy", "pi.npy"]) == 0
    assert "SNIPS" in capsys.readouterr().out


def test_a_log_of_one_round_is_judged_without_folds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.csv").write_text("context_0,action,reward,propensity\n0.5,0,1,1\n")
    assert main(["offpolicy", "evaluate", "one.csv"]) == 0
    shown = capsys.readouterr().out
    assert "SNIPS" in shown
    assert "DR" not in shown
    assert "of 1 rounds: the log is short" in shown


def test_logs_of_others_are_known_by_their_form(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.vw").write_text("1:0.5:0.5 | a:1\n2:-1:0.5 | b:2\n1:0:0.5 | a:0.5 b\n" * 4)
    assert main(["offpolicy", "evaluate", "train.vw"]) == 0
    assert "rounds=12" in capsys.readouterr().out
    (tmp_path / "train.vw").write_text("1:0.5:0.5 | a:one\n")
    assert main(["offpolicy", "evaluate", "train.vw"]) == 2
    assert "line 1, column 15" in capsys.readouterr().err


@pytest.mark.parametrize("policy", ["sDM", "nowhere", "torn.npy"])
def test_a_policy_that_is_none_is_refused(log, tmp_path, monkeypatch, capsys, policy):
    monkeypatch.chdir(tmp_path)
    log.save("log.npz")
    (tmp_path / "torn.npy").write_bytes(b"")
    assert main(["offpolicy", "evaluate", "log.npz", "--policy", policy]) == 2
    assert "--policy must be" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
