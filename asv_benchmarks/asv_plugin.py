"""What asv.conf.json has asv load: three things that asv has no setting for.

- Results are those of a kind of machine: no host's name, kernel or memory stands in them.
- `--quick` runs each benchmark once, and so measures loading; the name of an environment that was
  there is a path. What these two find is kept in `.asv/scratch`, never among the results.
- The published site finds its scripts beside it, in `vendor/`, instead of in the network.
"""

import platform
import re
import shutil
from pathlib import Path

from asv import util
from asv.commands.continuous import Continuous
from asv.commands.run import Run
from asv.console import log
from asv.environment import ExistingEnvironment, get_environments
from asv.machine import Machine
from asv.publishing import OutputPublisher
from machine import busy, family, processor
from track import HERE, SCRATCH

from ragmask.share import num_threads

VENDOR = Path(__file__).parent / "vendor"
ASKED_ELSEWHERE = re.compile(r'(src|href)="https://[^"]*/([^"/]+\.(?:js|css))"[^>]*>')


def setup():
    """asv calls this once it has read its configuration."""
    run, load, continuous = Run.run, Machine.load, Continuous.run

    def run_and_warn(cls, conf, **options):
        found = get_environments(conf, options.get("env_spec"), verbose=False)
        if options.get("quick") or any(isinstance(one, ExistingEnvironment) for one in found):
            conf.results_dir = str(SCRATCH)
            log.info(f"Results go to {SCRATCH.relative_to(HERE)}: they are not to be kept")
        if said := busy():
            log.warning(said)
        return run(conf, **options)

    def compare_at_length(cls, conf, **options):
        if options.get("quick"):
            raise util.UserError("--quick measures loading: it tells nothing about two commits")
        return continuous(conf, **options)

    def load_kind(cls, *, machine_name=None, **options):
        return load(machine_name=machine_name, **options) if machine_name else kind_of_machine()

    Run.run = classmethod(run_and_warn)
    Continuous.run = classmethod(compare_at_length)
    Machine.load = classmethod(load_kind)


def kind_of_machine():
    """All that results say of where they were found."""
    machine = Machine()
    machine.machine = family()
    machine.arch, machine.os = platform.machine(), platform.system()
    machine.cpu, machine.num_cpu, machine.ram = processor().name, str(num_threads()), ""
    return machine


class WholeSite(OutputPublisher):
    """The last step of `asv publish`: a site that asks for nothing that is not there."""

    @classmethod
    def publish(cls, conf, repo, benchmarks, graphs, revisions):
        for name in list(benchmarks):
            if not graphs.get_graph_group(name):  # no result is stored, and no graph is drawn
                del benchmarks[name]
        take_scripts_along(Path(conf.html_dir))


def take_scripts_along(folder):
    """Copies what index.html asks of the network beside it, and has it ask for that."""
    page = folder / "index.html"

    def beside(match):
        attribute, asked = match.groups()
        for name in (asked, asked.replace(".min", "")):
            if (VENDOR / name).exists():
                shutil.copy(VENDOR / name, folder)
                return f'{attribute}="{name}">'
        log.warning(f"{asked} is not in {VENDOR.name}/: the site will ask the network for it")
        return match[0]

    page.write_text(ASKED_ELSEWHERE.sub(beside, page.read_text("utf-8")), "utf-8")
