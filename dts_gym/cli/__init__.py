"""The command line ``dts-gym``: thin, every command a function that calls the wing that does the work.

Read `entry` (how a command is found and errors are shown) and `commands` (what run, tune, plot and others accept). A
command with a file of its own: `sweep`, `pretrain`, `reproduce`, `report`, `calibration`. `listing`, `env_options` and
`setting_texts` say what there is, from docstrings.
"""

from dts_gym.cli.entry import main

__all__ = ["main"]
