"""Numbers that kernels and those who call them have to agree on. Needs no Numba."""

# how `pool` sums a row up
SUM, MEAN, MAX, FIRST, LAST = range(5)
POOL_CODES = {"sum": SUM, "mean": MEAN, "max": MAX, "first": FIRST, "last": LAST}

LINE_BYTES = 64  # of a cache line

# The tile of a recurrent layer's product on the CPU: so many rows by a panel of so many bytes.
TILE_ROWS = 6
PANEL_BYTES = 64
# Sums over so many numbers are added up: with one sum over the whole depth, the outputs of
# float32 had 1.8 times the error.
SPAN = 16

NOWHERE = 2**63 - 1  # what a search for the first of something begins with
