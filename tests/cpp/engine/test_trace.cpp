#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>

#include "engine/harness.h"

using namespace irt;
using namespace irt::test;

namespace {

Trace traced(const RequestSpec& spec, const ScriptedConfig& lanes) {
  Driver driver({});
  add_scripted_lanes(driver, lanes);
  const RequestId request = driver.submit(spec);
  CHECK(read_all(driver, request).outcome == Outcome::kFinished);
  CHECK(settles(driver));
  return driver.trace(request);
}

std::map<Role, int> used(const Trace& trace) {
  std::map<Role, int> count;
  for (const Span& span : trace.spans()) count[span.role] += span.used ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("a trace tells what ran, when, and what of it was used") {
  ScriptedConfig lanes = quick_config();
  lanes.script.accept_by_refinement = {0.0, 1.0};  // two attempts a step
  lanes.times.critic_ms = 3.0;
  lanes.times.verdict_ms = 2.0;
  RequestSpec spec = spec_of("trace me");
  for (const auto mode : {SpeculationMode::kOff, SpeculationMode::kDepth}) {
    spec.speculation = {mode, 1};
    const Trace trace = traced(spec, lanes);
    auto count = used(trace);
    CHECK(count[Role::kPlanner] == 1);
    CHECK(count[Role::kGenerator] == 6);
    CHECK(count[Role::kCritic] == 6);
    const bool speculative = std::any_of(trace.spans().begin(), trace.spans().end(),
                                         [](const Span& span) { return span.speculative; });
    CHECK(speculative == (mode == SpeculationMode::kDepth));
    for (const Span& span : trace.spans()) {
      REQUIRE(span.ended);
      CHECK(span.queued <= span.started);
      CHECK(span.started <= *span.ended);
      CHECK(span.outcome != SpanOutcome::kRunning);
      CHECK(span.lane_name.starts_with("scripted"));
      if (span.used) CHECK(span.outcome == SpanOutcome::kDone);
      // Off: nothing is ever started in vain.
      if (mode == SpeculationMode::kOff) CHECK(span.used);
    }
    CHECK(trace.decisions().empty() == (mode == SpeculationMode::kOff));
    // Every call that was started ahead has a decision that says so.
    for (const Span& span : trace.spans()) {
      if (!span.speculative) continue;
      CHECK(std::any_of(trace.decisions().begin(), trace.decisions().end(),
                        [&span](const DecisionRecord& record) {
                          const SpeculationDecision& said = record.decision;
                          return said.start && said.role == span.role && said.step == span.step &&
                                 said.attempt == span.attempt && record.at <= span.started;
                        }));
    }
  }
}

TEST_CASE("an unreadable verdict's calls count as used") {
  ScriptedConfig lanes = quick_config();
  lanes.script.unreadable_verdict = 1.0;
  RequestSpec spec = spec_of("say again");
  spec.speculation.mode = SpeculationMode::kOff;
  auto count = used(traced(spec, lanes));
  CHECK(count[Role::kGenerator] == 3);
  CHECK(count[Role::kCritic] == 6);
}

TEST_CASE("traces are bounded") {
  Trace trace;
  Call call;
  const LaneInfo lane;
  for (std::size_t i = 0; i < Trace::kMaxSpans; ++i) CHECK(trace.open(call, lane, false, 0) == i);
  const std::size_t over = trace.open(call, lane, false, 0);
  CHECK(over == Trace::kNone);
  trace.start(over, 1);
  trace.end(over, SpanOutcome::kDone, 1);
  CHECK(trace.spans().size() == Trace::kMaxSpans);
  CHECK(trace.dropped() == 1);
  SpeculationDecision decision;
  for (std::size_t i = 0; i < 3 * Trace::kMaxDecisions; ++i) {
    decision.start = !decision.start;
    trace.decide(decision, 0);
    trace.decide(decision, 0);  // the same again is not kept
  }
  CHECK(trace.decisions().size() == Trace::kMaxDecisions);
}

TEST_CASE("a trace keeps answers up to a limit, and counts those that it drops") {
  Trace trace;
  const std::string answer(Trace::kMaxAnswerBytes, 'x');
  const std::size_t fit = Trace::kMaxAnswersBytes / answer.size();
  for (std::size_t i = 0; i <= fit; ++i) {
    const std::size_t span = trace.open({}, {}, false, 0);
    trace.write(span, std::string(answer), StopReason::kLength);
    CHECK(trace.spans()[span].answer.size() == (i < fit ? answer.size() : 0));
    CHECK(trace.spans()[span].stop == StopReason::kLength);
  }
  CHECK(trace.dropped() == 1);
  trace.write(Trace::kNone, "of a call that has no span", StopReason::kNone);
}
