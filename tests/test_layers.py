"""The layers of the package, kept by reading its source: imports run down only."""

import ast
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import attrs
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "twisted_p2p"

LAYERS = (
    ("words", ("errors", "interfaces")),
    ("core", ("core",)),
    ("adapters", ("identity", "messages", "accessfiles", "shell", "store")),
    ("shells", ("net", "sim")),
    ("api", ("node", "reader")),
    (
        "faces",
        (
            *("tap", "options", "signals", "console", "events", "eventsfile", "backlog", "bans", "blocking"),
            *("testing", "__init__"),
        ),
    ),
)
LEVELS = {part: level for level, (_, parts) in enumerate(LAYERS) for part in parts}
APART = (("net", "sim"), ("sim", "net"))

# The words stand below the core, so they must be as pure: the core imports them.
PURE = ("errors", "interfaces", "core")
PURE_LIBRARIES = ("attr", "attrs", "msgspec", "zope.interface")
# Twisted, and the parts of the stdlib that reach the clock, chance, or the machine.
# fmt: off
IMPURE = (
    "asyncio", "concurrent", "datetime", "importlib", "logging", "multiprocessing", "os", "pathlib",
    "secrets", "select", "selectors", "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl",
    "subprocess", "tempfile", "threading", "time", "twisted", "uuid",
)
# fmt: on


@attrs.frozen
class Import:
    """One imported name, in full: `from a.b import c` and `import a.b.c` are both `a.b.c`."""

    name: str
    line: int
    in_function: bool


@attrs.frozen
class Module:
    """The source of one module of the package."""

    name: str
    path: str
    tree: ast.Module

    @property
    def part(self) -> str:
        """What places the module in a layer: `core` for `twisted_p2p.core.wire`."""
        return part_of(self.name) or "__init__"

    @property
    def may_use_reactor(self) -> bool:
        return self.part in ("tap", "blocking") or self.name.endswith(".__main__")

    def complaint(self, line: int, text: str) -> str:
        return f"{self.path}:{line}: {self.name} {text}"


def part_of(name: str) -> str | None:
    """The second word of a dotted name of ours, None for the package itself."""
    words = name.split(".")
    return words[1] if len(words) > 1 else None


def layer_of(part: str) -> str:
    level = LEVELS[part]
    return f"{LAYERS[level][0]}, layer {level}"


def imports_of(module: Module) -> Iterator[Import]:
    """All imports of a module, also those inside functions and under `if TYPE_CHECKING`."""
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]

    def walk(node: ast.AST, in_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, in_function)
        elif isinstance(node, ast.ImportFrom):
            words = [node.module] if node.module else []
            if node.level:
                above = package.split(".")
                words = above[: len(above) - node.level + 1] + words
            for alias in node.names:
                yield Import(".".join([*words, alias.name]), node.lineno, in_function)
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    return walk(module.tree, False)


def is_within(name: str, *modules: str) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def check_direction(module: Module) -> Iterator[str]:
    """Complains of a module in no layer, and of imports that run up or from shell to shell."""
    if module.part not in LEVELS:
        yield module.complaint(1, "belongs to no layer: place it in LAYERS in tests/test_layers.py")
        return
    if module.part == "__init__":
        return
    for found in imports_of(module):
        if not is_within(found.name, PACKAGE):
            continue
        # A name that is no module comes from the package itself, which imports the faces.
        target = part_of(found.name)
        if target not in LEVELS:
            target = "__init__"
        if LEVELS[target] > LEVELS[module.part]:
            yield module.complaint(
                found.line,
                f"({layer_of(module.part)}) imports {found.name} ({layer_of(target)}): imports run down only",
            )
        elif (module.part, target) in APART:
            yield module.complaint(found.line, f"imports {found.name}: net and sim never import each other")


def check_purity(module: Module) -> Iterator[str]:
    """Complains of a core that imports more than its few libraries and the harmless part of the stdlib."""
    if module.part not in PURE:
        return
    for found in imports_of(module):
        top = found.name.split(".")[0]
        if top in IMPURE:
            text = "the core is handed its time, chance and I/O"
        elif top in (PACKAGE, *sys.stdlib_module_names) or is_within(found.name, *PURE_LIBRARIES):
            continue
        else:
            text = f"the core may use the stdlib and {', '.join(PURE_LIBRARIES)}"
        yield module.complaint(found.line, f"imports {found.name}: {text}")


def check_chance(module: Module) -> Iterator[str]:
    """Complains of a core that draws its own chance: `random` may be used for its class `Random` only.

    A `Random()` without a seed is chance of its own too, called here or by attrs as a factory.
    """
    if module.part not in PURE:
        return
    modules: list[str] = []
    classes: list[str] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            modules += [alias.asname or alias.name for alias in node.names if alias.name == "random"]
        elif isinstance(node, ast.ImportFrom) and node.module == "random" and not node.level:
            for alias in node.names:
                if alias.name == "Random":
                    classes.append(alias.asname or alias.name)
                else:
                    text = f"imports random.{alias.name}: the core is handed a Random"
                    yield module.complaint(node.lineno, text)

    def is_module(node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id in modules

    def is_class(node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr == "Random" and is_module(node.value)
        return isinstance(node, ast.Name) and node.id in classes

    def is_unseeded(node: ast.AST) -> bool:
        if isinstance(node, ast.Call):
            return is_class(node.func) and not (node.args or node.keywords)
        return isinstance(node, ast.keyword) and "factory" in (node.arg or "") and is_class(node.value)

    fine: list[ast.AST] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and is_class(node):
            fine.append(node.value)
        elif is_module(node) and node not in fine:
            yield module.complaint(node.lineno, "uses the global random: the core is handed a Random")
        elif is_unseeded(node):
            yield module.complaint(node.lineno, "makes a Random without a seed: the core is handed one")


def check_reactor(module: Module) -> Iterator[str]:
    """Complains of the global reactor outside the functions of those few modules that start a process."""
    for found in imports_of(module):
        if is_within(found.name, "twisted.internet.reactor"):
            if not module.may_use_reactor:
                yield module.complaint(found.line, "imports the global reactor: take it as an argument")
            elif not found.in_function:
                yield module.complaint(found.line, "imports the global reactor outside of a function")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr == "reactor":
            owner = ast.unparse(node.value)
            if owner == "internet" or owner.endswith(".internet"):
                yield module.complaint(node.lineno, f"uses {owner}.reactor: take the reactor as an argument")


CHECKS = (check_direction, check_purity, check_chance, check_reactor)


def judge(module: Module) -> list[str]:
    return [complaint for check in CHECKS for complaint in check(module)]


def modules_below(root: Path) -> Iterator[Module]:
    for path in sorted((root / PACKAGE).rglob("*.py")):
        relative = path.relative_to(root)
        words = relative.with_suffix("").parts
        name = ".".join(words[:-1] if words[-1] == "__init__" else words)
        yield Module(name, relative.as_posix(), ast.parse(path.read_text(encoding="utf-8"), str(path)))


class PackageTests(SynchronousTestCase):
    """The source as it stands."""

    def test_layers(self) -> None:
        """No module imports from above, and the core decides without clock, chance or I/O of its own."""
        modules = list(modules_below(ROOT))
        self.assertIn(PACKAGE, [module.name for module in modules])
        complaints = [complaint for module in modules for complaint in judge(module)]
        if complaints:
            self.fail("\n".join(complaints))

    def test_plugin_is_lazy(self) -> None:
        """Listing the plugins loads nothing of ours: an error in the package leaves other commands alone."""
        path = ROOT / "twisted" / "plugins" / "p2p_plugin.py"
        plugin = Module("twisted.plugins.p2p_plugin", str(path), ast.parse(path.read_text(encoding="utf-8")))
        self.assertEqual([found.name for found in imports_of(plugin)], ["twisted.application.service.ServiceMaker"])

    def test_twisted_stays_whole(self) -> None:
        """Installing the package does not overwrite Twisted: the tree has no __init__.py of Twisted's."""
        for path in (ROOT / "twisted" / "__init__.py", ROOT / "twisted" / "plugins" / "__init__.py"):
            self.assertFalse(path.exists(), path)


class CheckerTests(SynchronousTestCase):
    """The checks themselves: each complains of a small bad source, naming file, line and import."""

    def judged(self, name: str, source: str, init: bool = False) -> list[str]:
        full = f"{PACKAGE}.{name}" if name else PACKAGE
        path = full.replace(".", "/") + ("/__init__.py" if init else ".py")
        return judge(Module(full, path, ast.parse(dedent(source))))

    def allowed(self, name: str, source: str, init: bool = False) -> None:
        self.assertEqual(self.judged(name, source, init), [])

    def refused(self, name: str, source: str, *words: str, init: bool = False) -> None:
        complaints = self.judged(name, source, init)
        self.assertEqual(len(complaints), 1, complaints)
        for word in words:
            self.assertIn(word, complaints[0])

    def test_up(self) -> None:
        """An import from a higher layer is named with its file, its line and both layers."""
        self.refused(
            "core.peer",
            """
            import attrs
            from twisted_p2p.net.link import LinkProtocol
            """,
            "twisted_p2p/core/peer.py:3: twisted_p2p.core.peer (core, layer 1)",
            "imports twisted_p2p.net.link.LinkProtocol (shells, layer 3)",
        )

    def test_every_step_up(self) -> None:
        """Each layer is refused to the one below it, and granted to the one above."""
        ladder = ("errors", "core.wire", "identity", "net.link", "node", "tap")
        for low, high in pairwise(ladder):
            self.refused(low, f"import twisted_p2p.{high}", f"imports twisted_p2p.{high} ")
            self.allowed(high, f"import twisted_p2p.{low}")

    def test_relative(self) -> None:
        """A relative import is judged like an absolute one."""
        self.refused("core.peer", "from ..node import Node", "imports twisted_p2p.node.Node ")
        self.refused("core.peer", "from .. import node", "imports twisted_p2p.node ")
        self.refused("core", "from ..store import log", "imports twisted_p2p.store.log ", init=True)
        self.allowed("core.peer", "from . import wire\nfrom .actions import Write\nfrom .. import errors")
        self.allowed("core", "from .peer import PeerCore", init=True)

    def test_hidden(self) -> None:
        """An import inside a function, or for the type checker only, is an import too."""
        self.refused(
            "identity",
            """
            from typing import TYPE_CHECKING
            if TYPE_CHECKING:
                from twisted_p2p.node import Node
            """,
            "identity.py:4:",
        )
        self.refused(
            "store.log",
            """
            def late():
                import twisted_p2p.net.service
            """,
            "store/log.py:3:",
        )

    def test_package_itself(self) -> None:
        """The package's public names come from its top: nothing below may take them from there."""
        self.refused("net.link", "from twisted_p2p import Message", "layer 5")
        self.refused("net.link", "import twisted_p2p", "layer 5")
        self.allowed("net.link", "from twisted_p2p import errors")

    def test_package_init_is_free(self) -> None:
        """The package's __init__ may gather names from all layers."""
        self.allowed("", "from twisted_p2p.tap import Options\nfrom .node import Node", init=True)

    def test_net_and_sim(self) -> None:
        """The two shells do not know each other."""
        self.refused("net.service", "from twisted_p2p.sim import world", "never import")
        self.refused("sim.world", "from ..net.link import LinkProtocol", "never import")
        self.allowed("sim.world", "from twisted_p2p.sim.faults import Loss")

    def test_unknown_module(self) -> None:
        """A new module must be given its layer."""
        self.refused("helpers", "", "twisted_p2p/helpers.py:1:", "belongs to no layer")
        self.refused("extra.thing", "", "belongs to no layer")

    def test_impure_core(self) -> None:
        """The core, and the words below it, cannot reach a clock, a socket, a file or a log."""
        for part in ("core.peer", "interfaces"):
            for name in ("twisted", "time", "socket", "os", "asyncio", "logging", "secrets"):
                self.refused(part, f"import {name}", f".py:1: twisted_p2p.{part} imports {name}:")
        self.refused("core.peer", "from os.path import join", "imports os.path.join")
        self.refused("core.peer", "from twisted.python import log", "twisted.python.log")
        self.allowed("net.link", "import os, time\nfrom twisted.logger import Logger")

    def test_core_libraries(self) -> None:
        """The core may use attrs, msgspec, zope.interface and the harmless stdlib, and nothing else."""
        self.refused("core.wire", "import nacl.signing", "imports nacl.signing", "zope.interface")
        self.refused("core.wire", "from zope import schema", "imports zope.schema")
        self.allowed(
            "core.wire",
            """
            from __future__ import annotations
            import heapq, attr, attrs, msgspec
            from collections.abc import Sequence
            from msgspec import Struct
            from zope import interface
            from zope.interface import implementer
            """,
        )

    def test_global_random(self) -> None:
        """The core draws only from the Random that it is handed, or a simulation would not repeat."""
        for source in (
            "import random\nx = random.choice([1])",
            "import random as chance\nx = chance.SystemRandom",
            "import random\nx = random",
            "from random import shuffle",
            "import random\nx = random.Random()",
            "from random import Random\nx = Random()",
            "import attrs, random\nx = attrs.field(factory=random.Random)",
        ):
            self.refused("core.overlay", source, "core/overlay.py:", "Random")
        self.allowed("sim.world", "import random\nx = random.choice([1])")
        self.allowed(
            "core.overlay",
            """
            import random
            from random import Random
            class Overlay:
                rng: random.Random
                def pick(self, other: Random):
                    return self.rng.choice([1]) + other.random()
            """,
        )

    def test_reactor(self) -> None:
        """Everything takes its reactor as an argument, but for the functions that start a process."""
        inside = "def run():\n    from twisted.internet import reactor"
        for source in (
            inside,
            "from twisted.internet import reactor",
            "import twisted.internet.reactor",
            "from twisted.internet.reactor import callLater",
        ):
            self.refused("net.service", source, "net/service.py:", "the global reactor")
        self.refused("console", "import twisted.internet as i\ntwisted.internet.reactor", ":2:")
        for name in ("tap", "blocking", "sim.__main__"):
            self.allowed(name, inside)
            self.refused(name, "from twisted.internet import reactor", "outside of a function")
        self.allowed("net.service", "from twisted.internet import defer\nself.reactor = reactor")
