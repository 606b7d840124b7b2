"""The HTTP side of the daemon: the only code that knows Starlette."""
