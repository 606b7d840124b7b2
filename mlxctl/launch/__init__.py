"""Other programs that use the daemon: what each must be told, and whether a model is fit for it."""
