"""vLLM, run by its own interpreter: reads jobs as JSON lines, answers each with the time of every step.

    PYTHON _vllm_side.py CHECKPOINT CONTEXT

A job is `{"prompts": [[token, ...], ...], "count": N}`: all prompts are handed over at once, each is continued
greedily by N tokens. The answer is `{"steps": [[seconds, tokens so far], ...], "tokens": [[...], ...]}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM prints where it likes
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=sys.argv[1],
        skip_tokenizer_init=True,
        dtype="bfloat16",
        max_model_len=int(sys.argv[2]),
        max_num_seqs=32,
    )
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for number, line in enumerate(sys.stdin):
        job = json.loads(line)
        params = SamplingParams(temperature=0.0, max_tokens=job["count"], ignore_eos=True, detokenize=False)
        print(json.dumps(work(llm.llm_engine, job["prompts"], params, number)), file=answers, flush=True)


def work(engine: Any, prompts: list[list[int]], params: Any, number: int) -> dict[str, Any]:
    steps: list[tuple[float, int]] = []
    tokens: dict[str, list[int]] = {}
    started = time.perf_counter()
    for at, prompt in enumerate(prompts):
        engine.add_request(f"{number}-{at}", {"prompt_token_ids": prompt}, params)
    while engine.has_unfinished_requests():
        for output in engine.step():
            tokens[output.request_id] = list(output.outputs[0].token_ids)
        steps.append((time.perf_counter() - started, sum(map(len, tokens.values()))))
    return {"steps": steps, "tokens": [tokens[f"{number}-{at}"] for at in range(len(prompts))]}


if __name__ == "__main__":
    main()
