"""Secrets planted wherever a report looks, and what stays readable."""

import getpass
import socket

import pytest

from mlxctl.doctor.redact import without_private_parts

SECRET = "tr0ub4dor-and-3"
ENVIRON = {
    "HOME": "/Users/ada",
    "USER": "ada",
    "HF_TOKEN": SECRET,
    "MLXD_SERVER__API_KEY": "sesame-sesame",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "true",
}


def cleaned(text: str, *secrets: str) -> str:
    return without_private_parts(text, ENVIRON, secrets)


@pytest.mark.parametrize(
    "text",
    [
        f"a log line with {SECRET} in it",
        "MLXD_SERVER__API_KEY=sesame-sesame",
        "OTHER_TOKEN=elsewhere",
        "api_key = 'elsewhere'",
        'api_key = "else where"',
        '"hf_token": "elsewhere",',
        "X-Api-Key: elsewhere",
        "<key>AWS_SECRET</key>\n\t\t<string>elsewhere</string>",
        "Authorization: Bearer elsewhere",
        "curl -H 'bearer elsewhere'",
        "a bad one: hf_elsewhereelsewhere",
        "sk-proj-elsewhere",
        "https://ada:elsewhere@hub.example/x",
        "https://elsewhere@hub.example/x",
        "http://ada:p@elsewhere@proxy:3128",
        "given: elsewhere-too",
    ],
)
def test_secrets(text: str) -> None:
    found = cleaned(text, "elsewhere-too", "")
    assert "***" in found
    assert not [
        secret for secret in (SECRET, "sesame", "elsewhere", "else where") if secret in found
    ]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/Users/ada/models/x", "~/models/x"),
        ("/Users/adalbert/models", "/Users/adalbert/models"),
        ("/Volumes/Data/ada/models", "/Volumes/Data/USER/models"),
        ("it is Ada's, not Adam's", "it is USER's, not Adam's"),
        ("10.1.2.3:52011 and 192.168.0.7", "ADDRESS:52011 and ADDRESS"),
        ("fe80::1c2a:ff and [2001:db8::7]:80", "ADDRESS and [ADDRESS]:80"),
    ],
)
def test_names_and_addresses(text: str, left: str) -> None:
    assert cleaned(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23 15:53:25.123+01:00 INFO    mlxd.http: req-1 200 tokens: 512 max_tokens = 512",
        'server.api_key = ""  # default',
        "TOKENIZERS_PARALLELISM=false",
        "http://127.0.0.1:8080 [::1]:8080 0.0.0.0:8080 [::]:8080",
        "mlx 0.32.4, macOS 15.1.2, python 3.12.7, true",
        "tests::x 1:2:3 15:53",
    ],
)
def test_the_rest_stays(text: str) -> None:
    assert cleaned(text) == text


def test_this_user_and_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Adas-MacBook.local")
    monkeypatch.setattr(getpass, "getuser", lambda: "grace")
    text = "grace on adas-macbook.local, on Adas-MacBook; disgrace"
    assert cleaned(text) == "USER on HOST, on HOST; disgrace"


def test_an_account_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise KeyError("uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", none)
    assert cleaned("mlxd") == "mlxd"
