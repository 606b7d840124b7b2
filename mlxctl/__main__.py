"""`python -m mlxctl`, the same as `mlxctl`."""

from mlxctl.cli import main

if __name__ == "__main__":
    main()
