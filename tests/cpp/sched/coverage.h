// Which events met which states: of requests, and of calls under way. Counted over many schedules,
// so that "tested" means that every pair that can occur has occurred, and no other one has.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/message.h"
#include "support/snapshot.h"

namespace irt::test {

enum class RequestState {
  kUnknown,      // not submitted yet, refused, or consumed
  kQueued,       // accepted, not admitted
  kWaiting,      // no call of the committed path runs: it waits for a slot or a lane
  kPlanning,     // the plan is written; nothing else is possible yet, and nothing else runs
  kStreaming,    // the plan is written while its first steps run, or come to their end
  kGenerating,   // the committed path is blocked on an image
  kJudging,      // ... on a boolean, and nothing runs ahead
  kSpeculating,  // ... on a boolean, and calls run ahead
  kRefining,     // the boolean is false: the refined prompt is waited for
  kConfirmed,    // the boolean is true: the next step is certain before the answer has ended
  kEnded,        // and not consumed
  kCount
};
enum class RequestEvent {
  kSubmit,
  kStepClosed,
  kVerdictTrue,
  kVerdictFalse,
  kPlanDone,
  kImageDone,
  kVerdictDone,
  kCallFailed,
  kCallCancelled,
  kLaneDied,  // with a call of the request
  kLaneUp,
  kCancelRequest,
  kDeadline,
  kGraceOver,  // no lane came up in time
  kConsumed,
  kCount
};
enum class CallState {
  kCertain,          // started on the committed path
  kAhead,            // started beyond an unverified verdict
  kPromoted,         // started ahead, now on the committed path
  kCancelling,       // nobody wants it any more
  kCancelledWanted,  // cancelled to make room, or because it failed ahead, and wanted still
  kCount
};
enum class CallEvent { kPartial, kDone, kFailed, kCancelled, kLaneDied, kCount };

// A table: a row for each state of a request and for each (role, state) of a call, a column for
// each event.
class Coverage {
 public:
  static constexpr auto kRequestStates = static_cast<std::size_t>(RequestState::kCount);
  static constexpr auto kCallStates = static_cast<std::size_t>(CallState::kCount);
  static constexpr std::size_t kRows = kRequestStates + kRoles * kCallStates;
  class Tracker;

  void add(const Coverage& other);
  void print(std::FILE* out) const;

  // Pairs that can occur and were not seen.
  [[nodiscard]] std::vector<std::string> gaps() const;

 private:
  static constexpr auto kColumns = static_cast<std::size_t>(RequestEvent::kCount);

  std::array<std::array<std::uint64_t, kColumns>, kRows> seen_{};
};

// Follows one schedule. Request ids are indices of the specs.
class Coverage::Tracker {
 public:
  Tracker(Coverage& coverage, const std::vector<RequestSpec>& specs)
      : coverage_(coverage), specs_(specs), states_(specs.size(), RequestState::kUnknown) {}

  // Empty, or the pair that cannot occur and has just occurred.
  std::string follow(const Event& event, const std::vector<Command>& commands,
                     const Snapshot& snapshot);

 private:
  void count(std::size_t row, std::size_t column);
  void count(RequestId request, RequestEvent event);
  void count_call(const Key& call, CallEvent event);
  void count_event(const Event& event);
  [[nodiscard]] RequestState state_of(const RequestView& view) const;

  Coverage& coverage_;
  const std::vector<RequestSpec>& specs_;
  std::vector<RequestState> states_;  // before the event
  struct Running {
    RequestId request;
    LaneId lane;
    Role role;
    CallState state;
  };
  std::unordered_map<Key, Running> running_;  // before the event
  std::unordered_map<Key, bool> known_;       // booleans of judgements that go on
  std::unordered_set<Key> ahead_;             // started speculatively
  std::unordered_map<RequestId, int> runs_;   // calls under way
  std::unordered_set<RequestId> speculates_;  // ... and one of them is ahead, and wanted
  std::string impossible_;
};

}  // namespace irt::test
