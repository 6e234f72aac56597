// Scripted roles: what each call answers is a pure function of the call and the script's seed, as
// it is for models with fixed seeds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/message.h"
#include "sim/simulate.h"

namespace irt::test {

struct Script {
  std::uint64_t seed = 0;
  int plan_steps = 3;
  double text_only = 0.0;        // share of steps without a prompt
  double plan_unreadable = 0.0;  // per planner answer
  double plan_truncated = 0.0;
  double plan_violated = 0.0;       // some of its steps are lost
  double accept = 0.7;              // per verdict
  double verdict_unreadable = 0.0;  // per critic answer
  double refined_unreadable = 0.0;  // per refusal
  double call_fails = 0.0;          // per call: always, whenever it is run
  double speculation_fails = 0.0;   // per speculative run only: the program must not see it
  // Latencies are drawn per call from [1/2, 3/2] of these.
  TimePoint plan_time = 500;
  TimePoint generate_time = 1000;
  TimePoint judge_time = 1000;
  double verdict_share = 0.6;   // of the judge's time until the boolean
  TimePoint accepted_tail = 0;  // of an early verdict
  bool stream = true;           // plan steps and booleans are reported

  [[nodiscard]] std::variant<CallResult, Failure> result(const Call& call) const;
  [[nodiscard]] SimAnswer answer(const StartCall& start) const;
};

// A number in [0, 1) that depends on the call, the script and what is asked.
[[nodiscard]] double chance(const Script& script, const Key& call, std::uint64_t what);

// The answer of one of several scripts, chosen by the call's request.
[[nodiscard]] SimModel model_of(std::vector<Script> scripts);

}  // namespace irt::test
