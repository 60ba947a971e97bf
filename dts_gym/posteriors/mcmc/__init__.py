"""Markov chains for a chain's posterior: slow, and the truth that faster posteriors are held against.

Read `slice_sampling` (elliptical slice sampling of all levels), `slice_posterior` (a posterior kept by it, round by
round), `convergence` (how far chains agree).
"""
