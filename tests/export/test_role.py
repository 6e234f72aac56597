"""`export planner|critic`: packs from checkpoints in the layout of the published ones."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import qwen3_vl_checkpoints as made
import torch
from exporting import check_live, rewrite
from interleave_rt.export.checkpoint import Checkpoint, image_sizes
from interleave_rt.export.families import qwen3_vl_written
from interleave_rt.export.families.qwen3_vl_proof import VlmChain, VlmPrompt, hf_generate, patchify
from interleave_rt.export.place import data_bytes
from interleave_rt.export.proof.checks import Comparison, picture
from interleave_rt.export.proof.sessions import DecoderRunner, open_session
from interleave_rt.export.proof.written import written_census, written_invariance
from interleave_rt.export.role import RoleSettings, export_role
from interleave_rt.export.written import stored_bytes

from interleave_rt import Options, Request, _core, load_pack
from interleave_rt.backends.native import vlm_config
from interleave_rt.backends.ort import load_runtime
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.pack import choose_pack
from interleave_rt.pack.manifest import verify_files
from interleave_rt.roles.reference import run_reference
from interleave_rt.runtimes import PlainRoles, open_backend
from interleave_rt.worlds.shapes.requests import sample

ERROR = 1e-4
FEW = RoleSettings(precision="fp32", cache_length=512, cache_bytes=16 << 20, prefill_chunk=64, prove=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tied, with the whole vocabulary."""
    folder = tmp_path_factory.mktemp("published")
    return made.save_texts(made.save(folder, made.configuration(tied=True)))


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("critic") / "pack"
    export_role("critic", source, out, FEW)
    return load_pack(out)


def forced(path: Path, ids: np.ndarray, length: int) -> np.ndarray:
    """Logits behind the first half of the tokens, which goes in at once, and behind each of the others."""
    runner = DecoderRunner(open_session(path), 1, length)
    row, half = runner.text(ids), len(ids) // 2
    found = [runner.step({0: row.part(0, half)}, half)[0].copy()]
    found += [runner.step({0: row.part(at, at + 1)}, 1)[0].copy() for at in range(half, len(ids))]
    return np.stack(found)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_logits_are_those_of_the_library(tmp_path: Path, tied: bool, precision: Any) -> None:
    config = made.configuration(tied=tied, rows=3000)
    checkpoint = Checkpoint.open(made.save(tmp_path, config, shard="1MB"))
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    out = tmp_path / "decoder.onnx"
    qwen3_vl_written.write_decoder(checkpoint, config, out, precision=precision, cache_length=128)
    ids = np.random.default_rng(3).integers(10, 3000, 60)
    logits = forced(out, ids, 128)
    model = made.load(tmp_path)
    with torch.no_grad():
        wanted = model(input_ids=torch.from_numpy(ids)[None]).logits[0].numpy()[29:]
    assert np.abs(wanted - logits).max() < ERROR
    assert np.array_equal(wanted.argmax(-1), logits.argmax(-1))


def test_the_last_layer_works_for_the_token_that_is_read(exported: Any) -> None:
    graph = onnx.load(exported.path / "critic/decoder.onnx", load_external_data=False).graph
    outs = {node.output[0]: node for node in graph.node}
    chosen = [name for name in outs if name.endswith(".attention.last")]
    assert [outs[name].op_type for name in chosen] == ["GatherND"]
    number = chosen[0].split(".")[1]
    assert f"layer.{int(number) + 1}.out" not in outs
    assert outs[f"layer.{number}.out"].input[0] == chosen[0]


def prompt_of(model: Any, pixels: list[np.ndarray], grids: list[np.ndarray]) -> VlmPrompt:
    pad, rng = made.CONTROL["<|image_pad|>"], np.random.default_rng(4)
    parts = [rng.integers(0, 5000, 9)]
    for grid in grids:
        parts += [np.full(int(grid.prod()) // 4, pad), rng.integers(0, 5000, 5)]
    ids = np.concatenate(parts)
    positions, _ = model.model.get_rope_index(
        torch.from_numpy(ids)[None],
        torch.from_numpy((ids == pad).astype(np.int64))[None],
        image_grid_thw=torch.from_numpy(np.stack(grids)),
    )
    return VlmPrompt(ids, np.ascontiguousarray(positions[:, 0].numpy()), pixels, np.stack(grids), ())


def test_a_whole_prompt_with_pictures_is_answered_as_by_the_library(source: Path, exported: Any) -> None:
    model, role = made.load(source), exported.manifest.roles.critic
    rng = np.random.default_rng(5)
    images = [picture(rng, 256, 256), picture(rng, 192, 384)]
    pixels, grids = zip(*(patchify(image, 16, 2, 2) for image in images), strict=True)
    prompt = prompt_of(model, list(pixels), [grid[0] for grid in grids])
    tokens, logits = hf_generate(model, prompt, 16)
    chain = VlmChain(exported.path / "critic", role.architecture.image_token_id, length=role.cache_length)
    ours, our_logits = chain.generate(prompt, 16)
    assert ours == tokens
    assert np.abs(our_logits - logits).max() < ERROR

    load_runtime()
    told = vlm_config(exported, role, EngineConfig(constrained="off")) | {
        "max_new_tokens": 16,
        "temperature": 0.0,
    }
    native = _core.NativeVlm(told)
    repeated = np.r_[
        False, (prompt.ids[1:] == prompt.ids[:-1]) & (prompt.ids[1:] == role.architecture.image_token_id)
    ]
    answer = native.answer(prompt.ids[~repeated], images, 0)
    assert answer.tokens == tokens


def test_the_manifest_says_what_the_checkpoint_says(exported: Any) -> None:
    verify_files(exported.path, exported.manifest)
    role = exported.manifest.roles.critic
    said = role.vision_config
    assert (said.min_pixels, said.max_pixels) == (65_536, 16_777_216)
    sampling = role.generation
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.7, 20, 0.8)
    assert role.architecture.eos_token_ids == tuple(made.GENERATION["eos_token_id"])
    assert role.architecture.vocab == made.ROWS
    assert {part.precision for part in role.parts.values()} == {"fp32"}
    assert {data for part in role.parts.values() for data in part.data} < set(exported.manifest.files)
    words = made.tokenizer()
    for ids, spelled in ((role.verdict_tokens.true, "true"), (role.verdict_tokens.false, "false")):
        assert {words.decode([one]) for one in ids} == {
            form for word in (spelled, spelled.title()) for form in (word, f" {word}")
        }


def test_sizes_of_pictures_are_the_preprocessors(exported: Any) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    said = exported.manifest.roles.critic.vision_config
    rng = np.random.default_rng(6)
    for width, height in rng.integers(32, 5000, (50, 2)).tolist():
        theirs = smart_resize(height, width, 32, said.min_pixels, said.max_pixels)
        assert _core.smart_resize(width, height, 32, said.min_pixels, said.max_pixels) == theirs[::-1]


def test_token_ids_are_those_of_the_checkpoints_own_processor(source: Path, exported: Any) -> None:
    from transformers import AutoTokenizer

    from interleave_rt.pack.chat import ChatEncoder
    from interleave_rt.pack.templates import ImagePart, TextPart

    theirs = AutoTokenizer.from_pretrained(source)
    theirs.chat_template = (source / "chat_template.jinja").read_text()
    role = exported.manifest.roles.critic
    ours = ChatEncoder(exported.path / role.tokenizer, exported.path / role.chat_template)
    rng = np.random.default_rng(7)
    letters = list('etaoinshrdlu ETAO.,!?\n"{}0123456789äß中文🙂')
    for number in range(200):
        parts: list[Any] = [ImagePart()] * (0, 1, 2, 5)[number % 4]
        parts.append(TextPart("".join(rng.choice(letters, int(rng.integers(1, 300))))))
        content = [
            {"type": "image"} if isinstance(part, ImagePart) else {"type": "text", "text": part.text}
            for part in parts
        ]
        message = [{"role": "user", "content": content}]
        wanted = theirs.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
        assert ours.encode_messages(parts).tolist() == wanted


@pytest.mark.parametrize(
    ("precision", "error", "share"), [("fp8", 0.05, 0.8), ("int8", 0.05, 0.6), ("int4", 0.5, 0.6)]
)
def test_quantised_decoders_are_smaller_close_and_truly_judged(
    tmp_path: Path, precision: Any, error: float, share: float
) -> None:
    config = made.configuration(tied=True, rows=3000, layers=2)
    checkpoint = Checkpoint.open(made.save(tmp_path, config))
    out = tmp_path / precision / "decoder.onnx"
    out.parent.mkdir()
    qwen3_vl_written.write_decoder(checkpoint, config, out, precision=precision, cache_length=160)
    shapes = qwen3_vl_written.weights(config, checkpoint)["decoder"]
    ideal = sum(
        stored_bytes(shape[0], shape[1], qwen3_vl_written.stored_as(name, precision))
        for name, shape in shapes.items()
        if len(shape) > 1
    )
    data = out.with_name("decoder.onnx.data").stat().st_size
    assert data <= 1.05 * ideal  # at this size page borders are 3 % of it
    assert data < share * sum(2 * int(np.prod(shape)) for shape in shapes.values())
    ids = np.random.default_rng(3).integers(10, 3000, 60)
    logits = forced(out, ids, 160)
    with torch.no_grad():
        wanted = made.load(tmp_path)(input_ids=torch.from_numpy(ids)[None]).logits[0].numpy()[29:]
    gap = 1 - (wanted * logits).sum(-1) / np.linalg.norm(wanted, axis=-1) / np.linalg.norm(logits, axis=-1)
    assert gap.max() < error
    proved = written_invariance(out, slots=3, chunk=64, length=160, image=0, seed=1)
    assert proved.compared > 50
    # With AVX2 alone, ONNX Runtime multiplies a single row by 4 bits otherwise than several.
    assert proved.passed or (precision == "int4" and proved.first.startswith("answers together")), (
        proved.first
    )
    assert written_census(out, slots=3, chunk=64).passed is proved.passed


def test_a_part_is_never_said_to_be_invariant_that_is_not(tmp_path: Path) -> None:
    import onnx

    config = made.configuration(tied=True, rows=3000, layers=2)
    out = tmp_path / "decoder.onnx"
    checkpoint = Checkpoint.open(made.save(tmp_path / "checkpoint", config))
    qwen3_vl_written.write_decoder(checkpoint, config, out, precision="int8", cache_length=160)
    model = onnx.load(out, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "MatMulNBits" and attribute.name == "accuracy_level":
                attribute.i = 0  # its kernel rounds a single row otherwise
    onnx.save(model, out)
    assert not written_invariance(out, slots=3, chunk=16, length=160, image=0, seed=1).passed
    assert not written_census(out, slots=3, chunk=16).passed


def test_a_large_decoder_is_proved_by_its_kernels(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Comparison("critic/decoder", compared=1, method="kernels")
    monkeypatch.setattr(qwen3_vl_written, "takes_census", lambda path: path.stat().st_size > 0)
    monkeypatch.setattr(qwen3_vl_written, "written_census", lambda *_, **__: found)
    proved = qwen3_vl_written.invariance(exported.path / "critic", exported.manifest.roles.critic, 0)
    assert {check.part: check.method for check in proved} == {
        "critic/decoder": "kernels",
        "critic/vision": "graph",
    }


def test_images_of_the_older_export_are_the_preprocessors_too(source: Path) -> None:
    from interleave_rt.export.families import qwen3_vl
    from interleave_rt.export.recipe import VlmRecipe

    said = qwen3_vl.describe(made.load(source), VlmRecipe(cache_length=64))["vision_config"]
    assert (said["min_pixels"], said["max_pixels"]) == (65_536, 16_777_216)


def test_sizes_of_images_stand_in_either_file(tmp_path: Path) -> None:
    assert image_sizes(tmp_path) is None
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": made.PREPROCESSOR}))
    found = image_sizes(tmp_path)
    assert found is not None
    assert (found["min_pixels"], found["max_pixels"]) == (65_536, 16_777_216)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"min_pixels": 1024, "max_pixels": 4096}))
    assert image_sizes(tmp_path) == {
        "min_pixels": 1024,
        "max_pixels": 4096,
        "max_pixels_many": 4096,
        "many": 5,
    }


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The embedded planner and critic, exported from their checkpoints, with the embedded generator."""
    from interleave_rt.train.shapes.from_pack import write_checkpoints

    root = tmp_path_factory.mktemp("embedded")
    write_checkpoints(load_pack(), root)
    settings = RoleSettings(
        precision="fp16", cache_length=768, cache_bytes=12 << 20, prefill_chunk=48, prompts=root / "prompts"
    )
    for role in ("planner", "critic"):
        proved, _ = export_role(role, root / role, root / f"{role}-pack", settings)
        assert all(check.passed for check in proved)
        assert sum(check.compared for check in proved) > 100
    return choose_pack(
        None, planner=f"native:{root / 'planner-pack'}", critic=f"native:{root / 'critic-pack'}"
    )


def test_law_1_over_written_graphs(mixed: Any) -> None:
    texts = [wish.text for wish in sample("test", 4, 5, "narrative")]
    asked = [(text, {"seed": seed, "t_max": 3, "max_steps": 3}) for seed, text in enumerate(texts)]
    roles = PlainRoles(open_backend(mixed))
    expected = [run_reference(Request(text), Options(**said), roles) for text, said in asked]
    embedded = PlainRoles(open_backend(load_pack()))
    own = [run_reference(Request(text), Options(**said), embedded) for text, said in asked]
    drawn = [
        [
            [(attempt["prompt"], attempt["image"]) for attempt in step["attempts"]]
            for one in found
            for step in one["steps"]
        ]
        for found in (expected, own)
    ]
    assert drawn[0] == drawn[1]  # the same weights in other graphs
    check_live(mixed, asked, expected)


def spoil_shard(folder: Path) -> str:
    shard = min(folder.glob("*.safetensors"))
    shard.unlink()
    return f"{shard.name} is missing"


def spoil_cut(folder: Path) -> str:
    shard = min(folder.glob("*.safetensors"))
    data = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(data[:-100])
    return "is cut off"


def spoil_pickles(folder: Path) -> str:
    for file in (*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    return "pickles"


def spoil_family(folder: Path) -> str:
    rewrite(folder / "config.json", model_type="llava")
    return "supported are qwen3_vl"


def spoil_type(folder: Path) -> str:
    from safetensors.torch import load_file, save_file

    for shard in folder.glob("*.safetensors"):
        weights = load_file(shard)
        if "model.language_model.norm.weight" in weights:
            weights["model.language_model.norm.weight"] = weights["model.language_model.norm.weight"].to(
                torch.float8_e4m3fn
            )
            shard.unlink()
            save_file(weights, shard)
    return "is F8_E4M3"


def spoil_shape(folder: Path) -> str:
    raw = json.loads((folder / "config.json").read_text())
    rewrite(folder / "config.json", text_config=raw["text_config"] | {"intermediate_size": 256})
    return "config.json asks for"


def spoil_sampling(folder: Path) -> str:
    rewrite(folder / "generation_config.json", repetition_penalty=1.05)
    return "repetition_penalty 1.05"


def spoil_range(folder: Path) -> str:
    rewrite(folder / "generation_config.json", top_p=1.5)
    return "generation.top_p: Input should be less than or equal to 1"


def spoil_tokenizer(folder: Path) -> str:
    file = folder / "tokenizer.json"
    file.unlink()
    file.write_text("{")
    return "copied/tokenizer.json is no tokenizer"


def spoil_images(folder: Path) -> str:
    (folder / "preprocessor_config.json").unlink()
    return "has no preprocessor_config.json"


def spoil_template(folder: Path) -> str:
    (folder / "chat_template.jinja").unlink()
    return "has no chat template"


def spoil_place(folder: Path) -> str:
    raw = json.loads((folder / "model.safetensors.index.json").read_text())
    first = next(iter(raw["weight_map"]))
    rewrite(
        folder / "model.safetensors.index.json",
        weight_map=raw["weight_map"] | {first: "../other.safetensors"},
    )
    return "outside of its folder"


SPOILT = [
    spoil_shard,
    spoil_cut,
    spoil_pickles,
    spoil_family,
    spoil_type,
    spoil_shape,
    spoil_sampling,
    spoil_range,
    spoil_tokenizer,
    spoil_images,
    spoil_template,
    spoil_place,
]


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda one: one.__name__.removeprefix("spoil_"))
def test_what_cannot_be_exported_is_said_before_anything_is_written(
    copied: Path, tmp_path: Path, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = spoil(copied)
    monkeypatch.setattr(qwen3_vl_written, "write", lambda *_, **__: pytest.fail("weights were written"))
    with pytest.raises(BadPackError, match=said):
        export_role("planner", copied, tmp_path / "out", FEW)


def test_a_full_disk_is_said_first(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(BadRequestError, match="GB free"):
        export_role("planner", source, tmp_path / "out", FEW)


@pytest.fixture(scope="module", params=["bf16", "int8", "int4"])
def written(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both graphs of an untied model: checkpoint, folder, precision."""
    folder = tmp_path_factory.mktemp(request.param)
    config = made.configuration(tied=False, rows=9000, layers=2)
    checkpoint = Checkpoint.open(made.save(folder / "checkpoint", config))
    qwen3_vl_written.write(checkpoint, config, folder, precision=request.param, cache_length=64)
    return checkpoint, folder, request.param


def test_the_room_that_is_asked_for_is_what_the_weights_take(written: Any) -> None:
    checkpoint, folder, precision = written
    config = qwen3_vl_written.configuration(checkpoint)
    stored_as = partial(qwen3_vl_written.stored_as, precision=precision)
    parts = qwen3_vl_written.weights(config, checkpoint)
    asked = sum(data_bytes(part, stored_as) for part in parts.values())
    taken = sum(file.stat().st_size for file in folder.glob("*.data"))
    assert 0.9 * asked < taken < 1.1 * asked  # at this size page borders count


def test_vision_encoders_are_close_to_the_librarys(written: Any) -> None:
    import onnx

    checkpoint, folder, precision = written
    path = folder / "vision.onnx"
    visual = made.load(checkpoint.directory).model.visual
    nodes = Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)
    products = sum(isinstance(one, torch.nn.Linear) for one in visual.modules())
    assert nodes["MatMulNBits"] == (0 if precision == "bf16" else products)
    pixels, grid = patchify(picture(np.random.default_rng(8), 128, 192), 16, 2, 2)
    embeds, levels = open_session(path).run(None, {"pixel_values": pixels, "grid_thw": grid})
    with torch.no_grad():
        wanted = visual(torch.from_numpy(pixels), grid_thw=torch.from_numpy(grid))
    for ours, theirs in zip(
        (embeds, *levels), (wanted.pooler_output, *wanted.deepstack_features), strict=True
    ):
        gap = 1 - torch.cosine_similarity(torch.from_numpy(ours), theirs, dim=-1)
        assert gap.max() < (1e-5 if precision == "bf16" else 1e-3)


def test_a_file_is_no_place_for_a_pack(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "letter.txt"
    out.write_text("dear")
    with pytest.raises(BadRequestError, match="exists and is not a pack"):
        export_role("planner", source, out, FEW)
    assert out.read_text() == "dear"


def test_a_file_system_that_refuses_is_said(source: Path, tmp_path: Path) -> None:
    out = tmp_path / ("x" * 250)  # a name that fits, but not that of the folder beside it
    with pytest.raises(BadRequestError, match=r"was not written: .*name too long"):
        export_role("planner", source, out, FEW)
    assert not list(tmp_path.iterdir())


def test_weights_that_were_altered_are_found(exported: Any, tmp_path: Path) -> None:
    copy = tmp_path / "pack"
    shutil.copytree(exported.path, copy)
    with (copy / "critic/decoder.onnx.data").open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(BadPackError, match="decoder.onnx.data has sha256"):
        load_pack(copy)
