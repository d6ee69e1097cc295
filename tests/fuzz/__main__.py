"""python -m tests.fuzz TARGET: fuzz one target for a number of runs, or replay an input."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.targets import Target
    from tests.fuzz.watch import Watch


def main() -> int:
    """The exit code: 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", help="what to fuzz; without a right one they are listed")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs to make [default: 100000]")
    parser.add_argument("--seed", type=int, default=0, help="of their making, 0 to 2**32 - 1 [default: 0]")
    parser.add_argument("--guided", action="store_true", help="by coverage; needs atheris (pip install atheris)")
    parser.add_argument("--keep", type=Path, help="DIR for the inputs that reached something new (with --guided)")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="DIR for what is found")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="run these inputs alone")
    parser.add_argument("--choose", type=Path, metavar="DIR", help="put into the corpus what in DIR reaches most")
    parser.add_argument("--most", type=int, default=20, help="so many files in the corpus then [default: 20]")
    given = parser.parse_args()
    if given.guided:
        import atheris

        with atheris.instrument_imports(include=["twisted_p2p"]):
            importlib.import_module("tests.fuzz.targets")
    from tests.fuzz.targets import TARGETS
    from tests.fuzz.watch import Watch

    if given.target not in TARGETS:
        parser.error(f"there are the targets {', '.join(TARGETS)}")
    target = TARGETS[given.target]
    quiet()
    if given.replay:
        for file in given.replay:
            target.call(file.read_bytes())
            print(f"{file}: fine")
        return 0
    if given.choose:
        choose(target, given.choose, given.most)
        return 0
    watch = Watch(target, given.runs, given.findings)
    if given.guided:
        run_guided(watch, given.seed, given.keep)
    from tests.fuzz.engine import inputs

    for data in inputs(target.corpus(), target.length, given.seed):
        if not watch.run(data):
            break
    return watch.end()


def choose(target: Target, folder: Path, most: int) -> None:
    """Put into the corpus those of a folder that, beside what is there, reach something new, up to so many in all."""
    from tests.fuzz.selection import select

    kept = [file for file in target.folder.iterdir() if file.is_file()]
    for file in select(kept, [file for file in folder.iterdir() if file.is_file()], target.call, most):
        data = file.read_bytes()
        (target.folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)


def quiet() -> None:
    """Nothing is logged, nor gathered until somebody wants to log it."""
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)


def run_guided(watch: Watch, seed: int, keep: Path | None) -> None:
    """Let libFuzzer choose the inputs; it never returns."""
    import atheris

    def run(data: bytes) -> None:
        if not watch.run(data):
            code = watch.end()
            # libFuzzer would take an exception for a finding of its own.
            os._exit(code)

    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    folders = [str(folder) for folder in (keep, watch.target.folder) if folder is not None]
    options = [
        f"-seed={seed + 1}",
        f"-max_len={watch.target.length}",
        "-len_control=0",
        "-rss_limit_mb=0",
        "-print_final_stats=0",
    ]
    atheris.Setup([sys.argv[0], *options, *folders], run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
