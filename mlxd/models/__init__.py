"""The models on disk. The search path finds candidates, which are read as models or broken ones.

catalog            the models there are, and which one a name means
search_path        where candidates are: models.dirs, the models directory, the Hugging Face cache
roots              what each of these has
scanning           reads them in threads, which a hung volume may keep
folder             reads one candidate: a model, or the reason why it cannot be used
model_config       what a config.json says, and whether mlx_lm can run the model
config_values      the numbers in it
weights            which weight files there should be, and whether they are complete
cache_layout       how much memory the cache of a sequence takes
generation_config  how a model's generation_config.json would choose tokens
entry              the types of what is found
details            what `mlxctl show` says beyond that
adapters           the adapters
removal            removing a model from the disk
names              which model a name means, however it is spelled
hub_address        names that are an address on the hub
selection          the model, adapter and draft model that a request or the configuration names
"""
