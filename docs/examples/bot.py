"""A bot in a Twisted program: it answers everybody who says !time, or !echo and some words.

    python docs/examples/bot.py [HOST:PORT]

It joins the network of whoever listens at HOST:PORT (127.0.0.1:5050). Ctrl-C leaves it.
"""

import sys
from datetime import datetime, timezone

from twisted_p2p import Node


def answer_to(text):
    """What the bot says to this; None: nothing."""
    command, _, words = text.partition(" ")
    if command == "!time":
        return f"It is {datetime.now(timezone.utc):%H:%M} UTC."
    if command == "!echo" and words:
        return f"Echo: {words}"
    return None


def main(address):
    from twisted.internet import reactor

    node = Node(reactor, join=[address])

    def heard(message):
        answer = answer_to(message.message) if isinstance(message.message, str) else None
        if answer is not None:
            node.broadcast(answer)

    def joined(_):
        print(f"Joined; there are {len(node.nodes_in_network)} peers.", flush=True)

    node.on_message(heard)
    node.when_ready().addCallback(joined)
    node.startService()
    reactor.addSystemEventTrigger("before", "shutdown", node.stopService)
    reactor.run()


if __name__ == "__main__":
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:5050").rpartition(":")
    main((host.strip("[]"), int(port)))
