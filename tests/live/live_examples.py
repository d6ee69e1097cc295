"""docs/examples and the programs of README.md, run as a user runs them, with the output that the pages show."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

from tests.live.durable import free_port
from tests.live.processes import ROOT, Peers, Process

EXAMPLES = ROOT / "docs" / "examples"
README = ROOT / "README.md"


def example(peers: Peers, program: str, *arguments: str, name: str = "") -> Process:
    return peers.process(sys.executable, EXAMPLES / f"{program}.py", *arguments, name=name or program)


def begin_chat(peers: Peers) -> tuple[Process, str, str]:
    """A chat that begins a network; the digits of its id that it is known by, and its address."""
    return joined_chat(example(peers, "chat", "0", name="first"))


def joined_chat(chat: Process) -> tuple[Process, str, str]:
    """A chat, once it takes lines; the digits of its id that it is known by, and its address."""
    line = r"^You are <([0-9a-f]{8})>, and others may join you at (127\.0\.0\.1:\d+)\.$"
    found = chat.wait_for(lambda: re.search(line, chat.stdout, re.MULTILINE), "its own address")
    return chat, found[1], found[2]


def page_block(before: str) -> str:
    """The first Python of README.md after these words."""
    section = README.read_text(encoding="utf-8").partition(before)[2]
    return re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[0]


def test_hello(peers: Peers) -> None:
    """Three peers hear each other, and the README shows just what it prints."""
    hello = example(peers, "hello")
    assert hello.wait_end() == 0, hello.output
    assert hello.stdout == (
        "carol knows 3 peers, itself included.\n"
        "alice received: Hello from bob, Hello from carol\n"
        "bob received: Hello from alice, Hello from carol\n"
        "carol received: Hello from alice, Hello from bob\n"
    )
    shown = "".join(f"    {line}\n" for line in hello.stdout.splitlines())
    assert shown in README.read_text(encoding="utf-8")


def test_scenario(peers: Peers) -> None:
    """A scenario of the simulator prints what the README shows, all but what is left out there."""
    section = README.read_text(encoding="utf-8").partition("## The simulator and the benchmark")[2]
    command = re.findall(r"^    python -m (twisted_p2p\.sim run halves-partitioned .*)$", section, re.MULTILINE)[0]
    played = peers.process(sys.executable, "-m", *command.split(), name="scenario")
    assert played.wait_end() == 0, played.output
    shown = re.findall(r"^    (halves-partitioned, .*\n(?:      .*\n)+)", section, re.MULTILINE)[0].splitlines()
    printed = [line.strip() for line in played.stdout.splitlines()]
    assert len(shown) > 4
    assert [line for line in map(str.strip, shown) if line not in ("...", *printed)] == []


def test_chat(peers: Peers) -> None:
    """What one says, the other reads, without its control characters; the end of the input leaves."""
    first, first_id, address = begin_chat(peers)
    second, second_id, _ = joined_chat(example(peers, "chat", "0", address, name="second"))
    first.say("grüße 🎉", "", "red \x1b[31m alert")
    second.wait_output(f"<{first_id}> grüße 🎉\n")
    second.wait_output(f"<{first_id}> red ?[31m alert\n")
    second.say("and back")
    first.wait_output(f"<{second_id}> and back\n")

    second.say("goodbye")
    second.end_input()
    assert second.wait_end() == 0, second.output
    first.wait_output(f"<{second_id}> goodbye\n")
    first.end_input()
    assert first.wait_end() == 0, first.output
    assert second.stdout.count("<") == 3
    assert first.stderr == second.stderr == ""


def test_chat_usage(peers: Peers) -> None:
    """Without arguments it says how to use it."""
    chat = example(peers, "chat")
    assert chat.wait_end() == 1
    assert "python docs/examples/chat.py PORT HOST:PORT" in chat.stderr


def test_bot(peers: Peers) -> None:
    """It answers what it knows, to everybody, and nothing else; Ctrl-C leaves."""
    chat, _, address = begin_chat(peers)
    bot = example(peers, "bot", address)
    bot.wait_output("Joined; there are 2 peers.\n")
    chat.say("hello", "!echo", "!echo one two", "!time")
    chat.wait_for(lambda: re.search(r"^<[0-9a-f]{8}> It is \d\d:\d\d UTC\.$", chat.stdout, re.MULTILINE), "the time")
    answers = [line.partition("> ")[2] for line in chat.stdout.splitlines()[1:]]
    assert answers[0] == "Echo: one two"
    assert len(answers) == 2
    assert bot.stop(signal.SIGINT) == 0, bot.output


def test_minimal_peer(peers: Peers) -> None:
    """A peer without twisted_p2p joins a network without encryption, is heard there and hears it; Ctrl-C leaves."""
    genesis = peers.genesis("--plaintext")
    genesis.wait("ready")
    small = example(peers, "minimal_peer", f"127.0.0.1:{genesis.port}", "hey")
    genesis.wait_messages("hey")
    genesis.say('what "you" hear')
    small.wait_output(f'{genesis.peer[:8]}: "what \\"you\\" hear"\n')
    assert small.stop(signal.SIGINT) == 0, small.output


def test_exactly_once(peers: Peers) -> None:
    """The ledger adds up numbers, and has what it had after kill -9; Ctrl-C leaves."""
    chat, _, address = begin_chat(peers)
    ledger = example(peers, "exactly_once", "ledger.db", address)
    ledger.wait_output("The total is 0.\nJoined.\n")
    chat.say("5", "hello", "-2")
    ledger.wait_output("The total is 5.\nThe total is 5.\nThe total is 3.\n")
    ledger.stop(signal.SIGKILL)
    ledger = example(peers, "exactly_once", "ledger.db", address, name="again")
    ledger.wait_output("The total is 3.\nJoined.\n")
    chat.say("4")
    ledger.wait_output("The total is 7.\n")
    assert ledger.stop(signal.SIGINT) == 0, ledger.output


def test_readme_network(peers: Peers) -> None:
    """The README's plain program joins a genesis, is heard, and knows both peers."""
    genesis = peers.genesis(name="genesis")
    program = page_block("### 2. `Network`, for a plain program").replace("start(5051)", "start(0)")
    program = program.replace("join_network() ", f'join_network("127.0.0.1", {genesis.port}) ')
    plain = peers.process(sys.executable, "-c", program, name="plain")
    genesis.wait_messages("hello")
    assert plain.wait_end() == 0, plain.output
    nodes, connections = plain.stdout.splitlines()
    assert nodes.count("'ip_addr': '127.0.0.1'") == 2
    assert connections == str([{"ip_addr": "127.0.0.1", "port": genesis.port, "peer": genesis.peer}])
    genesis.wait("left")


def test_readme_node(peers: Peers) -> None:
    """The README's Twisted program joins, is heard, hears, and leaves on Ctrl-C."""
    genesis = peers.genesis(name="genesis")
    program = page_block("### 3. `Node`, for a Twisted program").replace("5050", str(genesis.port))
    node = peers.process(sys.executable, "-u", "-c", program, name="node")
    genesis.wait_messages("hello")
    genesis.say("and back")
    node.wait_output("and back\n")
    node.stop(signal.SIGINT)
    genesis.wait("left")


def test_readme_asyncio(peers: Peers) -> None:
    """The README's asyncio program joins, is heard, prints the message's id, and ends."""
    genesis = peers.genesis(name="genesis")
    program = page_block("**From asyncio**")
    task = peers.process(sys.executable, "-c", program.replace("5050", str(genesis.port)), name="asyncio")
    (message,) = genesis.wait_for(lambda: genesis.find("message", message="hello"), "the message")
    assert task.wait_end() == 0, task.output
    assert task.stdout == f"message {message['id']}\n"
    genesis.wait("left")


def test_readme_testing(peers: Peers) -> None:
    """The README's test of an application passes."""
    program = peers.process(sys.executable, "-c", page_block("## Testing your application"), name="testing")
    assert program.wait_end() == 0, program.output


def test_chat_cannot_join(peers: Peers) -> None:
    """A chat that can't join says why in one line."""
    alone = example(peers, "chat", "0", "127.0.0.1:1")
    assert alone.wait_end() == 1, alone.output
    assert re.fullmatch(r"Not joined within 10 s\. Nobody answers at 127\.0\.0\.1:1; .*\n", alone.stderr)


def test_readme_twistd(peers: Peers) -> None:
    """Both terminals show what the README shows, in that order, but for times, ids and ports."""
    first = peers.peer("--genesis", "--port", str(free_port()), name="first")
    second = peers.peer("--port", str(free_port()), join=first, name="second")
    second.wait("ready")
    first.say("hello from the first")
    second.wait_output("hello from the first")
    second.say("hello from the second")
    first.wait_output("hello from the second")
    second.stop(signal.SIGINT)
    first.wait_output(" left (")
    blocks = re.findall(r"(?:^    .+\n)+", README.read_text(encoding="utf-8"), re.MULTILINE)
    for peer, mark in ((first, "as a genesis."), (second, "Joined the network")):
        (shown,) = (block for block in blocks if mark in block)
        assert_shows(peer.stdout, shown)


def assert_shows(output: str, block: str) -> None:
    """All lines of a block are in the output, in their order, with other times, ids and ports."""
    position = 0
    for line in block.splitlines():
        pattern = re.escape(line.strip())
        for special, general in (
            (r"\d{4}\\-\d\d\\-\d\dT[\d:]{8}\\\+0000", r"\\S+"),
            (r"^[\d:]{8}", r"[\\d:]{8}"),
            (r"\b[0-9a-f]{64}\b", r"[0-9a-f]{64}"),
            (r"\b[0-9a-f]{8}\b", r"[0-9a-f]{8}"),
            (r"\b505[01]\b", r"\\d+"),
            (r"/home/me/\\\.local/state", r"\\S+"),
            # Only a genesis at the port that is the default need not be named.
            (r"(twistd\\ \\-n\\ p2p)$", r"\1.*"),
        ):
            pattern = re.sub(special, general, pattern)
        found = re.compile(f"^{pattern}$", re.MULTILINE).search(output, position)
        assert found is not None, f"{line.strip()!r} is not in the rest of\n{output}"
        position = found.end()


def test_links() -> None:
    """Each file and each heading that a page refers to is there."""
    for page in (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, heading = target.partition("#")
            file = page.parent / name if name else page
            if "://" not in target:
                assert file.exists(), f"{page.name}: {target}"
                assert not heading or heading in anchors(file), f"{page.name}: {target}"


def anchors(page: Path) -> list[str]:
    """The names of a page's headings, as they appear in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
