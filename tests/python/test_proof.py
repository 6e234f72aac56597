"""What has not been shown to be right is not opened: other runtimes, other execution providers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import edit_pack, refused

from interleave_rt import BadPackError, Engine, prove
from interleave_rt.backends import proof

CUDA = ("CUDAExecutionProvider", "CPUExecutionProvider")


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A card that this machine may not have, and a folder for its proofs."""
    monkeypatch.setenv(proof.STATE_VARIABLE, str(tmp_path / "state"))
    monkeypatch.setattr(proof, "_card", lambda: ("Card 1", "550.1"))
    monkeypatch.setattr(proof, "_libraries", lambda: "nvidia-cudnn 9.1")


def proved(pack, *, batching=True):
    return proof.write_proof(proof.ProofKey.of(pack, CUDA), batching=batching, rows=[])


@pytest.mark.parametrize(
    ("role", "runtime"), [("planner", "torch"), ("critic", "openai"), ("generator", "ray")]
)
def test_a_role_of_another_runtime_is_refused(copied, command, role, runtime):
    edit_pack(copied, lambda manifest: manifest["roles"][role].update(runtime=runtime))
    with refused(BadPackError, f"roles.{role}.runtime", "'native'") as caught:
        Engine.load(copied)
    assert caught.value.hint
    code, _, heard = command("run", "Draw", "--pack", copied)
    assert code == BadPackError.exit_code
    assert f"roles.{role}.runtime" in heard


@pytest.mark.parametrize(
    "providers",
    [CUDA, CUDA[:1], ("CPUExecutionProvider", "CUDAExecutionProvider"), ("SomeExecutionProvider",)],
)
def test_a_provider_without_a_proof_is_refused(pack, providers):
    with refused(BadPackError, "has not been shown", hint="python -m interleave_rt.prove --provider"):
        Engine.load(pack, providers=providers)


def test_a_proof_opens_its_provider(pack):
    path = proved(pack)
    assert path.stat().st_mode & 0o777 == 0o600
    proof.require_proof(pack, CUDA, batching=True)
    path.unlink()
    with refused(BadPackError, "has not been shown"):
        proof.require_proof(pack, CUDA, batching=True)


def test_a_proof_without_batching_opens_engines_without_it(pack):
    proved(pack, batching=False)
    proof.require_proof(pack, CUDA, batching=False)
    with refused(BadPackError, "without batching only"):
        proof.require_proof(pack, CUDA, batching=True)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("pack", "pack was"),
        ("provider", "provider was CUDAExecutionProvider,CPUExecutionProvider, is TensorrtExecutionProvider"),
        ("device", "device was Card 1, is Card 2"),
        ("driver", "driver was 550.1, is 555.2"),
        ("onnxruntime", r"onnxruntime was .*, is 99\.1"),
        ("libraries", "libraries was nvidia-cudnn 9.1, is none"),
        ("interleave_rt", r"interleave_rt was .*, is 99\.2"),
    ],
)
def test_another_value_of_any_part_closes_it_again(part, said, pack, monkeypatch):
    proved(pack)
    providers = ("TensorrtExecutionProvider",) if part == "provider" else CUDA
    if part == "pack":
        pack = replace(pack, manifest=pack.manifest.model_copy(update={"version": "9"}))
    for name, found in {
        "device": ("_card", ("Card 2", "550.1")),
        "driver": ("_card", ("Card 1", "555.2")),
        "onnxruntime": ("load_runtime", "99.1"),
        "libraries": ("_libraries", ""),
    }.items():
        if name == part:
            monkeypatch.setattr(proof, found[0], lambda found=found: found[1])
    if part == "interleave_rt":
        monkeypatch.setattr(proof.metadata, "version", lambda _: "99.2")
    with pytest.raises(BadPackError, match=f"other conditions: {said}") as caught:
        proof.require_proof(pack, providers, batching=False)
    assert caught.value.message.count(" was ") == 2  # this part alone: "was shown", "... was"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 9000, b" " * (1 << 20)),
        b'{"format": "interleave-rt.proof/1"}',
        *(
            b'{"format": "interleave-rt.proof/1", "batching": true, "key": %s}' % key
            for key in (b"{}", b"1", b'{"a": 1}')
        ),
    ],
)
def test_a_damaged_proof_is_refused_with_its_name(content, pack):
    path = proved(pack)
    path.write_bytes(content)
    with refused(BadPackError, f"{path.name} cannot be read"):
        proof.require_proof(pack, CUDA, batching=False)


def test_an_altered_file_is_found_before_the_proof_is_trusted(pack, copied):
    proved(pack)
    (copied / "generator" / "transformer.onnx").write_bytes(b"no")
    with refused(BadPackError, "transformer.onnx has"):
        proof.require_proof(replace(pack, path=copied), CUDA, batching=False)


def test_the_check_alone_opens_what_it_proves(pack):
    with proof.proving(CUDA):
        proof.require_proof(pack, CUDA, batching=True)
        with pytest.raises(BadPackError):
            proof.require_proof(pack, ("TensorrtExecutionProvider",), batching=True)
    with pytest.raises(BadPackError):
        proof.require_proof(pack, CUDA, batching=True)


@pytest.mark.parametrize(
    ("batched", "alone", "covers"), [(2, 2, True), (1, 2, False), (2, 1, None), (0, 0, None)]
)
def test_only_what_was_equal_is_kept(batched, alone, covers, pack, monkeypatch):
    rows = [
        {"batching": on, "requests": 2, "equal": equal} for on, equal in ((True, batched), (False, alone))
    ]
    monkeypatch.setattr(prove, "law_one", lambda *_: list(rows))
    monkeypatch.setattr(prove, "beside_cpu", lambda *_: {"batching": False, "requests": 1, "equal": 1})
    _, path = prove.prove(pack, CUDA, [])
    assert (None if path is None else json.loads(path.read_text())["batching"]) is covers
    assert len(list(proof.proof_folder().glob("*"))) == (covers is not None)


@pytest.mark.parametrize(
    ("prompt", "level", "said"),
    [("add a cat", 9, None), ("add a dog", 9, "plan: .*dog"), ("add a cat", 90, "picture: 81.0 levels")],
)
def test_what_is_wrong_alike_in_loop_and_engine_is_found_beside_the_cpu(
    pack, monkeypatch, prompt, level, said
):
    class Fake:
        def __init__(self, _pack, *, providers):
            self.prompt, self.level = (prompt, level) if providers == CUDA else ("add a cat", 9)

        def seed_of(self, *_):
            return 1

        def inputs(self, _):
            return []

        def plan(self, *_):
            return SimpleNamespace(steps=[SimpleNamespace(prompt=self.prompt)])

        def generate(self, *_):
            return np.full((2, 2, 3), self.level, np.uint8)

    monkeypatch.setattr(prove, "NativeRoles", Fake)
    rows = [{"batching": on, "requests": 2, "equal": 2} for on in (True, False)]
    monkeypatch.setattr(prove, "law_one", lambda *_: list(rows))
    found, path = prove.prove(pack, CUDA, prove.example_cases(pack, 5))
    assert found[-1]["requests"] == 4
    assert (path is not None) is (said is None)
    assert re.match(said or "None", str(found[-1]["first_difference"]))


def test_the_command_proves_law_one_and_keeps_nothing_for_the_cpu(capsys):
    assert prove.main(["--provider", "cpu", "--requests", "2"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["proof"] is None
    assert [(row["arm"], row["batching"], row["equal"]) for row in said["law_1"]] == [
        (arm, on, 2) for on in (True, False) for arm in ("off", "auto", "depth=3")
    ]
    assert prove.main(["--provider", "cuda"]) == BadPackError.exit_code
    assert "has no CUDAExecutionProvider" in capsys.readouterr().err
