"""Other programs that use the daemon: what each must be told, and whether a model is fit for it.

target   what all are told: where the API is and which model to use
agents   the agents that `mlxctl launch` starts
others   the settings of programs that it only shows
fitness  whether a model can do an agent's work
"""
