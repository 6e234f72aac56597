// A copy of the state of a scheduler, for the tests.
#pragma once

#include <vector>

#include "sched/scheduler.h"

namespace irt {

struct PendingView {
  Key key;
  Role role = Role::kPlanner;
  bool certain = true;
  int beyond = 0;
  bool running = false;
  std::vector<Key> images;  // that the call reads
};

struct RequestView {
  RequestId request = 0;
  RequestPhase phase = RequestPhase::kQueued;
  bool admitted = false;                   // holds (or held, when ended) one of max_live places
  std::vector<PendingView> pending_calls;  // empty unless live
  std::vector<Key> images;                 // held for it
};

struct RunningView {
  Key key;
  RequestId request = 0;
  Role role = Role::kPlanner;
  bool speculative = false;
  bool cancelling = false;
};

struct LaneView {
  LaneInfo info;
  std::vector<RunningView> running;  // each of them owns a slot
};

struct Snapshot {
  Snapshot() = default;
  explicit Snapshot(const Scheduler& scheduler);
  // Nothing runs, and every accepted request has ended.
  [[nodiscard]] bool idle() const;
  // Whether there is room for what a certain call of that role would make.
  [[nodiscard]] bool has_room(Role role, RequestId request) const {
    return role != Role::kGenerator || !room.little || room.only == request;
  }

  int max_live = 0;
  int max_queued = 0;
  int live = 0;    // admitted and not consumed
  int queued = 0;  // never admitted and not consumed
  ImageRoom room;
  std::vector<RequestView> requests;
  std::vector<LaneView> lanes;
};

}  // namespace irt
