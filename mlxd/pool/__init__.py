"""The models in memory: each is a process, which comes, goes and crashes alone.

pool            accepts requests, and knows every model that was asked for
request         one accepted request: its model, its engine, once a second try
admission       who is in memory, and who makes room for whom
memory_limit    how much memory there is for models
model           the states of one model, and the task that moves it
crashes         how often it crashed, and when that is too often
launcher        an engine for a model, or one that waits for the next
engine_process  an engine from this side: spawn, load, demultiplex, end
engine_request  one request in flight on it
watchdog        ends an engine that hangs; `prefill` says how long a step may take
spawn           starting the process and reading what it prints
"""
