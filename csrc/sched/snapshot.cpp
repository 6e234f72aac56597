#include "sched/snapshot.h"

#include <algorithm>

#include "sched/scheduler.h"

namespace irt {

Snapshot Scheduler::snapshot() const {
  Snapshot out;
  out.max_live = config_.max_live;
  out.max_queued = config_.max_queued;
  out.live = live_;
  out.queued = queued_;
  out.draining = draining_;
  out.accept_odds = accepts_.odds();
  out.verdict_time = service_times_.verdict_time();
  out.generate_time = service_times_.generate_time();
  for (const auto& [id, state] : requests_) {
    RequestView& view = out.requests.emplace_back();
    view.request = id;
    view.phase = state->phase;
    view.admitted = state->admitted;
    view.images = state->trajectory.held();
    view.last_decision = state->decision;
    for (const PendingCall& pending : state->pending_calls) {
      PendingView& call = view.pending_calls.emplace_back();
      call.key = pending.call->key;
      call.role = pending.call->role;
      call.certain = pending.certain;
      call.beyond = pending.beyond;
      call.probability = pending.probability;
      call.running = running_.contains(pending.call->key);
      call.images = pending.call->images;
      for (const Key& image : {pending.call->source, pending.call->image}) {
        if (image) call.images.push_back(image);
      }
    }
  }
  std::sort(out.requests.begin(), out.requests.end(),
            [](const RequestView& a, const RequestView& b) { return a.request < b.request; });
  for (const Lane& lane : lanes_) {
    LaneView& view = out.lanes.emplace_back();
    view.info = lane.info;
    for (const Key& key : lane.running) {
      const RunningCall& run = running_.at(key);
      view.running.push_back(
          {key, run.request, run.role, run.speculative, run.cancelling, run.timing.started});
    }
  }
  return out;
}

}  // namespace irt
