// Random scenes for the driver, and a reader that checks the order of what it is told.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "engine/driver.h"
#include "sim/scripted_lanes.h"

namespace irt::test {

// Environment IRT_RUNS multiplies the number of random runs.
int runs(int usual);

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }
  double uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(engine_);
  }
  bool chance(double probability) { return uniform(0.0, 1.0) < probability; }
  std::uint64_t seed() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

struct Seen {
  std::vector<std::string> steps;  // canonical, as committed
  Outcome outcome = Outcome::kFinished;
  std::optional<Failure> failure;
  bool truncated = false;
  std::string disorder;  // empty: every notice came where it may
};

// Reads to the end, at most `patience` long in all; a longer wait is a disorder. A slow reader
// waits in `before_each`.
Seen read_all(Driver& driver, RequestId request,
              std::chrono::milliseconds patience = std::chrono::seconds(60),
              const std::function<void()>& before_each = {});

// Waits until no call runs: those of ended requests end by and by.
bool settles(Driver& driver, std::chrono::milliseconds patience = std::chrono::seconds(20));

ScriptedConfig random_config(Random& random);
RequestSpec random_spec(Random& random);
RequestSpec spec_of(const std::string& text);
// Fast lanes (a few tenths of a millisecond a call) that accept most images.
ScriptedConfig quick_config();
PixelBuffer random_image(Random& random);

}  // namespace irt::test
