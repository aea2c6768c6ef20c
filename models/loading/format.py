"""The version of the converted store's layout, apart from what reads and writes it: finding a model loads no torch."""

from __future__ import annotations

FORMAT_VERSION = 2
"""Raised with every change of the layout. A store of another version counts as not being here, and is made anew."""
