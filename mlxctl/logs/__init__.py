"""Reading the daemon's log, across its rotated files.

entry    one entry: what it says, and how it is shown
files    the entries of the files, backwards or as they come
filters  which entries to show
"""
