// The sequential reference loop over the scripted roles, and results in a form to compare (law 1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/request.h"
#include "core/result.h"
#include "sim/script.h"

namespace irt::test {

struct Expected {
  std::vector<std::string> steps;  // canonical text of each committed step
  bool finished = true;            // false: a call fails, or the plan cannot be read twice
  bool plan_fails = false;         // how much of the plan was streamed before depends on time
  bool truncated = false;
};

// `inputs`: hashes of the request's images, in order. With `failing` the loop ends where the script
// lets a call fail; without it, it shows what would have been.
Expected run_reference(const Script& script, const RequestSpec& spec,
                       const std::vector<std::uint64_t>& inputs, bool failing);

// All that law 1 compares; images by their pixels, for keys differ between engines.
std::string canonical(const StepResult& step);

}  // namespace irt::test
