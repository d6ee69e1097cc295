"""A ledger: it adds up the numbers that others broadcast, each exactly once, however often it is killed.

    python docs/examples/exactly_once.py FILE HOST:PORT

FILE is an SQLite database with the total; it is made if it is not there, and beside it FILE.peer, the data directory of
the peer. HOST:PORT is a peer of the network. Ctrl-C leaves the network.

What makes it exact: the total and the cursor of the message change in one transaction, both or neither. So whatever
the total is, the cursor says which messages are in it, and `messages(after=cursor)` has the others, from the log in the
data directory: also what came while this program was killed, or was broadcast while it was down.
"""

import sqlite3
import sys

from twisted_p2p import Gap, JoinError, Network


def open_ledger(path):
    ledger = sqlite3.connect(path)
    with ledger:
        ledger.execute("CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, total INTEGER, cursor INTEGER)")
        ledger.execute("INSERT OR IGNORE INTO ledger VALUES (1, 0, 0)")
    return ledger


def read(ledger):
    """The total, and the cursor of the last message in it."""
    return ledger.execute("SELECT total, cursor FROM ledger").fetchone()


def enter(ledger, item):
    """Add a message, or pass a gap."""
    amount = 0 if isinstance(item, Gap) else amount_in(item.message)
    with ledger:  # a transaction
        ledger.execute("UPDATE ledger SET total = total + ?, cursor = ?", (amount, item.cursor))


def amount_in(value):
    """The number in a message; 0 for anything else."""
    text = str(value)
    return int(text) if len(text) < 10 and text.lstrip("-").isdecimal() and text.isascii() else 0


def main(path, host, port):
    ledger = open_ledger(path)
    total, cursor = read(ledger)
    print(f"The total is {total}.", flush=True)
    with Network("localhost", data_dir=path + ".peer") as peer:
        peer.join_network(host, port, timeout=10)
        print("Joined.", flush=True)
        for item in peer.messages(after=cursor):
            if isinstance(item, Gap):
                print("Some messages can't be had any more: the total is without them.", flush=True)
            enter(ledger, item)
            print(f"The total is {read(ledger)[0]}.", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    host, _, port = sys.argv[2].rpartition(":")
    try:
        main(sys.argv[1], host.strip("[]"), int(port))
    except JoinError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass
