// Constrained picking with a matcher of our own, and what the decoder makes of it.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "models/decoder.h"
#include "models/decoder_fixture.h"
#include "models/grammar.h"
#include "models/sampler.h"

using namespace irt;
using namespace irt::testing;

namespace {

// Allows the tokens of `path`, one set a place, then stops; throws at place `breaks_at`.
class ListMatcher final : public TokenMatcher {
 public:
  using Path = std::vector<std::vector<std::int64_t>>;
  explicit ListMatcher(Path path, std::size_t breaks_at = 1000)
      : path_(std::make_shared<const Path>(std::move(path))), breaks_at_(breaks_at) {}

  std::unique_ptr<TokenMatcher> clone() const override {
    return std::make_unique<ListMatcher>(*this);
  }
  bool accepts(std::int64_t token) override {
    if (place_ == breaks_at_) throw irt::Error(irt::ErrorCode::kBackendFailed, "[test] broken");
    const auto& now = (*path_)[place_];
    return std::find(now.begin(), now.end(), token) != now.end();
  }
  void consume(std::int64_t token) override {
    REQUIRE(accepts(token));
    ++place_;
  }
  bool complete() override { return place_ == path_->size(); }
  void allowed(std::span<std::uint32_t> bits) override {
    for (const std::int64_t id : (*path_)[place_]) {
      bits[static_cast<std::size_t>(id) / 32] |= 1U << (static_cast<std::size_t>(id) % 32);
    }
  }

 private:
  std::shared_ptr<const Path> path_;
  std::size_t place_ = 0;
  std::size_t breaks_at_;
};

constexpr std::int64_t kEnd = 3;

std::shared_ptr<const Vocabulary> letters(std::size_t size = 8) {
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < size; ++i)
    tokens.push_back(std::string(1, static_cast<char>('a' + i)));
  const std::vector<std::int32_t> special{5};
  const std::vector<std::int64_t> eos{kEnd};
  return std::make_shared<const Vocabulary>(tokens, special, eos);
}

Grammar make(ListMatcher::Path path) {
  return {"test", letters(), std::make_unique<ListMatcher>(std::move(path)), nullptr, 0};
}

}  // namespace

TEST_CASE("greedy: the greatest allowed logit, whatever the greatest of all is") {
  const Grammar grammar = make({{0, 1}, {6, 7}});
  const auto state = grammar.begin(10);
  const std::vector<float> logits{1, 2, 9, 3, 0, 8, 4, 4};
  CHECK(state->pick(logits, {}, 0) == 1);
  CHECK(state->corrected() == 1);
  CHECK(state->pick(logits, {}, 1) == 6);     // ties: the lowest id
  CHECK(state->pick(logits, {}, 2) == kEnd);  // complete: only the end may follow
  CHECK(state->corrected() == 3);
  const Grammar fitting = make({{2}, {2}});
  const auto kept = fitting.begin(10);
  CHECK(kept->pick(logits, {}, 0) == 2);
  CHECK(kept->corrected() == 0);  // a candidate that is allowed is not drawn again
}

TEST_CASE("a quote that was meant as text lets the answer go, one before punctuation does not") {
  const std::vector<std::string> tokens{"{", " \"", "}", "O", " ,", "", " x", "\n", ": "};
  const std::vector<std::int32_t> special{5};
  const std::vector<std::int64_t> eos{5};
  const auto vocabulary = std::make_shared<const Vocabulary>(tokens, special, eos);
  const Grammar grammar("test", vocabulary,
                        std::make_unique<ListMatcher>(ListMatcher::Path{{0}, {1}, {2}}), nullptr,
                        0);
  const Grammar name("test", vocabulary,
                     std::make_unique<ListMatcher>(ListMatcher::Path{{1}, {2, 8}}), nullptr, 0);
  const auto wants = [](std::int64_t token) {
    std::vector<float> logits(9, 0.0F);
    logits[static_cast<std::size_t>(token)] = 9.0F;
    return logits;
  };
  const auto of_a_name = name.begin(10);  // a colon may follow
  CHECK(of_a_name->pick(wants(1), {}, 0) == 1);
  CHECK(of_a_name->pick(wants(3), {}, 1) == 2);
  const Grammar opened("test", vocabulary,
                       std::make_unique<ListMatcher>(ListMatcher::Path{{1}, {3}}), nullptr, 0);
  const auto inside = opened.begin(10);  // text may follow: this quote begins a string
  CHECK(inside->pick(wants(1), {}, 0) == 1);
  CHECK(inside->pick(wants(0), {}, 1) == 3);
  CHECK_FALSE(inside->let_go());
  for (const float temperature : {1.0F, 1.5F}) {
    const auto state = grammar.begin(10);
    const SamplingParams params{temperature, 1, 1.0F, 7};
    CHECK(state->pick(wants(0), params, 0) == 0);
    CHECK(state->pick(wants(1), params, 1) == 1);
    CHECK(state->pick(wants(3), params, 2) == (temperature > 1.0F ? 2 : 3));
  }
  // {first wish behind the quote, what is written}: text stays, all else is corrected.
  for (const auto& [wish, written] : {std::pair{3, 3}, {6, 6}, {4, 2}, {5, 2}, {7, 2}, {1, 2}}) {
    CAPTURE(wish);
    const auto state = grammar.begin(10);
    CHECK(state->pick(wants(3), {}, 0) == 0);  // no quote before: corrected
    CHECK(state->pick(wants(1), {}, 1) == 1);
    CHECK(state->pick(wants(wish), {}, 2) == written);
    CHECK(state->corrected() == (wish == written ? 1 : 2));
    CHECK(state->let_go() == (wish == written));
    if (state->let_go()) continue;
    for (const int next : {1, 0, 7, 5}) {  // only the end may follow
      CHECK(state->pick(wants(next), {}, 3) == 5);
    }
  }
}

TEST_CASE("sampling: allowed tokens in proportion to their probabilities") {
  const Grammar grammar = make({{1, 4}});
  const std::vector<float> logits{2, 1, 3, 0, std::log(2.0F) + 1, 5, 0, 0};  // 4: twice as likely
  std::array<int, 8> seen{};
  constexpr int kDraws = 6000;
  for (int i = 0; i < kDraws; ++i) {
    const auto state = grammar.begin(10);
    const SamplingParams params{1.0F, 0, 1.0F, static_cast<std::uint64_t>(i)};
    const std::int64_t token = state->pick(logits, params, 0);
    ++seen[static_cast<std::size_t>(token)];
    const auto twin = grammar.begin(10);
    REQUIRE(twin->pick(logits, params, 0) == token);
  }
  CHECK(seen[1] + seen[4] == kDraws);
  CHECK(seen[4] / static_cast<double>(kDraws) == doctest::Approx(2.0 / 3.0).epsilon(0.03));
}

TEST_CASE("the think part leaves the reserve of the tokens, but half of them at most") {
  // Tokens: letters, and ones that spell the tag in part.
  const std::vector<std::string> tokens{"x", "</th", "ink>", "E", "y"};
  const std::vector<std::int64_t> eos{3};
  const auto vocabulary =
      std::make_shared<const Vocabulary>(tokens, std::vector<std::int32_t>{}, eos);
  for (const auto& [reserve, most, thoughts] : {std::array{4, 10, 6}, {1000, 4, 2}}) {
    const Grammar grammar("test", vocabulary,
                          std::make_unique<ListMatcher>(ListMatcher::Path(50, {0, 1, 2})),
                          std::make_unique<ListMatcher>(ListMatcher::Path{{1}, {2}, {4}}), reserve);
    const auto state = grammar.begin(most);
    for (int i = 0; i <= thoughts; ++i) {
      const std::vector<float> talk{9, 0, 0, 0, 0};
      CHECK(state->pick(talk, {}, static_cast<std::uint64_t>(i)) == (i == thoughts ? 1 : 0));
    }
  }
}

TEST_CASE("no token may follow: an error, not a token") {
  const Grammar grammar = make({{}});
  const auto state = grammar.begin(10);
  CHECK_THROWS_AS((void)state->pick(std::vector<float>(8, 1.0F), {}, 0), irt::Error);
}

TEST_CASE("a vocabulary without an end of text makes no grammar") {
  const std::vector<std::string> tokens{"a"};
  const auto endless = std::make_shared<const Vocabulary>(tokens, std::span<const std::int32_t>());
  CHECK_THROWS_AS(
      Grammar("g", endless, std::make_unique<ListMatcher>(ListMatcher::Path{{0}}), nullptr, 0),
      irt::Error);
}

TEST_CASE("decoder: constrained rows beside free ones; a grammar that fails ends its row alone") {
  if (!ort_ready()) return;
  DecoderConfig config = decoder_config(3, 16);
  config.eos_token_ids = {95};
  const std::vector<std::string> texts(96, "t");
  const auto vocabulary =
      std::make_shared<const Vocabulary>(texts, std::vector<std::int32_t>{}, config.eos_token_ids);
  const ListMatcher::Path path{{1, 2, 3}, {4}, {5, 6}, {7}};
  const auto good = std::make_shared<const Grammar>(
      "good", vocabulary, std::make_unique<ListMatcher>(path), nullptr, 0);
  const auto bad = std::make_shared<const Grammar>(
      "bad", vocabulary, std::make_unique<ListMatcher>(path, 2), nullptr, 0);
  const Prompt free_prompt = text_prompt({1, 2, 3, 4, 5}, 8);
  Prompt constrained = free_prompt;
  constrained.grammar = good;
  Prompt failing = free_prompt;
  failing.grammar = bad;
  BatchedDecoder decoder = make_decoder(config);
  const std::vector<Answer> together = finish_all(decoder, {free_prompt, constrained, failing});
  CHECK(together[0] == alone(free_prompt, config));
  CHECK(together[1] == alone(constrained, config));
  CHECK(together[1].tokens.size() == 5);
  CHECK(together[1].tokens.back() == 95);
  CHECK(together[1].stop == StopReason::kEndOfText);
  // The first logits are the model's, not masked.
  CHECK(together[1].logits[0] == together[0].logits[0]);
  CHECK(together[2].stop == StopReason::kGrammar);
  CHECK(together[2].tokens.back() == -1);
  CHECK(together[2].problem.find("broken") != std::string::npos);
  CHECK(together[0].problem.empty());
}

TEST_CASE("decoder: forbidden tokens are never drawn, their logits stay") {
  if (!ort_ready()) return;
  DecoderConfig config = decoder_config(1, 16);
  const Prompt prompt = text_prompt({1, 2, 3, 4, 5}, 1);
  const Answer free = alone(prompt, config);
  const std::int64_t greatest = free.tokens[0];
  config.forbidden_token_ids = {greatest, 1000};
  const Answer bound = alone(prompt, config);
  CHECK(bound.logits == free.logits);
  CHECK(bound.tokens[0] != greatest);
  std::vector<float> rest = free.logits[0];
  rest[static_cast<std::size_t>(greatest)] = -1e30F;
  CHECK(bound.tokens[0] == sample(rest, {}, 0));
}

TEST_CASE("decoder: an answer that is let go goes on as without a grammar, forbidden tokens too") {
  if (!ort_ready()) return;
  DecoderConfig config = decoder_config(1, 16);
  config.eos_token_ids = {95};
  Prompt prompt = text_prompt({7, 14, 7, 12}, 8);
  const Answer wanted = alone(prompt, config);
  const std::int64_t quote = wanted.tokens[0];
  const std::int64_t text = wanted.tokens[1];
  REQUIRE(wanted.tokens[2] != quote);
  REQUIRE(wanted.tokens[2] != text);
  config.forbidden_token_ids = {wanted.tokens[2]};  // behind the one that is let go
  const Answer free = alone(prompt, config);
  REQUIRE(quote != text);
  std::vector<std::string> texts(96, "t");
  texts[static_cast<std::size_t>(quote)] = std::string(1, '"');
  texts[text == 7 ? 8 : 7] = std::string(1, '}');  // what may stand behind a string
  const auto vocabulary =
      std::make_shared<const Vocabulary>(texts, std::vector<std::int32_t>{}, config.eos_token_ids);
  const ListMatcher::Path path{{quote}, {text == 7 ? 8 : 7}};
  prompt.grammar = std::make_shared<const Grammar>("test", vocabulary,
                                                   std::make_unique<ListMatcher>(path), nullptr, 0);
  CHECK(alone(prompt, config) == free);
}
