"""How much memory models need, from their published sizes: arithmetic that loads nothing.

A role needs its weights, what it keeps of a text (keys and values), and room for the largest of its steps; a process on
a card needs `CONTEXT` besides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from interleave_rt.errors import BadRequestError

__all__ = [
    "CARDS",
    "MODELS",
    "PRECISIONS",
    "RESIDENCIES",
    "Arrangement",
    "Demand",
    "Model",
    "Part",
    "Residency",
    "arrange",
    "bytes_of",
    "fits",
    "gb",
    "need",
    "peak",
    "table",
]

Precision = Literal["bf16", "fp8", "int4"]
# Bytes of a weight: fp8 with a float32 scale for a block of 128 x 128, int4 with a 16-bit scale for 32.
PRECISIONS: Mapping[Precision, float] = {"bf16": 2.0, "fp8": 1.0003, "int4": 0.5625}
CARDS = (8, 12, 16, 24, 48, 80, 141)  # GiB as they are sold
CONTEXT = 0.7e9  # bytes of a CUDA context with its libraries
HEAP = 32e6  # bytes of kernels' own buffers on the CPU, and of small tensors that the allocator keeps
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


Residency = Literal["keep", "release", "encoder", "swap", "parts", "stream"]
RESIDENCIES: tuple[Residency, ...] = get_args(Residency)
"""Who is on a device at once, the quickest first:

* `keep`: all weights stay.
* `release`: the planner alone while it writes its plan, then generator and critic.
* `encoder`: all stay, but the generator's text encoder and the rest of it take turns.
* `swap`: planner, generator and critic take turns.
* `parts`: as `swap`, and of the generator the text encoder and the rest.
* `stream`: as `parts`, and roles are brought layer by layer: all of them, or where it was chosen those that do not fit.
"""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def bytes_of(size: str | int) -> int:
    """A size as people write it, in bytes.

    Raises:
        BadRequestError: It is no size over 0.

    Example:
        >>> bytes_of("12GB"), bytes_of("1.5 GiB"), bytes_of(4096)
        (12000000000, 1610612736, 4096)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", str(size).strip().lower())
    count = 0
    if found and (found[2] or not (found[3] or "." in found[1])):
        unit = 1 << 10 * "kmgt".find(found[2]) + 10 if found[3] else _UNITS[found[2]]
        wanted = float(found[1]) * unit
        count = int(wanted) if wanted < 2**63 else 0
    if count < 1:
        raise BadRequestError(
            f"[max_memory] {size!r} is no size", hint="write 12GB, 11.5GiB or a number of bytes"
        )
    return count


@dataclass(frozen=True, slots=True)
class Part:
    """Weights that go on or off a device together, in bytes.

    Args:
        weights: Of the part.
        state: What is kept beside them: keys and values, features of pictures.
        workspace: Of the largest step that it takes.
        layers: Of `weights`, those that can be brought layer by layer.
        layer: The largest of these layers.
    """

    weights: float
    state: float = 0.0
    workspace: float = 0.0
    layers: float = 0.0
    layer: float = 0.0

    @property
    def streamed(self) -> Part:
        """The same with its layers brought one by one, the next while one works."""
        left = min(self.layers, 2 * self.layer)
        return Part(self.weights - self.layers + left, self.state, self.workspace)


@dataclass(frozen=True, slots=True)
class Demand:
    """What one model needs on its device.

    Args:
        roles: That it serves: planner and critic may share one.
        parts: Of a generator the text encoder and the rest, where it has one; else the whole.
    """

    roles: tuple[str, ...]
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """Its roles."""
        return " and ".join(self.roles)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How models share a device.

    Args:
        residency: One of `RESIDENCIES`.
        peak: Bytes that are needed at most.
        streamed: Names of the demands that are brought layer by layer.
        why: The choice in words.
    """

    residency: Residency
    peak: float
    streamed: frozenset[str] = frozenset()
    why: str = ""

    def party(self, demand: Demand) -> str | None:
        """Models of one party are on the device together, those of another one never; None: it always is."""
        generator = "generator" in demand.roles
        if self.residency == "keep" or (self.residency == "encoder" and not generator):
            return None
        if self.residency == "release":
            return "planner" if demand.roles == ("planner",) else "loop"
        return demand.name

    def in_parts(self, demand: Demand) -> bool:
        """Whether its parts take turns, too."""
        return self.residency in ("encoder", "parts", "stream") and len(demand.parts) > 1

    @property
    def overlaps(self) -> bool:
        """Whether generator and critic can work at the same time."""
        return self.residency in ("keep", "release", "encoder")


def peak(demands: Sequence[Demand], residency: Residency, streamed: frozenset[str] = frozenset()) -> float:
    """Bytes that are needed at most on one device, by `residency`."""
    told = Arrangement(residency, 0.0, streamed)
    always, parties = 0.0, dict[str, float]()
    for demand in demands:
        parts = [part.streamed if demand.name in streamed else part for part in demand.parts]
        each = [part.weights + part.state + part.workspace for part in parts]
        together = sum(part.weights + part.state for part in parts) + max(part.workspace for part in parts)
        size = max(each) if told.in_parts(demand) else together
        if (party := told.party(demand)) is None:
            always += size
        else:
            parties[party] = parties.get(party, 0.0) + size
    return always + max(parties.values(), default=0.0)


def arrange(
    demands: Sequence[Demand], residency: Residency | None, limit: float | None
) -> Arrangement | None:
    """The quickest arrangement that keeps to `limit` bytes; None: there is none.

    Args:
        demands: Of the models of one device.
        residency: The one that is asked for; None: any of them.
        limit: Bytes that may be used; None: no limit, so that everything stays.

    Example:
        >>> generator = Demand(("generator",), (Part(8e9), Part(8e9, workspace=1e9)))
        >>> critic = Demand(("planner", "critic"), (Part(4e9),))
        >>> arrange([generator, critic], None, 12e9).residency
        'parts'
    """
    for name in (residency,) if residency else RESIDENCIES:
        streamed = frozenset[str]()
        if name == "stream":
            alone = {demand.name: peak([demand], "parts") for demand in demands}
            streamed = frozenset(one for one, size in alone.items() if residency or size > (limit or 0.0))
        needed = peak(demands, name, streamed)
        if limit is None or needed <= limit:
            return Arrangement(name, needed, streamed, _why(demands, name, needed, streamed))
    return None


def _why(demands: Sequence[Demand], name: Residency, needed: float, streamed: frozenset[str]) -> str:
    said = f"{name}: {gb(needed)} at most"
    if name != "keep":
        said += f" ({gb(peak(demands, 'keep'))} with everything kept)"
    return said + (f", {', '.join(sorted(streamed))} layer by layer" if streamed else "")


def gb(size: float) -> str:
    """Bytes for people to read.

    Example:
        >>> gb(12.04e9), gb(310e6)
        ('12.0 GB', '310 MB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
