"""Running agents on environments: one run, many paired runs, tuning, sweeps, and their records.

Read `runner` (one run; `run_result` is what it returns, `run_record` what is kept of it), `teams` (an agent on each of
many instances), `masks` (of actions, as environments report them) and `callbacks`, then `experiment` (what is run, and
its results), `agent_texts` (agents written as text), `conduct` (how it is executed), `jobs` (runs as jobs of a pool, in
the groups that `groups` makes of them; `user_entries` lets its processes know what a user registered), `comparing`,
`tuning` (`explorations` makes agents at other scales, `brackets` says which scales to try next), `sweeps`, and
`aggregates` (agents over many settings at once). `round_log`
writes the rounds of a run for off-policy estimates. `records`, `provenance` and `code_state` keep results in folders
with what made them, so that a killed experiment can be resumed, `figures` draws them.
"""
