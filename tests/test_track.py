"""The numbers over time: names of machines, suites, what grew, and what asv is kept from."""

import json
import os
import re
import shutil
import subprocess
import sys
from math import nan

import pytest

from tests.interpreters import ROOT

SCRIPTS = ROOT / "asv_benchmarks"
RESULTS = SCRIPTS / "results"
KIND = re.compile(r"[a-z0-9-]+-(sse|avx2|avx512|neon)(-[a-z]+)*-\d+cores?")


@pytest.fixture
def machine(script):
    return script("machine")


@pytest.fixture
def track(script, tmp_path, monkeypatch):
    """The script, whose folders are empty ones."""
    track = script("track")
    monkeypatch.setattr(track, "HERE", tmp_path)
    monkeypatch.setattr(track, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(track, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(track, "family", lambda: "some-neon-2cores")
    monkeypatch.setattr(track, "busy", lambda: "Others compute.")
    return track


# -- the machine --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "cores", "name"),
    [
        ("x86_64-unknown-linux-gnu", "znver3", "+avx,+avx2", 2, "amd-zen3-avx2-2cores"),
        ("x86_64-unknown-linux-gnu", "znver4", "+avx2,+avx512f", 64, "amd-zen4-avx512-64cores"),
        ("x86_64-pc-windows-msvc", "skylake-avx512", "+avx512f", 4, "skylake-avx512-4cores"),
        ("x86_64-unknown-linux-gnu", "nocona", "-avx2", 1, "nocona-sse-1core"),
        ("arm64-apple-darwin24", "apple-m1", "", 8, "apple-m1-neon-8cores"),
    ],
)
def test_a_kind_of_machine_has_a_name(machine, triple, cpu, features, cores, name):
    assert machine.family_name(triple, cpu, features, cores) == name
    assert KIND.fullmatch(name)


def test_this_machine_is_of_a_kind(machine):
    assert KIND.fullmatch(machine.family())


@pytest.mark.parametrize(
    ("cores", "idle", "said"),
    [
        (2, 1.9, None),
        (2, 1.7, "leave 1.7"),
        (2, 0.0, "leave 0.0"),
        (1, 63.0, None),  # of a large machine, whose other cores are others' business
    ],
)
def test_a_busy_machine_is_said(machine, monkeypatch, cores, idle, said):
    monkeypatch.setattr(machine, "num_threads", lambda: cores)
    monkeypatch.setattr(machine, "idle_cores", lambda seconds: idle)
    assert (said in machine.busy()) if said else machine.busy() == ""


def test_idle_cores_are_counted(machine, monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    before = "cpu 100 0 50 1000 10 0 0 5 7 0\ncpu0 1 2 3\n"
    after = "cpu 160 0 60 1025 15 0 0 5 9 0\ncpu0 1 2 3\n"  # 30 idle ticks of 100
    stat.write_text(before)
    monkeypatch.setattr(machine, "STAT", stat)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: stat.write_text(after))
    assert machine.idle_cores(0.5) == pytest.approx(4 * 0.3)


def test_where_there_is_no_stat_the_load_tells(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "STAT", tmp_path / "none")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    for load, idle in ((1.5, 2.5), (9.0, 0.0)):
        monkeypatch.setattr(machine.os, "getloadavg", lambda load=load: (load, 0, 0))
        assert machine.idle_cores(0.5) == idle


# -- rows of tables -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["LSTM, small", "GRU, small", "LSTM, large"]),
        (["lstm"], ["LSTM, small", "LSTM, large"]),
        (["LSTM", "large"], ["LSTM, large"]),
        (["some table"], ["LSTM, small", "GRU, small", "LSTM, large"]),
        (["softmax"], []),
    ],
)
def test_only_chosen_rows_are_measured(script, monkeypatch, words, expected):
    tables, measured = script("tables"), []

    def fastest(run):
        run()
        return [1.0]

    monkeypatch.setattr(tables, "fastest", fastest)
    monkeypatch.setattr(tables, "_words", [])
    names = ["LSTM, small", "GRU, small", "LSTM, large"]

    def some_table():
        for name in names:
            yield tables.against(name, lambda name=name: measured.append(name), "peer", None)

    tables.choose(words)
    assert [row.what for row in tables.rows_of(some_table)] == expected == measured


# -- results ------------------------------------------------------------------------------


def stored(folder, date, numbers):
    """A file as asv writes it, of one benchmark for each name."""
    columns = ["result", "params", "version", "started_at", "duration", "samples"]
    results = {
        name: [found, [[repr(one) for one in range(len(found))]] if len(found) > 1 else [], "1"]
        for name, found in numbers.items()
    }
    results = {name: [*row, 0, 8.0] for name, row in results.items()}
    file = {"commit_hash": f"{date:08}", "date": date, "result_columns": columns}
    path = folder / "some-neon-2cores" / f"{date:08}-virtualenv-py3.11.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**file, "results": results}))
    known = {name: {"params": row[1], "unit": "× a copy"} for name, row in results.items()}
    (folder / "benchmarks.json").write_text(json.dumps({"version": 2, **known}))


def test_what_grew_is_printed_from_the_worst_on(track, capsys):
    older = {"ops.track_a": [9.0, 9.0], "ops.track_b": [9.0]}
    newer = {"ops.track_a": [1.0, 2.0], "ops.track_b": [4.0], "ops.track_gone": [1.0]}
    found = {"ops.track_a": [1.05, 4.0], "ops.track_b": [4.5], "ops.track_new": [7.0]}
    stored(track.RESULTS, 1, older)
    stored(track.RESULTS, 2, newer | {"ops.time_c": [1.0]})
    stored(track.SCRATCH, 3, found | {"ops.time_c": [9.0]})
    track.worse(0.1, "ratios")
    assert capsys.readouterr().out.splitlines() == [
        "Of 3 ratios, 2 are more than 10% worse than stored.",
        "Others compute.",
        "2.00×: ops.track_a(1): 2 → 4 × a copy",
        "1.12×: ops.track_b: 4 → 4.5 × a copy",
    ]


def test_numbers_that_are_none_are_no_ratios(track, capsys):
    stored(track.RESULTS, 1, {"ops.track_a": [1.0, 1.0, nan], "ops.track_b": [None]})
    stored(track.SCRATCH, 2, {"ops.track_a": [1.0, None, 9.0], "ops.track_b": [5.0]})
    track.worse(0.1, "ratios")
    assert capsys.readouterr().out == "Of 1 ratios, 0 are more than 10% worse than stored.\n"


@pytest.mark.parametrize("there", [[], ["RESULTS"], ["SCRATCH"]])
def test_nothing_to_compare_with(track, capsys, there):
    for name in there:
        stored(getattr(track, name), 1, {"ops.track_a": [1.0]})
    track.worse(0.1, "ratios")
    assert "has nothing of some-neon-2cores" in capsys.readouterr().out


def test_a_suite_takes_its_share_of_what_its_benchmarks_took(track, capsys):
    numbers = {"ops.Some.track_unfilled": [1.0], "ops.Some.track_a": [1.0, 1.0, nan, None]}
    stored(track.RESULTS, 1, numbers)
    ((_, results),) = track.results_in(track.RESULTS)
    assert track.seconds([*numbers], r"unfilled|track_a\(0", results) == 8 + 4
    assert track.seconds(["ops.Some.track_new"], "", results) is None
    track.suites()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:5] for line in lines[2:]] == [
        ["core", "1", "1", "8", "s"],
        ["ratios", "2", "5", "16", "s"],
        ["all", "2", "5", "16", "s"],
    ]


def test_what_is_stored_is_shown_from_the_oldest_on(track, capsys, monkeypatch):
    stored(track.RESULTS, 2, {"ops.track_a": [2.0], "ops.track_b": [1.0]})
    stored(track.RESULTS, 1, {"ops.track_a": [1 / 3], "ops.other": [1.0]})
    monkeypatch.setattr(track, "family", lambda: "other-neon-2cores")  # all kinds are shown
    track.show("track_")
    assert capsys.readouterr().out.splitlines() == [
        "some-neon-2cores  00000001  00000002",
        "ops.track_a       0.333     2",
        "ops.track_b       –         1",
    ]


def test_commits_are_named_one_by_one_or_as_a_range(track, tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for number in range(3):
        command = [*git, "commit", "--quiet", "--allow-empty", "--message", str(number)]
        subprocess.run(command, check=True)
    first, second, third = (track.commits_of(name)[0] for name in ("HEAD~2", "HEAD~1", "HEAD"))
    assert track.commits_of("HEAD~2..HEAD") == [third, second]
    assert len({first, second, third}) == 3
    with pytest.raises(subprocess.CalledProcessError):
        track.commits_of("none")


def test_results_say_nothing_of_one_machine():
    """What is kept in the repository: no paths, hosts or kernels."""
    folders = [path for path in RESULTS.iterdir() if path.is_dir()]
    assert folders
    for folder in folders:
        assert KIND.fullmatch(folder.name)
        for path in folder.iterdir():
            found = json.loads(path.read_text("utf-8"))
            of_machine = found.get("params", found)
            assert of_machine["machine"] == folder.name
            assert of_machine["os"] in ("Linux", "Darwin", "Windows")
            assert of_machine["ram"] == ""
            assert found.get("env_name", "virtualenv").startswith("virtualenv")
            assert "/" not in found.get("python", "") + of_machine["cpu"]


def test_every_part_of_a_suite_is_there(script):
    track = script("track")
    known = track.benchmarks_in(RESULTS)
    calls = [call for name, one in known.items() for call in track.calls_of(name, one["params"])]
    for part in track.CORE:
        found = [call for call in calls if re.search(part, call)]
        assert found, part
        assert all(".track_" in call for call in found)


# -- asv ----------------------------------------------------------------------------------

SMALL = """
def track_small():
    return 2.0


def track_other():
    return 3.0


track_small.unit = track_other.unit = "× a copy"
"""


@pytest.fixture
def asv(tmp_path):
    """Runs asv, with our settings, on a project of two benchmarks: what it prints, and its end."""
    pytest.importorskip("asv")
    folder = tmp_path / "asv_benchmarks"
    (folder / "benchmarks").mkdir(parents=True)
    (folder / "benchmarks" / "__init__.py").touch()
    (folder / "benchmarks" / "small.py").write_text(SMALL)
    for name in ("asv.conf.json", "asv_plugin.py", "machine.py", "track.py"):
        shutil.copy(SCRIPTS / name, folder)
    shutil.copytree(SCRIPTS / "vendor", folder / "vendor")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@localhost"]
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "all"], check=True)
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def run(*arguments):
        command = [sys.executable, "-m", "asv", *arguments]
        process = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        return process.stdout, process.returncode

    run.folder = folder
    return run


@pytest.mark.slow
def test_what_is_run_once_is_no_result_and_the_site_needs_no_network(asv):
    results, scratch = asv.folder / "results", asv.folder / ".asv" / "scratch"
    for options in (["--quick", "--environment=existing:same"], ["--python=same"]):
        said, code = asv("run", *options, "--bench=small$", "--set-commit-hash=HEAD")
        assert code == 0, said
        assert not results.exists()
    (kind,) = (path.name for path in scratch.iterdir() if path.is_dir())
    assert KIND.fullmatch(kind)
    assert not (asv.folder.parent / ".asv-machine.json").exists()

    scratch.rename(results)
    said, code = asv("publish")
    assert code == 0, said
    site = asv.folder.parent / "docs" / "_build" / "html" / "benchmarks"
    page = (site / "index.html").read_text("utf-8")
    asked = re.findall(r'<(?:script|link)[^>]*?(?:src|href)="([^"]+)"', page)
    assert len(asked) > 15
    assert all((site / name).exists() for name in asked)
    assert [*json.loads((site / "index.json").read_text())["benchmarks"]] == ["small.track_small"]

    said, code = asv("continuous", "--quick", "HEAD", "HEAD")
    assert code == 1
    assert "tells nothing about two commits" in said
