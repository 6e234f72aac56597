// Events: what each of them does to a request. Slots are handed out in reconcile.cpp.
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
Snapshot Scheduler::snapshot() const { return impl_->snapshot(); }

Scheduler::Impl::Impl(const SchedulerConfig& config)
    : config_(config), meter_(config.policy), accepts_(config.policy) {
  for (Failure& why : missing_why_) why = {ErrorCode::kBackendFailed, "none has come up yet"};
}

TimePoint Scheduler::Impl::apply(Event&& event, TimePoint now, std::vector<Command>& out) {
  now_ = std::max(now_, now);
  out_ = &out;
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

// ---- requests -----------------------------------------------------------------------------

std::optional<Failure> Scheduler::Impl::check(const Submit& event) const {
  const RequestSpec& spec = event.spec;
  const auto bad = [](const std::string& text) {
    return Failure{ErrorCode::kBadRequest, "[Scheduler.submit] " + text};
  };
  const auto between = [&bad](const char* name, int value, int low, int high) {
    std::optional<Failure> failure;
    if (value < low || value > high) {
      failure = bad(std::string(name) + " is " + std::to_string(value) + ": choose " +
                    std::to_string(low) + " to " + std::to_string(high));
    }
    return failure;
  };
  if (requests_.contains(event.request)) {
    return bad("request id " + std::to_string(event.request) + " is in use: ids are used once");
  }
  if (spec.text.empty()) return bad("text is empty: say what to draw");
  if (spec.text.size() > config_.max_text_bytes) {
    return Failure{ErrorCode::kLimitExceeded,
                   "[Scheduler.submit] text has " + std::to_string(spec.text.size()) +
                       " bytes: shorten it to " + std::to_string(config_.max_text_bytes) +
                       ", or raise max_text_bytes"};
  }
  if (spec.images.size() > config_.max_input_images) {
    return Failure{ErrorCode::kLimitExceeded,
                   "[Scheduler.submit] " + std::to_string(spec.images.size()) +
                       " input images: send at most " + std::to_string(config_.max_input_images) +
                       ", or raise max_input_images"};
  }
  for (const Key& image : spec.images) {
    if (!image) return bad("an input image has no key: put it into the image store first");
  }
  if (spec.mode == PlanMode::kGuidance && spec.images.empty()) {
    return bad("guidance needs an input image: add one, or use the narrative mode");
  }
  if (spec.mode == PlanMode::kNarrative && !spec.images.empty()) {
    return bad("the narrative mode takes no input image: use guidance");
  }
  if (auto wrong = between("t_max", spec.t_max, 1, kMaxAttempts)) return wrong;
  if (auto wrong = between("max_steps", spec.max_steps, 1, kMaxSteps)) return wrong;
  if (spec.speculation.mode == SpeculationMode::kDepth) {
    if (auto wrong = between("speculation depth", spec.speculation.depth, 1, kMaxSteps)) {
      return wrong;
    }
  }
  constexpr int kMaxSide = 1 << 15;
  if (auto wrong = between("width", spec.width, 0, kMaxSide)) return wrong;
  if (auto wrong = between("height", spec.height, 0, kMaxSide)) return wrong;
  return between("denoising_steps", spec.denoising_steps, 0, 10'000);
}

void Scheduler::Impl::on(Submit&& event) {
  std::optional<Failure> failure = check(event);
  if (!failure && draining_) {
    failure = Failure{ErrorCode::kOverloaded,
                      "[Scheduler.submit] the engine is draining: send the request to another one"};
  }
  if (!failure && live_ >= config_.max_live && queued_ >= config_.max_queued) {
    failure = Failure{ErrorCode::kOverloaded, "[Scheduler.submit] queue is full (" +
                                                  std::to_string(config_.max_queued) +
                                                  "): wait for a request to end, or raise "
                                                  "max_queued"};
  }
  if (failure) {
    ++counters_.requests_refused;
    out_->emplace_back(Refuse{event.request, std::move(*failure)});
    return;
  }
  ++counters_.requests_accepted;
  ++queued_;
  const RequestId id = event.request;
  auto live = std::make_unique<Live>(id, std::move(event.spec));
  live->order = ++orders_;
  live->limit = read_ahead(live->trajectory.spec().speculation);
  live->starved.fill(kNever);
  const TimePoint deadline = live->trajectory.spec().deadline;
  if (deadline != kNever) deadlines_.emplace(deadline, id);
  requests_.emplace(id, std::move(live));
  queue_.push_back(id);
}

void Scheduler::Impl::admit() {
  while (live_ < config_.max_live && !queue_.empty()) {
    const auto found = requests_.find(queue_.front());
    queue_.pop_front();
    Live& live = *found->second;
    live.phase = RequestPhase::kLive;
    live.admitted = true;
    live.served.fill(now_);
    --queued_;
    ++live_;
    refresh(live);
  }
}

void Scheduler::Impl::on(CancelRequest&& event) {
  const auto found = requests_.find(event.request);
  if (found == requests_.end() || found->second->phase == RequestPhase::kEnded) return;
  end(*found->second, Outcome::kCancelled,
      Failure{ErrorCode::kCancelled, "[Scheduler.cancel] cancelled by the caller"});
}

void Scheduler::Impl::on(Consumed&& event) {
  const auto found = requests_.find(event.request);
  if (found == requests_.end() || found->second->phase != RequestPhase::kEnded) {
    ++counters_.strays;
    return;
  }
  --(found->second->admitted ? live_ : queued_);
  requests_.erase(found);
}

// A deadline on the minute is missed: the event of this very moment has been read before.
void Scheduler::Impl::expire() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    Live& live = *requests_.at(deadlines_.begin()->second);
    end(live, Outcome::kDeadline,
        Failure{ErrorCode::kDeadline,
                "[Scheduler.deadline] the deadline has passed: what was committed is returned; "
                "allow more time, or fewer steps"});
  }
  for (std::size_t r = 0; r < kRoles; ++r) {
    if (waiting_[r].empty() || lanes_of(static_cast<Role>(r)) > 0) continue;
    const std::vector<Live*> waiting = waiting_[r];
    for (Live* live : waiting) {
      if (std::max(missing_[r], live->starved[r]) + config_.lane_grace > now_) continue;
      static constexpr std::array<const char*, kRoles> kNames = {"planner", "generator", "critic"};
      end(*live, Outcome::kFailed,
          Failure{ErrorCode::kBackendFailed, std::string("[Scheduler.lanes] no ") + kNames[r] +
                                                 " lane is up (" + missing_why_[r].message +
                                                 "): start one, or raise lane_grace"});
    }
  }
}

TimePoint Scheduler::Impl::next_wake() const {
  TimePoint wake = deadlines_.empty() ? kNever : deadlines_.begin()->first;
  for (std::size_t r = 0; r < kRoles; ++r) {
    if (waiting_[r].empty() || lanes_of(static_cast<Role>(r)) > 0) continue;
    for (const Live* live : waiting_[r]) {
      wake = std::min(wake, std::max(missing_[r], live->starved[r]) + config_.lane_grace);
    }
  }
  return wake;
}

void Scheduler::Impl::end(Live& live, Outcome outcome, std::optional<Failure> failure) {
  reading_.clear();
  live.trajectory.end(outcome, std::move(failure), reading_);
  flush(live, reading_);
}

// Everything but the place in admission is given up; that goes with Consumed.
void Scheduler::Impl::retire(Live& live) {
  if (live.phase == RequestPhase::kQueued) std::erase(queue_, live.id);
  live.phase = RequestPhase::kEnded;
  const TimePoint deadline = live.trajectory.spec().deadline;
  if (deadline != kNever) deadlines_.erase({deadline, live.id});
  live.wants.clear();
  live.hints.clear();
  for (const Key& key : live.runs) cancel(key, runs_.at(key));
  for (const Taken& ahead : live.ahead) ++count(ahead.kind).speculation_wasted;
  live.ahead.clear();
  recount(live);
}

// Hands on what a reading has made certain.
void Scheduler::Impl::flush(Live& live, Reading& reading) {
  for (const Taken& taken : reading.consumed) {
    ++count(taken.kind).committed;
    forget_ahead(live, taken.key, true);
  }
  for (const Key& key : reading.dropped) forget_ahead(live, key, false);
  counters_.plans_unreadable += static_cast<std::uint64_t>(reading.plans_unreadable);
  counters_.verdicts_unreadable += static_cast<std::uint64_t>(reading.verdicts_unreadable);
  for (Notice& notice : reading.notices) {
    if (const auto* ready = std::get_if<VerdictReady>(&notice)) {
      const auto attempt = static_cast<std::size_t>(ready->attempt);
      ++counters_.judged[attempt];
      counters_.accepted[attempt] += ready->verdict.accepted ? 1 : 0;
      counters_.refined_unreadable += !ready->verdict.accepted && !ready->verdict.refined ? 1 : 0;
      accepts_.add(ready->attempt, ready->verdict.accepted);
    } else if (const auto* last = std::get_if<RequestEnded>(&notice)) {
      ++counters_.requests_ended[static_cast<std::size_t>(last->outcome)];
    }
    out_->emplace_back(Deliver{live.id, std::move(notice)});
  }
  for (const Key& image : reading.released) out_->emplace_back(ReleaseImage{live.id, image});
  if (reading.ended) retire(live);
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
  Live* live = running(found->second.request);
  if (live == nullptr || find_want(*live, event.call) == nullptr) return;
  if (auto failure = live->trajectory.add(std::move(event))) {
    end(*live, Outcome::kFailed, std::move(failure));
  } else if (live->trajectory.spec().devices.stream_plan) {
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
  ++count(run.kind).done;
  // A refusal that was not streamed took longer than its boolean: no sample of it.
  const bool timely = run.kind != CallKind::kJudge || !run.early_verdict ||
                      (verdict != nullptr && verdict->accepted);
  if (!run.sampled && !run.cancelling && timely) meter_.sample(run.mark, now_);
  Live* live = running(run.request);
  if (live == nullptr || find_want(*live, event.call) == nullptr) {
    if (made) out_->emplace_back(ReleaseImage{run.request, made});
    if (live != nullptr) forget_ahead(*live, event.call, false);
    return;
  }
  if (auto failure = live->trajectory.add(event.call, run.kind, std::move(event.result))) {
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
  ++count(run.kind).failed;
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
    cancel_delay_.add(static_cast<double>(now_ - run.cancel_sent), config_.policy.memory);
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
  } else if (want->dropped) {
    live.trajectory.skip_dropped(key);
    touch(live);
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
    missing_[static_cast<std::size_t>(role)] = now_;
    missing_why_[static_cast<std::size_t>(role)] = event.why;
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
