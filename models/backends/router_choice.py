"""How a router decides: rules first, then the classifier, then the default."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from openhearth.config import Settings
from openhearth.errors import ModelError
from openhearth.models.backends.router_file import RouterFile
from openhearth.models.backends.router_rules import fired, task
from openhearth.models.base import ProgressCallback
from openhearth.types import ModelRequest, Routing

if TYPE_CHECKING:
    from openhearth.models.backends.router_classifier import Classifier
    from openhearth.models.embedding.model import EmbeddingModel


class Chooser:
    """Decides by a router file. The embedding model is opened when a decision first needs it."""

    def __init__(self, file: RouterFile, settings: Settings, progress: ProgressCallback | None) -> None:
        self._file, self._settings, self._progress = file, settings, progress
        self._examples = {route.name: route.examples for route in file.routes if route.examples}
        self._learned: tuple[EmbeddingModel, Classifier] | None = None
        self._training = asyncio.Lock()

    async def choose(self, request: ModelRequest) -> Routing:
        """The same for equal requests."""
        if found := fired(self._file.rules, request):
            rule, called, reason = found
            return self._routing(rule.route, f"{called}: {reason}", rule=called)
        default = self._file.default
        _, text = task(request)
        if len(self._examples) < 2:
            return self._routing(default, "no rule holds; this is the default")
        if not text.strip():
            return self._routing(default, "there is no message to judge by; this is the default")
        try:
            scores = await self._scores(text)
        except ModelError as error:
            return self._routing(default, f"the classifier cannot be asked ({error.message}); this is the default")
        best, second = sorted(scores, key=lambda name: (-scores[name], name))[:2]
        compared = f"{best} {scores[best]:.2f}, {second} {scores[second]:.2f}"
        if scores[best] - scores[second] < self._file.margin:
            return self._routing(default, f"the examples leave it open ({compared}); this is the default", scores)
        return self._routing(best, f"most like the examples of {best} ({compared})", scores)

    def close(self) -> None:
        if self._learned is not None:
            self._learned[0].close()
            self._learned = None

    async def _scores(self, text: str) -> dict[str, float]:
        async with self._training:
            if self._learned is None:
                self._learned = await asyncio.to_thread(self._train)
            embedding, classifier = self._learned
        return classifier.scores((await embedding.embed([text])).vectors[0])

    def _train(self) -> tuple[EmbeddingModel, Classifier]:
        # Imported on use: a router that only has rules needs no torch.
        from openhearth.models.backends.router_classifier import trained
        from openhearth.models.embedding.model import EmbeddingModel

        embedding = EmbeddingModel.open(self._file.embedding, self._settings, progress=self._progress)
        try:
            learned = trained(self._examples, self._file.embedding, lambda texts: embedding.embed_sync(texts).vectors)
        except BaseException:
            embedding.close()
            raise
        return embedding, learned

    def _routing(self, route: str, reason: str, scores: dict[str, float] | None = None, *, rule: str = "") -> Routing:
        model = self._file.route(route).model
        return Routing(route=route, model=model, reason=reason, rule=rule, scores=scores or {})
