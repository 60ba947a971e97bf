"""Checks of a posterior: calibration, distances to the true posterior, and reports on learned priors.

Read `calibration` (ranks of the truth among posterior draws; `calibration_problems`, `rank_tests`), then
`posterior_error` (distance of draws to the truth; `error_problems` defines the problems, `truth` computes the true
posterior, `energy` the distance, `error_records` and `error_report` keep and show it; `reweighted_prior` is the truth
of a learned prior). `prior_report` compares a fitted prior with its data.
"""
