"""What planner and critic training share: examples, batches, the cell heads, greedy decoding, and their kind of part.

All pictures are 96x96, so that the vision tower can attend over a batch at once instead of picture by picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3_vl

from interleave_rt.errors import BadRequestError
from interleave_rt.worlds.shapes.language import IMAGE_TOKENS
from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, PATTERNS, SHAPES, SIZES, Scene

from ..checkpoint import save_model
from ..loop import Part
from ..optim import Optimizers, round_to_half
from .models import TokenIds
from .stream import Stream

__all__ = [
    "Batch",
    "CellHead",
    "Encoder",
    "Example",
    "Trainee",
    "VlmPart",
    "average",
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
    """Padded examples: what the model takes, what is learned, and where.

    `inputs` are ids int64 [n, tokens] and rotary positions int64 [3, n, tokens], and after `on` also the `pictures` uint8
    [p, 96, 96, 3] as the vision tower takes them. `answers` int64 [m] are the flat places of the tokens before those that
    are learned, `labels` int64 [m] and `weights` float32 [m] what these are and how much they count; `seen` int64 [9 p]
    are the flat places of picture tokens, and `told` is what the heads are to read there.
    """

    inputs: dict[str, Tensor]
    pictures: Tensor | None
    mask: Tensor
    answers: Tensor
    labels: Tensor
    weights: Tensor
    seen: Tensor
    told: tuple[Tensor, ...] | None
    count: int

    def on(self, device: torch.device | str) -> Batch:
        """The same on a device, ready for the model."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        if self.pictures is not None:
            inputs["pixel_values"] = pixel_patches(self.pictures.to(device))
            inputs["image_grid_thw"] = torch.tensor([[1, 6, 6]], device=device).expand(len(self.pictures), 3)
        names = ("mask", "answers", "labels", "weights", "seen")
        moved = {name: getattr(self, name).to(device) for name in names}
        told = None if self.told is None else tuple(value.to(device) for value in self.told)
        return replace(self, inputs=inputs, told=told, **moved)

    def loss(self, hidden: Tensor, head: nn.Module) -> Tensor:
        """Weighted cross entropy per example, from the last hidden states [n, tokens, width]."""
        logits = head(hidden.flatten(0, 1)[self.answers])
        losses = functional.cross_entropy(logits, self.labels, reduction="none")
        return (losses * self.weights).sum() / self.count


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


def pixel_patches(images: Tensor) -> Tensor:
    """Pictures uint8 [n, 96, 96, 3] as the vision tower takes them, float32 [36 n, 3 * 2 * 16 * 16]."""
    x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    x = x.reshape(len(x), 3, 3, 2, 16, 3, 2, 16).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return (
        x.unsqueeze(6)
        .expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)
        .reshape(len(images) * _PATCHES, -1)
        .contiguous()
    )


def collate(
    examples: list[Example],
    names: TokenIds,
    *,
    left: bool = False,
    told: Callable[[list[Example]], tuple[Tensor, ...] | None] = lambda _: None,
) -> Batch:
    """Pad to the longest (on the right, for training; on the left with ends, for decoding) and stack.

    `told` gives what the heads are to read in the pictures.
    """
    length = max(len(example.ids) for example in examples)
    shape = len(examples), length
    ids = np.full(shape, names.end if left else names.pad, np.int64)
    weights = np.zeros(shape, np.float32)
    mask = np.zeros(shape, np.int64)
    places = np.zeros((3, *shape), np.int64)
    for row, example in enumerate(examples):
        size = len(example.ids)
        span = slice(length - size, length) if left else slice(0, size)
        ids[row, span] = example.ids
        weights[row, span] = example.weights
        places[:, row, span] = np.array(positions(example.ids, names.image)).T
        mask[row, span] = 1
    rows, columns = np.nonzero(weights[:, 1:] > 0)
    pictures = [picture for example in examples for picture in example.images]
    return Batch(
        {"input_ids": torch.from_numpy(ids), "position_ids": torch.from_numpy(places)},
        torch.from_numpy(np.stack(pictures)) if pictures else None,
        torch.from_numpy(mask),
        torch.from_numpy(rows * length + columns),
        torch.from_numpy(ids[rows, columns + 1]),
        torch.from_numpy(weights[rows, columns + 1]),
        torch.from_numpy(np.flatnonzero(ids == names.image)),
        told(examples),
        len(examples),
    )


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


def _add_features(_: Any, hidden_states: Tensor, visual_pos_masks: Tensor, visual_embeds: Tensor) -> Tensor:
    """Deepstack features on their places: the same sum, without asking the device how many places there are."""
    mask = visual_pos_masks[..., None].expand_as(hidden_states)
    return hidden_states + torch.zeros_like(hidden_states).masked_scatter(mask, visual_embeds)


@contextmanager
def batched_vision() -> Iterator[None]:
    """Within this block the vision towers of Qwen3-VL attend picture-parallel (pictures of 96x96 only)."""
    changed = (
        (qwen3_vl.Qwen3VLVisionAttention, "forward", _attend),
        (qwen3_vl.Qwen3VLTextModel, "_deepstack_process", _add_features),
    )
    originals = [getattr(kind, name) for kind, name, _ in changed]
    for kind, name, ours in changed:
        setattr(kind, name, ours)
    try:
        yield
    finally:
        for (kind, name, _), original in zip(changed, originals, strict=True):
            setattr(kind, name, original)


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
        total = logits.new_zeros(())
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
        packed = collate([prompts[i] for i in rows], names, left=True).on(model.device)
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


def average(one: Path, other: Path, share: float, out: Path) -> None:
    """Save the mean of two saved models, `share` of it the other's; float16 values, as after a training.

    Runs that began with the same weights are often better in the middle than at either end (arXiv 2203.05482).

    Raises:
        BadRequestError: A share outside of 0..1, or models of different shapes.
    """
    if not 0 <= share <= 1:
        raise BadRequestError(
            f"[train] --share is {share:g}", hint="from 0 (the first alone) to 1 (the other alone)"
        )
    model, another = open_vlm(one), open_vlm(other).state_dict()
    weights = model.state_dict()
    if {name: value.shape for name, value in weights.items()} != {
        name: value.shape for name, value in another.items()
    }:
        raise BadRequestError(f"[train] {one} and {other} are models of different shapes")
    with torch.no_grad():
        for name, value in model.named_parameters():  # tied weights once
            value.lerp_(another[name], share)
    round_to_half(model.eval())
    save_model(model, out)


class Trainee(nn.Module):
    """A model and heads that read its picture tokens: in one, for checkpoints and optimisers. The heads are not kept.

    `heads.loss(pictures, told)` gets the hidden states of all picture tokens of a batch, [tokens, width], and what
    `heads.told(examples)` says of these examples: None where there are no pictures.
    """

    def __init__(self, model: Any, heads: Any) -> None:
        super().__init__()
        self.model, self.heads = model, heads

    def loss(self, batch: Batch) -> Tensor:
        """The whole loss of a batch: that of the answers, and that of reading the pictures."""
        hidden = self.model.model(**batch.inputs).last_hidden_state
        loss = batch.loss(hidden, self.model.lm_head)
        if batch.told is None:
            return loss
        read: Tensor = self.heads.loss(hidden.flatten(0, 1)[batch.seen], batch.told)
        return loss + read


class VlmPart(Part):
    """Planner or critic in training."""

    module: Trainee
    encoder: Encoder

    def learn(self, module: Trainee, batch: int, seed: int, device: str, workers: int) -> None:
        """What the constructor ends with: the stream of batches, drawn by so many `workers`, and the optimisers."""
        told, names = module.heads.told, self.encoder.ids
        self._stream: Stream[Example, Batch] = Stream(
            self.example,
            lambda example: len(example.ids),
            lambda examples: collate(examples, names, told=told),
            seed=f"{self.name}/{seed}",
            batch=batch,
            workers=workers,
        )
        self._stream.start()
        self._device = device
        self.module = module.to(device)
        self.optimizers = Optimizers([module], _is_matrix, weight_decay=0.01)

    def example(self, rng: random.Random) -> Example:
        """One more example to learn from."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[None]:
        """Pictures go through the tower side by side."""
        with batched_vision(), closing(self._stream):
            yield

    def loss(self, iteration: int, iterations: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Loss of the answers and of the heads."""
        loss = self.module.loss(self._stream.at(iteration).on(self._device))
        return loss, loss

    def save(self) -> None:
        """Save the model without its heads."""
        save_model(self.module.model, self.out)

    def finish(self) -> None:
        """Save it as float16 values."""
        round_to_half(self.module.model.eval())
        self.save()


def _is_matrix(name: str, weight: nn.Parameter) -> bool:
    return weight.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "heads.", "merger"))
