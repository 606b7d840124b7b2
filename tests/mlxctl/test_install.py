"""What `mlxctl install` hands on of this shell; tests/mlxctl/service/ installs the service."""

from pathlib import Path

from tests.mlxctl.conftest import Run

SHELL = {
    "HTTPS_PROXY": "http://ada:pa55word@proxy:3128",
    "HF_ENDPOINT": "https://hub.corp.example",
    "HF_TOKEN": "hf_12345678",
    "MLXD_SERVER__API_KEY": "sesame-sesame",
}


def test_secrets_stay_out_of_the_files_that_others_can_read(mlxctl: Run) -> None:
    for manager in ("launchd", "systemd"):
        done = mlxctl("install", "--print", "--manager", manager, **SHELL)
        assert "https://hub.corp.example" in done.stdout
        assert not [secret for secret in ("pa55", "hf_1", "sesame") if secret in done.stdout]
        assert "pa55" not in done.stderr
        assert done.stderr.startswith(
            "the service does not get MLXD_SERVER__API_KEY, HTTPS_PROXY and HF_TOKEN, "
            "since others can read its description. "
            "Write server.api_key, hub.proxy and hub.token into "
        )


def test_what_the_configuration_says_is_not_missed(mlxctl: Run, home: Path) -> None:
    (home / "config.toml").write_text('hub = { token = "hf_12345678", proxy = "http://p:3128" }')
    shell = {name: SHELL[name] for name in ("HTTPS_PROXY", "HF_TOKEN")}
    assert mlxctl("install", "--print", "--manager", "systemd", **shell).stderr == ""
