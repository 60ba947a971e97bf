"""Is a posterior right? Calibration, distances to a truth, and a look at learned priors.

Read `calibration` (ranks of the truth among posterior draws; `calibration_problems`, `rank_tests`), then
`posterior_error` (distance of draws to a truth; `error_problems` says on what, `truth` where the truth comes from,
`energy` how the distance is measured, `error_records` and `error_report` keep and show it; `reweighted_prior` is the
truth of a learned prior). `prior_report` compares a fitted prior with its data.
"""
