"""Reading the daemon's log, across its rotated files.

entry  one entry: what it says, how it is shown, and which entries to show
files  the entries of the files, backwards or as they come
"""
