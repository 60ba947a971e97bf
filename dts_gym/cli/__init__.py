"""The command line ``dts-gym``: thin, every command a function that calls the wing that does the work.

Read `entry` first: a table of the commands, how one is found and called, how errors are shown. A command's function has
its options as parameters and their help texts in its docstring: `run` (run, tune and plot), `sweep`, `pretrain`,
`posterior_error`, `calibration`, `listing`, `reproduce`, `report`, and the benchmarks in `dts_gym.bench`.
`env_options` reads the options of an environment, `setting_texts` what docstrings say of settings; `folders` has where
results go and how an interrupted command goes on.
"""

from dts_gym.cli.entry import main

__all__ = ["main"]
