// The question to the policy: what is known about a call that may be started ahead.
#include <algorithm>

#include "sched/scheduler_impl.h"

namespace irt {

// How long a run goes on until it yields what is waited for, by the mean of its role.
std::optional<double> Scheduler::Impl::time_left(const Run& run) const {
  const Role role = run.role;
  const auto mean = role == Role::kPlanner     ? first_step_time()
                    : role == Role::kGenerator ? meter_.generate_time()
                                               : meter_.verdict_time();
  if (!mean) return std::nullopt;
  return std::max(0.0, *mean - static_cast<double>(now_ - run.mark.started));
}

std::optional<double> Scheduler::Impl::first_step_time() const {
  if (first_step_.samples() < config_.policy.min_samples) return std::nullopt;
  return first_step_.mean();
}

// When other requests will ask for a slot of the role, as far as one can see: after the verdict
// or the first plan step that they wait for, or (critic) after the image.
void Scheduler::Impl::find_rivals(const Live& mine, Role role, std::vector<double>& out) const {
  for (const auto& [key, run] : runs_) {
    if (run.request == mine.id || run.speculative || run.cancelling) continue;
    const Role from = run.role;
    if (from == role) continue;
    if (role == Role::kCritic && from == Role::kPlanner) continue;
    // A plan that goes on while its steps are being made asks for nothing new.
    if (from == Role::kPlanner && run.streamed) continue;
    out.push_back(time_left(run).value_or(0.0));
  }
}

SpeculationDecision Scheduler::Impl::judge(Live& live, const Want& want, const Lane& lane) {
  const Role role = lane.info.role;
  SpeculationCase question;
  question.setting = live.trajectory.spec().speculation;
  question.role = role;
  question.beyond = want.beyond;
  question.after_retry = want.after_retry;
  question.p = want.probability;
  if (question.setting.mode == SpeculationMode::kAuto) ask_auto(live, lane, question);
  SpeculationDecision decision = decide(question);
  decision.step = want.call.step;
  decision.attempt = want.call.attempt;
  return decision;
}

void Scheduler::Impl::ask_auto(const Live& live, const Lane& lane, SpeculationCase& question) {
  const Role role = question.role;
  const Role other = role == Role::kGenerator ? Role::kCritic : Role::kGenerator;
  question.critics_beside = 0;
  int free = 0;
  for (const Lane& beside : lanes_) {
    if (beside.info.role == role) free += std::max(0, beside.free());
    if (beside.device != lane.device) continue;
    if (beside.info.role == other) question.shared_device = true;
    int committed = 0;
    bool of_others = false;
    for (const Key& key : beside.runs) {
      const Run& run = runs_.at(key);
      if (run.speculative) continue;
      ++committed;
      of_others = of_others || run.request != live.id;
    }
    if (beside.info.role == Role::kCritic) question.critics_beside += committed;
    if (beside.info.role == Role::kGenerator) question.generators_beside += committed;
    // One more row makes every row of a batch slower. (The awaited verdict is of this request.)
    if (beside.info.role == role) {
      question.committed_beside =
          question.committed_beside || of_others || (role == Role::kGenerator && committed > 0);
    }
  }
  question.planner_on_device = meter_.active(lane.device, Role::kPlanner) > 0;
  question.critic_slowdown = meter_.critic_slowdown(lane.device);
  question.generator_rate = meter_.generator_rate(lane.device);
  question.verdict_time = meter_.verdict_time();
  question.generate_time = meter_.generate_time();
  question.luck_verdicts = config_.policy.luck_verdicts;
  const DecayingMean& delay = cancel_delay_[index_of(role)];
  if (delay.samples() >= config_.policy.min_samples) question.cancel_delay = delay.mean();
  for (const Key& key : live.runs) {
    const Run& run = runs_.at(key);
    if (run.role != Role::kCritic || run.cancelling) continue;
    if (const auto left = time_left(run)) {
      question.verdict_left = std::max(question.verdict_left.value_or(0.0), *left);
    }
  }
  question.others = going_ - 1 + queued_;
  find_rivals(live, role, question.rivals);
  // The soonest find the other free slots.
  std::sort(question.rivals.begin(), question.rivals.end());
  const auto spare =
      std::min(question.rivals.size(), static_cast<std::size_t>(std::max(0, free - 1)));
  question.rivals.erase(question.rivals.begin(),
                        question.rivals.begin() + static_cast<std::ptrdiff_t>(spare));
  question.may_probe = question.others == 0 && question.verdict_time && question.generate_time &&
                       probes_ < config_.policy.probes &&
                       unlucky(question.p, question.luck_verdicts) > 0.4;
}

}  // namespace irt
