"""From a file to typed data: the agent computes with SQL or Python, the answer is a pydantic object.

python examples/04_structured_files.py [model reference]
"""

import sys
from pathlib import Path

from pydantic import BaseModel

from openhearth import Agent


class BestSeller(BaseModel):
    product: str
    units: int


with Agent(
    model=sys.argv[1] if sys.argv[1:] else None,
    tools=["sql", "python"],
    workspace=Path(__file__).with_name("data"),
    approve="auto",
    output_type=BestSeller,
) as agent:
    result = agent.run("Which product sold the most units to customers in Germany, and how many?").raise_for_status()

assert result.parsed is not None
print(f"{result.parsed.product}: {result.parsed.units}")
