"""What the daemon answers to `GET /control/v1/status`."""

STATUS = ("GET", "/control/v1/status")
RUNNING = {
    "running": True,
    "stopping": False,
    "pid": 4711,
    "version": "0.1.0",
    "url": "http://127.0.0.1:8080",
    "socket": "/h/run/mlxd.sock",
    "config": "/h/config.toml",
    "settings": "/h/settings.toml",
    "models_dir": "/h/models",
    "adapters_dir": "/h/adapters",
    "cache_dir": "/h/cache",
    "responses_dir": "/h/responses",
    "log": "/h/logs/mlxd.log",
    "network": {},
    "uptime_s": 192.5,
    "default_model": "tiny",
    "default_fault": None,
    "memory_limit_bytes": 18_000_000_000,
    "models": [],
}
READY = {"id": "tiny", "state": "ready", "pid": 4712, "memory_bytes": 98_000_000, "requests": 2}
FAILED = {"id": "b", "state": "failed", "pid": None, "memory_bytes": None, "requests": 0}
