"""Reading the daemon's log, across the files it is in.

entry    one entry: its parts, and how it is shown
files    the files, in their order, also while they are put aside
tail     what comes
history  what has come
filters  which entries a person asks for
"""
