#include "bind/values.h"

#include <cstdio>
#include <utility>

#include "bind/convert.h"

namespace irt {
namespace {

std::string hex_of(std::uint64_t hash) {
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(hash));
  return digits.data();
}

nb::dict dict_of(const Attempt& attempt) {
  nb::dict out;
  out["number"] = attempt.number;
  out["prompt"] = attempt.prompt;
  out["seed"] = attempt.seed;
  out["image"] = out["image_hash"] = nb::str(hex_of(attempt.image.hash).c_str());
  out["verdict"] = plain_of_verdict(attempt.verdict);
  out["refused_unreadable"] = attempt.refused_unreadable;
  return out;
}

nb::dict dict_of(const StepResult& step) {
  nb::dict out;
  nb::list attempts;
  out["image"] = nb::none();
  for (const Attempt& attempt : step.attempts) {
    const nb::dict made = dict_of(attempt);
    if (step.image && attempt.image.key == *step.image) out["image"] = made["image"];
    attempts.append(made);
  }
  out["plan"] = plain_of(step.plan);
  out["accepted"] = plain_of(step.accepted);
  out["attempts"] = attempts;
  return out;
}

nb::dict dict_of(const RoleCounters& role) {
  nb::dict out;
  out["started"] = role.started;
  out["speculated"] = role.speculated;
  out["promoted"] = role.promoted;
  out["preempted"] = role.preempted;
  out["cancelled"] = role.cancelled;
  out["done"] = role.done;
  out["failed"] = role.failed;
  out["restarted"] = role.restarted;
  out["committed"] = role.committed;
  out["speculation_used"] = role.speculation_used;
  out["speculation_wasted"] = role.speculation_wasted;
  return out;
}

}  // namespace

nb::object plain_of_verdict(const std::optional<Verdict>& verdict) {
  return verdict && verdict->readable ? plain_of(*verdict) : nb::none();
}

nb::dict dict_of(ReaderEvent&& event) {
  nb::dict out;
  Notice& notice = event.notice;
  if (const auto* plan = std::get_if<PlanStepReady>(&notice)) {
    out["kind"] = "plan_step";
    out["index"] = plan->index;
    out["step"] = plain_of(plan->step);
  } else if (const auto* made = std::get_if<AttemptReady>(&notice)) {
    const ImageView view = event.image->pixels.view();
    out["kind"] = "attempt_image";
    out["index"] = made->step;
    out["attempt"] = dict_of(made->attempt);
    out["pixels"] = array_of(view, std::move(event.image));
  } else if (const auto* judged = std::get_if<VerdictReady>(&notice)) {
    out["kind"] = "verdict";
    out["index"] = judged->step;
    out["attempt"] = judged->attempt;
    out["verdict"] = plain_of_verdict(judged->verdict);
  } else if (const auto* step = std::get_if<StepCommitted>(&notice)) {
    out["kind"] = "step_committed";
    out["index"] = step->step;
    out["step"] = dict_of(step->result);
  } else {
    const auto& ended = std::get<RequestEnded>(notice);
    out["kind"] = "finished";
    out["outcome"] = plain_of(ended.outcome);
    out["plan_truncated"] = ended.plan_truncated;
    out["error"] = nb::none();
    if (ended.failure) {
      nb::dict error;
      error["code"] = to_string(ended.failure->code);
      error["message"] = ended.failure->message;
      out["error"] = error;
    }
  }
  return out;
}

nb::dict dict_of(const DriverCounters& counters) {
  const Counters& scheduler = counters.scheduler;
  nb::dict out;
  for (const auto& [name, role] : Names<Role>::kRows) {
    out[name] = dict_of(scheduler.role[static_cast<std::size_t>(role)]);
  }
  nb::list judged;
  nb::list accepted;
  for (std::size_t i = 1; i < scheduler.judged.size(); ++i) {
    judged.append(scheduler.judged[i]);
    accepted.append(scheduler.accepted[i]);
  }
  out["judged_by_attempt"] = judged;
  out["accepted_by_attempt"] = accepted;
  out["plans_unreadable"] = scheduler.plans_unreadable;
  out["verdicts_unreadable"] = scheduler.verdicts_unreadable;
  out["refined_unreadable"] = scheduler.refined_unreadable;
  out["requests_accepted"] = scheduler.requests_accepted;
  out["requests_refused"] = scheduler.requests_refused;
  nb::dict ended;
  for (const auto& [name, outcome] : Names<Outcome>::kRows) {
    ended[name] = scheduler.requests_ended[static_cast<std::size_t>(outcome)];
  }
  out["requests_ended"] = ended;
  nb::dict decisions;
  for (int i = 0; i < kSpeculationReasons; ++i) {
    decisions[to_string(static_cast<SpeculationReason>(i))] =
        scheduler.decisions[static_cast<std::size_t>(i)];
  }
  out["decisions"] = decisions;
  out["lanes_lost"] = scheduler.lanes_lost;
  out["strays"] = scheduler.strays + counters.stray_reports;
  out["text_requests"] = counters.text.requests;
  out["text_cache_hits"] = counters.text.cache_hits;
  out["prefetches_dropped"] = counters.text.prefetches_dropped;
  out["live"] = counters.live;
  out["unforgotten"] = counters.records - static_cast<std::size_t>(counters.live);
  out["running_calls"] = counters.running;
  out["images"] = counters.images;
  out["image_bytes"] = counters.image_bytes;
  return out;
}

}  // namespace irt
