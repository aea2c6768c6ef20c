"""What is told of pip's output when it fails."""

from __future__ import annotations

import pytest

from openhearth.models.sources.pip import explain

UNREACHABLE = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by \
'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish a new \
connection: [Errno -3] Temporary failure in name resolution')': /simple/tiny/
ERROR: Could not find a version that satisfies the requirement tiny==1 (from versions: none)
ERROR: No matching distribution found for tiny==1
"""
TIMED_OUT = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by \
'ConnectTimeoutError(<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>, 'Connection to index.test timed \
out. (connect timeout=15.0)')': /simple/tiny/
ERROR: No matching distribution found for tiny==1
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            UNREACHABLE,
            "the index cannot be reached (Failed to establish a new connection: [Errno -3] Temporary failure in name "
            "resolution). Could not find a version that satisfies the requirement tiny==1 (from versions: none) "
            "No matching distribution found for tiny==1",
        ),
        (
            TIMED_OUT,
            "the index cannot be reached (Connection to index.test timed out. (connect timeout=15.0)). "
            "No matching distribution found for tiny==1",
        ),
        ("Collecting tiny\nERROR: one\nERROR: two\nERROR: three\nERROR: four\n", "two three four"),
        ("Traceback\n  File x\nKeyError: 3\n\n", "KeyError: 3"),
        ("", ""),
    ],
    ids=["unreachable", "timed out", "errors", "traceback", "silent"],
)
def test_errors_are_kept_and_noise_is_not(output: str, expected: str) -> None:
    assert explain(output) == expected
