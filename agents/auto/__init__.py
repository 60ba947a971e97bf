"""How an agent chooses its exploration by itself, by playing candidates on instances of its own prior.

Read `choosing` (candidates, and when one is better than another), then `simulation` (how they are played) and
`exploration_tuning` (what is reported of a choice).
"""
