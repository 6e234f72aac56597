// Slots of lanes: which call starts where, which one makes room, and what the policy is asked.
#include <algorithm>
#include <iterator>
#include <ranges>
#include <tuple>

#include "sched/scheduler.h"

namespace irt {

const PendingCall* Scheduler::find_pending(const RequestState& state, const Key& key) {
  const auto found = std::ranges::find_if(
      state.pending_calls, [&key](const PendingCall& pending) { return pending.call->key == key; });
  return found == state.pending_calls.end() ? nullptr : &*found;
}

Scheduler::Lane* Scheduler::find_lane(LaneId id) {
  const auto found = std::ranges::find(lanes_, id, [](const Lane& lane) { return lane.info.id; });
  return found == lanes_.end() ? nullptr : &*found;
}

bool Scheduler::has_lane(Role role) const noexcept {
  return std::ranges::any_of(lanes_, [role](const Lane& lane) { return lane.info.role == role; });
}

bool Scheduler::startable(const RequestState& state, const PendingCall& pending) const {
  const Key& key = pending.call->key;
  return !running_.contains(key) &&
         (pending.certain ||
          std::ranges::find(state.failed_ahead, key) == state.failed_ahead.end());
}

void Scheduler::recount(RequestState& state) {
  state.waiting.fill(0);
  state.speculative_ready.fill(0);
  for (const PendingCall& pending : state.pending_calls) {
    if (!startable(state, pending)) continue;
    ++(pending.certain ? state.waiting : state.speculative_ready)[index_of(pending.call->role)];
  }
  for (std::size_t r = 0; r < kRoles; ++r) {
    enlist(waiting_[r], state, state.waiting[r] > 0);
    enlist(speculative_ready_[r], state, state.speculative_ready[r] > 0);
    if (state.waiting[r] == 0) {
      state.waiting_since[r] = kNever;
    } else if (state.waiting_since[r] == kNever) {
      state.waiting_since[r] = now_;
    }
  }
}

void Scheduler::enlist(Requests& list, RequestState& state, bool wanted) {
  const auto found = std::ranges::find(list, &state);
  if (found == list.end()) {
    if (wanted) list.push_back(&state);
  } else if (!wanted) {
    *found = list.back();
    list.pop_back();
  }
}

void Scheduler::fill_slots(Role role) {
  while (start_certain(role)) {
  }
  if (waiting_[index_of(role)].empty()) {
    if (role == Role::kGenerator && image_room_.little) return;
    rivals_known_ = false;
    while (start_speculative(role)) {
    }
  } else {
    preempt(role);
  }
}

// Whether the store may take what a certain call of the request makes.
bool Scheduler::has_room(Role role, const RequestState& state) const noexcept {
  return role != Role::kGenerator || !image_room_.little || image_room_.only == state.id;
}

// Least recently granted first; of equals the earlier deadline, then the earlier request. A new
// request counts as granted at its admission, so that a stream of new ones starves nobody.
Scheduler::RequestState* Scheduler::next_waiting(Role role) {
  const std::size_t r = index_of(role);
  if (role == Role::kGenerator && image_room_.little) {
    const auto only = std::ranges::find_if(
        waiting_[r], [&](const RequestState* state) { return has_room(role, *state); });
    return only == waiting_[r].end() ? nullptr : *only;
  }
  const auto best = std::ranges::min_element(waiting_[r], {}, [r](const RequestState* state) {
    return std::tuple(state->last_served[r], state->trajectory.spec().deadline, state->order);
  });
  return best == waiting_[r].end() ? nullptr : *best;
}

bool Scheduler::start_certain(Role role) {
  RequestState* state = next_waiting(role);
  if (state == nullptr) return false;
  Lane* lane = pick_lane(role, *state);
  if (lane == nullptr) return false;
  for (const PendingCall& pending : state->pending_calls) {
    if (pending.certain && pending.call->role == role && startable(*state, pending)) {
      state->last_served[index_of(role)] = now_;
      start(*state, pending, *lane);
      return true;
    }
  }
  return false;
}

bool Scheduler::start_speculative(Role role) {
  const Requests& hopeful = speculative_ready_[index_of(role)];
  if (hopeful.empty()) return false;
  for (Lane& lane : lanes_) lane.load.reset();
  RequestState* best_state = nullptr;
  const PendingCall* best = nullptr;
  Lane* best_lane = nullptr;
  bool probe = false;
  for (RequestState* state : hopeful) {
    Lane* lane = pick_lane(role, *state);
    if (lane == nullptr) return false;
    for (const PendingCall& pending : state->pending_calls) {
      if (pending.certain || pending.call->role != role || !startable(*state, pending)) continue;
      if (best != nullptr &&
          (pending.probability < best->probability ||
           (pending.probability == best->probability && state->order > best_state->order))) {
        continue;
      }
      const SpeculationDecision decision = ask_policy(*state, pending, *lane);
      note(*state, pending.call->key, decision);
      if (!decision.start) continue;
      best_state = state;
      best = &pending;
      best_lane = lane;
      probe = decision.reason == SpeculationReason::kProbe;
    }
  }
  if (best == nullptr) return false;
  probes_ += probe ? 1 : 0;
  start(*best_state, *best, *best_lane);
  return true;
}

void Scheduler::note(RequestState& state, const Key& call, const SpeculationDecision& decision) {
  constexpr std::size_t kRemembered = 8;
  const auto said = std::ranges::find(state.told, call, &std::pair<Key, SpeculationReason>::first);
  if (said != state.told.end()) {
    if (said->second == decision.reason) return;
    said->second = decision.reason;
  } else {
    if (state.told.size() >= kRemembered) state.told.erase(state.told.begin());
    state.told.emplace_back(call, decision.reason);
  }
  ++counters_.decisions[static_cast<std::size_t>(decision.reason)];
  decisions_.push_back({state.id, call, decision});
}

// Frees as many slots as certain calls wait for, the least probable speculation first.
void Scheduler::preempt(Role role) {
  int needed = 0;
  for (const RequestState* state : waiting_[index_of(role)]) {
    if (has_room(role, *state)) needed += state->waiting[index_of(role)];
  }
  std::vector<std::pair<const Key, RunningCall>*> ahead;
  for (const Lane& lane : lanes_) {
    if (lane.info.role != role) continue;
    for (const Key& key : lane.running) {
      auto& entry = *running_.find(key);
      if (entry.second.cancelling) {
        --needed;
      } else if (entry.second.speculative) {
        ahead.push_back(&entry);
      }
    }
  }
  std::ranges::stable_sort(ahead, {}, [](const auto* entry) { return entry->second.probability; });
  for (auto* entry : ahead | std::views::take(std::max(0, needed))) {
    ++count(role).preempted;
    cancel(entry->first, entry->second);
  }
}

// The emptiest lane; of equals the one that the request used last, for its caches.
Scheduler::Lane* Scheduler::pick_lane(Role role, const RequestState& state) {
  Lane* best = nullptr;
  const auto used = [&](const Lane& lane) {
    return state.last_lane[index_of(role)] == lane.info.id;
  };
  for (Lane& lane : lanes_) {
    if (lane.info.role != role || lane.free() <= 0) continue;
    if (best == nullptr || lane.running.size() < best->running.size() ||
        (lane.running.size() == best->running.size() && used(lane) && !used(*best))) {
      best = &lane;
    }
  }
  return best;
}

void Scheduler::start(RequestState& state, const PendingCall& pending, Lane& lane) {
  const Key key = pending.call->key;
  const Role role = lane.info.role;
  RunningCall run{.request = state.id,
                  .role = role,
                  .lane = lane.info.id,
                  .started_ahead = !pending.certain,
                  .speculative = !pending.certain,
                  .early_verdict = state.trajectory.spec().optimizations.early_verdict,
                  .probability = pending.probability,
                  .timing = service_times_.start(lane.device, role, now_)};
  run.timing.crowded = !lane.running.empty();
  for (const Key& beside : lane.running) running_.at(beside).timing.crowded = true;
  out_->emplace_back(StartCall{lane.info.id, *pending.call, run.speculative});

  RoleCounters& counted = count(role);
  ++counted.started;
  if (run.speculative) {
    ++counted.speculated;
    state.speculated.push_back({key, role});
  }
  const bool again =
      std::ranges::find(state.lost, key, &std::pair<Key, int>::first) != state.lost.end();
  counted.restarted += again ? 1 : 0;
  if (role == Role::kGenerator) {
    state.generated_step = std::max(state.generated_step, pending.call->step);
  }
  state.last_lane[index_of(role)] = lane.info.id;
  state.running.push_back(key);
  lane.running.push_back(key);
  lane.committed += pending.certain ? 1 : 0;
  running_.emplace(key, run);
  recount(state);
}

void Scheduler::cancel(const Key& key, RunningCall& run) {
  if (run.cancelling) return;
  run.cancelling = true;
  run.cancel_sent = now_;
  ++count(run.role).cancelled;
  out_->emplace_back(CancelCall{run.lane, key});
}

Scheduler::RunningCall Scheduler::finish(const Key& key) {
  const auto found = running_.find(key);
  const RunningCall run = found->second;
  service_times_.stop(run.timing, now_);
  running_.erase(found);
  if (Lane* lane = find_lane(run.lane)) {
    std::erase(lane->running, key);
    lane->committed -= run.speculative ? 0 : 1;
  }
  const auto request = requests_.find(run.request);
  if (request != requests_.end()) std::erase(request->second->running, key);
  return run;
}

void Scheduler::settle_speculation(RequestState& state, const Key& key, bool used) {
  const auto found = std::ranges::find(state.speculated, key, &CallRef::key);
  if (found == state.speculated.end()) return;
  RoleCounters& counted = count(found->role);
  ++(used ? counted.speculation_used : counted.speculation_wasted);
  state.speculated.erase(found);
}

// After the starts, so that nothing is encoded twice for a call that is on its way.
void Scheduler::send_prefetches(RequestState& state) {
  for (StepPrefetch& entry : state.prefetches) {
    if (entry.step >= 0 && entry.step <= state.generated_step) continue;
    std::optional<LaneId>& last = state.last_lane[index_of(entry.prefetch.role)];
    const Lane* target = last ? find_lane(*last) : nullptr;
    for (const Lane& lane : lanes_) {
      if (lane.info.role != entry.prefetch.role) continue;
      if (target == nullptr || (!last && lane.running.size() < target->running.size())) {
        target = &lane;
      }
    }
    if (target == nullptr) continue;
    last = target->info.id;
    out_->emplace_back(SendPrefetch{target->info.id, std::move(entry.prefetch)});
  }
  state.prefetches.clear();
}

// ---- the question to the policy -------------------------------------------------------------

// How long a call goes on until it yields what is waited for, by the mean of its role.
std::optional<double> Scheduler::time_left(const RunningCall& run) const {
  const auto mean = run.role == Role::kPlanner ? first_step_.known(config_.policy.min_samples)
                                               : service_times_.mean_of(run.role);
  if (!mean) return std::nullopt;
  return std::max(0.0, *mean - static_cast<double>(now_ - run.timing.started));
}

// When other requests will ask for a slot of the role, as far as one can see: after the verdict
// or the first plan step that they wait for, or (critic) after the image. The soonest find the
// `spare` slots. Speculative starts of the role change none of it.
void Scheduler::find_rivals(const RequestState& mine, Role role, int spare,
                            std::vector<double>& out) {
  if (!rivals_known_) {
    rivals_known_ = true;
    rivals_.clear();
    for (const auto& [key, run] : running_) {
      if (run.role == role || run.speculative || run.cancelling) continue;
      // A plan asks for no verdict, and for nothing new while its steps are being made.
      if (run.role == Role::kPlanner && (role == Role::kCritic || run.streamed)) continue;
      rivals_.emplace_back(time_left(run).value_or(0.0), run.request);
    }
    std::ranges::sort(rivals_);
  }
  for (const auto& [left, request] : rivals_) {
    if (request != mine.id && --spare < 0) out.push_back(left);
  }
}

// What a question about the lane says whoever asks, until something starts or ends.
SpeculationCase Scheduler::load_of(const Lane& lane) const {
  SpeculationCase load;
  load.role = lane.info.role;
  const Role other = load.role == Role::kGenerator ? Role::kCritic : Role::kGenerator;
  load.critics_beside = 0;
  for (const Lane& beside : lanes_) {
    if (beside.device != lane.device) continue;
    if (beside.info.role == other) load.shared_device = true;
    if (beside.info.role == Role::kCritic) load.critics_beside += beside.committed;
    if (beside.info.role == Role::kGenerator) load.generators_beside += beside.committed;
  }
  load.planners_beside = service_times_.active(lane.device, Role::kPlanner);
  load.critic_slowdown = service_times_.critic_slowdown(lane.device);
  load.generator_rate = service_times_.generator_rate(lane.device);
  load.verdict_time = service_times_.mean_of(Role::kCritic);
  load.generate_time = service_times_.mean_of(Role::kGenerator);
  load.luck_verdicts = config_.policy.luck_verdicts;
  load.cancel_delay = cancel_delay_[index_of(load.role)].known(config_.policy.min_samples);
  load.others = going_ - 1 + queued_;
  return load;
}

SpeculationDecision Scheduler::ask_policy(const RequestState& state, const PendingCall& pending,
                                          Lane& lane) {
  const Speculation& setting = state.trajectory.spec().speculation;
  const bool automatic = setting.mode == SpeculationMode::kAuto;
  if (automatic && !lane.load) lane.load = load_of(lane);
  SpeculationCase question = automatic ? *lane.load : SpeculationCase{};
  question.setting = setting;
  question.role = lane.info.role;
  question.beyond = pending.beyond;
  question.after_retry = pending.after_retry;
  question.p = pending.probability;
  if (automatic) describe_request(state, lane, question);
  SpeculationDecision decision = decide(question);
  decision.step = pending.call->step;
  decision.attempt = pending.call->attempt;
  return decision;
}

// Only as much as the answer can depend on: most requests are turned away by the lane's load.
void Scheduler::describe_request(const RequestState& state, const Lane& lane,
                                 SpeculationCase& question) {
  // One more row makes every row of a batch slower. (The awaited verdict is of this request.)
  if (question.role == Role::kGenerator) {
    question.committed_beside = question.generators_beside > 0;
  } else {
    const auto mine = [&](const Key& key) {
      const RunningCall& run = running_.at(key);
      return run.role == Role::kCritic && !run.speculative &&
             find_lane(run.lane)->device == lane.device;
    };
    question.committed_beside =
        question.critics_beside > std::ssize(state.running) ||
        question.critics_beside > std::ranges::count_if(state.running, mine);
  }
  if (ruled_out(question)) return;
  for (const Key& key : state.running) {
    const RunningCall& run = running_.at(key);
    if (run.role != Role::kCritic || run.cancelling) continue;
    if (const auto left = time_left(run)) {
      question.verdict_left = std::max(question.verdict_left.value_or(0.0), *left);
    }
  }
  int free = 0;
  for (const Lane& of_role : lanes_) {
    if (of_role.info.role == question.role) free += std::max(0, of_role.free());
  }
  find_rivals(state, question.role, std::max(0, free - 1), question.rivals);
  question.may_probe = question.others == 0 && question.verdict_time && question.generate_time &&
                       probes_ < config_.policy.probes &&
                       unlucky(question.p, question.luck_verdicts) > 0.4;
}

}  // namespace irt
