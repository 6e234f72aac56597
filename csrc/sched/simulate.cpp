#include "sched/simulate.h"

#include <algorithm>
#include <cmath>

namespace irt {

const RequestEnded* SimRequest::end() const {
  return notices.empty() ? nullptr : std::get_if<RequestEnded>(&notices.back());
}

std::vector<StepResult> SimRequest::steps() const {
  std::vector<StepResult> out;
  for (const Notice& notice : notices) {
    if (const auto* step = std::get_if<StepCommitted>(&notice)) out.push_back(step->result);
  }
  return out;
}

Simulator::Simulator(const SimConfig& config, SimModel model)
    : config_(config),
      model_(std::move(model)),
      scheduler_(config.scheduler),
      random_(config.seed) {}

void Simulator::add_lane(const SimLane& lane, TimePoint at_time) {
  lanes_[lane.info.id] = lane;
  at(at_time, LaneUp{lane.info});
}

void Simulator::at(TimePoint when, Event event) { timeline_.emplace(when, std::move(event)); }

bool Simulator::run(std::size_t max_events) {
  Event event;
  for (std::size_t count = 0; take_next(event); ++count) {
    if (count == max_events) return false;
    apply(event);
  }
  return true;
}

double Simulator::rate(const Active& active) const {
  const bool beside = std::any_of(active_.begin(), active_.end(), [&](const Active& other) {
    return other.role != active.role && other.device == active.device;
  });
  return beside ? config_.rate_beside[static_cast<std::size_t>(active.role)] : 1.0;
}

TimePoint Simulator::due(const Active& active) const {
  const double left = active.milestones[active.next].work - active.done;
  return now_ + static_cast<TimePoint>(std::ceil(std::max(0.0, left) / rate(active) - 1e-6));
}

// Rates change only with events, so between two of them all work is linear.
void Simulator::advance(TimePoint to) {
  const auto passed = static_cast<double>(to - now_);
  if (passed > 0.0) {
    std::vector<double> rates;
    for (const Active& active : active_) rates.push_back(rate(active));
    for (std::size_t i = 0; i < active_.size(); ++i) active_[i].done += passed * rates[i];
  }
  now_ = to;
}

bool Simulator::take_next(Event& event) {
  struct Source {
    TimePoint when;
    std::size_t what;  // index of an active call; then: timeline, wake-up
    bool cancel;
  };
  const std::size_t timeline = active_.size();
  const std::size_t wake = timeline + 1;
  std::vector<Source> sources;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    sources.push_back({due(active_[i]), i, false});
    if (active_[i].cancel_at != kNever) sources.push_back({active_[i].cancel_at, i, true});
  }
  if (!timeline_.empty()) sources.push_back({timeline_.begin()->first, timeline, false});
  if (wake_ != kNever) sources.push_back({std::max(now_, wake_), wake, false});
  if (sources.empty()) return false;
  TimePoint first = kNever;
  for (const Source& source : sources) first = std::min(first, source.when);
  std::erase_if(sources, [first](const Source& source) { return source.when > first; });
  const Source source = sources[random_() % sources.size()];
  advance(first);
  if (source.what == wake) {
    event = Tick{};
  } else if (source.what == timeline) {
    event = std::move(timeline_.begin()->second);
    timeline_.erase(timeline_.begin());
  } else {
    Active& active = active_[source.what];
    const bool terminal = source.cancel || active.milestones[active.next].terminal;
    event = source.cancel ? Event(CallCancelled{active.key})
                          : std::move(active.milestones[active.next].event);
    ++active.next;
    if (terminal) active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(source.what));
  }
  return true;
}

void Simulator::apply(const Event& event) {
  if (const auto* submit = std::get_if<Submit>(&event)) {
    requests_[submit->request].submitted = now_;
  } else if (const auto* down = std::get_if<LaneDown>(&event)) {
    std::erase_if(active_, [down](const Active& active) { return active.lane == down->lane; });
  }
  commands_.clear();
  wake_ = scheduler_.apply(event, now_, commands_);
  for (const Command& command : commands_) carry_out(command);
  if (observer_) observer_(event, commands_, scheduler_);
}

void Simulator::carry_out(const Command& command) {
  if (const auto* started = std::get_if<StartCall>(&command)) {
    start(*started);
  } else if (const auto* cancel = std::get_if<CancelCall>(&command)) {
    for (Active& active : active_) {
      if (active.key == cancel->call) active.cancel_at = now_ + lanes_[active.lane].cancel_delay;
    }
  } else if (const auto* deliver = std::get_if<Deliver>(&command)) {
    SimRequest& request = requests_[deliver->request];
    request.notices.push_back(deliver->notice);
    if (!std::holds_alternative<RequestEnded>(deliver->notice)) return;
    request.ended = now_;
    at(now_ + config_.reader_delay, Consumed{deliver->request});
  } else if (const auto* refuse = std::get_if<Refuse>(&command)) {
    requests_[refuse->request].refused = refuse->failure;
  }
}

void Simulator::start(const StartCall& start) {
  SimAnswer answer = model_(start);
  Active active;
  active.key = start.call.key;
  active.lane = start.lane;
  active.role = role_of(start.call.kind);
  active.device = lanes_[start.lane].info.device;
  auto work = static_cast<double>(answer.work);
  const auto add = [&active](double when, Event event, bool terminal) {
    active.milestones.push_back({when, std::move(event), terminal});
  };
  auto* result = std::get_if<CallResult>(&answer.end);
  if (const auto* plan = result == nullptr ? nullptr : std::get_if<Plan>(result)) {
    const std::size_t closed = std::min(answer.steps_closed.size(), plan->steps.size());
    for (std::size_t k = 0; k < closed; ++k) {
      add(std::min(work, static_cast<double>(answer.steps_closed[k])),
          StepClosed{active.key, static_cast<int>(k), plan->steps[k]}, false);
    }
  }
  if (auto* verdict = result == nullptr ? nullptr : std::get_if<Verdict>(result);
      verdict != nullptr && verdict->readable && answer.verdict_known) {
    const double known = std::min(work, static_cast<double>(*answer.verdict_known));
    add(known, VerdictKnown{active.key, verdict->accepted, verdict->p_success}, false);
    if (verdict->accepted && start.call.devices.early_verdict) {
      work = known;
      verdict->refined.reset();
    }
  }
  if (result != nullptr) {
    add(work, CallDone{active.key, std::move(*result)}, true);
  } else {
    add(work, CallFailed{active.key, std::move(std::get<Failure>(answer.end))}, true);
  }
  active_.push_back(std::move(active));
}

}  // namespace irt
