"""The `mlxctl` command, also as `python -m mlxctl`."""

import os


def main() -> None:
    """Load and run mlxctl; after Ctrl-C, end by SIGINT, which shells report as 130.

    After a mere exit status, a shell would continue its loop.
    """
    try:
        from mlxctl import cli

        cli.main()
    except KeyboardInterrupt:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
