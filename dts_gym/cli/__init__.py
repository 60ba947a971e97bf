"""The command line ``dts-gym``: every command is a short function that calls the package which does the work.

Read `entry` first: a table of the commands, how one is found and called, how errors are shown. The parameters of a
command's function are its options, and its docstring has their help texts: `run` (run, tune and plot), `aggregate`,
`identify`, `sweep`, `pretrain`, `offpolicy`, `posterior_error`, `calibration`, `listing`, `reproduce`, `report`, and
the benchmarks in `dts_gym.bench`. `env_options` reads the options of an environment, `setting_texts` the texts of
settings from docstrings; `folders` decides where results go and how an interrupted command is resumed.
"""

from dts_gym.cli.entry import main

__all__ = ["main"]
