"""The names of `dts_gym.harness.figures`, kept here for those who import them from here."""

from dts_gym.harness.figures import (
    COLOURS,
    label_ends,
    looks,
    plot_regret,
    plot_run,
    plot_scales,
    regret_curve,
    regret_figure,
)

__all__ = ["COLOURS", "label_ends", "looks", "plot_regret", "plot_run", "plot_scales", "regret_curve", "regret_figure"]
