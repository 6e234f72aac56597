#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "models/decoder.h"
#include "models/decoder_fixture.h"
#include "models/qwen3_vl.h"
#include "support/errors.h"

using namespace irt;
using namespace irt::testing;
using irt::ErrorCode;

namespace {

struct Reference {
  Prompt prompt;
  std::vector<std::int64_t> answer;
};

std::vector<Reference> references() {
  std::vector<Reference> result;
  std::ifstream file(graph_path("decoder_reference.txt"));
  for (std::string line; std::getline(file, line);) {
    std::istringstream in(line);
    std::size_t count = 0;
    const auto list = [&](std::size_t width) {
      in >> count;
      std::vector<std::int64_t> numbers(count * width);
      for (std::int64_t& number : numbers) in >> number;
      return numbers;
    };
    Reference reference;
    reference.prompt.ids = list(1);
    const auto images = list(3);
    for (std::size_t i = 0; i < images.size(); i += 3) {
      reference.prompt.images.push_back(
          image(static_cast<int>(images[i]), static_cast<int>(images[i + 1]), images[i + 2]));
    }
    reference.answer = list(1);
    reference.prompt.max_new_tokens = static_cast<int>(reference.answer.size());
    result.push_back(reference);
  }
  return result;
}

}  // namespace

TEST_CASE("answers are those of the slow way: no cache, no batch, Python's onnxruntime") {
  IRT_NEEDS_ORT();
  const std::vector<Reference> cases = references();
  REQUIRE(cases.size() >= 10);
  for (const int chunk : {1, 3, 64}) {
    for (const bool fused : {false, true}) {
      CAPTURE(fused);
      DecoderConfig config = decoder_config(4, chunk);
      if (fused) config = with_decode_graph(config);
      BatchedDecoder decoder = make_decoder(config);
      for (const Reference& reference : cases) {
        const Answer answer = finish(decoder, decoder.admit(reference.prompt));
        CHECK(answer.tokens == reference.answer);
        CHECK(answer.stop == StopReason::kLength);
      }
    }
  }
}

TEST_CASE("a decode graph makes the one-token steps, and only these") {
  IRT_NEEDS_ORT();
  const auto largest_difference = [](const Answer& a, const Answer& b, std::size_t token) {
    float largest = 0.0F;
    for (std::size_t i = 0; i < a.logits[token].size(); ++i) {
      largest = std::max(largest, std::abs(a.logits[token][i] - b.logits[token][i]));
    }
    return largest;
  };
  const DecoderConfig config = decoder_config(1, 8);
  float in_answers = 0.0F;
  for (const Reference& reference : references()) {
    const Answer plain = alone(reference.prompt, config);
    const Answer fused = alone(reference.prompt, with_decode_graph(config));
    REQUIRE(plain.tokens == fused.tokens);
    CHECK(plain.logits[0] == fused.logits[0]);  // the prompt's, from the same graph: bit for bit
    for (std::size_t token = 1; token < plain.logits.size(); ++token) {
      in_answers = std::max(in_answers, largest_difference(plain, fused, token));
    }
  }
  CHECK(in_answers > 0.0F);  // another graph rounds otherwise: it was used
  CHECK(in_answers < 1e-4F);
}

TEST_CASE("a decode graph that does not fit the contract is refused by name") {
  IRT_NEEDS_ORT();
  const auto refused = [](const DecoderConfig& config, const char* why) {
    check_throws(ErrorCode::kBadPack, [&] { (void)make_decoder(config); }, why);
  };
  DecoderConfig config = decoder_config(1, 8);
  config.decode_graph = graph_path("decoder.onnx");  // one for prompts
  refused(config, "position_ids");
  config.decode_graph = graph_path("missing.onnx");
  refused(config, "missing.onnx");
  config = with_decode_graph(decoder_config(1, 8));
  config.layers = 1;
  refused(config, "inputs");
}

TEST_CASE("an answer ends at an end-of-text token, at its length, or with the cache") {
  IRT_NEEDS_ORT();
  const Prompt prompt = text_prompt({5, 6, 7, 8});
  const Answer whole = alone(prompt, decoder_config(1, 8));
  CHECK(whole.stop == StopReason::kLength);
  CHECK(whole.tokens.size() == 12);

  DecoderConfig config = decoder_config(2, 8);
  config.eos_token_ids = {91, whole.tokens[5]};
  const auto expected =
      std::find(whole.tokens.begin(), whole.tokens.end(), whole.tokens[5]) - whole.tokens.begin();
  const Answer ended = alone(prompt, config);
  CHECK(ended.stop == StopReason::kEndOfText);
  CHECK(static_cast<std::ptrdiff_t>(ended.tokens.size()) == expected + 1);
  CHECK(ended.tokens.back() == whole.tokens[5]);

  // 4 of 9 positions are the prompt's; the last token of the answer needs no position.
  const Answer full = alone(prompt, decoder_config(1, 8, 9));
  CHECK(full.stop == StopReason::kCacheFull);
  CHECK(full.tokens.size() == 6);
  CHECK(std::equal(full.tokens.begin(), full.tokens.end(), whole.tokens.begin()));
}

TEST_CASE("a prompt that cannot be run is refused, and takes no slot") {
  IRT_NEEDS_ORT();
  BatchedDecoder decoder = make_decoder(decoder_config(1, 8, 16));
  const auto refused = [&](const Prompt& prompt, ErrorCode code = ErrorCode::kBadRequest) {
    check_throws(code, [&] { (void)decoder.admit(prompt); });
    CHECK(decoder.free_slots() == 1);
  };
  for (const std::vector<std::int64_t>& ids :
       {std::vector<std::int64_t>{}, {1, 96}, {1, -1}, {1, kImageToken}}) {
    refused(text_prompt(ids));
  }
  refused(text_prompt({1}, 0));
  refused(text_prompt(std::vector<std::int64_t>(16, 1)), ErrorCode::kLimitExceeded);

  const auto narrow = std::make_shared<VisionFeatures>(*image(2, 2, 1));
  narrow->embeds = narrow->embeds.view(0, {3, kHidden});
  Prompt with_image = text_prompt({1, kImageToken});
  with_image.images = {image(4, 4, 1)};  // 1 + 16 tokens
  refused(with_image, ErrorCode::kLimitExceeded);
  for (const auto& images :
       {decltype(with_image.images){nullptr}, {narrow}, {image(2, 2, 1), image(2, 2, 2)}}) {
    with_image.images = images;
    refused(with_image);
  }

  const SequenceId taken = decoder.admit(text_prompt(std::vector<std::int64_t>(15, 1)));
  check_throws(ErrorCode::kOverloaded, [&] { (void)decoder.admit(text_prompt({1})); });
  decoder.release(taken);
  decoder.release(taken);  // unknown by now
  CHECK(decoder.free_slots() == 1);
}

TEST_CASE("image tokens that do not match the images are refused") {
  const auto refused = [](const std::vector<std::int64_t>& ids,
                          const std::vector<ImageGrid>& grids) {
    check_throws(ErrorCode::kBadRequest, [&] { (void)rope_positions(ids, kImageToken, grids); });
  };
  refused({1, 90, 90}, {});                // no image
  refused({1, 90, 90}, {{1, 3}});          // the prompt ends inside the image
  refused({90, 1, 90}, {{1, 2}});          // text inside the image
  refused({90, 90, 1}, {{1, 2}, {1, 1}});  // an image without tokens
  refused({90}, {{0, 1}});
}

TEST_CASE("a graph that contradicts the manifest is refused") {
  IRT_NEEDS_ORT();
  const auto refused = [](auto&& change) {
    DecoderConfig config = decoder_config(2, 8);
    change(config);
    check_throws(ErrorCode::kBadPack, [&] { (void)make_decoder(config); });
  };
  refused([](DecoderConfig& c) { c.layers = 3; });
  refused([](DecoderConfig& c) { c.layers = 1; });
  refused([](DecoderConfig& c) { c.hidden = 64; });
  refused([](DecoderConfig& c) { c.kv_heads = 4; });
  refused([](DecoderConfig& c) { c.head_dim = 8; });
  refused([](DecoderConfig& c) { c.vocab = 95; });
  refused([](DecoderConfig& c) { c.deepstack_levels = 0; });
  refused([](DecoderConfig& c) { c.slots = 0; });
  refused([](DecoderConfig& c) { c.prefill_chunk = 0; });
}

TEST_CASE("a sequence that is not finite fails alone, and its slot is clean afterwards") {
  IRT_NEEDS_ORT();
  const DecoderConfig config = decoder_config(3, 4);
  const Prompt good = text_prompt({1, 2, 3, 4, 5, 6});
  const Prompt other = text_prompt({9, 8, 7});
  const Answer expected = alone(good, config);
  BatchedDecoder decoder = make_decoder(config);
  const Prompt poisoned = text_prompt({3, kPoison, 3, 3, 3, 3, 3, 3, 3});
  const std::vector<Answer> answers = finish_all(decoder, {good, poisoned, other});
  CHECK(answers[1].tokens == std::vector<std::int64_t>{-1});
  CHECK(answers[1].stop == StopReason::kNonFinite);
  CHECK(answers[0] == expected);
  CHECK(answers[2] == alone(other, config));
  CHECK(decoder.counters().failed_sequences == 1);
  const std::vector<Answer> thrice(3, expected);  // in every slot
  CHECK(finish_all(decoder, {good, good, good}) == thrice);

  // Released in the middle of a poisoned prompt.
  std::vector<SequenceId> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(decoder.admit(poisoned));
  std::vector<TokenOut> out;
  decoder.step(out);
  for (const SequenceId id : ids) decoder.release(id);
  CHECK(finish_all(decoder, {good, good, good}) == thrice);
}

TEST_CASE("a prefix in the cache is reused, and changes no bit") {
  IRT_NEEDS_ORT();
  DecoderConfig config = decoder_config(3, 4);
  const auto before = image(2, 3, 1);
  const auto after = image(3, 2, 2);
  Prompt prompt = text_prompt({1, 2, 3, kImageToken, 4, kImageToken, 5, 6});
  prompt.images = {before, after};
  const Answer expected = alone(prompt, config);
  BatchedDecoder decoder = make_decoder(config);
  const auto reused_by = [&](const Prompt& next) {
    const std::uint64_t reused = decoder.counters().reused_tokens;
    const SequenceId id = decoder.admit(next);
    const std::uint64_t tokens = decoder.counters().reused_tokens - reused;
    CHECK(finish(decoder, id) == alone(next, config));
    return tokens;
  };
  CHECK(reused_by(prompt) == 0);
  CHECK(reused_by(prompt) == 17);  // all of 18 but the one that makes the logits
  prompt.images[1] = image(3, 2, 2);
  CHECK(reused_by(prompt) == 10);  // equal numbers in another object: another image
  prompt.images[0] = image(2, 3, 9);
  CHECK(reused_by(prompt) == 3);
  CHECK(reused_by(text_prompt({1, 2, 9})) == 2);
  CHECK(reused_by(text_prompt({7, 2, 9})) == 0);

  // From a sequence that is still in its prompt, by copy.
  const SequenceId live = decoder.admit(text_prompt({60, 61, 62, 63, 64, 65, 66, 67, 68}));
  std::vector<TokenOut> out;
  decoder.step(out);
  CHECK(reused_by(text_prompt({60, 61, 62, 63, 64, 65, 1})) == 4);
  decoder.release(live);

  config.reuse_prefix = false;
  BatchedDecoder plain = make_decoder(config);
  for (int i = 0; i < 2; ++i) (void)finish(plain, plain.admit(prompt));
  CHECK(plain.counters().reused_tokens == 0);
}

TEST_CASE("an answer is not reused as a prompt: it was computed one token at a time") {
  IRT_NEEDS_ORT();
  const DecoderConfig config = decoder_config(2, 4);
  BatchedDecoder decoder = make_decoder(config);
  Prompt prompt = text_prompt({1, 2, 3, 4}, 6);
  const Answer first = finish(decoder, decoder.admit(prompt));
  prompt.ids.insert(prompt.ids.end(), first.tokens.begin(), first.tokens.end());
  prompt.ids.push_back(50);
  const SequenceId id = decoder.admit(prompt);
  CHECK(decoder.counters().reused_tokens == 4);
  CHECK(finish(decoder, id) == alone(prompt, config));
}

TEST_CASE("guessed tokens save steps and change no bit, whatever ends the answer") {
  IRT_NEEDS_ORT();
  for (const int length : {96, 30, 9}) {
    DecoderConfig config = decoder_config(1, 8, length);
    for (const Reference& reference : references()) {
      Prompt prompt = reference.prompt;
      if (prompt.ids.size() >= 8 || !prompt.images.empty()) continue;
      prompt.max_new_tokens = 24;
      config.eos_token_ids = {};
      const Answer whole = alone(prompt, config);
      for (const std::int64_t end : {std::int64_t{-1}, whole.tokens[whole.tokens.size() / 2]}) {
        config.eos_token_ids = {end};
        config.draft_tokens = 0;
        const Answer expected = alone(prompt, config);
        config.draft_tokens = 7;
        BatchedDecoder decoder = make_decoder(config);
        CHECK(finish(decoder, decoder.admit(prompt)) == expected);
        const BatchedDecoder::Counters first = decoder.counters();
        CHECK(finish(decoder, decoder.admit(prompt)) == expected);  // it has said that before
        const BatchedDecoder::Counters again = decoder.counters();
        CHECK(again.tokens == 2 * first.tokens);
        CHECK(again.accepted_tokens >= first.accepted_tokens);
        if (expected.tokens.size() > 8) CHECK(again.steps - first.steps < expected.tokens.size());
      }
    }
  }
  DecoderConfig fused = with_decode_graph(decoder_config(1, 8));
  fused.draft_tokens = 7;  // such graphs round otherwise: nothing is guessed
  BatchedDecoder decoder = make_decoder(fused);
  for (int i = 0; i < 2; ++i) (void)finish(decoder, decoder.admit(text_prompt({1, 2, 3})));
  CHECK(decoder.counters().drafted_tokens == 0);
}

TEST_CASE("a terminated step advances nothing; stepping on gives the same answers") {
  IRT_NEEDS_ORT();
  const DecoderConfig config = decoder_config(4, 4);
  const std::vector<Reference> cases = references();
  std::vector<Answer> expected;
  for (const Reference& reference : cases) expected.push_back(alone(reference.prompt, config));
  BatchedDecoder decoder = make_decoder(config);
  decoder.terminate();  // no step in progress: nothing happens
  std::atomic<bool> done = false;
  std::jthread killer([&] {
    while (!done) {
      decoder.terminate();
      std::this_thread::sleep_for(std::chrono::microseconds(70));
    }
  });
  int cancelled = 0;
  std::vector<TokenOut> out;
  for (int round = 0; round < 200 && (round < 2 || cancelled < 5); ++round) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const SequenceId id = decoder.admit(cases[i].prompt);
      Answer answer;
      while (answer.stop == StopReason::kNone) {
        try {
          decoder.step(out);
        } catch (const irt::Error& error) {
          REQUIRE(error.code() == ErrorCode::kCancelled);
          ++cancelled;
          continue;
        }
        for (const TokenOut& token : out) answer.add(token);
      }
      decoder.release(id);
      CHECK(answer == expected[i]);
    }
  }
  done = true;
  CHECK(cancelled >= 5);
}

TEST_CASE("a step without sequences does nothing, and counters count") {
  IRT_NEEDS_ORT();
  BatchedDecoder decoder = make_decoder(decoder_config(2, 4));
  std::vector<TokenOut> out(3);
  decoder.step(out);
  CHECK(out.empty());
  CHECK(decoder.counters().steps == 0);
  (void)finish(decoder, decoder.admit(text_prompt({1, 2, 3, 4, 5, 6}, 3)));
  CHECK(decoder.counters().steps == 4);  // two chunks, the second one with the first token
  CHECK(decoder.counters().tokens == 3);
  CHECK(decoder.counters().prompt_tokens == 6);
  CHECK(decoder.active() == 0);
  CHECK(decoder.free_slots() == 2);
}
