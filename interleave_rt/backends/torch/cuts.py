"""Whether the tokenizers of a pipeline have cut its prompt: pipelines say so in a log, or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["Cuts"]


class Cuts:
    """Listens to the tokenizers among the parts of a pipeline, those inside of its processors too.

    Only tokenizers of the `tokenizers` library say what they cut; others count as reading everything.
    """

    def __init__(self, parts: Iterable[Any]) -> None:
        from transformers import PreTrainedTokenizerBase

        self._cut: dict[int, bool] = {}  # of the tokenizers that have been asked
        for part in parts:
            tokenizer = getattr(part, "tokenizer", part)
            if isinstance(tokenizer, PreTrainedTokenizerBase):
                self._listen(tokenizer)

    def begin(self) -> None:
        """Of another prompt."""
        self._cut.clear()

    @property
    def whole(self) -> bool:
        """Whether one of them has read the prompt to its end: pipelines may give it to two, of which one reads less."""
        return not self._cut or not all(self._cut.values())

    def _listen(self, tokenizer: Any) -> None:
        kind, cut, me = type(tokenizer), self._cut, id(tokenizer)

        def call(this: Any, *texts: Any, **settings: Any) -> Any:
            found = kind.__call__(this, *texts, **settings)
            encodings = getattr(found, "encodings", None) or ()
            cut[me] = cut.get(me, False) or any(one.overflowing for one in encodings)
            return found

        # A call is looked up in the class.
        tokenizer.__class__ = type(kind.__name__, (kind,), {"__call__": call})
