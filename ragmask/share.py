"""This process's share of the machine: how many threads it may run without taking others' CPUs."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ragmask.errors import InvalidInputError

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def settings() -> tuple[object, ...]:
    """What decides the share and may change while the process runs; cheap to ask."""
    spark = _spark_context()
    cpus = None if spark is None else spark.cpus()
    return os.environ.get("RAGMASK_NUM_THREADS"), os.environ.get("OMP_NUM_THREADS"), cpus


def num_threads() -> int:
    """The threads that a process may run by default, at least 1."""
    setting = os.environ.get("RAGMASK_NUM_THREADS", "").strip()
    if setting:
        if not setting.isdecimal() or int(setting) < 1:
            raise InvalidInputError(
                f"RAGMASK_NUM_THREADS must be an integer of at least 1; got {setting!r}"
            )
        return int(setting)
    # a list has a number for each level of nested loops; ours have one
    setting = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if setting.isdecimal() and int(setting) >= 1:
        return int(setting)
    usable = min(_affinity(), _quota())
    return max(1, int(min(usable, _task_cpus())))


def _affinity() -> float:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> float:
    """The CPUs' time that the container may use, of all groups that this process is in."""
    least = float("inf")
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        return least
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            least = min(least, _least_quota(_CGROUPS, place, _quota_v2))
        elif "cpu" in controllers.split(","):
            least = min(least, _least_quota(_CGROUPS / "cpu", place, _quota_v1))
    return least


def _least_quota(root: Path, place: str, quota: Callable[[Path], float]) -> float:
    """That of a group and of all those it is in."""
    folder = root / place.lstrip("/")
    return min(quota(one) for one in (folder, *folder.parents) if one.is_relative_to(root))


def _quota_v2(folder: Path) -> float:
    quota, period = _words(folder / "cpu.max", 2)
    return int(quota) / int(period) if quota.isdecimal() else float("inf")


def _quota_v1(folder: Path) -> float:
    (quota,) = _words(folder / "cpu.cfs_quota_us", 1)
    (period,) = _words(folder / "cpu.cfs_period_us", 1)
    return int(quota) / int(period) if quota.isdecimal() else float("inf")


def _words(file: Path, count: int) -> list[str]:
    """The words of a file; "max" and a period where there is none."""
    try:
        words = file.read_text().split()
    except OSError:
        words = []
    return words if len(words) == count else ["max", "100000"][:count]


def _task_cpus() -> float:
    """The CPUs of the engine's task that this process runs, of engines that are imported here."""
    spark = _spark_context()
    if spark is not None:
        return float(spark.cpus())
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized() and ray.get_runtime_context().worker.mode == 1:
        return float(ray.get_runtime_context().get_assigned_resources().get("CPU", 0) or 1)
    return float("inf")


def _spark_context() -> Any:
    """The task of Spark that this process runs, if it is one of its workers."""
    taskcontext = sys.modules.get("pyspark.taskcontext")
    return None if taskcontext is None else taskcontext.TaskContext.get()
