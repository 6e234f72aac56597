"""Another family is one file: its functions here, and one entry in the manifest's registry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from interleave_rt.export import cli, export_shapes
from interleave_rt.export.families import find_family
from interleave_rt.export.graph import GraphSpec, export_graph
from interleave_rt.export.proof.checks import all_passed, deviation
from interleave_rt.export.proof.invariance import batch_invariance
from interleave_rt.export.proof.sessions import open_session
from interleave_rt.export.quantised import quantised_pack
from interleave_rt.export.recipe import GeneratorRecipe, Recipe, VlmRecipe, shapes_recipe
from torch import nn

from interleave_rt.errors import BadPackError
from interleave_rt.pack import load_pack, manifest
from interleave_rt.pack.chat import ChatEncoder

SIZE = 64


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(SIZE, SIZE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


def load(weights: Any, role: str) -> nn.Module:
    net = Net().eval()
    net.load_state_dict(torch.load(weights.directory / role / "net.pt"))
    return net


def export(model: nn.Module, folder: Path, recipe: GeneratorRecipe) -> Iterator[tuple[str, Any]]:
    spec = GraphSpec(model, [("x", torch.zeros(2, SIZE), {0: "b"})], ["y"], 21)
    yield "net", export_graph(spec, folder / "net.onnx", external=recipe.external_data)


def describe(model: nn.Module, recipe: GeneratorRecipe) -> dict[str, Any]:
    side = recipe.image_side
    return {
        "max_sequence_length": recipe.max_sequence_length,
        "scheduler": {"kind": "one step", "num_inference_steps": 1},
        "image": {"width": side, "height": side, "min": side, "max": side},
        "latent_channels": 1,
        "text_dim": SIZE,
        "token_pixels": side,
        "slots": recipe.slots,
    }


def _feed(seed: int, slots: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).standard_normal((slots, SIZE)).astype(np.float32)}


def parity(model: nn.Module, folder: Path, role: Any, weights: Any, recipe: Any, seed: int) -> list[Any]:
    feed = _feed(seed, role.slots)
    with torch.no_grad():
        wanted = model(torch.from_numpy(feed["x"])).numpy()
    return [deviation("generator/net", "error", open_session(folder / "net.onnx").run(None, feed)[0], wanted)]


def invariance(folder: Path, role: Any, seed: int) -> list[Any]:
    return [batch_invariance(folder / "net.onnx", [_feed(seed, role.slots)], slots=role.slots)]


def outputs(folder: Path, part: str, role: Any, examples: Any, seed: int) -> Any:
    return open_session(folder / f"{part}.onnx").run(None, _feed(seed, role.slots))[0]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    family = SimpleNamespace(
        NEEDED=("net.pt",), **{f.__name__: f for f in (load, export, describe, parity, invariance, outputs)}
    )
    monkeypatch.setitem(manifest.GENERATOR_FAMILIES, "toy", manifest.Family(("net",), batched=("net",)))
    monkeypatch.setitem(sys.modules, "interleave_rt.export.families.toy", family)  # as a file toy.py would be


@pytest.fixture
def weights(tiny: Any, tmp_path: Path) -> Path:
    tiny.build_tokenizer().save_pretrained(tmp_path / "weights" / "generator")
    net = Net()
    tiny.scramble(net, 1)
    torch.save(net.state_dict(), tmp_path / "weights" / "generator" / "net.pt")
    return tmp_path / "weights"


def test_a_role_is_written_alone(
    toy: None, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"text_layers": (), "max_sequence_length": 8, "image_side": 16, "slots": 3}
    roles = {"planner": VlmRecipe(cache_length=96), "generator": GeneratorRecipe(family="toy", **sizes)}
    monkeypatch.setattr(cli, "shapes_recipe", lambda *_, **__: replace(shapes_recipe(), roles=roles))
    asked = ["shapes", "--weights", str(weights), "--out", str(tmp_path / "pack")]
    assert cli.main(asked) == BadPackError.exit_code  # there are no weights of a planner
    assert cli.main([*asked, "--roles", "generator"]) == 0
    assert load_pack(tmp_path / "pack").roles == ("generator",)


@pytest.mark.parametrize(("external", "exact"), [(None, True), (True, True), (None, False)])
def test_a_family_of_its_own_is_exported_proved_and_loaded(
    toy: None, weights: Path, tmp_path: Path, external: bool | None, exact: bool
) -> None:
    if not exact:
        torch.save({"weight": torch.randn(SIZE, SIZE)}, weights / "generator" / "net.pt")
    sizes = {"text_layers": (), "max_sequence_length": 8, "image_side": 16, "slots": 3}
    generator = GeneratorRecipe(family="toy", external_data=external, **sizes)
    about = {"version": "1", "description": "", "license": "MIT", "source": "a test"}
    recipe = Recipe(name="toy", **about, roles={"generator": generator})
    checks, _ = export_shapes(weights, tmp_path / "pack", recipe=recipe)
    assert all_passed(checks)
    assert {check.part for check in checks} == {"generator/net"}
    pack = load_pack(tmp_path / "pack")
    assert pack.roles == ("generator",)
    role = pack.manifest.roles.generator
    assert (role.family, role.batch_invariant, role.tokenizer) == ("toy", True, "tokenizer/tokenizer.json")
    assert role.parts["net"].precision == ("fp16-weights" if exact else "fp32")
    assert role.parts["net"].data == (("generator/net.onnx.data",) if external else ())
    assert all_passed(export_shapes(weights, tmp_path / "pack", recipe=recipe, verify_only=True)[0])
    checks, smaller = quantised_pack(pack.path, tmp_path / "int8")
    assert all_passed(checks)
    assert smaller.roles.generator.parts["net"].precision == "int8"
    assert sum(f.size for f in smaller.files.values()) < sum(f.size for f in pack.manifest.files.values())
    if external:
        (pack.path / "generator/net.onnx.data").write_bytes(b"no")
        with pytest.raises(BadPackError, match=r"net\.onnx\.data has 2 bytes"):
            load_pack(pack.path)


def test_roles_may_have_tokenizers_of_their_own(tiny: Any, tmp_path: Path) -> None:
    from interleave_rt.export.pack import _write_tokenizers
    from interleave_rt.export.weights import Weights

    for folder in ("tokenizer", "critic", "generator/tokenizer"):
        tokenizer = tiny.build_tokenizer()
        if folder == "critic":
            tokenizer.add_tokens(["<verdict>"])
        tokenizer.save_pretrained(tmp_path / "weights" / folder)
    found = _write_tokenizers(
        tmp_path,
        Weights(tmp_path / "weights", tmp_path),
        {"planner": 1300, "critic": 1300, "generator": None},
    )
    assert found == {"planner": "tokenizer", "critic": "critic/tokenizer", "generator": "tokenizer"}
    assert (tmp_path / "critic/tokenizer/token_bytes.json").is_file()


def test_a_generator_keeps_the_chat_template_of_its_own_tokenizer(tiny: Any, tmp_path: Path) -> None:
    from interleave_rt.export.pack import _write_tokenizers
    from interleave_rt.export.weights import Weights

    made = {}
    for folder in ("tokenizer", "generator/tokenizer"):
        made[folder] = tokenizer = tiny.build_tokenizer()
        if folder.startswith("generator"):
            tokenizer.chat_template += "{%- if add_generation_prompt %}{{ 'no thoughts\n\n' }}{%- endif %}"
        tokenizer.save_pretrained(tmp_path / "weights" / folder)
    weights = Weights(tmp_path / "weights", tmp_path)
    found = _write_tokenizers(tmp_path, weights, {"planner": 1300, "generator": None})
    lengths = []
    for role, folder in (("planner", "tokenizer"), ("generator", "generator/tokenizer")):
        place = tmp_path / found[role]
        encoder = ChatEncoder(place / "tokenizer.json", place / "chat_template.jinja")
        message = [{"role": "user", "content": "add a star"}]
        wanted = made[folder].apply_chat_template(message, add_generation_prompt=True, return_dict=False)
        assert encoder.encode_prompt("add a star", 64).ids[: len(wanted)].tolist() == wanted
        lengths.append(len(wanted))
    assert lengths[1] > lengths[0]


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadPackError, match="no family 'sdxl'; known are qwen3_vl, flux2"):
        find_family("sdxl")


def test_a_family_of_checkpoints_alone_names_the_command_that_exports_it() -> None:
    with pytest.raises(BadPackError, match="'qwen_image' are made from a checkpoint alone") as caught:
        find_family("qwen_image")
    assert "interleave-rt export generator" in str(caught.value.hint)
