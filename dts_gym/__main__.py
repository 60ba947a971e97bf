"""``python -m dts_gym``: the command line ``dts-gym``, which then also finds modules of the folder that one is in."""

import sys

from dts_gym.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
