"""What CI makes of pip-audit's report."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[1]


def loaded() -> Any:
    """CI's script."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(name: str, *holes: str) -> dict[str, Any]:
    """A package that was audited."""
    found = [{"id": hole, "fix_versions": ["2.0"], "aliases": [f"CVE-{hole}"]} for hole in holes]
    return {"name": name, "version": "1.0", "vulns": found}


class JudgeTests(SynchronousTestCase):
    """CI fails where a hole is known, and only there."""

    def setUp(self) -> None:
        self.audit = loaded()

    def judged(self, *packages: dict[str, Any]) -> Any:
        """What comes of a report."""
        return self.audit.judge(json.dumps({"dependencies": packages}))

    def test_hole(self) -> None:
        """A hole is named, with its package and what mends it."""
        holes, audited = self.judged(package("good"), package("bad", "PYSEC-1"))
        self.assertEqual((holes, audited), (["bad 1.0: PYSEC-1, mended in 2.0"], 2))

    def test_accepted(self) -> None:
        """One that was accepted, by its id or another name of it, is none."""
        for name in ("PYSEC-1", "CVE-PYSEC-1"):
            self.patch(self.audit, "ACCEPTED", {name: "it does not concern us"})
            self.assertEqual(self.judged(package("bad", "PYSEC-1")), ([], 1))

    def test_not_audited(self) -> None:
        """What no database knows was not audited, nor was anything where there is no report."""
        skipped = {"name": "ours", "skip_reason": "not found"}
        self.assertEqual(self.judged(skipped), ([], 0))
        for report in ("", "Traceback", "[]", "{}"):
            self.assertEqual(self.audit.judge(report), ([], 0))
