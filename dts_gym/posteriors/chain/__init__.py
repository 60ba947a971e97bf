"""The posterior of chains whose links are not affine: messages up through affine surrogates, particles down.

Read `chain` (links and factorised noise), `messages` (evidence on every level), then what stands in for a link:
`surrogates`, `tangents`, `races` (searches from many starts), `modes` (where tangents are taken) and `tangent_tracker`
(which keeps them up to date). `run_chains` and `run_streams` let searches and filters serve many runs at once. On the
way down `guided_steps`, `resampling` and `particles` are the filter, `parameter_draws` and `leave_one_out` its uses.
`chain_posterior` puts it together where all levels are shared; `branched_levels` and `branched_posterior` where some
are each action's own, with `fixed_draws` for their moments.
"""
