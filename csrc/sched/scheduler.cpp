// Events of calls, lanes and requests, and what a reader is told. Slots of lanes: placement.cpp.
#include "sched/scheduler.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

namespace irt {

Scheduler::Scheduler(const Config& config, Counters counted)
    : config_(config),
      counters_(std::move(counted)),
      service_times_(config.policy),
      accepts_(config.policy) {
  for (Failure& why : missing_why_) why = {ErrorCode::kBackendFailed, "none has come up yet"};
}

TimePoint Scheduler::apply(Event event, TimePoint now, std::vector<Command>& out) {
  now_ = std::max(now_, now);
  out_ = &out;
  decisions_.clear();
  std::visit([this](auto&& what) { on(std::move(what)); }, std::move(event));
  for (std::size_t i = 0; i < stale_.size(); ++i) {
    stale_[i]->stale = false;
    refresh(*stale_[i]);
  }
  stale_.clear();
  admit();  // before expire(): a request past its deadline must not wait behind a free place
  expire();
  for (const Role role : {Role::kGenerator, Role::kCritic, Role::kPlanner}) fill_slots(role);
  for (RequestState* state : prefetching_) send_prefetches(*state);
  prefetching_.clear();
  out_ = nullptr;
  return next_wake();
}

// ---- calls --------------------------------------------------------------------------------

Scheduler::RequestState* Scheduler::active(RequestId request) {
  const auto found = requests_.find(request);
  if (found == requests_.end() || found->second->phase != RequestPhase::kLive) return nullptr;
  return found->second.get();
}

void Scheduler::mark_stale(RequestState& state) {
  if (state.stale) return;
  state.stale = true;
  stale_.push_back(&state);
}

// Null, and counted as a stray, where no lane runs it.
Scheduler::RunningCall* Scheduler::under_way(const Key& call) {
  const auto found = running_.find(call);
  if (found != running_.end()) return &found->second;
  ++counters_.strays;
  return nullptr;
}

// The request that still waits for the call; null: nobody does.
Scheduler::RequestState* Scheduler::waiting_for(RequestId request, const Key& call) {
  RequestState* state = active(request);
  return state != nullptr && find_pending(*state, call) != nullptr ? state : nullptr;
}

void Scheduler::on(StepClosed&& event) {
  RunningCall* run = under_way(event.call);
  if (run == nullptr) return;
  if (!run->streamed) {
    run->streamed = true;
    first_step_.add(static_cast<double>(now_ - run->timing.started), config_.policy.memory);
  }
  RequestState* state = waiting_for(run->request, event.call);
  if (state == nullptr) return;
  if (auto failure = state->trajectory.add(std::move(event))) {
    end(*state, Outcome::kFailed, std::move(failure));
  } else if (state->trajectory.spec().optimizations.stream_plan) {
    mark_stale(*state);
  }
}

void Scheduler::on(VerdictKnown&& event) {
  RunningCall* run = under_way(event.call);
  if (run == nullptr) return;
  if (!run->sampled && !run->cancelling && run->early_verdict) {
    run->sampled = true;
    service_times_.sample(run->timing, now_);
  }
  RequestState* state = waiting_for(run->request, event.call);
  if (state == nullptr) return;
  if (auto failure = state->trajectory.add(event)) {
    call_failed(*state, event.call, run->started_ahead, std::move(*failure));
  } else {
    mark_stale(*state);
  }
}

void Scheduler::on(CallDone&& event) {
  if (under_way(event.call) == nullptr) return;
  const auto* image = std::get_if<Image>(&event.result);
  const Key made = image == nullptr ? Key{} : image->key;
  const auto* verdict = std::get_if<Verdict>(&event.result);
  const RunningCall run = finish(event.call);
  ++count(run.role).done;
  // A refusal that was not streamed took longer than its boolean: no sample of it.
  const bool timely =
      run.role != Role::kCritic || !run.early_verdict || (verdict != nullptr && verdict->accepted);
  if (!run.sampled && !run.cancelling && timely) service_times_.sample(run.timing, now_);
  RequestState* state = active(run.request);
  if (state == nullptr || find_pending(*state, event.call) == nullptr) {
    if (made) out_->emplace_back(ReleaseImage{run.request, made});
    if (state != nullptr) settle_speculation(*state, event.call, false);
    return;
  }
  if (auto failure = state->trajectory.add(event.call, run.role, std::move(event.result))) {
    if (made) out_->emplace_back(ReleaseImage{run.request, made});
    call_failed(*state, event.call, run.started_ahead, std::move(*failure));
  } else {
    mark_stale(*state);
  }
}

void Scheduler::on(CallFailed&& event) {
  if (under_way(event.call) == nullptr) return;
  const RunningCall run = finish(event.call);
  ++count(run.role).failed;
  ended_without(event.call, run, std::move(event.failure));
}

void Scheduler::on(CallCancelled&& event) {
  if (under_way(event.call) == nullptr) return;
  const RunningCall run = finish(event.call);
  if (run.cancelling) {
    cancel_delay_[index_of(run.role)].add(static_cast<double>(now_ - run.cancel_sent),
                                          config_.policy.memory);
  }
  ended_without(event.call, run,
                {ErrorCode::kBackendFailed,
                 "[Scheduler.call] a lane cancelled a call that was wanted: look at the lane's "
                 "log"});
}

// The call has ended without a result.
void Scheduler::ended_without(const Key& key, const RunningCall& run, Failure&& failure) {
  RequestState* state = active(run.request);
  if (state == nullptr) return;
  settle_speculation(*state, key, false);
  if (run.cancelling) return recount(*state);  // however the lane words it, we have asked for it
  call_failed(*state, key, run.started_ahead, std::move(failure));
}

// A failure is the program's only where the program has asked for the call. The sequential loop
// would not have run a call ahead, so that failure costs a second run at most, not the request.
void Scheduler::call_failed(RequestState& state, const Key& key, bool started_ahead,
                            Failure&& failure) {
  const PendingCall* pending = find_pending(state, key);
  if (pending == nullptr) {
    recount(state);
  } else if (pending->certain && !started_ahead) {
    end(state, Outcome::kFailed, std::move(failure));
  } else {
    state.failed_ahead.push_back(key);
    const auto run = running_.find(key);
    if (run != running_.end()) cancel(key, run->second);
    recount(state);
  }
}

// ---- lanes --------------------------------------------------------------------------------

void Scheduler::on(LaneUp&& event) {
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
  lane.device = service_times_.device(event.lane.device);
  lane.info = std::move(event.lane);
}

void Scheduler::on(LaneDown&& event) {
  Lane* lane = find_lane(event.lane);
  if (lane == nullptr) {
    ++counters_.strays;
    return;
  }
  ++counters_.lanes_lost;
  const Role role = lane->info.role;
  std::vector<std::pair<Key, RunningCall>> lost;
  for (const Key& key : std::vector(lane->running)) lost.emplace_back(key, finish(key));
  lanes_.erase(lanes_.begin() + (lane - lanes_.data()));
  if (!has_lane(role)) {
    missing_since_[index_of(role)] = now_;
    missing_why_[index_of(role)] = event.why;
  }
  for (const auto& [key, run] : lost) {
    RequestState* state = active(run.request);
    if (state == nullptr) continue;
    settle_speculation(*state, key, false);
    call_lost(*state, key, run, event.why);
  }
}

void Scheduler::call_lost(RequestState& state, const Key& key, const RunningCall& run,
                          const Failure& why) {
  if (find_pending(state, key) == nullptr || run.cancelling) return recount(state);
  auto entry = std::ranges::find(state.lost, key, &std::pair<Key, int>::first);
  if (entry == state.lost.end()) entry = state.lost.insert(entry, {key, 0});
  if (++entry->second < 2) return recount(state);
  call_failed(state, key, run.started_ahead,
              Failure{ErrorCode::kBackendFailed,
                      "[Scheduler.lanes] the lane of a call died twice (" + why.message +
                          "): look at the lane's log before sending the request again"});
}

// ---- requests -----------------------------------------------------------------------------

std::optional<Failure> Scheduler::check(const Submit& event) const {
  const RequestSpec& spec = event.spec;
  const auto refuse = [](ErrorCode code, const std::string& text) {
    return Failure{code, "[Scheduler.submit] " + text};
  };
  const auto bad = [&](const std::string& text) { return refuse(ErrorCode::kBadRequest, text); };
  if (requests_.contains(event.request)) {
    return bad("request id " + std::to_string(event.request) + " is in use: ids are used once");
  }
  if (spec.text.empty()) return bad("text is empty: say what to draw");
  if (spec.text.size() > config_.max_text_bytes) {
    return refuse(ErrorCode::kLimitExceeded, "text has " + std::to_string(spec.text.size()) +
                                                 " bytes: shorten it to " +
                                                 std::to_string(config_.max_text_bytes));
  }
  if (spec.images.size() > config_.max_input_images) {
    return refuse(ErrorCode::kLimitExceeded, std::to_string(spec.images.size()) +
                                                 " input images: send at most " +
                                                 std::to_string(config_.max_input_images));
  }
  if (std::ranges::find(spec.images, Key{}) != spec.images.end()) {
    return bad("an input image has no key: put it into the image store first");
  }
  if (spec.mode == PlanMode::kGuidance && spec.images.empty()) {
    return bad("guidance needs an input image: add one, or use the narrative mode");
  }
  if (spec.mode == PlanMode::kNarrative && !spec.images.empty()) {
    return bad("the narrative mode takes no input image: use guidance");
  }
  const bool fixed = spec.speculation.mode == SpeculationMode::kDepth;
  const struct {
    const char* name;
    int value, low, high;
  } bounded[] = {{"t_max", spec.t_max, 1, kMaxAttempts},
                 {"max_steps", spec.max_steps, 1, kMaxSteps},
                 {"speculation depth", fixed ? spec.speculation.depth : 1, 1, kMaxSteps},
                 {"width", spec.width, 0, kMaxSide},
                 {"height", spec.height, 0, kMaxSide},
                 {"denoising_steps", spec.denoising_steps, 0, kMaxDenoisingSteps},
                 {"references", spec.references, 1, kMaxReferences}};
  for (const auto& [name, value, low, high] : bounded) {
    if (value >= low && value <= high) continue;
    return bad(std::string(name) + " is " + std::to_string(value) + ": choose " +
               std::to_string(low) + " to " + std::to_string(high));
  }
  if (draining_) {
    return refuse(ErrorCode::kOverloaded,
                  "the engine is draining: send the request to another one");
  }
  if (live_ >= config_.max_live && queued_ >= config_.max_queued) {
    return refuse(ErrorCode::kOverloaded, "queue is full (" + std::to_string(config_.max_queued) +
                                              "): wait for a request to end, or raise max_queued");
  }
  return std::nullopt;
}

void Scheduler::on(Submit&& event) {
  if (std::optional<Failure> failure = check(event)) {
    ++counters_.requests_refused;
    out_->emplace_back(Refuse{event.request, std::move(*failure)});
    return;
  }
  ++counters_.requests_accepted;
  ++queued_;
  const RequestId id = event.request;
  auto state = std::make_unique<RequestState>(id, std::move(event.spec));
  state->order = ++orders_;
  state->max_beyond = read_ahead(state->trajectory.spec().speculation);
  state->waiting_since.fill(kNever);
  const TimePoint deadline = state->trajectory.spec().deadline;
  if (deadline != kNever) deadlines_.emplace(deadline, id);
  requests_.emplace(id, std::move(state));
  queue_.push_back(id);
}

void Scheduler::admit() {
  while (live_ < config_.max_live && !queue_.empty()) {
    const auto found = requests_.find(queue_.front());
    queue_.pop_front();
    RequestState& state = *found->second;
    state.phase = RequestPhase::kLive;
    state.admitted = true;
    state.last_served.fill(now_);
    --queued_;
    ++live_;
    ++going_;
    refresh(state);
  }
}

void Scheduler::on(CancelRequest&& event) {
  const auto found = requests_.find(event.request);
  if (found == requests_.end() || found->second->phase == RequestPhase::kEnded) return;
  end(*found->second, Outcome::kCancelled,
      Failure{ErrorCode::kCancelled, "[Scheduler.cancel] cancelled by the caller"});
}

void Scheduler::on(Consumed&& event) {
  const auto found = requests_.find(event.request);
  if (found == requests_.end() || found->second->phase != RequestPhase::kEnded) {
    ++counters_.strays;
    return;
  }
  --(found->second->admitted ? live_ : queued_);
  requests_.erase(found);
}

// A deadline is missed once it is not after `now`; the event of this moment was applied before.
void Scheduler::expire() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    RequestState& state = *requests_.at(deadlines_.begin()->second);
    end(state, Outcome::kDeadline,
        Failure{ErrorCode::kDeadline,
                "[Scheduler.deadline] the deadline has passed: what was committed is returned; "
                "allow more time, or fewer steps"});
  }
  for (std::size_t r = 0; r < kRoles; ++r) {
    if (waiting_[r].empty() || has_lane(static_cast<Role>(r))) continue;
    for (RequestState* state : Requests(waiting_[r])) {
      if (grace_end(*state, r) > now_) continue;
      end(*state, Outcome::kFailed,
          Failure{ErrorCode::kBackendFailed, std::string("[Scheduler.lanes] no ") + kRoleNames[r] +
                                                 " lane is up (" + missing_why_[r].message +
                                                 "): start one, or raise lane_grace_s"});
    }
  }
}

// When a request is given up that waits for a role without a lane.
TimePoint Scheduler::grace_end(const RequestState& state, std::size_t role) const {
  return std::max(missing_since_[role], state.waiting_since[role]) + config_.lane_grace;
}

TimePoint Scheduler::next_wake() const {
  TimePoint wake = deadlines_.empty() ? kNever : deadlines_.begin()->first;
  for (std::size_t r = 0; r < kRoles; ++r) {
    if (waiting_[r].empty() || has_lane(static_cast<Role>(r))) continue;
    for (const RequestState* state : waiting_[r]) wake = std::min(wake, grace_end(*state, r));
  }
  return wake;
}

// Reads the trajectory again and brings its calls in line: promote, cancel, count what waits.
void Scheduler::refresh(RequestState& state) {
  if (state.phase != RequestPhase::kLive) return;
  progress_.clear();
  state.trajectory.read(accepts_.odds(), state.max_beyond, progress_);
  const bool ended = progress_.ended;
  if (!ended) std::swap(state.pending_calls, progress_.pending_calls);
  tell(state, progress_);
  if (ended) return;
  if (!progress_.prefetches.empty()) {
    if (state.prefetches.empty()) prefetching_.push_back(&state);
    std::ranges::move(progress_.prefetches, std::back_inserter(state.prefetches));
  }
  for (const Key& key : state.running) {
    RunningCall& run = running_.at(key);
    const PendingCall* pending = find_pending(state, key);
    if (pending == nullptr) {
      cancel(key, run);
      continue;
    }
    run.probability = pending->probability;
    if (!pending->certain || !run.speculative) continue;
    run.speculative = false;
    ++find_lane(run.lane)->committed;
    if (run.cancelling) continue;
    ++count(run.role).promoted;
    out_->emplace_back(PromoteCall{run.lane, key});
  }
  recount(state);
}

void Scheduler::end(RequestState& state, Outcome outcome, std::optional<Failure> failure) {
  progress_.clear();
  state.trajectory.end(outcome, std::move(failure), progress_);
  tell(state, progress_);
}

// Everything but the place in admission is given up; that goes with Consumed.
void Scheduler::retire(RequestState& state) {
  if (state.phase == RequestPhase::kQueued) std::erase(queue_, state.id);
  going_ -= state.phase == RequestPhase::kLive ? 1 : 0;
  state.phase = RequestPhase::kEnded;
  const TimePoint deadline = state.trajectory.spec().deadline;
  if (deadline != kNever) deadlines_.erase({deadline, state.id});
  state.pending_calls.clear();
  state.prefetches.clear();
  for (const Key& key : state.running) cancel(key, running_.at(key));
  for (const CallRef& ahead : state.speculated) ++count(ahead.role).speculation_wasted;
  state.speculated.clear();
  recount(state);
}

// Tells the reader what has become certain, and does the accounts.
void Scheduler::tell(RequestState& state, Progress& progress) {
  for (const CallRef& taken : progress.consumed) {
    ++count(taken.role).committed;
    settle_speculation(state, taken.key, true);
  }
  for (const Key& key : progress.wasted) settle_speculation(state, key, false);
  counters_.plans_unreadable += static_cast<std::uint64_t>(progress.plans_unreadable);
  counters_.verdicts_unreadable += static_cast<std::uint64_t>(progress.verdicts_unreadable);
  for (Notice& notice : progress.notices) {
    if (const auto* ready = std::get_if<VerdictReady>(&notice)) {
      const auto attempt = static_cast<std::size_t>(ready->attempt);
      ++counters_.judged[attempt];
      counters_.accepted[attempt] += ready->verdict.accepted ? 1 : 0;
      counters_.refined_unreadable += !ready->verdict.accepted && !ready->verdict.refined ? 1 : 0;
      accepts_.add(ready->attempt, ready->verdict.accepted);
    } else if (const auto* last = std::get_if<RequestEnded>(&notice)) {
      ++counters_.requests_ended[static_cast<std::size_t>(last->outcome)];
    }
    out_->emplace_back(Deliver{state.id, std::move(notice)});
  }
  for (const Key& image : progress.released) out_->emplace_back(ReleaseImage{state.id, image});
  if (progress.ended) retire(state);
}

}  // namespace irt
