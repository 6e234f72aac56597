"""Fields of a request's body that not every server takes: one that is refused is left out from then on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Fields"]


class Fields:
    """The fields of one call; `of_next_call` starts another one on what is known of the server by then.

    What the server refuses is only remembered where the call then succeeds without it: `keep` says so.

    Args:
        words: Field by field: how a refusal may call it.
        fixed: Fields that only a refusal which names them leaves out.
    """

    def __init__(self, words: Mapping[str, Sequence[str]], fixed: Iterable[str] = ()) -> None:
        self._words, self._fixed = words, frozenset(fixed)
        self._refused: set[str] = set()  # shared by all calls
        self._left_out: set[str] = set()
        self._sent: set[str] = set()

    def of_next_call(self) -> Fields:
        """For a call of any thread."""
        call = Fields(self._words, self._fixed)
        call._refused = self._refused
        call._left_out = set(self._refused)
        return call

    def send(self, name: str) -> bool:
        """Whether the field is to be sent; a true answer is taken for sending it."""
        if name in self._left_out:
            return False
        self._sent.add(name)
        return True

    def adapt(self, said: str, *, sure: bool = True) -> bool:
        """Leaves out what a refusal names, or all that can be missed where it names nothing; false: there is none.

        Args:
            said: The server's words.
            sure: The server says that the call is wrong; else only a field that it names is at fault.
        """
        lowered = said.lower()
        drop = {name for name in self._sent if any(word in lowered for word in self._words[name])}
        if not drop and sure:
            drop = self._sent - self._fixed
        self._left_out |= drop
        self._sent -= drop
        return bool(drop)

    def keep(self) -> None:
        """The call went through without what was left out."""
        self._refused |= self._left_out
