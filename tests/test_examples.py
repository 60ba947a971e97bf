"""The example scripts run, are short, and print what they are about."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dts_gym

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# A quick setting of each, what it must print, and what it needs that may not be installed.
SETTINGS = {
    "animation": (["6", "2"], "animation.gif: 2 frames", ()),
    "batches": (["40", "20", "2"], "difference", ()),
    "catalogue": (["4", "100", "40"], "quantiles of a choice", ()),
    "compare_agents": (["20", "2"], "±", ()),
    "custom_agent": (["20", "2", "1"], "check_agent passes", ()),
    "custom_env": (["20", "2"], "check_env passes", ()),
    "digits": (["300", "1"], "right over all rounds", ("sklearn",)),
    "five_seconds": (["20", "2"], "LinUCB has", ()),
    "frame": (["SyntheticBandit-v0", "frame.png", "20", "num_actions=5", "shape=moons"], "after 20 rounds", ()),
    "identification": (["2"], "TopTwoTS", ()),
    "interval_coverage": (["1"], "adapted, learned", ()),
    "large_k": (["30", "1000000000"], "peak memory", ()),
    "logged_catalogue": (["400", "20"], "independent: true value", ()),
    "movielens": (["ratings", "30", "1"], "60 users, 120 movies", ()),
    "new_items": (["2", "30"], "of a new item", ()),
    "offpolicy": (["400"], "true value", ("sklearn",)),
    "own_prior": (["20", "1"], "DiffusionPrior", ()),
    "quickstart": (["100"], "after 100 rounds", ()),
    "ray_sweep": (["10", "1", "1"], "environment,env.num_actions", ("ray",)),
    "residuals": (["2", "5", "60"], "less than normal", ("torch",)),
    "sb3_comparison": (["--quick"], "A2C", ("stable_baselines3",)),
    "sb3_ppo": (["250"], "a round after", ("stable_baselines3",)),
    "tuned_curves": (["records", "curves.png"], "curves.png: 2 agents", ()),
}


def run_example(name, folder):
    arguments, expected, needs = SETTINGS[name]
    for module in needs:
        pytest.importorskip(module, reason=f"{module} is not installed")
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DTS_GYM_DATA": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    return done.stdout


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_an_example_is_short_and_says_how_to_run_it(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) < 80
    assert f"python examples/{name}.py" in text


@pytest.mark.parametrize(
    "name", sorted(set(SETTINGS) - {"movielens", "large_k", "compare_agents", "animation", "digits", "tuned_curves"})
)
def test_an_example_runs_small(name, tmp_path):
    run_example(name, tmp_path)


def test_ratings_become_regret(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "ratings"
    folder.mkdir()
    stars = np.clip(3 + rng.standard_normal((60, 3)) @ rng.standard_normal((3, 120)), 0.5, 5)
    rows = [f"{user}\t{movie}\t{stars[user, movie]:.2f}\t0\n" for user in range(60) for movie in range(120)]
    (folder / "u.data").write_text("".join(rows))
    assert "prior of 60 movies" in run_example("movielens", tmp_path)


def test_a_comparison_draws_a_figure(tmp_path):
    run_example("compare_agents", tmp_path)
    assert list(tmp_path.glob("*.png"))


def test_curves_are_those_of_tuned_agents(tmp_path):
    agents, sizes = ["dUCB", "LinTS"], {"num_actions": 5, "dim": 2}
    dts_gym.compare(
        "DiffusionBandit-v0",
        agents,
        seeds=2,
        num_rounds=20,
        env_settings=sizes,
        tune=True,
        tuning_seeds=2,
        out=tmp_path / "records",
        backend="serial",
    )
    run_example("tuned_curves", tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_very_many_actions_are_played_by_both_agents_in_blocks(tmp_path):
    printed = run_example("large_k", tmp_path)
    assert printed.count("K=1000000000") == printed.count("peak memory") == 2
    assert printed.count("\n") == 2 * (2 + 10 + 1)
    assert printed.count("mean reward      Random     of best") == 2  # the yardsticks
    assert "nan" not in printed


def test_the_animation_is_a_gif_of_different_frames(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    run_example("animation", tmp_path)
    with image.open(tmp_path / "animation.gif") as film:
        frames = []
        for index in range(film.n_frames):
            film.seek(index)
            frames.append(np.asarray(film.convert("RGB")))
    assert len(frames) == 2
    assert frames[0].shape == (320, 720, 3)
    assert (frames[0] != frames[1]).any()


def test_digits_are_learned(tmp_path):
    printed = run_example("digits", tmp_path)
    early, late = map(int, re.search(r"(\d+)% right over all rounds, (\d+)% over the last", printed).groups())
    assert late > early
    assert late > 30  # one in ten by chance
