// What a scheduler has counted and decided.
#pragma once

#include <array>
#include <cstdint>

#include "core/message.h"
#include "sched/policy.h"

namespace irt {

struct RoleCounters {
  std::uint64_t started = 0;     // StartCall
  std::uint64_t speculated = 0;  // of these, started ahead of an unverified verdict
  std::uint64_t promoted = 0;    // PromoteCall
  std::uint64_t preempted = 0;   // cancelled to make room for committed work
  std::uint64_t cancelled = 0;   // CancelCall, for any reason
  std::uint64_t done = 0;
  std::uint64_t failed = 0;
  std::uint64_t restarted = 0;           // after the death of a lane
  std::uint64_t committed = 0;           // results that the program consumed
  std::uint64_t speculation_used = 0;    // speculated and consumed
  std::uint64_t speculation_wasted = 0;  // speculated, and nobody will ever want it
};

struct Counters {
  std::array<RoleCounters, kRoles> role{};
  std::array<std::uint64_t, kMaxAttempts + 1> judged{};    // readable verdicts, by attempt number
  std::array<std::uint64_t, kMaxAttempts + 1> accepted{};  // of these, by attempt number
  std::uint64_t plans_unreadable = 0;                      // planner answers
  std::uint64_t verdicts_unreadable = 0;                   // critic answers
  std::uint64_t refined_unreadable = 0;  // refusals whose refined prompt could not be read
  std::uint64_t requests_accepted = 0;
  std::uint64_t requests_refused = 0;
  std::array<std::uint64_t, 4> requests_ended{};  // by Outcome
  std::uint64_t lanes_lost = 0;
  std::uint64_t strays = 0;  // events about calls, lanes or requests that are not there
  std::array<std::uint64_t, kSpeculationReasons> decisions{};  // by SpeculationReason
};

struct DecisionNote {
  RequestId request = 0;
  Key call;
  SpeculationDecision decision;
};

}  // namespace irt
