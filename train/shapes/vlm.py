"""What planner and critic training share: examples, batches, the cell heads, greedy decoding, and their kind of part.

All pictures are 96x96, so that the vision tower can attend over a batch at once instead of picture by picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3_vl

from interleave_rt.worlds.shapes.language import IMAGE_TOKENS
from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, PATTERNS, SHAPES, SIZES, Scene

from ..checkpoint import save_model
from ..loop import Part
from ..optim import Optimizers, round_to_half
from .models import TokenIds

__all__ = [
    "Batch",
    "CellHead",
    "Encoder",
    "Example",
    "Trainee",
    "VlmPart",
    "batched_vision",
    "cell_labels",
    "collate",
    "open_vlm",
]

_PATCHES = 36
IGNORE = -100


@dataclass(slots=True)
class Example:
    """A token sequence with the loss weight of every token (0 for the prompt), and its pictures."""

    ids: list[int]
    weights: list[float]
    images: list[npt.NDArray[np.uint8]]
    extra: Any = None


@dataclass(slots=True)
class Batch:
    """Right-padded examples as the model takes them."""

    inputs: dict[str, Tensor]
    labels: Tensor
    weights: Tensor
    mask: Tensor
    examples: list[Example]

    def loss(self, hidden: Tensor, head: nn.Module) -> Tensor:
        """Weighted cross entropy per example, from the last hidden states [n, tokens, width]."""
        chosen = self.weights[:, 1:] > 0
        logits = head(hidden[:, :-1][chosen])
        losses = functional.cross_entropy(logits, self.labels[:, 1:][chosen], reduction="none")
        return (losses * self.weights[:, 1:][chosen]).sum() / len(self.examples)


def positions(ids: list[int], image: int) -> list[tuple[int, int, int]]:
    """Rotary positions (time, row, column) of a sequence in which every picture is a 3x3 grid."""
    found: list[tuple[int, int, int]] = []
    now, i = 0, 0
    while i < len(ids):
        if ids[i] == image:
            found += [(now, now + cell // 3, now + cell % 3) for cell in range(IMAGE_TOKENS)]
            i, now = i + IMAGE_TOKENS, now + 3
        else:
            found.append((now, now, now))
            i, now = i + 1, now + 1
    return found


def pixel_patches(images: npt.NDArray[np.uint8]) -> Tensor:
    """Pictures uint8 [n, 96, 96, 3] as the vision tower takes them, float32 [36 n, 3 * 2 * 16 * 16]."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    x = x.reshape(len(x), 3, 3, 2, 16, 3, 2, 16).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return (
        x.unsqueeze(6)
        .expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)
        .reshape(len(images) * _PATCHES, -1)
        .contiguous()
    )


def collate(examples: list[Example], names: TokenIds, *, left: bool = False) -> Batch:
    """Pad to the longest (on the right, for training; on the left with ends, for decoding) and stack."""
    length = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), length), names.end if left else names.pad)
    weights = torch.zeros(len(examples), length)
    mask = torch.zeros(len(examples), length, dtype=torch.long)
    places = torch.zeros(3, len(examples), length, dtype=torch.long)
    for row, example in enumerate(examples):
        size = len(example.ids)
        span = slice(length - size, length) if left else slice(0, size)
        ids[row, span] = torch.tensor(example.ids)
        weights[row, span] = torch.tensor(example.weights)
        places[:, row, span] = torch.tensor(positions(example.ids, names.image)).T
        mask[row, span] = 1
    inputs = {"input_ids": ids, "position_ids": places}
    pictures = [picture for example in examples for picture in example.images]
    if pictures:
        inputs["pixel_values"] = pixel_patches(np.stack(pictures))
        inputs["image_grid_thw"] = torch.tensor([[1, 6, 6]]).expand(len(pictures), 3)
    return Batch(inputs, ids, weights, mask, examples)


class _Buckets:
    """Endless batches of examples of similar length, drawn several at a time; `waiting` are those not given yet."""

    def __init__(self, make: Callable[[], Example], rng: random.Random, batch: int, names: TokenIds) -> None:
        self._make, self._rng, self._batch, self._names = make, rng, batch, names
        self.waiting: list[list[Example]] = []

    def next(self) -> Batch:
        if not self.waiting:
            size = self._batch
            examples = sorted((self._make() for _ in range(6 * size)), key=lambda example: len(example.ids))
            self.waiting = [examples[i : i + size] for i in range(0, len(examples), size)]
            self._rng.shuffle(self.waiting)
        return collate(self.waiting.pop(0), self._names)


def _attend(self: Any, hidden_states: Tensor, *, position_embeddings: Any, **_: Any) -> Tensor:
    """Vision attention for pictures of one size: the same result, in one call instead of one a picture."""
    count = hidden_states.shape[0]
    query, key, value = (
        self.qkv(hidden_states).reshape(count, 3, self.num_heads, -1).permute(1, 0, 2, 3).unbind(0)
    )
    query, key = qwen3_vl.apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    shape = (count // _PATCHES, _PATCHES, self.num_heads, -1)
    query, key, value = (x.reshape(shape).transpose(1, 2) for x in (query, key, value))
    out = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(count, -1)
    projected: Tensor = self.proj(out)
    return projected


@contextmanager
def batched_vision() -> Iterator[None]:
    """Within this block the vision towers of Qwen3-VL attend picture-parallel (pictures of 96x96 only)."""
    original = qwen3_vl.Qwen3VLVisionAttention.forward
    qwen3_vl.Qwen3VLVisionAttention.forward = _attend
    try:
        yield
    finally:
        qwen3_vl.Qwen3VLVisionAttention.forward = original


_FIELDS = (len(SHAPES) + 1, len(COLOURS) + 1, len(SIZES) + 1, len(PATTERNS) + 1, len(COLOURS))


class CellHead(nn.Module):
    """Reads shape, colour, size, pattern and background off a hidden state; used in training only."""

    def __init__(self, width: int, extra: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(width, sum(_FIELDS) + extra)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [..., 33 + extra]."""
        out: Tensor = self.linear(hidden)
        return out

    @staticmethod
    def right(logits: Tensor, labels: Tensor) -> Tensor:
        """Whether each of the five fields is the first choice, bool [..., 5]."""
        return torch.stack([part.argmax(-1) for part in _fields(logits)], -1) == labels

    @staticmethod
    def loss(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sum over the five fields of the mean cross entropy; labels int64 [..., 5]."""
        total = torch.zeros(())
        for part, label in zip(_fields(logits), labels.unbind(-1), strict=True):
            losses = functional.cross_entropy(
                part.flatten(0, -2), label.flatten(), ignore_index=IGNORE, reduction="none"
            )
            total = total + (losses if weight is None else losses * weight.reshape(-1)).mean()
        return total


def _fields(logits: Tensor) -> tuple[Tensor, ...]:
    """The logits of each of the five fields; without the extra ones."""
    return torch.split(logits[..., : sum(_FIELDS)], list(_FIELDS), -1)


def cell_labels(scene: Scene | None) -> list[list[int]]:
    """Shape, colour, size, pattern and background of all nine cells (`IGNORE` where there is no scene)."""
    if scene is None:
        return [[IGNORE] * 5] * CELLS
    nothing = [len(SHAPES), len(COLOURS), len(SIZES), len(PATTERNS)]
    return [[*(nothing if thing is None else thing), scene.background] for thing in scene.cells]


class Encoder:
    """Words as tokens, and answers to them."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.ids = TokenIds.of(tokenizer)

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        found: list[int] = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def prompt_of(self, text: str, images: list[npt.NDArray[np.uint8]], extra: Any = None) -> Example:
        """A prompt with its pictures; nothing of it is learned."""
        ids = self.encode(text)
        return Example(ids, [0.0] * len(ids), images, extra)

    def answers(self, model: Any, prompts: list[Example], limit: int) -> list[str]:
        """What a model answers greedily, in at most `limit` tokens; it is left in evaluation mode."""
        return [self._tokenizer.decode(ids) for ids in _greedy(model, prompts, self.ids, limit)]


@torch.no_grad()
def _greedy(
    model: Any, prompts: list[Example], names: TokenIds, limit: int, batch: int = 64
) -> list[list[int]]:
    """Greedy continuations of prompts, without the end token; padded on the left, longest prompts together."""
    model.eval()
    results: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        packed = collate([prompts[i] for i in rows], names, left=True)
        mask = packed.mask
        out = model(**packed.inputs, attention_mask=mask, use_cache=True, logits_to_keep=1)
        place = packed.inputs["position_ids"][:, :, -1:].max(0).values + 1
        token = out.logits[:, -1].argmax(-1)
        done = token == names.end
        for step in range(limit):
            for row, value, finished in zip(rows, token.tolist(), done.tolist(), strict=True):
                if not finished:
                    results[row].append(value)
            if bool(done.all()) or step == limit - 1:
                break
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
            out = model(
                input_ids=token[:, None],
                position_ids=place.expand(3, -1, -1),
                attention_mask=mask,
                past_key_values=out.past_key_values,
                use_cache=True,
            )
            place = place + 1
            token = out.logits[:, -1].argmax(-1)
            done = done | (token == names.end)
    return results


def open_vlm(folder: Path) -> Any:
    """A saved model to train on; its tower stays as it is: training on words would blur it."""
    model: Any = Qwen3VLForConditionalGeneration.from_pretrained(folder).train()
    model.model.visual.requires_grad_(False)
    return model


class Trainee(nn.Module):
    """A model and heads that read its picture tokens: in one, for checkpoints and optimisers. The heads are not kept.

    `heads.loss(pictures, examples)` gets the hidden states of all picture tokens of a batch, [tokens, width].
    """

    def __init__(self, model: Any, heads: Any) -> None:
        super().__init__()
        self.model, self.heads = model, heads

    def loss(self, batch: Batch, image: int) -> Tensor:
        """The whole loss of a batch: that of the answers, and that of reading the pictures."""
        hidden = self.model.model(**batch.inputs).last_hidden_state
        pictures = hidden[batch.inputs["input_ids"] == image]
        read: Tensor = self.heads.loss(pictures, batch.examples)
        return batch.loss(hidden, self.model.lm_head) + read


class VlmPart(Part):
    """Planner or critic in training."""

    module: Trainee
    encoder: Encoder

    def learn(self, module: Trainee, batch: int) -> None:
        """What the constructor ends with: the optimisers and the stream of batches."""
        self.module = module
        self.optimizers = Optimizers([module], _is_matrix, weight_decay=0.01)
        self._stream = _Buckets(self.example, self.rng, batch, self.encoder.ids)

    def example(self) -> Example:
        """One more example to learn from."""
        raise NotImplementedError

    def running(self) -> AbstractContextManager[None]:
        """Pictures go through the tower side by side."""
        return batched_vision()

    def loss(self, iteration: int, iterations: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Loss of the answers and of the heads."""
        loss = self.module.loss(self._stream.next(), self.encoder.ids.image)
        return loss, loss

    def state(self) -> dict[str, Any]:
        """The examples that are drawn and not learned yet."""
        return {"waiting": self._stream.waiting}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with these."""
        self._stream.waiting = state["waiting"]

    def save(self) -> None:
        """Save the model without its heads."""
        save_model(self.module.model, self.out)

    def finish(self) -> None:
        """Save it as float16 values."""
        round_to_half(self.module.model.eval())
        self.save()


def _is_matrix(name: str, weight: nn.Parameter) -> bool:
    return weight.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "heads.", "merger"))
