"""Compiled kernels for a round of a linear chain: `switch` says whether they are used, `kernels` has them.

They need the extra ``fast``. Without it, or with the environment variable ``DTS_GYM_FAST=0``, nothing is imported here
but `switch`, and posteriors compute with NumPy alone.
"""
