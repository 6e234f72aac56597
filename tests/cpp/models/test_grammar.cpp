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
}

TEST_CASE("a candidate that is allowed is not drawn again") {
  const Grammar grammar = make({{2}, {2}});
  const auto state = grammar.begin(10);
  const std::vector<float> logits{1, 2, 9, 3, 0, 8, 4, 4};
  CHECK(state->pick(logits, {}, 0) == 2);
  CHECK(state->corrected() == 0);
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

TEST_CASE("the think part is ended when it has used its share") {
  // Tokens: letters, and one that spells the tag in part.
  std::vector<std::string> tokens{"x", "</th", "ink>", "E", "y"};
  const std::vector<std::int64_t> eos{3};
  const auto vocabulary =
      std::make_shared<const Vocabulary>(tokens, std::vector<std::int32_t>{}, eos);
  const auto path = [](std::size_t n) {
    return std::make_unique<ListMatcher>(ListMatcher::Path(n, {0, 1, 2}));
  };
  const std::vector<float> talk{9, 0, 0, 0, 0};
  SUBCASE("closed for it") {
    const Grammar grammar("test", vocabulary, path(50),
                          std::make_unique<ListMatcher>(ListMatcher::Path{{1}, {2}, {4}}), 4);
    const auto state = grammar.begin(10);  // 6 for the think part
    for (std::uint64_t i = 0; i < 6; ++i) REQUIRE(state->pick(talk, {}, i) == 0);
    CHECK(state->pick(talk, {}, 6) == 1);
    CHECK(state->pick(talk, {}, 7) == 2);
    CHECK(state->pick(talk, {}, 8) == 4);
    CHECK(state->pick(talk, {}, 9) == 3);
  }
  SUBCASE("closed by itself") {
    const Grammar grammar("test", vocabulary, path(50),
                          std::make_unique<ListMatcher>(ListMatcher::Path{{1}, {2}, {4}}), 6);
    const auto state = grammar.begin(10);
    CHECK(state->pick(std::vector<float>{0, 9, 0, 0, 0}, {}, 0) == 1);
    CHECK(state->pick(std::vector<float>{0, 0, 9, 0, 0}, {}, 1) == 2);
    for (std::uint64_t i = 2; i < 9; ++i) REQUIRE(state->pick(talk, {}, i) == 0);
  }
  SUBCASE("the reserve is at most half") {
    const Grammar grammar("test", vocabulary, path(50),
                          std::make_unique<ListMatcher>(ListMatcher::Path{{1}, {2}, {4}}), 1000);
    const auto state = grammar.begin(4);
    CHECK(state->pick(talk, {}, 0) == 0);
    CHECK(state->pick(talk, {}, 1) == 0);
    CHECK(state->pick(talk, {}, 2) == 1);
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
  const auto vocabulary = [] {
    std::vector<std::string> tokens(96, "t");
    const std::vector<std::int64_t> eos{95};
    return std::make_shared<const Vocabulary>(tokens, std::vector<std::int32_t>{}, eos);
  }();
  const ListMatcher::Path path{{1, 2, 3}, {4}, {5, 6}, {7}};
  const auto good = std::make_shared<const Grammar>(
      "good", vocabulary, std::make_unique<ListMatcher>(path), nullptr, 0);
  const auto bad = std::make_shared<const Grammar>(
      "bad", vocabulary, std::make_unique<ListMatcher>(path, 2), nullptr, 0);
  Prompt free_prompt;
  free_prompt.ids = {1, 2, 3, 4, 5};
  free_prompt.max_new_tokens = 8;
  Prompt constrained = free_prompt;
  constrained.grammar = good;
  Prompt failing = free_prompt;
  failing.grammar = bad;

  const auto run = [&](const std::vector<Prompt>& prompts) {
    BatchedDecoder decoder = make_decoder(config);
    std::vector<SequenceId> ids;
    for (const Prompt& prompt : prompts) ids.push_back(decoder.admit(prompt));
    std::vector<Answer> answers(prompts.size());
    std::vector<std::string> problems(prompts.size());
    std::vector<TokenOut> out;
    while (decoder.active() > 0) {
      decoder.step(out);
      for (const TokenOut& token : out) {
        const auto at = std::find(ids.begin(), ids.end(), token.sequence) - ids.begin();
        Answer& answer = answers[static_cast<std::size_t>(at)];
        answer.stop = token.stop;
        answer.tokens.push_back(token.token);
        answer.logits.emplace_back(token.logits.begin(), token.logits.end());
        problems[static_cast<std::size_t>(at)] = token.problem;
      }
    }
    return std::pair(answers, problems);
  };
  const auto [together, problems] = run({free_prompt, constrained, failing});
  const auto [lone, none] = run({constrained});
  const auto [lone_free, nothing] = run({free_prompt});
  CHECK(together[0] == lone_free[0]);
  CHECK(together[1] == lone[0]);
  CHECK(together[1].tokens.size() == 5);
  CHECK(together[1].tokens.back() == 95);
  CHECK(together[1].stop == StopReason::kEndOfText);
  // The first logits are the model's, not masked.
  CHECK(together[1].logits[0] == together[0].logits[0]);
  CHECK(together[2].stop == StopReason::kGrammar);
  CHECK(together[2].tokens.back() == -1);
  CHECK(problems[2].find("broken") != std::string::npos);
  CHECK(problems[0].empty());
}

TEST_CASE("decoder: forbidden tokens are never drawn, their logits stay") {
  if (!ort_ready()) return;
  DecoderConfig config = decoder_config(1, 16);
  Prompt prompt;
  prompt.ids = {1, 2, 3, 4, 5};
  prompt.max_new_tokens = 1;
  const auto first = [&] {
    BatchedDecoder decoder = make_decoder(config);
    (void)decoder.admit(prompt);
    std::vector<TokenOut> out;
    while (out.empty()) decoder.step(out);
    return std::pair(out[0].token, std::vector<float>(out[0].logits.begin(), out[0].logits.end()));
  };
  const auto [free_token, free_logits] = first();
  config.forbidden_token_ids = {free_token, 1000};
  const auto [token, logits] = first();
  CHECK(logits == free_logits);
  CHECK(token != free_token);
  std::vector<float> rest = logits;
  rest[static_cast<std::size_t>(free_token)] = -1e30F;
  CHECK(token == argmax(rest));
}
