"""What a peer keeps on disk: its log, its key, and the directory that they are in."""
