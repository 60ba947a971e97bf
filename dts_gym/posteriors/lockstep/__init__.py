"""Many runs as one array: posteriors of equal sizes that learn and choose together, each with its own random stream.

`run_tables` holds the tables of all runs in stacked arrays, of which each run's own table is a view, and `run_choices`
chooses by them. `linear_runs` learns for posteriors in closed form, `glm_runs` for those whose rewards are expanded, by
the tables of `expansion_runs`, `chain_runs` for chains by particles at branch 0, whose tangents `search_runs` finds.
`shared_runs` chooses where all actions share one parameter, by one of these as the posterior of a single action.
`stacking` says which of them serves some posteriors. Formulas are those of the single posteriors: what is here is their
leading axis of runs. A run's numbers do not depend on which runs are beside it.
"""
