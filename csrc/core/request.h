// What a caller asks for, and the limits of what can be asked.
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

// The same limits as interleave_rt.Options; the scheduler refuses a request that is beyond them.
inline constexpr int kMaxAttempts = 10;         // RequestSpec::t_max
inline constexpr int kMaxSteps = 25;            // RequestSpec::max_steps, Speculation::depth
inline constexpr int kMaxSide = 4096;           // pixels, RequestSpec::width and height
inline constexpr int kMaxDenoisingSteps = 100;  // RequestSpec::denoising_steps
inline constexpr int kMaxReferences = 16;       // RequestSpec::references

enum class PlanMode { kNarrative, kGuidance };
enum class Keep { kLast, kBest };
enum class SeedRule { kCounter, kReference };
enum class SpeculationMode { kOff, kDepth, kAuto };

struct Speculation {
  SpeculationMode mode = SpeculationMode::kAuto;
  int depth = 1;  // unverified verdicts that a call may lie beyond; read for kDepth only
};

// What a request can switch off besides speculation, each to measure what it buys. None of them
// may change what is committed.
struct Optimizations {
  bool stream_plan = true;        // a plan step is usable once it is closed, not with the plan
  bool early_verdict = true;      // the boolean of a verdict decides before the answer has ended
  bool skip_last_judge = true;    // no verdict on an attempt that stands whatever it says
  bool encode_text_ahead = true;  // prompts are encoded while their step waits
  bool cache_vision = true;       // features of an image are computed once
};

struct RequestSpec {
  std::string text;
  std::vector<Key> images;  // in the order of their <image> marks; already in the image store
  PlanMode mode = PlanMode::kNarrative;
  std::uint64_t seed = 0;
  SeedRule seed_rule = SeedRule::kCounter;
  int t_max = 5;              // generations per step, from 1
  int max_steps = kMaxSteps;  // plan steps that are read, from 1
  Keep keep = Keep::kLast;
  bool judge_last = false;
  Speculation speculation;
  Optimizations optimizations;
  int width = 0;  // pixels; 0 = the pack's default
  int height = 0;
  int denoising_steps = 0;      // 0 = the pack's default
  int references = 1;           // pictures that an image starts from at most, from 1
  TimePoint deadline = kNever;  // absolute, on the driver's clock
};

}  // namespace irt
