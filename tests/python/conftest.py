"""What several files share: the embedded pack and an engine over it, a copy to spoil, the command line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
# helpers.py, the commands that tests call, and models of random weights
sys.path += [str(HERE), str(HERE.parents[1] / "benchmarks"), str(HERE.parent / "export")]

from interleave_rt import Engine, Pack, load_pack
from interleave_rt.cli import main
from interleave_rt.pack import EMBEDDED


class Said(NamedTuple):
    """What a command ended with, printed and complained of."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path: Path, monkeypatch, capsys) -> Callable[..., Said]:
    """`interleave-rt ARGUMENTS` in this process and in the folder `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Said:
        return Said(main([str(one) for one in arguments]), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def pack() -> Pack:
    """The embedded pack."""
    return load_pack()


@pytest.fixture(scope="module")
def embedded(pack: Pack) -> Iterator[Engine]:
    """An engine over the embedded pack; no longer than a file, for it shortens Python's switch interval."""
    with Engine.load(pack) as made:
        yield made


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the embedded pack's folder, to be changed."""
    return Path(shutil.copytree(EMBEDDED, tmp_path / "pack"))
