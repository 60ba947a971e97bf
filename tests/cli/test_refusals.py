"""What is wrong on the command line or in an agent's text is one line that says what to do."""

import re

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
        ("identify --env mabb", "did you mean mab?"),
        (f"run --agents Random --rounds 5 --seeds {10**30}", "seeds must be at most 1000000"),
        ("run --agents Random --env.depth 100000000", "depth must be at most 10000"),
        ("run --agents Random --env.link mlp --env.depth 100000000", "depth must be at most 10000"),
        ("run --agents Random --env.stds 1e200", "stds must be at most 1e+50"),
        (f"run --agents Random --env.dim {10**22}", "dim^2 * depth must fit memory"),
        (f"run --agents Random --env.num-actions {10**22}", "num_actions * dim must fit memory"),
        ("sweep nothere.yaml", "No such file or directory: 'nothere.yaml'"),
        ("plot nothere", "'nothere' must be a folder of records"),
        ("report nothere", "folder must hold what dts-gym reproduce wrote"),
        ("run --agents Random --prior nothere.safetensors", "none at 'nothere.safetensors'"),
        (f"run --agents LinTS:exploration={'(' * 500}", "agents must be written as"),
        (f"run --agents LinTS:exploration={'-' * 50_000}1", "agents must be written as"),
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


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("seeds: 1.5", "seeds must be a number or different integers >= 0, got 1.5"),
        ("seeds: null", "seeds must be a number or different integers >= 0, got None"),
        ("seeds: 2020-01-01", "seeds must be a number or different integers >= 0, got datetime.date(2020, 1, 1)"),
        ("seeds: {a: 1}", "seeds must be a number or different integers"),
        ("tune: true\ngrid: 1", "grid must be different positive numbers, got 1"),
        ("tune: true\ntuning_seeds: 0.5", "tuning_seeds must be a number or different integers"),
    ],
)
def test_a_sweep_of_wrong_kinds_is_one_line(lines, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "environments: [{id: DiffusionBandit-v0, num_actions: 5}]\nagents: [Random]\nrounds: 5\n"
    (tmp_path / "s.yaml").write_text(text + lines)
    assert main(["sweep", "s.yaml"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_a_lack_of_memory_has_a_message(capsys, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("dts_gym.cli.entry._answer", fail)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "dts-gym: error: there is not enough memory\n"


def numeric_options():
    from dts_gym.cli.env_options import env_options, flag_of

    for env_id in ("DiffusionBandit-v0", "SharedDiffusionBandit-v0", "SyntheticBandit-v0"):
        for name, (kind, _) in env_options(env_id).items():
            if re.search(r"\b(int|float)\b", str(kind)) and not name.endswith("seed"):
                yield pytest.param(env_id, name, flag_of(name), "float" not in str(kind), id=f"{env_id} {name}")


@pytest.mark.parametrize(("env_id", "name", "flag", "whole"), list(numeric_options()))
def test_absurd_options_of_environments_are_refused_by_their_names(
    env_id, name, flag, whole, capsys, tmp_path, monkeypatch
):
    # The horizon may be any number of rounds; those that are played are another option.
    monkeypatch.chdir(tmp_path)
    values = (-1, 10**22, 10**40) if whole else (-1.0, 1e200, float("inf"), float("nan"))
    for value in values:
        if name == "horizon" and value > 0:
            continue
        words = ["run", "--env", env_id, flag, str(value), "--agents", "Random", "--rounds", "2", "--seeds", "1"]
        assert main(words) == 2, value
        error = capsys.readouterr().err
        assert name in error
        assert error.count("\n") == 1
