#include "engine/trace.h"

#include <utility>
#include <variant>

namespace irt {

std::size_t Trace::open(const Call& call, const LaneInfo& lane, bool speculative, TimePoint now) {
  if (spans_.size() >= kMaxSpans) {
    ++dropped_;
    return kNone;
  }
  Span span;
  span.lane = lane.id;
  span.lane_name = lane.name;
  span.role = call.role;
  span.step = call.step;
  span.attempt = call.attempt;
  span.retry = call.retry;
  span.speculative = speculative;
  span.queued = now;
  span.started = now;
  span.key = call.key;
  span.image = call.image;
  spans_.push_back(std::move(span));
  return spans_.size() - 1;
}

void Trace::start(std::size_t span, TimePoint now) {
  if (span < spans_.size()) spans_[span].started = now;
}

void Trace::cancel(std::size_t span, TimePoint now) {
  if (span < spans_.size()) spans_[span].cancel = now;
}

void Trace::end(std::size_t span, SpanOutcome outcome, TimePoint now) {
  if (span >= spans_.size()) return;
  spans_[span].ended = now;
  spans_[span].outcome = outcome;
  // A plan is never speculative: whatever it said was read.
  spans_[span].used = spans_[span].role == Role::kPlanner && outcome == SpanOutcome::kDone;
}

void Trace::write(std::size_t span, std::string&& answer, StopReason stop) {
  if (span >= spans_.size()) return;
  spans_[span].stop = stop;
  if (answers_bytes_ + answer.size() > kMaxAnswersBytes) {
    ++dropped_;
    return;
  }
  answers_bytes_ += answer.size();
  spans_[span].answer = std::move(answer);
}

void Trace::note(const Notice& notice) {
  if (const auto* made = std::get_if<AttemptReady>(&notice)) {
    use(Role::kGenerator, &Span::key, made->attempt.image.key);
  } else if (const auto* judged = std::get_if<VerdictReady>(&notice)) {
    Key image;
    for (const Span& span : spans_) {
      const bool same = span.step == judged->step && span.attempt == judged->attempt;
      if (span.role == Role::kGenerator && span.used && same) image = span.key;
    }
    use(Role::kCritic, &Span::image, image);
  } else if (const auto* step = std::get_if<StepCommitted>(&notice)) {
    // Unreadable verdicts are never delivered, but the program waited for them.
    for (const Attempt& attempt : step->result.attempts) {
      use(Role::kCritic, &Span::image, attempt.image.key);
    }
  }
}

void Trace::decide(const SpeculationDecision& decision, TimePoint now) {
  if (!decisions_.empty()) {
    const SpeculationDecision& last = decisions_.back().decision;
    if (last.reason == decision.reason && last.start == decision.start &&
        last.depth == decision.depth && last.role == decision.role && last.step == decision.step &&
        last.attempt == decision.attempt) {
      return;
    }
  }
  if (decisions_.size() >= kMaxDecisions) {
    ++dropped_;
    return;
  }
  decisions_.push_back({now, decision});
}

void Trace::use(Role role, Key Span::* what, const Key& image) {
  for (Span& span : spans_) {
    if (span.role != role || span.*what != image) continue;
    span.used = span.used || span.outcome == SpanOutcome::kDone;
  }
}

}  // namespace irt
