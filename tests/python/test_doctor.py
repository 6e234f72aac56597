"""`interleave-rt doctor`: names the fault and the mend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from interleave_rt import cgroups, config, doctor, load_pack
from interleave_rt.backends import engines
from interleave_rt.cli import main
from interleave_rt.errors import BadPackError


def group(root: Path, files: dict[str, str], own: str) -> tuple[Path, Path]:
    for name, text in files.items():
        path = root / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="ascii")
    (root / "self").write_text(own + "\n", encoding="ascii")
    return root / "self", root / "fs"


@pytest.mark.parametrize(
    ("files", "own", "cpus", "memory"),
    [
        ({"a/cpu.max": "150000 100000", "a/memory.max": "1048576"}, "0::/a", 1.5, 1 << 20),
        ({"a/cpu.max": "max 100000", "a/memory.max": "max"}, "0::/a", None, None),
        ({"cpu.max": "50000 100000", "a/b/cpu.max": "200000 100000"}, "0::/a/b", 0.5, None),
        (
            {
                "cpu/d/cpu.cfs_quota_us": "300000",
                "cpu/d/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            "4:cpu,cpuacct:/d\n5:memory:/d",
            3.0,
            None,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/gone", None, None),
        ({}, "", None, None),
    ],
)
def test_the_limits_of_a_container_are_read(tmp_path, files, own, cpus, memory):
    places = group(tmp_path, files, own)
    assert cgroups.cpu_quota(*places) == cpus
    assert cgroups.memory_limit(*places) == memory


def test_free_memory_is_what_every_group_leaves(tmp_path):
    files = {
        "memory.max": "9000000000",
        "memory.current": "1000000000",
        "a/memory.max": "3000000000",
        "a/memory.current": "2500000000",
        "a/memory.stat": "anon 2100000000\ninactive_file 400000000",
    }
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal: 16000000 kB\nMemAvailable: 5000000 kB\n", encoding="ascii")
    places = group(tmp_path, files, "0::/a")
    assert cgroups.free_memory(*places, machine) == 900_000_000
    assert cgroups.free_memory(places[0], tmp_path / "none", machine) == 5_000_000 * 1024
    assert cgroups.free_memory(places[0], tmp_path / "none", tmp_path / "none") is None


def test_threads_keep_to_the_quota(monkeypatch):
    monkeypatch.setattr(config.os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(config, "cpu_quota", lambda: 1.0)
    assert config.usable_cores() == 1
    assert config.EngineConfig().budget().separate is False
    monkeypatch.setattr(config, "cpu_quota", lambda: 2.5)
    assert config.usable_cores() == 3
    monkeypatch.setattr(config, "cpu_quota", lambda: None)
    assert config.usable_cores() == 16


def test_a_sound_machine_has_no_faults(capsys):
    assert main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["faults"] == 0
    names = [one["name"] for one in said["findings"]]
    assert {"platform", "processor", "memory", "onnxruntime", "extra [torch]", "pack"} <= set(names)
    assert main(["doctor"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def fault(pack: Path | None = None) -> list[doctor.Finding]:
    return [one for one in doctor.examine(pack) if one.state == "fault"]


def test_an_altered_pack_and_a_missing_one_are_faults(tmp_path, capsys):
    copy = tmp_path / "pack"
    shutil.copytree(load_pack().path, copy)
    file = next(copy.glob("*/decoder.onnx"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (found,) = fault(copy)
    assert file.name in found.said
    assert found.mend
    assert main(["doctor", "--pack", str(tmp_path / "none")]) == 1
    assert "! pack" in capsys.readouterr().out


def test_both_distributions_of_the_runtime_are_a_fault(monkeypatch):
    from interleave_rt.backends import ort

    def both() -> str:
        ort.find_library(lambda: ["onnxruntime", "onnxruntime-gpu"])
        raise AssertionError

    monkeypatch.setattr(ort, "load_runtime", both)
    (found,) = fault()
    assert "overwrite each other" in found.said
    assert "pip uninstall" in (found.mend or "")


def test_libraries_of_engines_are_experimental_or_of_the_wrong_version(monkeypatch):
    versions = {"tensorrt": "11.4.0", "tensorrt_rtx": "1.7.1"}
    monkeypatch.setattr(engines, "installed_version", versions.get)
    found = {one.name: one for one in doctor._engines(runs_tensorrt=True)}
    assert found["tensorrt_rtx"].state == "note"
    assert "experimental (built, never run)" in found["tensorrt_rtx"].said
    assert found["tensorrt"].state == "fault"
    assert "asks for 10." in found["tensorrt"].said
    assert "pypi.nvidia.com" in found["tensorrt"].mend


def test_too_little_memory_and_a_quota_are_said(monkeypatch):
    monkeypatch.setattr(doctor, "memory_limit", lambda: 200 << 20)
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 1.0)
    found = {one.name: one for one in doctor.examine()}
    assert found["memory"].state == "fault"
    assert "raise the limit" in (found["memory"].mend or "")
    assert "1 CPUs" in found["cpu quota"].said


def test_a_role_whose_extra_is_missing_is_a_fault(tmp_path, monkeypatch):
    models = tmp_path / "models"
    models.mkdir()
    (models / "config.json").write_text("{}", encoding="utf-8")
    out = tmp_path / "mine"
    roles = ["--planner", "scripted", "--generator", "scripted", "--critic", f"torch:{models}"]
    assert main(["pack", "new", str(out), *roles]) == 0
    real, extra = doctor.importlib.util.find_spec, doctor.EXTRAS["torch"]
    present = {**dict.fromkeys(extra, object()), "diffusers": None}
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda name: present[name] if name in present else real(name)
    )
    (found,) = fault(out)
    assert found.name == "critic"
    assert "needs diffusers" in found.said
    assert found.mend == "pip install 'interleave-rt[torch]'"


def test_a_look_that_fails_does_not_hide_the_others(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda _: 1 / 0)
    found = doctor.examine()
    assert any("ZeroDivisionError" in one.said for one in found)
    assert any(one.name == "pack" and one.state == "ok" for one in found)
    assert BadPackError.code == "bad_pack"
