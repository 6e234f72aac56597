"""The command line as a user meets it: output, files, errors and exit codes of its verbs (but bench and simulate)."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import complains, edit_pack, python
from interleave_rt.train.shapes import cli as training
from PIL import Image
from rich.console import Console

from interleave_rt.cli import train as verb
from interleave_rt.cli.display import LiveDisplay
from interleave_rt.cli.signals import Interrupted
from interleave_rt.pack import EMBEDDED
from interleave_rt.shown import width
from interleave_rt.wire import (
    Attempt,
    AttemptImageEvent,
    PlanStep,
    PlanStepEvent,
    Step,
    StepCommittedEvent,
    Verdict,
    VerdictEvent,
)

WRONG = [
    ("run|", 2, "the text is empty", "say what to draw"),
    ("run|x|--speculation|depth=zero", 2, "speculation is 'depth=zero'", "depth=K"),
    ("run|x|--image|no.png", 2, "no.png cannot be read: No such file", ""),
    ("run|x|--image|notes.txt", 2, "notes.txt is not an image", "PNG"),
    ("run|x|--keep|first", 2, "--keep is 'first'", "last or best"),
    ("run|x|--t-max|0", 2, "t_max is 0", ""),
    ("run|x|--t-max|many", 2, "--t-max", ""),
    ("run|x|--seed|-1", 2, "seed is -1", ""),
    ("run|x|--deadline|0", 2, "deadline_s is 0.0", ""),
    ("run|x|--sead|1", 2, "no such option: --sead", "run --help"),
    ("run|Draw|a|snowman", 2, "(a snowman)", "put the request in quotes"),
    ("run|x|--size|96", 2, "--size is '96'", "e.g. 96x96"),
    ("run|x|--size|0x96", 2, "--size is '0x96'", ""),
    ("run|x|--denoising-steps|-1", 2, "denoising_steps is -1", ""),
    ("run|x|--threads|0", 2, "threads is 0", ""),
    ("run|x|--constrained|maybe", 2, "constrained is 'maybe'", "auto or on or off"),
    ("run", 2, "request", "run --help"),
    ("walk", 2, "no such command 'walk'", "--help"),
    ("run|x|--out|notes.txt", 2, "notes.txt cannot be written", "another output folder"),
    ("run|x|--trace|notes.txt/t.json", 2, "notes.txt/t.json cannot be written", ""),
    ("run|x|--trace|.", 2, ". cannot be written: Is a directory", ""),
    ("run|x|--trace|", 2, ". cannot be written: Is a directory", ""),
    ("run|x|--trace|/dev/full", 2, "/dev/full cannot be written", "regular file"),
    ("eval|shapes|--rows|,", 2, "--rows names a row twice, or none", "rows are plans"),
    ("eval|precision|nowhere|--against|.", 3, "nowhere is not a directory", "pack.json"),
    ("eval|precision|.", 2, "--against", "eval precision --help"),
    ("eval|precision|x|--against|y|--most|0", 2, "--most is 0", ""),
    ("run|x|--pack|nowhere", 3, "nowhere is not a directory", "pack.json"),
    ("run|x|--pack|.", 3, "pack.json cannot be read", ""),
    ("examples|--pack|nowhere", 3, "nowhere is not a directory", ""),
    ("train", 2, "missing command", "train --help"),
    ("train|horses", 2, "no such command 'horses'", "train --help"),
    ("export|poet|x|--out|y", 2, "poet", "export --help"),
    ("export|critic|x|--out|y|--precision|int3", 2, "--precision is 'int3'", "fp32 or fp16"),
    ("export|critic|x|--out|y|--cache-length|1", 2, "--cache-length is 1", ""),
    ("export|critic|x|--out|y|--cache-gib|inf", 2, "--cache-gib is inf", ""),
    ("export|critic|x|--out|y|--slots|2", 2, "--slots does nothing for a critic", "leave it out"),
    ("export|generator|x|--out|y|--steps|0", 2, "--steps is 0", ""),
    ("export|generator|x|--out|y|--cache-gib|8", 2, "--cache-gib does nothing for a generator", ""),
    ("pack|engines|x|--out|y|--target|sm1", 2, "--target is 'sm1'", "sm86 or sm89"),
    ("train|shapes|--part|painter", 2, "--part is 'painter'", "tokenizer or vae or vision or"),
    ("train|shapes|--seed|-1", 2, "--seed is -1", "from 0 on"),
    ("train|shapes|--seed|x", 2, "--seed", "train shapes --help"),
    ("train|shapes|--iterations|0", 2, "--iterations is 0", ""),
    ("train|shapes|--minutes|0", 2, "--minutes is 0", "above 0"),
    ("train|shapes|--threads|0", 2, "--threads is 0", ""),
    ("train|shapes|--resume|yes", 2, "unexpected extra argument", "train shapes --help"),
    ("train|shapes|--out|notes.txt", 2, "notes.txt cannot be written", "another output folder"),
    ("train|shapes|--part|planner", 2, "--part planner needs runs/shapes/tokenizer", "--part tokenizer"),
]


@pytest.mark.parametrize(("arguments", "code", "says", "hint"), WRONG)
def test_errors_say_what_and_what_next(arguments, code, says, hint, command, trained, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    complains(command(*arguments.split("|")), code, says, hint)
    said = command(*arguments.split("|"), "--json")
    if arguments.startswith("run|"):
        error = json.loads(said.out)["error"]
        assert says in error["message"]
        assert error["code"] == {2: "bad_request", 3: "bad_pack"}[code]
    assert trained == []


def test_an_altered_pack_file_is_named(copied, command):
    graph = copied / "critic" / "decoder.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    complains(command("run", "x", "--pack", copied), 3, "critic/decoder.onnx has sha256")
    graph.unlink()
    complains(command("run", "x", "--pack", copied), 3, "critic/decoder.onnx is missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(command, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    complains(command("run", "x", "--out", "locked/here"), 2, "locked")


def test_help_lists_verbs_that_work_and_version_is_one_line(command):
    said = command()
    assert said.code == 0
    for line in filter(None, said.out.split("Commands:")[1].splitlines()):
        assert not line.endswith("..."), "the first sentence of a verb is cut"
        assert command(line.split()[0], "--help").code == 0
    said = command("--version")
    assert (said.code, said.out.split()[0], len(said.out.splitlines())) == (0, "interleave-rt", 1)


def test_run_with_the_embedded_pack(tmp_path):
    arguments = ["run", "Draw a snowman step by step", "--seed", "7", "--trace", "t/trace.json"]
    done = subprocess.run(
        [sys.executable, "-m", "interleave_rt", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["outcome"] == "finished"
    numbers = [step["step_number"] for step in document["steps"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 2
    for step in document["steps"]:
        assert (tmp_path / "out" / step["image"]).is_file()
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "t" / "trace.json").read_text())["traceEvents"]
    lines = done.stdout.splitlines()
    assert lines[0].startswith("plan  1: ")
    assert lines[-2].startswith("finished: ")
    assert "\x1b" not in done.stdout


def test_a_plan_that_was_cut_short_is_no_plain_success(command, copied):
    edit_pack(copied, lambda manifest: manifest["roles"]["planner"]["generation"].update(max_new_tokens=70))
    said = command("run", "Draw a snowman step by step", "--pack", copied, "--out", "out", "--t-max", "1")
    assert said.code == 9
    assert "cut short: steps are missing" in said.out
    result = json.loads((Path("out") / "result.json").read_text())
    assert result["plan_truncated"]
    assert result["outcome"] == "finished"


@pytest.mark.parametrize(
    ("accept", "t_max", "code", "outcome"),
    [(0, 2, 11, "never_accepted"), (0, 1, 0, "not_judged"), (1, 2, 0, "accepted")],
)
def test_what_the_critic_thought_of_a_step_is_told(accept, t_max, code, outcome, command):
    roles = ["--planner", "scripted", "--generator", "scripted", "--critic", f"scripted,accept_prob={accept}"]
    said = command("run", "x", *roles, "--t-max", t_max)
    words = outcome.replace("_", " ")
    assert said.code == code
    assert said.out.count(f"({words}, {t_max if accept == 0 else 1} made)") == 3
    assert (f"3 steps {words}" in said.out) == (outcome != "accepted")
    steps = json.loads((Path("out") / "result.json").read_text())["steps"]
    assert [step["outcome"] for step in steps] == [outcome] * 3
    assert f"{words}</span>" in (Path("out") / "report.html").read_text()


def test_a_prompt_that_is_longer_than_the_generator_reads_is_told(command):
    roles = ["--planner", "scripted,min_steps=1,max_steps=1", "--critic", "scripted,accept_prob=1"]
    said = command("run", "a very small circle " * 20, *roles)
    assert (said.code, said.err) == (0, "")
    assert "(too long for the generator: its end was not read)" in said.out
    assert "1 picture made, 1 prompt too long for the generator" in said.out
    (step,) = json.loads((Path("out") / "result.json").read_text())["steps"]
    assert step["attempts"][0]["prompt_cut"] is True
    assert "too long: its end was not read" in (Path("out") / "report.html").read_text()


def test_a_declined_request_is_no_success(command):
    said = command("run", "Draw a violin")
    assert said.code == 10
    assert "declined: the planner answered" in said.out
    result = json.loads((Path("out") / "result.json").read_text())
    assert (result["outcome"], result["error"]) == ("declined", None)
    assert [step["outcome"] for step in result["steps"]] == ["text"]
    assert "The planner declined" in (Path("out") / "report.html").read_text()


def test_json_is_one_object_with_the_promised_fields(command, tmp_path):
    code, said, heard = command("run", "Draw a house", "--json", "--out", "here")
    assert (code, heard, len(said.splitlines())) == (0, "", 1)
    document = json.loads(said)
    assert {"steps", "timings", "speculation", "outcome"} <= set(document)
    step = document["steps"][0]
    assert {"step_number", "text", "image", "accepted", "attempts"} <= set(step)
    assert (tmp_path / step["image"]).is_file()


def test_a_deadline_keeps_what_was_committed(command, tmp_path):
    code, said, heard = command("run", "Draw a snowman", "--deadline", "0.001", "--json")
    assert code == 6
    document = json.loads(said)
    assert (document["outcome"], document["error"]["code"]) == ("deadline", "deadline")
    assert "error: " in heard
    assert (tmp_path / "out" / "report.html").is_file()


PHOTO = r"""
import json, pathlib, re, sys
from interleave_rt.cli import main
code = main(["run", "add a red circle in the middle", "--image", sys.argv[1], "--t-max", "1", "--json"])
# Not ru_maxrss, in which the process that started this one counts too.
print(int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024)
sys.exit(code)
"""


def test_a_photo_is_scaled_to_the_packs_limits_in_little_memory(tmp_path):
    Image.new("RGB", (4000, 3000), (240, 240, 240)).save(tmp_path / "photo.png", compress_level=1)
    *_, said, memory_mb = python(PHOTO, "photo.png", cwd=tmp_path).splitlines()
    with Image.open(tmp_path / json.loads(said)["steps"][-1]["image"]) as made:
        assert made.size == (128, 96)
    assert int(memory_mb) < 400


GONE = """
import os, sys
from interleave_rt import cli, engine
from interleave_rt.backends.scripted import Script, ScriptedBackend
engine.Engine.load = lambda *a, **k: engine.Engine(ScriptedBackend(Script(min_steps=3, max_steps=3)))
if sys.argv[1] == "closed":
    os.close(1)
sys.argv[1:] = ["run", "☃ Draw"]
cli.command()
"""


@pytest.mark.parametrize(("out", "code"), [("reader gone", 0), ("full", 1), ("ascii", 0), ("closed", 1)])
def test_a_result_is_saved_whatever_becomes_of_the_output(out, code, tmp_path):
    environment = os.environ | ({"PYTHONIOENCODING": "ascii"} if out == "ascii" else {})
    read, write = os.pipe()
    if out == "full":
        write = os.open("/dev/full", os.O_WRONLY)
    if out != "ascii":
        os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", GONE, out],
        cwd=tmp_path,
        env=environment,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert ("No space left" in done.stderr) == (out == "full")
    assert len(json.loads((tmp_path / "out" / "result.json").read_text())["steps"]) == 3


def test_the_table_keeps_its_words_in_sixty_columns():
    made = io.StringIO()
    display = LiveDisplay(Console(file=made, width=60, force_terminal=True, color_system=None))
    step = PlanStep(1, "s", "Draw a robot with \x1b[31mred arms.", "p")
    display.show(PlanStepEvent(0, step))
    for attempt in range(1, 5):
        display.show(AttemptImageEvent(0, Attempt(attempt, "p", 1, 1, None, None)))
        display.show(
            VerdictEvent(0, attempt, Verdict(False, 0.0, "q", "the arms are blue, and much is wrong besides"))
        )
    display.show(StepCommittedEvent(0, Step(step, (), np.zeros((1, 1, 3), np.uint8), None)))
    Console(file=made, width=60, color_system=None).print(display._table())
    lines = made.getvalue().splitlines()
    assert all(width(line) <= 60 for line in lines)
    said = " ".join(" ".join(line.split()) for line in lines)
    assert "Draw a robot with" in said
    assert "the arms are blue, and much is wrong besides" in said
    assert "\x1b" not in said


SLOW = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have switched it off
from interleave_rt import cli, engine
from interleave_rt.backends.scripted import Script, ScriptedBackend
script = Script(generator_ms=150, critic_ms=150, min_steps=8, max_steps=8)
engine.Engine.load = lambda *a, **k: engine.Engine(ScriptedBackend(script))
sys.exit(cli.main(["run", "x", "--speculation", "off"]))
"""


def test_ctrl_c_saves_what_was_committed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    next(line for line in process.stdout if line.startswith("step "))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted: " in errors
    assert "saved in out" in errors
    assert "Traceback" not in errors
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["outcome"] == "cancelled"
    assert 1 <= len(document["steps"]) < 8


@pytest.mark.parametrize(
    ("given", "text", "listed"),
    [
        (["Draw a house.", "Draw ☃."], "Draw a house.\nDraw ☃.\n", ["Draw a house.", "Draw ☃."]),
        (None, "The pack 'shapes' names no examples.\n", []),
    ],
)
def test_examples_are_listed_without_models(given, text, listed, command, tmp_path):
    manifest = json.loads((EMBEDDED / "pack.json").read_text(encoding="utf-8"))
    del manifest["examples"]
    (tmp_path / "pack.json").write_text(json.dumps(manifest | ({"examples": given} if given else {})))
    assert command("examples", "--pack", ".") == (0, text, "")
    code, said, heard = command("examples", "--pack", ".", "--json")
    assert (code, json.loads(said), heard) == (0, {"pack": "shapes", "examples": listed}, "")


def test_nothing_that_a_pack_says_reaches_the_terminal_raw(copied, command):
    nasty = "e\x1b]0;owned\x07\x9b31m"
    edit_pack(copied, lambda manifest: manifest.update(name=nasty, description=nasty, examples=[nasty]))
    bench = "bench --num-requests 1 --warmup 0 --arms speculative --threads 1+1 --t-max 1"
    for asked in ("examples", "pack show", bench):
        flag = () if asked == "pack show" else ("--pack",)
        said = command(*asked.split(), *flag, copied)
        assert said.code == 0, said
        assert "owned" in said.out
        assert not set(said.out + said.err) & set("\x1b\x07\x9b"), said


def test_examples_of_a_bad_pack_are_an_error(copied, command):
    edit_pack(copied, lambda manifest: manifest.update(examples=[""]))
    code, said, _ = command("examples", "--pack", copied, "--json")
    error = json.loads(said)["error"]
    assert (code, error["code"]) == (3, "bad_pack")
    assert "examples.0" in error["message"]
    assert "must not be empty" in error["message"]


# ---- train


@pytest.fixture
def trained(monkeypatch):
    """What the training is called with; nothing is trained."""
    found = []
    monkeypatch.setattr(verb, "check_packages", lambda *_, **__: None)
    monkeypatch.setattr(training, "train_parts", lambda *a, **k: found.append((a, k)))
    return found


@pytest.mark.parametrize("package", ["torch", "transformers", "diffusers", "safetensors"])
def test_a_missing_package_names_the_extra(package, monkeypatch, command, tmp_path):
    for name in ("torch", "transformers", "diffusers", "safetensors"):
        monkeypatch.setitem(sys.modules, name, pytest)  # anything that is installed
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(training, "train_parts", lambda *a, **k: pytest.fail("trained"))
    complains(
        command("train", "shapes", "--out", "out"),
        2,
        f'error: {package} is not installed\nhint:  pip install "interleave-rt[train]"\n',
    )
    assert not (tmp_path / "out").exists()


def test_options_reach_the_training(trained, command):
    given = (
        "--part vae --out here --resume --seed 3 --iterations 5 --minutes 0.5 --anneal --every 2 --threads 2"
    )
    whole = "--jobs 2 --scale 0.05"
    for options in ("", given, whole):
        assert command("train", "shapes", *options.split()).code == 0
    defaults = {
        "seed": 0,
        "resume": False,
        "iterations": None,
        "minutes": None,
        "threads": 1,
        "start_from": None,
        "device": "cpu",
        "workers": 0,
        "batch": None,
        "every": None,
        "anneal": False,
        "scale": 1.0,
        "jobs": 1,
    }
    assert trained == [
        (("all", Path("runs/shapes")), defaults),
        (
            ("vae", Path("here")),
            defaults
            | {
                "seed": 3,
                "resume": True,
                "iterations": 5,
                "minutes": 0.5,
                "threads": 2,
                "every": 2,
                "anneal": True,
            },
        ),
        (("all", Path("runs/shapes")), defaults | {"jobs": 2, "scale": 0.05}),
    ]
    assert (*training.PARTS, "all") == verb._PARTS


def test_saved_weights_to_go_on_from(trained, command, tmp_path):
    """A critic that starts from another needs no base; what cannot start from weights says so."""
    (tmp_path / "here" / "tokenizer").mkdir(parents=True)
    (tmp_path / "here" / "attempts.pkl").touch()
    (tmp_path / "old").mkdir()
    ask = ("train", "shapes", "--out", "here", "--part")
    assert command(*ask, "critic", "--start-from", "old").code == 0
    assert trained[0][1]["start_from"] == Path("old")
    for part, start, said in (
        ("vae", "old", "--start-from goes with --part generator, critic, planner; --part is vae"),
        ("critic", "none", "none is no folder of saved weights"),
    ):
        code, _, heard = command(*ask, part, "--start-from", start)
        assert code == 2
        assert said in heard
    assert len(trained) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "--part vae --device cuda",
            "--device goes with --part generator, base, critic, planner; --part is vae",
        ),
        (
            "--part generator --workers 2",
            "--workers goes with --part base, critic, planner; --part is generator",
        ),
        ("--part vae --batch 8", "--batch goes with --part base, critic, planner; --part is vae"),
        ("--device tpu", "--device is tpu: this torch"),
        ("--device cuda:99", "--device is cuda:99: this torch"),
        ("--workers -1", "--workers is -1: 0 or more are wanted"),
        ("--batch 0", "--batch is 0: at least 1 is wanted"),
        ("--every 0", "--every is 0: at least 1 is wanted"),
        ("--anneal", "--anneal needs --minutes"),
        ("--jobs 0", "--jobs is 0: at least 1 is wanted"),
        ("--part vae --jobs 2", "--jobs goes with all parts; --part is vae"),
        ("--scale 0", "--scale is 0"),
    ],
)
def test_what_a_device_and_its_workers_go_with(trained, command, given, said):
    if "this torch" in said:
        pytest.importorskip("torch")
    code, _, heard = command("train", "shapes", *given.split())
    assert code == 2
    assert said in heard
    assert trained == []


def test_old_names_of_parts_and_their_folders_are_known(trained, command, tmp_path):
    for folder in ("tokenizer", "eyes", "generator"):
        (tmp_path / "here" / folder).mkdir(parents=True)
    for part in ("eyes", "pool", "base"):
        assert command("train", "shapes", "--part", part, "--out", "here").code == 0
    assert [arguments[0] for arguments, _ in trained] == ["vision", "attempts", "base"]
    assert training._folder(tmp_path / "here", "vision") == tmp_path / "here" / "eyes"
    assert training._folder(tmp_path / "here", "critic") == tmp_path / "here" / "critic"
    assert training.OLD_NAMES == verb._OLD_NAMES


def test_ctrl_c_says_how_to_go_on(trained, monkeypatch, command):
    def interrupted(*_, **__):
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(training, "train_parts", interrupted)
    code, _, heard = command("train", "shapes")
    assert code == 130
    assert "--resume" in heard
