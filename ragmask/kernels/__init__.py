"""Compiled kernels on bare arrays. `ragmask.kernels.cpu` holds the ones for the CPU.

Nothing here validates: a bad offset reads someone else's memory. The functions of
`ragmask` check first; who calls a kernel directly checks for themselves.
"""
