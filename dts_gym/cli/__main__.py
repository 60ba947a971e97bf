"""``python -m dts_gym.cli``: the command line."""

from __future__ import annotations

import sys

from dts_gym.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
