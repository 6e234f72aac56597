"""The exported tiny pack: complete, equal to PyTorch, batch-invariant, exact in float16."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import onnx
import pytest
from interleave_rt.export.proof.checks import Comparison, Parity
from onnx import TensorProto

from interleave_rt import Options, load_pack
from interleave_rt.pack.manifest import load_manifest, verify_files
from interleave_rt.roles.native import NativeRoles

PARTS = {
    "planner": ("decoder", "decode_graph", "vision"),
    "critic": ("decoder", "decode_graph", "vision"),
    "generator": ("text_encoder", "transformer", "vae_encoder", "vae_decoder"),
}
GRAPHS = {f"{role}/{part}.onnx" for role, parts in PARTS.items() for part in parts}


def test_every_check_passed(exported: Any) -> None:
    failed = [check for check in exported.checks if not check.passed]
    assert not failed
    parity = {check.part for check in exported.checks if isinstance(check, Parity)}
    invariance = {check.part for check in exported.checks if isinstance(check, Comparison)}
    parts = {name.removesuffix(".onnx") for name in GRAPHS}
    assert parity == parts | {"generator/image"}
    assert invariance == parts


def test_the_manifest_holds(exported: Any, recipe: Any) -> None:
    manifest = load_manifest(exported.pack)
    assert manifest == exported.manifest
    assert manifest.examples == recipe.examples
    assert len(manifest.examples) == 20
    verify_files(exported.pack, manifest)
    on_disk = {
        path.relative_to(exported.pack).as_posix() for path in exported.pack.rglob("*") if path.is_file()
    }
    assert on_disk == {*manifest.files, "pack.json"}
    assert set(manifest.files) > GRAPHS
    for name, parts in PARTS.items():
        role = getattr(manifest.roles, name)
        assert {
            part: entry.batch_invariant for part, entry in role.parts.items() if part in parts
        } == dict.fromkeys(parts, True)
    for role in (manifest.roles.planner, manifest.roles.critic):
        assert role.architecture.deepstack_levels == 1
        assert (role.slots, role.prefill_chunk, role.cache_length) == (3, 6, 96)
    assert manifest.roles.generator.image.width == recipe.roles["generator"].image_side
    assert manifest.exporter["torch"]
    assert manifest.exporter["proof of critic/decoder"] == "bit-equal by graph, CPUExecutionProvider"


def test_the_report_says_what_was_proved(exported: Any) -> None:
    report = json.loads((exported.pack / "parity.json").read_text())
    assert all(check["passed"] for check in (*report["parity"], *report["invariance"]))
    assert sum(check["compared"] for check in report["invariance"]) > 100
    assert report["machine"]["processor"]
    assert set(report["weights"]) == GRAPHS


def test_verdict_tokens_spell_booleans(exported: Any) -> None:
    table = json.loads((exported.pack / "tokenizer/token_bytes.json").read_text())["tokens"]
    role = exported.manifest.roles.critic
    assert exported.manifest.roles.planner.verdict_tokens is None
    assert len(table) == role.architecture.vocab
    for ids, word in ((role.verdict_tokens.true, b"true"), (role.verdict_tokens.false, b"false")):
        assert ids
        assert all(base64.b64decode(table[index]).strip() == word for index in ids)


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_no_large_weight_is_float32_and_nothing_of_the_exporting_machine_is_left(
    exported: Any, name: str
) -> None:
    for tensor in onnx.load(exported.pack / name).graph.initializer:
        assert tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 4096
        assert not tensor.external_data
    data = (exported.pack / name).read_bytes()
    assert b".py" not in data
    assert b"/site-packages" not in data


def _interface(path: Any) -> tuple[dict[str, list], dict[str, list]]:
    graph = onnx.load(path).graph

    def shapes(values: Any) -> dict[str, list]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    return shapes(graph.input), shapes(graph.output)


def test_the_decoder_keeps_its_contract(exported: Any) -> None:
    inputs, outputs = _interface(exported.pack / "planner/decoder.onnx")
    cache = ["b", 2, "L", 32]
    assert inputs == {
        "input_ids": ["b", "s"],
        "position_ids": [3, "b", "s"],
        "past_len": ["b"],
        "last_index": ["b", "k"],
        "visual_embeds": ["b", "s", 128],
        "deepstack": [1, "b", "s", 128],
        "past_k.0": cache,
        "past_v.0": cache,
    }
    assert outputs == {"logits": ["b", "k", 1200], "present_k.0": cache, "present_v.0": cache}


@pytest.mark.parametrize(
    ("part", "inputs", "output"),
    [
        ("text_encoder", ["input_ids", "attention_mask"], "prompt_embeds"),
        (
            "transformer",
            ["hidden_states", "encoder_hidden_states", "timestep", "img_ids", "txt_ids"],
            "velocity",
        ),
        ("vae_encoder", ["image"], "latents"),
        ("vae_decoder", ["latents"], "image"),
    ],
)
def test_the_generator_keeps_its_contract(exported: Any, part: str, inputs: list[str], output: str) -> None:
    found = _interface(exported.pack / f"generator/{part}.onnx")
    assert [list(names) for names in found] == [inputs, [output]]


def test_the_native_runtime_reads_weights_beside_a_graph(exported: Any) -> None:
    part = exported.manifest.roles.generator.parts["transformer"]
    assert part.data == ("generator/transformer.onnx.data",)
    picture = NativeRoles(load_pack(exported.pack)).generate("add a ring", None, 3, Options())
    assert picture.shape == (48, 48, 3)
    assert picture.std() > 1


def test_what_the_trace_swaps_is_put_back(tiny: Any) -> None:
    from interleave_rt.export.families.qwen3_vl import decoder_trace
    from transformers import AttentionInterface

    model = tiny.build_vlm(tiny.build_tokenizer(), seed=1, layers=1, vision_layers=1)
    language = model.model.language_model
    registered = dict(AttentionInterface._global_mapping)

    def state() -> list[Any]:
        own = [
            sorted(key for key in vars(module) if key in ("forward", "_deepstack_process"))
            for module in model.modules()
        ]
        return [language.config._attn_implementation, own, type(language)._deepstack_process]

    before = state()
    with pytest.raises(RuntimeError, match="halfway"), decoder_trace(model):
        assert state() != before
        raise RuntimeError("halfway")
    assert state() == before
    assert registered == AttentionInterface._global_mapping


def test_a_planner_without_deepstack_has_no_such_input(tiny: Any, tmp_path: Any) -> None:
    from interleave_rt.export.families.qwen3_vl import decoder_spec, decoder_trace, vision_spec
    from interleave_rt.export.graph import export_graph

    model = tiny.build_vlm(tiny.build_tokenizer(), seed=3, layers=1, vision_layers=1, deepstack=())
    assert list(vision_spec(model).outputs) == ["embeds"]
    with decoder_trace(model):
        export_graph(decoder_spec(model), tmp_path / "decoder.onnx")
    inputs, _ = _interface(tmp_path / "decoder.onnx")
    assert "deepstack" not in inputs
    assert "visual_embeds" in inputs
