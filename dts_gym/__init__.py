"""Bayesian contextual bandits with structured priors, as Gymnasium environments and agents."""

__version__ = "0.1.0"
