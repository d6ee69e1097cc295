"""The shell that runs a PeerCore on a Twisted reactor."""
