"""Write the tables of fields in docs/api.md, from the types that decode them.

    python scripts/api_tables.py [--check]

With `--check` nothing is written, and the exit status is 1 where a table is out of date.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from mlxd.api.chat import ChatBody
from mlxd.api.completions import CompletionBody
from mlxd.api.other_servers import IGNORED, refused_fields
from mlxd.http.openapi import document

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"

_TABLE = re.compile(r"(<!-- fields of (?P<types>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_REFUSED = re.compile(r"(<!-- refused fields -->\n).*?(<!-- end -->)", re.DOTALL)
_IGNORED = re.compile(r"(<!-- ignored fields -->\n).*?(<!-- end -->)", re.DOTALL)
_NONE = {"type": "null"}


def tables(text: str) -> str:
    """Return the page `text` with up-to-date tables.

    A table stands between the comments `fields of TYPE[, but not of TYPE]`, `refused fields` or
    `ignored fields`, and `end`. Fields that are refused have no place in the table of their type.
    """
    schemas = document()["components"]["schemas"]

    refused = _refused()

    def table(match: re.Match[str]) -> str:
        name, _, without = match["types"].partition(", but not of ")
        fields = schemas[name]["properties"]
        known = schemas[without]["properties"] if without else {}
        required = schemas[name].get("required", [])
        rows = [
            f"| `{field}` | {_kind(schema)} | {_meaning(schema, needed=field in required)} |"
            for field, schema in sorted(fields.items())
            if field not in known or _kind(known[field]) != _kind(schema)
            if field not in refused
        ]
        head = ["| field | takes | |", "|---|---|---|"]
        return match[1] + "\n".join([*head, *rows]) + "\n" + match[3]

    rows = [f"| `{field}` | {shown} |" for field, shown in refused.items()]
    text = _between(_REFUSED, ["| field | accepted |", "|---|---|", *rows], text)
    rows = [f"| {why} | {', '.join(f'`{name}`' for name in IGNORED[why])} |" for why in IGNORED]
    text = _between(_IGNORED, ["| they say | fields |", "|---|---|", *rows], text)
    return _TABLE.sub(table, text)


def _between(comments: re.Pattern[str], lines: list[str], text: str) -> str:
    return comments.sub(lambda match: match[1] + "\n".join(lines) + "\n" + match[2], text)


def _refused() -> dict[str, str]:
    """Return the refused fields of both bodies, with the values that they may have."""
    fields = {
        field: " or ".join(each if " " in each else f"`{each}`" for each in extra["shown"])
        for body in (ChatBody, CompletionBody)
        for field, extra in refused_fields(body).items()
    }
    honored = set(CompletionBody.__struct_fields__) - set(refused_fields(CompletionBody))
    return {
        field: f"{shown} (chat)" if field in honored else shown
        for field, shown in sorted(fields.items())
    }


def _meaning(schema: dict[str, Any], *, needed: bool) -> str:
    meaning = schema["description"].replace("\n", " ").replace("|", "\\|")
    return f"{meaning} Required." if needed else meaning


def _kind(schema: dict[str, Any]) -> str:
    """Return in a few words what a schema takes."""
    if alternatives := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_kind(one) for one in alternatives if one != _NONE))
    if "$ref" in schema:
        return "object"
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{str(value).lower()}`" for value in values)
    match schema.get("type"):
        case "integer" | "number" as kind:
            return f"{kind}{_range(schema)}"
        case "array":
            if schema.get("maxItems") == 0:
                return "`[]`"
            return f"list of {_kind(schema.get('items', {})) or 'anything'}"
        case "string":
            return '`""`' if schema.get("maxLength") == 0 else "string"
        case "object":
            return "`{}`" if schema.get("maxProperties") == 0 else "object"
        case "boolean":
            return "true or false"
        case _:
            return ""


def _range(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None:
        return ""
    if most is None or most >= 2**31 - 1:
        return f" from {least}" if least > -(2**62) else ""
    return f" from {least} to {most}"


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    after = tables(before)
    if options.check:
        return int(after != before)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
