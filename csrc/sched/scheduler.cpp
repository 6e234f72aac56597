// Events of calls and lanes. Requests: admission.cpp; slots: reconcile.cpp.
#include "sched/scheduler.h"

#include <algorithm>
#include <string>

#include "sched/scheduler_impl.h"

namespace irt {

Scheduler::Scheduler(const Config& config) : impl_(std::make_unique<Impl>(config)) {}
Scheduler::~Scheduler() = default;

TimePoint Scheduler::apply(Event event, TimePoint now, std::vector<Command>& out) {
  return impl_->apply(std::move(event), now, out);
}
void Scheduler::set_draining(bool draining) noexcept { impl_->draining_ = draining; }
bool Scheduler::idle() const noexcept { return impl_->idle(); }
const Counters& Scheduler::counters() const noexcept { return impl_->counters_; }
const std::vector<DecisionNote>& Scheduler::decisions() const noexcept { return impl_->notes_; }
Snapshot Scheduler::snapshot() const { return impl_->snapshot(); }

Scheduler::Impl::Impl(const SchedulerConfig& config)
    : config_(config), meter_(config.policy), accepts_(config.policy) {
  for (Failure& why : missing_why_) why = {ErrorCode::kBackendFailed, "none has come up yet"};
}

TimePoint Scheduler::Impl::apply(Event&& event, TimePoint now, std::vector<Command>& out) {
  now_ = std::max(now_, now);
  out_ = &out;
  notes_.clear();
  std::visit([this](auto&& what) { on(std::move(what)); }, std::move(event));
  for (std::size_t i = 0; i < touched_.size(); ++i) {
    touched_[i]->touched = false;
    refresh(*touched_[i]);
  }
  touched_.clear();
  admit();  // first: a request past its deadline must not stay in a queue that has room to go on
  expire();
  for (const Role role : {Role::kGenerator, Role::kCritic, Role::kPlanner}) reconcile(role);
  for (Live* live : hinting_) send_hints(*live);
  hinting_.clear();
  out_ = nullptr;
  return next_wake();
}

bool Scheduler::Impl::idle() const noexcept {
  if (!runs_.empty()) return false;
  return std::all_of(requests_.begin(), requests_.end(),
                     [](const auto& entry) { return entry.second->phase == RequestPhase::kEnded; });
}

// ---- calls --------------------------------------------------------------------------------

Scheduler::Impl::Live* Scheduler::Impl::running(RequestId request) {
  const auto found = requests_.find(request);
  if (found == requests_.end() || found->second->phase != RequestPhase::kLive) return nullptr;
  return found->second.get();
}

void Scheduler::Impl::touch(Live& live) {
  if (live.touched) return;
  live.touched = true;
  touched_.push_back(&live);
}

void Scheduler::Impl::on(StepClosed&& event) {
  const auto found = runs_.find(event.call);
  if (found == runs_.end()) {
    ++counters_.strays;
    return;
  }
  Run& run = found->second;
  if (!run.streamed) {
    run.streamed = true;
    first_step_.add(static_cast<double>(now_ - run.mark.started), config_.policy.memory);
  }
  Live* live = running(run.request);
  if (live == nullptr || find_want(*live, event.call) == nullptr) return;
  if (auto failure = live->trajectory.add(std::move(event))) {
    end(*live, Outcome::kFailed, std::move(failure));
  } else if (live->trajectory.spec().optimizations.stream_plan) {
    touch(*live);
  }
}

void Scheduler::Impl::on(VerdictKnown&& event) {
  const auto found = runs_.find(event.call);
  if (found == runs_.end()) {
    ++counters_.strays;
    return;
  }
  Run& run = found->second;
  if (!run.sampled && !run.cancelling && run.early_verdict) {
    run.sampled = true;
    meter_.sample(run.mark, now_);
  }
  Live* live = running(run.request);
  if (live == nullptr || find_want(*live, event.call) == nullptr) return;
  if (auto failure = live->trajectory.add(event)) {
    const Key key = event.call;
    call_failed(*live, key, run.ahead, std::move(*failure));
  } else {
    touch(*live);
  }
}

void Scheduler::Impl::on(CallDone&& event) {
  const auto found = runs_.find(event.call);
  const auto* image = std::get_if<Image>(&event.result);
  if (found == runs_.end()) {
    ++counters_.strays;
    return;
  }
  const Key made = image == nullptr ? Key{} : image->key;
  const auto* verdict = std::get_if<Verdict>(&event.result);
  const Run run = finish(event.call);
  ++count(run.role).done;
  // A refusal that was not streamed took longer than its boolean: no sample of it.
  const bool timely =
      run.role != Role::kCritic || !run.early_verdict || (verdict != nullptr && verdict->accepted);
  if (!run.sampled && !run.cancelling && timely) meter_.sample(run.mark, now_);
  Live* live = running(run.request);
  if (live == nullptr || find_want(*live, event.call) == nullptr) {
    if (made) out_->emplace_back(ReleaseImage{run.request, made});
    if (live != nullptr) forget_ahead(*live, event.call, false);
    return;
  }
  if (auto failure = live->trajectory.add(event.call, run.role, std::move(event.result))) {
    if (made) out_->emplace_back(ReleaseImage{run.request, made});
    call_failed(*live, event.call, run.ahead, std::move(*failure));
  } else {
    touch(*live);
  }
}

void Scheduler::Impl::on(CallFailed&& event) {
  if (!runs_.contains(event.call)) {
    ++counters_.strays;
    return;
  }
  const Run run = finish(event.call);
  ++count(run.role).failed;
  Live* live = running(run.request);
  if (live == nullptr) return;
  forget_ahead(*live, event.call, false);
  if (run.cancelling) {  // however the lane words it, we have asked for it
    recount(*live);
  } else {
    call_failed(*live, event.call, run.ahead, std::move(event.failure));
  }
}

void Scheduler::Impl::on(CallCancelled&& event) {
  if (!runs_.contains(event.call)) {
    ++counters_.strays;
    return;
  }
  const Run run = finish(event.call);
  if (run.cancelling) {
    cancel_delay_[index_of(run.role)].add(static_cast<double>(now_ - run.cancel_sent),
                                          config_.policy.memory);
  }
  Live* live = running(run.request);
  if (live == nullptr) return;
  forget_ahead(*live, event.call, false);
  if (run.cancelling) {
    recount(*live);
  } else {
    call_failed(*live, event.call, run.ahead,
                Failure{ErrorCode::kBackendFailed,
                        "[Scheduler.call] a lane cancelled a call that was wanted: look at the "
                        "lane's log"});
  }
}

// A failure is the program's only where the program has asked for the call. The sequential loop
// would not have run a call ahead, so that failure costs a second run at most, not the request.
void Scheduler::Impl::call_failed(Live& live, const Key& key, bool ahead, Failure&& failure) {
  const Want* want = find_want(live, key);
  if (want == nullptr) {
    recount(live);
  } else if (want->certain && !ahead) {
    end(live, Outcome::kFailed, std::move(failure));
  } else {
    live.barred.push_back(key);
    const auto run = runs_.find(key);
    if (run != runs_.end()) cancel(key, run->second);
    recount(live);
  }
}

// ---- lanes --------------------------------------------------------------------------------

void Scheduler::Impl::on(LaneUp&& event) {
  if (event.lane.capacity < 1) {
    throw Error(ErrorCode::kInternal, "[Scheduler.lane_up] lane " + event.lane.name +
                                          " has capacity " + std::to_string(event.lane.capacity) +
                                          ": at least 1 is needed");
  }
  if (Lane* known = find_lane(event.lane.id)) {
    if (known->info.role != event.lane.role) {
      throw Error(ErrorCode::kInternal, "[Scheduler.lane_up] lane " + event.lane.name +
                                            " comes back in another role: give it a new id");
    }
    known->info.capacity = event.lane.capacity;
    return;
  }
  Lane& lane = lanes_.emplace_back();
  lane.device = meter_.device(event.lane.device);
  lane.info = std::move(event.lane);
}

void Scheduler::Impl::on(LaneDown&& event) {
  Lane* lane = find_lane(event.lane);
  if (lane == nullptr) {
    ++counters_.strays;
    return;
  }
  ++counters_.lanes_lost;
  const Role role = lane->info.role;
  const std::vector<Key> keys = lane->runs;
  std::vector<std::pair<Key, Run>> lost;
  for (const Key& key : keys) lost.emplace_back(key, finish(key));
  lanes_.erase(lanes_.begin() + (lane - lanes_.data()));
  if (lanes_of(role) == 0) {
    missing_[index_of(role)] = now_;
    missing_why_[index_of(role)] = event.why;
  }
  for (const auto& [key, run] : lost) {
    Live* live = running(run.request);
    if (live == nullptr) continue;
    forget_ahead(*live, key, false);
    lose(*live, key, run, event.why);
  }
}

void Scheduler::Impl::lose(Live& live, const Key& key, const Run& run, const Failure& why) {
  if (find_want(live, key) == nullptr || run.cancelling) return recount(live);
  auto entry = std::find_if(live.lost.begin(), live.lost.end(),
                            [&key](const auto& known) { return known.first == key; });
  if (entry == live.lost.end()) entry = live.lost.insert(live.lost.end(), {key, 0});
  if (++entry->second < 2) return recount(live);
  call_failed(live, key, run.ahead,
              Failure{ErrorCode::kBackendFailed,
                      "[Scheduler.lanes] the lane of a call died twice (" + why.message +
                          "): look at the lane's log before sending the request again"});
}

}  // namespace irt
