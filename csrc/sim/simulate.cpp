#include "sim/simulate.h"

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

// ---- rates: how fast the active calls get on ------------------------------------------------

std::size_t Simulator::machine_of(const SimLane& lane) {
  const std::string& name = lane.machine.empty() ? lane.info.device : lane.machine;
  for (std::size_t i = 0; i < machines_.size(); ++i) {
    if (machines_[i].name == name) return i;
  }
  machines_.emplace_back().name = name;
  return machines_.size() - 1;
}

double Simulator::rate(const Active& active) const {
  const Machine& machine = machines_[active.machine];
  const auto role = index_of(active.role);
  std::size_t mask = 0;
  for (std::size_t r = 0; r < kRoles; ++r) mask |= (machine.active[r] > 0 ? 1U : 0U) << r;
  double rate = 1.0;
  if (const auto table = config_.rates.find(machine.name); table != config_.rates.end()) {
    rate = table->second[mask][role];
  } else if (mask != std::size_t{1} << role) {
    rate = config_.rate_beside[role];
  }
  const std::vector<double>& curve = lanes_.at(active.lane).batching;
  if (curve.empty()) return rate;
  const auto in_lane = static_cast<std::size_t>(
      std::count_if(active_.begin(), active_.end(),
                    [&active](const Active& other) { return other.lane == active.lane; }));
  if (in_lane <= curve.size()) return rate / curve[in_lane - 1];
  const double last = curve.back();
  const double slope = curve.size() > 1 ? last - curve[curve.size() - 2] : 0.0;
  return rate / (last + slope * static_cast<double>(in_lane - curve.size()));
}

void Simulator::set_rates() {
  if (!rates_stale_) return;
  for (Active& active : active_) active.rate = rate(active);
  rates_stale_ = false;
}

void Simulator::leave(std::size_t index) {
  const Active& active = active_[index];
  rests_since_[active.lane] = now_;
  --machines_[active.machine].active[index_of(active.role)];
  active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(index));
  rates_stale_ = true;
}

// ---- time -----------------------------------------------------------------------------------

TimePoint Simulator::due(const Active& active, double work) const {
  const double left = work - active.done;
  return now_ + static_cast<TimePoint>(std::ceil(std::max(0.0, left) / active.rate - 1e-6));
}

// Rates change only with events, so between two of them all work is linear.
void Simulator::advance(TimePoint to) {
  const auto passed = static_cast<double>(to - now_);
  if (passed > 0.0) {
    for (Active& active : active_) active.done += passed * active.rate;
  }
  now_ = to;
}

bool Simulator::take_next(Event& event) {
  const std::size_t timeline = active_.size();
  const std::size_t wake = timeline + 1;
  set_rates();
  sources_.clear();
  for (std::size_t i = 0; i < active_.size(); ++i) {
    const Active& active = active_[i];
    const double work = active.milestones[active.next].work;
    if (active.cancel_work >= 0.0 && active.cancel_work <= work) {
      sources_.push_back({due(active, active.cancel_work), i, true});
      continue;
    }
    sources_.push_back({due(active, work), i, false});
    if (active.cancel_at != kNever) sources_.push_back({active.cancel_at, i, true});
  }
  if (!timeline_.empty()) sources_.push_back({timeline_.begin()->first, timeline, false});
  if (wake_ != kNever) sources_.push_back({std::max(now_, wake_), wake, false});
  if (sources_.empty()) return false;
  TimePoint first = kNever;
  for (const Source& source : sources_) first = std::min(first, source.when);
  std::erase_if(sources_, [first](const Source& source) { return source.when > first; });
  const Source source = sources_[random_() % sources_.size()];
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
    if (terminal) leave(source.what);
  }
  return true;
}

void Simulator::apply(const Event& event) {
  ++events_;
  if (const auto* submit = std::get_if<Submit>(&event)) {
    requests_[submit->request].submitted = now_;
  } else if (const auto* down = std::get_if<LaneDown>(&event)) {
    for (std::size_t i = active_.size(); i-- > 0;) {
      if (active_[i].lane == down->lane) leave(i);
    }
  }
  commands_.clear();
  wake_ = scheduler_.apply(event, now_, commands_);
  for (const Command& command : commands_) carry_out(command);
  if (observer_) observer_(event, commands_, scheduler_);
}

void Simulator::cancel(const Key& call) {
  for (Active& active : active_) {
    if (active.key != call) continue;
    if (active.part > 0.0) {
      active.cancel_work = std::ceil(active.done / active.part - 1e-9) * active.part;
    } else {
      active.cancel_at = now_ + lanes_.at(active.lane).cancel_delay;
    }
  }
}

void Simulator::carry_out(const Command& command) {
  if (const auto* started = std::get_if<StartCall>(&command)) {
    start(*started);
  } else if (const auto* stopped = std::get_if<CancelCall>(&command)) {
    cancel(stopped->call);
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

// What is left of a call's work right after another one; a pause of a millisecond is a rest. (What
// calls at the same time save is in the batching curve.)
double Simulator::warm_share(LaneId lane, double work) const {
  constexpr TimePoint kRest = 1000;
  constexpr double kLeast = 0.5;
  const auto saving = static_cast<double>(lanes_.at(lane).warm_saving);
  if (saving == 0.0 || work <= 0.0) return 1.0;
  const bool busy = std::any_of(active_.begin(), active_.end(),
                                [lane](const Active& active) { return active.lane == lane; });
  const auto rested = rests_since_.find(lane);
  if (busy || rested == rests_since_.end() || now_ - rested->second > kRest) return 1.0;
  return std::max(kLeast, 1.0 - saving / work);
}

void Simulator::start(const StartCall& start) {
  SimAnswer answer = model_(start);
  Active active;
  active.key = start.call.key;
  active.lane = start.lane;
  active.role = start.call.role;
  active.machine = machine_of(lanes_.at(start.lane));
  auto work = static_cast<double>(answer.work);
  const double warm = warm_share(start.lane, work);
  work *= warm;
  if (answer.cancel_parts > 0) active.part = work / answer.cancel_parts;
  const auto add = [&active](double when, Event event, bool terminal) {
    active.milestones.push_back({when, std::move(event), terminal});
  };
  auto* result = std::get_if<CallResult>(&answer.end);
  if (const auto* plan = result == nullptr ? nullptr : std::get_if<Plan>(result)) {
    const std::size_t closed = std::min(answer.steps_closed.size(), plan->steps.size());
    for (std::size_t k = 0; k < closed; ++k) {
      add(std::min(work, warm * static_cast<double>(answer.steps_closed[k])),
          StepClosed{active.key, static_cast<int>(k), plan->steps[k]}, false);
    }
  }
  if (auto* verdict = result == nullptr ? nullptr : std::get_if<Verdict>(result);
      verdict != nullptr && verdict->readable && answer.verdict_known) {
    const double known = std::min(work, warm * static_cast<double>(*answer.verdict_known));
    add(known, VerdictKnown{active.key, verdict->accepted, verdict->p_success}, false);
    if (verdict->accepted && start.call.optimizations.early_verdict) {
      work = std::min(work, known + static_cast<double>(answer.accepted_tail));
      verdict->refined.reset();
    }
  }
  if (result != nullptr) {
    add(work, CallDone{active.key, std::move(*result)}, true);
  } else {
    add(work, CallFailed{active.key, std::move(std::get<Failure>(answer.end))}, true);
  }
  ++machines_[active.machine].active[index_of(active.role)];
  active_.push_back(std::move(active));
  rates_stale_ = true;
}

}  // namespace irt
