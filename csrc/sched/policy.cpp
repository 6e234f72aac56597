#include "sched/policy.h"

#include <cmath>

namespace irt {

void DecayingMean::add(double value, double memory) noexcept {
  const double keep = memory > 1.0 ? 1.0 - 1.0 / memory : 0.0;
  sum_ = sum_ * keep + value;
  weight_ = weight_ * keep + 1.0;
  ++samples_;
}

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

void ServiceModel::add(double duration, double overlapped, const PolicyConfig& config) noexcept {
  constexpr double kAlone = 0.05;  // share of overlap that still counts as alone
  constexpr double kBeside = 0.5;  // share from which the overlap can be told from noise
  if (duration <= 0.0) return;
  if (overlapped <= kAlone * duration) {
    alone_.add(duration, config.memory);
  } else if (overlapped >= kBeside * duration) {
    beside_clear_.add(duration - overlapped, config.memory);
    beside_over_.add(overlapped, config.memory);
  }
}

std::optional<double> ServiceModel::slowdown(const PolicyConfig& config) const noexcept {
  if (alone_.samples() < config.min_samples || beside_over_.samples() < config.min_samples) {
    return std::nullopt;
  }
  const double work_left = alone_.mean() - beside_clear_.mean();
  constexpr double kWorst = 16.0;  // the answer is noise beyond it
  if (work_left * kWorst <= beside_over_.mean()) return kWorst;
  return std::max(1.0, beside_over_.mean() / work_left);
}

const char* to_string(SpeculationReason reason) {
  switch (reason) {
    case SpeculationReason::kOff: return "speculation is off";
    case SpeculationReason::kDepthAsked: return "within the depth that was asked for";
    case SpeculationReason::kBeyondDepth: return "beyond the depth";
    case SpeculationReason::kRetryDepth: return "beyond a retry and another verdict";
    case SpeculationReason::kSeparateDevices: return "separate devices";
    case SpeculationReason::kGain: return "expected gain";
    case SpeculationReason::kNoGain: return "no expected gain";
    case SpeculationReason::kUnknownOverlap: return "effect of overlap not known yet";
    case SpeculationReason::kPlannerOnDevice: return "a plan is being written on the device";
    case SpeculationReason::kCommittedWorkBeside: return "the lane computes committed work";
  }
  return "";
}

double expected_gain(double p, double verdict_time, double critic_slowdown, double generator_rate,
                     double cancel_delay) noexcept {
  const double slowed = critic_slowdown - 1.0;
  return p * verdict_time * (critic_slowdown * generator_rate - slowed) -
         (1.0 - p) * verdict_time * slowed - (1.0 - p) * cancel_delay;
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

SpeculationDecision decide(const SpeculationCase& question) noexcept {
  SpeculationDecision answer;
  answer.p = question.p;
  const auto say = [&answer](bool start, SpeculationReason reason) {
    answer.start = start;
    answer.reason = reason;
    return answer;
  };
  if (question.setting.mode == SpeculationMode::kOff) return say(false, SpeculationReason::kOff);
  if (question.setting.mode == SpeculationMode::kDepth) {
    answer.depth = question.setting.depth;
    return question.beyond <= answer.depth ? say(true, SpeculationReason::kDepthAsked)
                                           : say(false, SpeculationReason::kBeyondDepth);
  }
  answer.depth = auto_depth(question.verdict_time, question.generate_time);
  if (question.beyond > answer.depth) return say(false, SpeculationReason::kBeyondDepth);
  // A refusal makes the next one likelier than the odds of strangers say.
  if (question.after_retry && question.beyond > 1) {
    return say(false, SpeculationReason::kRetryDepth);
  }
  if (question.planner_on_device) return say(false, SpeculationReason::kPlannerOnDevice);
  if (question.committed_beside) return say(false, SpeculationReason::kCommittedWorkBeside);
  if (!question.shared_device) {
    // Nothing is slowed, so only the cancel delay can lose; unknown times cannot turn the sign
    // of p Cv against a delay that has not been seen either.
    answer.gain = expected_gain(question.p, question.verdict_time.value_or(0.0), 1.0, 1.0,
                                question.verdict_time ? question.cancel_delay : 0.0);
    const bool known = question.verdict_time.has_value();
    return !known || answer.gain > 0.0 ? say(true, SpeculationReason::kSeparateDevices)
                                       : say(false, SpeculationReason::kNoGain);
  }
  if (!question.critic_slowdown || !question.generator_rate || !question.verdict_time) {
    return say(false, SpeculationReason::kUnknownOverlap);
  }
  answer.gain = expected_gain(question.p, *question.verdict_time, *question.critic_slowdown,
                              *question.generator_rate, question.cancel_delay);
  return answer.gain > 0.0 ? say(true, SpeculationReason::kGain)
                           : say(false, SpeculationReason::kNoGain);
}

}  // namespace irt
