"""What is known of beginnings: a tree whose nodes are blocks of tokens with their keys and values.

A node stands for the text from the root to its end. Only a full block can have children; a shorter one is the end of
something that was read once, and makes room for a longer one that begins with it. Keys and values of a token depend
only on the tokens before it, so whoever begins with the same tokens can read the same blocks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from openhearth.models.engine.blocks import BlockPool
from openhearth.models.layers.paged import BLOCK


class Node:
    """One block and the tokens in it. `children` are found by their tokens."""

    __slots__ = ("block", "children", "parent", "tokens")

    def __init__(self, tokens: tuple[int, ...], block: int, parent: Node | None) -> None:
        self.tokens = tokens
        self.block = block
        self.parent = parent
        self.children: dict[tuple[int, ...], Node] = {}


class PrefixTree:
    """Remembers blocks of `pool`, of which it is a holder like any other, and forgets the least recently used ends."""

    def __init__(self, pool: BlockPool) -> None:
        self.evictions = 0
        self._pool = pool
        self._root = Node((), -1, None)
        self._leaves: OrderedDict[Node, None] = OrderedDict()
        """Those that were used longest ago come first."""

    def __iter__(self) -> Iterator[Node]:
        """All nodes, parents first."""
        nodes = list(self._root.children.values())
        while nodes:
            node = nodes.pop()
            yield node
            nodes += node.children.values()

    def find(self, tokens: Sequence[int], most: int) -> tuple[list[Node], Node | None, int]:
        """The longest known beginning of the first `most` of `tokens`.

        It is whole blocks, and then perhaps a node of whose tokens the first so many come next.
        """
        path: list[Node] = []
        node = self._root
        while (end := (len(path) + 1) * BLOCK) <= most:
            child = node.children.get(tuple(tokens[end - BLOCK : end]))
            if child is None:
                break
            path.append(child)
            node = child
        rest = tuple(tokens[len(path) * BLOCK : min((len(path) + 1) * BLOCK, most)])
        best, shared = None, 0
        for child in node.children.values():
            count = _common(child.tokens, rest)
            if count > shared:
                best, shared = child, count
        for used in (*path[-1:], *([best] if best is not None else [])):
            if used in self._leaves:
                self._leaves.move_to_end(used)
        return path, best, shared

    def insert(self, tokens: Sequence[int], blocks: Sequence[int], *, whole_only: bool) -> None:
        """Remember that `blocks` hold `tokens`; the last block is left out if `whole_only` and it is not full.

        What the tree knows already stays as it is.
        """
        node = self._root
        for index, block in enumerate(blocks):
            piece = tuple(tokens[index * BLOCK : (index + 1) * BLOCK])
            if not piece or (whole_only and len(piece) < BLOCK):
                return
            child = node.children.get(piece)
            if child is None and len(piece) < BLOCK:
                child = next((c for c in node.children.values() if c.tokens[: len(piece)] == piece), None)
            if child is None:
                child = self._add(node, piece, block)
            elif child in self._leaves:
                self._leaves.move_to_end(child)
            node = child

    def evict(self) -> bool:
        """Forget the end that was used longest ago and that nobody reads; False where there is none."""
        for node in self._leaves:
            if self._pool.holders(node.block) == 1:
                self._remove(node)
                self.evictions += 1
                return True
        return False

    def _add(self, parent: Node, tokens: tuple[int, ...], block: int) -> Node:
        for known in list(parent.children.values()):
            shorter = len(known.tokens) < len(tokens) and tokens[: len(known.tokens)] == known.tokens
            if shorter and (known.block == block or self._pool.holders(known.block) == 1):
                self._remove(known)
        node = Node(tokens, block, parent)
        self._pool.keep(block)
        parent.children[tokens] = node
        self._leaves.pop(parent, None)
        self._leaves[node] = None
        return node

    def _remove(self, leaf: Node) -> None:
        parent = leaf.parent
        if parent is None or leaf.children:
            raise RuntimeError("only an end can be forgotten")
        del parent.children[leaf.tokens]
        del self._leaves[leaf]
        self._pool.forget(leaf.block)
        if not parent.children and parent is not self._root:
            # It was last used when its child was, or later; it follows soon.
            self._leaves[parent] = None
            self._leaves.move_to_end(parent, last=False)


def _common(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """How many tokens both begin with."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
