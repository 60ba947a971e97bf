"""What rounds and steps cost, measured: `rounds` (linear chains), `chain_rounds` (the others), `env_steps`, `peers`.

`peers` times other libraries' agents beside ours; `machine` says where it was measured.
"""
