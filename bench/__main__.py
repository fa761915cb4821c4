"""`python -m bench`: measure, tell, and draw. See bench/README.md."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench import (
    access,
    commit,
    download,
    fair,
    growth,
    idle,
    memory,
    pieces,
    resume,
    small,
    upload,
)
from bench.charts import draw
from bench.journal import LOAD, Journal, Key
from bench.machine import facts, warm_memory
from bench.plan import GIB, MIB, PARTS, Plan, quick_plan
from bench.report import report
from bench.s3 import measure as s3
from bench.targets import verdicts

_RUNS = {
    "upload": upload.run,
    "download": download.run,
    "small": small.run,
    "commit": commit.run,
    "memory": memory.run,
    "resume": resume.run,
    "idle": idle.run,
    "fair": fair.run,
    "growth": growth.run,
    "access": access.run,
    "pieces": pieces.run,
    "s3": s3.run,
}
_WARM_BODIES = 5
_WARM_MAX_BYTES = 4 * GIB


def main() -> int:
    """Run the parts that were asked for; return 0 when all of them could be measured."""
    options = _options()
    options.results.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        plan = _plan(options, stack)
        if options.report is not None:
            told, machine = Journal.read(options.report)
            print(_tell(plan, told, machine, options.results), end="")
            return 0
        machine = facts(plan.disk)
        journal = Journal(options.results / "results.jsonl", machine)
        journal.progress("touching memory, so that its first use is not measured")
        warm_memory(plan.folder, min(_WARM_BODIES * plan.large_bytes, _WARM_MAX_BYTES))
        failed = []
        lines = ""
        for part in plan.parts:
            try:
                _RUNS[part](plan, journal)
            except (RuntimeError, OSError) as error:
                journal.progress(f"{part} failed: {error}")
                failed.append(part)
            load = Key(part, "at its end", "everything", LOAD)
            journal.note(load, os.getloadavg()[0])
            lines = _tell(plan, journal, machine, options.results)
    print(lines, end="")
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _tell(plan: Plan, journal: Journal, machine: dict[str, object], folder: Path) -> str:
    """Write the report and the charts of what has been measured; return the report."""
    lines = "\n".join(report(journal, machine, list(verdicts(plan, journal)))) + "\n"
    (folder / "report.md").write_text(lines)
    draw(journal, folder)
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; within two minutes")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--disk", type=Path, help="a folder on a real disk, for what needs one")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a folder on tmpfs")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another registry; {port}, {data} and {config} are filled in",
    )
    parser.add_argument(
        "--engine", choices=("ceph", "swift"), default="", help="the S3 engine of the part s3"
    )
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--large-mib", type=int, help="size of large bodies")
    parser.add_argument("--resume-mib", type=int, help="size of the upload that is killed")
    parser.add_argument(
        "--report",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="measure nothing: report on results.jsonl; of several, for each part the last with it",
    )
    parser.add_argument("--results", type=Path, default=Path("bench-results"), help="output folder")
    return parser.parse_args()


def _plan(options: argparse.Namespace, stack: ExitStack) -> Plan:
    """Return the plan; its folders are removed when the stack closes."""
    parts = tuple(part.strip() for part in options.only.split(","))
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    folder = _folder(options.memory, stack)
    disk = None if options.disk is None else _folder(options.disk, stack)
    peers = tuple(tuple(peer.split("=", 1)) for peer in options.peer)
    plan = replace(Plan(folder, disk), peers=peers, parts=parts, engine=options.engine)
    if options.quick:
        plan = quick_plan(plan)
    if options.rounds:
        plan = replace(plan, rounds=options.rounds)
    if options.large_mib:
        plan = replace(plan, large_bytes=options.large_mib * MIB)
    if options.resume_mib:
        plan = replace(plan, resume_bytes=options.resume_mib * MIB)
    return plan


def _folder(parent: Path, stack: ExitStack) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="blobd-bench-", dir=parent))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
