// Workers of external lanes that answer from a script, and misbehave as they are told.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "engine/external_lane.h"
#include "engine/harness.h"

namespace irt::test {

// Probabilities of a call; the rest is answered as it should be.
struct Misdeeds {
  double fails = 0.0;
  double hangs = 0.0;           // no sign for three leases, then the answer, too late
  double dies = 0.0;            // the thread ends without a word
  double twice = 0.0;           // the answer is given again
  double unknown = 0.0;         // something is said of calls that never were
  double ignores_cancel = 0.0;  // the call is finished all the same
};

struct OutsideConfig {
  Script script;
  TimePoint lease = 20'000;  // microseconds
  int longest_us = 300;      // of one part of a call
  int capacity = 2;
  int threads = 2;
  Misdeeds misdeeds;
};

// One external lane with its worker threads; they end with the lane, or with this.
class OutsideLane {
 public:
  OutsideLane(Driver& driver, Role role, const OutsideConfig& config, std::uint64_t seed);
  [[nodiscard]] ExternalCounters counters() const { return lane_->counters(); }

 private:
  std::shared_ptr<ExternalLane> lane_;
  std::vector<std::jthread> threads_;
};

}  // namespace irt::test
