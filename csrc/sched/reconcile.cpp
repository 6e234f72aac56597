// Slots: brings what the lanes run in line with what the trajectories want.
#include <algorithm>
#include <tuple>

#include "sched/scheduler_impl.h"

namespace irt {

const Want* Scheduler::Impl::find_want(const Live& live, const Key& key) {
  for (const Want& want : live.wants) {
    if (want.call.key == key) return &want;
  }
  return nullptr;
}

Scheduler::Impl::Lane* Scheduler::Impl::find_lane(LaneId id) {
  for (Lane& lane : lanes_) {
    if (lane.info.id == id) return &lane;
  }
  return nullptr;
}

int Scheduler::Impl::lanes_of(Role role) const noexcept {
  return static_cast<int>(std::count_if(
      lanes_.begin(), lanes_.end(), [role](const Lane& lane) { return lane.info.role == role; }));
}

// Reads the trajectory again and brings its calls in line: promote, cancel, count what waits.
void Scheduler::Impl::refresh(Live& live) {
  if (live.phase != RequestPhase::kLive) return;
  reading_.clear();
  live.trajectory.read(accepts_.odds(), live.limit, reading_);
  const bool ended = reading_.ended;
  if (!ended) std::swap(live.wants, reading_.wants);
  flush(live, reading_);
  if (ended) return;
  if (!reading_.hints.empty()) {
    if (live.hints.empty()) hinting_.push_back(&live);
    for (StepHint& hint : reading_.hints) live.hints.push_back(std::move(hint));
  }
  for (const Key& key : live.runs) {
    Run& run = runs_.at(key);
    const Want* want = find_want(live, key);
    if (want == nullptr) {
      cancel(key, run);
      continue;
    }
    run.probability = want->probability;
    if (!want->certain || !run.speculative) continue;
    run.speculative = false;
    if (run.cancelling) continue;
    ++count(run.role).promoted;
    out_->emplace_back(PromoteCall{run.lane, key});
  }
  recount(live);
}

bool Scheduler::Impl::startable(const Live& live, const Want& want) const {
  if (runs_.contains(want.call.key)) return false;
  return want.certain ||
         std::find(live.barred.begin(), live.barred.end(), want.call.key) == live.barred.end();
}

void Scheduler::Impl::recount(Live& live) {
  live.waiting.fill(0);
  live.hopeful.fill(0);
  for (const Want& want : live.wants) {
    if (!startable(live, want)) continue;
    ++(want.certain ? live.waiting : live.hopeful)[index_of(want.call.role)];
  }
  for (std::size_t r = 0; r < kRoles; ++r) {
    enlist(waiting_[r], live, live.waiting[r] > 0);
    enlist(hopeful_[r], live, live.hopeful[r] > 0);
    if (live.waiting[r] == 0) {
      live.starved[r] = kNever;
    } else if (live.starved[r] == kNever) {
      live.starved[r] = now_;
    }
  }
}

void Scheduler::Impl::enlist(std::vector<Live*>& list, Live& live, bool wanted) {
  const auto found = std::find(list.begin(), list.end(), &live);
  if (found == list.end()) {
    if (wanted) list.push_back(&live);
  } else if (!wanted) {
    *found = list.back();
    list.pop_back();
  }
}

void Scheduler::Impl::reconcile(Role role) {
  while (start_certain(role)) {
  }
  if (waiting_[index_of(role)].empty()) {
    while (start_speculative(role)) {
    }
  } else {
    preempt(role);
  }
}

// Least recently granted first; of equals the earlier deadline, then the earlier request. A new
// request counts as granted at its admission, so that a stream of new ones starves nobody.
Scheduler::Impl::Live* Scheduler::Impl::next_waiting(Role role) {
  const std::size_t r = index_of(role);
  const auto rank = [r](const Live* live) {
    return std::tuple(live->served[r], live->trajectory.spec().deadline, live->order);
  };
  const auto& list = waiting_[r];
  const auto best = std::min_element(list.begin(), list.end(),
                                     [&rank](Live* a, Live* b) { return rank(a) < rank(b); });
  return best == list.end() ? nullptr : *best;
}

bool Scheduler::Impl::start_certain(Role role) {
  Live* live = next_waiting(role);
  if (live == nullptr) return false;
  Lane* lane = pick_lane(role, *live);
  if (lane == nullptr) return false;
  for (const Want& want : live->wants) {
    if (want.certain && want.call.role == role && startable(*live, want)) {
      live->served[index_of(role)] = now_;
      start(*live, want, *lane);
      return true;
    }
  }
  return false;
}

bool Scheduler::Impl::start_speculative(Role role) {
  Live* best_live = nullptr;
  const Want* best_want = nullptr;
  Lane* best_lane = nullptr;
  bool probe = false;
  for (Live* live : hopeful_[index_of(role)]) {
    Lane* lane = pick_lane(role, *live);
    if (lane == nullptr) return false;
    for (const Want& want : live->wants) {
      if (want.certain || want.call.role != role || !startable(*live, want)) continue;
      if (best_want != nullptr && want.probability < best_want->probability) continue;
      if (best_want != nullptr && want.probability == best_want->probability &&
          live->order > best_live->order) {
        continue;
      }
      const SpeculationDecision decision = judge(*live, want, *lane);
      record(*live, want.call.key, decision);
      if (!decision.start) continue;
      best_live = live;
      best_want = &want;
      best_lane = lane;
      probe = decision.reason == SpeculationReason::kProbe;
    }
  }
  if (best_want == nullptr) return false;
  probes_ += probe ? 1 : 0;
  start(*best_live, *best_want, *best_lane);
  return true;
}

void Scheduler::Impl::record(Live& live, const Key& call, const SpeculationDecision& decision) {
  constexpr std::size_t kRemembered = 8;
  live.decision = decision;
  const auto said = std::find_if(live.judged.begin(), live.judged.end(),
                                 [&call](const auto& entry) { return entry.first == call; });
  if (said != live.judged.end()) {
    if (said->second == decision.reason) return;
    said->second = decision.reason;
  } else {
    if (live.judged.size() >= kRemembered) live.judged.erase(live.judged.begin());
    live.judged.emplace_back(call, decision.reason);
  }
  ++counters_.decisions[static_cast<std::size_t>(decision.reason)];
  notes_.push_back({live.id, call, decision});
}

// Frees as many slots as certain wants wait for, the least probable speculation first.
void Scheduler::Impl::preempt(Role role) {
  int needed = 0;
  for (const Live* live : waiting_[index_of(role)]) needed += live->waiting[index_of(role)];
  for (const Lane& lane : lanes_) {
    if (lane.info.role != role) continue;
    for (const Key& key : lane.runs) needed -= runs_.at(key).cancelling ? 1 : 0;
  }
  for (; needed > 0; --needed) {
    RunEntry* least = nullptr;
    for (const Lane& lane : lanes_) {
      if (lane.info.role != role) continue;
      for (const Key& key : lane.runs) {
        RunEntry& entry = *runs_.find(key);
        if (!entry.second.speculative || entry.second.cancelling) continue;
        if (least == nullptr || entry.second.probability < least->second.probability) {
          least = &entry;
        }
      }
    }
    if (least == nullptr) return;
    ++count(least->second.role).preempted;
    cancel(least->first, least->second);
  }
}

// The emptiest lane; of equals the one that the request used last, for its caches.
Scheduler::Impl::Lane* Scheduler::Impl::pick_lane(Role role, const Live& live) {
  Lane* best = nullptr;
  const auto used = [&](const Lane& lane) {
    const std::size_t r = index_of(role);
    return live.has_affinity[r] && live.affinity[r] == lane.info.id;
  };
  for (Lane& lane : lanes_) {
    if (lane.info.role != role || lane.free() <= 0) continue;
    if (best == nullptr || lane.runs.size() < best->runs.size() ||
        (lane.runs.size() == best->runs.size() && used(lane) && !used(*best))) {
      best = &lane;
    }
  }
  return best;
}

void Scheduler::Impl::start(Live& live, const Want& want, Lane& lane) {
  const Key key = want.call.key;
  const Role role = lane.info.role;
  const std::size_t r = index_of(role);
  Run run;
  run.request = live.id;
  run.role = role;
  run.lane = lane.info.id;
  run.ahead = run.speculative = !want.certain;
  run.early_verdict = live.trajectory.spec().optimizations.early_verdict;
  run.probability = want.probability;
  run.mark = meter_.start(lane.device, lane.info.role, now_);
  run.mark.crowded = !lane.runs.empty();
  for (const Key& beside : lane.runs) runs_.at(beside).mark.crowded = true;
  out_->emplace_back(StartCall{lane.info.id, live.trajectory.to_start(want), run.speculative});

  RoleCounters& counted = count(role);
  ++counted.started;
  if (run.speculative) {
    ++counted.speculated;
    live.ahead.push_back({key, role});
  }
  counted.restarted += std::any_of(live.lost.begin(), live.lost.end(),
                                   [&key](const auto& lost) { return lost.first == key; })
                           ? 1
                           : 0;
  if (role == Role::kGenerator) {
    live.generated_step = std::max(live.generated_step, want.call.step);
  }
  live.affinity[r] = lane.info.id;
  live.has_affinity[r] = true;
  live.runs.push_back(key);
  lane.runs.push_back(key);
  runs_.emplace(key, run);
  recount(live);
}

void Scheduler::Impl::cancel(const Key& key, Run& run) {
  if (run.cancelling) return;
  run.cancelling = true;
  run.cancel_sent = now_;
  ++count(run.role).cancelled;
  out_->emplace_back(CancelCall{run.lane, key});
}

Scheduler::Impl::Run Scheduler::Impl::finish(const Key& key) {
  const auto found = runs_.find(key);
  const Run run = found->second;
  meter_.stop(run.mark, now_);
  runs_.erase(found);
  if (Lane* lane = find_lane(run.lane)) std::erase(lane->runs, key);
  const auto request = requests_.find(run.request);
  if (request != requests_.end()) std::erase(request->second->runs, key);
  return run;
}

void Scheduler::Impl::forget_ahead(Live& live, const Key& key, bool used) {
  const auto found = std::find_if(live.ahead.begin(), live.ahead.end(),
                                  [&key](const Taken& ahead) { return ahead.key == key; });
  if (found == live.ahead.end()) return;
  RoleCounters& counted = count(found->role);
  ++(used ? counted.speculation_used : counted.speculation_wasted);
  live.ahead.erase(found);
}

// After the starts, so that nothing is encoded twice for a call that is on its way.
void Scheduler::Impl::send_hints(Live& live) {
  for (StepHint& entry : live.hints) {
    if (entry.step >= 0 && entry.step <= live.generated_step) continue;
    const std::size_t r = index_of(entry.hint.role);
    const Lane* target = live.has_affinity[r] ? find_lane(live.affinity[r]) : nullptr;
    for (const Lane& lane : lanes_) {
      if (lane.info.role != entry.hint.role) continue;
      if (target == nullptr || (!live.has_affinity[r] && lane.runs.size() < target->runs.size())) {
        target = &lane;
      }
    }
    if (target == nullptr) continue;
    live.affinity[r] = target->info.id;
    live.has_affinity[r] = true;
    out_->emplace_back(SendHint{target->info.id, std::move(entry.hint)});
  }
  live.hints.clear();
}

}  // namespace irt
