"""A process's share of the machine: settings, an engine's task, quotas of containers, CPUs."""

import os
import sys
from types import SimpleNamespace

import pytest

import ragmask as rm
from ragmask import share

SETTINGS = ("RAGMASK_NUM_THREADS", "OMP_NUM_THREADS")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Eight CPUs, no settings, no quota, no engine; returns the folder of control groups."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    else:
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for module in ("ray", "pyspark.taskcontext"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(share, "_CGROUPS", tmp_path)
    monkeypatch.setattr(share, "_OWN_CGROUP", tmp_path / "own")
    return tmp_path


def in_group(root, lines, files):
    (root / "own").write_text(lines)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def spark(monkeypatch, cpus):
    context = None if cpus is None else SimpleNamespace(cpus=lambda: cpus)
    module = SimpleNamespace(TaskContext=SimpleNamespace(get=lambda: context))
    monkeypatch.setitem(sys.modules, "pyspark.taskcontext", module)


def ray(monkeypatch, cpus, mode=1):
    context = SimpleNamespace(
        worker=SimpleNamespace(mode=mode), get_assigned_resources=lambda: cpus
    )
    module = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context)
    monkeypatch.setitem(sys.modules, "ray", module)


def test_the_default_is_the_cpus_this_process_may_use(machine):
    assert share.num_threads() == 8


@pytest.mark.parametrize(
    ("ours", "omp", "threads"),
    [
        ("3", "5", 3),
        ("", "5", 5),
        (None, "5,2", 5),
        (None, "all", 8),
        (None, "0", 8),
        (" 2 ", "", 2),
    ],
)
def test_settings_come_first(machine, monkeypatch, ours, omp, threads):
    spark(monkeypatch, 4)
    for name, setting in zip(SETTINGS, (ours, omp), strict=True):
        if setting is not None:
            monkeypatch.setenv(name, setting)
    assert share.num_threads() == (threads if threads != 8 else 4)


@pytest.mark.parametrize("setting", ["0", "-1", "two", "1.5"])
def test_a_bad_setting_of_ours_is_named(machine, monkeypatch, setting):
    monkeypatch.setenv("RAGMASK_NUM_THREADS", setting)
    with pytest.raises(
        rm.InvalidInputError, match=f"RAGMASK_NUM_THREADS must be .* got '{setting}'"
    ):
        share.num_threads()


@pytest.mark.parametrize(
    ("own", "files", "threads"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "250000 100000\n"}, 2),
        ("0::/a\n", {"a/cpu.max": "50000 100000\n"}, 1),  # never less than one
        ("0::/a\n", {"a/cpu.max": "1600000 100000\n"}, 8),  # never more than there are
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/a\n", {}, 8),
        ("0::/a\n", {"a/cpu.max": "nonsense"}, 8),
        (
            "4:memory:/x\n3:cpu,cpuacct:/pod\n0::/\n",
            {"cpu/pod/cpu.cfs_quota_us": "200000\n", "cpu/pod/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        (
            "1:cpu:/pod\n",
            {"cpu/pod/cpu.cfs_quota_us": "-1\n", "cpu/pod/cpu.cfs_period_us": "100000\n"},
            8,
        ),
    ],
)
def test_a_container_s_quota_counts(machine, own, files, threads):
    in_group(machine, own, files)
    assert share.num_threads() == threads


@pytest.mark.parametrize(("cpus", "threads"), [(2, 2), (16, 8), (None, 8)])
def test_a_task_of_spark_has_its_own_cpus(machine, monkeypatch, cpus, threads):
    spark(monkeypatch, cpus)
    assert share.num_threads() == threads


@pytest.mark.parametrize(
    ("cpus", "mode", "threads"),
    [({"CPU": 2.0}, 1, 2), ({"CPU": 0.5}, 1, 1), ({}, 1, 1), ({"CPU": 2.0}, 0, 8)],
)
def test_a_task_of_ray_has_its_own_cpus_and_a_driver_all(machine, monkeypatch, cpus, mode, threads):
    ray(monkeypatch, cpus, mode)
    assert share.num_threads() == threads


def test_a_worker_s_next_task_may_have_another_share(machine, monkeypatch):
    monkeypatch.setattr("ragmask.threads._num_threads", None)
    for cpus in (2, 5, 1):
        spark(monkeypatch, cpus)
        assert rm.get_num_threads() == cpus
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert rm.get_num_threads() == 3
    rm.set_num_threads(4)
    assert rm.get_num_threads() == 4
