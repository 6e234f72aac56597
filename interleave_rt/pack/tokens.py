"""What a pack's roles read, as token ids; and the bytes of every token, so that the core decodes by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interleave_rt.errors import BadPackError

from .chat import ChatEncoder, EncodedPrompt, Ids
from .manifest import GeneratorRole, VlmRole
from .spec import RoleSpec
from .templates import Mode, Templates, mode_for

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from .manifest import Manifest

_log = logging.getLogger(__name__)


class TextEncoder:
    """Everything that a pack's roles read: prompt templates, chat templates and tokenizers."""

    def __init__(
        self,
        templates: Templates,
        encoders: Mapping[str, ChatEncoder | None],
        max_sequence_length: int = 512,
        pad_token_id: int | None = None,
        *,
        prompt_sees: bool = False,
    ) -> None:
        self._templates, self._encoders = templates, encoders
        self._max_length, self._pad, self._sees = max_sequence_length, pad_token_id, prompt_sees

    @classmethod
    def of_pack(cls, path: Path, manifest: Manifest) -> TextEncoder:
        """The encoder of a pack at `path`; roles that share files share a tokenizer."""
        roles = manifest.roles
        files: dict[str, Path] = {}
        for vlm in (roles.planner, roles.critic):
            if isinstance(vlm, VlmRole):
                files |= {name: path / file for name, file in vlm.templates.items()}
        made: dict[tuple[str, str | None], ChatEncoder] = {}

        def encoder(role: VlmRole | GeneratorRole | RoleSpec | None) -> ChatEncoder | None:
            if role is None or isinstance(role, RoleSpec):  # that one has its own tokenizer
                return None
            key = (role.tokenizer, role.chat_template)
            if key not in made:
                chat = None if role.chat_template is None else path / role.chat_template
                made[key] = ChatEncoder(path / role.tokenizer, chat)
            return made[key]

        generator = roles.generator if isinstance(roles.generator, GeneratorRole) else None
        named = {"planner": roles.planner, "critic": roles.critic, "generator": generator}
        encoders = {name: encoder(role) for name, role in named.items()}
        for name, role in named.items():
            if (made_for := encoders[name]) is not None:
                _check_ids(name, role, made_for)
        return cls(
            Templates.load(files),
            encoders,
            generator.max_sequence_length if generator else 512,
            generator.pad_token_id if generator else None,
            prompt_sees=generator is not None and generator.conditioning is not None,
        )

    def plan(self, mode: Mode, text: str, image_count: int) -> Ids:
        """Ids of the planner's message."""
        return self._encoder("planner").encode_messages(self._templates.render_plan(mode, text, image_count))

    def judge(self, original: str, used: str) -> Ids:
        """Ids of the critic's message."""
        return self._encoder("critic").encode_messages(self._templates.render_critic(original, used))

    def generate(self, prompt: str) -> EncodedPrompt:
        """Ids and mask of a generator's prompt, both [max_sequence_length]; a longer one is cut.

        Where its text encoder looks at pictures, one image token stands for the first of them.
        """
        encoded = self._encoder("generator").encode_prompt(
            prompt, self._max_length, self._pad, picture=self._sees
        )
        if encoded.truncated:
            _log.warning("a prompt of %d characters was cut to %d tokens", len(prompt), self._max_length)
        return encoded

    def between_pictures(self, count: int) -> list[list[int]]:
        """Ids that a generator's prompt has between one of its first `count` pictures and the next."""
        return self._encoder("generator").between_pictures(count)

    def encode(self, job: Any) -> tuple[Ids, Ids | None, bool]:
        """Of a `_core.TextJob`: ids, for a generator's prompt the mask, and whether it was cut."""
        if job.kind == "plan":
            return self.plan(mode_for(job.image_count), job.text, job.image_count), None, False
        if job.kind == "judge":
            return self.judge(job.original, job.text), None, False
        return self.generate(job.text)

    def _encoder(self, role: str) -> ChatEncoder:
        encoder = self._encoders.get(role)
        if encoder is None:
            raise BadPackError(f"[TextEncoder] the pack has no {role}", hint="use a pack with that role")
        return encoder


def _check_ids(name: str, role: Any, encoder: ChatEncoder) -> None:
    """Token ids that the manifest names, against the tokenizer."""
    size = encoder.tokenizer.get_vocab_size(with_added_tokens=True)
    wrong, said = False, ""
    if isinstance(role, GeneratorRole):
        wrong = role.pad_token_id >= size
        said = f"pad_token_id is {role.pad_token_id}, the tokenizer has {size} tokens"
    seen = role.conditioning if isinstance(role, GeneratorRole) else role.architecture
    if not wrong and seen is not None:
        found = seen.image_token_id
        wrong = encoder.image_token_id not in (None, found)
        said = f"image_token_id is {found}, that of the tokenizer is {encoder.image_token_id}"
    if wrong:
        raise BadPackError(
            f"[TextEncoder] {name}: {said}", hint="correct it in pack.json, or export the pack again"
        )


def special_token_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids of the control tokens, in order; they yield no text."""
    return sorted(index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special)


def token_bytes(tokenizer: Tokenizer, size: int | None = None) -> list[bytes]:
    """The bytes of every token of a byte-level BPE; control tokens and unused ids have none.

    Args:
        tokenizer: The tokenizer whose vocabulary is read.
        size: Rows of the model's embedding where those are more than tokens.

    Raises:
        BadPackError: A token is not spelled in the byte-level alphabet.
    """
    added = tokenizer.get_added_tokens_decoder()
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    table = [b""] * max(size or 0, 1 + max([*vocabulary.values(), *added]))
    alphabet = _alphabet()
    for token, index in vocabulary.items():
        if index in added:
            continue
        try:
            table[index] = bytes(alphabet[char] for char in token)
        except KeyError as error:
            raise BadPackError(
                f"[token_bytes] token {index} ({token!r}) holds {error}, which stands for no byte",
                hint="only byte-level BPE tokenizers are supported",
            ) from None
    for index, extra in added.items():
        table[index] = b"" if extra.special else extra.content.encode()
    return table


def check_token_bytes(table: Sequence[bytes], tokenizer: Tokenizer) -> None:
    """Compares a table with the tokenizer's own decoder, over the whole vocabulary.

    Raises:
        BadPackError: Naming the first token that differs.
    """
    special = set(special_token_ids(tokenizer))
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if len(table) < size:
        raise BadPackError(
            f"[check_token_bytes] the table has {len(table)} tokens, the tokenizer {size}",
            hint="export the pack again",
        )
    for index, found in enumerate(table):
        known = index not in special and tokenizer.id_to_token(index) is not None
        wanted = tokenizer.decode([index], skip_special_tokens=False) if known else ""
        if found.decode("utf-8", "replace") != wanted:
            raise BadPackError(
                f"[check_token_bytes] token {index} is {found!r} in the table and {wanted!r} to the tokenizer",
                hint="export the pack again",
            )


def _alphabet() -> dict[str, int]:
    """The byte that each character of the byte-level alphabet stands for: itself where that can be printed."""
    printable: Iterable[int] = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if chr(byte) not in alphabet]
    return alphabet | {chr(256 + place): byte for place, byte in enumerate(others)}
