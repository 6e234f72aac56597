"""Inputs that a pack's own work leads to: for the scales of int8 and FP8, and to compare a rewritten graph with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interleave_rt.pack.chat import ChatEncoder
from interleave_rt.pack.manifest import GeneratorRole, VlmRole
from interleave_rt.pack.templates import TextPart

from ..proof.sessions import DecoderRunner, open_session

__all__ = ["work_of"]

_SEED = 0
_EXAMPLES = 4
_PLAIN = "Draw a house."


def work_of(
    pack: Path, name: str, role: VlmRole | GeneratorRole, examples: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Feeds of every part of a role, for some of the pack's examples."""
    texts = list(examples[:_EXAMPLES]) or [_PLAIN]
    rng = np.random.default_rng(_SEED)
    if isinstance(role, VlmRole):
        return _reading(pack, role, texts, rng)
    return _painting(pack, name, role, texts, rng)


class _Recorder:
    """A session that keeps what it is fed."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.feeds: list[dict[str, Any]] = []

    def run(self, names: Any, feed: Mapping[str, Any]) -> Any:
        self.feeds.append(dict(feed))
        return self._session.run(names, feed)


def _reading(
    pack: Path, role: VlmRole, texts: Sequence[str], rng: np.random.Generator
) -> dict[str, list[dict[str, Any]]]:
    """The templates with a request and a picture, as one chunk each."""
    from ..families.qwen3_vl_proof import patchify

    vision, told = role.vision_config, role.architecture
    side = int(vision.max_pixels**0.5) // (vision.patch_size * vision.merge_size)
    side *= vision.patch_size * vision.merge_size
    pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    values, grid = patchify(pixels, vision.patch_size, vision.merge_size, vision.temporal_patch_size)
    picture = {"pixel_values": values, "grid_thw": grid}
    seen = open_session(pack / role.parts["vision"].file).run(None, picture)
    encoder = ChatEncoder(pack / role.tokenizer, pack / role.chat_template if role.chat_template else None)
    runner = DecoderRunner(open_session(pack / role.parts["decoder"].file), 1, role.cache_length)
    feeds = []
    for file in role.templates.values():
        template = (pack / file).read_text(encoding="utf-8")
        for text in texts:
            ids = encoder.encode_messages([TextPart(f"{template}\n{text}")])
            ids = np.concatenate([np.full(len(seen[0]), told.image_token_id), ids])[: role.cache_length]
            row = runner.text(ids)
            row.visual[: len(seen[0])] = seen[0][: len(ids)]
            if runner.levels:
                row.deepstack[:, : len(seen[0])] = seen[1][:, : len(ids)]
            feeds.append(runner.feed(row))
    return {"vision": [picture], "decoder": feeds}


def _painting(
    pack: Path, name: str, role: GeneratorRole, texts: Sequence[str], rng: np.random.Generator
) -> dict[str, list[dict[str, Any]]]:
    """Pictures of the examples, the second and later ones from the one before."""
    from ..families.flux2 import GeneratorChain

    chain = GeneratorChain(pack / name, role.scheduler.num_inference_steps)
    recorders = {part: _Recorder(session) for part, session in chain.sessions.items()}
    chain.sessions.update(recorders)
    encoder = ChatEncoder(pack / role.tokenizer, pack / role.chat_template if role.chat_template else None)
    rows, columns = role.image.height // role.token_pixels, role.image.width // role.token_pixels
    picture = None
    for text in texts if len(texts) > 1 else [*texts, *texts]:  # one without and one with a picture
        prompt = encoder.encode_prompt(text, role.max_sequence_length, role.pad_token_id)
        ids, mask = (np.asarray(values, np.int64)[None] for values in (prompt.ids, prompt.mask))
        noise = rng.standard_normal((1, chain.channels, rows, columns), dtype=np.float32)
        picture = chain.paint(ids, mask, noise, picture)
    return {part: recorder.feeds for part, recorder in recorders.items()}
