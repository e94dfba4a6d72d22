"""The numbers over time: asv's suite over commits, and what became worse.

    python asv_benchmarks/track.py suites
    python asv_benchmarks/track.py run HEAD~3..HEAD [--suite ratios]
    python asv_benchmarks/track.py show Softmax
    python asv_benchmarks/track.py worse

Results are kept in `results/FAMILY/`, where FAMILY is a kind of machine and not one of them;
`asv publish`, in this folder, makes a site of them all.
"""

import argparse
import itertools
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import busy, family

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SCRATCH = HERE / ".asv" / "scratch"  # of `asv run --quick`, and of environments that were there

# Counts, and ratios whose both sides take one thread: how fast two threads are depends on whoever
# else uses the machine.
CORE = (
    r"\.track_(memory|longer_file|padding_left|unfilled)",
    r"\.track_wide_steps",
    r"pools\.PoolNumbers\.track_pool\(15000",
)
SUITES = {  # name: (what is in it, asv's pattern for that)
    "core": ("counts, and the ratios that a busy machine spoils least", "|".join(CORE)),
    "ratios": ("every ratio to what one could at best reach", r"\.track_"),
    "all": ("times and peak memory too", ""),
}


def run(revisions, suite):
    """asv over these commits: a wheel of each, in an environment of its own."""
    commits = list(itertools.chain.from_iterable(map(commits_of, revisions)))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        print(*commits, sep="\n", file=file, flush=True)
        command = ["run", f"HASHFILE:{file.name}", "--show-stderr", "--durations", "10"]
        return asv(*command, "--bench", SUITES[suite][1])


def commits_of(revision):
    """The commits of a range, or the one that a revision names."""
    git = ["git", "-C", str(HERE), "rev-list", "--no-walk", revision, "--"]
    return subprocess.check_output(git, text=True).split()


def asv(*arguments):
    return subprocess.run([sys.executable, "-m", "asv", *arguments], cwd=HERE).returncode


# -- what is stored -----------------------------------------------------------------------


def benchmarks_in(folder):
    """{name: what asv knows of it}, of every benchmark when asv last wrote to that folder."""
    path = folder / "benchmarks.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return {name: one for name, one in found.items() if name != "version"}


def results_in(folder, kind=None):
    """Of one kind of machine, the newest commit first: (commit, {name: {column: its cell}})."""
    files = (folder / (kind or family())).glob("*-*.json")
    stored = [json.loads(path.read_text("utf-8")) for path in files]
    stored.sort(key=lambda one: one["date"], reverse=True)
    return [(one["commit_hash"][:8], rows_by_name(one)) for one in stored]


def rows_by_name(stored):
    columns = stored["result_columns"]
    rows = stored["results"].items()
    return {name: dict(zip(columns, row, strict=False)) for name, row in rows}


def calls_of(name, params):
    """A benchmark with each of its parameters, as asv's patterns see them."""
    calls = [f"({', '.join(call)})" if call else "" for call in itertools.product(*params)]
    return [name + call for call in calls]


def numbers_of(results, pattern):
    """{call: its number} of those that match, and that could be run."""
    found = {}
    for name, one in results.items():
        calls = calls_of(name, one["params"])
        for call, number in zip(calls, one["result"] or [None] * len(calls), strict=True):
            if re.search(pattern, call) and number is not None and math.isfinite(number):
                found[call] = number
    return found


# -- the commands -------------------------------------------------------------------------


def suites():
    """A table of what there is, and how long it took where this kind of machine has run it."""
    known, stored = benchmarks_in(RESULTS), results_in(RESULTS)
    table = [["suite", "benchmarks", "calls", "took", "what"]]
    for suite, (what, pattern) in SUITES.items():
        calls = {
            name: sum(bool(re.search(pattern, call)) for call in calls_of(name, one["params"]))
            for name, one in known.items()
        }
        names = [name for name, count in calls.items() if count]
        took = next(filter(None, (seconds(names, pattern, one) for _, one in stored)), None)
        shown = "–" if took is None else f"{took:.0f} s"
        table.append([suite, str(len(names)), str(sum(calls.values())), shown, what])
    print(f"On {family()}:")
    print_aligned(table)


def seconds(names, pattern, results):
    """What these calls took of the time of their benchmarks; None where one was not run."""
    if any(name not in results for name in names):
        return None
    total = 0
    for name in names:
        run = numbers_of({name: results[name]}, "")
        if run:
            share = len(numbers_of({name: results[name]}, pattern)) / len(run)
            total += results[name]["duration"] * share
    return total


def show(pattern):
    """A table for each kind of machine, from the oldest commit to the newest."""
    for folder in sorted(path for path in RESULTS.iterdir() if path.is_dir()):
        show_kind(folder.name, pattern)


def show_kind(kind, pattern):
    stored = results_in(RESULTS, kind)[::-1]
    numbers = [numbers_of(results, pattern) for _, results in stored]
    table = [[kind, *(commit for commit, _ in stored)]]
    for call in sorted(set().union(*numbers)):
        cells = (f"{found[call]:.3g}" if call in found else "–" for found in numbers)
        table.append([call, *cells])
    print_aligned(table)


def print_aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def worse(limit, suite):
    """Prints ratios that have grown since this kind of machine's results were last stored."""
    stored, found = results_in(RESULTS), results_in(SCRATCH)
    if not stored or not found:
        missing = RESULTS if not stored else SCRATCH
        print(f"{missing.relative_to(HERE)} has nothing of {family()}: nothing to compare with.")
        return
    pattern = SUITES[suite][1]
    (_, old), (_, new) = stored[0], found[0]
    before, now = numbers_of(old, pattern), numbers_of(new, pattern)
    units = {name: one["unit"] for name, one in benchmarks_in(SCRATCH).items()}
    both = [call for call in now if call in before]
    grown = [call for call in both if now[call] > (1 + limit) * before[call]]
    print(f"Of {len(both)} ratios, {len(grown)} are more than {limit:.0%} worse than stored.")
    if grown and (said := busy()):
        print(said)
    for call in sorted(grown, key=lambda call: before[call] / now[call]):
        unit = units[call.partition("(")[0]]
        times = now[call] / before[call]
        print(f"{times:.2f}×: {call}: {before[call]:.3g} → {now[call]:.3g} {unit}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        epilog="\n".join(f"{name}: {what}" for name, (what, _) in SUITES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("suites", help="what can be run, and how long it takes")
    one = commands.add_parser("run", help="run a suite over commits, and store the results")
    one.add_argument("revisions", nargs="+", help="a commit, or a range such as HEAD~3..HEAD")
    one.add_argument("--suite", choices=SUITES, default="core", help="by default core")
    one = commands.add_parser("show", help="what is stored of each kind of machine")
    one.add_argument("pattern", nargs="?", default="", help="in a benchmark's name or parameters")
    one = commands.add_parser("worse", help="ratios that grew, of `asv run --quick`")
    one.add_argument("--by", type=float, default=0.1, help="by how much; by default 0.1")
    one.add_argument("--suite", choices=["core", "ratios"], default="core")
    chosen = parser.parse_args()
    if chosen.command == "run":
        return run(chosen.revisions, chosen.suite)
    if chosen.command == "show":
        return show(chosen.pattern)
    return suites() if chosen.command == "suites" else worse(chosen.by, chosen.suite)


if __name__ == "__main__":
    sys.exit(main())
