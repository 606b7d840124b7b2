"""The models on disk. The search path finds candidates, which are read as models or broken ones.

catalog        the models there are, and which one a name means
search_path    where candidates are: models.dirs, the models directory, the Hugging Face cache
roots          what each of these has, read in threads
folder         reads one candidate: a model, or the reason why it cannot be used
model_config   what a config.json says, and whether mlx_lm can run the model
weights        which weight files there should be, and whether they are complete
entry          the types of what is found
details        what `mlxctl show` says beyond that
adapters       the adapters
removal        removing a model from the disk
selection      the model, adapter and draft model that a request or the configuration names
"""
