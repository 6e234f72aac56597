"""From a pack to the same pack with engines: `interleave-rt pack engines PACK --target sm89 --out FOLDER`.

Every graph is written in the precision of the target, compared with its source on the CPU, and built. An engine is kept
by the hash of its graph, so that it is built once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from interleave_rt.backends.engines import LIBRARIES
from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.files import saving, swap_folders, write_file
from interleave_rt.pack.manifest import (
    ENGINE_STATUS,
    MANIFEST_NAME,
    ROLES,
    EngineSpec,
    GeneratorRole,
    Manifest,
    VlmRole,
    hash_file,
    load_manifest,
    verify_files,
)

from ..graph import DATA_SUFFIX, save_graph
from ..pack import list_files, write_json
from ..proof.checks import cosine_gap
from ..proof.sessions import open_session
from .builder import Plan, build
from .calibration import work_of
from .graphs import CACHE, EnginePrecision, half, quantise, set_lengths, unknown_operators
from .profiles import fixed, profile_of, spans_of
from .targets import Target, choose, load_library

__all__ = ["CACHE_VARIABLE", "Built", "export_engines"]

CACHE_VARIABLE = "INTERLEAVE_RT_CACHE_DIR"
"""Environment variable: where engines are kept, instead of `$XDG_CACHE_HOME/interleave-rt`."""

_REPORT = "engines.json"
_GROWTH = 6  # bytes of scratch, graph, engine and cache for a byte of weights
_ROOM = 256 << 20
_APART = {"fp16": 0.001, "int8": 0.05, "fp8": 0.05}  # 1 - cosine: far less than a mistake makes


@dataclass(frozen=True, slots=True)
class Built:
    """One engine.

    Args:
        plan: What was built.
        quantised: Products in the precision that was asked for; 0: none, the part is float16.
        gap: 1 - cosine between the rewritten graph's outputs and its source's, on the CPU.
        size: Bytes of the engine; 0 where only its plan was written.
        seconds: It took to build; 0 where it was built before.
    """

    plan: Plan
    quantised: int
    gap: float
    size: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        told = {"quantised": self.quantised, "gap": self.gap, "size": self.size, "seconds": self.seconds}
        return {**self.plan.as_dict(), **told}


def export_engines(
    source: Path,
    out: Path,
    *,
    target: str,
    precision: EnginePrecision = "fp16",
    plan_only: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Built]:
    """Write `out`: a pack whose graphs are engines, or with `plan_only` the graphs and `engines.json`, their plans.

    Raises:
        BadRequestError: There is no such target, it lacks the precision, `out` is not empty, or its disk is too small.
        BadPackError: The library is missing or the wrong one; the pack has a graph that it does not read.
    """
    chosen = choose(target, precision)
    trt, version = (None, "") if plan_only else load_library(chosen)
    manifest = load_manifest(source)
    roles = _roles(source, manifest)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRequestError(f"[engines] {out} is not an empty directory", hint="give a new one with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        kept = _cache_folder()
        kept.mkdir(parents=True, exist_ok=True)
        _need_room(source, manifest, (out.parent, kept))
        verify_files(source, manifest)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
            scratch = Path(folder)
            fresh = scratch / "pack"
            fresh.mkdir()
            built = []
            for name, role in roles.items():
                work = work_of(source, name, role, manifest.examples)
                for part, spans in spans_of(role).items():
                    where = f"{name}/{part}"
                    progress(f"writing {where} in {precision}")
                    feeds = work[part]
                    graph = scratch / f"{part}.onnx"  # it names the file of its weights
                    origin = source / role.parts[part].file
                    quantised = _rewrite(origin, graph, feeds, precision, spans, scratch)
                    data = graph.with_name(graph.name + DATA_SUFFIX)
                    files = [file for file in (graph, data) if file.exists()]
                    model = onnx.load(graph, load_external_data=False)
                    plan = Plan(
                        part=where,
                        graph="+".join(hash_file(file) for file in files),
                        library=chosen.library,
                        target=target,
                        precision=precision if quantised else "fp16",
                        profile=profile_of(model, spans, where),
                    )
                    found = Built(plan, quantised, _compare(origin, graph, feeds, plan))
                    (fresh / name).mkdir(exist_ok=True)
                    if plan_only:
                        for file in files:
                            shutil.move(file, fresh / name)
                    else:
                        progress(f"building {where} for {target}")
                        found = _engine(trt, version, found, graph, fresh, kept)
                        _write_context(model, fresh, found.plan, version)
                        for file in files:
                            file.unlink()
                    built.append(found)
            _write_report(fresh, chosen, version, built)
            if not plan_only:
                _write_manifest(source, fresh, manifest, chosen, version, precision, built)
                verify_files(fresh, load_manifest(fresh))
            with saving(out):
                swap_folders(fresh, out)
    except OSError as error:
        raise BadRequestError(
            f"[engines] {out} was not written: {error}", hint="make room, or choose another --out"
        ) from None
    return built


def _roles(source: Path, manifest: Manifest) -> dict[str, VlmRole | GeneratorRole]:
    """The roles that are graphs, whose operators can be read."""
    roles = {
        name: role
        for name in ROLES
        if isinstance(role := getattr(manifest.roles, name), VlmRole | GeneratorRole)
    }
    if not roles:
        raise BadPackError(f"[engines] {source} has no role with graphs", hint="give a pack of native roles")
    for role in roles.values():
        for part in spans_of(role):
            file = role.parts[part].file
            strange = unknown_operators(onnx.load(source / file, load_external_data=False))
            if strange:
                raise BadPackError(
                    f"[engines] {file} of {source} is made of {', '.join(strange)}, operators of ONNX Runtime that "
                    "TensorRT does not read",
                    hint="start from a pack whose graphs are traced and not int8: TensorRT has an int8 of its own",
                )
    return roles


def _need_room(source: Path, manifest: Manifest, folders: tuple[Path, ...]) -> None:
    needed = _GROWTH * sum(entry.size for entry in manifest.files.values()) + _ROOM
    for folder in folders:
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise BadRequestError(
                f"[engines] the engines of {source} take up to {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB "
                "free",
                hint=f"make room, choose another --out, or set {CACHE_VARIABLE} to a folder with room",
            )


def _rewrite(
    origin: Path,
    graph: Path,
    feeds: list[dict[str, Any]],
    precision: EnginePrecision,
    spans: Any,
    scratch: Path,
) -> int:
    """The graph of a part in the precision, with the sizes that never change."""
    model = onnx.load(origin)
    set_lengths(model, fixed(spans))
    quantised = 0 if precision == "fp16" else quantise(model, feeds, precision, scratch)
    save_graph(half(model), graph, check=False)
    return quantised


def _compare(origin: Path, graph: Path, feeds: list[dict[str, Any]], plan: Plan) -> float:
    """How far the rewritten graph's first output is from its source's, over all feeds.

    Raises:
        BadPackError: Farther than rounding explains.
    """
    sessions = [open_session(path) for path in (origin, graph)]
    outputs: list[list[Any]] = [[], []]
    for feed in feeds:
        cut = {
            name: value.astype(np.float16) if name.startswith(CACHE) else value
            for name, value in feed.items()
        }
        for found, session, given in zip(outputs, sessions, (feed, cut), strict=True):
            found.append(session.run(None, given)[0].ravel())
    one, other = (np.concatenate(found)[None] for found in outputs)
    gap = cosine_gap(one, other)
    if not gap <= _APART[plan.precision]:
        raise BadPackError(
            f"[engines] {plan.part} in {plan.precision} is {gap:.3g} (1 - cosine) from its source, more than "
            f"{_APART[plan.precision]}",
            hint="choose another --precision",
        )
    return gap


def _engine(trt: Any, version: str, found: Built, graph: Path, fresh: Path, kept: Path) -> Built:
    """Builds an engine, or takes the one that was built of this graph before."""
    plan = found.plan
    told = json.dumps({**plan.as_dict(), "part": "", "version": version}, sort_keys=True)
    known = kept / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.engine"
    target = fresh / f"{plan.part}.engine"
    seconds = 0.0
    if not known.is_file():
        start = time.monotonic()
        timing = kept / f"{plan.library}-{version}-{plan.target}.timing"
        engine = build(trt, plan, graph, timing if LIBRARIES[plan.library].needs_card else None)
        seconds = time.monotonic() - start
        write_file(known, engine)
    shutil.copyfile(known, target)
    return Built(plan, found.quantised, found.gap, target.stat().st_size, round(seconds, 2))


def _write_context(model: onnx.ModelProto, fresh: Path, plan: Plan, version: str) -> None:
    """The graph of one node that ONNX Runtime's provider opens an engine by."""
    node = helper.make_node(
        "EPContext",
        [value.name for value in model.graph.input],
        [value.name for value in model.graph.output],
        name=plan.part.replace("/", "_"),
        domain="com.microsoft",
        embed_mode=0,
        main_context=1,
        ep_cache_context=f"{Path(plan.part).name}.engine",
        ep_sdk_version=version,
        hardware_architecture=plan.target.removeprefix("sm"),
        partition_name=plan.part.replace("/", "_"),
        source=LIBRARIES[plan.library].provider,
    )
    graph = helper.make_graph([node], node.name, model.graph.input, model.graph.output)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), fresh / f"{plan.part}.onnx")


def _write_report(fresh: Path, target: Target, version: str, built: list[Built]) -> None:
    write_json(
        fresh / _REPORT,
        {
            "format_version": 1,
            "status": ENGINE_STATUS,
            "library": target.library,
            "version": version or None,
            "target": target.name,
            "engines": [one.as_dict() for one in built],
        },
    )


def _write_manifest(
    source: Path,
    fresh: Path,
    manifest: Manifest,
    target: Target,
    version: str,
    precision: str,
    built: list[Built],
) -> None:
    """The source's manifest over the engines; what was proved of its graphs is not proved of them."""
    raw = json.loads((source / MANIFEST_NAME).read_text(encoding="utf-8"))
    engine = EngineSpec.model_validate(
        {
            "library": target.library,
            "version": version,
            "target": target.name,
            "precision": precision,
            "source": manifest.name,
        }
    ).model_dump()
    for name in {one.plan.part.split("/")[0] for one in built}:
        role = raw["roles"][name]
        role["providers"] = [LIBRARIES[target.library].provider, "CPUExecutionProvider"]
        parts = role.get("parts", role)
        parts.pop("decode_graph", None)  # the decoder makes every step
        for one in built:
            owner, part = one.plan.part.split("/")
            if owner == name:
                parts[part] = {
                    "file": f"{one.plan.part}.onnx",
                    "data": [f"{one.plan.part}.engine"],
                    "precision": one.plan.precision,
                    "batch_invariant": False,
                    "engine": engine,
                }
    raw["name"] = f"{manifest.name}-{target.name}-{precision}"
    raw["parity"] = _REPORT
    raw.setdefault("exporter", {})["proved_on"] = ""
    roles = (getattr(manifest.roles, name) for name in ROLES)
    graphs = {
        path
        for role in roles
        if isinstance(role, VlmRole | GeneratorRole)
        for part in role.parts.values()
        for path in (part.file, *part.data)
    }
    for file in manifest.files.keys() - graphs - {manifest.parity}:
        (fresh / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, fresh / file)
    found = sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file())
    raw["files"] = list_files(fresh, found)
    write_json(fresh / MANIFEST_NAME, raw)


def _cache_folder() -> Path:
    own = os.environ.get(CACHE_VARIABLE)
    root = (
        Path(own)
        if own
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interleave-rt"
    )
    return root / "engines"
