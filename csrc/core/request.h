// What a caller asks for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/key.h"

namespace irt {

using RequestId = std::uint64_t;
// Microseconds on the clock of whoever drives the core: real in the engine, virtual in tests.
using TimePoint = std::int64_t;
inline constexpr TimePoint kNever = INT64_MAX;

enum class PlanMode { kNarrative, kGuidance };
enum class Keep { kLast, kBest };
enum class SeedRule { kCounter, kReference };
enum class SpeculationMode { kOff, kDepth, kAuto };

struct Speculation {
  SpeculationMode mode = SpeculationMode::kAuto;
  int depth = 1;  // unverified verdicts that a call may lie beyond; read for kDepth only
};

// The latency devices that a request can switch (S2 is Speculation; S8 belongs to the engine).
// None of them may change a canonical result (law 1).
struct Devices {
  bool stream_plan = true;        // S1
  bool early_verdict = true;      // S3
  bool skip_last_judge = true;    // S4
  bool encode_text_ahead = true;  // S5
  bool cache_vision = true;       // S6
};

struct RequestSpec {
  std::string text;
  std::vector<Key> images;  // in the order of their <image> marks; already in the image store
  PlanMode mode = PlanMode::kNarrative;
  std::uint64_t seed = 0;
  SeedRule seed_rule = SeedRule::kCounter;
  int t_max = 5;       // generations per step, 1..10
  int max_steps = 25;  // plan steps that are read, 1..25
  Keep keep = Keep::kLast;
  bool judge_last = false;
  Speculation speculation;
  Devices devices;
  int width = 0;  // pixels; 0 = the pack's default
  int height = 0;
  int denoising_steps = 0;      // 0 = the pack's default
  TimePoint deadline = kNever;  // absolute, on the driver's clock
};

}  // namespace irt
