#include "text/scanner_law.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "text/scanner.h"
#include "text/slow_reader.h"

namespace irt::test {
namespace {

constexpr int kBytesAfterEnd = 4;

void expect(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

bool same(const Plan& a, const Plan& b) {
  return a.steps == b.steps && a.truncated == b.truncated && a.violated == b.violated &&
         a.reasoning == b.reasoning;
}

bool same(const Verdict& a, const Verdict& b) {
  return a.readable == b.readable && a.accepted == b.accepted && a.refined == b.refined &&
         a.reasoning == b.reasoning;
}

// What the answer would say if it ended here.
template <typename Scanner>
auto finished(Scanner scanner) {
  return scanner.finish();
}

// `slow(text)` is what the whole text says; `state` must not depend on the cuts; `watch` sees the
// scanner after every byte.
template <typename Scanner, typename Slow, typename State, typename Watch>
auto compare(const Scanner& fresh, std::string_view text, const Cuts& cuts, Slow slow, State state,
             Watch watch) {
  Scanner whole = fresh;
  whole.feed(text);
  const auto expected = slow(text);
  expect(same(finished(whole), expected), "read whole: not what the slow reader reads");

  Scanner pieces = fresh;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t n = std::min(rest.size(), cuts.below(9));
    pieces.feed(rest.substr(0, n));
    rest.remove_prefix(n);
  }
  expect(same(finished(pieces), expected), "read in pieces: not what the slow reader reads");
  expect(state(pieces) == state(whole), "pieces leave the scanner otherwise than the whole");

  Scanner bytes = fresh;
  int ended = 0;  // bytes since the end
  for (std::size_t n = 1; n <= text.size(); ++n) {
    if (cuts.below(cuts.every) == 0) {
      expect(same(finished(bytes), slow(text.substr(0, n - 1))),
             "a prefix: not what the slow reader reads");
    }
    const bool done = bytes.done();
    std::optional<decltype(finished(bytes))> before;
    if (done && ended++ < kBytesAfterEnd) before = finished(bytes);
    bytes.feed(text.substr(n - 1, 1));
    expect(bytes.done() || !done, "the end is taken back");
    expect(!before || same(finished(bytes), *before), "a byte after the end changes the answer");
    watch(bytes);
  }
  expect(same(finished(bytes), expected), "read by bytes: not what the slow reader reads");
  expect(state(bytes) == state(whole), "bytes leave the scanner otherwise than the whole");
  return expected;
}

}  // namespace

Plan check_plan(std::string_view text, int max_steps, int first, const Cuts& cuts) {
  std::vector<PlanStep> closed;
  bool ended = false;
  const Plan read = compare(
      PlanScanner(max_steps, first), text, cuts,
      [&](std::string_view part) { return slow_plan(part, max_steps, first); },
      [](const PlanScanner& scanner) { return std::pair(scanner.done(), scanner.violation()); },
      [&](const PlanScanner& scanner) {
        // More than one: what was held back as a comment was text.
        expect(!ended || scanner.closed().size() == closed.size(), "a step closes after the end");
        for (std::size_t i = closed.size(); i < scanner.closed().size(); ++i) {
          closed.push_back(scanner.closed()[i]);
        }
        ended = scanner.done();
      });
  // The end may bring more.
  expect(std::ranges::mismatch(closed, read.steps).in1 == closed.end(),
         "a step that had closed has changed");
  expect(read.steps.size() <= static_cast<std::size_t>(max_steps), "more steps than the limit");
  PlanScanner whole(max_steps, first);
  whole.feed(text);
  expect(whole.violation().empty() || read.truncated, "a violation, and the plan is whole");
  for (const PlanStep& step : read.steps) {
    for (const auto& field : {step.instruction, step.prompt, step.auxiliary_text}) {
      expect(slow_clean(field.value_or("")) == field.value_or(""), "not valid UTF-8");
    }
  }
  expect(slow_clean(read.reasoning) == read.reasoning, "the reasoning is not valid UTF-8");
  return read;
}

Verdict check_verdict(std::string_view text, const Cuts& cuts) {
  std::optional<bool> accepted;
  const Verdict read = compare(
      VerdictScanner(), text, cuts, [](std::string_view part) { return slow_verdict(part); },
      [](const VerdictScanner& scanner) {
        return std::tuple(scanner.done(), scanner.violation(), scanner.accepted(),
                          scanner.boolean_started_at());
      },
      [&](const VerdictScanner& scanner) {
        expect(!accepted || scanner.accepted() == accepted, "a boolean is revoked");
        accepted = scanner.accepted();
      });
  VerdictScanner whole;
  whole.feed(text);
  whole.end();
  const std::optional<std::size_t> at = whole.boolean_started_at();
  expect(read.readable == at.has_value(), "a boolean without a place");
  const std::string_view letters = read.accepted ? "tT" : "fF";
  expect(!at || (*at < text.size() && letters.find(text[*at]) != std::string_view::npos),
         "no boolean begins where it is said to");
  return read;
}

}  // namespace irt::test
