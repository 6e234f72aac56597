// The arithmetic of speculation: what is learned from finished calls, and whether a call that lies
// beyond an unverified verdict is worth its slot. No state of requests or lanes is kept here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <vector>

#include "core/call.h"
#include "core/request.h"

namespace irt {

// Words of the arithmetic. Times are microseconds.
//   Cv   verdict_time: from the start of a judgement to its boolean
//   G    generate_time: of one image
//   s_c  critic_slowdown: how many times as long a judgement takes while an image is made on its
//        device; at least 1
//   r_g  generator_rate: speed of a generation while a judgement runs on its device, as a share of
//        its speed alone; above 0, at most 1
// A call that runs beside a verdict for its Cv does r_g Cv of its work and delays the verdict by
// (s_c - 1) Cv; that work is lost if the verdict refuses. expected_gain() has the whole formula.

inline constexpr int kMaxAutoDepth = 2;  // a third verdict ahead gained less than a tenth
using AcceptOdds = std::array<double, kMaxAttempts + 1>;  // indexed by attempt number, from 1

struct PolicyConfig {
  // Beta priors of "the critic accepts": retries start lower, since a refusal came before them.
  double prior_first = 0.7;
  double prior_retry = 0.5;
  double prior_weight = 4.0;  // verdicts that the prior counts for
  // Weight of history: an estimate forgets with this many samples as its time constant.
  double memory = 64.0;
  int min_samples = 3;  // before a service time counts as known
  // Speculations that a shared device is given, in all, to find s_c and r_g out: only for a request
  // that is alone, only where it is likely to be accepted. 0: never.
  int probes = 8;
  // Verdicts over which a request's luck may not even out: the gain must hold with odds that are
  // one standard deviation of so many verdicts lower. Keeps the slowest per cent from losing.
  double luck_verdicts = 12.0;
  // Known in advance (a calibration run, a benchmark); else measured online.
  std::optional<double> critic_slowdown;  // s_c >= 1
  std::optional<double> generator_rate;   // 0 < r_g <= 1
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

enum class SpeculationReason {
  kOff,                  // the request does not want it
  kDepthAsked,           // fixed depth: started without asking for the gain
  kBeyondDepth,          // too many unverified verdicts before it
  kRetryDepth,           // auto: after a retry only one verdict ahead
  kSeparateDevices,      // auto: nothing is slowed, expected gain positive
  kGain,                 // auto: shared device, expected gain positive
  kNoGain,               // auto: expected gain not positive
  kUnknownOverlap,       // auto: shared device, s_c or r_g not known yet
  kPlannerOnDevice,      // auto: a plan is being written on the device; what it loses is unknown
  kCommittedWorkBeside,  // auto: the lane already computes committed work
  kRivals,               // auto: it would pay, but other requests will want the lane
  kLuck,                 // auto: it would pay on the average, an unlucky request would lose
  kProbe,                // auto: shared device, started to find s_c and r_g out
};
inline constexpr const char* kSpeculationReasonNames[] = {
    "speculation is off",
    "within the depth that was asked for",
    "beyond the depth",
    "beyond a retry and another verdict",
    "separate devices",
    "expected gain",
    "no expected gain",
    "effect of overlap not known yet",
    "a plan is being written on the device",
    "the lane computes committed work",
    "other requests will want the lane",
    "an unlucky request would lose",
    "probe of the overlap",
};
inline constexpr int kSpeculationReasons = std::size(kSpeculationReasonNames);
[[nodiscard]] constexpr const char* to_string(SpeculationReason reason) {
  return kSpeculationReasonNames[static_cast<std::size_t>(reason)];
}

// What starting a call ahead of a verdict buys and costs; times in microseconds.
struct GainTerms {
  double p = 0.0;             // that the call will be asked for
  double verdict_left = 0.0;  // until the verdict is known, if nothing slows the critic
  double work = 0.0;          // of the call, when it is alone
  double rate = 1.0;          // at which it runs beside the critic: r_g for the generator
  double slowdown = 1.0;      // of the verdict by the call: s_c for the generator
  double burden = 0.0;        // work per unit of time that other committed calls lose by it
  double cancel_delay = 0.0;  // from a cancel until the lane is free
  double undisturbed = 1.0;   // probability that no committed work wants the slot meanwhile
  double others = 0.0;        // requests that a late lane makes late
};

// D = min(s verdict_left, work / rate) is how long both run.
// gain = p undisturbed rate D - (1 - 1/s) D - burden D
//        - [the call is under way when the verdict comes] cancel_delay
//          ((1 - p) + (1 - undisturbed) others).
// With one request and a long call: p Cv (s r - (s - 1)) - (1 - p) Cv (s - 1) - (1 - p) delay.
[[nodiscard]] double expected_gain(const GainTerms& terms) noexcept;

// Odds of a request that has bad luck: p less one standard deviation over `verdicts` verdicts.
[[nodiscard]] double unlucky(double p, double verdicts) noexcept;

// Probability that a call which is expected in `left` comes within `window`.
[[nodiscard]] double comes_within(double left, double window) noexcept;

// What a decision depends on and tells again; times in microseconds.
struct SpeculationFacts {
  Role role = Role::kGenerator;           // of the call
  int beyond = 1;                         // unverified verdicts before the call
  double p = 0.0;                         // that all of them accept
  int others = 0;                         // other requests that run or wait
  std::optional<double> critic_slowdown;  // s_c; none: not known
  std::optional<double> generator_rate;   // r_g
  std::optional<double> verdict_time;     // Cv
  std::optional<double> generate_time;    // G
};

struct SpeculationCase : SpeculationFacts {
  Speculation setting;
  bool after_retry = false;            // one of the verdicts judges an attempt > 1
  bool shared_device = false;          // critic and generator slow each other
  int planners_beside = 0;             // plans that are written on the device
  bool committed_beside = false;       // the role's lanes compute what others have committed to
  int critics_beside = 1;              // committed judgements on the device, the awaited included
  int generators_beside = 0;           // committed generations on the device
  bool may_probe = false;              // there are probes left, and nobody else is there
  std::optional<double> verdict_left;  // of the awaited verdicts; else Cv
  std::vector<double> rivals;          // when others' committed calls are expected on the lane
  std::optional<double> cancel_delay;  // not seen yet: a quarter of G, nothing for the critic
  double luck_verdicts = 12.0;
};

struct SpeculationDecision : SpeculationFacts {
  bool start = false;
  SpeculationReason reason = SpeculationReason::kOff;
  int step = 0;  // of the call; filled in by the scheduler
  int attempt = 1;
  int depth = 0;             // the depth that applied
  double gain = 0.0;         // microseconds; 0 where it was not asked for
  double undisturbed = 1.0;  // see GainTerms
};

// d* = ceil(Cv / G), at least 1 and at most kMaxAutoDepth; 1 while a time is unknown.
[[nodiscard]] int auto_depth(std::optional<double> verdict_time,
                             std::optional<double> generate_time) noexcept;

// How far a trajectory reads ahead at all: the bound of what may ever be started for it.
[[nodiscard]] int read_ahead(const Speculation& setting) noexcept;

// Under `auto`, why the call does not start whatever it would gain: asked before the costlier half
// of a case (verdict_left, rivals, may_probe) is filled in. None: the gain decides.
[[nodiscard]] std::optional<SpeculationReason> ruled_out(const SpeculationCase& question) noexcept;

[[nodiscard]] SpeculationDecision decide(const SpeculationCase& question);

}  // namespace irt
