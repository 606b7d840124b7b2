"""The models on disk: which there are, whether they are whole, and how they come and go.

catalog        which there are, and which one a request means
entry          what the catalog finds
search_path    the folders that may be models; `hub_cache` those of Hugging Face's programs
folder         one folder: what it holds, and why it cannot be used
model_config   what its config.json says; `weights` which files there should be
architectures  which ones the engine can run
details        what a person may want to know of one
adapters       the adapters, and which model one was made for
removal        taking a model off the disk
selection      the model, adapter and draft model that a request or the configuration names
"""
