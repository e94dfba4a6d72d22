"""What compare_commits.py runs for each commit, in a process of its own.

It is told what to do by lines of JSON, and answers each with one. `["digests", pattern]`: {name of
a call that the pattern is found in: fingerprint of its result}. `["names"]`: those of the timed
calls. `["time", name]`: the least seconds of one.
"""

import json
import re
import sys
import warnings
from collections import Counter

import numpy as np
from calls import calls
from digest import digest
from timings import least_seconds, timings

import ragmask


def main():
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    actions = {"where": where, "digests": digests, "names": names, "time": least_seconds}
    for line in sys.stdin:
        action, *arguments = json.loads(line)
        print(json.dumps(actions[action](*arguments)), file=answers, flush=True)


def where():
    return ragmask.__file__


def digests(pattern):
    found, seen = {}, Counter()
    for name, call in calls():
        if not re.search(pattern, name):
            continue
        seen[name] += 1
        if seen[name] > 1:
            raise ValueError(f"two calls are named {name}")
        try:
            found[name] = digest(call())
        except Exception as error:  # errors are compared too, but for their wording
            found[name] = f"raises {type(error).__name__}"
    return found


def names():
    return list(timings())


if __name__ == "__main__":
    main()
