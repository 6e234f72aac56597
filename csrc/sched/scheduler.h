// The scheduler: reconciles what all trajectories want with what the lanes run.
//
// Responsibilities
//   * Admission: at most `max_live` requests run, at most `max_queued` wait; more are refused.
//     A request holds its place from Submit until Consumed, so that a slow reader stops admission.
//   * Start, promote and cancel calls so that every lane serves committed ("certain") work first;
//     speculate in idle slots only, as policy.h decides.
//   * Deliver what is certain, in order, and end every accepted request exactly once.
//   * Release every image that it was told of (input images and CallDone images) exactly once.
//
// Contracts of the caller (the shell)
//   * One thread at a time (a mutex outside); `now` never goes back. No clock is read here.
//   * Request ids are never used twice. Input images are in the store before Submit; an image that
//     occurs twice in one request is released once.
//   * Carry out commands in order. Every StartCall is answered by exactly one CallDone, CallFailed
//     or CallCancelled, unless LaneDown ends it; after LaneDown nothing about its calls is passed
//     on. A cancelled call may still answer CallDone: the result is used if it is wanted.
//   * Partials come before the terminal event: StepClosed with index 0, 1, ... and VerdictKnown at
//     most once a run. A call that was started again may repeat its partials.
//   * CallDone of a generate call: the image is in the store under the call's key, with one
//     reference for the trajectory, given up at ReleaseImage. Running calls hold their own.
//     A call may be made again later, with the same key and the same pixels (see trajectory.h).
//   * Call apply() with Tick no later than the returned time.
//   * Consumed is sent once the reader has taken RequestEnded, or has gone away after it.
// An event that breaks these (unknown call, second terminal) is dropped and counted as a stray.
//
// Errors: Refuse carries kBadRequest, kLimitExceeded or kOverloaded; RequestEnded carries
// kBackendFailed, kDeadline, kCancelled or kInternal. apply() throws for a LaneUp that makes no
// sense (kInternal) and std::bad_alloc, nothing else.
#pragma once

#include <memory>
#include <vector>

#include "core/message.h"
#include "sched/policy.h"
#include "sched/snapshot.h"

namespace irt {

struct SchedulerConfig {
  int max_live = 8;     // requests with running work
  int max_queued = 64;  // requests that wait for a live slot
  // A request that needs a role which has no lane waits this long (microseconds), then it fails.
  TimePoint lane_grace = 10'000'000;
  std::size_t max_text_bytes = std::size_t{1} << 20;
  std::size_t max_input_images = 64;
  PolicyConfig policy;
};

class Scheduler {
 public:
  using Config = SchedulerConfig;

  explicit Scheduler(const Config& config);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes one event and appends the commands that follow from it. Returns when apply() must be
  // called next (with Tick, if nothing else happens before), or kNever.
  [[nodiscard]] TimePoint apply(Event event, TimePoint now, std::vector<Command>& out);

  // While draining, every Submit is refused; what was accepted goes on to its end.
  void set_draining(bool draining) noexcept;

  // True when nothing runs and every accepted request has ended.
  [[nodiscard]] bool idle() const noexcept;

  [[nodiscard]] const Counters& counters() const noexcept;
  // What the last apply() decided about calls ahead of a verdict. A decision is told once for each
  // call, and again when its reason changes.
  [[nodiscard]] const std::vector<DecisionNote>& decisions() const noexcept;
  [[nodiscard]] Snapshot snapshot() const;  // a copy; O(state)

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace irt
