// Requests: admission, ends, deadlines, and what a reader is told.
#include <algorithm>
#include <string>

#include "sched/scheduler_impl.h"

namespace irt {

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
  if (auto wrong = between("width", spec.width, 0, kMaxSide)) return wrong;
  if (auto wrong = between("height", spec.height, 0, kMaxSide)) return wrong;
  return between("denoising_steps", spec.denoising_steps, 0, kMaxDenoisingSteps);
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
    ++going_;
    refresh(live);
  }
}

void Scheduler::Impl::on(CancelRequest&& event) {
  const auto found = requests_.find(event.request);
  if (found == requests_.end()) return;
  if (found->second->phase == RequestPhase::kEnded) return;
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
      end(*live, Outcome::kFailed,
          Failure{ErrorCode::kBackendFailed, std::string("[Scheduler.lanes] no ") + kRoleNames[r] +
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
  going_ -= live.phase == RequestPhase::kLive ? 1 : 0;
  live.phase = RequestPhase::kEnded;
  const TimePoint deadline = live.trajectory.spec().deadline;
  if (deadline != kNever) deadlines_.erase({deadline, live.id});
  live.wants.clear();
  live.hints.clear();
  for (const Key& key : live.runs) cancel(key, runs_.at(key));
  for (const Taken& ahead : live.ahead) ++count(ahead.role).speculation_wasted;
  live.ahead.clear();
  recount(live);
}

// Hands on what a reading has made certain.
void Scheduler::Impl::flush(Live& live, Reading& reading) {
  for (const Taken& taken : reading.consumed) {
    ++count(taken.role).committed;
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

}  // namespace irt
