"""Overload and disturbances for minutes: no request may be lost, and nothing may grow.

python -m tests.soak --minutes 10    # what `make soak` does

mix.py           the requests
client.py        clients that send them, and what becomes of each
disturbances.py  kills, switches, reloads, pulls and a full disk meanwhile
daemon.py        a daemon whose disk can be full
growth.py        memory, descriptors, threads, processes and files over time
sigterms.py      SIGTERM to a loaded daemon
summary.py       the tables at the end, and what was wrong
"""
