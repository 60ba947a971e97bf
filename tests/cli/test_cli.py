"""The command line: its output, its one-line errors, how it stops and resumes."""

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import fields, is_dataclass
from typing import Literal

import gymnasium as gym
import numpy as np
import pytest

from dts_gym import registry
from dts_gym.cli import entry
from dts_gym.cli.entry import main
from dts_gym.cli.env_options import env_options, options_text, parse_env_settings, split_env_arguments
from dts_gym.cli.setting_texts import option_texts, setting_texts
from dts_gym.envs.diffusion import DiffusionBanditEnv
from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import label_of, table
from dts_gym.harness.records import load_records
from dts_gym.harness.tuning import choose, tuning_table
from dts_gym.identification.rules import rule_class, rule_ids
from dts_gym.priors.chains import Prior

SMALL = ["--env.num-actions", "6", "--env.dim", "2", "--rounds", "20", "--seeds", "2", "--no-progress"]


class OptionsEnv(DiffusionBanditEnv):
    """Options of every kind."""

    def __init__(
        self,
        data: str | os.PathLike[str],
        mode: Literal["fast", "slow"] = "fast",
        scale: float | None = None,
        quiet: bool = False,
        prior: Prior | None = None,
        sizes: list[int] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(num_actions=4)


@pytest.fixture
def options_env():
    gym.register("OptionsBandit-v0", entry_point=OptionsEnv)
    yield "OptionsBandit-v0"
    del gym.registry["OptionsBandit-v0"]


def start(*arguments):
    command = [sys.executable, "-m", "dts_gym.cli", *arguments]
    # What a shell runs in the background ignores SIGINT, and so would its children: these are to hear it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, start_new_session=True, **pipes)
    finally:
        signal.signal(signal.SIGINT, before)


def wait_for_records(folder, number):
    for _ in range(1500):
        if len(list(folder.glob("runs/[!.]*.npz"))) >= number:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {number} records in {folder}")


def test_run_prints_what_compare_finds_and_plot_draws_it_again(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", *SMALL, "--agents", "dTS", "LinTS:exploration=0.3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    expected = compare("DiffusionBandit-v0", ["dTS", "LinTS:exploration=0.3"], seeds=2, num_rounds=20,
                       env_settings={"num_actions": 6, "dim": 2})  # fmt: skip
    loaded = load_records(out)
    for label in expected.labels:
        np.testing.assert_array_equal(expected.regret(label), loaded.regret(label))
    assert table(loaded) in printed
    assert f"figure:  {out / 'regret.png'}\nrecords: {out}\n" in printed
    picture = (out / "regret.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    (out / "regret.png").unlink()
    assert main(["plot", str(out)]) == 0
    assert capsys.readouterr().out == printed
    assert (out / "regret.png").read_bytes() == picture
    assert main(["plot", str(out), "--figure", str(tmp_path / "other.png")]) == 0
    assert (tmp_path / "other.png").read_bytes() == picture


def test_a_used_folder_is_refused_and_resumed_when_asked(tmp_path, capsys):
    arguments = ["run", *SMALL, "--agents", "Random", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert main(arguments) == 2
    assert "error: out must be a new or empty folder unless resumed" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert capsys.readouterr().out == first


def test_without_a_folder_each_run_has_a_new_one(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["run", *SMALL, "--agents", "Random"]) == 0
    assert sorted(os.listdir("results")) == ["DiffusionBandit-v0", "DiffusionBandit-v0-2"]


def test_tuning_shows_the_grid_and_both_figures(tmp_path, capsys):
    asked = [*SMALL, "--grid", "1", "0.2"]
    assert (
        main(["run", *asked, "--agents", "LinTS", "--tune", "--tuning-seeds", "2", "--out", str(tmp_path / "a")]) == 0
    )
    loaded = load_records(tmp_path / "a")
    printed = capsys.readouterr().out
    assert f"Tuning: mean regret at each scale (* chosen)\n{tuning_table(choose(loaded.tuning))}\n" in printed
    assert table(loaded) in printed
    assert main(["tune", *asked, "--agents", "LinTS", "--out", str(tmp_path / "b")]) == 0
    assert tuning_table(choose(load_records(tmp_path / "b"))) in capsys.readouterr().out
    assert choose(load_records(tmp_path / "b")).best == choose(loaded.tuning).best


def test_list_names_every_agent_environment_and_option(capsys):
    import dts_gym

    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name in (
        *dts_gym.env_ids(),
        *dts_gym.agent_ids(),
        *rule_ids(),
        "--env.num-actions int = 100",
        "--env.branch int | None",
    ):
        assert name in printed
    assert main(["run", "--env.help"]) == 0
    assert "--env.noise-std float = 1.0\n          standard deviation of Gaussian rewards." in capsys.readouterr().out


def test_list_of_an_id_says_what_it_takes(capsys, options_env, tmp_path, monkeypatch):
    import dts_gym

    for name in dts_gym.env_ids():
        assert main(["list", name]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert all(option_texts(name)[option].replace("``", "") in printed for option in env_options(name))
    for name in dts_gym.agent_ids():
        assert main(["list", name]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        for setting, text in setting_texts(name).items():
            assert f"{setting}=" in printed
            assert text.replace("``", "") in printed
    for name in rule_ids():
        assert main(["list", name]) == 0
        printed = capsys.readouterr().out
        assert all(f"{setting}=" in printed for setting in inspect.signature(rule_class(name)).parameters)
    assert 'or "probability", the one that is most probably the best' in " ".join(printed.split())
    assert main(["list", "cost"]) == 0
    assert capsys.readouterr().out.startswith("cost: dTS costs O(")
    assert main(["list", options_env]) == 0
    assert "--env.mode" in capsys.readouterr().out
    (tmp_path / "mine_to_list.py").write_text(
        "import gymnasium as gym, dts_gym\n"
        "gym.register('Mine-v0', 'dts_gym.envs:DiffusionBanditEnv')\n"
        "dts_gym.register_agent('MineTS', 'dts_gym.agents:LinTS')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_AGENTS", dict(registry._AGENTS))
    for name, shown in (("mine_to_list:Mine-v0", "--env.noise-std"), ("mine_to_list:MineTS", "prior_cov=None")):
        assert main(["list", name]) == 0
        assert shown in capsys.readouterr().out
    for wrong in ("nonsense", "no.module:Mine", "mine_to_list:Other"):
        assert main(["list", wrong]) == 2
        assert (
            f"or the id of an environment, an agent, a rule or an experiment, got '{wrong}'" in capsys.readouterr().err
        )
    assert main(["list", "DTS"]) == 2
    assert "got 'DTS'; did you mean dTS?" in capsys.readouterr().err
    del gym.registry["Mine-v0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env.num-actons", "5"], "no option --env.num-actons; it has --env.num-actions, --env.dim,"),
        (["--env.num-actions", "5", "--env.num_actions=6"], "--env.num-actions must be given once"),
        (["--env.num-actions", "0"], "num_actions must be an integer >= 1, got 0"),
        (["--env", "Nowhere-v0"], "Nowhere"),
        (["--data", "x"], "--data is for environments with such an option, DiffusionBandit-v0 has none"),
        (["--agents", "dTX"], "got 'dTX'"),
        (["--agents", "dTS:exploration"], "ID:name=value,name=value, got 'dTS:exploration'"),
        (
            ["--rounds", "6000"],
            "num_rounds must be an integer in 1..5000, the env's horizon, got 6000: make the env with",
        ),
        (["--resume"], "--resume needs --out"),
        (["--out", "/dev/null/x"], "/dev/null"),
    ],
)
def test_errors_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--no-progress", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dts-gym: error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert not os.listdir(tmp_path)


def test_other_refusals(tmp_path, capsys, monkeypatch):
    assert main(["plot", str(tmp_path)]) == 2
    assert "must be a folder of records" in capsys.readouterr().err
    assert main(["plot", str(tmp_path), "--env.dim", "3"]) == 2
    assert "goes with run, tune and identify only" in capsys.readouterr().err
    assert main(["sweep", str(tmp_path), "--env.dim", "3"]) == 2
    assert "--env.dim goes with run, tune and identify only" in capsys.readouterr().err
    for arguments in (["run", "--frobnicate"], ["run", "--seeds", "many"], ["run", "--env.dim", "wide"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    monkeypatch.setenv("DTS_GYM_DEBUG", "1")
    with pytest.raises(ValueError, match="dTX"):
        main(["run", "--agents", "dTX"])


def test_an_error_about_an_agents_setting_names_the_agent(tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "x"), *SMALL]
    for command in ("run", "tune"):
        assert main([command, "--agents", "LinTS", "dUCB:exploration=foo", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("dts-gym: error: agent 'dUCB (exploration foo)': exploration must be ")
        assert error.endswith("got 'foo'\n")
        assert not (tmp_path / "x").exists()
    assert main(["run", "--agents", "LinTS:frobnicate=1", *arguments]) == 2
    assert "agent 'LinTS (frobnicate 1)': settings of LinTS must be among" in capsys.readouterr().err


def test_tuning_without_anything_to_tune_says_so(tmp_path, capsys):
    quiet = ["--tuning-seeds", "1", *SMALL]
    assert main(["run", "--tune", "--agents", "Random", "dUCB", "--out", str(tmp_path / "a"), *quiet]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "tune" in line]
    assert lines == [
        "dts-gym: warning: there is nothing to tune: no agent has a number as its exploration, got Random, dUCB"
    ]
    for agents in (["Random", "LinTS"], ["dUCB:exploration=0.5"]):
        options = ["--tune", "--no-bracket", "--grid", "0.5", "--out", str(tmp_path / agents[0])]
        assert main(["run", "--agents", *agents, *options, *quiet]) == 0
        assert "nothing to tune" not in capsys.readouterr().err


def test_a_huge_setting_has_a_short_label():
    assert label_of("LinUCB", {"exploration": 1e200}) == "LinUCB (exploration 1e+200)"
    assert label_of("LinUCB", {"exploration": 2.0}) == "LinUCB (exploration 2)"


def test_help_and_version(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in (["--help"], ["-h"], []):
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        assert max(map(len, printed.splitlines())) <= 80
        flat = " ".join(printed.split())
        assert all(f" {name} {command.summary} " in flat for name, command in entry.COMMANDS.items())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dts-gym 0")


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_load_no_command(argument):
    code = (
        f"import sys; from dts_gym.cli import main; main([{argument!r}]);"
        "loaded = {name for name in sys.modules if name.startswith('dts_gym.')};"
        "print(loaded & {'dts_gym.studies', 'dts_gym.harness', 'dts_gym.cli.env_options', 'dts_gym.cli.run'});"
        "print({'tyro', 'rich', 'docstring_parser', 'scipy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["set()", "set()"]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("reprodce", "reproduce"), ("posterior_error", "posterior-error"), ("RUN", "run"), ("--frobnicate", None)],
)
def test_an_unknown_command_is_one_line_with_the_nearest(name, suggestion, capsys):
    assert main([name, "--seeds", "3"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dts-gym: error: the command must be one of run, tune, identify, sweep, ")
    assert captured.err.endswith(f"got {name!r}" + (f"; did you mean {suggestion}?\n" if suggestion else "\n"))
    assert captured.err.count("\n") == 1
    assert not captured.out


def told_by(described):
    """Parameters with the first line of what a docstring says of them."""
    return dict(re.findall(r"(?m)^(\w+) :\n    (.*)$", inspect.getdoc(described)))


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_help_says_what_every_option_is(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")  # wide enough that no word is broken at a comma
    command = entry.function_of(name)
    told = told_by(command)
    own = [each for each in inspect.signature(command).parameters.values() if each.kind is not each.POSITIONAL_ONLY]
    assert list(told) == [each.name for each in own]
    for shared in (each.default for each in own if is_dataclass(each.default)):  # options of several commands
        told = {**told, **told_by(type(shared))}
        assert list(told_by(type(shared))) == [field.name for field in fields(shared)]
        del told["options"]
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code in (0, None)
    printed = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    for text in told.values():
        assert " ".join(text.split()) in printed


def test_only_words_and_numbers_are_options(options_env):
    assert list(env_options(options_env)) == ["data", "mode", "scale", "quiet"]
    assert "--env.prior linear | diffusion | str = linear" in options_text("MovieLensBandit-v0")


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ("--env.data /a/b", {"data": "/a/b"}),
        ("--env.data=x=y --env.mode slow --env.scale -1.5", {"data": "x=y", "mode": "slow", "scale": -1.5}),
        ("--env.data 3 --env.scale None --env.quiet True", {"data": "3", "scale": None, "quiet": True}),
    ],
)
def test_options_are_read_by_their_types(options_env, arguments, settings):
    parsed = parse_env_settings(options_env, split_env_arguments(shlex.split(arguments))[1])
    assert parsed == settings


@pytest.mark.parametrize(("words", "stds"), [("0.5", 0.5), ("1 0.5 0.2", (1.0, 0.5, 0.2)), ("None", None)])
def test_an_option_may_be_a_number_or_several(words, stds):
    _, given = split_env_arguments(["run", "--env.stds", *words.split(), "--env.depth", "2"])
    assert parse_env_settings("DiffusionBandit-v0", given) == {"stds": stds, "depth": 2}
    assert "--env.stds float | float ... | None = None" in options_text("DiffusionBandit-v0")


def test_options_of_the_wrong_type_are_refused(options_env):
    for arguments in (["--env.mode", "medium"], ["--env.scale", "big"], ["--env.quiet", "7"], []):
        with pytest.raises(SystemExit):
            parse_env_settings(options_env, [*(["--env.data", "x"] if arguments else []), *arguments])


def test_data_is_short_for_the_environments_own(options_env, tmp_path, capsys):
    arguments = ["run", "--env", options_env, "--agents", "Random", "--rounds", "3", "--seeds", "1", "--no-progress"]
    assert main([*arguments, "--data", "x", "--out", str(tmp_path)]) == 0
    saved = json.loads((tmp_path / "experiment.json").read_text())
    assert saved["settings"]["env_settings"] == {"data": "x"}
    assert main([*arguments, "--data", "x", "--env.data", "y"]) == 2
    assert "--env.data must be given once" in capsys.readouterr().err


def test_arguments_are_parted():
    arguments = shlex.split("run --env E --env.a_b 1 -2 --agents x y --env.c=d_e --seeds 3 --env.flag --out o")
    rest, ours = split_env_arguments(arguments)
    assert rest == shlex.split("run --env E --agents x y --seeds 3 --out o")
    assert ours == shlex.split("--env.a-b 1 -2 --env.c=d_e --env.flag")


def test_a_killed_experiment_loses_only_the_runs_in_flight(tmp_path, capsys):
    out = tmp_path / "out"
    asked = ["--agents", "LinTS", "dTS", "--rounds", "500", "--seeds", "12", "--no-progress"]
    process = start("run", *asked, "--out", str(out))
    wait_for_records(out, 3)
    process.kill()
    process.communicate()
    held = {path: path.read_bytes() for path in out.glob("runs/[!.]*.npz")}
    assert 3 <= len(held) < 24
    assert main(["run", *asked, "--out", str(out), "--resume"]) == 0
    assert {path: path.read_bytes() for path in held} == held
    straight = compare("DiffusionBandit-v0", ["LinTS", "dTS"], seeds=12, num_rounds=500)
    resumed = load_records(out)
    for label in straight.labels:
        np.testing.assert_array_equal(straight.regret(label), resumed.regret(label))


@pytest.mark.skipif(os.name != "posix", reason="this machine sends no signals to process groups")
def test_an_interrupt_says_how_to_go_on(tmp_path):
    out = tmp_path / "out"
    process = start("run", "--agents", "LinTS", "--seeds", "40", "--env.dim", "4", "--rounds", "1000",
                    "--out", str(out), "--workers", "2", "--no-progress")  # fmt: skip
    wait_for_records(out, 1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    command = shlex.split(errors.splitlines()[-1].partition("go on with: ")[2])
    assert command[0] == "dts-gym"
    assert main(command[1:]) == 0
    assert load_records(out).experiment.seeds == tuple(range(40))


@pytest.mark.parametrize("command", ["run", "tune", "sweep"])
def test_an_interrupted_command_names_what_it_lacks_to_go_on(command, tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("environments: [{id: DiffusionBandit-v0}]\nagents: [dTS]\n")
    module, name = {"run": ("run", "compare"), "tune": ("run", "tune"), "sweep": ("sweep", "run_sweep")}[command]
    monkeypatch.setattr(f"dts_gym.cli.{module}.{name}", stop)
    words = ["sweep", "s.yaml"] if command == "sweep" else [command, "--env.dim", "3", "--prior", "a b"]
    more = "--resume" if command == "sweep" else "--out results/DiffusionBandit-v0 --resume"
    for given, lacking in (([], more), (["--out=o"], "--resume"), (["--out", "o", "--resume"], "")):
        assert main([*words, *given]) == 130
        expected = " ".join(["dts-gym", shlex.join([*words, *given]), lacking]).strip()
        assert capsys.readouterr().err.endswith(f"finished runs are kept, go on with: {expected}\n")


def test_the_module_runs_and_the_library_loads_nothing_of_it():
    process = start("list")
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "dTS" in printed
    code = (
        "import sys, dts_gym; dts_gym.run, dts_gym.tune; import dts_gym.harness.figures, dts_gym.harness.records;"
        "print({'tyro', 'tqdm', 'joblib', 'matplotlib', 'torch', 'pandas'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_a_closed_pipe_is_no_error():
    command = f"{shlex.quote(sys.executable)} -m dts_gym.cli list | head -n 0"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
