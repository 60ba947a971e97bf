"""A picture of a bandit in mid-episode: what an agent believes of every action, the truth, and regret so far."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dts_gym.harness.figures import COLOURS
from dts_gym.utils.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A frame cannot show more actions than this legibly: the best ones are shown.
_SHOWN = 40
_WIDTH, _HEIGHT, _DPI = 720, 320, 80
_LETTERS, _NAME_SIZE = 22, 6  # of an action's name: the most that are shown, and their size in points


class View(NamedTuple):
    """The contents of a frame.

    Parameters
    ----------
    truth : (K,) linear predictors ``x' theta`` of the next context.
    belief : (K,) posterior means and (K,) standard deviations of the same; None without an agent.
    counts : (K,) how often each action was played.
    regret : cumulative regret after each round played; None where the environment does not report it.
    title : text above the frame.
    names : (K,) names of the actions; None: none is shown.
    """

    truth: Array
    belief: tuple[Array, Array] | None
    counts: NDArray[np.int64]
    regret: Sequence[float] | None
    title: str
    names: Sequence[str] | None = None


def draw(view: View) -> NDArray[np.uint8]:
    """Draw a frame, always (320, 720, 3) RGB.

    Notes
    -----
    Actions are sorted by their true value, the best first; of more than 40 only the best 40 are shown. A frame costs
    some 100 ms of one core.

    Examples
    --------
    >>> view = View(np.array([0.5, -1.0]), (np.zeros(2), np.ones(2)), np.array([3, 0]), [0.0, 1.5, 1.5], "two actions")
    >>> draw(view).shape
    (320, 720, 3)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Fixed margins do not move from frame to frame and need no layout search.
    figure = Figure(figsize=(_WIDTH / _DPI, _HEIGHT / _DPI), dpi=_DPI)
    below = 0.14 if view.names is None else 0.40  # where the names stand
    figure.subplots_adjust(left=0.09, right=0.98, bottom=below, top=0.84, wspace=0.35)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _actions(left, view)
    _regret(right, view)
    figure.suptitle(view.title)
    buffer = BytesIO()
    figure.savefig(buffer, format="rgba")
    return np.frombuffer(buffer.getvalue(), np.uint8).reshape(_HEIGHT, _WIDTH, 4)[..., :3].copy()


def _actions(axes: Axes, view: View) -> None:
    shown = np.argsort(-view.truth, kind="stable")[:_SHOWN]
    places = np.arange(len(shown))
    if view.belief is not None:
        mean, std = (part[shown] for part in view.belief)
        axes.errorbar(
            places, mean, 2 * std, fmt="o", markersize=3, color=COLOURS[0], alpha=0.8, label="posterior, ± 2 std"
        )
    axes.plot(places, view.truth[shown], "_", markersize=9, markeredgewidth=2, color=COLOURS[1], label="truth")
    twin = axes.twinx()  # how often each was played, behind
    twin.bar(places, view.counts[shown], color="0.88", width=1.0)
    twin.set_ylabel("plays", color="0.5")
    twin.set_ylim(0, 3 * max(int(view.counts.max(initial=0)), 1))
    twin.tick_params(colors="0.5")
    axes.set_zorder(twin.get_zorder() + 1)
    axes.patch.set_visible(False)
    rest = f", the best {_SHOWN} of {len(view.truth)}" if len(view.truth) > _SHOWN else ""
    axes.set_xlabel(f"actions, best first{rest}")
    axes.set_ylabel("$x'\\theta$ on the next context")
    axes.set_xlim(-1, len(shown))
    if view.names is None:
        axes.set_xticks([])
    else:
        short = [name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…" for name in view.names]
        axes.set_xticks(places, [short[a] for a in shown.tolist()], rotation=90, fontsize=_NAME_SIZE)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize="small", borderpad=0.2)


def _regret(axes: Axes, view: View) -> None:
    axes.set_xlabel("round")
    axes.set_ylabel("cumulative regret")
    if view.regret is None:
        axes.text(0.5, 0.5, "not told", ha="center", va="center", transform=axes.transAxes)
        return
    axes.plot(np.arange(len(view.regret) + 1), [0.0, *view.regret], color=COLOURS[0])
    axes.set_xlim(0, max(len(view.regret), 1))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
