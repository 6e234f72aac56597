// One use of a role, and the seeds that belong to it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/key.h"
#include "core/request.h"

namespace irt {

enum class CallKind { kPlan, kGenerate, kJudge };
enum class Role { kPlanner, kGenerator, kCritic };
inline constexpr int kRoles = 3;

[[nodiscard]] constexpr Role role_of(CallKind kind) {
  return kind == CallKind::kPlan       ? Role::kPlanner
         : kind == CallKind::kGenerate ? Role::kGenerator
                                       : Role::kCritic;
}

// Everything that a lane needs to run the call; equal calls have equal keys.
struct Call {
  Key key;
  CallKind kind = CallKind::kPlan;
  RequestId request = 0;
  int step = 0;     // index in the plan, from 0
  int attempt = 0;  // from 1
  int retry = 0;    // 0, or 1: sampled again at temperature 0.7 after an unreadable answer
  std::uint64_t seed = 0;

  PlanMode mode = PlanMode::kNarrative;  // plan
  int max_steps = 25;                    // plan: the reader's limit
  std::string prompt;                    // plan: the user's text; generate: r; judge: used prompt r
  std::string original;                  // judge: the plan's prompt p
  std::vector<Key> images;               // plan: the input images
  Key source;  // generate: source image or none; judge: before (none = white)
  Key image;   // judge: after

  int width = 0;  // generate
  int height = 0;
  int denoising_steps = 0;
  Devices devices;  // how, never what
};

// Computes `key` from the fields that determine the result (not from `devices`).
[[nodiscard]] Key key_of(const Call& call);

// Work that may be done ahead; dropping it changes nothing but time.
struct Hint {
  enum class What { kPromptText, kImageFeatures };
  What what = What::kPromptText;
  Role role = Role::kGenerator;
  RequestId request = 0;
  std::string text;  // kPromptText: a generator prompt
  Key image;         // kImageFeatures: none = the white picture
};

// Seeds (law 1): counter-based, so that a seed never depends on the order of calls.
// kReference reproduces the official demo for images: step index * 1000 for every attempt.
[[nodiscard]] std::uint64_t seed_of(std::uint64_t request_seed, SeedRule rule, CallKind kind,
                                    int step, int attempt, int retry);

}  // namespace irt
