"""What the driver and its workers have to agree on, and what each knows of the other."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray

import ragmask
from ragmask.errors import InvalidInputError


def check_version(driver: str) -> None:
    """Raise where this process has another ragmask than the driver."""
    if driver != ragmask.__version__:
        raise InvalidInputError(
            f"a worker has ragmask {ragmask.__version__}, and the driver has {driver}: "
            "install the same version in all of them"
        )


def cpus() -> int:
    """Those of the cluster that this process is connected to."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


@contextmanager
def cluster() -> Iterator[int]:
    """The CPUs of the cluster: the one this process is connected to, or else one for the while.

    Ray looks for one itself (RAY_ADDRESS, or `ray start` on this machine) before it begins its own.
    """
    begun = not ray.is_initialized()
    if begun:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield cpus()
    finally:
        if begun:
            ray.shutdown()
