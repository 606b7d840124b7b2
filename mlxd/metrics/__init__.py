"""What the daemon counts: written where things happen, read by `/metrics`, `top` and the page.

metrics.py        every count and histogram, and what each means
families.py       a count and a histogram, as plain numbers
request_meter.py  what one request reads and writes, as its events come
requests.py       the requests that run, and the last that have ended
timeline.py       the last hour, in fixed memory
exposition.py     all of it for Prometheus; the only code that imports prometheus_client

Nothing here has a timer: a number changes when something happens, and is put together when somebody
asks.
"""
