// Law: what was read depends on the bytes, never on how they were cut; and it is what the slow,
// obvious reader finds in every prefix.
#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "random_answer.h"
#include "slow_reader.h"
#include "text/scanner.h"

namespace irt::test {
namespace {

constexpr int kTexts = 6000;
constexpr int kMaxSteps = 3;

bool same(const Plan& a, const Plan& b) {
  return a.steps == b.steps && a.truncated == b.truncated && a.reasoning == b.reasoning;
}

bool same(const Verdict& a, const Verdict& b) {
  return a.readable == b.readable && a.accepted == b.accepted && a.refined == b.refined &&
         a.reasoning == b.reasoning;
}

template <typename Scanner>
void feed_in_pieces(Scanner& scanner, std::string_view text, RandomAnswer& random) {
  while (!text.empty()) {
    const std::size_t n = std::min(text.size(), random.below(9));
    scanner.feed(text.substr(0, n));
    text.remove_prefix(n);
  }
}

TEST_CASE("a plan read whole, in pieces or byte by byte is the plan of the slow reader") {
  RandomAnswer random(kSeed);
  int read = 0;
  int truncated = 0;
  for (int i = 0; i < kTexts; ++i) {
    const int first = i % 2;
    const std::string text = i % 3 == 0 ? random.plan() : random.damage(random.plan());
    CAPTURE(kSeed);
    CAPTURE(i);
    CAPTURE(text);
    PlanScanner whole(kMaxSteps, first);
    whole.feed(text);
    PlanScanner pieces(kMaxSteps, first);
    feed_in_pieces(pieces, text, random);
    PlanScanner bytes(kMaxSteps, first);
    std::vector<PlanStep> closed;
    bool ended = false;
    for (std::size_t n = 1; n <= text.size(); ++n) {
      bytes.feed(std::string_view(text).substr(n - 1, 1));
      // What has closed stays as it is; nothing closes after the end.
      REQUIRE(bytes.closed().size() - closed.size() <= 1);
      if (bytes.closed().size() > closed.size()) {
        REQUIRE_FALSE(ended);
        closed.push_back(bytes.closed().back());
      }
      REQUIRE((!ended || bytes.done()));
      ended = bytes.done();
      if (random.below(16) == 0) {
        REQUIRE(same(bytes.finish(), slow_plan(text.substr(0, n), kMaxSteps, first)));
      }
    }
    const Plan expected = slow_plan(text, kMaxSteps, first);
    REQUIRE(same(whole.finish(), expected));
    REQUIRE(same(pieces.finish(), expected));
    REQUIRE(same(bytes.finish(), expected));
    REQUIRE(closed == expected.steps);
    REQUIRE(whole.violation() == bytes.violation());
    REQUIRE((whole.violation().empty() || expected.truncated));
    for (const PlanStep& step : expected.steps) {
      REQUIRE(slow_clean(step.prompt.value_or("")) == step.prompt.value_or(""));
    }
    read += expected.readable() ? 1 : 0;
    truncated += expected.readable() && expected.truncated ? 1 : 0;
  }
  // The property says nothing about texts that nobody can read.
  MESSAGE("seed " << kSeed << ": " << read << " of " << kTexts << " read, " << truncated
                  << " of them truncated");
  CHECK(read > kTexts / 4);
  CHECK(truncated > kTexts / 20);
}

TEST_CASE("a verdict read whole, in pieces or byte by byte is the verdict of the slow reader") {
  RandomAnswer random(kSeed + 1);
  int read = 0;
  int refined = 0;
  for (int i = 0; i < kTexts; ++i) {
    const std::string text = i % 3 == 0 ? random.verdict() : random.damage(random.verdict());
    CAPTURE(kSeed);
    CAPTURE(i);
    CAPTURE(text);
    VerdictScanner whole;
    whole.feed(text);
    VerdictScanner pieces;
    feed_in_pieces(pieces, text, random);
    VerdictScanner bytes;
    std::optional<bool> accepted;
    bool ended = false;
    for (std::size_t n = 1; n <= text.size(); ++n) {
      bytes.feed(std::string_view(text).substr(n - 1, 1));
      REQUIRE((!accepted || bytes.accepted() == accepted));  // never revoked
      accepted = bytes.accepted();
      REQUIRE((!ended || bytes.done()));
      ended = bytes.done();
      if (random.below(16) == 0) {
        REQUIRE(same(bytes.finish(), slow_verdict(text.substr(0, n))));
      }
    }
    const Verdict expected = slow_verdict(text);
    REQUIRE(same(whole.finish(), expected));
    REQUIRE(same(pieces.finish(), expected));
    REQUIRE(same(bytes.finish(), expected));
    REQUIRE(whole.boolean_started_at() == bytes.boolean_started_at());
    REQUIRE(whole.boolean_started_at().has_value() == expected.readable);
    if (expected.readable) {
      const char letter = text[*whole.boolean_started_at()];
      REQUIRE(
          (expected.accepted ? letter == 't' || letter == 'T' : letter == 'f' || letter == 'F'));
    }
    read += expected.readable ? 1 : 0;
    refined += expected.refined ? 1 : 0;
  }
  MESSAGE("seed " << kSeed << ": " << read << " of " << kTexts << " read, " << refined
                  << " refined");
  CHECK(read > kTexts / 4);
  CHECK(refined > kTexts / 20);
}

TEST_CASE("random bytes become the same valid UTF-8 in the cleaner and in the slow reader") {
  RandomAnswer random(kSeed + 2);
  constexpr unsigned char kLeads[] = {0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2,
                                      0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (std::size_t n = random.below(10); n > 0; --n) {
      text += static_cast<char>(kLeads[random.below(std::size(kLeads))]);
    }
    Utf8Cleaner cleaner;
    std::string out;
    for (const char byte : text) {
      cleaner.push(byte, out);
      REQUIRE(slow_clean(out) == out);
    }
    cleaner.flush(out);
    REQUIRE(out == slow_clean(text));
  }
}

}  // namespace
}  // namespace irt::test
