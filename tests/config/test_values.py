from pathlib import Path

import pytest

from mlxd.config.values import FILE, FOLDERS, ORIGINS, SECRET, duration, size, toml_text

HERE = Path("/here")


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("32MB", 32_000_000),
        ("1GiB", 2**30),
        ("1.5 GB", 1_500_000_000),
        ("10kb", 10_000),
        ("4 TiB", 2**42),
        ("7", 7),
        (" 7 B ", 7),
        (4096, 4096),
    ],
)
def test_a_size_is_decimal_binary_or_bare(written: object, number: int) -> None:
    assert size().read(written, HERE) == number


@pytest.mark.parametrize(
    "written",
    [
        "",
        "MB",
        "-1",
        -1,
        "32M",
        "1.5B",
        "1e3",
        "32MB!",
        "٣MB",
        True,
        1.5,
        [],
        2**63,
        "9" * 19 + "TB",
    ],
)
def test_other_sizes_are_refused(written: object) -> None:
    with pytest.raises(ValueError):
        size().read(written, HERE)


def test_zero_bytes_are_allowed_if_the_key_says_so() -> None:
    assert size(minimum=0).read(0, HERE) == 0
    with pytest.raises(ValueError):
        size().read("0MB", HERE)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("7", 7),
        (0.5, 0.5),
        ("5 m", 300),
        ("1h30m", 5400),
        ("2d", 172_800),
    ],
)
def test_a_duration_has_units_or_is_in_seconds(written: object, seconds: float) -> None:
    assert duration().read(written, HERE) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "5 minutes",
        "1h 30",
        "1 2s",
        "-5",
        -5,
        True,
        float("nan"),
        float("inf"),
        "9999h",
        10**400,
    ],
)
def test_other_durations_are_refused(written: object) -> None:
    with pytest.raises(ValueError):
        duration(forever=True).read(written, HERE)


@pytest.mark.parametrize("written", [-1, -1.0, "-1"])
def test_forever_is_allowed_if_the_key_says_so(written: object) -> None:
    assert duration(forever=True).read(written, HERE) == -1
    with pytest.raises(ValueError):
        duration().read(written, HERE)


@pytest.mark.parametrize("number", [0, 1, 1000, 1024, 1025, 32_000_000, 2**30, 5 * 2**40, 512_000])
def test_a_written_size_reads_the_same(number: int) -> None:
    kind = size(minimum=0)
    assert kind.read(kind.write(number).strip('"'), HERE) == number


@pytest.mark.parametrize("time", [-1.0, 0.0, 0.0015, 0.25, 1.5, 30.0, 90.0, 5400.0, 86400.0])
def test_a_written_duration_reads_the_same(time: float) -> None:
    kind = duration(forever=True)
    assert kind.read(kind.write(time).strip('"'), HERE) == pytest.approx(time)


def test_sizes_and_durations_are_written_in_their_largest_whole_unit() -> None:
    assert [size().write(number) for number in (32_000_000, 2**30, 7)] == [
        '"32MB"',
        '"1GiB"',
        '"7B"',
    ]
    assert [duration().write(time) for time in (300.0, 90.0, 0.25)] == ['"5m"', '"90s"', '"250ms"']


def test_a_path_becomes_absolute_or_stays_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert FILE.read("x.sock", HERE) == "/here/x.sock"
    assert FILE.read("~/x.sock", HERE) == "/home/me/x.sock"
    assert FILE.read("", HERE) == ""
    assert FOLDERS.read(["/a", "b"], HERE) == ["/a", "/here/b"]


@pytest.mark.parametrize("written", ["a\0b", 3, "~nobody-of-that-name/x"])
def test_an_invalid_path_is_refused(written: object) -> None:
    with pytest.raises(ValueError):
        FILE.read(written, HERE)
    with pytest.raises(ValueError):
        FOLDERS.read([written], HERE)


@pytest.mark.parametrize("written", ["1234567", "with space", "tabbed\tkey", "schlüssel", 12345678])
def test_a_secret_must_fit_in_a_header(written: object) -> None:
    with pytest.raises(ValueError):
        SECRET.read(written, HERE)


def test_a_secret_is_read_but_written_as_a_mask() -> None:
    assert SECRET.read("sesame-open", HERE) == "sesame-open"
    assert SECRET.write("sesame-open") == '"***"'
    assert SECRET.write("") == '""'


def test_toml_text_reads_back_the_same() -> None:
    import tomllib

    value = {"text": 'a"b\\c\n\x7fé', "list": [1, 2.5, True], "table": {"some/id": "x"}, "none": {}}
    assert tomllib.loads(f"value = {toml_text(value)}") == {"value": value}


@pytest.mark.parametrize(
    "written",
    ["*", "null", "https://a.example", "HTTP://localhost:*", "app://*", "http://[::1]:3/"],
)
def test_an_origin_is_what_a_browser_sends(written: str) -> None:
    assert ORIGINS.read([written], HERE) == [written]


@pytest.mark.parametrize("written", ["localhost:3000", "http://a/chat", "http://", "", "a b", 1])
def test_other_origins_are_refused(written: object) -> None:
    with pytest.raises(ValueError):
        ORIGINS.read([written], HERE)
