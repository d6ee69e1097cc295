"""What is measured beside one another: ours and the bare relay, with or without their parts."""

from __future__ import annotations

import attrs

LOGS = ("off", "normal", "full")
_WORDS = ("plaintext", "memory", "unsigned", *LOGS)


@attrs.frozen
class System:
    """One of them.

    Attributes:
        name: "ours" or "bare", and after a colon and commas what is not as usual: `plaintext`; `memory`, or SQLite's
            setting of the log: `off`, `normal`, `full`; of the bare relay also `unsigned`. Its "memory" keeps nothing.
        tree: the folder whose `twisted_p2p` it is; "": the one of this suite.
    """

    name: str
    tree: str = ""

    def __attrs_post_init__(self) -> None:
        if self.kind not in ("ours", "bare") or not self.words.issubset(_WORDS):
            raise ValueError(f"{self.name} is no system: {System.__doc__}")

    @property
    def kind(self) -> str:
        """ "ours" or "bare"."""
        return self.name.partition(":")[0].partition("@")[0]

    @property
    def words(self) -> frozenset[str]:
        """What is not as usual."""
        return frozenset(filter(None, self.name.partition("@")[0].partition(":")[2].split(",")))

    @property
    def tls(self) -> bool:
        """Whether its connections are encrypted."""
        return "plaintext" not in self.words

    @property
    def signed(self) -> bool:
        """Whether what it passes on is signed and checked."""
        return "unsigned" not in self.words

    @property
    def synchronous(self) -> str | None:
        """SQLite's setting of its log; None: in memory."""
        if "memory" in self.words:
            return None
        return next((log.upper() for log in LOGS if log in self.words), "NORMAL")
