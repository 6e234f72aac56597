"""What a pack says is held to its limits, its files and its graphs before anything is allocated by it."""

from __future__ import annotations

import copy
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import edit_pack, python, refused

from interleave_rt import Engine, load_pack
from interleave_rt.backends import native
from interleave_rt.errors import BackendFailedError, BadPackError
from interleave_rt.pack import EMBEDDED
from interleave_rt.pack.manifest import Manifest, load_manifest

VALUES = (0, -1, 10**6, 10**9, 2**31, 2**63)
# Whatever these say, nothing grows with it: they are limits, or remarks.
HARMLESS = (
    "top_k",
    "max_new_tokens",
    "reserve",
    "parameters",
    "reference_time",
    "max_pixels",
    "max_pixels_many",
)
# Any token may be these.
ANY_TOKEN = ("eos_token_ids", "pad_token_id")


def whole_numbers(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(inner, int) and not isinstance(inner, bool):
            yield (*way, key)
        yield from whole_numbers(inner, (*way, key))


def test_every_whole_number_of_a_manifest_has_a_ceiling(copied: Path) -> None:
    """Refused as the pack's fault, at once, and with no memory taken; or nothing grows with it."""
    raw = json.loads((copied / "pack.json").read_text())
    raw["roles"]["planner"]["grammar"] = {"reserve": 2048}
    listed = next(iter(raw["files"]))
    raw["files"] = {listed: raw["files"].pop(listed), **raw["files"]}
    ways = [way for way in whole_numbers(raw) if way[0] != "files" or way[1] == listed]
    assert len(ways) > 60
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for way in ways:
        for value in VALUES:
            changed = copy.deepcopy(raw)
            place = changed
            for key in way[:-1]:
                place = place[key]
            place[way[-1]] = value
            (copied / "pack.json").write_text(json.dumps(changed))
            begin = time.process_time()
            try:
                pack = load_pack(copied)
                if {*way} & {*HARMLESS, *ANY_TOKEN} and not (
                    way[1:3] == ("generator", "pad_token_id") and value
                ):
                    continue
                Engine.load(pack).close()
            except BadPackError as error:
                assert str(error).startswith("["), way
            else:
                pytest.fail(f"{way} = {value} is taken")
            assert time.process_time() - begin < 5, (way, value)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300 << 10, f"{grown} KiB"


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "free_memory", lambda: 256 << 20)


@pytest.mark.usefixtures("little_memory")
def test_a_cache_that_would_not_fit_is_not_allocated(copied: Path) -> None:
    Engine.load(copied).close()
    edit_pack(copied, lambda raw: raw["roles"]["critic"].update(cache_length=10**6))
    with refused(BadPackError, "critic/decoder.onnx", "8 slots", "268 MB", hint="slots"):
        Engine.load(copied)


@pytest.mark.usefixtures("little_memory")
def test_memory_is_that_of_the_sequences_that_run(copied: Path) -> None:
    edit_pack(copied, lambda raw: raw["roles"]["critic"].update(cache_length=20_000))
    with refused(BadPackError, "8 slots"):
        Engine.load(copied)
    Engine.load(copied, batching=False).close()


def test_a_cache_is_float32_unless_the_decoder_computes_in_float16() -> None:
    role = load_manifest(EMBEDDED).roles.critic
    sizes = []
    for precision in ("fp32", "bf16", "fp16"):
        decoder = role.parts["decoder"].model_copy(update={"precision": precision})
        sizes.append(role.model_copy(update={"parts": {"decoder": decoder}}).state_bytes(1))
    assert sizes[0] == sizes[1] > sizes[2]


@pytest.mark.parametrize(
    ("role", "change", "says"),
    [
        ("generator", {"token_pixels": 8}, "vae_decoder"),
        ("generator", {"token_pixels": 1}, "token_pixels 1"),
        ("planner", {"vision_config": {"merge_size": 1}}, "merge_size of pack.json"),
        ("critic", {"vision_config": {"merge_size": 3}}, "merge_size of pack.json"),
        ("critic", {"vision_config": {"patch_size": 8}}, "`pixel_values`"),
        ("critic", {"vision_config": {"temporal_patch_size": 1}}, "`pixel_values`"),
        (
            "critic",
            {"verdict_tokens": {"true": [493], "false": [491]}},
            "verdict_tokens.false names token 491",
        ),
    ],
)
def test_numbers_are_compared_with_graphs_and_tables(
    copied: Path, role: str, change: dict[str, Any], says: str
) -> None:
    def edit(raw: Any) -> None:
        told = raw["roles"][role]
        told |= {name: told[name] | one if name == "vision_config" else one for name, one in change.items()}

    edit_pack(copied, edit)
    with refused(BadPackError, says):
        Engine.load(copied)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokens": ["QQ=="], "special": []}, "has 1 tokens, the vocabulary"),
        ({"tokens": ["QQ=="] * 1300, "special": [9999]}, "9999"),
    ],
)
def test_a_token_table_of_another_model_is_refused(copied: Path, change: dict[str, Any], says: str) -> None:
    edit_pack(copied, files={"tokenizer/token_bytes.json": json.dumps(change).encode()})
    with refused(BadPackError, says):
        Engine.load(copied)


@pytest.mark.parametrize(
    "name",
    [
        "planner/decoder.onnx", "critic/vision.onnx", "generator/text_encoder.onnx", "generator/transformer.onnx",
        "generator/vae_encoder.onnx", "generator/vae_decoder.onnx",
    ],
)  # fmt: skip
def test_numbers_that_are_not_finite_name_the_graph_that_made_them(copied: Path, name: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(copied / name)
    weight = next(one for one in model.graph.initializer if len(one.dims) > 1 and one.data_type in (1, 10))
    nan = np.full_like(onnx.numpy_helper.to_array(weight), np.nan)
    weight.CopyFrom(onnx.numpy_helper.from_array(nan, weight.name))
    edit_pack(copied, files={name: model.SerializeToString()})
    with Engine.load(copied) as engine, refused(BackendFailedError, name, "not finite"):
        engine.run("Draw a snowman", seed=1, t_max=2)


LOADED = """
import os, sys
os.dup2(1, 2)
from interleave_rt import Engine, InterleaveError
for pack in sys.argv[1:]:
    try:
        with Engine.load(pack) as engine:
            engine.run("Draw a snowman", deadline_s=0.05)
    except InterleaveError as error:
        print(error.code, flush=True)
"""


def test_onnx_runtime_prints_nothing_beside_our_errors(copied: Path) -> None:
    """Neither of a graph that it cannot open, of which it would log an error, nor of a run that is given up."""
    onnx = pytest.importorskip("onnx")
    weight = onnx.TensorProto(name="w", dims=[4], data_type=onnx.TensorProto.FLOAT, raw_data=b"short")
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    floats = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", floats[:1], floats[1:], [weight])
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    edit_pack(copied, files={"critic/vision.onnx": model.SerializeToString()})
    assert python(LOADED, str(copied), str(EMBEDDED)).split() == ["bad_pack", "deadline"]


def test_numbers_are_finite(copied: Path) -> None:
    raw = json.loads((copied / "pack.json").read_text())
    for name, value in (("image_mean", [0.5, float("nan"), 0.5]), ("image_std", [0.5, 0.0, 0.5])):
        changed = copy.deepcopy(raw)
        changed["roles"]["critic"]["vision_config"][name] = value
        (copied / "pack.json").write_text(json.dumps(changed))
        with refused(BadPackError, name):
            load_manifest(copied)
    assert isinstance(Manifest.model_validate(raw), Manifest)


def test_folders_that_cannot_be_are_no_packs(tmp_path: Path) -> None:
    for path in ("a" * 5000, "a\0b"):
        with refused(BadPackError, "not a directory") as caught:
            load_pack(path)
        assert len(str(caught.value)) < 400
    odd = tmp_path / "p\udcff"
    odd.mkdir()
    with refused(BadPackError, "not UTF-8"):
        load_pack(odd)
