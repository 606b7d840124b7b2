"""What the daemon counts: written where things happen, read by `/metrics`, `top` and the page.

metrics        every count and histogram, and what each means
families       a count and a histogram, as plain numbers
request_meter  what one request reads and writes, as its events come
requests       the requests that run, and the last that have ended
timeline       the last hour, in fixed memory
exposition     all of it for Prometheus; the only code that imports prometheus_client

Nothing here has a timer: a number changes when something happens, and is put together when somebody
asks.
"""
