// The scanners and the decoder against the slow reader, over random answers.
#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "text/random_answer.h"
#include "text/scanner.h"
#include "text/scanner_law.h"
#include "text/slow_reader.h"

namespace irt::test {
namespace {

constexpr int kTexts = 6000;
constexpr int kMaxSteps = 3;

// Counts the texts that were read, and those of them that say more; the property says nothing about
// texts that nobody can read.
template <typename Check>
void over_random(RandomAnswer& random, std::string (RandomAnswer::*make)(), Check check) {
  int read = 0;
  int special = 0;
  for (int i = 0; i < kTexts; ++i) {
    std::string text = (random.*make)();
    if (i % 3 != 0) text = random.damage(std::move(text));
    CAPTURE(kSeed);
    CAPTURE(i);
    CAPTURE(text);
    const auto [readable, more] = check(text, i);
    read += readable ? 1 : 0;
    special += readable && more ? 1 : 0;
  }
  MESSAGE("seed " << kSeed << ": " << read << " of " << kTexts << " read, " << special
                  << " of them truncated or refined");
  CHECK(read > kTexts / 4);
  CHECK(special > kTexts / 20);
}

TEST_CASE("a plan read whole, in pieces or byte by byte is the plan of the slow reader") {
  RandomAnswer random(kSeed);
  const Cuts cuts{[&random](std::size_t n) { return random.below(n); }};
  over_random(random, &RandomAnswer::plan, [&](const std::string& text, int i) {
    const Plan plan = check_plan(text, kMaxSteps, i % 2, cuts);
    return std::pair(plan.readable(), plan.truncated);
  });
}

TEST_CASE("a verdict read whole, in pieces or byte by byte is the verdict of the slow reader") {
  RandomAnswer random(kSeed + 1);
  const Cuts cuts{[&random](std::size_t n) { return random.below(n); }};
  over_random(random, &RandomAnswer::verdict, [&](const std::string& text, int) {
    const Verdict verdict = check_verdict(text, cuts);
    return std::pair(verdict.readable, verdict.refined.has_value());
  });
}

TEST_CASE("random bytes become the same valid UTF-8 in the decoder and in the slow reader") {
  RandomAnswer random(kSeed + 2);
  constexpr unsigned char kLeads[] = {0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2,
                                      0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (std::size_t n = random.below(10); n > 0; --n) {
      text += static_cast<char>(kLeads[random.below(std::size(kLeads))]);
    }
    const std::string out = clean_utf8(text);
    REQUIRE(out == slow_clean(text));
    REQUIRE(slow_clean(out) == out);
  }
}

}  // namespace
}  // namespace irt::test
