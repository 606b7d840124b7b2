import tomllib
from pathlib import Path

import pytest

from mlxd.config import (
    Config,
    Explained,
    GenerationConfig,
    ModelSettings,
    explain,
    load,
    load_file,
)
from mlxd.config.keys import KEYS
from mlxd.errors import ConfigError


def _mistakes(home: Path, text: str) -> list[str]:
    (home / "config.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(environ={})
    return caught.value.message.splitlines()


def _row(rows: list[Explained], key: str) -> tuple[object, str]:
    return next((row.value, row.source) for row in rows if row.key == key)


def test_without_any_source_the_defaults_hold(home: Path) -> None:
    assert load(environ={}) == Config()


def test_each_source_is_stronger_than_the_one_before(home: Path) -> None:
    (home / "config.toml").write_text(
        'server = { port = 1, max_queue = 1, host = "::1" }\nlog.level = "debug"\nlog.keep = 1'
    )
    (home / "settings.toml").write_text('server = { port = 2, max_queue = 2, host = "127.0.0.2" }')
    environ = {"MLXD_SERVER__PORT": "3", "MLXD_SERVER__MAX_QUEUE": "3", "MLXD_LOG__KEEP": "3"}
    flags = {"server.port": 4, "log.format": "json", "server.host": None}

    config = load(flags=flags, environ=environ)
    assert config.server.port == 4
    assert config.server.max_queue == 3
    assert config.server.host == "127.0.0.2"
    assert (config.log.level, config.log.format, config.log.keep) == ("debug", "json", 3)

    rows = explain(flags=flags, environ=environ)
    assert _row(rows, "server.port") == (4, "flag")
    assert _row(rows, "server.max_queue") == (3, "MLXD_SERVER__MAX_QUEUE")
    assert _row(rows, "server.host") == ("127.0.0.2", "settings.toml")
    assert _row(rows, "log.level") == ("debug", "config.toml")
    assert _row(rows, "models.keep_alive") == (300.0, "default")


def test_explain_lists_every_key_and_masks_the_api_key(home: Path) -> None:
    (home / "config.toml").write_text('[server]\napi_key = "sesame-open"')
    rows = explain(environ={})
    assert len(rows) == len(KEYS)
    key = next(row for row in rows if row.key == "server.api_key")
    assert (key.value, key.text, key.source) == ("***", '"***"', "config.toml")
    assert _row(explain(environ={"MLXD_SERVER__API_KEY": ""}), "server.api_key")[0] == ""


def test_the_environment_is_text(home: Path) -> None:
    config = load(
        environ={
            "MLXD_HOME": "is no setting",
            "MLXD_OTHER": "is of somebody else",
            "MLXD_SERVER__ALLOWED_HOSTS": "mac.local, studio.local",
            "MLXD_SERVER__MAX_BODY": "1MiB",
            "MLXD_MODELS__ALIASES": "fast=smollm2-135m,big=owner/name",
            "MLXD_MODELS__KEEP_ALIVE": "-1",
            "MLXD_GENERATION__TEMPERATURE": "0.5",
            "MLXD_ENGINE__TRUST_REMOTE_CODE": "true",
        }
    )
    assert config.server.allowed_hosts == ["mac.local", "studio.local"]
    assert config.server.max_body == 2**20
    assert config.models.aliases == {"fast": "smollm2-135m", "big": "owner/name"}
    assert config.models.keep_alive == -1
    assert config.generation.temperature == 0.5
    assert config.engine.trust_remote_code is True


def test_tables_of_names_are_combined(home: Path) -> None:
    (home / "config.toml").write_text('[models.aliases]\na = "x"\nb = "x"')
    (home / "settings.toml").write_text('[models.aliases]\nb = "y"\nc = "y"')
    environ = {"MLXD_MODELS__ALIASES": "c=z"}
    assert load(environ={}).models.aliases == {"a": "x", "b": "y", "c": "y"}
    assert load(environ=environ).models.aliases == {"a": "x", "b": "y", "c": "z"}
    (row,) = [row for row in explain(environ=environ) if row.key == "models.aliases"]
    assert row.source == "config.toml, settings.toml, MLXD_MODELS__ALIASES"


def test_an_empty_variable_clears_strings_lists_and_tables(home: Path) -> None:
    (home / "config.toml").write_text(
        '[server]\nallowed_hosts = ["mac.local"]\n[models]\ndefault = "a"\naliases = { b = "a" }'
    )
    config = load(
        environ={
            "MLXD_SERVER__ALLOWED_HOSTS": "",
            "MLXD_MODELS__DEFAULT": "",
            "MLXD_MODELS__ALIASES": "",
        }
    )
    assert config == Config()
    with pytest.raises(ConfigError, match=r'server\.port: found "", expected an integer'):
        load(environ={"MLXD_SERVER__PORT": ""})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "MLXD_SERVER__PORT",
            "http",
            'environment variable MLXD_SERVER__PORT: server.port: found "http", '
            "expected an integer from 0 to 65535",
        ),
        (
            "MLXD_SERVER__PROT",
            "1",
            "environment variable MLXD_SERVER__PROT: server.prot: unknown key; "
            "did you mean server.port?",
        ),
        (
            "MLXD_CAKE__SIZE",
            "1",
            "environment variable MLXD_CAKE__SIZE: cake.size: unknown key; "
            "the sections are server, limits, models, hub, generation, engine, responses, log "
            "and model",
        ),
        (
            "MLXD_SERVER_PORT",
            "1",
            "environment variable MLXD_SERVER_PORT: not a setting; did you mean MLXD_SERVER__PORT?",
        ),
        (
            "MLXD_MODEL__X",
            "1",
            "environment variable MLXD_MODEL__X: [model] can be set in config.toml only",
        ),
        (
            "MLXD_MODELS__ALIASES",
            "fast",
            'environment variable MLXD_MODELS__ALIASES: models.aliases: found "fast", expected '
            "a table of non-empty names and values (name=value,name=value outside TOML)",
        ),
        (
            "MLXD_SERVER__ALLOWED_HOSTS",
            "a,,b",
            "environment variable MLXD_SERVER__ALLOWED_HOSTS: server.allowed_hosts: "
            'found "a,,b", expected a list of non-empty strings',
        ),
        (
            "MLXD_MODELS__DEFAULT",
            "\udc80",
            'environment variable MLXD_MODELS__DEFAULT: models.default: found "\\udc80", '
            "expected a string",
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    home: Path, name: str, value: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={name: value})
    assert caught.value.message == message


def test_a_mistake_on_the_command_line_says_so(home: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(flags={"server.port": 70000}, environ={})
    assert caught.value.message == (
        "command line: server.port: found 70000, expected an integer from 0 to 65535"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server.prot = 1", "server.prot: unknown key; did you mean server.port?"),
        ("port = 1", "port: unknown key; did you mean server.port?"),
        ("[sever]\nport = 1", "sever: unknown key; did you mean server?"),
        (
            "engine.temperature = 1",
            "engine.temperature: unknown key; did you mean generation.temperature?",
        ),
        (
            "log.colour = true",
            "log.colour: unknown key; [log] has level, format, max_size, keep",
        ),
        ("server = 3", "server: found 3, expected a table"),
        ("server.port.x = 3", 'server.port: found {"x":3}, expected an integer from 0 to 65535'),
        ('server.port = "abc"', 'server.port: found "abc", expected an integer from 0 to 65535'),
        ("server.port = true", "server.port: found true, expected an integer from 0 to 65535"),
        ("server.host = ''", 'server.host: found "", expected a non-empty string'),
        (
            "log.level = 'loud'",
            'log.level: found "loud", '
            'expected one of "debug", "info", "warning", "error", "critical"',
        ),
        (
            "generation.top_p = 0",
            'generation.top_p: found 0, expected a number above 0 and up to 1, or ""',
        ),
        (
            "generation.temperature = nan",
            'generation.temperature: found NaN, expected a number from 0 to 2, or ""',
        ),
        ("models.default = 1979-05-27", 'models.default: found "1979-05-27", expected a string'),
        ("models.dirs = ['']", 'models.dirs: found [""], expected a list of paths'),
        (
            "models.aliases = { fast = '' }",
            'models.aliases: found {"fast":""}, expected a table of non-empty names and values '
            "(name=value,name=value outside TOML)",
        ),
        (
            "engine.trust_remote_code = 'yes'",
            'engine.trust_remote_code: found "yes", expected true or false',
        ),
        (
            "server.api_key = 'short'",
            'server.api_key: expected at least 8 printable ASCII characters without spaces, or ""',
        ),
        (
            "server.max_body = 0",
            'server.max_body: found 0, expected a size such as "32MB" or "1GiB" above 0',
        ),
        (
            "models.keep_alive = 'long'",
            'models.keep_alive: found "long", expected a duration of at most a year '
            'such as "30s", "5m" or "1h30m", or "-1" (forever)',
        ),
        (
            "model.'some/id'.generation.top_q = 1",
            'model."some/id".generation.top_q: unknown key; '
            'did you mean model."some/id".generation.top_p?',
        ),
        (
            "model.x.cake = 1",
            "model.x.cake: unknown key; [model.x] has keep_alive, adapter, draft_model, "
            "num_draft_tokens, chat_template, chat_template_args, use_default_chat_template, "
            "kv_bits, kv_group_size, "
            "quantized_kv_start, trust_remote_code, generation",
        ),
        (
            "model.x.draft_modle = 'y'",
            "model.x.draft_modle: unknown key; did you mean model.x.draft_model?",
        ),
        (
            "model.x.max_tokens = 1",
            "model.x.max_tokens: unknown key; did you mean model.x.generation.max_tokens?",
        ),
        ("model.x = 1", "model.x: found 1, expected a table"),
        ("model.x.adapter = 1", "model.x.adapter: found 1, expected a string"),
        (
            "model.x.num_draft_tokens = 65",
            "model.x.num_draft_tokens: found 65, expected an integer from 0 to 64",
        ),
        ("engine.kv_bits = 3", "engine.kv_bits: found 3, expected one of 0, 4, 8"),
        ("model.x.kv_bits = 3", 'model.x.kv_bits: found 3, expected one of 0, 4, 8, or ""'),
        (
            "model.x.quantized_kv_start = true",
            "model.x.quantized_kv_start: found true, "
            'expected an integer from 0 to 2147483647, or ""',
        ),
        (
            "model.x.chat_template_args.day = 1979-05-27",
            'model.x.chat_template_args: found {"day":"1979-05-27"}, expected a table of strings, '
            "numbers, booleans, and lists and tables of these",
        ),
        (
            "model.x.chat_template_args.big = 0x10000000000000000",
            'model.x.chat_template_args: found {"big":18446744073709551616}, expected a table of '
            "strings, numbers, booleans, and lists and tables of these",
        ),
        ("model.x.generation = 1", "model.x.generation: found 1, expected a table"),
        (
            "model.x.generation.top_k = -1",
            'model.x.generation.top_k: found -1, expected an integer from 0 to 2147483647, or ""',
        ),
        ("= 1", "not valid TOML: Invalid statement (at line 1, column 1)"),
        ("x = " + "[" * 5000, "not valid TOML: maximum recursion depth exceeded"),
    ],
)
def test_a_mistake_in_a_file_names_file_key_value_and_what_is_allowed(
    home: Path, text: str, message: str
) -> None:
    assert _mistakes(home, text) == [f"{home / 'config.toml'}: {message}"]


def test_every_mistake_is_reported_at_once(home: Path) -> None:
    lines = _mistakes(home, "server.port = -1\nlog.keep = 0\ncake = 1")
    assert [line.split(": ")[1] for line in lines] == ["server.port", "log.keep", "cake"]


def test_a_long_value_is_cut_to_keep_the_error_on_one_line(home: Path) -> None:
    (line,) = _mistakes(home, "log.level = '''" + "very\n" * 100 + "loud'''")
    assert "very\\nvery" in line
    assert len(line) < len(str(home)) + 220


def test_a_deeply_nested_value_is_reported_like_any_other(home: Path) -> None:
    (line,) = _mistakes(home, "server.port" + ".x" * 11_000 + " = 1")
    assert "server.port: found a value nested too deeply, expected an integer" in line


def test_a_file_that_cannot_be_read_is_reported_in_one_line(home: Path) -> None:
    file = home / "config.toml"
    file.write_bytes(b"[log]\n\xff")
    with pytest.raises(
        ConfigError, match=r"config\.toml: not valid TOML: 'utf-8' .* in position 6"
    ):
        load(environ={})
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match=r"config\.toml: cannot be read: Is a directory$"):
        load(environ={})


def test_settings_toml_is_named_in_its_own_mistakes(home: Path) -> None:
    (home / "settings.toml").write_text("[models]\ndefualt = 'a'")
    with pytest.raises(ConfigError) as caught:
        load(environ={})
    assert caught.value.message == (
        f"{home / 'settings.toml'}: models.defualt: unknown key; did you mean models.default?"
    )


def test_one_model_may_differ_in_generation(home: Path) -> None:
    (home / "config.toml").write_text(
        "[generation]\ntop_k = 7\n"
        '[model."some/id"]\ngeneration = { temperature = 0.7, max_tokens = 9 }\n'
    )
    (home / "settings.toml").write_text('[model."some/id".generation]\nmax_tokens = 10')
    config = load(environ={})
    special = config.for_model("some/id").generation
    assert (special.temperature, special.max_tokens, special.top_k) == (0.7, 10, 7)
    assert config.for_model("another").generation == config.generation
    rows = explain(environ={})
    assert _row(rows, 'model."some/id".generation.max_tokens') == (10, "settings.toml")
    assert _row(rows, 'model."some/id".generation.temperature') == (0.7, "config.toml")


def test_one_model_may_have_an_adapter_a_draft_model_and_a_template(home: Path) -> None:
    (home / "config.toml").write_text(
        "[generation]\ntop_k = 7\n"
        "[model.big]\nadapter = 'pirate'\ndraft_model = 'small'\nnum_draft_tokens = 5\n"
        "chat_template = '{{ x }}'\nchat_template_args = { x = [1, { y = true }] }\n"
    )
    config = load(environ={})
    assert config.for_model("big") == ModelSettings(
        adapter="pirate",
        draft_model="small",
        num_draft_tokens=5,
        chat_template="{{ x }}",
        chat_template_args={"x": [1, {"y": True}]},
        generation=GenerationConfig(top_k=7),
    )
    assert config.for_model("another") == ModelSettings(generation=GenerationConfig(top_k=7))
    rows = explain(environ={})
    assert _row(rows, "model.big.adapter") == ("pirate", "config.toml")
    text = next(row.text for row in rows if row.key == "model.big.chat_template_args")
    assert tomllib.loads(f"x = {text}") == {"x": {"x": [1, {"y": True}]}}


def test_one_model_may_have_a_cache_of_other_bits(home: Path) -> None:
    (home / "config.toml").write_text(
        "[engine]\nkv_bits = 8\nquantized_kv_start = 100\n"
        "[model.big]\nkv_bits = 4\nkv_group_size = 32\nquantized_kv_start = ''\n"
        "[model.exact]\nkv_bits = 0\n"
    )
    config = load(environ={"MLXD_ENGINE__KV_GROUP_SIZE": "128"})
    found = {name: config.engine_for(name) for name in ("big", "exact", "another")}
    assert {
        name: (each.kv_bits, each.kv_group_size, each.quantized_kv_start)
        for name, each in found.items()
    } == {"big": (4, 32, 100), "exact": (0, 128, 100), "another": (8, 128, 100)}
    text = next(row.text for row in explain(environ={}) if row.key == "model.big.kv_bits")
    assert text == "4"


def test_a_relative_path_starts_at_its_source(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", "/home/me")
    (home / "config.toml").write_text(
        "server.socket = 'a.sock'\nmodels.dirs = ['~/models', 'more', '/srv/models']"
    )
    config = load(environ={})
    assert config.models.dirs == ["/home/me/models", str(home / "more"), "/srv/models"]
    assert config.socket_file() == home / "a.sock"
    config = load(flags={"server.socket": "b.sock"}, environ={"MLXD_MODELS__DIRS": "x"})
    assert config.models.dirs == [str(elsewhere / "x")]
    assert config.socket_file() == elsewhere / "b.sock"
    assert Config().socket_file() == home / "run" / "mlxd.sock"


def test_one_file_can_be_loaded_alone(home: Path, tmp_path: Path) -> None:
    (home / "config.toml").write_text("server.port = 1")
    other = tmp_path / "other.toml"
    other.write_text("log.keep = 2")
    config = load_file(other)
    assert (config.server.port, config.log.keep) == (8080, 2)
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file$"):
        load_file(tmp_path / "absent.toml")


def test_one_model_may_be_trusted(home: Path) -> None:
    (home / "config.toml").write_text("model.mine.trust_remote_code = true")
    config = load(environ={})
    assert config.engine_for("mine").trust_remote_code
    assert not config.engine_for("other").trust_remote_code
