"""The `mlxctl` command, also as `python -m mlxctl`."""

# For Ctrl-C without a traceback while modules are loaded; `signal` itself would load several.
import _signal  # type: ignore[import-not-found]


def main() -> None:
    """Load and run mlxctl."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from mlxctl import cli

    cli.main()


if __name__ == "__main__":
    main()
