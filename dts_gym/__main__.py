"""``python -m dts_gym``: the command line ``dts-gym``, which then also finds modules in the working directory."""

import sys

from dts_gym.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
