#include "sched/snapshot.h"

#include <algorithm>

#include "sched/scheduler_impl.h"

namespace irt {

Snapshot Scheduler::Impl::snapshot() const {
  Snapshot out;
  out.max_live = config_.max_live;
  out.max_queued = config_.max_queued;
  out.live = live_;
  out.queued = queued_;
  out.draining = draining_;
  out.accept_odds = accepts_.odds();
  out.verdict_time = meter_.verdict_time();
  out.generate_time = meter_.generate_time();
  for (const auto& [id, live] : requests_) {
    RequestView& view = out.requests.emplace_back();
    view.request = id;
    view.phase = live->phase;
    view.admitted = live->admitted;
    view.images = live->trajectory.held();
    view.last_decision = live->decision;
    for (const Want& want : live->wants) {
      WantView& wanted = view.wants.emplace_back();
      wanted.key = want.call.key;
      wanted.role = want.call.role;
      wanted.certain = want.certain;
      wanted.beyond = want.beyond;
      wanted.probability = want.probability;
      wanted.running = runs_.contains(want.call.key);
      for (const Key& image : {want.call.source, want.call.image}) {
        if (image) wanted.images.push_back(image);
      }
      if (want.call.role == Role::kPlanner) wanted.images = live->trajectory.spec().images;
    }
  }
  std::sort(out.requests.begin(), out.requests.end(),
            [](const RequestView& a, const RequestView& b) { return a.request < b.request; });
  for (const Lane& lane : lanes_) {
    LaneView& view = out.lanes.emplace_back();
    view.info = lane.info;
    for (const Key& key : lane.runs) {
      const Run& run = runs_.at(key);
      view.runs.push_back(
          {key, run.request, run.role, run.speculative, run.cancelling, run.mark.started});
    }
  }
  return out;
}

}  // namespace irt
