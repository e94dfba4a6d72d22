"""Numbers that kernels and those who call them have to agree on. Needs no Numba."""

# how `pool` sums a row up; kernels compare these
SUM, MEAN, MAX, MIN, FIRST, LAST = range(6)
POOL_CODES = {"sum": SUM, "mean": MEAN, "max": MAX, "min": MIN, "first": FIRST, "last": LAST}

LINE_BYTES = 64  # of a cache line

# The tile of a recurrent layer's product on the CPU: up to so many rows by panels of so many bytes.
# Six rows leave registers for a panel's weights in each family of processors.
TILE_ROWS = 6
PANEL_BYTES = 64
# Sums over so many numbers are added up: with one sum over the whole depth, the outputs of
# float32 had 1.8 times the error.
SPAN = 16

CUDA_SUMS = 4  # that a unit has in CUDA's recurrences, side by side

# More rows in flight than this brought nothing: the weights' panels are reused enough.
MOST_SLOTS = 48
MULTIPLY_NS = 0.02  # of one core, for one multiplication in a recurrent layer's product
UNIT_NS = 5.0  # for a unit's new states in a step
STATES_NS = 100.0  # to begin and end a row of it

NOWHERE = 2**63 - 1  # what a search for the first of something begins with
NAT = -(2**63)  # numpy's date or duration that is none, as an integer
