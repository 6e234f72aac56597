"""The embedded pack as PyTorch models: transformers and diffusers, with the weights that lie in the pack's graphs.

The exporter keeps the names of most weights. Only the matrices of linear layers without a bias are stored transposed
under numbers; the nodes that use them stand in the order in which the layers are called, which a dry run shows.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from diffusers import Flux2KleinPipeline
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from interleave_rt import _core
from interleave_rt.backends.torch import TorchGenerator, TorchRoles, TorchVlm
from interleave_rt.backends.torch.families import SETTINGS_FILE
from interleave_rt.errors import BadPackError
from interleave_rt.pack import Pack
from interleave_rt.pack.manifest import GeneratorRole, VlmRole
from interleave_rt.pack.templates import Templates
from interleave_rt.roles.prompts import Prompts

from .models import (
    PROMPT_TOKENS,
    TEXT_LAYERS,
    TokenIds,
    build_text_encoder,
    build_transformer,
    build_vlm,
    klein_scheduler,
)
from .vae import build_vae

__all__ = ["TorchPack", "load_torch_pack", "roles_from_pack", "write_checkpoints"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TorchPack:
    """Models of the three roles and their tokenizer."""

    planner: Any
    critic: Any
    pipeline: Any
    tokenizer: Any


def roles_from_pack(
    pack: Pack,
    folder: Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    compile: bool = False,  # noqa: A002
) -> TorchRoles:
    """The pack's trio on PyTorch: its prompts, its tokens, its noise; answers are not constrained.

    Args:
        pack: Of the embedded architecture.
        folder: Where its checkpoints are written, or lie already.
        device: As of `TorchVlm`.
        dtype: As of `TorchVlm`.
        compile: As of `TorchVlm`.
    """
    if not (folder / "generator" / SETTINGS_FILE).exists():  # what is written last
        write_checkpoints(pack, folder)
    planner, generator, critic = _roles(pack)
    told: dict[str, Any] = {"device": device, "dtype": dtype, "compile": compile}

    def vlm(name: str, role: VlmRole) -> TorchVlm:
        files = {kind: pack.path / file for kind, file in role.templates.items()}
        return TorchVlm(
            folder / name,
            "planner" if name == "planner" else "critic",
            prompts=Prompts(Templates.load(files)),
            constrained="off",
            max_new_tokens=role.generation.max_new_tokens,
            **told,
        )

    def noise(seed: int, height: int, width: int) -> Tensor:
        """As the native generator's."""
        rows, columns = height // generator.token_pixels, width // generator.token_pixels
        flat = np.asarray(_core.gaussian_noise(seed, rows * columns * generator.latent_channels))
        planes = flat.reshape(rows, columns, generator.latent_channels).transpose(2, 0, 1)[None]
        return torch.from_numpy(planes.copy())

    return TorchRoles(
        planner=vlm("planner", planner),
        generator=TorchGenerator(folder / "generator", noise=noise, **told),
        critic=vlm("critic", critic),
    )


def write_checkpoints(pack: Pack, folder: Path, models: TorchPack | None = None) -> None:
    """Saves a pack's models in Hugging Face layout: planner/, critic/ and generator/, and its prompts in prompts/.

    Args:
        pack: Of the embedded architecture.
        folder: Where to.
        models: What was made of the pack's; None: these as they are.

    Raises:
        BadPackError: A graph holds other weights than the embedded architecture has.
    """
    models = models or load_torch_pack(pack)
    planner, generator, critic = _roles(pack)
    (folder / "prompts").mkdir(parents=True, exist_ok=True)
    for name, role, model in (("planner", planner, models.planner), ("critic", critic, models.critic)):
        model.save_pretrained(folder / name)
        models.tokenizer.save_pretrained(folder / name)
        vision = role.vision_config
        settings = {
            "processor_class": "Qwen3VLProcessor",
            "image_processor_type": "Qwen2VLImageProcessor",
            "patch_size": vision.patch_size,
            "merge_size": vision.merge_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "image_mean": vision.image_mean,
            "image_std": vision.image_std,
            "size": {"shortest_edge": vision.min_pixels, "longest_edge": vision.max_pixels},
        }
        (folder / name / "preprocessor_config.json").write_text(json.dumps(settings, indent=2))
        for kind, file in role.templates.items():
            shutil.copy(pack.path / file, folder / "prompts" / f"{kind}.txt")
    models.pipeline.save_pretrained(folder / "generator")
    told = {
        "steps": generator.scheduler.num_inference_steps,
        "width": generator.image.width,
        "height": generator.image.height,
        "multiple_of": generator.image.multiple_of,
        "max_side": generator.image.max,
        "references": 1,
        "arguments": {"text_encoder_out_layers": TEXT_LAYERS, "max_sequence_length": PROMPT_TOKENS},
    }
    (folder / "generator" / SETTINGS_FILE).write_text(json.dumps(told, indent=2))


def load_torch_pack(pack: Pack) -> TorchPack:
    """Rebuilds the models of a pack of the embedded architecture.

    Raises:
        BadPackError: A graph holds other weights than that architecture has.
    """
    planner, generator, critic = _roles(pack)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(pack.path / planner.tokenizer),
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
    )
    tokenizer.chat_template = (pack.path / str(planner.chat_template)).read_text(encoding="utf-8")
    ids = replace(TokenIds.of(tokenizer), size=planner.architecture.vocab)
    return TorchPack(
        _vlm(pack, planner, ids),
        _vlm(pack, critic, ids),
        _pipeline(pack, generator, ids, tokenizer),
        tokenizer,
    )


def _roles(pack: Pack) -> tuple[VlmRole, GeneratorRole, VlmRole]:
    roles = pack.manifest.roles
    if (
        not isinstance(roles.planner, VlmRole)
        or not isinstance(roles.critic, VlmRole)
        or not isinstance(roles.generator, GeneratorRole)
    ):
        raise BadPackError(f"[from_pack] {pack.path} has not all three roles on graphs of its own")
    return roles.planner, roles.generator, roles.critic


def _vlm(pack: Pack, role: VlmRole, ids: TokenIds) -> Any:
    model = build_vlm(ids, layers=role.architecture.layers, width=role.architecture.hidden).eval()
    language = model.model.language_model
    _fill(
        model,
        [
            (pack.path / role.parts["decoder"].file, {"language.": "model.language_model."}),
            (pack.path / role.parts["vision"].file, {"visual.": "model.visual."}),
        ],
        lambda: language(inputs_embeds=torch.zeros(1, 2, role.architecture.hidden), use_cache=False),
        tied={"model.language_model.embed_tokens.weight": "head.weight", "lm_head.weight": "head.weight"},
    )
    return model


def _pipeline(pack: Pack, role: GeneratorRole, ids: TokenIds, tokenizer: Any) -> Any:
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
    return made


def _weights(graph: Path) -> tuple[dict[str, Floats], list[Floats]]:
    """Weights of a graph by name, and the matrices of nodes named linear, linear_1, ... in order."""
    try:
        loaded = onnx.load(graph).graph
    except OSError as error:
        raise BadPackError(f"[from_pack] {graph} cannot be read: {error}") from None
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
                f"[from_pack] {len(matrices)} unnamed matrices for {len(layers)} layers",
                hint="the pack is not of the embedded architecture, or another exporter wrote it",
            )
        found |= {name: np.ascontiguousarray(m.T) for name, m in zip(layers, matrices, strict=True)}
    values: dict[str, Tensor] = {}
    for name, value in state.items():
        held = found.get(name)
        if held is None or held.shape != tuple(value.shape):
            if not name.startswith(unused or ("\0",)):
                raise BadPackError(
                    f"[from_pack] no weight of shape {list(value.shape)} for {name}",
                    hint="the pack is not of the embedded architecture, or another exporter wrote it",
                )
            continue
        values[name] = torch.from_numpy(held.copy())
    model.load_state_dict(values, strict=False)
