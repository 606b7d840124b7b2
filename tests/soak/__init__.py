"""Overload and disturbances for minutes: no request may be lost, and nothing may grow.

python -m tests.soak --minutes 10    # what `make soak` does

mix           the requests
client        clients that send them, and what becomes of each
disturbances  kills, switches, reloads, pulls and a full disk meanwhile
daemon        a daemon whose disk can be full
growth        memory, descriptors, threads, processes and files over time
sigterms      SIGTERM to a loaded daemon
summary       the tables at the end, and what was wrong
"""
