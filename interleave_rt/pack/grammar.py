"""Grammars of answers: JSON schemas as data, put into the frame `<think>...</think><answer>...</answer>`.

A schema says what stands inside `<answer>`; the think part stays free. Two keywords are ours, and are resolved here:
`x-numbered` (`{"field": F, "from": N}`, on an array) counts field F of the items up from N, and `maxLength` is meant for
answers of 4096 tokens and shrinks in proportion for a role that may write fewer. White space is fixed by `x-guidance`,
as weak models loop on it. Only JSON can be described so; for another dialect (Python's `True` and `None`) a pack brings a
file `*.lark` with a rule `answer`, or turns its constraint off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from interleave_rt.errors import BadPackError
from interleave_rt.files import read_text

SCHEMAS = Path(__file__).parent / "schemas"
Reasoning = Literal["written", "opened", "none"]

_FULL_LENGTH = 4096  # tokens that `maxLength` is meant for
_SHORTEST = 32  # characters that a string always gets
_OPTIONS = '%llguidance {"no_forcing": true}\n'  # every spelling of a text is allowed, as in training data
# An answer is complete at its end tag. To find out that nothing may follow would cost llguidance as much as forty
# tokens, so anything may.
_ANSWER = 'gap "<answer>" gap answer gap "</answer>" beyond\ngap: /[ \\n]{0,2}/\nbeyond: /(.|\\n)*/\n'
_THINK = {
    "written": "think[lazy]: /<think>(.|\\n)*<\\/think>/\n",
    # Without <think> in the answer, its reader takes the first <answer>: the thoughts must not hold one.
    "opened": "think[lazy]: THOUGHT\nTHOUGHT: /(?s:.*)<\\/think>/ & ~/(?s:.*)<answer>(?s:.*)/\n",
}


@dataclass(frozen=True, slots=True)
class AnswerGrammar:
    """Texts in llguidance's Lark dialect: of a whole answer, and of one whose think part is ended for it."""

    name: str
    whole: str
    closing: str


def answer_grammar(
    name: str,
    path: Path | None = None,
    *,
    reasoning: Reasoning = "written",
    max_new_tokens: int = _FULL_LENGTH,
) -> AnswerGrammar:
    """The grammar of one kind of answer.

    Args:
        name: `narrative`, `guidance` or `critic`.
        path: A JSON schema of the answer's value, or a Lark file with a rule `answer`; None: the package's schema.
        reasoning: Whether the model writes `<think>` itself, the chat template has opened it, or there is none.
        max_new_tokens: Of the role; shortens the strings of the package's schemas.

    Raises:
        BadPackError: The file is not a schema; the name of the file is in the message.

    Example:
        >>> answer_grammar("critic").closing.splitlines()[1][:30]
        'start: "</think>" gap "<answer'
    """
    source = path or SCHEMAS / f"{name}.json"
    hint = "correct the schema, or take it out of the manifest: the package has its own"
    text = read_text(source, what="grammar", error=BadPackError, hint=hint)
    try:
        if source.suffix == ".lark":
            rule = text
        else:
            scale = 1.0 if path else min(1.0, max_new_tokens / _FULL_LENGTH)
            rule = f"answer: %json {json.dumps(_resolved(json.loads(text), scale))}\n"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadPackError(f"[grammar] {source} cannot be read: {error}", hint=hint) from None
    label = name if path is None else f"{name} ({path.name})"
    if reasoning == "none":
        return AnswerGrammar(label, f"{_OPTIONS}start: {_ANSWER}{rule}", "")
    return AnswerGrammar(
        label,
        whole=f"{_OPTIONS}start: think {_ANSWER}{_THINK[reasoning]}{rule}",
        closing=f'{_OPTIONS}start: "</think>" {_ANSWER}{rule}',
    )


def _resolved(schema: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The schema without our own keywords."""
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "maxLength":
            out[key] = min(value, max(_SHORTEST, int(value * scale)))
        elif isinstance(value, dict):
            out[key] = _resolved(value, scale)
        elif isinstance(value, list):
            out[key] = [_resolved(item, scale) if isinstance(item, dict) else item for item in value]
        else:
            out[key] = value
    numbered = out.pop("x-numbered", None)
    if numbered is not None:
        item, field = out["items"], numbered["field"]
        first = numbered["from"]
        numbers = range(first, first + out.pop("maxItems"))
        out["prefixItems"] = [_with_number(item, field, number) for number in numbers]
        out["items"] = False
    return out


def _with_number(item: Mapping[str, Any], field: str, number: int) -> dict[str, Any]:
    if "anyOf" in item:
        return {**item, "anyOf": [_with_number(one, field, number) for one in item["anyOf"]]}
    return {**item, "properties": {**item["properties"], field: {"const": number}}}
