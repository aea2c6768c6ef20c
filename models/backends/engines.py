"""Engines of this process, each loaded once however many models were opened on it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from openhearth.config import Settings
from openhearth.errors import ModelUnavailableError
from openhearth.models.base import ProgressCallback
from openhearth.models.chat.detokenise import TokenBytes
from openhearth.models.chat.formats import ToolFormat, detect_format, get_format
from openhearth.models.chat.grammar import GrammarCompiler
from openhearth.models.chat.prompt import PromptWriter
from openhearth.models.chat.template import ChatTemplate
from openhearth.models.engine.engine import Engine
from openhearth.models.loading.store import read_manifest


@dataclass(eq=False)
class LoadedModel:
    """An engine and all that is derived from its tokenizer and template."""

    key: tuple[str, str]
    engine: Engine
    tool_format: ToolFormat
    writer: PromptWriter
    compiler: GrammarCompiler
    token_bytes: TokenBytes
    added: dict[str, int] = field(default_factory=dict)
    users: int = 0

    @cached_property
    def fences(self) -> frozenset[int]:
        """The tokens with which a fenced block can begin."""
        vocabulary = self.engine.tokenizer.get_vocab()
        return frozenset(
            id_ for token, id_ in vocabulary.items() if "`" in token and self.token_bytes[id_].lstrip().startswith(b"`")
        )

    def token_id(self, text: str) -> int | None:
        """The id of an added token with this very text."""
        return self.added.get(text)


class _Registry:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loaded: dict[tuple[str, str], LoadedModel] = {}
        self.loading: dict[tuple[str, str], threading.Lock] = {}


_registry = _Registry()


def acquire(store: Path, settings: Settings, progress: ProgressCallback | None = None) -> LoadedModel:
    """The model in `store`, loaded if nobody has it open; blocks meanwhile. Pair it with `release`.

    Threads, context and cache are those of whoever loads it.
    """
    key = (str(store.resolve()), settings.model.device)
    with _registry.lock:
        loading = _registry.loading.setdefault(key, threading.Lock())
    with loading:
        with _registry.lock:
            loaded = _registry.loaded.get(key)
            if loaded is not None:
                loaded.users += 1
                return loaded
        loaded = _load(key, store, settings, progress)
        with _registry.lock:
            loaded.users = 1
            _registry.loaded[key] = loaded
        return loaded


def release(loaded: LoadedModel) -> None:
    """The last one to leave closes the engine."""
    with _registry.lock:
        loaded.users -= 1
        last = loaded.users == 0
        if last:
            _registry.loaded.pop(loaded.key, None)
    if last:
        loaded.engine.close()


def _load(key: tuple[str, str], store: Path, settings: Settings, progress: ProgressCallback | None) -> LoadedModel:
    options = settings.model
    engine = Engine.load(
        store,
        device=options.device,
        threads=options.threads,
        context=options.context,
        cache_mb=options.cache_mb,
        share_memory=options.share_memory,
        progress=progress,
    )
    try:
        if engine.chat_template is None:
            raise ModelUnavailableError(
                f"{store.name} has no chat template: it continues texts, it does not answer messages.",
                hint="Choose an instruction-tuned model.",
            )
        tokens = engine.tokenizer.get_added_tokens_decoder()
        named = read_manifest(store).extra.get("chat_format")
        added = [token.content for token in tokens.values()]
        tool_format = get_format(str(named)) if named else detect_format(engine.chat_template, added)
        markers = tool_format.markers
        control = [token.content for token in tokens.values() if token.special and token.content not in markers]
        return LoadedModel(
            key,
            engine,
            tool_format,
            PromptWriter(ChatTemplate(engine.chat_template), tool_format, control),
            GrammarCompiler(engine.tokenizer, vocab_size=engine.config.vocab_size, eos_ids=engine.config.eos_ids),
            TokenBytes(engine.tokenizer, keep=markers),
            {token.content: id_ for id_, token in tokens.items()},
        )
    except BaseException:
        engine.close()
        raise
