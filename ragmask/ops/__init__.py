"""The operations: each takes a Ragged, a Padded or a dense array, and gives back its kind.

Each validates, allocates, and runs one kernel over views; none builds a padded array. Their public
names are in `ragmask/__init__.pyi`.
"""
