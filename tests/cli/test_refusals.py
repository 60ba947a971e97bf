"""What is wrong on the command line or in an agent's text is one line that says what to do."""

import pytest

import dts_gym
from dts_gym.cli.entry import main
from dts_gym.registry import versioned


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --agents dts", "did you mean dTS?"),
        ("run --agents dTS:branhc=1", "did you mean branch?"),
        ("run --env.num-action 5", "did you mean --env.num-actions?"),
        ("run --agents LinTS:seed=5", "settings must be the agent's own, got ['seed']"),
        ("run --env ../x:Foo-v0 --agents Random", "the name of a module"),
        ("run --agents ../x:Foo", "the name of a module"),
        ("run --agents Random --rounds 10000", "--env.horizon 10000"),
        ("runn", "did you mean run?"),
    ],
)
def test_errors_are_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_bare_run_prints_its_help_and_runs_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["run"])
    assert stop.value.code == 0
    assert "usage: dts-gym run" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["true", "True", "TRUE"])
def test_booleans_are_read_in_any_case(word, capsys, tmp_path, monkeypatch):
    from dts_gym.cli.env_options import parse_env_settings

    assert parse_env_settings("SharedDiffusionBandit-v0", ["--env.fixed-features", word]) == {"fixed_features": True}


def test_an_environment_without_a_version_is_that_of_the_highest():
    assert versioned("DiffusionBandit") == "DiffusionBandit-v0"
    compared = dts_gym.compare("DiffusionBandit", ["Random"], seeds=1, num_rounds=3, backend="serial")
    assert compared.experiment.env_id == "DiffusionBandit-v0"
