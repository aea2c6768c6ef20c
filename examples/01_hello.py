"""Ask a local model one thing. The model is fetched on the first run (98 MB) and kept.

python examples/01_hello.py
"""

from openhearth import Agent

agent = Agent(model="smollm2-135m", instructions="You answer in one short sentence.")
result = agent.run("What is a hearth?")
print(result.output)
