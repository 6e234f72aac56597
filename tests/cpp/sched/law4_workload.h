// Law 4 in virtual time: one workload, served with speculation off and on `auto`.
//
// Both arms get the same arrivals and, by key, the same answers and lengths of calls (common random
// numbers), so that latencies are compared request by request.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/simulate.h"

namespace irt::test {

struct Law4Device {
  const char* name = "separate";
  bool shared = false;           // planner, generator and critic on one device
  double critic_slowdown = 1.0;  // s_c, of planner and critic beside the generator
  double generator_rate = 1.0;   // r_g, beside planner or critic
  bool known = false;            // s_c and r_g are configured, not learned
};

struct Law4Point {
  double p = 0.8;         // that a verdict accepts, at every attempt
  double g_over_c = 1.0;  // generator's time over that of a whole critic answer
  int steps = 5;          // N
  double load = 0.1;      // of the generator's capacity; 0: the next request comes after the last
  Law4Device device;

  [[nodiscard]] std::string name() const;
};

struct Law4Run {
  std::vector<double> e2e;  // by request, microseconds
  Counters counters;
  double makespan = 0.0;
};

[[nodiscard]] Law4Run serve(const Law4Point& point, SpeculationMode mode, int requests,
                            std::uint64_t seed);

// `auto` over `off`, with one-sided 95 % bounds from a paired bootstrap over blocks of successive
// requests (neighbours share a queue and are not independent).
struct Law4Ratio {
  double mean = 1.0;
  double mean_low = 1.0;
  double p99 = 1.0;
  double p99_low = 1.0;
};
[[nodiscard]] Law4Ratio compare(const Law4Run& off, const Law4Run& automatic, std::uint64_t seed);

}  // namespace irt::test
