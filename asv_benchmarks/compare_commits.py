"""Whether two commits give the same results, bit for bit, and how fast each is.

    python asv_benchmarks/compare_commits.py BEFORE [AFTER] [--time | --only-time] [--calls PATTERN]

BEFORE and AFTER are revisions; without AFTER, the working tree is compared. Each is checked out in
a folder of its own and runs the same calls of the public API on the same batches, see `commits/`,
in an interpreter of its own with a compile cache of its own. Exits with 1 if any result differs.
`--time` also times calls, in turns: one commit, then the other, many rounds.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).parent / "commits" / "worker.py"
IMPORT = "import ragmask"
FIRST_CALL = """
import ragmask as rm
rm.Ragged.from_rows([[1.0, 2.0], [3.0]]).to_padded()
"""
FIRST_LSTM = """
import numpy as np, ragmask as rm
weights = rm.LSTMWeights(*(np.ones(shape, np.float32) for shape in ((2, 12), (3, 12), (12,))))
rm.lstm(rm.Ragged.from_rows([[[1.0, 2.0]]], np.float32), weights)
"""
STARTS = {"import": IMPORT, "a first to_padded": FIRST_CALL, "a first lstm": FIRST_LSTM}


class Commit:
    """A checked-out tree, and a worker that runs its code until the end."""

    def __init__(self, name, tree, cache):
        self.name, self.tree = name, tree
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "NUMBA_CACHE_DIR": str(cache),
        }
        self.worker = subprocess.Popen(
            [sys.executable, str(WORKER)],
            env=self.environment,
            cwd=tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        imported = Path(self.ask("where"))
        if not imported.is_relative_to(tree):
            raise RuntimeError(f"{name} is in {tree}, but {imported} was imported")

    def send(self, *request):
        print(json.dumps(request), file=self.worker.stdin, flush=True)

    def receive(self):
        answer = self.worker.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker of {self.name} ended with {self.worker.wait()}")
        return json.loads(answer)

    def ask(self, *request):
        self.send(*request)
        return self.receive()

    def seconds_of(self, code):
        """Of a statement in a new interpreter, whose own start does not count."""
        timed = (
            f"import time\nbegin = time.perf_counter()\n{code}\nprint(time.perf_counter() - begin)"
        )
        command = [sys.executable, "-c", timed]
        return float(subprocess.check_output(command, env=self.environment, cwd=self.tree))

    def close(self):
        self.worker.stdin.close()
        self.worker.wait()


@contextmanager
def checked_out(revision, folder):
    """The tree of a revision; the working tree for None."""
    if revision is None:
        yield ROOT
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def compare_results(before, after, pattern):
    """The number of calls whose results differ, each of which is printed."""
    before.send("digests", pattern)  # both work at the same time
    after.send("digests", pattern)
    old, new = before.receive(), after.receive()
    counts = Counter()
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in old or name not in new:
            verdict = f"only in {before.name if name in old else after.name}, skipped"
        elif old[name] == new[name]:
            verdict = "raise the same error" if old[name].startswith("raises") else "equal"
        else:
            verdict = "differ"
        counts[verdict] += 1
        if verdict not in ("equal", "raise the same error"):
            print(f"{verdict}: {name} ({old.get(name)}, {new.get(name)})")
    print(", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()), flush=True)
    return counts["differ"]


def compare_times(before, after, rounds, pattern):
    """A table of the least times of each, of calls that both have."""
    known = set(after.ask("names"))
    names = [name for name in before.ask("names") if name in known and re.search(pattern, name)]
    print(f"\n| what | {before.name} | {after.name} | its speed |\n|---|---:|---:|---:|")
    for name in names:
        print_row(name, before, after, lambda commit, name=name: commit.ask("time", name), rounds)
    for name, code in STARTS.items():
        if not re.search(pattern, name):
            continue
        print_row(name, before, after, lambda commit, code=code: commit.seconds_of(code), rounds)


def print_row(name, before, after, measure, rounds):
    pairs = [(measure(before), measure(after)) for _ in range(rounds)]
    old, new = (min(seconds) for seconds in zip(*pairs, strict=True))
    print(f"| {name} | {old * 1e6:,.1f} µs | {new * 1e6:,.1f} µs | {old / new:.2f}× |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", help="a revision")
    parser.add_argument("after", nargs="?", help="another; by default the working tree")
    parser.add_argument("--time", action="store_true", help="time calls too")
    parser.add_argument("--only-time", action="store_true", help="compare no results")
    parser.add_argument("--calls", default="", help="a pattern in the names of those wanted")
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        commits = []
        for side, revision in (("before", chosen.before), ("after", chosen.after)):
            tree = stack.enter_context(checked_out(revision, folder / side))
            commit = Commit(revision or "the working tree", tree, folder / f"{side}-cache")
            stack.callback(commit.close)
            commits.append(commit)
        differ = 0 if chosen.only_time else compare_results(*commits, chosen.calls)
        if chosen.time or chosen.only_time:
            compare_times(*commits, chosen.rounds, chosen.calls)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
