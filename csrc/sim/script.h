// A made-up world for tests, demos and benchmarks of the loop: what the scripted roles answer.
//
// Every answer is a pure function of the script and of what the call says (texts, seed, pixels),
// never of time, order, request or key. Any sequential program over these functions is therefore a
// reference for the engine (law 1). An image is known by the hash of its pixels; 0 = no image.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/request.h"
#include "core/result.h"
#include "models/pixels.h"

namespace irt {

// Probabilities are of a hash of the call's content.
struct Script {
  std::uint64_t seed = 0;
  int min_steps = 3;
  int max_steps = 3;
  double text_only = 0.0;           // a step without a prompt
  double unreadable_plan = 0.0;     // an answer without any step
  double violated_plan = 0.0;       // one that breaks off after some of its steps
  double unreadable_verdict = 0.0;  // an answer without a boolean
  double unreadable_refined = 0.0;  // a refusal without a refined prompt
  double failing = 0.0;             // a call that its lane fails
  double accept = 0.7;
  // If not empty: by the number of refinements that the used prompt has gone through (the last one
  // holds for all beyond), in place of `accept`.
  std::vector<double> accept_by_refinement;
  int image_size = 16;  // default width and height
};

// At most `limit` steps are read (law 1: the plan is then truncated).
[[nodiscard]] Plan scripted_plan(const Script& script, std::string_view text, PlanMode mode,
                                 int limit, std::uint64_t seed);
[[nodiscard]] PixelBuffer scripted_image(const Script& script, std::string_view prompt,
                                         std::uint64_t source_hash, std::uint64_t seed, int width,
                                         int height, int denoising_steps);
[[nodiscard]] Verdict scripted_verdict(const Script& script, std::string_view original,
                                       std::string_view used, std::uint64_t before_hash,
                                       std::uint64_t after_hash, std::uint64_t seed);

// Whether the call with this content is one that the script lets fail.
[[nodiscard]] bool scripted_plan_fails(const Script& script, std::string_view text,
                                       std::uint64_t seed);
[[nodiscard]] bool scripted_image_fails(const Script& script, std::string_view prompt,
                                        std::uint64_t source_hash, std::uint64_t seed);
[[nodiscard]] bool scripted_verdict_fails(const Script& script, std::string_view used,
                                          std::uint64_t before_hash, std::uint64_t after_hash,
                                          std::uint64_t seed);

// Throws Error(kBadRequest) for probabilities outside 0..1 and senseless counts.
void validate(const Script& script);

}  // namespace irt
