"""Three peers on this machine find each other and say hello.

    python docs/examples/hello.py

It ends by itself, within a second or two.
"""

import queue

from twisted_p2p import Network

NAMES = ["alice", "bob", "carol"]


def main():
    peers = {name: Network("localhost") for name in NAMES}
    received = queue.SimpleQueue()
    for name, peer in peers.items():
        peer.on_message(lambda message, name=name: received.put((name, message.message)))
        peer.start()
    for name in NAMES[1:]:
        peers[name].join_network("127.0.0.1", peers["alice"].port)
    print(f"{NAMES[-1]} knows {len(peers[NAMES[-1]].nodes_in_network)} peers, itself included.")

    for name, peer in peers.items():
        peer.broadcast(f"Hello from {name}")
    heard = {name: [] for name in NAMES}
    for _ in range(len(NAMES) * (len(NAMES) - 1)):
        name, text = received.get(timeout=30)
        heard[name].append(text)
    for name, texts in heard.items():
        print(f"{name} received: {', '.join(sorted(texts))}")

    for peer in peers.values():
        peer.stop()


if __name__ == "__main__":
    main()
