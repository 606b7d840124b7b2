"""Bad requests, sent to a real daemon while good streams run beside them.

python -m tests.bad_requests 20000 --seed 1    # what `make bad-requests` does

case           a case: what is sent, how, and what must come back
dialects       the endpoints with a body, and requests that each of them answers
json_text      values to JSON, also such as no encoder writes
typed_bodies   bodies made from the types of each dialect, one or more fields of them bad
bodies         how a body is wrapped into HTTP, and what is broken of its bytes
poison         templates, grammars, schemas, stop texts and sizes that are made to harm
torn_http      HTTP itself: heads, chunks, upgrades, slow clients, clients that leave
web_sockets    messages and frames over a WebSocket
drawing        draws cases of all kinds, so many and from a seed
sending        sends a case and judges the reply
good_streams   the streams beside it, in a process of their own
leftovers      what the daemon holds: memory, threads, processes, descriptors, files
attack         all of it together, and its summary
"""
