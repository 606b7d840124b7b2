"""Measuring servers of OpenAI's API: what `mlxctl bench` and `benchmarks/` share.

address   where a server listens
client    sends requests and receives streams
streams   one streamed answer, parsed once it has ended
runs      streams that run at the same time, and their figures
prompts   prompts of random words
session   one server that is measured

The rest is of `mlxctl bench` alone:

benchmark loads a model, has it measured, and puts the figures together
measure   the order of the measurements
forecast  how long one will take, and what is left of the time
watch     the daemon's memory meanwhile, and the requests of others
summary   from measurements to figures
figures   the figures as `--json` prints them
table     the figures in the terminal
plot      the figures as a picture
progress  the progress bar
machine   the machine in words
"""
