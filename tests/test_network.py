"""The variables about the network: one name for each, and no secrets where others read."""

import pytest

from mlxd import network

WITH_PASSWORD = "http://ada:pa55word@proxy:3128"
ENVIRON = {
    "https_proxy": "http://small:1",
    "HTTPS_PROXY": "http://large:1",
    "NO_PROXY": "",
    "CURL_CA_BUNDLE": "/c.pem",
    "REQUESTS_CA_BUNDLE": "/r.pem",
    "HUGGING_FACE_HUB_TOKEN": "hf_12345678",
    "PATH": "/bin",
}
SAID = {
    "HTTPS_PROXY": "http://small:1",
    "HF_TOKEN": "hf_12345678",
    "SSL_CERT_FILE": "/r.pem",
}


def test_each_is_found_whatever_its_name_is() -> None:
    assert network.variables(ENVIRON) == SAID


def test_a_program_gets_what_it_understands_and_what_is_configured() -> None:
    made = network.replaced(ENVIRON, {"HTTPS_PROXY": "http://configured:1"})
    assert made == SAID | {"HTTPS_PROXY": "http://configured:1", "PATH": "/bin"}


@pytest.mark.parametrize(
    ("name", "value", "mask"),
    [
        ("HF_TOKEN", "hf_12345678", "***"),
        ("HTTPS_PROXY", WITH_PASSWORD, "http://***@proxy:3128"),
        ("HTTPS_PROXY", "http://proxy:3128", "http://proxy:3128"),
        ("NO_PROXY", "localhost,.corp", "localhost,.corp"),
    ],
)
def test_secrets_are_masked(name: str, value: str, mask: str) -> None:
    assert network.shown({name: value}) == {name: mask}
    assert network.is_secret(name, value) == (mask != value)
