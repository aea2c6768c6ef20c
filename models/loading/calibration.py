"""The text whose activations decide how a conversion to int8 shares out precision between channels.

A mixture of what agents read and write: code, tool calls, tables, prose. Changing it changes every converted model.
"""

from __future__ import annotations

CALIBRATION_TOKENS = 512

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
1874 {'id': 'P-00017', 'warehouse': 'Rotterdam', 'shipped': '2023-10-09', 'weight_kg': '3.25'}
</tool_response><|im_end|>
<|im_start|>assistant
```python
from collections import Counter
from datetime import date

def in_week(text: str, start: date, days: int = 7) -> bool:
    """Whether the ISO date `text` falls into the week that begins with `start`."""
    passed = (date.fromisoformat(text) - start).days
    return 0 <= passed < days

counts = Counter(row["warehouse"] for row in rows if in_week(row["shipped"], date(2023, 10, 9)))
for name, count in sorted(counts.items(), key=lambda item: item[1]):
    print(f"{name:<12}{count:>6}")
```
Turku shipped the fewest: 112 of 1,874 parcels, about 6 %. Rotterdam had 903, eight times as many.<|im_end|>
| month | orders | revenue | returned |
|-------|-------:|--------:|---------:|
| April | 4,210 | $88,402.10 | 2.4 % |
| May | 3,977 | $91,015.75 | 1.9 % |

The ferry left an hour late that morning, because fog lay so thick on the harbour that the captain could not see the
breakwater from his own bridge. Nobody complained. A child asked whether the sea had gone away; her grandmother, who had
crossed it every spring for sixty years, said no, it was only resting. When the sun finally broke through, gulls rose
from the roofs all at once, and the whole town seemed to breathe out. Photosynthesis, by contrast, never waits: plants
turn light, water and carbon dioxide into sugar and oxygen wherever the temperature allows it.

SELECT c.country, SUM(o.quantity * o.unit_price) AS total FROM orders o JOIN customers c ON c.id = o.customer_id
WHERE o.placed_at >= '2024-01-01' GROUP BY c.country HAVING COUNT(*) > 10 ORDER BY total DESC LIMIT 5;

#include <stdio.h>
int main(void) { for (int i = 1; i <= 3; i++) printf("%d squared is %d\\n", i, i * i); return 0; }

Traceback (most recent call last):
  File "report.py", line 12, in <module>
KeyError: 'unit_price'
1. Read the header of the file. 2. Compare it with the names in the code. 3. Mend the code, then run it again.
'''
