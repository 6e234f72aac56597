// The think part is read with short cuts: against a reader that is asked for every token.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/key.h"
#include "models/grammar.h"

using namespace irt;

namespace {

using Tokens = std::vector<std::string>;

// Whether `text` may begin an answer: thoughts in UTF-8 without "<answer>" up to "</think>", then
// "<answer>", one or more of "o" and "k", "</answer>", and anything.
bool may_begin(std::string_view text, bool thinking) {
  constexpr std::string_view kClose = "</think>";
  if (thinking) {
    const std::size_t close = text.find(kClose);
    const std::string_view thoughts = text.substr(0, close);
    if (thoughts.find("<answer>") != std::string_view::npos) return false;
    for (std::size_t i = 0; i < thoughts.size(); ++i) {  // of two-byte characters only
      const bool first = thoughts[i] == '\xc3';
      if (first && i + 1 < thoughts.size() && thoughts[i + 1] != '\xa9') return false;
      if (thoughts[i] == '\xa9' && (i == 0 || thoughts[i - 1] != '\xc3')) return false;
    }
    if (close == std::string_view::npos) return true;
    if (!thoughts.empty() && thoughts.back() == '\xc3') return false;
    text.remove_prefix(close);
  }
  std::string_view expected = "</think><answer>";
  if (text.size() <= expected.size()) return expected.substr(0, text.size()) == text;
  if (text.substr(0, expected.size()) != expected) return false;
  text.remove_prefix(expected.size());
  const std::size_t value = text.find_first_not_of("ok");
  if (value == std::string_view::npos) return true;
  if (value == 0) return false;
  text.remove_prefix(value);
  expected = "</answer>";
  const std::size_t shorter = std::min(text.size(), expected.size());
  return text.substr(0, shorter) == expected.substr(0, shorter);
}

class TextMatcher final : public TokenMatcher {
 public:
  TextMatcher(std::shared_ptr<const Tokens> tokens, bool thinking)
      : tokens_(std::move(tokens)), thinking_(thinking) {}

  std::unique_ptr<TokenMatcher> clone() const override {
    REQUIRE(!broken_);
    return std::make_unique<TextMatcher>(*this);
  }
  bool accepts(std::int64_t token) override {
    REQUIRE(!broken_);
    return may_begin(text_ + (*tokens_)[static_cast<std::size_t>(token)], thinking_);
  }
  void consume(std::int64_t token) override {
    REQUIRE(accepts(token));
    text_ += (*tokens_)[static_cast<std::size_t>(token)];
  }
  bool try_consume(std::int64_t token) override {
    broken_ = !accepts(token);  // as the library does: it cannot be used any more
    if (!broken_) consume(token);
    return !broken_;
  }
  bool complete() override {
    const std::size_t close = text_.find("</think>");
    return close != std::string::npos && text_.find("</answer>", close) != std::string::npos;
  }
  void allowed(std::span<std::uint32_t> bits) override {
    for (std::size_t id = 0; id + 1 < tokens_->size(); ++id) {
      if (accepts(static_cast<std::int64_t>(id))) bits[id / 32] |= 1U << (id % 32);
    }
  }

 private:
  std::shared_ptr<const Tokens> tokens_;
  bool thinking_;
  bool broken_ = false;
  std::string text_;
};

// The same answer without a short cut.
class Slow {
 public:
  Slow(std::shared_ptr<const Tokens> tokens, std::uint64_t limit)
      : tokens_(std::move(tokens)), limit_(limit), matcher_(tokens_, true) {}

  std::int64_t pick(std::span<const float> logits, const SamplingParams& params,
                    std::uint64_t index) {
    const auto end = static_cast<std::int64_t>(tokens_->size()) - 1;
    if (index >= limit_ && !closed_ && text_.find("</think>") == std::string::npos) {
      matcher_ = TextMatcher(tokens_, false);
      closed_ = true;
    }
    std::int64_t token = sample(logits, params, index);
    if (matcher_.complete() ? token != end : token == end || !matcher_.accepts(token)) {
      std::vector<std::uint32_t> bits((logits.size() + 31) / 32);
      if (matcher_.complete()) {
        bits[static_cast<std::size_t>(end) / 32] |= 1U << (static_cast<std::size_t>(end) % 32);
      } else {
        matcher_.allowed(bits);
      }
      token = sample_allowed(logits, bits, params, index);
    }
    if (token != end) {
      matcher_.consume(token);
      text_ += (*tokens_)[static_cast<std::size_t>(token)];
    }
    return token;
  }

 private:
  std::shared_ptr<const Tokens> tokens_;
  std::uint64_t limit_;
  TextMatcher matcher_;
  bool closed_ = false;
  std::string text_;
};

}  // namespace

TEST_CASE("short cuts in the think part change no token") {
  const auto tokens = std::make_shared<const Tokens>(
      Tokens{"<",   "</",       "</th",     "ink",       "ink>", ">",    "think", "<ans",
             "wer", "wer>",     "answer",   "</ans",     " ",    "\n",   "x",     "y<",
             "o",   "k",        "ok",       " the",      "a b",  "\xc3", "\xa9",  "\xc3\xa9",
             "/",   "</think>", "<answer>", "</answer>", "> <",  ""});
  const std::vector<std::int64_t> eos{static_cast<std::int64_t>(tokens->size()) - 1};
  const auto vocabulary =
      std::make_shared<const Vocabulary>(*tokens, std::vector<std::int32_t>{}, eos);
  const Grammar grammar("test", vocabulary, std::make_unique<TextMatcher>(tokens, true),
                        std::make_unique<TextMatcher>(tokens, false), 30, '>');
  constexpr std::uint64_t kSeed = 20261125;
  constexpr int kBudget = 60;
  CAPTURE(kSeed);
  int complete = 0;
  int without_corrections = 0;
  for (std::uint64_t answer = 0; answer < 4000; ++answer) {
    CAPTURE(answer);
    // Mostly likely words, so that some answers need no correction until they are long.
    const float strange = answer % 2 == 0 ? 0.0F : -6.0F;
    const SamplingParams params{1.0F, 0, 1.0F, irt::mix64(kSeed + answer)};
    const auto quick = grammar.begin(kBudget);
    Slow slow(tokens, 30);
    for (std::uint64_t index = 0; index < kBudget; ++index) {
      std::vector<float> logits(tokens->size());
      for (std::size_t id = 0; id < logits.size(); ++id) {
        const std::uint64_t drawn = irt::mix64(params.seed ^ (index * 64 + id));
        const bool tame = vocabulary->is_plain(id) || (*tokens)[id] == "</think>";
        logits[id] = static_cast<float>(drawn % 1000) / 250.0F + (tame ? 0.0F : strange);
      }
      const std::int64_t token = quick->pick(logits, params, index);
      REQUIRE(token == slow.pick(logits, params, index));
      if (index == 25 && quick->corrected() == 0) ++without_corrections;
      if (token == eos.front()) {
        ++complete;
        break;
      }
    }
  }
  CHECK(complete > 500);
  CHECK(without_corrections > 100);
}
