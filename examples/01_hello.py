"""Ask a local model one thing. The model is fetched on the first run (98 MB) and kept.

python examples/01_hello.py
"""

from openhearth import Agent, Limits

agent = Agent("You answer in one short sentence.", model="smollm2-135m", limits=Limits(max_reply_tokens=100))
result = agent.run("What is a hearth?")
print(result.output)
