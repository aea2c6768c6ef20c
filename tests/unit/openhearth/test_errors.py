"""The error tree: codes are unique, the drawing in the docstring is the tree."""

from __future__ import annotations

from openhearth import errors
from openhearth.errors import HearthError


def family(kind: type[HearthError]) -> list[type[HearthError]]:
    return [kind, *(member for child in kind.__subclasses__() for member in family(child))]


def tree() -> list[type[HearthError]]:
    return [kind for kind in family(HearthError) if kind.__module__ == errors.__name__]


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in tree()]
    assert len(codes) == len(set(codes))


def test_every_error_has_its_own_code_and_title() -> None:
    for kind in tree():
        assert "code" in vars(kind)
        assert "title" in vars(kind)


def test_the_docstring_draws_every_error_in_order() -> None:
    drawn = [word for line in (errors.__doc__ or "").splitlines() for word in line.split() if word.endswith("Error")]
    assert drawn == [kind.__name__ for kind in tree()]


def test_the_text_is_message_then_hint() -> None:
    assert str(HearthError("It broke.", hint="Mend it.")) == "It broke.\nMend it."
    assert str(HearthError("It broke.")) == "It broke."
