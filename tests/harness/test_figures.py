"""Figures: a file with the curves, and the numbers behind them."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colors, image
from matplotlib.figure import Figure

from dts_gym.harness import figures
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, RunRecord
from dts_gym.harness.figures import regret_figure
from dts_gym.harness.run_result import RunResult
from dts_gym.harness.tuning import tune


def made_up(specs, seeds=4, num_rounds=50):
    rng = np.random.default_rng(0)
    rounds = np.arange(1, num_rounds + 1)
    runs = {
        spec.label: tuple(
            RunRecord(s, 0, 0, rounds, np.cumsum(rng.random(num_rounds) * (i + 1)), 0.0, 1.0, 1.0) for s in range(seeds)
        )
        for i, spec in enumerate(specs)
    }
    return Comparison(Experiment("Some-v0", {}, tuple(specs), tuple(range(seeds)), num_rounds), runs)


def pixels_of(picture, colour):
    return int((np.abs(picture[..., :3] - np.array(colors.to_rgb(colour))).max(axis=-1) < 0.02).sum())


@pytest.mark.parametrize(("agents", "seeds"), [(1, 1), (3, 4), (12, 3)])
def test_the_picture_holds_every_curve(tmp_path, agents, seeds):
    path = tmp_path / "regret.png"
    specs = [AgentSpec("Random", label=f"agent {i}") for i in range(agents)]
    regret_figure(made_up(specs, seeds), path)
    picture = image.imread(path)
    assert picture.shape[0] >= 600
    assert picture.shape[1] >= 1000
    for colour in figures.COLOURS[:agents]:
        assert pixels_of(picture, colour) > 300
    for colour in figures.COLOURS[agents:-1]:  # the last is black, as text is
        assert pixels_of(picture, colour) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["regret.png"]


def test_curves_and_bands_are_means_and_standard_errors():
    comparison = made_up([AgentSpec("Random", label="a")])
    axes = Figure().add_subplot()
    figures.regret_curve(axes, comparison, "a", "#0072B2", "-")
    regret = comparison.regret("a")
    x, y = axes.lines[0].get_data()
    np.testing.assert_allclose(x, np.arange(51))
    np.testing.assert_allclose(y, np.append(0, regret.mean(axis=0)))
    band = axes.collections[0].get_paths()[0].vertices
    error = np.sqrt(regret[:, -1].var() * 4 / 3 / 4)
    assert band[band[:, 0] == 50, 1].max() == pytest.approx(regret[:, -1].mean() + error)
    assert band[band[:, 0] == 50, 1].min() == pytest.approx(regret[:, -1].mean() - error)
    assert axes.get_legend_handles_labels()[1] == [f"a: {regret[:, -1].mean():.2f} ± {error:.2f}"]


def test_a_long_curve_is_thinned_and_keeps_its_end():
    comparison = made_up([AgentSpec("Random", label="a")], num_rounds=5000)
    axes = Figure().add_subplot()
    figures.regret_curve(axes, comparison, "a", "#0072B2", "-")
    x, y = axes.lines[0].get_data()
    assert len(x) <= 1001
    assert x[-1] == 5000
    np.testing.assert_allclose(y[1:], comparison.regret("a").mean(axis=0)[np.asarray(x[1:], dtype=int) - 1])


def test_a_tuned_agent_keeps_its_colour():
    specs = [AgentSpec("dTS"), AgentSpec("dTS", {"exploration": 0.25}), AgentSpec("Random")]
    (one, plain), (tuned, dashed), (other, _) = figures._looks(made_up(specs))
    assert one == tuned != other
    assert plain != dashed
    many = figures._looks(made_up([AgentSpec("Random", label=str(i)) for i in range(20)]))
    assert len(set(many)) == 20


def test_names_stand_in_the_order_of_their_curves_and_do_not_overlap():
    axes = Figure(figsize=(8, 4)).add_subplot()
    axes.set_ylim(0, 100)
    ends = [(50.0, "a", "#000000"), (50.5, "b", "#000000"), (10.0, "c", "#000000"), (51.0, "d", "#000000")]
    figures.label_ends(axes, ends, 9.0)
    place = {text.get_text(): text.xy[1] for text in axes.texts}
    assert place["c"] == pytest.approx(0.1)  # alone: beside its own end
    height = 9.0 / (axes.get_position().height * 4 * 72)  # of a letter, in the axes' heights
    assert place["b"] - place["a"] > height
    assert place["d"] - place["b"] > height
    assert np.mean([place["a"], place["b"], place["d"]]) == pytest.approx(0.505)


def test_names_stand_beside_ends_on_a_log_scale():
    axes = Figure(figsize=(8, 4)).add_subplot()
    axes.set_yscale("log")
    axes.set_ylim(1, 10_000)
    figures.label_ends(axes, [(100.0, "a", "#000000")])
    assert axes.texts[0].xy[1] == pytest.approx(0.5)


def test_an_agent_looks_the_same_in_every_figure():
    known = figures.looks(["HierTS", "mine", "dTS", "dTS (branch 2)"])
    assert known["dTS"] == figures.looks(["dTS", "LinTS"])["dTS"]
    assert len(set(known.values())) == 4
    assert figures.looks(["LinTS (noise_std 1)"])["LinTS (noise_std 1)"] == figures.looks(["LinTS"])["LinTS"]


def test_a_label_with_dollar_signs_is_drawn_as_it_is(tmp_path):
    labels = [r"$\frac{$", "from $5 to $9", r"a\$b$c$"]
    comparison = made_up([AgentSpec("Random", label=label) for label in labels])
    comparison = replace(comparison, experiment=replace(comparison.experiment, env_id=r"$\frac{$-v0"))
    regret_figure(comparison, tmp_path / "regret.png", title=r"$\oops$")
    axes = comparison.plot(Figure().add_subplot())
    axes.legend()
    axes.figure.canvas.draw()  # where a formula that is none fails
    shown = [*axes.texts, axes.title]
    assert all(parsed(text)[1] is False for text in shown)
    assert sorted(parsed(text)[0].partition(":")[0] for text in axes.texts) == sorted(labels)
    assert parsed(axes.title)[0] == r"$\frac{$-v0"


def parsed(text):
    """What matplotlib draws of a text, and whether as a formula."""
    return text._preprocess_math(text.get_text())


def test_a_comparison_draws_on_given_axes_or_makes_some():
    comparison = made_up([AgentSpec("Random", label="a"), AgentSpec("Random", label="b")])
    axes = Figure().add_subplot()
    assert comparison.plot(axes) is axes
    assert len(axes.lines) == 2
    assert axes.get_title() == "Some-v0"
    assert axes.get_xlim() == (0, 50)


def test_a_plot_without_axes_is_pyplots_current_figure():
    import matplotlib

    with matplotlib.rc_context({"backend": "agg"}):
        import matplotlib.pyplot as plt

        axes = made_up([AgentSpec("Random", label="a")]).plot()
        assert plt.gcf() is axes.figure
        plt.close(axes.figure)


def test_a_run_is_drawn_by_its_regret_or_else_its_reward():
    rewards, regret = np.array([1.0, 2.0, -4.0]), np.array([0.5, 1.0, 4.0])
    known = RunResult(regret, rewards, np.zeros(3, dtype=np.int64), 0.0, 0.0)
    axes = known.plot(Figure().add_subplot())
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.0, 0.5, 1.0, 4.0])
    axes = replace(known, regret=np.full(3, np.nan)).plot(Figure().add_subplot())
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.0, 1.0, 3.0, -1.0])
    assert axes.get_ylabel() == "Cumulative reward"
    assert axes.get_ylim()[0] < -1.0


def test_tuning_is_drawn_over_its_scales_with_the_best_one_full():
    tuning = tune("DiffusionBandit-v0", ["LinTS"], grid=(1, 0.1, 0.5), seeds=3, num_rounds=20, bracket=False)
    axes = tuning.plot(Figure().add_subplot())
    curve, *_ = axes.containers[0]
    means = [tuning.regret["LinTS"][scale].mean() for scale in (0.1, 0.5, 1.0)]
    np.testing.assert_allclose(curve.get_xydata(), list(zip((0.1, 0.5, 1.0), means, strict=True)))
    dot = axes.lines[-1]
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (tuning.best["LinTS"], min(means))


@pytest.mark.parametrize("name", [r"$\frac{$", "$$", "from $5 to $9"])
def test_the_name_of_a_runs_values_is_shown_as_it_is(tmp_path, name):
    figure = Figure()
    axes = figures.plot_run(np.arange(5.0), name, figure.add_subplot())
    figure.savefig(tmp_path / "run.png")
    assert axes.get_ylabel() == name.replace("$", r"\$")
