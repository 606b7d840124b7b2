"""Models from the model hub: a process of its own, the only code that imports huggingface_hub.

The daemon runs `python -m mlxd.hub` for each repository it is asked for and reads `protocol.py`'s
lines from its output; both know where an unfinished download lies (`staging.py`) and how a
repository is named (`reference.py`). These three import nothing heavy.

__main__.py     the process: what it is told, its last line, its end when the daemon ends
download.py     one pull, top-down: ask, judge, fetch, verify, install
repository.py   asking the hub, and what its refusals mean
compatibility.py  which files of a repository are needed, and why it may be refused
fetch.py        one file, resumed where it broke off, and its hash
retry.py        how long to wait, and how often to try again
meter.py        how far it is, told a few times a second
"""
