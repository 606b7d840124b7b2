"""The end of the log, as the page shows it."""

from pathlib import Path

from mlxd.control.log import LogReader


async def test_the_last_lines_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "mlxd.log"
    reader = LogReader(file)
    assert (await reader.tail()).lines == []  # the daemon logs elsewhere
    file.write_text("one\ntwo\n")
    assert (await reader.tail()).lines == ["one", "two"]
    lines = [f"line {number} of many" for number in range(10_000)]
    file.write_bytes("\n".join(lines).encode() + b"\n\xff\n")
    last = (await reader.tail()).lines
    assert 2000 < len(last) < 5000
    assert last == [*lines[1 - len(last) :], "\N{REPLACEMENT CHARACTER}"]
