"""How much memory models need, from their published sizes: arithmetic that loads nothing.

A role needs its weights, what it keeps of a text (keys and values), and room for the largest of its steps; a process on
a card needs `CONTEXT` besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from interleave_rt.errors import BadRequestError

__all__ = ["CARDS", "MODELS", "PRECISIONS", "Model", "fits", "need", "table"]

Precision = Literal["bf16", "fp8", "int4"]
# Bytes of a weight: fp8 with a float32 scale for a block of 128 x 128, int4 with a 16-bit scale for 32.
PRECISIONS: Mapping[Precision, float] = {"bf16": 2.0, "fp8": 1.0003, "int4": 0.5625}
CARDS = (8, 12, 16, 24, 48, 80, 141)  # GiB as they are sold
CONTEXT = 0.7e9  # bytes of a CUDA context with its libraries
GIB = 1 << 30
_HALF = 2  # bytes of activations, keys and values: bf16 whatever the weights are


@dataclass(frozen=True, slots=True)
class Model:
    """A published model.

    Args:
        role: `vlm` (planner or critic) or `generator`.
        large: Parameters whose precision is chosen: transformers and language models.
        rest: Parameters that stay in bf16: vision towers and autoencoders.
        layers: Of the language model (`vlm`).
        kv_heads: As `layers`.
        hidden: Width of the transformer.
        feed_forward: Inner width of its blocks.
        head_dim: Of keys and values.
    """

    role: Literal["vlm", "generator"]
    large: int
    rest: int
    hidden: int
    feed_forward: int
    layers: int = 0
    kv_heads: int = 0
    head_dim: int = 128

    def weights(self, precision: Precision) -> float:
        """Bytes of the weights."""
        return self.large * PRECISIONS[precision] + self.rest * PRECISIONS["bf16"]

    def state(self, tokens: int) -> float:
        """Bytes of keys and values of so many tokens (`vlm`)."""
        return 2.0 * _HALF * self.layers * self.kv_heads * self.head_dim * tokens

    def workspace(self, tokens: int, pixels: int) -> float:
        """Bytes of the largest step: a block over all tokens; of a generator the last blocks of its decoder, if more.

        Args:
            tokens: That go through the model at once.
            pixels: Of the picture that is decoded.
        """
        block = _HALF * tokens * (4.0 * self.hidden + 2.0 * self.feed_forward)
        # Convolutions of 256 channels at full size: input, output and one copy of either.
        return block if self.role == "vlm" else max(block, 3.0 * _HALF * 256 * pixels)


# Parameter counts are those of the classes built from the published configurations.
MODELS: Mapping[str, Model] = {
    "qwen3-vl-2b": Model("vlm", 1_720_574_976, 406_957_056, 2048, 6144, layers=28, kv_heads=8),
    "qwen3-vl-4b": Model("vlm", 4_022_468_096, 415_347_712, 2560, 9728, layers=36, kv_heads=8),
    "qwen3-vl-8b": Model("vlm", 8_190_735_360, 576_388_336, 4096, 12288, layers=36, kv_heads=8),
    "klein-4b": Model("generator", 3_875_544_576 + 4_022_468_096, 84_046_115, 3072, 9216),
    "klein-9b": Model("generator", 9_078_581_248 + 7_568_405_504, 84_046_115, 4096, 12288),
    "qwen-image-edit-2511": Model(
        "generator", 20_430_401_088 + 7_615_616_512, 676_550_144 + 126_892_531, 3072, 12288
    ),
}


def need(
    name: str, precision: Precision, *, context: int = 8192, side: int = 1024, sequences: int = 1
) -> float:
    """Bytes that a role needs while it works.

    Args:
        name: One of `MODELS`.
        precision: Of the large weights.
        context: Tokens of a prompt and its answer (`vlm`).
        side: Of a square picture in pixels; one of the same size is its source (`generator`).
        sequences: Answers that are written at once (`vlm`).

    Raises:
        BadRequestError: There is no such model or precision.
    """
    if name not in MODELS or precision not in PRECISIONS:
        raise BadRequestError(
            f"[placement] nothing is known of {name!r} in {precision!r}",
            hint=f"models are {', '.join(MODELS)}; precisions {', '.join(PRECISIONS)}",
        )
    model = MODELS[name]
    if model.role == "vlm":
        return model.weights(precision) + sequences * model.state(context) + model.workspace(context, 0)
    tokens = 2 * (side // 16) ** 2 + 512
    return model.weights(precision) + model.workspace(tokens, side * side)


def fits(names: Mapping[str, Precision], card: float, **settings: int) -> bool:
    """Whether models fit a card together, all of them kept; `card` in GiB; `settings` as of `need`."""
    total = sum(need(name, precision, **settings) for name, precision in names.items())
    return total + CONTEXT <= card * GIB


def table() -> list[dict[str, object]]:
    """Every model in every precision: `need_gib`, and the smallest of `CARDS` that holds it alone (None: no card).

    `with_critic` is the smallest card that holds a generator together with a 2B critic of the same precision.
    """
    rows: list[dict[str, object]] = []
    for name, model in MODELS.items():
        for precision in PRECISIONS:
            alone = next((card for card in CARDS if fits({name: precision}, card)), None)
            row = {
                "model": name,
                "precision": precision,
                "need_gib": round(need(name, precision) / GIB, 1),
                "card": alone,
            }
            if model.role == "generator":
                both: dict[str, Precision] = {name: precision, "qwen3-vl-2b": precision}
                row["with_critic"] = next((card for card in CARDS if fits(both, card)), None)
            rows.append(row)
    return rows
