// What can be seen of a scheduler from outside: counters and a copy of its state.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/message.h"
#include "core/request.h"
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

struct PendingView {
  Key key;
  Role role = Role::kPlanner;
  bool certain = true;
  int beyond = 0;
  double probability = 1.0;
  bool running = false;
  std::vector<Key> images;  // that the call reads
};

enum class RequestPhase { kQueued, kLive, kEnded };

struct RequestView {
  RequestId request = 0;
  RequestPhase phase = RequestPhase::kQueued;
  bool admitted = false;                   // holds (or held, when ended) one of max_live places
  std::vector<PendingView> pending_calls;  // empty unless live
  std::vector<Key> images;                 // held for it
  std::optional<SpeculationDecision> last_decision;
};

struct RunningView {
  Key key;
  RequestId request = 0;
  Role role = Role::kPlanner;
  bool speculative = false;
  bool cancelling = false;
  TimePoint started = 0;
};

struct LaneView {
  LaneInfo info;
  std::vector<RunningView> running;  // each of them owns a slot
};

struct Snapshot {
  int max_live = 0;
  int max_queued = 0;
  int live = 0;    // admitted and not consumed
  int queued = 0;  // never admitted and not consumed
  bool draining = false;
  std::vector<RequestView> requests;
  std::vector<LaneView> lanes;
  AcceptOdds accept_odds{};
  std::optional<double> verdict_time;   // Cv, microseconds
  std::optional<double> generate_time;  // G, microseconds
};

}  // namespace irt
