#include "support/monitor.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace irt::test {
namespace {

struct RoleLoad {
  int lanes = 0;
  int free = 0;
  int waiting = 0;
  int cancelling = 0;
  int speculative = 0;  // and not being cancelled
};

bool has(const std::vector<Key>& keys, const Key& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

std::string about(RequestId request, const std::string& what) {
  return "request " + std::to_string(request) + ": " + what;
}

}  // namespace

std::vector<std::string> check_snapshot(const Snapshot& snapshot) {
  std::vector<std::string> out;
  const auto expect = [&out](bool holds, const std::string& what) {
    if (!holds) out.push_back(what);
  };
  std::array<RoleLoad, kRoles> loads{};
  std::unordered_map<Key, const RunningView*> runs;
  for (const LaneView& lane : snapshot.lanes) {
    RoleLoad& load = loads[index_of(lane.info.role)];
    ++load.lanes;
    load.free += std::max(0, lane.info.capacity - static_cast<int>(lane.running.size()));
    for (const RunningView& run : lane.running) {
      expect(runs.emplace(run.key, &run).second, "call runs twice: " + to_hex(run.key));
      expect(run.role == lane.info.role, "call on a lane of another role: " + to_hex(run.key));
      load.cancelling += run.cancelling ? 1 : 0;
      load.speculative += run.speculative && !run.cancelling ? 1 : 0;
    }
  }
  int live = 0;
  int queued = 0;
  std::unordered_map<RequestId, const RequestView*> requests;
  for (const RequestView& view : snapshot.requests) {
    requests.emplace(view.request, &view);
    ++(view.admitted ? live : queued);
    if (view.phase == RequestPhase::kEnded) {
      expect(view.pending_calls.empty(), about(view.request, "ended and still waits for calls"));
      expect(view.images.empty(), about(view.request, "ended and still holds images"));
    }
    if (view.phase == RequestPhase::kLive) {
      const bool blocked = std::any_of(view.pending_calls.begin(), view.pending_calls.end(),
                                       [](const PendingView& call) { return call.certain; });
      expect(blocked, about(view.request, "is blocked on nothing and has not ended"));
    }
    for (const PendingView& call : view.pending_calls) {
      const auto run = runs.find(call.key);
      expect(call.running == (run != runs.end()),
             about(view.request, "a pending call misreports its run"));
      for (const Key& image : call.images) {
        expect(has(view.images, image), about(view.request, "a wanted call reads a lost image"));
      }
      if (call.certain && run == runs.end() && snapshot.has_room(call.role, view.request)) {
        ++loads[index_of(call.role)].waiting;
      }
      if (call.certain && run != runs.end()) {
        expect(!run->second->speculative, about(view.request, "a certain call was not promoted"));
      }
      expect(call.certain == (call.beyond == 0), about(view.request, "certain beyond a verdict"));
    }
  }
  expect(live == snapshot.live && live <= snapshot.max_live, "more live requests than max_live");
  expect(queued == snapshot.queued && queued <= snapshot.max_queued, "queue over max_queued");
  for (const auto& [key, run] : runs) {
    const auto request = requests.find(run->request);
    const bool wanted =
        request != requests.end() &&
        std::any_of(request->second->pending_calls.begin(), request->second->pending_calls.end(),
                    [&k = key](const PendingView& call) { return call.key == k; });
    expect(wanted || run->cancelling, about(run->request, "runs a call that nobody wants"));
  }
  for (const RoleLoad& load : loads) {
    expect(load.waiting == 0 || load.free == 0, "committed work waits beside a free slot");
    expect(load.speculative == 0 || load.cancelling >= load.waiting,
           "speculation holds a slot that committed work waits for");
  }
  return out;
}

void Monitor::expect(bool holds, RequestId request, const char* what) {
  if (!holds) violations_.push_back(about(request, what));
}

void Monitor::follow(const Event& event, const std::vector<Command>& commands) {
  take(event);
  for (const Command& command : commands) take(command);
  if (const auto* submit = std::get_if<Submit>(&event)) {
    const Story& story = stories_[submit->request];
    expect(story.accepted || story.refused, submit->request, "neither accepted nor refused");
  }
  for (const auto& [request, story] : stories_) {
    expect(!story.ended || story.held.empty(), request, "ended without releasing an image");
  }
}

void Monitor::follow(const Event& event, const std::vector<Command>& commands,
                     const Snapshot& snapshot) {
  follow(event, commands);
  compare(snapshot);
  for (std::string& violation : check_snapshot(snapshot))
    violations_.push_back(std::move(violation));
}

// A lane knows only what the commands said; the scheduler must remember the same.
void Monitor::compare(const Snapshot& snapshot) {
  std::size_t count = 0;
  for (const LaneView& lane : snapshot.lanes) {
    const auto known = lanes_.find(lane.info.id);
    expect(known != lanes_.end() && known->second.first.capacity == lane.info.capacity, 0,
           "a lane is known that is not up, or it has lost a slot");
    for (const RunningView& view : lane.running) {
      ++count;
      const auto found = running_.find(view.key);
      expect(found != running_.end(), view.request, "a call that has ended holds a slot");
      if (found == running_.end()) continue;
      const Running& run = found->second;
      expect(run.lane == lane.info.id, view.request, "a call runs elsewhere");
      expect(run.cancelled == view.cancelling, view.request,
             "the lane was not told that its call is cancelled");
      expect(view.cancelling || run.speculative == view.speculative, view.request,
             "the lane was not told that its call is certain");
    }
  }
  expect(snapshot.lanes.size() == lanes_.size(), 0, "a lane that is up is not known");
  expect(count == running_.size(), 0, "a call runs that the scheduler has forgotten");
}

bool Monitor::settled() const {
  return std::all_of(stories_.begin(), stories_.end(), [](const auto& entry) {
    const Story& story = entry.second;
    return story.refused || (story.ended && story.held.empty());
  });
}

void Monitor::take(const Event& event) {
  const auto terminal = [this](const Key& call) {
    const auto found = running_.find(call);
    if (found == running_.end()) return false;
    --lanes_[found->second.lane].second;
    running_.erase(found);
    return true;
  };
  if (const auto* submit = std::get_if<Submit>(&event)) {
    Story& story = stories_[submit->request];
    story.accepted = true;  // until a Refuse says otherwise
    story.held.insert(submit->spec.images.begin(), submit->spec.images.end());
  } else if (const auto* done = std::get_if<CallDone>(&event)) {
    const auto found = running_.find(done->call);
    if (found == running_.end()) return;
    Story& story = stories_[found->second.request];
    if (const auto* image = std::get_if<Image>(&done->result)) {
      story.held.insert(image->key);
      story.released.erase(image->key);  // made again after its first copy was discarded
    }
    terminal(done->call);
  } else if (const auto* failed = std::get_if<CallFailed>(&event)) {
    terminal(failed->call);
  } else if (const auto* cancelled = std::get_if<CallCancelled>(&event)) {
    terminal(cancelled->call);
  } else if (const auto* up = std::get_if<LaneUp>(&event)) {
    lanes_[up->lane.id].first = up->lane;
  } else if (const auto* down = std::get_if<LaneDown>(&event)) {
    std::erase_if(running_, [&](const auto& entry) { return entry.second.lane == down->lane; });
    lanes_.erase(down->lane);
  }
}

void Monitor::take(const Command& command) {
  if (const auto* start = std::get_if<StartCall>(&command)) {
    started(*start);
  } else if (const auto* promote = std::get_if<PromoteCall>(&command)) {
    const auto found = running_.find(promote->call);
    const bool runs = found != running_.end() && found->second.lane == promote->lane;
    expect(runs, 0, "promotes a call that does not run there");
    if (!runs) return;
    expect(found->second.speculative, found->second.request, "promotes a certain call");
    found->second.speculative = false;
  } else if (const auto* cancel = std::get_if<CancelCall>(&command)) {
    const auto found = running_.find(cancel->call);
    const bool runs = found != running_.end() && found->second.lane == cancel->lane;
    expect(runs, 0, "cancels a call that does not run there");
    if (!runs) return;
    expect(!found->second.cancelled, found->second.request, "cancels a call twice");
    found->second.cancelled = true;
  } else if (const auto* prefetch = std::get_if<SendPrefetch>(&command)) {
    expect(lanes_.contains(prefetch->lane), prefetch->prefetch.request,
           "prefetches to a lane that is not up");
  } else if (const auto* release = std::get_if<ReleaseImage>(&command)) {
    Story& story = stories_[release->request];
    expect(story.held.erase(release->image) == 1, release->request, "releases an image twice");
    story.released.insert(release->image);
  } else if (const auto* deliver = std::get_if<Deliver>(&command)) {
    told(stories_[deliver->request], deliver->request, deliver->notice);
  } else if (const auto* refuse = std::get_if<Refuse>(&command)) {
    Story& story = stories_[refuse->request];
    expect(story.plan_steps == 0 && !story.ended && !story.refused, refuse->request,
           "refused after it was accepted");
    story.accepted = false;
    story.refused = true;
    story.held.clear();  // never taken over
  }
}

void Monitor::started(const StartCall& start) {
  const RequestId request = start.call.request;
  const Story& story = stories_[request];
  const auto lane = lanes_.find(start.lane);
  expect(lane != lanes_.end(), request, "starts a call on a lane that is not up");
  if (lane == lanes_.end()) return;
  auto& [info, load] = lane->second;
  expect(info.role == start.call.role, request, "starts a call on a lane of another role");
  expect(++load <= info.capacity, request, "starts a call beyond the lane's capacity");
  expect(start.call.key == key_of(start.call), request, "starts a call under a wrong key");
  expect(story.accepted && !story.ended, request, "starts a call for a request that has ended");
  expect(running_.emplace(start.call.key, Running{request, start.lane, start.speculative, false})
             .second,
         request, "starts a call that runs already");
  std::vector<Key> reads = start.call.images;
  reads.push_back(start.call.source);
  reads.push_back(start.call.image);
  for (const Key& image : reads) {
    expect(!image || story.held.contains(image), request, "starts a call on a released image");
  }
}

void Monitor::told(Story& story, RequestId request, const Notice& notice) {
  expect(story.accepted, request, "is told of without having been accepted");
  expect(!story.ended, request, "is told of after its end");
  if (const auto* planned = std::get_if<PlanStepReady>(&notice)) {
    expect(planned->index == story.plan_steps++, request, "plan steps out of order");
    story.plan.push_back(planned->step);
  } else if (const auto* made = std::get_if<AttemptReady>(&notice)) {
    expect(made->step == story.committed && made->step < story.plan_steps, request,
           "an attempt before its step");
    const bool first = story.attempts.empty();
    expect(made->attempt.number == static_cast<int>(story.attempts.size()) + 1 &&
               (first || story.judged),
           request, "attempts out of order");
    expect(!made->attempt.verdict, request, "an attempt with its verdict before the verdict");
    story.attempts.push_back(made->attempt);
    story.judged = false;
  } else if (const auto* judged = std::get_if<VerdictReady>(&notice)) {
    expect(judged->step == story.committed && !story.judged && !story.attempts.empty() &&
               judged->attempt == story.attempts.back().number && judged->verdict.readable,
           request, "a verdict without its attempt");
    if (story.attempts.empty()) return;
    story.judged = true;
    story.attempts.back().verdict = judged->verdict;
  } else if (const auto* step = std::get_if<StepCommitted>(&notice)) {
    committed(story, request, *step);
  } else if (std::holds_alternative<RequestEnded>(notice)) {
    story.ended = true;
  }
}

void Monitor::committed(Story& story, RequestId request, const StepCommitted& step) {
  const auto index = static_cast<std::size_t>(step.step);
  expect(step.step == story.committed && index < story.plan.size(), request,
         "steps committed out of order");
  if (index >= story.plan.size()) return;
  expect(step.result.plan == story.plan[index], request, "commits another step than was planned");
  const auto& attempts = step.result.attempts;
  bool same = attempts.size() == story.attempts.size();
  for (std::size_t i = 0; same && i < attempts.size(); ++i) {
    const Attempt& told_attempt = story.attempts[i];
    same =
        attempts[i].image.key == told_attempt.image.key &&
        attempts[i].verdict.has_value() == told_attempt.verdict.has_value() &&
        (!attempts[i].verdict || attempts[i].verdict->accepted == told_attempt.verdict->accepted);
  }
  expect(same, request, "commits other attempts than were told");
  ++story.committed;
  story.attempts.clear();
  story.judged = false;
}

}  // namespace irt::test
