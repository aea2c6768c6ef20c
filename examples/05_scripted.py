"""A scripted model says what its file says. With it, an agent's tools, approvals and limits are tested without weights.

python examples/05_scripted.py
"""

from pathlib import Path

from openhearth import Agent, tool

SCRIPT = Path(__file__).with_name("05_script.yaml")
sent: list[str] = []


@tool
def send_mail(to: str, text: str) -> str:
    """Send a mail."""
    sent.append(to)
    return "sent"


with Agent(model=f"scripted:{SCRIPT}", tools=[send_mail], approve="ask") as agent:
    waiting = agent.run("Tell Ada that the report is ready.")
    print(f"{waiting.status}: {waiting.questions[0].call.name} {waiting.questions[0].call.arguments}")
    assert sent == []

    agent.decide(waiting.questions[0].approval_id, approve=True)
    done = agent.resume(waiting.run_id).raise_for_status()
    assert sent == ["ada@example.com"]
    print(done.output)
