"""How the tests of kernels run them, and on how much."""

import numpy as np
from hypothesis import Phase, settings

from ragmask.kernels.cuda.launch import launch

# to make a failing example smaller would take minutes
few_examples = settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])


def run(kernel, rows, *arguments):
    """Launch a kernel on numpy arrays; it may write to those that are not read-only."""
    launch(kernel, rows, *[writable(argument) for argument in arguments])


def writable(argument):
    """The same, or a copy: the simulator copies every array back, changed or not."""
    read_only = isinstance(argument, np.ndarray) and not argument.flags.writeable
    return argument.copy() if read_only else argument
