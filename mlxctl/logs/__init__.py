"""Reading the daemon's log, across its rotated files: `files` finds them, `entry` reads a line."""
