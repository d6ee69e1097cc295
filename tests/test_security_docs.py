"""docs/security.md and SECURITY.md name what there is."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "SECURITY.md", ROOT / "docs" / "security.md")


def anchor(heading: str) -> str:
    """What a link to a heading is written as."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


class SecurityPageTests(SynchronousTestCase):
    """Whoever looks for the test that shows something finds it."""

    def test_tests(self) -> None:
        """Each test that is named is there, each fuzz target, too, and none is left out."""
        text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
        paths = re.findall(r"`((?:tests|docs|\.ci|twisted_p2p)/[\w./-]+)`", text)
        self.assertGreater(len(paths), 20)
        for path in paths:
            self.assertTrue((ROOT / path).exists(), path)
        named = {word for words in re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|", text, re.MULTILINE)
                 for word in re.findall(r"`([a-z-]+)`", words)}  # fmt: skip
        self.assertLessEqual(set(TARGETS), named)
        for words in re.findall(r"`tests/fuzz` \(([^)]*)\)", text):
            for word in re.findall(r"`([\w-]+)`", words):
                self.assertIn(word, TARGETS)

    def test_links(self) -> None:
        """Links between the pages, and within them, lead somewhere."""
        for page in PAGES:
            for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
                path, _, fragment = target.partition("#")
                other = (page.parent / path).resolve() if path else page
                self.assertTrue(other.exists(), target)
                if fragment and other.suffix == ".md":
                    headings = re.findall("^#+ (.+)$", other.read_text(encoding="utf-8"), re.MULTILINE)
                    self.assertIn(fragment, map(anchor, headings), target)
