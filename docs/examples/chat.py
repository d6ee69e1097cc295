"""A chat: each line that you type is said to everybody, and what the others say is printed.

    python docs/examples/chat.py PORT               begin a network, listening on PORT (0: any free one)
    python docs/examples/chat.py PORT HOST:PORT     join the network of whoever listens at HOST:PORT

The end of the input (Ctrl-D) leaves the network. It listens on 127.0.0.1: all peers are on this machine.
"""

import sys

from twisted_p2p import JoinError, Network


def show(message):
    text = message.message if isinstance(message.message, str) else repr(message.message)
    # Anybody may have sent this: no character of it may control the terminal.
    print(f"<{message.origin[:8]}>", "".join(c if c.isprintable() else "?" for c in text), flush=True)


def main():
    peer = Network("localhost")
    peer.on_message(show)
    peer.start(int(sys.argv[1]))
    with peer:  # it leaves properly, however this ends
        if len(sys.argv) > 2:
            host, _, port = sys.argv[2].rpartition(":")
            peer.join_network(host.strip("[]"), int(port), timeout=10)
        print(f"You are <{peer.peer[:8]}>, and others may join you at 127.0.0.1:{peer.port}.", flush=True)
        for line in sys.stdin:
            if line.strip():
                peer.broadcast(line.rstrip("\n"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        main()
    except JoinError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass
