"""`python tests/fakes/scripted_daemon.py FLAGS`: mlxd with engines of scripted_engine.py."""

import sys
from pathlib import Path
from unittest import mock

from mlxd.__main__ import main

COMMAND = (sys.executable, str(Path(__file__).with_name("scripted_engine.py")))

if __name__ == "__main__":
    with mock.patch("mlxd.pool.launcher.engine_command", return_value=COMMAND):
        main()
