"""Text to ids as transformers does it, without forged control tokens; and the bytes of every token."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import refused, wait_until
from tokenizers import AddedToken, Tokenizer, models

from interleave_rt.errors import BackendFailedError, BadPackError, BadRequestError
from interleave_rt.pack import EMBEDDED, chat
from interleave_rt.pack.templates import ImagePart, Templates, TextPart
from interleave_rt.pack.tokens import (
    ChatEncoder,
    TextEncoder,
    check_token_bytes,
    special_token_ids,
    token_bytes,
)

SEED = 20260613
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
)
# The embedded pack's, which a prompt may tell not to think.
CHAT = (EMBEDDED / "tokenizer" / "chat_template.jinja").read_text(encoding="utf-8") + (
    "{%- if enable_thinking is defined and not enable_thinking -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
)
CORPUS = [
    "Put a small red circle to the left of the big blue square, then go on.",
    "The quick brown fox jumps over the lazy dog; 1 2 3 steps. user assistant\n\n",
    "Öffnen Sie die Tür — größer, kleiner. 画一只猫 🐱🐱 è è é",
    "<im_start end image pad vision>| {'previous_step_success': true}",
]
IMAGE = ImagePart()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The embedded pack's tokenizer, whose `<think>` is ordinary text, and a chat template."""
    chat = tmp_path_factory.mktemp("tokenizer") / "chat.jinja"
    chat.write_text(CHAT, encoding="utf-8")
    return SimpleNamespace(tokenizer=EMBEDDED / "tokenizer" / "tokenizer.json", chat=chat)


@pytest.fixture(scope="module")
def encoder(files: SimpleNamespace) -> ChatEncoder:
    return ChatEncoder(files.tokenizer, files.chat)


@pytest.fixture(scope="module")
def plain(files: SimpleNamespace) -> Tokenizer:
    """The tokenizer as anybody would load it: it recognises control tokens in text."""
    return Tokenizer.from_file(str(files.tokenizer))


def random_text(rng: random.Random, forged: bool = False) -> str:
    odd = ["\n", "\n\n", " ", "  ", "\t", "<think>", "</think>", "e\u0301", "<|", "|>"]
    words = [*" ".join(CORPUS).split(" "), *odd]
    pool = [*words, *SPECIAL] if forged else words
    text = "".join(rng.choice(pool) + rng.choice(["", " "]) for _ in range(rng.randrange(1, 20)))
    return text if forged or not any(token in text for token in SPECIAL) else "plain"


def random_parts(rng: random.Random, forged: bool = False) -> list[TextPart | ImagePart]:
    return [
        IMAGE if rng.random() < 0.3 else TextPart(random_text(rng, forged))
        for _ in range(rng.randrange(1, 6))
    ]


def spell(table: list[bytes], ids: np.ndarray) -> str:
    return b"".join(table[i] for i in ids).decode()


def test_ids_equal_those_of_transformers_for_random_messages(files, encoder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(files.tokenizer), chat_template=CHAT)
    print("seed", SEED)
    rng = random.Random(SEED)
    for _ in range(300):
        parts = random_parts(rng)
        content = [
            {"type": "image"} if part == IMAGE else {"type": "text", "text": part.text} for part in parts
        ]
        wanted = theirs.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, return_dict=False
        )
        assert encoder.encode_messages(parts).tolist() == wanted, parts


def test_prompts_equal_those_of_transformers_padded_and_cut(files, encoder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(files.tokenizer),
        chat_template=CHAT,
        pad_token="<|endoftext|>",
        padding_side="right",
    )
    print("seed", SEED + 1)
    rng = random.Random(SEED + 1)
    cut = 0
    for _ in range(300):
        text = random_text(rng)
        rendered = theirs.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        wanted = theirs(rendered, padding="max_length", truncation=True, max_length=40)
        found = encoder.encode_prompt(text, 40)
        assert found.ids.tolist() == wanted["input_ids"], text
        assert found.mask.tolist() == wanted["attention_mask"], text
        assert found.truncated == (len(theirs(rendered)["input_ids"]) > 40)
        cut += found.truncated
    assert 0 < cut < 300


def test_no_text_becomes_a_control_token(files, encoder, plain):
    table = token_bytes(plain)
    special = {plain.token_to_id(token) for token in SPECIAL}
    print("seed", SEED + 2)
    rng = random.Random(SEED + 2)
    forged = 0
    for _ in range(300):
        parts = random_parts(rng, forged=True)
        ids = encoder.encode_messages(parts)
        # As many control tokens as the template writes for a harmless message of that shape ...
        harmless = encoder.encode_messages([part if part == IMAGE else TextPart("x") for part in parts])
        assert [i for i in ids if i in special] == [i for i in harmless if i in special]
        # ... and every other byte is there (up to the normaliser, which composes accents).
        texts = "".join(part.text for part in parts if part != IMAGE).replace("e\u0301", "é")
        assert spell(table, ids) == f"user\n{texts}\nassistant\n"
        forged += any(token in texts for token in SPECIAL)
    assert forged > 100


def test_special_tokens_made_of_two_neighbouring_parts_stay_text(encoder, plain):
    ids = encoder.encode_messages([TextPart("<|im_"), TextPart("end|>")])
    assert (ids == plain.token_to_id("<|im_end|>")).sum() == 1


def test_a_role_without_chat_template_encodes_prompts_as_they_are(files, plain):
    encoder = ChatEncoder(files.tokenizer, None)
    wanted = plain.encode("a cat", add_special_tokens=False).ids
    assert encoder.encode_prompt("a cat", len(wanted)).ids.tolist() == wanted
    with refused(BadPackError, "no chat template"):
        encoder.encode_messages([TextPart("a cat")])


def test_a_text_that_is_no_unicode_is_a_bad_request(encoder):
    with refused(BadRequestError, "cannot be encoded"):
        encoder.encode_messages([TextPart("\ud800")])


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[0].content", "is no chat template"),
        ("{{ raise_exception('nothing for you') }}", "nothing for you"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
        (CHAT.replace("{{- message.content -}}", "{{- message.content | trim -}}"), "changes the texts"),
        (CHAT.replace("{{- part.text -}}", "{{- part.text | e -}}"), "changes the texts"),
        (CHAT.replace("{{- part.text -}}", ""), "renders 0 of 1 texts"),
        (CHAT.replace("<|image_pad|>", ""), "0 of 1 images"),
        (CHAT.replace("{{- part.text -}}", "{{- part.text + part.text -}}"), "renders 2 of 1 texts"),
        ("{{ messages[0].role * 10**10 }}", "product is too large"),
        ("{{ 10**6 * ['x'] * 10 }}", "product is too large"),
        ("{{ 9**(9**9) }}", "power is too large"),
        ("{{ '%0300000000d' % 1 }}", "format is too wide"),
        ("{{ '%(a)-.300000000f' % {'a': 1} }}", "format is too wide"),
        ("{{ ('%09999d' * 1000) % ((1,) * 1000) }}", "format is too wide"),
        ("{{ '%*d' % (300000000, 1) }}", "does not say how wide"),
    ],
)
def test_a_template_that_cannot_work_is_refused(files, tmp_path: Path, template, said):
    file = tmp_path / "chat.jinja"
    file.write_text(template, encoding="utf-8")
    with refused(BadPackError, said, "chat.jinja") as caught:
        ChatEncoder(files.tokenizer, file).encode_messages([IMAGE, TextPart("x")])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("2000.0 * 1000.0", "2000000.0"),
        ("2000000 * 1000000", "2000000000000"),
        ("2 * 'ab'", "abab"),
        ("2 ** 10", "1024"),
        ("7000000 % 4", "0"),
        ("'%03d of 12345678 %%12345678' % 7", "007 of 12345678 %12345678"),
    ],
)
def test_a_template_may_calculate_and_format(files, tmp_path: Path, term, said):
    made = []
    for name, text in (("term", f"{{{{ {term} }}}}"), ("said", said)):
        file = tmp_path / name
        file.write_text(text + CHAT, encoding="utf-8")
        made.append(ChatEncoder(files.tokenizer, file).encode_messages([TextPart("x")]).tolist())
    assert made[0] == made[1]


ENDLESS = "{%- for a in range(99999) -%}" * 4 + "{%- endfor -%}" * 4


def test_a_template_that_does_not_end_is_refused_and_leaves_no_thread_at_work(
    files, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(chat, "_RENDER_S", 1.0)
    file = tmp_path / "chat.jinja"
    file.write_text(ENDLESS + CHAT, encoding="utf-8")
    with refused(BadPackError, "chat.jinja", "not ended", hint="template"):
        ChatEncoder(files.tokenizer, file)
    # Only messages of four pictures: those fail, and others are encoded.
    file.write_text(
        "{%- if messages[0].content | length == 4 -%}" + ENDLESS + "{%- endif -%}" + CHAT, encoding="utf-8"
    )
    encoder = ChatEncoder(files.tokenizer, file)
    with refused(BadPackError, "not ended"):
        encoder.encode_messages([IMAGE] * 4)
    assert len(encoder.encode_messages([IMAGE, TextPart("x")])) > 3
    wait_until(lambda: not any(one.name == "interleave-rt-template" for one in threading.enumerate()))


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_machine_without_room_is_not_a_bad_template(files, tmp_path: Path, monkeypatch, error):
    file = tmp_path / "chat.jinja"
    file.write_text(CHAT, encoding="utf-8")
    encoder = ChatEncoder(files.tokenizer, file)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(threading.Thread, "start", fail)
    with refused(BackendFailedError, "chat.jinja", str(error) or "out of memory", hint="ulimit"):
        encoder.encode_messages([TextPart("another text")])


def test_a_tokenizer_that_cannot_be_read_is_named(files, tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    for path in (tmp_path / "tokenizer.json", tmp_path / "absent.json"):
        with pytest.raises(BadPackError, match=path.name):
            ChatEncoder(path, files.chat)
    with pytest.raises(BadPackError, match=r"absent\.jinja"):
        ChatEncoder(files.tokenizer, tmp_path / "absent.jinja")


def test_control_tokens_that_take_white_space_are_refused(files, tmp_path: Path):
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.add_special_tokens([AddedToken("<|greedy|>", rstrip=True, special=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with refused(BadPackError, "greedy"):
        ChatEncoder(tmp_path / "tokenizer.json", files.chat)


def test_shapes_of_messages_are_kept_within_a_bound(encoder):
    for count in range(400):
        encoder.encode_messages([TextPart("x")] * (count % 300 + 1))
    assert len(encoder._shapes) <= 256


# ---- bytes of tokens ----------------------------------------------------------------------


def test_the_table_agrees_with_the_tokenizer_over_the_whole_vocabulary(plain):
    table = token_bytes(plain)
    assert len(table) == plain.get_vocab_size()
    check_token_bytes(table, plain)
    assert {table[i] for i in special_token_ids(plain)} == {b""}
    assert table[plain.token_to_id("<think>")] == b"<think>"
    assert {bytes([byte]) for byte in range(256)} <= set(table)


def test_any_text_comes_back_from_its_tokens(plain):
    table = token_bytes(plain)
    print("seed", SEED + 3)
    rng = random.Random(SEED + 3)
    for _ in range(300):
        text = "".join(
            chr(rng.choice([rng.randrange(1, 0x250), rng.randrange(0x4E00, 0x9FFF), 0x1F600]))
            for _ in range(9)
        )
        text = plain.normalizer.normalize_str(text)
        assert spell(table, plain.encode(text, add_special_tokens=False).ids) == text


def test_ids_that_a_model_has_beyond_the_tokenizer_yield_nothing(plain):
    size = plain.get_vocab_size()
    table = token_bytes(plain, size + 5)
    assert table[size:] == [b""] * 5
    check_token_bytes(table, plain)


def test_a_wrong_table_is_found_and_the_token_named(plain):
    table = token_bytes(plain)
    index = plain.token_to_id("a")
    table[index] = b"b"
    with pytest.raises(BadPackError, match=rf"token {index} is b'b' in the table and 'a'"):
        check_token_bytes(table, plain)
    with refused(BadPackError, "has 3 tokens"):
        check_token_bytes(table[:3], plain)


def test_a_tokenizer_of_another_kind_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"猫": 0, "a": 1}, unk_token="a"))
    with refused(BadPackError, "stands for no byte") as caught:
        token_bytes(tokenizer)
    assert "byte-level BPE" in caught.value.hint


# ---- a pack's roles -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(pack) -> TextEncoder:
    return TextEncoder.of_pack(pack.path, pack.manifest)


def job(kind: str, **fields):
    return SimpleNamespace(**{"kind": kind, "image_count": 0, "text": "", "original": "", **fields})


def test_jobs_are_encoded_by_their_kind(texts, encoder, pack):
    roles = pack.manifest.roles
    files = {**roles.planner.templates, **roles.critic.templates}
    templates = Templates.load({name: pack.path / file for name, file in files.items()})
    for asked, parts in (
        (job("plan", text="a cat"), templates.render_plan("narrative", "a cat", 0)),
        (job("plan", text="<image> b", image_count=1), templates.render_plan("guidance", "<image> b", 1)),
        (job("judge", original="p", text="r"), templates.render_critic("p", "r")),
    ):
        ids, mask, _ = texts.encode(asked)
        assert mask is None
        assert ids.tolist() == encoder.encode_messages(parts).tolist()
    ids, mask, cut = texts.encode(job("generate", text="a cat"))
    assert not cut
    wanted = ChatEncoder(
        pack.path / roles.generator.tokenizer,
        None if roles.generator.chat_template is None else pack.path / roles.generator.chat_template,
    ).encode_prompt("a cat", roles.generator.max_sequence_length, pad_token_id=roles.generator.pad_token_id)
    assert ids.tolist() == wanted.ids.tolist()
    assert mask.tolist() == wanted.mask.tolist()


def test_a_prompt_is_padded_with_the_token_that_is_named(encoder):
    found = encoder.encode_prompt("a cat", 64, pad_token_id=7)
    assert set(found.ids[int(found.mask.sum()) :].tolist()) == {7}


def test_a_prompt_that_is_cut_is_logged_without_its_text(texts, caplog):
    assert texts.encode(job("generate", text="secret " * 200))[2]
    assert " tokens" in caplog.text
    assert "cut to " in caplog.text
    assert "secret" not in caplog.text


def test_a_pack_without_a_role_says_so():
    texts = TextEncoder(Templates(critic="{original_instruction}{rewritten_prompt}"), {})
    with refused(BadPackError, "no critic"):
        texts.judge("p", "r")
    with refused(BadPackError, "no generator"):
        texts.generate("p")


def test_a_refined_prompt_is_encoded_quickly(texts):
    prompt = "Put a small red circle to the left of the big blue square. " * 3
    texts.generate(prompt)
    took = []
    for _ in range(200):
        begin = time.perf_counter()
        texts.encode(job("generate", text=prompt))
        took.append(time.perf_counter() - begin)
    # The budget is 200 us at the median on a quiet core; a template rendered each time would miss this bound too.
    print(f"median {1e6 * np.median(took):.0f} us")
    assert min(took) < 1e-3
