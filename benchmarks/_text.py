"""Texts to measure with. What is read is the quality gate's; see there."""

from __future__ import annotations

from openhearth.models.quality.text import AGENT_TURN, CODE, MIXED, PROSE

__all__ = ["AGENT_TURN", "CODE", "MIXED", "PROSE", "STORY_PROMPT"]

STORY_PROMPT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nWrite a short story about a lighthouse keeper who collects broken clocks.<|im_end|>\n"
    "<|im_start|>assistant\n"
)
