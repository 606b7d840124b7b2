"""The engine process: the only code that imports MLX."""
