"""The text whose activations decide how a conversion to int8 shares out precision between channels.

A mixture of what agents read and write: tool calls, code, tables, prose. Changing it changes every converted model.
"""

from __future__ import annotations

CALIBRATION_TOKENS = 512
"""At most; the text has about as many in either catalog model's vocabulary."""

CALIBRATION_TEXT = '''<|im_start|>system
You are a careful assistant. You may call tools, and you answer in plain words.<|im_end|>
<|im_start|>user
Which of our warehouses shipped the fewest parcels in the second week of October?<|im_end|>
<|im_start|>assistant
I will count them first.
<tool_call>
{"name": "python", "arguments": {"code": "import csv\\nrows = list(csv.DictReader(open('p.csv')))\\nprint(rows[0])"}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
{'id': 'P-00017', 'warehouse': 'Rotterdam', 'shipped': '2023-10-09', 'weight_kg': '3.25'}
</tool_response><|im_end|>
<|im_start|>assistant
```python
def in_week(text: str, start: date, days: int = 7) -> bool:
    """Whether the ISO date `text` falls into the week that begins with `start`."""
    return 0 <= (date.fromisoformat(text) - start).days < days

counts = Counter(row["warehouse"] for row in rows if in_week(row["shipped"], date(2023, 10, 9)))
for name, count in sorted(counts.items(), key=lambda item: item[1]):
    print(f"{name:<12}{count:>6}")
```
Turku shipped the fewest: 112 of 1,874 parcels, about 6 %.<|im_end|>
The ferry left an hour late that morning, because fog lay so thick on the harbour that the captain could not see the
breakwater from his own bridge. A child asked whether the sea had gone away; her grandmother said no, it was only
resting. When the sun broke through, gulls rose from the roofs, and the whole town seemed to breathe out.

| month | orders | revenue |
|-------|-------:|--------:|
| April | 4,210 | $88,402.10 |

SELECT country, SUM(quantity * unit_price) AS total FROM orders WHERE placed_at >= '2024-01-01' GROUP BY country;
Traceback (most recent call last):
  File "report.py", line 12, in <module>
KeyError: 'unit_price'
'''
