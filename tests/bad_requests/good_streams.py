"""Eight greedy streams in a loop, in a process of their own so that nothing here delays them.

    python -m tests.bad_requests.good_streams PORT MODEL

`go` on standard input starts them; `stop` ends them after their current answers, and prints as JSON
what they got: a `Report`.
"""

import asyncio
import json
import sys
import time

import msgspec

STREAMS = 8
_TOKENS = 250
_ANSWER_SECONDS = 120.0


class Report(msgspec.Struct):
    """How many answers came and which differ from the first one to the same prompt.

    `gaps` are the longest silences between two pieces of an answer, in seconds, each with the
    time of its end.
    """

    answers: int = 0
    wrong: list[str] = []
    gaps: list[tuple[float, float]] = []

    @property
    def worst(self) -> float:
        """The longest silence in seconds."""
        return self.gaps[0][0] if self.gaps else 0.0


class _Streams:
    def __init__(self, port: int, model: str) -> None:
        self._port = port
        self._model = model
        self._expected: dict[int, str] = {}
        self._report = Report()

    async def run(self, stopped: asyncio.Event) -> Report:
        self._report = Report()
        await asyncio.gather(*(self._repeat(number, stopped) for number in range(STREAMS)))
        self._report.gaps = sorted(self._report.gaps, reverse=True)[:5]
        return self._report

    async def _repeat(self, number: int, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    text = await self._answer(number)
            except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
                self._report.wrong.append(f"{number}: {error!r}")
                await asyncio.sleep(0.5)
                continue
            self._report.answers += 1
            if text != self._expected.setdefault(number, text):
                self._report.wrong.append(
                    f"{number}: {text!r} instead of {self._expected[number]!r}"
                )

    async def _answer(self, number: int) -> str:
        body = {
            "model": self._model,
            "prompt": f"Once upon a time, number {number} " + "said " * number,
            "max_tokens": _TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        data = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            status = await reader.readline()
            if b" 200 " not in status:
                raise ValueError((status + await reader.read(2000)).decode(errors="replace"))
            return await self._pieces(reader)
        finally:
            writer.transport.abort()

    async def _pieces(self, reader: asyncio.StreamReader) -> str:
        text, before, ended = "", time.monotonic(), False
        while line := await reader.readline():
            if not line.startswith(b"data: "):
                continue
            now = time.monotonic()
            if text:
                self._note(now - before)
            before = now
            if line.strip() == b"data: [DONE]":
                ended = True
                continue
            choices = json.loads(line[6:]).get("choices")
            if choices is None:
                raise ValueError(line.decode())
            text += "".join(choice["text"] for choice in choices)
        if not ended:
            raise ValueError("the stream was cut")
        return text

    def _note(self, gap: float) -> None:
        gaps = self._report.gaps
        gaps.append((round(gap, 3), time.time()))
        if len(gaps) > 100_000:
            self._report.gaps = sorted(gaps, reverse=True)[:10]


async def main() -> None:
    """Take orders until the end of standard input."""
    streams = _Streams(int(sys.argv[1]), sys.argv[2])
    lines: asyncio.StreamReader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while (await lines.readline()).strip() == b"go":
        stopped = asyncio.Event()
        running = asyncio.create_task(streams.run(stopped))
        await lines.readline()
        stopped.set()
        print(msgspec.json.encode(await running).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
