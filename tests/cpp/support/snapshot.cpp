#include "support/snapshot.h"

#include <algorithm>

namespace irt {

Snapshot::Snapshot(const Scheduler& scheduler) {
  max_live = scheduler.config_.max_live;
  max_queued = scheduler.config_.max_queued;
  live = scheduler.live_;
  queued = scheduler.queued_;
  room = scheduler.image_room_;
  for (const auto& [id, state] : scheduler.requests_) {
    RequestView& view = requests.emplace_back();
    view.request = id;
    view.phase = state->phase;
    view.admitted = state->admitted;
    view.images = state->trajectory.held();
    for (const PendingCall& pending : state->pending_calls) {
      PendingView& call = view.pending_calls.emplace_back();
      call.key = pending.call->key;
      call.role = pending.call->role;
      call.certain = pending.certain;
      call.beyond = pending.beyond;
      call.running = scheduler.running_.contains(pending.call->key);
      call.images = pending.call->images;
      for (const Key& image : {pending.call->source, pending.call->image}) {
        if (image) call.images.push_back(image);
      }
    }
  }
  std::ranges::sort(requests, {}, &RequestView::request);
  for (const Scheduler::Lane& lane : scheduler.lanes_) {
    LaneView& view = lanes.emplace_back();
    view.info = lane.info;
    for (const Key& key : lane.running) {
      const Scheduler::RunningCall& run = scheduler.running_.at(key);
      view.running.push_back({key, run.request, run.role, run.speculative, run.cancelling});
    }
  }
}

bool Snapshot::idle() const {
  return std::ranges::all_of(lanes, [](const LaneView& lane) { return lane.running.empty(); }) &&
         std::ranges::all_of(
             requests, [](const RequestView& view) { return view.phase == RequestPhase::kEnded; });
}

}  // namespace irt
