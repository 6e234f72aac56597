// Random scenes for the driver, a reader that checks the order of what it is told, and what the
// sequential loop makes of the same script.
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

// All that law 1 compares; images by their pixels, for keys differ between engines.
std::string canonical(const StepResult& step);

struct Expected {
  std::vector<std::string> steps;  // canonical text of each committed step
  bool finished = true;            // false: a call fails, or the plan cannot be read twice
  bool plan_fails = false;         // how much of the plan was streamed before depends on time
  bool truncated = false;
};

// The sequential loop of support/reference.h over the scripted roles. `inputs`: hashes of the
// request's images, in order. With `failing` the loop ends where the script lets a call fail;
// without it, it shows what would have been.
Expected run_reference(const Script& script, const RequestSpec& spec,
                       const std::vector<std::uint64_t>& inputs, bool failing);

bool is_prefix(const std::vector<std::string>& part, const std::vector<std::string>& whole);

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

// What is still there when every request has ended, was read or forgotten; empty: nothing.
std::string left_behind(Driver& driver);

ScriptedConfig random_config(Random& random);
RequestSpec random_spec(Random& random);
RequestSpec spec_of(const std::string& text);
// Fast lanes (a few tenths of a millisecond a call) that accept most images.
ScriptedConfig quick_config();
PixelBuffer random_image(Random& random);

}  // namespace irt::test
