"""The `mlxctl` command, also as `python -m mlxctl`: quiet at Ctrl-C from its first moment on."""

# Python would answer a Ctrl-C that comes while modules are loaded with a traceback. Not `signal`,
# which loads several of them.
import _signal  # type: ignore[import-not-found]


def main() -> None:
    """Load and run the command."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from mlxctl import cli

    cli.main()


if __name__ == "__main__":
    main()
