"""Measured times of rounds and steps: `rounds` (linear chains), `chain_rounds` (other chains), `env_steps`,
`together` (many runs as one array), `compiled` (rounds by numba), `serving` (batches of contexts), `item_rounds` (items
that share effects), `peers`.

`peers` times other libraries' agents beside ours; `machine` describes the machine of a measurement.
"""
