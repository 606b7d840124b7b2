"""Reading the daemon's log, across its rotated files."""
