"""Tables of results, kept here for code that imports them from it; see `dts_gym.harness`, `dts_gym.utils.tables`."""

from dts_gym.harness.experiment import Row, summary, table
from dts_gym.harness.sweeps import cells_csv, cells_table
from dts_gym.utils.tables import Style, layout, plus_minus, standard_error

__all__ = ["Row", "Style", "cells_csv", "cells_table", "layout", "plus_minus", "standard_error", "summary", "table"]
