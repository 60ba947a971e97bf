"""The curves of a tuned comparison, one for each agent: at its tuned scale, or as it is where nothing was tuned.

make run
python examples/tuned_curves.py results/quickstart FILE.png
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from dts_gym.harness.experiment import base_label
from dts_gym.harness.figures import label_ends, looks, regret_curve
from dts_gym.harness.records import load_records


def main(folder: str, path: str) -> None:
    """Draw mean cumulative regret in bands of one standard error, named at their ends."""
    comparison = load_records(folder)
    # A tuned agent stands behind the same agent at exploration 1, and takes its place.
    shown = {base_label(spec): spec.label for spec in comparison.experiment.agents}
    styles = looks(list(shown))
    figure, axes = plt.subplots(figsize=(7.4, 3.7))
    figure.subplots_adjust(left=0.105, right=0.605, top=0.97, bottom=0.13)
    ends = []
    for agent, label in shown.items():
        scale = label.partition("exploration ")[2].rstrip(")")
        name = f"{agent}, tuned to {scale}" if scale else f"{agent}, untuned"
        ends.append(regret_curve(axes, comparison, label, styles[agent][0], "--" if scale else "-", name))
    axes.set(xlim=(0, comparison.rounds[-1]), ylim=(0, None), xlabel="round", ylabel="cumulative regret")
    axes.grid(alpha=0.25)
    label_ends(axes, ends, size=11)
    figure.savefig(path, dpi=110)
    print(f"{path}: {len(shown)} agents")


if __name__ == "__main__":
    main(*sys.argv[1:3])
