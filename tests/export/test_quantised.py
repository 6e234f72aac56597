"""A pack with int8 or fp8 matrices: smaller, batch-invariant, near the one it was made from, and usable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from interleave_rt.export.cli import main
from interleave_rt.export.graph import save_graph
from interleave_rt.export.proof.checks import Comparison, Parity, all_passed
from interleave_rt.export.proof.sessions import session_options
from interleave_rt.export.quantised import quantised_pack
from interleave_rt.export.storage import FP8_BLOCK, fp8_codes, quantise, quantise_fp8

from interleave_rt import Engine, load_pack
from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.pack.manifest import load_manifest, verify_files


@pytest.fixture(scope="module", params=["int8", "fp8"])
def made(request: Any, exported: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp(request.param) / "pack"
    checks, manifest = quantised_pack(exported.pack, out, precision=request.param)
    return out, checks, manifest, request.param


def _size(manifest: Any) -> int:
    return sum(file.size for name, file in manifest.files.items() if ".onnx" in name)


def test_it_is_smaller_and_its_manifest_is_true(exported: Any, made: Any) -> None:
    out, _, manifest, precision = made
    assert manifest == load_manifest(out)
    verify_files(out, manifest)
    assert set(manifest.files) == set(exported.manifest.files)
    assert _size(manifest) < 0.9 * _size(exported.manifest)
    roles = manifest.roles
    changed = (
        roles.planner.parts["decoder"],
        roles.planner.parts["decode_graph"],
        roles.generator.parts["transformer"],
    )
    assert {part.precision for part in changed} == {precision}
    assert roles.generator.parts["vae_decoder"].precision == "fp16-weights"  # convolutions
    graph = onnx.load(out / "critic" / "decoder.onnx").graph
    constant = {tensor.name for tensor in graph.initializer}
    kind = {"int8": "MatMulNBits", "fp8": "DequantizeLinear"}[precision]
    assert sum(node.op_type == kind for node in graph.node) >= 7
    assert not [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in constant]


def test_it_is_batch_invariant_and_near_its_source(made: Any) -> None:
    _, checks, manifest, _ = made
    assert all_passed(checks)
    proved = {check.part for check in checks if isinstance(check, Comparison)}
    assert {"planner/decoder", "planner/decode_graph", "critic/vision", "generator/transformer"} <= proved
    assert manifest.roles.planner.parts["decoder"].batch_invariant
    assert manifest.roles.generator.parts["transformer"].batch_invariant
    measured = {check.part: check.value for check in checks if isinstance(check, Parity)}
    assert set(measured) == {
        *("planner/decoder", "critic/decoder", "generator/text_encoder", "generator/transformer")
    }
    assert 0 < measured["planner/decoder"] < 0.05
    assert 0 < measured["generator/transformer"] < 0.05
    written = json.loads((made[0] / "parity.json").read_text())
    assert {entry["part"] for entry in written["parity"]} == set(measured)


@pytest.mark.parametrize("quantiser", [quantise, quantise_fp8])
def test_the_engine_runs_the_embedded_pack_in_less(tmp_path: Path, quantiser: Any) -> None:
    source = load_pack()
    shutil.copytree(source.path, tmp_path / "pack")
    for graph in ("planner/decoder", "critic/decoder", "generator/text_encoder", "generator/transformer"):
        made, count = quantiser(onnx.load(source.path / f"{graph}.onnx"))
        assert count
        save_graph(made, tmp_path / "pack" / f"{graph}.onnx", check=False)
    plans = []
    for pack in (source.path, tmp_path / "pack"):
        with Engine.load(pack, threads=1, verify=False) as engine:
            result = engine.run("Draw a snowman step by step", seed=3)
        assert all(step.image is not None for step in result.steps)
        plans.append([step.plan.prompt for step in result.steps])
    assert plans[0] == plans[1]


def test_fp8_weights_are_folded_when_a_graph_is_loaded(tmp_path: Path) -> None:
    import onnxruntime

    made, _ = quantise_fp8(onnx.load(load_pack().path / "critic/decoder.onnx"))
    options = session_options()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert "DequantizeLinear" in {node.op_type for node in made.graph.node}
    assert "DequantizeLinear" not in {node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node}


def test_a_graph_without_matrices_is_left_alone(exported: Any, made: Any) -> None:
    codec = "generator/vae_decoder.onnx"
    assert (
        quantise(onnx.load(exported.pack / codec))[1]
        == quantise_fp8(onnx.load(exported.pack / codec))[1]
        == 0
    )
    assert (made[0] / codec).read_bytes() == (exported.pack / codec).read_bytes()


def test_what_is_there_is_kept_and_a_damaged_pack_is_refused(exported: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for out in (tmp_path, notes):
        with pytest.raises(BadRequestError, match="is not an empty directory"):
            quantised_pack(exported.pack, out)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert notes.read_text() == "mine"
    shutil.copytree(exported.pack, tmp_path / "pack")
    (tmp_path / "pack" / "planner" / "decoder.onnx").write_bytes(b"no")
    with pytest.raises(BadPackError):
        quantised_pack(tmp_path / "pack", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("columns", [64, FP8_BLOCK, 200])
def test_fp8_weights_are_the_nearest_of_their_blocks_scale(columns: int) -> None:
    rows = np.random.default_rng(columns).standard_normal((5, columns)).astype(np.float32)
    rows[2] = 0
    rows[3] *= 1e-30
    codes, scales = fp8_codes(rows)
    assert codes.shape == rows.shape
    assert scales.shape == (5, -(-columns // FP8_BLOCK))
    found = codes.astype(np.float32) * np.repeat(scales, FP8_BLOCK, 1)[:, :columns]
    # Three bits behind the point of a normal number; below 2**-6 of the scale, steps of 2**-9.
    allowed = np.maximum(np.abs(rows) / 16, np.repeat(scales, FP8_BLOCK, 1)[:, :columns] * 2**-10)
    assert (np.abs(found - rows) <= allowed * 1.0001).all()
    assert np.abs(codes.astype(np.float32)).max(1)[[0, 1, 4]].tolist() == [448.0] * 3


def test_the_command(exported: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "int8"
    assert main(["int8", "--pack", str(exported.pack), "--out", str(out), "--block", "64"]) == 0
    assert "1 - cosine" in capsys.readouterr().out
    assert load_manifest(out).roles.critic.parts["decoder"].precision == "int8"
    assert main(["int8", "--pack", str(exported.pack), "--out", str(out)]) == BadRequestError.exit_code
    assert "not an empty directory" in " ".join(capsys.readouterr().err.split())  # the console wraps
