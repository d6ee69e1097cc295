"""The shell that runs many PeerCores in virtual time."""
