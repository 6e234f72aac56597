// A load on the simulator: requests whose answers and work are given, and what became of them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "sim/simulate.h"

namespace irt {

enum class SimVerdict : std::uint8_t { kRefused, kAccepted, kUnreadable };

// One try of a step; work in microseconds of a call that is alone.
struct SimAttempt {
  double generate = 0.0;
  double verdict = 0.0;  // to the boolean
  double judge = 0.0;    // the whole answer
  SimVerdict says = SimVerdict::kAccepted;
};

// One request. A step without attempts is text only.
struct SimTask {
  double plan = 0.0;
  std::vector<double> closes;                  // of each step, within the plan's work
  std::vector<std::vector<SimAttempt>> steps;  // tries beyond the last one repeat it
  int t_max = 5;
};

struct LoadConfig {
  SimConfig sim;
  std::vector<SimLane> lanes;
  Speculation speculation;
  Optimizations optimizations;
  bool judge_last = false;
  int cancel_parts = 4;  // denoising steps
  int concurrency = 1;   // requests under way (closed loop); 0: they come at `arrivals`
  std::vector<TimePoint> arrivals;
  TimePoint submit_delay = 0;  // closed loop: from the end of a request to the next one
  std::uint64_t max_events = 200'000'000;
};

// One call as it went; times in microseconds of virtual time.
struct LoadCall {
  std::uint32_t task = 0;
  Role role = Role::kPlanner;
  int step = 0;
  int attempt = 0;
  bool speculative = false;
  bool cancelled = false;
  bool used = false;  // the program consumed its result
  TimePoint started = 0;
  TimePoint ended = 0;
  TimePoint verdict = -1;  // judge: the boolean was known
  TimePoint cancel = -1;   // it was asked to stop
};

struct LoadRequest {
  TimePoint submitted = 0;
  TimePoint ended = kNever;
  bool refused = false;
  int attempts = 0;               // on the committed path
  std::vector<TimePoint> images;  // when each step with an image was committed
  int steps = 0;                  // committed, text-only ones included
};

struct LoadReport {
  std::vector<LoadRequest> requests;     // in the order of the tasks
  std::vector<LoadCall> calls;           // in the order of their starts
  std::array<TimePoint, kRoles> busy{};  // time with at least one call of the role under way
  TimePoint ended = 0;
  std::uint64_t events = 0;
  Counters counters;
  bool complete = false;  // false: max_events were reached
};

// Throws Error(kBadRequest) for loads that make no sense. The result is a function of the
// arguments alone. Calls beside the committed path (a step drawn from a refused image) answer like
// some attempt of the same kind of another task, chosen by the call's key.
[[nodiscard]] LoadReport simulate_load(const LoadConfig& config, const std::vector<SimTask>& tasks);

}  // namespace irt
