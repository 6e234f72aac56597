// The scanners against the slow, obvious reader: whole, in pieces, byte by byte, and in prefixes.
//
// Input: a byte of switches (1: verdict, 2: guidance mode, then the limit of steps), a seed of the
// cuts, then the text.
#include <algorithm>
#include <string_view>
#include <tuple>
#include <utility>

#include "fuzz.h"
#include "text/random_answer.h"
#include "text/scanner.h"
#include "text/slow_reader.h"

namespace irt::test {
namespace {

using fuzz::expect;

constexpr std::size_t kHeader = 2;
constexpr std::size_t kPrefixes = 6;  // compared of one text, about
constexpr int kBytesAfterEnd = 4;

// Cuts that depend on the input alone.
class Cuts {
 public:
  explicit Cuts(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::size_t below(std::size_t bound) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::size_t>(state_ >> 33) % bound;
  }

 private:
  std::uint64_t state_;
};

bool same(const Plan& a, const Plan& b) {
  return a.steps == b.steps && a.truncated == b.truncated && a.reasoning == b.reasoning;
}

bool same(const Verdict& a, const Verdict& b) {
  return a.readable == b.readable && a.accepted == b.accepted && a.refined == b.refined &&
         a.reasoning == b.reasoning;
}

// `slow(text)` is what the whole text says; `state` must not depend on the cuts.
template <typename Scanner, typename Slow, typename State>
void compare(const Scanner& fresh, std::string_view text, Cuts& cuts, Slow slow, State state) {
  Scanner whole = fresh;
  whole.feed(text);
  const auto expected = slow(text);
  expect(same(whole.finish(), expected), "read whole: not what the slow reader reads");

  Scanner pieces = fresh;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t n = std::min(rest.size(), cuts.below(9));
    pieces.feed(rest.substr(0, n));
    rest.remove_prefix(n);
  }
  expect(same(pieces.finish(), expected), "read in pieces: not what the slow reader reads");
  expect(state(pieces) == state(whole), "pieces leave the scanner otherwise than the whole");

  Scanner bytes = fresh;
  const std::size_t every = 1 + text.size() / kPrefixes;
  int ended = 0;  // bytes since the end
  for (std::size_t n = 1; n <= text.size(); ++n) {
    if (cuts.below(every) == 0) {
      expect(same(bytes.finish(), slow(text.substr(0, n - 1))),
             "a prefix: not what the slow reader reads");
    }
    if (bytes.done() && ended < kBytesAfterEnd) {
      const auto before = bytes.finish();
      bytes.feed(text.substr(n - 1, 1));
      expect(bytes.done() && same(bytes.finish(), before),
             "a byte after the end changes the answer");
      ++ended;
    } else {
      bytes.feed(text.substr(n - 1, 1));
    }
  }
  expect(same(bytes.finish(), expected), "read by bytes: not what the slow reader reads");
  expect(state(bytes) == state(whole), "bytes leave the scanner otherwise than the whole");
}

void plan(std::string_view text, int max_steps, int first, Cuts& cuts) {
  compare(
      PlanScanner(max_steps, first), text, cuts,
      [&](std::string_view part) { return slow_plan(part, max_steps, first); },
      [](const PlanScanner& scanner) { return std::pair(scanner.done(), scanner.violation()); });
  PlanScanner scanner(max_steps, first);
  scanner.feed(text);
  const Plan read = scanner.finish();
  expect(read.steps.size() <= static_cast<std::size_t>(max_steps), "more steps than the limit");
  expect(read.steps == scanner.closed(), "finish() and closed() differ");
  for (const PlanStep& step : read.steps) {
    for (const auto& field : {step.instruction, step.prompt, step.auxiliary_text}) {
      expect(slow_clean(field.value_or("")) == field.value_or(""), "not valid UTF-8");
    }
  }
  expect(slow_clean(read.reasoning) == read.reasoning, "the reasoning is not valid UTF-8");
}

void verdict(std::string_view text, Cuts& cuts) {
  compare(
      VerdictScanner(), text, cuts, [](std::string_view part) { return slow_verdict(part); },
      [](const VerdictScanner& scanner) {
        return std::tuple(scanner.done(), scanner.violation(), scanner.accepted(),
                          scanner.boolean_started_at());
      });
  VerdictScanner scanner;
  scanner.feed(text);
  const Verdict read = scanner.finish();
  expect(read.readable == scanner.boolean_started_at().has_value(), "a boolean without a place");
  if (!read.readable) return;
  const std::size_t at = *scanner.boolean_started_at();
  expect(at < text.size() &&
             std::string_view(read.accepted ? "tT" : "fF").find(text[at]) != std::string_view::npos,
         "no boolean begins where it is said to");
}

}  // namespace
}  // namespace irt::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace irt::test;
  if (size < kHeader || size > irt::fuzz::max_size()) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + kHeader, size - kHeader);
  Cuts cuts(data[1]);
  if ((data[0] & 1) != 0) {
    verdict(text, cuts);
  } else {
    plan(text, 1 + (data[0] >> 2) % 25, (data[0] & 2) != 0 ? 0 : 1, cuts);
  }
  return 0;
}

std::vector<std::string> irt::fuzz::seeds() {
  irt::test::RandomAnswer random(irt::test::kSeed);
  std::vector<std::string> seeds;
  for (int i = 0; i < 400; ++i) {
    const bool is_verdict = i % 2 == 1;
    std::string text = is_verdict ? random.verdict() : random.plan();
    if (i % 4 >= 2) text = random.damage(std::move(text));
    const auto switches = static_cast<char>((is_verdict ? 1 : 0) | (i % 3 == 0 ? 2 : 0) | (12));
    seeds.push_back(std::string{switches, static_cast<char>(i)} + text);
  }
  return seeds;
}

std::size_t irt::fuzz::max_size() { return 1024; }
