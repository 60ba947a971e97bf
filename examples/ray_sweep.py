"""A sweep on Ray: environments x agents x seeds, with the same results as in processes on this machine.

python examples/ray_sweep.py [ROUNDS] [SEEDS] [WORKERS]

With a cluster's address, ``ray_address=``, its machines need the package, but no common disk.
"""

import sys
import tempfile
from pathlib import Path

from dts_gym.sweeps import Sweep, run_sweep


def main(num_rounds: int = 500, seeds: int = 5, num_workers: int = 2) -> None:
    """Run two sizes and three agents; a stopped sweep could be resumed from its records."""
    sweep = Sweep(
        environments=[{"id": "DiffusionBandit-v0", "num_actions": [20, 100]}],  # a list is a grid
        agents=["LinTS:exploration=0.5", {"id": "dTS", "exploration": [1.0, 0.5]}],
        seeds=seeds,
        rounds=num_rounds,
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sweep"
        print(run_sweep(sweep, out=out, backend="ray", num_workers=num_workers))
        print((out / "summary.csv").read_text().partition("\n")[0])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
