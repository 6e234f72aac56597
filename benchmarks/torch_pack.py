"""The embedded pack as PyTorch models: transformers and diffusers, with the weights that lie in the pack's graphs.

The exporter keeps the names of most weights. Only the matrices of linear layers without a bias are stored transposed
under numbers; the nodes that use them stand in the order in which the layers are called, which a dry run shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from interleave_rt import BadPackError, Pack

Floats = NDArray[np.float32]
TEXT_LAYERS = (1, 2)  # of the embedded text encoder, as in export.recipe.shapes_recipe


@dataclass(frozen=True)
class TorchPack:
    """Models of the three roles and their tokenizer."""

    planner: Any
    critic: Any
    pipeline: Any
    tokenizer: Any


def load_torch_pack(pack: Pack) -> TorchPack:
    """Rebuilds the models of a pack of the embedded architecture.

    Raises:
        BadPackError: A graph holds other weights than that architecture has.
    """
    from interleave_rt.train.shapes.models import TokenIds, build_vlm

    roles = pack.manifest.roles
    assert roles.planner is not None
    assert roles.critic is not None
    tokenizer = _tokenizer(pack.path / roles.planner.tokenizer)
    tokenizer.chat_template = (pack.path / str(roles.planner.chat_template)).read_text(encoding="utf-8")
    ids = replace(TokenIds.of(tokenizer), size=roles.planner.architecture.vocab)
    vlms = {}
    for name, role in (("planner", roles.planner), ("critic", roles.critic)):
        model = build_vlm(ids, layers=role.architecture.layers, width=role.architecture.hidden).eval()
        language = model.model.language_model
        _fill(
            model,
            [
                (pack.path / role.parts["decoder"].file, {"language.": "model.language_model."}),
                (pack.path / role.parts["vision"].file, {"visual.": "model.visual."}),
            ],
            lambda language=language, width=role.architecture.hidden: language(
                inputs_embeds=torch.zeros(1, 2, width), use_cache=False
            ),
            tied={"model.language_model.embed_tokens.weight": "head.weight", "lm_head.weight": "head.weight"},
        )
        vlms[name] = model
    return TorchPack(vlms["planner"], vlms["critic"], _pipeline(pack, ids, tokenizer), tokenizer)


def _tokenizer(path: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(path), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


def _pipeline(pack: Pack, ids: Any, tokenizer: Any) -> Any:
    from diffusers import Flux2KleinPipeline
    from interleave_rt.train.shapes.models import build_text_encoder, build_transformer, klein_scheduler
    from interleave_rt.train.shapes.vae import build_vae

    role = pack.manifest.roles.generator
    assert role is not None
    folder = pack.path / Path(role.parts["transformer"].file).parent
    encoder, vae = build_text_encoder(ids).eval(), build_vae().eval()
    transformer = build_transformer(vae.config.latent_channels).eval()
    _fill(
        encoder,
        [(folder / "text_encoder.onnx", {"model.": "model."})],
        lambda: encoder.model(input_ids=torch.zeros(1, 2, dtype=torch.long), use_cache=False),
        tied={"lm_head.weight": "model.embed_tokens.weight"},
        unused=("model.norm.weight",),  # the hidden states are taken before it
    )
    width = transformer.config.joint_attention_dim
    _fill(
        transformer,
        [(folder / "transformer.onnx", {"model.": ""})],
        lambda: transformer(
            hidden_states=torch.zeros(1, 2, transformer.config.in_channels),
            encoder_hidden_states=torch.zeros(1, 2, width),
            timestep=torch.zeros(1),
            img_ids=torch.zeros(2, 4),
            txt_ids=torch.zeros(2, 4),
            return_dict=False,
        ),
    )
    codec = [folder / "vae_encoder.onnx", folder / "vae_decoder.onnx"]
    _fill(vae, [(graph, {"vae.": ""}) for graph in codec], None, unused=("bn.",))
    named, _ = _weights(codec[1])
    with torch.no_grad():
        vae.bn.running_mean.copy_(torch.from_numpy(named["mean"]))
        vae.bn.running_var.copy_(torch.from_numpy(named["std"]) ** 2 - vae.config.batch_norm_eps)
    made = Flux2KleinPipeline(
        scheduler=klein_scheduler(),
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=True,
    )
    made.set_progress_bar_config(disable=True)
    # Diffusers refuses source pictures below 64 pixels a side; the embedded canvas is smaller.
    made.image_processor.check_image_input = lambda *_, **__: None
    return made


def _weights(graph: Path) -> tuple[dict[str, Floats], list[Floats]]:
    """Weights of a graph by name, and the matrices of nodes named linear, linear_1, ... in order."""
    try:
        loaded = onnx.load(graph).graph
    except OSError as error:
        raise BadPackError(f"[torch_pack] {graph} cannot be read: {error}") from None
    named: dict[str, Floats] = {}
    for tensor in loaded.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype in (np.float16, np.float32):
            named[tensor.name.removesuffix(".half")] = array.astype(np.float32)
    ordered = [
        named[node.input[1]]
        for node in loaded.node
        if node.op_type == "MatMul" and node.input[1].startswith("val_") and node.input[1] in named
    ]
    return named, ordered


def _call_order(model: nn.Module, dry_run: Callable[[], object]) -> list[str]:
    """Names of the linear layers without a bias, in the order in which they are called."""
    called: list[str] = []
    names = {
        module: name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.bias is None
    }
    hooks = [
        module.register_forward_pre_hook(lambda found, _: called.append(names[found])) for module in names
    ]
    try:
        with torch.inference_mode():
            dry_run()
    finally:
        for hook in hooks:
            hook.remove()
    return called


def _fill(
    model: nn.Module,
    graphs: Iterable[tuple[Path, dict[str, str]]],
    dry_run: Callable[[], object] | None,
    *,
    tied: dict[str, str] | None = None,
    unused: tuple[str, ...] = (),
) -> None:
    """Puts the graphs' weights into a model; every parameter must be found, in its shape."""
    state = model.state_dict()
    found: dict[str, Floats] = {}
    matrices: list[Floats] = []
    for graph, prefixes in graphs:
        named, ordered = _weights(graph)
        matrices += ordered
        for name, array in named.items():
            for old, new in prefixes.items():
                if name.startswith(old):
                    found.setdefault(new + name.removeprefix(old), array)
        for target, source in (tied or {}).items():
            if source in named:
                found[target] = named[source]
    if dry_run is not None:
        layers = [f"{name}.weight" for name in _call_order(model, dry_run)]
        layers = [name for name in layers if name not in found]
        if len(layers) != len(matrices):
            raise BadPackError(
                f"[torch_pack] {len(matrices)} unnamed matrices for {len(layers)} layers",
                hint="the pack is not of the embedded architecture, or another exporter wrote it",
            )
        found |= {name: np.ascontiguousarray(m.T) for name, m in zip(layers, matrices, strict=True)}
    values: dict[str, Tensor] = {}
    for name, value in state.items():
        array = found.get(name)
        if array is None or array.shape != tuple(value.shape):
            if not name.startswith(unused or ("\0",)):
                raise BadPackError(
                    f"[torch_pack] no weight of shape {list(value.shape)} for {name}",
                    hint="the pack is not of the embedded architecture, or another exporter wrote it",
                )
            continue
        values[name] = torch.from_numpy(array.copy())
    model.load_state_dict(values, strict=False)


def describe() -> dict[str, str]:
    """Versions of the libraries, for reports."""
    import diffusers
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "diffusers": diffusers.__version__,
    }
