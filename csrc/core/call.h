// One use of a role, and the seeds that belong to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/key.h"
#include "core/request.h"

namespace irt {

// The three models. A call uses one of them once.
enum class Role { kPlanner, kGenerator, kCritic };
inline constexpr int kRoles = 3;

[[nodiscard]] constexpr std::size_t index_of(Role role) { return static_cast<std::size_t>(role); }
inline constexpr const char* kRoleNames[kRoles] = {"planner", "generator", "critic"};
inline constexpr const char* kCallNames[kRoles] = {"plan", "generate", "judge"};
[[nodiscard]] constexpr const char* name_of(Role role) { return kRoleNames[index_of(role)]; }
[[nodiscard]] constexpr const char* call_name(Role role) { return kCallNames[index_of(role)]; }

// Everything that a lane needs to run the call; equal calls have equal keys.
struct Call {
  Key key;
  Role role = Role::kPlanner;
  RequestId request = 0;
  int step = 0;     // index in the plan, from 0
  int attempt = 0;  // from 1
  int retry = 0;    // 0, or 1: sampled again at temperature 0.7 after an unreadable answer
  std::uint64_t seed = 0;

  PlanMode mode = PlanMode::kNarrative;  // plan
  int max_steps = kMaxSteps;             // plan: the reader's limit
  std::string prompt;                    // plan: the user's text; else the prompt in use
  std::string original;                  // judge: the plan's prompt of the step
  std::vector<Key> images;  // plan: the input images; generate: of the story before `source`
  Key source;               // generate: source image or none; judge: before (none = white)
  Key image;                // judge: after

  int width = 0;  // generate
  int height = 0;
  int denoising_steps = 0;
  Optimizations optimizations;  // how, never what
  TimePoint deadline = kNever;  // of the request, on the driver's clock: a hint for the lane
};

// Computes `key` from the fields that determine the result (not from `optimizations`).
[[nodiscard]] Key key_of(const Call& call);

// Work that may be done ahead; dropping it changes nothing but time.
struct Prefetch {
  enum class What { kPromptText, kImageFeatures };
  What what = What::kPromptText;
  Role role = Role::kGenerator;
  RequestId request = 0;
  std::string text;  // kPromptText: a generator prompt
  Key image;         // kImageFeatures: none = the white picture
};

// Seeds are counter-based: they do not depend on the order of calls. kReference reproduces the
// official demo for images: step index * 1000 for every attempt.
[[nodiscard]] std::uint64_t seed_of(std::uint64_t request_seed, SeedRule rule, Role role, int step,
                                    int attempt, int retry);

}  // namespace irt
