"""What a model's tokens spell: bytes for the readers of answers, and the tokens of a verdict's boolean."""

from __future__ import annotations

import re
from typing import Any

from interleave_rt.errors import BadPackError
from interleave_rt.pack.tokens import token_bytes

__all__ = ["boolean_tokens", "control_tokens", "spelled"]

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"  # SentencePiece's
_WORD = re.compile(rb"[\s\"':]*(true|True|false|False)[\s\"',}]*")


def spelled(tokenizer: Any, size: int) -> list[bytes]:
    """The bytes of every token; control tokens and unused ids have none.

    Args:
        tokenizer: Of transformers, with a `tokenizer.json`; byte-level BPE and SentencePiece are known.
        size: Rows of the model's output.

    Raises:
        BadPackError: It has no `tokenizer.json`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise BadPackError(
            f"[torch] {type(tokenizer).__name__} has no tokenizer.json, which tells what its tokens spell",
            hint="save it once with transformers' fast tokenizer of the model",
        )
    try:
        return token_bytes(backend, size)
    except BadPackError:  # not byte-level
        pass
    table = [b""] * max(size, len(tokenizer))
    added = backend.get_added_tokens_decoder()
    for token, index in tokenizer.get_vocab().items():
        if index in added:
            table[index] = b"" if added[index].special else added[index].content.encode()
        elif byte := _BYTE.fullmatch(token):
            table[index] = bytes([int(byte[1], 16)])
        else:
            table[index] = token.replace(_SPACE, " ").encode()
    return table


def boolean_tokens(tokenizer: Any, table: list[bytes]) -> tuple[list[int], list[int]]:
    """Ids of the tokens that begin a verdict's `true` and its `false`, in JSON's spelling and in Python's.

    With and without a space or a quote around it. Where no token spells a whole word, the first pieces of the words.

    Raises:
        BadPackError: The words begin alike, so that no token tells which is meant.
    """
    words: dict[bool, list[int]] = {True: [], False: []}
    for index, spelling in enumerate(table):
        if found := _WORD.fullmatch(spelling):
            words[found[1].lower() == b"true"].append(index)
    if not (words[True] and words[False]):
        for value in words:
            forms = [str(value), str(value).lower()]
            encoded = [
                tokenizer.encode(before + form, add_special_tokens=False)
                for before in ("", " ")
                for form in forms
            ]
            words[value] = sorted({ids[0] for ids in encoded if ids and table[ids[0]].strip()})
    if not (words[True] and words[False]) or set(words[True]) & set(words[False]):
        raise BadPackError(
            "[torch critic] the tokenizer has no token that tells true from false",
            hint="use a model whose vocabulary has them",
        )
    return words[True], words[False]


def control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """What a text must not spell, as it would be read as a control token."""
    marks = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return re.compile("|".join(sorted(map(re.escape, marks), key=len, reverse=True)) or r"(?!)")
