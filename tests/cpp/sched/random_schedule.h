// One random schedule: requests, scripts, lanes and disturbances drawn from a seed, played through
// the scheduler in virtual time, checked after every event and compared with the oracle.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "coverage.h"
#include "script.h"
#include "support/reference.h"

namespace irt::test {

[[nodiscard]] std::uint64_t env(const char* name, std::uint64_t fallback);

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  int in(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  double unit() { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); }
  bool flip(double p) { return unit() < p; }

 private:
  std::mt19937_64 random_;
};

struct Schedule {
  SimConfig config;
  std::vector<Script> scripts;
  std::vector<RequestSpec> specs;
  bool disturbed = false;  // cancels, deadlines, lane deaths: a request may end early
};

// What many schedules came to; sums, so that the parts of several threads can be added.
struct Totals {
  std::uint64_t schedules = 0;
  std::uint64_t requests = 0;
  std::uint64_t finished = 0;
  std::uint64_t speculated = 0;
  std::uint64_t preempted = 0;
  std::uint64_t restarted = 0;
  std::uint64_t events = 0;
  Coverage coverage;

  void add(const Totals& other);
};

// Takes the description of an event and of what followed from it.
using Log = std::function<void(const std::string&)>;

// Empty, or the first thing that is wrong.
[[nodiscard]] std::string run_schedule(std::uint64_t seed, Totals& totals, const Log& log = {});

struct Campaign {
  Totals totals;
  std::string problem;       // of the failing schedule with the smallest seed
  std::uint64_t failed = 0;  // its number, from 0
};

// Schedules first, first + 1, ... on `jobs` threads; stops after the first failing one.
[[nodiscard]] Campaign run_schedules(std::uint64_t first, std::uint64_t schedules, unsigned jobs);

}  // namespace irt::test
