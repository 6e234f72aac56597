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
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/lane.h"
#include "engine/leased_queue.h"

namespace irt {

struct ExternalCall {
  std::uint64_t id = 0;
  LaneCallRef call;
};

struct ExternalPoll {
  std::vector<ExternalCall> calls;
  std::vector<std::uint64_t> cancelled;  // of the calls that were handed out; each is told once
};

struct ExternalCounters {
  std::uint64_t handed_out = 0;
  std::uint64_t strays = 0;       // late, double and unknown answers
  std::uint64_t lease_ended = 0;  // how often
};

// Thread-safe. What returns a bool to the worker says whether the call is still wanted: false = it
// has ended or was lost, and (of step_closed, verdict_known and wanted) also that it was cancelled
// and should be given up.
class ExternalLane final : public Lane {
 public:
  // `clock`: the driver's, of Call::deadline. `lease`: microseconds. `events`: until close().
  ExternalLane(LaneInfo info, TimePoint lease, LaneEvents& events, const Clock& clock);
  ~ExternalLane() override { close(); }
  ExternalLane(const ExternalLane&) = delete;
  ExternalLane& operator=(const ExternalLane&) = delete;

  // ---- for the worker
  // Waits up to `timeout` for calls or cancels; returns at most `most` calls.
  [[nodiscard]] ExternalPoll poll(std::chrono::milliseconds timeout, std::size_t most);
  // Partial answers; of one call in order, by one thread at a time.
  bool step_closed(std::uint64_t id, PlanStep step);
  bool verdict_known(std::uint64_t id, bool accepted, double p_success);
  // What its model wrote, for the trace, and why it wrote no more.
  bool wrote(std::uint64_t id, std::string_view answer, StopReason stop);
  // Its model did not read its prompt to the end.
  bool cut_prompt(std::uint64_t id);
  // The call is being worked at.
  bool progress(std::uint64_t id);
  [[nodiscard]] bool wanted(std::uint64_t id);
  // Each of these ends the call.
  bool finish(std::uint64_t id, LaneResult result);
  bool fail(std::uint64_t id, Failure failure);
  bool cancelled(std::uint64_t id);
  [[nodiscard]] TimePoint now() const noexcept { return queue_.now(); }  // the driver's clock
  // True once the lane is gone: nothing will come any more.
  [[nodiscard]] bool closed() const;
  [[nodiscard]] ExternalCounters counters() const;

  // Takes the lane down if the lease has run out at `now`; returns when to look again.
  TimePoint expire(TimePoint now) { return queue_.expire(now); }

  // ---- for the driver
  [[nodiscard]] const LaneInfo& info() const noexcept override { return info_; }
  void start(const LaneCallRef& call) override;
  void promote(const LaneCallRef& call) override;
  void cancel(const LaneCallRef& call) override;
  void revive() override;
  void close() override;  // waits for reports under way

 private:
  struct Held {
    LaneCallRef call;
    int steps = 0;  // that have closed
  };
  using Queue = LeasedQueue<Held>;

  void lose(Queue::Lock& lock);
  LaneCallRef take(std::uint64_t id);
  template <class Report>
  bool end(std::uint64_t id, Report report);
  Held* partial(std::uint64_t id);

  const LaneInfo info_;
  LaneEvents& events_;
  std::unordered_map<const LaneCall*, std::uint64_t> ids_;  // of the calls in the queue
  std::vector<std::uint64_t> cancels_;                      // to be told
  ExternalCounters counters_;
  bool up_ = true;
  bool coming_up_ = false;  // the driver was asked
  // The driver is being told: to come up before it knows would start calls that its knowledge ends.
  bool going_down_ = false;
  Queue queue_;  // last: its timer's thread uses everything above
};

class Driver;
// Adds the lane to the driver; `info.id` is given here.
[[nodiscard]] std::shared_ptr<ExternalLane> add_external_lane(Driver& driver, LaneInfo info,
                                                              TimePoint lease);

}  // namespace irt
