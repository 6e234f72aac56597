"""Engines of TensorRT: what is refused before work, plans and graphs against the published interface, the pack of them."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from interleave_rt.export import graph
from interleave_rt.export.tensorrt import builder, calibration, engines, graphs, targets
from interleave_rt.export.tensorrt.engines import export_engines
from interleave_rt.export.written import Precision
from onnx import TensorProto, helper, numpy_helper

from interleave_rt import load_pack
from interleave_rt.backends import engines as running
from interleave_rt.backends.native import vlm_config
from interleave_rt.cli import engines as offered
from interleave_rt.cli import export as stored
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.pack import EMBEDDED
from interleave_rt.pack.manifest import hash_file

spec = importlib.util.spec_from_file_location("fake_tensorrt", Path(__file__).with_name("fake_tensorrt.py"))
fake = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake)

RTX = fake.make(compute_capabilities=True)
PARTS = [
    *("planner/decoder", "planner/vision", "critic/decoder", "critic/vision"),
    *("generator/text_encoder", "generator/transformer", "generator/vae_encoder", "generator/vae_decoder"),
]


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded pack's planner alone, with one example."""
    folder = tmp_path_factory.mktemp("planner") / "pack"
    shutil.copytree(EMBEDDED, folder)
    raw = json.loads((folder / "pack.json").read_text())
    raw["roles"] = {"planner": raw["roles"]["planner"]}
    raw["examples"] = raw["examples"][:1]
    (folder / "pack.json").write_text(json.dumps(raw))
    return folder


@pytest.fixture(scope="module")
def planned(planner: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Graphs and plans of float16 engines, and where they are."""
    out = tmp_path_factory.mktemp("plans") / "out"
    return export_engines(planner, out, target="sm89", plan_only=True), out


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What this machine has: card, version of the library, and a cache of its own."""

    def have(*, card: str | None = None, version: str | None = None) -> None:
        for module in (running, targets):
            monkeypatch.setattr(module, "card_sm", lambda: card)
            monkeypatch.setattr(module, "installed_version", lambda _: version)

    monkeypatch.setenv(engines.CACHE_VARIABLE, str(tmp_path / "cache"))
    return have


def test_the_verbs_offer_what_there_is() -> None:
    """They name it themselves, to show a help text without loading the export."""
    assert set(offered._TARGETS) == set(targets.TARGETS)
    assert get_args(graphs.EnginePrecision) == offered._PRECISIONS
    assert get_args(Precision) == stored._PRECISIONS


@pytest.mark.parametrize(
    ("target", "precision", "card", "version", "said", "hint"),
    [
        ("sm70", "fp16", None, None, "no target 'sm70'", "nvidia-smi"),
        ("sm86", "fp8", None, None, "has no fp8; it has fp16, int8", "sm89, sm120, sm90"),
        ("sm86", "fp16", None, None, "needs TensorRT-RTX, which is not installed", "interleave-rt[engines]"),
        ("sm90", "fp16", None, None, "needs TensorRT, which is not installed", "pypi.nvidia.com"),
        (
            "sm90",
            "fp16",
            "sm90",
            "11.4.0",
            "11.4.0 is installed; ONNX Runtime's provider asks for 10.",
            "pip",
        ),
        ("sm90", "fp16", "sm89", "10.16.1", "sm90 is wanted, sm89 is here", "--plan-only"),
    ],
)
def test_refusals_come_before_the_pack_is_read(
    here: Any, tmp_path: Path, target: str, precision: Any, card: Any, version: Any, said: str, hint: str
) -> None:
    here(card=card, version=version)
    with pytest.raises((BadRequestError, BadPackError), match=re.escape(said)) as refused:
        export_engines(tmp_path / "nowhere", tmp_path / "out", target=target, precision=precision)
    assert hint in refused.value.hint


def test_a_small_disk_and_strange_operators_are_refused_before_work(
    here: Any, planner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "work_of", None)
    here()
    with monkeypatch.context() as patched:
        patched.setattr(engines.shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
        with pytest.raises(BadRequestError, match="has 0.0 GB free"):
            export_engines(planner, tmp_path / "out", target="sm86", plan_only=True)
    shutil.copytree(planner, tmp_path / "strange")
    graph = tmp_path / "strange" / "planner" / "decoder.onnx"
    model = onnx.load(graph)
    model.graph.node[-1].domain = "com.microsoft"
    model.graph.node[-1].op_type = "GroupQueryAttention"
    onnx.save(model, graph)
    with pytest.raises(BadPackError, match="is made of GroupQueryAttention"):
        export_engines(tmp_path / "strange", tmp_path / "out", target="sm86", plan_only=True)
    assert not (tmp_path / "out").exists()


def test_the_plan_for_a_card_that_is_elsewhere_is_what_its_library_takes(
    here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "_EXAMPLES", 1)
    monkeypatch.setattr(graph, "_MOST_INLINE", 0)  # all weights lie outside, as those of a large pack do
    here()
    out = tmp_path / "out"
    found = export_engines(EMBEDDED, out, target="sm90", precision="fp8", plan_only=True)
    assert sorted(one.plan.part for one in found) == sorted(PARTS)
    report = json.loads((out / "engines.json").read_text())
    assert report["status"] == "experimental (built, never run)"
    trt = fake.make(compute_capabilities=False)
    for one, said in zip(found, report["engines"], strict=True):
        plan = one.plan
        assert json.loads(json.dumps(plan.as_dict())) == {key: said[key] for key in plan.as_dict()}
        assert plan.graph == "+".join(
            hash_file(out / f"{plan.part}{ending}") for ending in (".onnx", ".onnx.data")
        )
        timing = tmp_path / "timing"
        assert builder.build(trt, plan, out / f"{plan.part}.onnx", timing)
        assert timing.read_bytes() == b"timings"
        # The codec is made of convolutions, which stay float16.
        assert (one.quantised > 0) == (not plan.part.startswith("generator/vae")) == (plan.precision == "fp8")
    sizes, roles = {one.plan.part: one.plan.profile for one in found}, load_pack(EMBEDDED).manifest.roles
    assert sizes["planner/decoder"]["past_k.0"][2][0] == roles.planner.slots
    assert {shape[2] for shape in sizes["planner/decoder"]["past_k.0"]} == {roles.planner.cache_length}
    assert sizes["generator/vae_encoder"]["image"][2] == (1, 3, *[roles.generator.image.max] * 2)


@pytest.fixture
def made(here: Any, planner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(engines, "load_library", lambda _: (RTX, "1.7.1"))
    here()
    first = export_engines(planner, tmp_path / "first", target="sm89")
    monkeypatch.setattr(engines, "build", None)  # the second time nothing is built
    again = export_engines(planner, tmp_path / "again", target="sm89")
    assert [one.plan for one in first] == [one.plan for one in again]
    assert {one.seconds for one in again} == {0.0}
    assert max(one.gap for one in first) < 1e-4
    return tmp_path / "again"


def test_a_pack_of_engines_is_refused_but_on_its_card_with_its_library(made: Path, here: Any) -> None:
    pack = load_pack(made)
    role = pack.manifest.roles.planner
    assert role.providers[0] == "NvTensorRTRTXExecutionProvider"
    assert not role.batch_invariant
    for part in role.parts.values():
        assert part.engine.status == "experimental (built, never run)"
        node = onnx.load(made / part.file).graph.node[0]
        told = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        assert part.data == (f"planner/{told['ep_cache_context'].decode()}",)
        assert (told["hardware_architecture"], told["embed_mode"]) == (b"89", 0)
    for card, version, said in (
        (None, None, "here are no card and no TensorRT-RTX"),
        ("sm86", "1.7.1", "here are sm86 and TensorRT-RTX 1.7.1"),
        ("sm89", "1.6.0", "here are sm89 and TensorRT-RTX 1.6.0"),
    ):
        here(card=card, version=version)
        with pytest.raises(BadPackError, match=re.escape(said)) as refused:
            vlm_config(pack, role, EngineConfig())
        command = f"interleave-rt pack engines FOLDER-OF-shapes --target {card or 'sm89'} --precision fp16 --out NEW-"
        assert command in refused.value.hint
    here(card="sm89", version="1.7.1")
    with pytest.raises(BadPackError, match=r"\[proof\]"):  # the next gate: it was never shown to be right
        vlm_config(pack, role, EngineConfig())


def test_what_the_library_says_is_in_the_message(planned: Any) -> None:
    (found, _), out = planned
    short = {name: shapes for name, shapes in found.plan.profile.items() if name != "past_len"}
    with pytest.raises(BadPackError, match="planner/decoder for sm89 in fp16: .*past_len has no profile"):
        builder.build(RTX, replace(found.plan, profile=short), out / "planner/decoder.onnx")


def test_angles_stay_exact_and_scales_are_of_columns(tmp_path: Path) -> None:
    """cos(x * 0.99) at 600 in float16 is off by tenths; a column of small weights keeps its digits."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 4)).astype(np.float32) * np.array([1, 10, 100, 1e-2], np.float32)
    nodes = [
        helper.make_node("Mul", ["x", "rate"], ["angle"], name="turn"),
        helper.make_node("Cos", ["angle"], ["cosine"], name="cosine"),
        helper.make_node("MatMul", ["cosine", "weight"], ["y"], name="product"),
    ]
    constants = [numpy_helper.from_array(np.float32(0.99), "rate"), numpy_helper.from_array(weight, "weight")]
    wide = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [wide("x", TensorProto.FLOAT, ["n", 8])],
        [wide("y", TensorProto.FLOAT, ["n", 4])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    x = (500 + 100 * rng.random((16, 8))).astype(np.float32)
    exact = np.cos(x * np.float32(0.99)) @ weight
    for precision, allowed in (("fp16", 0.002), ("int8", 0.02), ("fp8", 0.08)):
        made = onnx.ModelProto()
        made.CopyFrom(model)
        if precision != "fp16":
            assert graphs.quantise(made, [{"x": x}], precision, tmp_path) == 1
        onnx.save(graphs.half(made), tmp_path / "made.onnx")
        found = engines.open_session(tmp_path / "made.onnx").run(None, {"x": x})[0]
        assert (np.abs(found - exact).max(0) / np.abs(exact).max(0)).max() < allowed


def test_types_are_inferred_without_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX reads no more than 2 GiB, a pack may have more."""
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    wide = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")],
        "g",
        [wide("x", TensorProto.FLOAT, ["n", 64])],
        [wide("y", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(weight, "weight")],
    )
    infer, sizes = graphs.shape_inference.infer_shapes, []

    def measured(model: onnx.ModelProto) -> Any:
        sizes.append(model.ByteSize())
        return infer(model)

    monkeypatch.setattr(graphs.shape_inference, "infer_shapes", measured)
    half = graphs.half(helper.make_model(made, opset_imports=[helper.make_opsetid("", 23)], ir_version=10))
    assert max(sizes) < 1000
    assert np.array_equal(numpy_helper.to_array(half.graph.initializer[0]), weight.astype(np.float16))


def test_the_fake_has_the_signatures_of_the_library() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    for name, (mine, calls) in fake.CALLS.items():
        for call in calls:
            theirs = re.match(rf"{call}\((.*?)\) -> ", getattr(getattr(trt, name), call).__doc__)
            wanted = [item.split(":")[0].strip() for item in re.split(r", (?=\w+:)", theirs[1])]
            assert list(inspect.signature(getattr(mine, call)).parameters) == wanted, (name, call)
    assert {item.name for item in fake.ComputeCapability} <= set(trt.ComputeCapability.__members__)


def test_an_engine_is_built_without_a_card(planned: Any) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    (_, found), out = planned
    engine = builder.build(trt, replace(found.plan, target="sm86"), out / f"{found.plan.part}.onnx")
    assert len(engine) > 100_000
