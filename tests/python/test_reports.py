"""What is written of a result: the page, the story, the folder, the trace."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from interleave_rt import DeadlineError, Options
from interleave_rt.pack.images import load_image
from interleave_rt.reports import chrome_trace, save_result, save_trace
from interleave_rt.reports import page as report_page
from interleave_rt.reports.page import render_page
from interleave_rt.reports.story import render_story
from interleave_rt.reports.timeline import LEFT, WIDTH, make_timeline
from interleave_rt.reports.trace import explain
from interleave_rt.result import Result
from interleave_rt.shown import width
from interleave_rt.wire import Attempt, Decision, PlanStep, Span, Speculation, Step, Timings, Verdict
from interleave_rt.worlds.shapes.evaluation import page as evaluation_page

NASTY = '<script>alert(1)</script> "quoted" & {{ 7*7 }}'


def picture(value: int, size: int = 8) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


def span(kind: str, start: int, end: int, **changes) -> Span:
    role = {"plan": "planner", "generate": "generator", "judge": "critic"}[kind]
    values = {
        "lane": role, "role": role, "kind": kind, "step": 0, "attempt": 1, "retry": 0, "speculative": False,
        "queued_us": start, "started_us": start, "ended_us": end, "outcome": "done", "used": True,
    }  # fmt: skip
    return Span(**{**values, **changes})


@pytest.fixture
def result() -> Result:
    final = picture(200)
    refused = Attempt(1, NASTY, 1, 11, picture(90), Verdict(False, 0.125, "a better prompt", "why"))
    kept = Attempt(2, "a better prompt", 2, 12, final, Verdict(True, 0.875))
    steps = (
        Step(PlanStep(1, "hat", NASTY, NASTY), (refused, kept), final, True),
        Step(PlanStep(2, "words", "Only words.")),
        Step(
            PlanStep(3, "end", "Last.", "draw"),
            (Attempt(1, "draw", 3, 13, last := picture(9), None),),
            last,
            None,
        ),
    )
    trace = (
        span("plan", 0, 10_000),
        span("generate", 5_000, 20_000),
        span("judge", 20_000, 30_000),
        span("generate", 20_000, 28_000, step=1, speculative=True, used=False, outcome="cancelled"),
        span("judge", 25_000, 29_000, step=2, speculative=True),
    )
    return Result(
        NASTY, Options(seed=7), steps, "finished", tuple(step.plan for step in steps),
        timings=Timings(0.5, 0.01, 0.02), speculation=Speculation("auto", 2, 1, 1, 0.008), trace=trace,
        inputs=(picture(3),), pack={"name": "shapes", "version": "1", "lossless": "bitwise", "path": "/secret/place"},
    )  # fmt: skip


class Page(HTMLParser):
    void = {"meta", "img", "rect", "line", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.words = ""
        self.feed(text)
        assert self.open == [], "unclosed tags"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_the_page_is_complete_and_loads_nothing(result):
    text = render_page(result)
    page = Page(text)
    assert {"script", "link", "iframe", "object", "audio", "video"}.isdisjoint(tag for tag, _ in page.tags)
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert len(sources) == 2 + 3 + 1  # two final images, every attempt, the input
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|#)[a-z/]""", text)
    assert "http://" not in text.replace("http-equiv", "")
    assert "https://" not in text


def test_what_models_say_is_text_and_never_markup(result):
    text = render_page(result)
    assert "<script" not in text
    assert NASTY in Page(text).words
    assert "49" not in Page(text).words


def test_the_page_shows_every_attempt_with_its_verdict(result):
    page = Page(render_page(result))
    shown = "refused|0.125|0.875|a better prompt|Only words.|not judged|bit for bit|Last.|discarded"
    assert [needle for needle in shown.split("|") if needle not in page.words] == []
    classes = [attrs.get("class", "") for tag, attrs in page.tags if tag == "g"]
    assert sum("lost" in name for name in classes) == 1
    assert sum("ahead" in name for name in classes) == 2


def refusals(count: int) -> Step:
    """A step whose tries were all refused but the last, which nobody judged."""
    plan = PlanStep(4, "arm", "Add the arm.", "draw an arm")
    prompts = ["draw an arm", "draw a red arm", "draw an arm", "draw an arm", "draw an arm", "draw an arm"]
    attempts = [
        Attempt(n, prompts[n - 1], n, n, picture(n), Verdict(False, 0.1, prompts[n], f"wrong {n}"))
        for n in range(1, count + 1)
    ]
    last = Attempt(count + 1, prompts[count], 9, 9, picture(9))
    return Step(plan, (*attempts, last), last.pixels, None)


def test_a_step_that_was_never_accepted_wears_a_warning_everywhere(result):
    told = replace(result, steps=(refusals(4),))
    page = Page(render_page(told))
    assert sum(attrs.get("class") == "badge warn" for tag, attrs in page.tags if tag == "span") == 2
    assert [reason for n in range(1, 5) if (reason := f"wrong {n}") not in page.words] == []
    story = ET.fromstring(render_story(told))
    words = [one.text for one in story.iter("{http://www.w3.org/2000/svg}text")]
    assert {"never accepted", "+1", "4. Add the arm."} <= set(words)
    assert "dasharray" in render_story(told)
    assert "dasharray" not in render_story(result)


def test_a_prompt_is_called_what_it_is(result):
    words = Page(render_page(replace(result, steps=(refusals(3),)))).words
    assert words.count("prompt of the plan") == 1
    assert words.count("prompt as the critic rewrote it") == 3
    assert words.count("word for word the plan's") == 2
    unread = replace(refusals(1).attempts[0], verdict=Verdict(False, 0.1), refused_unreadable=True)
    step = replace(refusals(1), attempts=(unread, refusals(1).attempts[1]))
    assert "the same prompt once more" in Page(render_page(replace(result, steps=(step,)))).words


def test_a_declined_request_has_no_empty_headings(result):
    step = Step(PlanStep(1, "answer", "I cannot draw that."))
    page = Page(render_page(replace(result, steps=(step,), outcome="declined", trace=())))
    for word in ("Every attempt", "The sequence", "first picture", "not judged"):
        assert word not in page.words
    assert "The planner declined" in page.words


def test_numbers_are_those_of_the_plan_and_of_the_files(result, tmp_path):
    step = refusals(1)
    trace = (span("generate", 0, 10_000), span("judge", 10_000, 20_000))
    told = replace(result, steps=(step,), plan=(step.plan,), trace=trace)
    page = Page(render_page(told))
    assert [bar["text"] for bar in make_timeline(trace, told.plan)["bars"]] == ["4.1", "4.1"]
    assert "generate: step 4, attempt 1" in page.words
    assert {event["name"] for event in chrome_trace(told)["traceEvents"]} >= {"judge step 4, attempt 1"}
    assert (save_result(told, tmp_path) / "step-4.png").is_file()


def test_a_label_stands_in_its_bar_or_behind_it(result):
    short = (
        span("judge", 0, 1_000),
        span("judge", 2_000, 3_000, step=1),
        span("judge", 500_000, 1_000_000, step=2),
    )
    bars = make_timeline(short, result.plan)["bars"]
    assert [(bar["text"], bar["inside"]) for bar in bars] == [("", False), ("2.1", False), ("3.1", True)]


def luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


PAGES = {
    "report": Path(report_page.__file__).parent / "report.html.j2",
    "evaluation": Path(evaluation_page.__file__).parent / "page.html.j2",
}
ON = {
    "report": {
        **dict.fromkeys(("ink", "soft"), ("paper", "card", "well", "warn-bg", "no-bg", "none-bg")),
        **{name: (f"{name}-bg", "card") for name in ("yes", "no", "warn")},
        "bar-ink": ("planner", "generator", "critic"),
    },
    "evaluation": {"ink": ("paper", "card"), "soft": ("paper", "card", "well"), "yes": ("yes-bg",), "no": ("no-bg",)},
}  # fmt: skip


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_every_text_can_be_read_on_its_ground(name, mode):
    block = PAGES[name].read_text(encoding="utf-8").split(":root {")[1 + mode].split("}")[0]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    found = {
        (ink, on): contrast(colours[ink], colours[on]) for ink, grounds in ON[name].items() for on in grounds
    }
    assert {pair: round(value, 2) for pair, value in found.items() if value < 4.5} == {}


def test_the_words_of_a_story_can_be_read_light_and_dark(result):
    style = ET.fromstring(render_story(result)).findtext("{http://www.w3.org/2000/svg}style")
    for sheet in style.split("@media"):
        fills = dict(re.findall(r"\.([\w]+)\{fill:(#[0-9a-f]{6})\}", sheet))
        assert {
            name for name in fills if name != "paper" and contrast(fills[name], fills["paper"]) < 4.5
        } == set()
        assert {"title", "words", "no", "warn"} <= fills.keys()


def test_an_empty_result_has_a_page_too():
    error = DeadlineError("ran out of its 1 s; 0 steps committed", hint="allow more time")
    plan = (PlanStep(1, "a", "Draw it.", "p"),)
    words = Page(render_page(Result("q", Options(), (), "deadline", plan, error=error))).words
    for needle in ("ran out of its 1 s", "allow more time", "Draw it.", "Nothing was committed"):
        assert needle in words


def test_the_timeline_keeps_overlapping_calls_apart_and_inside(result):
    timeline = make_timeline(result.trace, result.plan)
    for bar in timeline["bars"]:
        assert bar["x"] >= LEFT
        assert bar["x"] + bar["width"] <= WIDTH + 1
        assert bar["y"] + bar["height"] < timeline["axis_y"]
    for i, a in enumerate(timeline["bars"]):
        for b in timeline["bars"][:i]:
            apart = (
                a["x"] + a["width"] <= b["x"] + 0.1
                or b["x"] + b["width"] <= a["x"] + 0.1
                or abs(a["y"] - b["y"]) >= a["height"]
            )
            assert apart, (a, b)
    assert [row["name"] for row in timeline["rows"]] == ["planner", "generator", "critic"]
    assert 3 <= len(timeline["ticks"]) <= 12
    assert make_timeline((), ()) is None


@pytest.mark.parametrize("end_ms", [1, 7, 99, 1000, 12345, 600_000])
def test_the_axis_has_a_few_round_marks(end_ms):
    ticks = make_timeline((span("plan", 0, end_ms * 1000),), ())["ticks"]
    assert 4 <= len(ticks) <= 12


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_files_of_a_result_and_nothing_of_one_before(result, tmp_path):
    folder = save_result(result, tmp_path / "a" / "b")
    written = ["report.html", "result.json", "step-1.png", "step-3.png", "story.svg"]
    assert files_in(folder) == ["attempts/step-1-1.png", *written]
    assert np.array_equal(load_image(folder / "step-1.png"), picture(200))
    text = (folder / "result.json").read_text()
    document = json.loads(text)
    assert "/secret/place" not in text + (folder / "report.html").read_text()
    first = document["steps"][0]
    assert (first["image"], first["accepted"], first["step_number"]) == ("step-1.png", True, 1)
    assert [attempt["image"] for attempt in first["attempts"]] == ["attempts/step-1-1.png", "step-1.png"]
    assert first["attempts"][0]["verdict"]["refine_prompt"] == "a better prompt"
    assert document["steps"][1]["image"] is None
    assert document["speculation"]["discarded"] == 1
    assert document["timings"]["total_s"] == 0.5
    (folder / "mine.png").write_bytes(b"keep")
    Result("q", Options(), (), "finished").save(folder)
    assert files_in(folder) == ["mine.png", "report.html", "result.json", "story.svg"]


@pytest.mark.parametrize("kind", ["story", "page"])
def test_control_characters_never_reach_a_page_raw(kind, result):
    nasty = "a \x1b[31mred\x00 \x9b ball\ufffe \u202e\ud800"
    plan = replace(result.steps[0].plan, instruction=nasty)
    told = replace(result, request=nasty, steps=(replace(result.steps[0], plan=plan),))
    text = render_story(told) if kind == "story" else render_page(told)
    assert not set(text) & set("\x1b\x00\x9b\ufffe\u202e\ud800")
    assert "\ufffd[31mred" in text
    if kind == "story":
        ET.fromstring(text)


def test_the_story_keeps_words_inside_their_card(result):
    wide = (
        "把一只戴着红色帽子的小猫放在画面左边的桌子上面然后再画一个很大的蓝色圆形和一个绿色方块以及许多别的东西"
        * 2
    )
    plan = replace(result.steps[0].plan, instruction=wide, auxiliary_text=None)
    drawn = ET.fromstring(render_story(replace(result, steps=(replace(result.steps[0], plan=plan),))))
    lines = [
        one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text") if one.get("font-size") == "12.5"
    ]
    assert len(lines) == 4
    assert all(width(line) <= 26 for line in lines)
    assert lines[-1].endswith("…")


def test_a_story_of_words_alone_has_no_empty_frame(result):
    declined = Step(PlanStep(1, "answer", "I cannot draw that. Try: a snowman, a house, a robot."))
    text = render_story(replace(result, steps=(declined,)))
    assert 'fill="none"' not in text
    assert "robot." in text
    assert "1." not in text
    flat = " ".join(ET.fromstring(text).itertext())
    assert NASTY in " ".join(flat.split())  # a title is wrapped, not cut


def test_the_critics_reason_is_on_the_page(result):
    refusal = replace(result.steps[0].attempts[0], verdict=Verdict(False, 0.1, "b", "the hat is missing"))
    told = replace(result, steps=(replace(result.steps[0], attempts=(refusal,)),))
    assert "the hat is missing" in Page(render_page(told)).words


def test_the_story_is_one_picture_that_loads_nothing(result):
    text = render_story(result)
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    drawn = {space + name for name in ("svg", "style", "rect", "text", "image")}
    assert {element.tag for element in root.iter()} <= drawn
    links = [element.get("href") for element in root.iter(space + "image")]
    assert len(links) == 3  # two final images and a refused try
    assert all(link.startswith("data:image/png;base64,") for link in links)
    ET.fromstring(render_story(Result("q", Options(), (), "failed")))


def test_the_trace_says_why_a_call_was_or_was_not_started_ahead(result):
    said = Decision(
        *(1500, "generator", 1, 1, False, "no expected gain"),
        p=0.25,
        gain_us=-2500.0,
        depth=1,
        beyond=1,
        undisturbed=1.0,
        others=0,
        critic_slowdown=1.5,
        generator_rate=None,
        verdict_us=4000.0,
        generate_us=6000.0,
    )
    told = replace(result, decisions=(said,))
    (event,) = [event for event in chrome_trace(told)["traceEvents"] if event["ph"] == "i"]
    assert event["ts"] == 1500
    assert event["args"] == said.as_dict()
    line = "generator, step 2: not started: no expected gain, gain -2.5 ms at p 0.25"
    blind = replace(said, started=True, reason="separate devices", verdict_us=None)
    assert explain(blind, result.plan) == (
        "generator, step 2: started: separate devices, how long a verdict takes is not known yet"
    )
    assert event["name"] == line
    assert f"1.5 ms: {line}" in render_page(told)
    assert "started ahead of a verdict" not in render_page(result)


def test_the_trace_opens_in_perfetto(result, tmp_path):
    path = save_trace(result, tmp_path / "t" / "trace.json")
    trace = json.loads(path.read_text())
    assert trace == json.loads(json.dumps(chrome_trace(result)))
    calls = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(calls) == len(result.trace)
    assert {event["cat"] for event in calls} == {"speculative", "committed"}
    assert all(event["dur"] >= 0 and isinstance(event["ts"], int) for event in calls)
    lanes = [event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"]
    assert lanes == ["planner", "generator", "critic"]
