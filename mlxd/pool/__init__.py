"""The models in memory. Each runs in a process of its own, the engine.

pool            accepts requests, and knows every model that was requested
request         one accepted request: it waits for its model, runs, and is retried once
admission       which models are in memory, and which make room for others
model           the states of one model, and the task that moves it from state to state
launcher        starts engines for models, and a spare one
engine_process  the process of an engine: how it starts, what it prints, how it ends
engine_link     the messages to and from an engine, and its requests in flight
watchdog        detects engines that hang
crashes         how often a model crashed, and how long it is then left alone
suspects        the requests that may have ended an engine, and how they run again
"""
