"""The text that precisions are measured on: in no model's training data, and unlike what conversions calibrate with.

Changing it changes every figure that was ever measured.
"""

from __future__ import annotations

PROSE = """\
The archive at Velden opens only on Thursdays, and even then nobody comes but Mr. Ambrus, who is writing a history
of the town's drinking fountains. There were forty-one of them once. Nineteen remain, three give water, and one,
behind the old tannery, gives something that the laboratory in the capital declined to name. He has asked for the
council minutes of 1908 so often that Ilse leaves the volume on his table before he arrives. She does not tell him
that she has read it too, or that she knows why the fountain in Mill Lane was moved by exactly eleven metres in the
night before the Archduke's visit. Some answers, she thinks, are better found than given; and a man who has spent
six years on fountains can well spend a seventh. Outside, rain begins to fall on the roof of the market hall, first
a few drops, then a steady drumming, and the gutters carry it past every dry basin in the town, down to the river,
which has never asked anyone's permission.
"""

CODE = '''\
class TideTable:
    """High and low water of one harbour, as minutes after midnight and centimetres above chart datum."""

    def __init__(self, harbour: str, entries: list[tuple[int, int]]) -> None:
        if not entries:
            raise ValueError(f"no tides for {harbour!r}")
        self.harbour = harbour
        self._entries = sorted(entries)

    def height_at(self, minute: int) -> float:
        """Interpolate with a cosine between the two turning points around `minute`."""
        for (start, low), (end, high) in itertools.pairwise(self._entries):
            if start <= minute < end:
                phase = math.pi * (minute - start) / (end - start)
                return (low + high) / 2 - (high - low) / 2 * math.cos(phase)
        raise LookupError(f"{minute} lies outside the table of {self.harbour}")

    def safe_windows(self, draught: float, margin: float = 30.0) -> Iterator[range]:
        """Spans in which a ship of this draught, in centimetres, keeps the margin under her keel."""
        start = None
        for minute in range(self._entries[0][0], self._entries[-1][0]):
            deep = self.height_at(minute) >= draught + margin
            if deep and start is None:
                start = minute
            elif not deep and start is not None:
                yield range(start, minute)
                start = None
'''

AGENT_TURN = """\
<|im_start|>system
You answer questions about the files in the workspace. You may call the tool python.<|im_end|>
<|im_start|>user
Which berth was idle longest in the second quarter?<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "python", "arguments": {"code": "import csv\\nprint(len(list(csv.DictReader(open('berths.csv')))))"}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
912
</tool_response><|im_end|>
<|im_start|>assistant
The file holds 912 movements. I sort them by berth and compare each departure with the next arrival.<|im_end|>
"""

MIXED = CODE + "\n" + PROSE + "\n" + AGENT_TURN
"""Code, prose and an agent's turn, some 800 tokens."""
