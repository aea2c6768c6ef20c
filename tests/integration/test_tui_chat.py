"""The chat, driven by keys: writing, streaming, tools, approvals, stopping, queueing, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tui_stage import ChatStage, ready, send, shown, until

from openhearth.tui.driver import Phase
from openhearth.tui.widgets.decision import ApprovalPanel
from openhearth.tui.widgets.markdown import Reply
from openhearth.tui.widgets.messages import ErrorMessage, RouteLine, UserMessage
from openhearth.tui.widgets.prompt import Prompt
from openhearth.tui.widgets.tool_card import ToolCard
from openhearth.tui.widgets.turn import TurnView

SCRIPT = """
- {match: look, text: Let me see., calls: [{name: list_files, arguments: {path: "."}}]}
- {match: look, text: "There is **one** file.", repeat: true}
- {match: note, calls: [{name: write_file, arguments: {path: note.md, content: "Hello.\\n"}}]}
- {match: note, text: As you wish., repeat: true}
- match: slow
  text: "Chapter one was written at once and kept. The rest takes its time and more time and yet more time."
  delay_s: 60
- {match: markup, text: "[bold]not markup[/bold] \\e[31mred\\e[0m \\u202eabc", repeat: true}
- match: code
  text: |
    Run this:

    ```python
    print(1)
    ```
- {match: wrong, text: It, expect: something else}
- {text: Good day., repeat: true}
"""


@pytest.fixture
def stage(tmp_path: Path) -> ChatStage:
    stage = ChatStage(tmp_path, SCRIPT)
    (stage.workspace / "orders.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    return stage


async def test_a_message_is_sent_and_its_answer_streams_in(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await send(pilot, "hello there")
        await until(pilot, lambda: app.chat.query("TurnEnd"))
        assert app.chat.query_one(UserMessage).plain == "hello there"
        assert app.chat.query_one(Reply).source == "Good day."
        assert app.chat.driver.meters.context_used > 0
        assert "hello there" in shown(app).splitlines()[0]
        assert app.chat.query_one(Prompt).text == ""
    assert stage.status() == "done"


async def test_a_routers_choice_is_one_line_above_the_answer(stage: ChatStage) -> None:
    file = stage.script.with_name("router.yaml")
    model = f"scripted:{stage.script.name}"
    file.write_text(f'{{routes: [{{name: only, model: "{model}"}}], default: only}}', encoding="utf-8")
    app = stage.app(model=f"router:{file}")
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await send(pilot, "hello there")
        await until(pilot, lambda: app.chat.query("TurnEnd"))
        line = app.chat.query_one(RouteLine)
        assert str(line.content) == f"→ only ({model}): no rule holds; this is the default"
        assert line.region.height == 1
        assert app.chat.query_one(Reply).source == "Good day."


async def test_shift_enter_begins_a_line_and_enter_sends_all_of_them(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await pilot.press("a", "ctrl+j", "b", "shift+enter", "c", "enter")
        await until(pilot, lambda: app.chat.query("TurnEnd"))
        assert app.chat.query_one(UserMessage).plain == "a\nb\nc"


async def test_a_tool_call_is_a_card_with_its_result(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await send(pilot, "look around")
        await until(pilot, lambda: app.chat.query("TurnEnd"))
        card = app.chat.query_one(ToolCard)
        assert (card.tool, card.state) == ("list_files", "ok")
        assert card.output is not None
        assert "orders.csv" in card.output.content
        assert "orders.csv" in shown(app)
        card.focus()
        await pilot.press("enter")
        assert "orders.csv" not in shown(app)
        await pilot.press("ctrl+y")
        assert app.clipboard == card.plain


async def test_approving_runs_the_call_and_shows_the_diff(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot)
        await send(pilot, "make a note")
        await until(pilot, lambda: app.chat.query(ApprovalPanel))
        assert not (stage.workspace / "note.md").exists()
        assert "+Hello." in shown(app)
        await until(pilot, lambda: app.chat.query_one(ApprovalPanel).armed)
        await pilot.press("a")
        await until(pilot, lambda: app.chat.driver.phase is Phase.READY)
        assert (stage.workspace / "note.md").read_text(encoding="utf-8") == "Hello.\n"
        assert app.chat.query_one(ToolCard).state == "ok"
        assert not app.chat.query(ApprovalPanel)
        assert app.chat.query_one(Prompt).has_focus
        assert "added" in shown(app)
    assert stage.status() == "done"


async def test_keys_of_the_first_half_second_decide_nothing(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await send(pilot, "make a note")
        await until(pilot, lambda: app.chat.query(ApprovalPanel))
        panel = app.chat.query_one(ApprovalPanel)
        panel.armed = False
        await pilot.press("a", "d", "escape")
        assert app.chat.driver.phase is Phase.WAITING
        assert app.chat.query(ApprovalPanel)


async def test_denying_tells_the_model_why(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot)
        await send(pilot, "make a note")
        await until(pilot, lambda: app.chat.query(ApprovalPanel) and app.chat.query_one(ApprovalPanel).armed)
        await pilot.press("d", *"wrong", "space", *"place", "enter")
        await until(pilot, lambda: app.chat.driver.phase is Phase.READY)
        assert not (stage.workspace / "note.md").exists()
        card = app.chat.query_one(ToolCard)
        assert card.state == "denied"
        assert card.output is not None
        assert "wrong place" in card.output.content


async def test_a_decision_can_wait_and_be_taken_up_again(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await send(pilot, "make a note")
        await until(pilot, lambda: app.chat.query(ApprovalPanel) and app.chat.query_one(ApprovalPanel).armed)
        await pilot.press("escape")
        assert not app.chat.query(ApprovalPanel)
        await send(pilot, "something else")
        await until(pilot, lambda: app.chat.query(ApprovalPanel))
        assert app.chat.query_one(Prompt).text == "something else"
        assert stage.status() == "waiting"


async def test_escape_stops_the_turn_and_keeps_what_was_written(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await send(pilot, "slow please")
        await until(pilot, lambda: any("Chapter" in reply.source for reply in app.chat.query(Reply)))
        await send(pilot, "and then this")
        assert app.chat.driver.queue == ["and then this"]
        await pilot.press("escape")
        await until(pilot, lambda: app.chat.driver.phase is Phase.READY)
        assert app.chat.query_one(Reply).source.startswith("Chapter")
        assert app.chat.query_one(Prompt).text == "and then this"
        assert len(app.chat.query(TurnView)) == 1
        assert not app.chat.query(ErrorMessage)
        thread_id, written = app.chat.driver.thread_id, app.chat.query_one(Reply).source
    assert stage.status() == "cancelled"
    again = stage.app(thread_id=thread_id)
    async with again.run_test() as pilot:
        await ready(pilot)
        assert again.chat.query_one(Reply).source == written


async def test_control_c_stops_and_a_second_one_quits(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await send(pilot, "slow please")
        await until(pilot, lambda: app.chat.query(Reply))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app.chat.driver.phase is Phase.READY)
        app.chat.query_one(Prompt).focus()
        await pilot.press("ctrl+c", "ctrl+c")
        await until(pilot, lambda: not app.is_running)
    assert stage.status() == "cancelled"


async def test_quitting_ends_the_running_turn_as_cancelled(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await send(pilot, "slow please")
        await until(pilot, lambda: app.chat.query(Reply))
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not app.is_running)
    assert app.return_code == 0
    assert stage.status() == "cancelled"


async def test_what_is_sent_meanwhile_is_queued_and_answered_in_order(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test(size=(100, 40)) as pilot:
        await send(pilot, "look first")
        await send(pilot, "second")
        await until(pilot, lambda: len(app.chat.query("TurnEnd")) == 2)
        assert [message.plain for message in app.chat.query(UserMessage)] == ["look first", "second"]
        assert not app.chat.driver.queue


async def test_a_failed_run_is_a_message_with_a_hint(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await send(pilot, "wrong")
        await until(pilot, lambda: app.chat.query(ErrorMessage))
        await ready(pilot)
        assert "expects 'something else'" in shown(app)
        assert "Mend the script" in shown(app)
        assert "Traceback" not in shown(app)
    assert stage.status() == "failed"


async def test_a_model_that_cannot_be_opened_is_told_and_tried_again(stage: ChatStage, tmp_path: Path) -> None:
    missing = tmp_path / "later.yaml"
    app = stage.app(model=f"scripted:{missing}")
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.chat.driver.phase is Phase.BROKEN)
        assert "Cannot read the script" in shown(app)
        missing.write_text("- {text: Here now., repeat: true}", encoding="utf-8")
        await send(pilot, "hello")
        await until(pilot, lambda: app.chat.query("TurnEnd"))
        assert "Here now." in shown(app)


async def test_what_others_wrote_is_never_markup_and_moves_no_cursor(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await send(pilot, "markup")
        await until(pilot, lambda: app.chat.query("TurnEnd"))
        assert "[bold]not markup[/bold] red abc" in shown(app)


async def test_copying_the_last_reply_and_the_last_code(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test() as pilot:
        await ready(pilot)
        await send(pilot, "code")
        await until(pilot, lambda: app.chat.query("TurnEnd"))
        await pilot.press("ctrl+y")
        assert app.clipboard.startswith("Run this:")
        app.chat.action_copy_code()
        assert app.clipboard == "print(1)"


async def test_up_and_down_walk_through_what_was_sent(stage: ChatStage) -> None:
    app = stage.app()
    async with app.run_test() as pilot:
        await ready(pilot)
        for text in ("one", "two"):
            await send(pilot, text)
            await ready(pilot)
        prompt = app.chat.query_one(Prompt)
        await pilot.press(*"draft", "up")
        assert prompt.text == "two"
        await pilot.press("up", "up")
        assert prompt.text == "one"
        await pilot.press("down", "down")
        assert prompt.text == "draft"


async def test_the_reader_who_scrolled_up_is_left_alone(stage: ChatStage) -> None:
    stage.script.write_text(
        '- {match: long, text: "' + "line\\n\\n" * 40 + '", repeat: true}\n'
        '- {text: "' + "more\\n\\n" * 40 + '", delay_s: 1, repeat: true}',
        encoding="utf-8",
    )
    app = stage.app()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await send(pilot, "long")
        await ready(pilot)
        conversation = app.chat.query_one("Conversation")
        assert conversation.scroll_y == conversation.max_scroll_y > 0
        await send(pilot, "again")
        await until(pilot, lambda: len(app.chat.query(Reply)) == 2)
        await pilot.press("pageup", "pageup")
        await pilot.pause()
        place = conversation.scroll_y
        await until(pilot, lambda: app.chat.driver.phase is Phase.READY)
        assert conversation.scroll_y == place < conversation.max_scroll_y
        assert "more below" in shown(app)
        await pilot.press("ctrl+end")
        await until(pilot, lambda: "more below" not in shown(app))
        assert conversation.scroll_y == conversation.max_scroll_y
