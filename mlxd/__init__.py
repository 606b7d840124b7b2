"""The mlxd daemon: see `daemon.py` for its life and `messages.py` for its seam with the engines."""

__version__ = "0.1.0"
