"""A tool is a typed function. Its schema comes from the signature, its arguments arrive checked.

python examples/02_tool.py [model reference]
"""

import sys

from openhearth import Agent, tool

RATES = {"GBP": 1.17, "NOK": 0.085, "PLN": 0.235}


@tool(read_only=True)
def exchange_rate(currency: str) -> float:
    """How many euros one unit of a currency is worth, for example NOK."""
    return RATES[currency.upper()]


INSTRUCTIONS = "You are an exchange desk. Call exchange_rate for every rate; you know none by heart."
MODEL = sys.argv[1] if sys.argv[1:] else None

with Agent(INSTRUCTIONS, model=MODEL, tools=[exchange_rate]) as agent:
    result = agent.run("How many euros is one Norwegian krone (NOK) worth?").raise_for_status()
    for message in result.messages:
        for call in message.tool_calls:
            print(f"{call.name}({call.arguments})", file=sys.stderr)
    print(result.output)
