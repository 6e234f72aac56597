// A scheduler driven by hand, event by event, with every command watched by the monitor.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "sched/scheduler.h"
#include "support/monitor.h"

namespace irt::test {

inline RequestSpec spec_of(SpeculationMode mode = SpeculationMode::kOff, int depth = 1) {
  RequestSpec spec;
  spec.text = "draw";
  spec.speculation = {mode, depth};
  return spec;
}

// Spelt out: GCC 12 warns falsely at `"p" + std::to_string(n)`.
inline std::string named(std::string name, std::uint64_t number) {
  name += std::to_string(number);
  return name;
}

inline PlanStep image_step(int number) {
  PlanStep step;
  step.step_number = number;
  step.prompt = named("p", static_cast<std::uint64_t>(number));
  return step;
}

inline Plan plan_of(int steps) {
  Plan plan;
  for (int i = 1; i <= steps; ++i) plan.steps.push_back(image_step(i));
  return plan;
}

inline Verdict accepted(double p = 0.9) { return {true, true, p, std::nullopt, ""}; }
inline Verdict refused(std::string refined, double p = 0.1) {
  return {true, false, p, std::move(refined), ""};
}

class Rig {
 public:
  explicit Rig(const SchedulerConfig& config = {}) : scheduler(config) {}
  ~Rig() {
    for (const std::string& violation : monitor.violations()) FAIL_CHECK(violation);
  }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  void send(Event event) {
    out.clear();
    Event copy = event;
    wake = scheduler.apply(std::move(event), now, out);
    monitor.follow(copy, out, Snapshot(scheduler));
    for (const Command& command : out) {
      if (const auto* start = std::get_if<StartCall>(&command)) started.push_back(*start);
      if (const auto* told = std::get_if<Deliver>(&command)) notices.push_back(*told);
    }
  }
  void lane(LaneId id, Role role, int capacity = 1, const std::string& device = "") {
    send(LaneUp{
        {id, role, capacity, device.empty() ? named("device ", id) : device, named("lane ", id)}});
  }
  // Lanes 0, 1, 2: planner, generator, critic.
  void lanes(int planner = 1, int generator = 1, int critic = 1) {
    lane(0, Role::kPlanner, planner);
    lane(1, Role::kGenerator, generator);
    lane(2, Role::kCritic, critic);
  }
  void submit(RequestId id, const RequestSpec& spec = spec_of()) { send(Submit{id, spec}); }
  void done(const Call& call, CallResult result) { send(CallDone{call.key, std::move(result)}); }
  void image(const Call& call) { done(call, Image{call.key, call.key.lo}); }

  // The latest call of its kind that was started for a request and place.
  const Call& call(RequestId request, Role role, int step = 0, int attempt = 0) const {
    for (auto it = started.rbegin(); it != started.rend(); ++it) {
      const Call& known = it->call;
      if (known.request == request && known.role == role && known.step == step &&
          (attempt == 0 || known.attempt == attempt)) {
        return known;
      }
    }
    FAIL("no such call was started");
    return started.front().call;
  }
  int starts(RequestId request, Role role, int step = 0, int attempt = 0) const {
    return static_cast<int>(std::count_if(started.begin(), started.end(), [&](const auto& start) {
      return start.call.request == request && start.call.role == role && start.call.step == step &&
             (attempt == 0 || start.call.attempt == attempt);
    }));
  }
  // Commands of the last event.
  template <class What>
  std::vector<What> last() const {
    std::vector<What> found;
    for (const Command& command : out) {
      if (const auto* it = std::get_if<What>(&command)) found.push_back(*it);
    }
    return found;
  }
  bool cancels(const Key& call) const {
    const auto found = last<CancelCall>();
    return std::any_of(found.begin(), found.end(),
                       [&](const CancelCall& cancel) { return cancel.call == call; });
  }
  std::optional<RequestEnded> end(RequestId request) const {
    for (const Deliver& told : notices) {
      const auto* ended = std::get_if<RequestEnded>(&told.notice);
      if (told.request == request && ended != nullptr) return *ended;
    }
    return std::nullopt;
  }
  std::string why(RequestId request) const {
    const auto ended = end(request);
    return ended && ended->failure ? ended->failure->message : "";
  }

  Scheduler scheduler;
  Monitor monitor;
  TimePoint now = 0;
  TimePoint wake = kNever;
  std::vector<Command> out;
  std::vector<StartCall> started;
  std::vector<Deliver> notices;
};

}  // namespace irt::test
