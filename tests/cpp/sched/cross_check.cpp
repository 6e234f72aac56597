#include "cross_check.h"

#include <algorithm>

namespace irt::test {
namespace {

std::string about(RequestId request, const char* what) {
  return "request " + std::to_string(request) + ": " + what;
}

bool has(const std::vector<Key>& keys, const Key& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

}  // namespace

const ReferenceResult& Oracle::of(RequestId request) {
  auto& known = results_[request];
  if (!known) {
    const Script& script = scripts_[request];
    known = run_reference(request, specs_[request],
                          [&script](const Call& call) { return script.result(call); });
    std::sort(known->asked.begin(), known->asked.end());
  }
  return *known;
}

bool Oracle::asks(RequestId request, const Key& call) {
  const std::vector<Key>& asked = of(request).asked;
  return std::binary_search(asked.begin(), asked.end(), call);
}

CrossCheck::CrossCheck(const std::vector<RequestSpec>& specs, Oracle& oracle,
                       const Monitor& monitor)
    : specs_(specs),
      oracle_(oracle),
      monitor_(monitor),
      waits_(specs.size()),
      dead_(specs.size()),
      story_(specs.size()),
      submitted_(specs.size()) {
  for (auto& roles : waits_) {
    for (Wait& wait : roles) wait.overtaken.resize(specs.size());
  }
}

std::string CrossCheck::follow(const Event& event, const std::vector<Command>& commands,
                               const Snapshot& snapshot, TimePoint now) {
  if (const auto* submit = std::get_if<Submit>(&event)) submitted_[submit->request] = now;
  std::string problem = take(commands, now);
  if (problem.empty()) problem = in_time(event, snapshot, now);
  if (problem.empty()) problem = depth(snapshot);
  if (problem.empty()) problem = fair(commands, snapshot, now);
  if (problem.empty()) problem = no_dead_images(commands, snapshot);
  return problem;
}

std::string CrossCheck::told(const Deliver& told, TimePoint now) {
  if (const auto* made = std::get_if<AttemptReady>(&told.notice)) {
    made_ahead_ += ahead_.contains(made->attempt.image.key) ? 1 : 0;
  } else if (const auto* end = std::get_if<RequestEnded>(&told.notice)) {
    const TimePoint due = std::max(specs_[told.request].deadline, submitted_[told.request]);
    if (end->outcome == Outcome::kDeadline && now != due) {
      return about(told.request, "is not ended at its deadline");
    }
  }
  return "";
}

std::string CrossCheck::take(const std::vector<Command>& commands, TimePoint now) {
  for (const Command& command : commands) {
    if (const auto* start = std::get_if<StartCall>(&command)) {
      const RequestId request = start->call.request;
      if (start->speculative) {
        ahead_.insert(start->call.key);
      } else {
        ahead_.erase(start->call.key);
      }
      if (!start->speculative && !oracle_.asks(request, start->call.key)) {
        return about(request, "starts a call as certain that the sequential loop does not make");
      }
    } else if (const auto* promote = std::get_if<PromoteCall>(&command)) {
      const RequestId request = monitor_.running().at(promote->call).request;
      if (!oracle_.asks(request, promote->call)) {
        return about(request, "promotes a call that the sequential loop does not make");
      }
    } else if (const auto* deliver = std::get_if<Deliver>(&command)) {
      const std::string problem = told(*deliver, now);
      if (!problem.empty()) return problem;
    }
  }
  return "";
}

std::string CrossCheck::in_time(const Event& event, const Snapshot& snapshot, TimePoint now) {
  const bool tick = std::holds_alternative<Tick>(event);
  if (tick && ticked_ == now) return "is woken again and again at the same time";
  ticked_ = tick ? now : -1;
  const auto* cancel = std::get_if<CancelRequest>(&event);
  bool free = snapshot.live < snapshot.max_live;
  for (const RequestView& view : snapshot.requests) {
    if (view.phase == RequestPhase::kEnded) continue;
    if (specs_[view.request].deadline <= now) return about(view.request, "is past its deadline");
    if (cancel != nullptr && cancel->request == view.request) {
      return about(view.request, "was cancelled and goes on");
    }
    if (free && view.phase == RequestPhase::kQueued) {
      return about(view.request, "is kept waiting although a place is free");
    }
  }
  return "";
}

// Speculation stays within what the request allows.
std::string CrossCheck::depth(const Snapshot& snapshot) const {
  for (const RequestView& view : snapshot.requests) {
    const int most = read_ahead(specs_[view.request].speculation);
    const int allowed = specs_[view.request].speculation.mode == SpeculationMode::kDepth
                            ? specs_[view.request].speculation.depth
                            : most;
    for (const PendingView& want : view.pending_calls) {
      if (want.beyond > allowed) return about(view.request, "looks beyond its depth");
    }
  }
  return "";
}

// Of two requests that wait for a role, the one that was granted less recently goes first: nobody
// is overtaken twice by the same other request.
std::string CrossCheck::fair(const std::vector<Command>& commands, const Snapshot& snapshot,
                             TimePoint now) {
  std::vector<std::array<bool, kRoles>> waiting(specs_.size());
  for (const RequestView& view : snapshot.requests) {
    for (const PendingView& want : view.pending_calls) {
      if (want.certain && !want.running && snapshot.has_room(want.role, view.request)) {
        waiting[view.request][index_of(want.role)] = true;
      }
    }
  }
  const auto granted = [&commands](RequestId request, std::size_t role) {
    return std::any_of(commands.begin(), commands.end(), [&](const Command& command) {
      const auto* start = std::get_if<StartCall>(&command);
      return start != nullptr && !start->speculative && start->call.request == request &&
             index_of(start->call.role) == role;
    });
  };
  for (RequestId id = 0; id < specs_.size(); ++id) {
    for (std::size_t role = 0; role < kRoles; ++role) {
      Wait& wait = waits_[id][role];
      if (!waiting[id][role]) {
        wait.waits = false;
        continue;
      }
      if (!wait.waits || granted(id, role)) {
        wait.waits = true;
        wait.since = now;
        std::fill(wait.overtaken.begin(), wait.overtaken.end(), 0);
        continue;
      }
      if (now == wait.since) continue;
      for (const Command& command : commands) {
        const auto* start = std::get_if<StartCall>(&command);
        if (start == nullptr || start->speculative || index_of(start->call.role) != role) {
          continue;
        }
        if (++wait.overtaken[start->call.request] > 1) {
          return about(id, "starves: another request is served twice while it waits");
        }
      }
    }
  }
  return "";
}

// Images that are dead by the rules: attempts of a committed step that are not its final image,
// and those that the next step does not start from (the plan reads the input images as long as it
// runs).
std::string CrossCheck::no_dead_images(const std::vector<Command>& commands,
                                       const Snapshot& snapshot) {
  bool more = false;
  for (const Command& command : commands) {
    const auto* told = std::get_if<Deliver>(&command);
    const auto* step = told == nullptr ? nullptr : std::get_if<StepCommitted>(&told->notice);
    if (step == nullptr || !step->result.image) continue;
    more = true;
    std::vector<Key>& dead = dead_[told->request];
    for (const Attempt& attempt : step->result.attempts) {
      if (attempt.image.key != *step->result.image) dead.push_back(attempt.image.key);
    }
    const RequestSpec& spec = specs_[told->request];
    std::vector<Key>& story = story_[told->request];
    if (story.empty()) story = spec.images;
    story.push_back(*step->result.image);
    const auto seen = std::min(story.size(), static_cast<std::size_t>(spec.references));
    const auto first = story.end() - static_cast<std::ptrdiff_t>(seen);
    dead.insert(dead.end(), story.begin(), first);
    story.erase(story.begin(), first);
    std::erase_if(dead, [&story](const Key& image) { return has(story, image); });
  }
  if (!more) return "";
  for (const RequestView& view : snapshot.requests) {
    for (const Key& image : dead_[view.request]) {
      const auto reads = [&image](const PendingView& want) { return has(want.images, image); };
      if (has(view.images, image) &&
          std::none_of(view.pending_calls.begin(), view.pending_calls.end(), reads)) {
        return about(view.request, "holds an image that nothing can need any more");
      }
    }
  }
  return "";
}

}  // namespace irt::test
