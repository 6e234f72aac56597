"""What a card could do at the most, and what a model asks of it: arithmetic from data sheets and configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CARDS",
    "Card",
    "block_flop",
    "card_of",
    "decode_bytes",
    "image_tokens",
    "text_flop",
    "vision_flop",
]


@dataclass(frozen=True, slots=True)
class Card:
    """Peak figures of a data sheet: memory in TB/s, dense matrix products in TFLOP/s (0: not offered)."""

    memory: float
    bf16: float
    fp8: float = 0.0


# By what the driver calls them; the first name that is part of it counts.
CARDS: Mapping[str, Card] = {
    "H100 PCIe": Card(2.0, 756, 1513),
    "H100 NVL": Card(3.9, 835, 1671),
    "H100": Card(3.35, 989, 1979),
    "H800": Card(3.35, 989, 1979),
    "GH200": Card(4.0, 989, 1979),
    "H200": Card(4.8, 989, 1979),
    "B200": Card(8.0, 2250, 4500),
    "A100-SXM4-80GB": Card(2.04, 312),
    "A100": Card(1.56, 312),
    "L40S": Card(0.864, 362, 733),
    "L4": Card(0.3, 121, 242),
    "RTX 4090": Card(1.008, 165, 330),
    "RTX 5090": Card(1.79, 210, 419),
}


def card_of(name: str) -> Card | None:
    """The data sheet of a card by the driver's name; None where it is not known."""
    return next((card for part, card in CARDS.items() if part in name), None)


def text_flop(config: Mapping[str, Any], tokens: int, layers: int | None = None, *, past: int = 0) -> float:
    """Operations of `tokens` new tokens through the layers of a text model, behind `past` ones; without its head."""
    heads, shared, width = _heads(config)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    linear = hidden * (2 * heads + 2 * shared) * width + 3 * hidden * inner
    attention = 4.0 * tokens * (past + tokens / 2) * heads * width
    return float((layers or config["num_hidden_layers"]) * (2.0 * linear * tokens + attention))


def decode_bytes(
    config: Mapping[str, Any], sequences: int, context: int, *, weight_bytes: float = 2.0
) -> float:
    """Bytes that one more token of each sequence reads: the layers' weights, the head, keys and values."""
    heads, shared, width = _heads(config)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    linear = hidden * (2 * heads + 2 * shared) * width + 3 * hidden * inner
    layers = config["num_hidden_layers"]
    kept = 2.0 * 2 * layers * shared * width * context
    return float(layers * linear * weight_bytes + 2.0 * hidden * config["vocab_size"] + sequences * kept)


def vision_flop(config: Mapping[str, Any], patches: int) -> float:
    """Operations of a picture of so many patches through a vision tower of Qwen3-VL, its mergers included."""
    width, inner, depth = config["hidden_size"], config["intermediate_size"], config["depth"]
    block = 2.0 * patches * (4 * width * width + 2 * width * inner) + 4.0 * patches * patches * width
    unit = config["spatial_merge_size"] ** 2
    merger = 2.0 * (patches / unit) * (unit * width) * (unit * width + config["out_hidden_size"])
    return float(depth * block + (1 + len(config["deepstack_visual_indexes"])) * merger)


def block_flop(config: Mapping[str, Any], tokens: int) -> float:
    """Operations of one pass of a denoiser (FLUX.2 or Qwen-Image) over so many tokens of text, picture and references.

    A block of FLUX.2 has 13 squares of the width in weights a token (four of attention, nine of a gated layer of three
    times the width), one of Qwen-Image 12 (a plain layer of four times the width).
    """
    width = config["attention_head_dim"] * config["num_attention_heads"]
    squares = 13.0 if "num_single_layers" in config else 12.0
    blocks = config["num_layers"] + config.get("num_single_layers", 0)
    return float(blocks * (2.0 * squares * width * width * tokens + 4.0 * tokens * tokens * width))


def image_tokens(side: int, pixels: int = 16) -> int:
    """Tokens of a square picture, of `pixels` by `pixels` each."""
    return (side // pixels) ** 2


def _heads(config: Mapping[str, Any]) -> tuple[int, int, int]:
    heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
    return heads, shared, config.get("head_dim") or config["hidden_size"] // heads
