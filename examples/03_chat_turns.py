"""Turns of one conversation: the second run continues the first one's thread, and only the new words are prefilled.

python examples/03_chat_turns.py [model reference]
"""

import sys

from openhearth import Agent, Limits

MODEL = sys.argv[1] if sys.argv[1:] else "smollm2-135m"

# So small a model does not know when to stop.
with Agent("You are brief.", model=MODEL, limits=Limits(max_reply_tokens=60)) as agent:
    first = agent.run("My name is Ada and I like lighthouses.").raise_for_status()
    second = agent.run("What is my name?", thread=first.thread_id).raise_for_status()

print(second.output)
print(f"{second.usage.cached_tokens} of {second.usage.prompt_tokens} prompt tokens were kept.", file=sys.stderr)
