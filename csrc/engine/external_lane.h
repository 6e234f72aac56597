// A lane whose calls leave C++: a worker outside (Python threads, another process, a server)
// polls for calls and reports what became of them.
//
// The lease. A worker shows that it is alive by polling, and by reporting progress on the calls
// that it has. When it is silent for longer than the lease, or keeps one call without a sign for
// that long, the lane goes down: its calls are lost, the scheduler runs them elsewhere or again.
// The first poll after that brings the lane up with nothing under way. What a worker says of a
// call that has ended, was lost, or never was, is ignored and counted.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "engine/images.h"
#include "engine/lane.h"
#include "engine/timer.h"

namespace irt {

struct ExternalCall {
  std::uint64_t id = 0;
  Call call;
  bool speculative = false;
  // plan: the inputs; generate: the source; judge: before, after. Null: none (judge: white).
  std::vector<ImageRef> images;
};

struct ExternalPoll {
  std::vector<ExternalCall> calls;
  std::vector<std::uint64_t> cancelled;  // of the calls that were handed out; each is told once
};

using ExternalAnswer = std::variant<Plan, PixelBuffer, Verdict>;

struct ExternalCounters {
  std::uint64_t handed_out = 0;
  std::uint64_t strays = 0;       // late, double and unknown answers
  std::uint64_t lease_ended = 0;  // how often
};

// The worker's side. Thread-safe; outlives the lane. What returns a bool says whether the call is
// still wanted: false = it has ended or was lost, and (of step_closed, verdict_known and wanted)
// also that it was cancelled and should be given up.
class ExternalWork {
 public:
  // `clock`: the driver's, of Call::deadline. `lease`: microseconds.
  ExternalWork(LaneInfo info, TimePoint lease, LaneEvents& events, ImageStore& images,
               const Clock& clock);
  ~ExternalWork();
  ExternalWork(const ExternalWork&) = delete;
  ExternalWork& operator=(const ExternalWork&) = delete;

  // Waits up to `timeout` for calls or cancels; returns at most `most` calls.
  [[nodiscard]] ExternalPoll poll(std::chrono::milliseconds timeout, std::size_t most);
  // Partial answers; of one call in order, by one thread at a time.
  bool step_closed(std::uint64_t call, PlanStep step);
  bool verdict_known(std::uint64_t call, bool accepted, double p_success);
  // The call is being worked at.
  bool progress(std::uint64_t call);
  [[nodiscard]] bool wanted(std::uint64_t call) const;
  // Each of these ends the call.
  bool finish(std::uint64_t call, ExternalAnswer answer);
  bool fail(std::uint64_t call, Failure failure);
  bool cancelled(std::uint64_t call);
  [[nodiscard]] const LaneInfo& info() const noexcept;
  [[nodiscard]] TimePoint now() const noexcept;  // the driver's clock
  // True once the lane is gone: nothing will come any more.
  [[nodiscard]] bool closed() const;
  [[nodiscard]] ExternalCounters counters() const;

  // Takes the lane down if the lease has run out at `now`; returns when to look again. Called by
  // a timer of its own.
  TimePoint expire(TimePoint now);

 private:
  friend class ExternalLane;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class ExternalLane final : public Lane {
 public:
  explicit ExternalLane(std::shared_ptr<ExternalWork> work) : work_(std::move(work)) {}
  ~ExternalLane() override;  // ends every call as cancelled; waits for reports under way
  ExternalLane(const ExternalLane&) = delete;
  ExternalLane& operator=(const ExternalLane&) = delete;

  [[nodiscard]] const LaneInfo& info() const noexcept override;
  void start(const Call& call, bool speculative) override;
  void promote(const Key& call) override;
  void cancel(const Key& call) override;
  void revive() override;

 private:
  std::shared_ptr<ExternalWork> work_;
};

class Driver;
// Adds the lane to the driver; `info.id` is given here.
[[nodiscard]] std::shared_ptr<ExternalWork> add_external_lane(Driver& driver, LaneInfo info,
                                                              TimePoint lease);

}  // namespace irt
