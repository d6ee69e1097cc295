"""Small disks for tests, where the system lets us mount them."""

import os
import subprocess
from pathlib import Path
from unittest import SkipTest


class Disk:
    """A file system in memory, of so many KiB."""

    def __init__(self, path: Path, kib: int) -> None:
        self.path = path
        path.mkdir(parents=True)
        if (
            not hasattr(os, "geteuid")
            or os.geteuid() != 0
            or not self._mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs")
        ):
            raise SkipTest("Only root can mount a small disk, and not everywhere.")

    def _mount(self, *words: str) -> bool:
        command = ["mount", *words, str(self.path.absolute())]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def make_read_only(self) -> None:
        """From now on nothing can be written."""
        if not self._mount("-o", "remount,ro"):
            raise SkipTest("This system does not make a disk read-only.")

    def fill(self) -> None:
        """Leave no room."""
        with open(self.path / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass

    def make_room(self) -> None:
        """Remove what filled it."""
        (self.path / "filler").unlink()

    def remove(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", "-l", str(self.path.absolute())], capture_output=True, check=False)
