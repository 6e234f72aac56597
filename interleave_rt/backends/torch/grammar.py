"""Constrained answers: llguidance says which token may come next.

A token is drawn as it would be without a grammar; only where the grammar does not take it, it is drawn again among
those that are allowed. So an answer that conforms is the same with and without.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from interleave_rt.errors import BackendFailedError
from interleave_rt.pack.grammar import Reasoning, answer_grammar

__all__ = ["Draw", "GrammarState", "Grammars"]

Draw = Callable[[Any], int]
"""A token from the logits, given which are allowed (bool [vocabulary]), or None for all."""

_RESERVE = 2048  # tokens that the think part leaves for the answer, at most half of all
_END_THINK = b"</think>"


class Grammars:
    """The grammars of a role's answers over one tokenizer.

    Args:
        tokenizer: Of transformers.
        table: What its tokens spell.
        eos: Ids that end an answer.
        max_new_tokens: Of an answer.
    """

    def __init__(self, tokenizer: Any, table: list[bytes], eos: list[int], max_new_tokens: int) -> None:
        self._library: Any = importlib.import_module("llguidance")
        self._torch: Any = importlib.import_module("torch")
        self._masks: Any = importlib.import_module("llguidance.torch")
        adapter = importlib.import_module("llguidance.hf")
        self.tokens: Any = adapter.from_tokenizer(tokenizer, n_vocab=len(table), eos_token=eos)
        self.table, self._most = table, max_new_tokens
        self._made: dict[tuple[str, str], tuple[Any, Any]] = {}

    def begin(self, name: str, reasoning: Reasoning, budget: int) -> GrammarState:
        """For one answer of at most `budget` tokens.

        Args:
            name: Its kind: `narrative`, `guidance` or `critic`.
            reasoning: As in `answer_grammar`.
            budget: Tokens.
        """
        key = (name, reasoning)
        if key not in self._made:
            text = answer_grammar(name, reasoning=reasoning, max_new_tokens=self._most)
            self._made[key] = (
                self._matcher(text.whole),
                self._matcher(text.closing) if text.closing else None,
            )
        whole, closing = self._made[key]
        return GrammarState(self, whole.deep_copy(), closing, budget)

    def allowed(self, matcher: Any) -> Any:
        """Which tokens may come next, bool [vocabulary]."""
        words = self._masks.allocate_token_bitmask(1, self.tokens.vocab_size)
        self._masks.fill_next_token_bitmask(matcher, words)
        # The library's own way of applying it is compiled at its first use, for seconds.
        bits = words.view(-1, 1) >> self._torch.arange(32, dtype=words.dtype) & 1
        return bits.bool().view(-1)[: len(self.table)]

    def _matcher(self, grammar: str) -> Any:
        matcher = self._library.LLMatcher(self.tokens, self._library.LLMatcher.grammar_from_lark(grammar))
        if matcher.is_error():
            raise BackendFailedError(f"[grammar] llguidance refuses a grammar: {matcher.get_error()}")
        return matcher


class GrammarState:
    """One answer under way."""

    def __init__(self, grammars: Grammars, whole: Any, closing: Any, budget: int) -> None:
        self._grammars, self._matcher, self._closing = grammars, whole, closing
        self._think_limit = budget - min(_RESERVE, budget // 2)
        self._tail = b""
        self.complete = False

    def pick(self, index: int, draw: Draw) -> int:
        """Token number `index` of the answer, from 0."""
        if self._closing is not None and index >= self._think_limit:
            self._matcher, self._closing = self._closing.deep_copy(), None
        token = draw(None)
        if not self._take(token):
            token = draw(self._grammars.allowed(self._matcher))
            if not self._take(token):
                raise BackendFailedError(
                    f"[grammar] no token may follow after {index} tokens: {self._matcher.get_error() or 'none is allowed'}"
                )
        return token

    def _take(self, token: int) -> bool:
        if self._matcher.validate_tokens([token]) != 1 or not self._matcher.consume_token(token):
            return False
        spelled = self._grammars.table[token]
        if self._closing is not None:
            self._tail = (self._tail + spelled)[-64:]
            if _END_THINK in self._tail:
                self._closing = None
        # Every whole answer ends with a tag.
        self.complete = b">" in spelled and self._matcher.is_accepting()
        return True
