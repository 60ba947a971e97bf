"""Markov chains for a chain's posterior: slow, and the reference for faster posteriors.

Read `slice_sampling` (elliptical slice sampling of all levels), `slice_posterior` (a posterior computed by it, round by
round), `convergence` (diagnostics of the chains).
"""
