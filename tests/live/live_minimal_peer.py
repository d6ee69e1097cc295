"""The small peer of docs/protocol.md: without twisted_p2p, and a member all the same. And that page's examples."""

import hmac
import json
import re
import signal
import sys

from nacl.signing import SigningKey

from tests.live.processes import ROOT, Peers
from twisted_p2p.core import wire
from twisted_p2p.core.access import Role, admission, derive_key
from twisted_p2p.core.config import LAN, WAN
from twisted_p2p.core.digest import BucketDigest, bucket_of
from twisted_p2p.identity import Ed25519Signer

MINIMAL_PEER = ROOT / "docs" / "examples" / "minimal_peer.py"
PROTOCOL = ROOT / "docs" / "protocol.md"

# Two nodes, of which the second says how far it has counted. Their time-outs are short, so that who does not answer
# pings or probes is soon gone.
NETWORK = """
import sys
from twisted.internet import reactor, task
from twisted_p2p import TEST, Node

genesis = Node(reactor, genesis=True, config=TEST, plaintext=True)
genesis.startService()
other = Node(reactor, join=[genesis.address], config=TEST, plaintext=True)
for name, node in (("genesis", genesis), ("other", other)):
    node.on_message(lambda message, name=name: print(name, "heard", message.message, flush=True))
    node.on_change(lambda change, name=name: print(name, change.kind.value, change.peer, flush=True))
other.startService()

def count(counter=iter(range(1_000_000))):
    other.broadcast(f"number {next(counter)}")

other.when_ready().addCallback(lambda _: print("port", genesis.port, flush=True))
other.when_ready().addCallback(lambda _: task.LoopingCall(count).start(0.25))
reactor.run()
"""


def test_minimal_peer(peers: Peers) -> None:
    """It joins, hears and is heard, answers pings and probes, and leaves properly."""
    network = peers.process(sys.executable, "-c", NETWORK, name="network")
    port = re.search(r"^port (\d+)$", network.wait_output("port "), re.MULTILINE)
    assert port is not None

    small = peers.process(sys.executable, MINIMAL_PEER, f"127.0.0.1:{port[1]}", "Hello from outside", name="small")
    network.wait_output("genesis heard Hello from outside")
    network.wait_output("other heard Hello from outside")
    # It begins with what is said after its join, and misses nothing. Twenty numbers take three ping time-outs.
    small.wait_for(lambda: len(numbers_in(small.stdout)) >= 20, "20 numbers")
    numbers = numbers_in(small.stdout)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert "failed" not in network.stdout

    small.send_signal(signal.SIGINT)
    network.wait_output("genesis left")
    network.wait_output("other left")
    assert small.wait_end() == 0
    assert "failed" not in network.stdout


def numbers_in(output: str) -> list[int]:
    return [int(number) for number in re.findall(r'^[0-9a-f]{8}: "number (\d+)"$', output, re.MULTILINE)]


def test_worked_examples() -> None:
    """Every hex value of the examples is what the shipped code makes."""
    first, second = (Ed25519Signer(SigningKey(bytes(range(n, n + 32)))) for n in (0, 32))
    a, b, began = first.peer, second.peer, 1617555967119
    nonces = "ffeeddccbbaa99887766554433221100", "00112233445566778899aabbccddeeff"
    body = json.dumps(
        [{"id": "0123456789abcdef" * 4, "time": 1617555967.12, "values": ["Hello world"]}],
        separators=(",", ":"),
    ).encode()
    texts = {
        "record": (first, wire.record_bytes("p2p", a, began, "alive", "192.0.2.7", 5050, "")),
        "claim": (second, wire.claim_bytes("p2p", a, began, b, 1617555990000)),
        "proof": (first, wire.proof_bytes("p2p", a, b, *nonces)),
        "bundle": (first, wire.bundle_bytes("p2p", a, began, 1, body)),
    }
    page = PROTOCOL.read_text(encoding="utf-8")
    secret = bytes(range(32)).hex().encode()
    key = hmac.digest(secret, b"p2p network key\np2p", "sha256")
    binding = "nonces 00112233445566778899aabbccddeeff ffeeddccbbaa99887766554433221100"
    text = f"p2p admission\ndialler\n{a}\n{b}\n{binding}"
    made = hmac.digest(key, text.encode(), "sha256").hex()
    assert (derive_key(secret, "p2p"), admission(key, Role.DIALLER, a, b, binding)) == (key, made)
    spelled = text.replace(a, "A").replace(b, "B").replace("\n", "\\n")
    for line in (key.hex(), spelled, made):
        assert f"\n    {line}\n" in page, line
    assert f"of {len(text)} bytes" in page
    shown = page.replace("\n    ", "")  # signatures take two lines
    assert f"A = {a}" in page and f"B = {b}" in page
    signatures = {}
    for name, (signer, text) in texts.items():
        signatures[name] = signer.sign(text)
        assert signatures[name] in shown, name
        spelled = text.decode().replace(a, "A").replace(b, "B").replace("\n", "\\n")
        assert f"\n    {spelled}\n" in page, name
        assert f"{len(text)}\nbytes" in page or f"{len(text)} bytes" in page, name
    assert wire.bundle_line(a, began, 1, signatures["bundle"], body).decode() in page

    entries = [
        f"{a} {signatures['record']} ",
        f"{a} {signatures['record']} {signatures['claim']}",
        f"{a} {began} 2",
    ]
    assert BucketDigest(str).root() in page
    for entry in entries:
        digest = BucketDigest(str)
        digest.touch(bucket_of(a), entry)
        assert f"| `{digest.hashes()[3]}` | `{digest.root()}` |" in page


def test_settings() -> None:
    """The table of settings has every setting, and its values are those of the profiles."""
    page = PROTOCOL.read_text(encoding="utf-8")
    table = page[page.index("## 15. Settings") : page.index("## 16.")]
    named = re.findall(r"`([a-z_]+)`", table)
    left_out = {"burst", "stall"}  # nobody at the other end of a link could tell
    fields = {name for name in dir(LAN) if not name.startswith("_") and isinstance(getattr(LAN, name), int | float)}
    assert {name for name in named if name in fields} == fields - left_out
    for line in table.splitlines():
        names, _, rest = line.partition(" | ")
        lan, _, rest = rest.partition(" |")
        wan = rest.partition("|")[0].strip()
        for name, shown_lan, shown_wan in zip(
            re.findall(r"`([a-z_]+)`", names), lan.split(", "), (wan or lan).split(", "), strict=False
        ):
            assert _number(shown_lan) == getattr(LAN, name), name
            assert _number(shown_wan) == getattr(WAN, name), name


def test_titles() -> None:
    """Every frame of the wire has its place on the page."""
    page = PROTOCOL.read_text(encoding="utf-8")
    for kind in wire.Frame.__args__:
        assert f"`{kind.__struct_config__.tag}`" in page


def _number(text: str) -> float:
    units = {"": 1, "s": 1, "bytes": 1, "MiB": 2**20, "h": 3600, "day": 86400}
    number, _, unit = text.strip().partition(" ")
    return float(number.replace(",", "")) * units[unit]
