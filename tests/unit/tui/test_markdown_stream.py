"""What is on the screen after a stream is what the whole text would have given, however it was cut."""

from __future__ import annotations

import random

import pytest
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widgets.markdown import MarkdownBlock

from openhearth.tui.widgets.markdown import Reply

TEXT = """# Title

A paragraph with **bold**, `code` and a [link](https://example.org).
It goes on here.

- one
- two
  - nested

1. first
2. second

```python
def f(x):

    return "[bold]" + x
```

| a | b |
|---|--:|
| 1 | 2 |

> quoted

The end, without a newline"""


class Page(App[None]):
    def compose(self) -> ComposeResult:
        yield VerticalScroll()


def drawn(reply: Reply) -> list[tuple[str, str]]:
    return [(type(block).__name__, str(block.render())) for block in reply.query(MarkdownBlock)]


@pytest.mark.parametrize("seed", range(4))
async def test_a_stream_ends_as_the_whole_text(seed: int) -> None:
    chance = random.Random(seed)
    app = Page()
    async with app.run_test() as pilot:
        whole, reply = Reply(TEXT), Reply()
        await app.query_one(VerticalScroll).mount(whole, reply)
        at = 0
        while at < len(TEXT):
            size = chance.randint(1, 12)
            await reply.feed(TEXT[at : at + size])
            at += size
            if chance.random() < 0.3:
                await pilot.pause(0)
        await reply.settle(TEXT)
        await pilot.pause()
        assert reply.source == TEXT
        assert drawn(reply) == drawn(whole)


async def test_a_reply_that_ended_otherwise_is_corrected() -> None:
    app = Page()
    async with app.run_test():
        reply = Reply()
        await app.query_one(VerticalScroll).mount(reply)
        await reply.feed("Let me run this:\n\n```python\nprint(1)\n")
        await reply.settle("Let me run this:")
        assert reply.source == "Let me run this:"
        assert [name for name, _ in drawn(reply)] == ["MarkdownParagraph"]


async def test_code_blocks_can_be_taken_out() -> None:
    app = Page()
    async with app.run_test():
        reply = Reply("a\n\n```sh\nls\n```\n\n```\nplain\n```\n")
        await app.query_one(VerticalScroll).mount(reply)
        assert reply.code_blocks() == ["ls", "plain"]
