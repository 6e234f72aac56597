"""One more token of a text model of Qwen3's kind: a layer that is compiled once for all layers, and on a card one graph.

transformers' own step costs the processor some two thousand launches a token, and a graph of it reads every key once a
query head. Here a layer is a function of its weights, so that one compilation serves all of them; keys and values lie in
tensors of a fixed length; and the graph is recorded by hand, so that any thread may replay it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .fp8 import multiply

__all__ = ["Step"]

_SPLIT = 256  # keys that one product of the values sums over: a card needs many small ones


class Step:
    """Decoding of up to `length` tokens, prompts included, of `sequences` answers that are equally far.

    Args:
        model: Of transformers, as `fits` knows them. Its weights are used where they lie: those that are multiplied
            with the same values are laid side by side.
        length: Tokens of prompt and answer; a multiple of 256.
        sequences: Answers at once.
        compile: Compile the layers; without it their kernels are those of PyTorch.
        tune: Whether the compiler tries several shapes of each kernel, among them own ones for products with one row.
        priority: Of the graph's kernels; below 0 comes first.
        backend: Of `torch.compile`; only `inductor` can be tuned.
    """

    def __init__(
        self,
        model: Any,
        length: int,
        *,
        sequences: int = 1,
        compile: bool = True,  # noqa: A002 - as PyTorch calls it
        tune: bool = True,
        priority: int = -1,
        backend: str = "inductor",
    ) -> None:
        if compile:  # lengths and numbers of sequences are compiled for one by one
            torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)  # noqa: SLF001
        text = _text_model(model)
        config = text.config
        self.length, self.sequences = length, sequences
        self._embed, self._norm = text.embed_tokens, text.norm
        self._head = model.get_output_embeddings()
        self._eps = float(config.rms_norm_eps)
        self._shape = config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads
        head = text.layers[0].self_attn.head_dim
        device, dtype = self._embed.weight.device, self._embed.weight.dtype
        self._frequencies = text.rotary_emb.inv_freq.to(device, torch.float32)
        self._numbers = torch.arange(length, device=device)
        size = sequences, self._shape[0], length, head
        with torch.inference_mode(mode=False):  # a model's weights cannot be parts of a tensor of inference
            self._weights = [_weights(layer) for layer in text.layers]
            self.keys = [torch.zeros(size, device=device, dtype=dtype) for _ in text.layers]
            self.values = [torch.zeros(size, device=device, dtype=dtype) for _ in text.layers]
            self._nothing = torch.zeros(length, device=device)
            self.token = torch.zeros(sequences, 1, device=device, dtype=torch.long)
            self.place = torch.zeros(1, device=device, dtype=torch.long)
            self.position = torch.zeros(1, device=device, dtype=torch.float32)
        self._layer: Callable[..., Any] = self._one_layer
        self._ends: Callable[..., Any] = self._last
        if compile:
            how: dict[str, Any] = {"dynamic": False, "fullgraph": True, "backend": backend}
            if backend == "inductor":
                how["options"] = {"coordinate_descent_tuning": tune}
            self._layer = torch.compile(self._one_layer, **how)
            self._ends = torch.compile(self._last, **how)
        self._graph: Any = None
        self._priority = priority
        self.logits: Tensor | None = None

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether a model's layers are those that are computed here."""
        text = _text_model(model)
        kind = type(text).__name__ if text is not None else ""
        return kind in ("Qwen3Model", "Qwen3VLTextModel")

    def begin(self, cache: Any) -> None:
        """Takes over keys and values of a prompt, from a cache of transformers with one sequence."""
        for number, layer in enumerate(cache.layers):
            tokens = layer.keys.shape[2]
            self.keys[number][:, :, :tokens] = layer.keys
            self.values[number][:, :, :tokens] = layer.values

    @torch.inference_mode()
    def __call__(self, token: int | Tensor, place: int, position: float) -> Tensor:
        """Logits [sequences, vocabulary] after one more token; the next call overwrites them.

        Args:
            token: Of every sequence, or [sequences, 1].
            place: How many tokens are before it.
            position: Its rotary position, which pictures put behind its place.
        """
        if isinstance(token, Tensor):
            self.token.copy_(token)
        else:
            self.token.fill_(token)
        self.place.fill_(place)
        self.position.fill_(position)
        if not self.token.is_cuda:
            return self._run()
        if self._graph is None:
            self._record()
        self._graph.replay()
        assert self.logits is not None
        return self.logits

    def _record(self) -> None:
        current = torch.cuda.current_stream(self.token.device)
        aside: Any = torch.cuda.Stream(self.token.device, priority=self._priority)  # type: ignore[no-untyped-call]
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(2):  # compiles, and makes what libraries make once
                self._run()
        current.wait_stream(aside)
        torch.cuda.synchronize(self.token.device)
        graph = torch.cuda.CUDAGraph()
        # Other threads work on the card meanwhile: only this one is watched.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            self.logits = self._run()
        self._graph = graph

    def _run(self) -> Tensor:
        values = self._embed(self.token)
        angles = self.position[:, None, None, None] * self._frequencies
        turned = torch.cat((angles, angles), -1)
        cos, sin = turned.cos().to(values.dtype), turned.sin().to(values.dtype)
        hidden = self._nothing.masked_fill(self._numbers > self.place, -torch.inf)
        for weights, keys, kept in zip(self._weights, self.keys, self.values, strict=True):
            values = self._layer(values, weights, keys, kept, cos, sin, hidden, self.place)
        out: Tensor = self._ends(values, self._norm.weight, self._head.weight)
        return out

    def _one_layer(
        self,
        values: Tensor,
        weights: dict[str, Tensor | None],
        keys: Tensor,
        kept: Tensor,
        cos: Tensor,
        sin: Tensor,
        hidden: Tensor,
        place: Tensor,
    ) -> Tensor:
        shared, group = self._shape
        count, length, width = keys.shape[0], keys.shape[2], keys.shape[3]
        normed = self._rms(values, weights["before"])
        joined = multiply(normed, weights["qkv"], weights["qkv_scale"])  # type: ignore[arg-type]
        joined = joined.view(count, shared * (group + 2), width)
        query, key, value = torch.split(joined, [shared * group, shared, shared], 1)
        query = _turn(self._rms(query, weights["query"])[:, :, None], cos, sin)
        keys.index_copy_(2, place, _turn(self._rms(key, weights["key"])[:, :, None], cos, sin))
        kept.index_copy_(2, place, value[:, :, None])
        # The query heads of a pair of keys and values are rows of one product, so that those are read once.
        scores = torch.matmul(query.view(count, shared, group, width), keys.transpose(2, 3))
        shares = (scores.float() * width**-0.5 + hidden).softmax(-1).to(values.dtype)
        shares = shares.view(count, shared, group, length // _SPLIT, _SPLIT).transpose(2, 3)
        parts = torch.matmul(shares, kept.view(count, shared, length // _SPLIT, _SPLIT, width))
        seen = parts.float().sum(2).to(values.dtype).reshape(count, 1, shared * group * width)
        values = values + multiply(seen, weights["out"], weights["out_scale"])  # type: ignore[arg-type]
        normed = self._rms(values, weights["after"])
        gate, up = multiply(normed, weights["gate_up"], weights["gate_up_scale"]).chunk(2, -1)  # type: ignore[arg-type]
        inner = torch.nn.functional.silu(gate) * up
        return values + multiply(inner, weights["down"], weights["down_scale"])  # type: ignore[arg-type]

    def _last(self, values: Tensor, norm: Tensor, head: Tensor) -> Tensor:
        return multiply(self._rms(values[:, -1], norm), head, None)

    def _rms(self, values: Tensor, weight: Tensor | None) -> Tensor:
        wide = values.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self._eps)
        return wide.to(values.dtype) * weight  # type: ignore[operator]


def _text_model(model: Any) -> Any:
    core = getattr(model, "model", None)
    return getattr(core, "language_model", core)


def _turn(values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = values.chunk(2, -1)
    return values * cos + torch.cat((-second, first), -1) * sin


def _weights(layer: Any) -> dict[str, Tensor | None]:
    attention, inner = layer.self_attn, layer.mlp
    found: dict[str, Tensor | None] = {
        "before": layer.input_layernorm.weight,
        "after": layer.post_attention_layernorm.weight,
        "query": attention.q_norm.weight,
        "key": attention.k_norm.weight,
    }
    joined = {
        "qkv": (attention.q_proj, attention.k_proj, attention.v_proj),
        "gate_up": (inner.gate_proj, inner.up_proj),
        "out": (attention.o_proj,),
        "down": (inner.down_proj,),
    }
    for name, linears in joined.items():
        found[name] = _side_by_side([(linear, "weight") for linear in linears])
        scaled = [(linear, "scale") for linear in linears if hasattr(linear, "scale")]
        found[f"{name}_scale"] = _side_by_side(scaled) if scaled else None
    return found


def _side_by_side(places: list[tuple[Any, str]]) -> Tensor:
    """One tensor of several rows of weights; the modules go on with their parts of it, so that memory holds them once."""
    tensors: list[Tensor] = [getattr(module, name).detach() for module, name in places]
    if len(tensors) == 1:
        return tensors[0]
    rows = sum(tensor.shape[0] for tensor in tensors)
    begins = [tensor.data_ptr() for tensor in tensors]
    ends = [begin + tensor.nbytes for begin, tensor in zip(begins, tensors, strict=True)]
    one_storage = len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    if one_storage and begins[1:] == ends[:-1]:  # another step has done it
        return tensors[0].as_strided((rows, *tensors[0].shape[1:]), tensors[0].stride())
    whole = torch.cat(
        [tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor for tensor in tensors]
    )
    whole = whole.view(tensors[0].dtype)
    first = 0
    for (module, name), tensor in zip(places, tensors, strict=True):
        part = whole[first : first + tensor.shape[0]]
        getattr(module, name).data = part
        first += tensor.shape[0]
    return whole
