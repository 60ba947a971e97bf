"""The names of the figures of the harness, kept here for code that imports them from this module."""

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
