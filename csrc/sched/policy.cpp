#include "sched/policy.h"

#include <algorithm>
#include <cmath>

namespace irt {

AcceptModel::AcceptModel(const PolicyConfig& config) : memory_(config.memory) {
  for (std::size_t t = 0; t <= kMaxAttempts; ++t) {
    odds_[t] = t <= 1 ? config.prior_first : config.prior_retry;
    all_[t] = config.prior_weight;
    yes_[t] = odds_[t] * config.prior_weight;
  }
}

void AcceptModel::add(int attempt, bool accepted) noexcept {
  const auto t = static_cast<std::size_t>(std::clamp(attempt, 1, kMaxAttempts));
  const double keep = memory_ > 1.0 ? 1.0 - 1.0 / memory_ : 0.0;
  all_[t] = all_[t] * keep + 1.0;
  yes_[t] = yes_[t] * keep + (accepted ? 1.0 : 0.0);
  odds_[t] = yes_[t] / all_[t];
}

double expected_gain(const GainTerms& terms) noexcept {
  if (terms.rate <= 0.0) return -terms.verdict_left;
  const double verdict_in = terms.slowdown * terms.verdict_left;
  const double done_in = terms.work / terms.rate;
  const double both = std::min(verdict_in, done_in);
  const double lost = (1.0 - 1.0 / terms.slowdown + terms.burden) * both;
  const double late = done_in > verdict_in ? terms.cancel_delay : 0.0;
  return terms.p * terms.undisturbed * terms.rate * both - lost -
         late * (1.0 - terms.p + (1.0 - terms.undisturbed) * terms.others);
}

double unlucky(double p, double verdicts) noexcept {
  if (verdicts <= 0.0) return p;
  return std::max(0.0, p - std::sqrt(std::max(0.0, p * (1.0 - p)) / verdicts));
}

double comes_within(double left, double window) noexcept {
  if (window <= 0.0) return 0.0;
  // The expectation is a mean: half of the calls come before it.
  return left <= 0.0 ? 1.0 : std::min(1.0, window / (2.0 * left));
}

int auto_depth(std::optional<double> verdict_time, std::optional<double> generate_time) noexcept {
  if (!verdict_time || !generate_time || *generate_time <= 0.0) return 1;
  const double depth = std::ceil(*verdict_time / *generate_time);
  return static_cast<int>(std::clamp(depth, 1.0, static_cast<double>(kMaxAutoDepth)));
}

int read_ahead(const Speculation& setting) noexcept {
  switch (setting.mode) {
    case SpeculationMode::kOff: return 0;
    case SpeculationMode::kDepth: return setting.depth;
    case SpeculationMode::kAuto: return kMaxAutoDepth;
  }
  return 0;
}

namespace {

// A time that is not known yet counts as nothing, or as that of the other role.
GainTerms terms_of(const SpeculationCase& question) {
  GainTerms terms;
  const bool generator = question.role == Role::kGenerator;
  const double verdict = question.verdict_time.value_or(0.0);
  const double image = question.generate_time.value_or(verdict);
  terms.p = question.p;
  terms.verdict_left = question.verdict_left.value_or(verdict);
  terms.work = generator ? image : verdict;
  terms.cancel_delay = question.cancel_delay.value_or(generator ? image / 4.0 : 0.0);
  if (question.shared_device) {
    const double slowdown = question.critic_slowdown.value_or(1.0);
    const double rate = question.generator_rate.value_or(1.0);
    if (generator) {
      terms.rate = rate;
      terms.slowdown = slowdown;
      // Those who judge or plan now, and half of those who may begin to write meanwhile.
      const double judging = std::max(0, question.critics_beside - 1);
      const double coming = std::max(0.0, question.others - judging) / 2.0;
      terms.burden = (judging + coming + question.planners_beside) * (1.0 - 1.0 / slowdown);
    } else if (question.generators_beside > 0) {
      terms.rate = 1.0 / slowdown;
      terms.burden = question.generators_beside * (1.0 - rate);
    }
  }
  const double window =
      std::min(terms.slowdown * terms.verdict_left, terms.work / std::max(terms.rate, 1e-3));
  for (const double left : question.rivals) {
    terms.undisturbed *= 1.0 - comes_within(left, window);
    if (terms.undisturbed <= 0.0) break;
  }
  terms.others = question.others;
  return terms;
}

}  // namespace

std::optional<SpeculationReason> ruled_out(const SpeculationCase& question) noexcept {
  if (question.beyond > auto_depth(question.verdict_time, question.generate_time)) {
    return SpeculationReason::kBeyondDepth;
  }
  // After a refusal the next one is likelier than the odds, which are of all requests.
  if (question.after_retry && question.beyond > 1) return SpeculationReason::kRetryDepth;
  // A plan that is beside a generation is slowed as a verdict is. What else slows it is not known.
  const bool weighed = question.role == Role::kGenerator && question.shared_device &&
                       question.critic_slowdown && question.generator_rate;
  if (question.planners_beside > 0 && !weighed) return SpeculationReason::kPlannerOnDevice;
  if (question.committed_beside) return SpeculationReason::kCommittedWorkBeside;
  return std::nullopt;
}

SpeculationDecision decide(const SpeculationCase& question) {
  SpeculationDecision answer{question};
  const auto say = [&answer](bool start, SpeculationReason reason) {
    answer.start = start;
    answer.reason = reason;
    return answer;
  };
  if (question.setting.mode == SpeculationMode::kOff) return say(false, SpeculationReason::kOff);
  if (question.setting.mode == SpeculationMode::kDepth) {
    answer.depth = read_ahead(question.setting);
    return question.beyond <= answer.depth ? say(true, SpeculationReason::kDepthAsked)
                                           : say(false, SpeculationReason::kBeyondDepth);
  }
  answer.depth = auto_depth(question.verdict_time, question.generate_time);
  if (const auto reason = ruled_out(question)) return say(false, *reason);
  // A judgement slows nobody while no image is made on its device.
  const bool slows = question.shared_device &&
                     (question.role == Role::kGenerator || question.generators_beside > 0);
  // Only a generation may probe: a second judgement in the lane would slow the awaited one, and
  // the sample would be of that.
  if (question.shared_device &&
      (!question.critic_slowdown || !question.generator_rate || !question.verdict_time)) {
    return question.may_probe && question.role == Role::kGenerator
               ? say(true, SpeculationReason::kProbe)
               : say(false, SpeculationReason::kUnknownOverlap);
  }
  GainTerms terms = terms_of(question);
  const SpeculationReason yes =
      slows ? SpeculationReason::kGain : SpeculationReason::kSeparateDevices;
  answer.undisturbed = terms.undisturbed;
  answer.gain = expected_gain(terms);
  if (!question.verdict_time) {
    // Nothing is known yet: a lone request can lose one cancel delay at most, so it may try.
    return question.others == 0 ? say(true, yes) : say(false, SpeculationReason::kRivals);
  }
  terms.p = unlucky(question.p, question.luck_verdicts);
  if (expected_gain(terms) > 0.0) return say(true, yes);
  if (answer.gain > 0.0) return say(false, SpeculationReason::kLuck);
  terms.p = question.p;
  terms.undisturbed = 1.0;
  return expected_gain(terms) > 0.0 ? say(false, SpeculationReason::kRivals)
                                    : say(false, SpeculationReason::kNoGain);
}

}  // namespace irt
