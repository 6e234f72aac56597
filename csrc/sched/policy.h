// The arithmetic of speculation: what is learned from finished calls, and whether a call that lies
// beyond an unverified verdict is worth its slot. No state of requests or lanes is kept here.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "core/request.h"

namespace irt {

inline constexpr int kMaxAttempts = 10;  // RequestSpec::t_max is at most this
inline constexpr int kMaxAutoDepth = 2;  // facts: deeper speculation buys less than a tenth
using AcceptOdds = std::array<double, kMaxAttempts + 1>;  // indexed by attempt number, from 1

struct PolicyConfig {
  // Beta priors of "the critic accepts": retries start lower, since a refusal came before them.
  double prior_first = 0.7;
  double prior_retry = 0.5;
  double prior_weight = 4.0;  // verdicts that the prior counts for
  // Weight of history: an estimate forgets with this many samples as its time constant.
  double memory = 64.0;
  int min_samples = 3;  // before a service time counts as known
  // Known in advance (a calibration run, a benchmark); else measured online.
  std::optional<double> critic_slowdown;  // s_c >= 1
  std::optional<double> generator_rate;   // 0 < r_g <= 1
};

// An average over roughly the last `memory` samples.
class DecayingMean {
 public:
  void add(double value, double memory) noexcept;
  [[nodiscard]] double mean() const noexcept { return weight_ > 0 ? sum_ / weight_ : 0.0; }
  [[nodiscard]] std::int64_t samples() const noexcept { return samples_; }

 private:
  double sum_ = 0.0;
  double weight_ = 0.0;
  std::int64_t samples_ = 0;
};

// p(accept) by attempt number, learned from readable verdicts.
class AcceptModel {
 public:
  explicit AcceptModel(const PolicyConfig& config);
  void add(int attempt, bool accepted) noexcept;
  [[nodiscard]] const AcceptOdds& odds() const noexcept { return odds_; }

 private:
  double memory_;
  std::array<double, kMaxAttempts + 1> yes_{};
  std::array<double, kMaxAttempts + 1> all_{};
  AcceptOdds odds_{};
};

// Service time of one role on one device, with and without another role beside it.
// Overlapped samples satisfy sum(T - O) + sum(O) / s = n * alone, which is solved for s: unlike a
// mean of ratios it does not care how long the single answers happened to be.
class ServiceModel {
 public:
  void add(double duration, double overlapped, const PolicyConfig& config) noexcept;
  [[nodiscard]] const DecayingMean& alone() const noexcept { return alone_; }
  [[nodiscard]] std::optional<double> slowdown(const PolicyConfig& config) const noexcept;

 private:
  DecayingMean alone_;
  DecayingMean beside_clear_;  // T - O of the overlapped samples
  DecayingMean beside_over_;   // O of the overlapped samples
};

enum class SpeculationReason {
  kOff,                  // the request does not want it
  kDepthAsked,           // fixed depth: started without asking for the gain
  kBeyondDepth,          // too many unverified verdicts before it
  kRetryDepth,           // auto: after a retry only one verdict ahead
  kSeparateDevices,      // auto: nothing is slowed, expected gain positive
  kGain,                 // auto: shared device, expected gain positive
  kNoGain,               // auto: expected gain not positive
  kUnknownOverlap,       // auto: shared device, s_c or r_g not known yet
  kPlannerOnDevice,      // auto: a plan is being written on the device
  kCommittedWorkBeside,  // auto: the lane already computes committed work
};
inline constexpr int kSpeculationReasons = 10;
[[nodiscard]] const char* to_string(SpeculationReason reason);

// Everything that a decision depends on; times in microseconds.
struct SpeculationCase {
  Speculation setting;
  int beyond = 1;            // unverified verdicts before the call
  bool after_retry = false;  // one of them judges an attempt > 1
  double p = 0.0;            // that all of them accept
  bool shared_device = false;
  bool planner_on_device = false;
  bool committed_beside = false;  // generator lane that already computes committed work
  std::optional<double> critic_slowdown;
  std::optional<double> generator_rate;
  std::optional<double> verdict_time;   // Cv
  std::optional<double> generate_time;  // G
  double cancel_delay = 0.0;
};

struct SpeculationDecision {
  bool start = false;
  SpeculationReason reason = SpeculationReason::kOff;
  double p = 0.0;
  double gain = 0.0;  // microseconds; 0 where it was not asked for
  int depth = 0;      // the depth that applied
};

// gain = p Cv (s_c r_g - (s_c - 1)) - (1 - p) Cv (s_c - 1) - (1 - p) cancel delay.
// The delay is weighted with 1 - p because only a rejection cancels anything.
[[nodiscard]] double expected_gain(double p, double verdict_time, double critic_slowdown,
                                   double generator_rate, double cancel_delay) noexcept;

// d* = ceil(Cv / G), at least 1 and at most kMaxAutoDepth; 1 while a time is unknown.
[[nodiscard]] int auto_depth(std::optional<double> verdict_time,
                             std::optional<double> generate_time) noexcept;

// How far a trajectory reads ahead at all: the bound of what may ever be started for it.
[[nodiscard]] int read_ahead(const Speculation& setting) noexcept;

[[nodiscard]] SpeculationDecision decide(const SpeculationCase& question) noexcept;

}  // namespace irt
