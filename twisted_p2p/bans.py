"""python -m twisted_p2p.bans: show who is banned by the peer that has a data directory, and lift bans."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from twisted_p2p.errors import DataDirError
from twisted_p2p.store.bans import BansFile, ban_line
from twisted_p2p.store.datadir import DataDir, holder_of


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m twisted_p2p.bans", description=__doc__)
    parser.add_argument("data_dir", type=Path, help="the peer's data directory")
    parser.add_argument("--lift", metavar="SUBJECT", action="append", default=[], help="a peer's id or an address")
    options = parser.parse_args(argv)
    try:
        return _show(options.data_dir) if not options.lift else _lift(options.data_dir, options.lift)
    except DataDirError as error:
        print(error, file=sys.stderr)
        return 1


def _file(folder: Path) -> BansFile:
    if not (folder / "version").exists():
        raise DataDirError(f"{folder} is no data directory: give that of a peer.")
    return BansFile(DataDir.bans_in(folder))


def _show(folder: Path) -> int:
    now = time.time()
    for ban in _file(folder).read():
        if ban.until > now:
            print(ban_line(ban))
    return 0


def _lift(folder: Path, subjects: Sequence[str]) -> int:
    file, missing = _file(folder), False
    for subject in subjects:
        if not file.lift(subject):
            print(f"{subject} is not banned.", file=sys.stderr)
            missing = True
    holder = holder_of(folder)
    if holder:
        print(f"The peer is running: it takes this in at once by: kill -HUP {holder}")
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
