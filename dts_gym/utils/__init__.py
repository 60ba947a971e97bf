"""Tools that do not depend on bandits; every other package may use them.

`arrays` has the types and roots of covariances, `twofold` arrays of 32 digits, `columns` arrays that grow together,
`validation` the checks of users' input, `seeding` the random streams, `memory` the refusal of what would not fit.
`archives` writes files completely or not at all, `locks` keeps other processes out of a folder, `caching` keeps what
takes long, `text_files` reads JSON and YAML, `workers` runs jobs in other processes or on Ray, `progress` and `tables`
show work and numbers on a terminal, `shown` is how objects print, `extras` says which package is missing. The order of
reading does not matter.
"""
