// Law: what was read depends on the bytes, never on how they were cut; and it is what the slow,
// obvious reader finds in every prefix.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

#include "core/result.h"

namespace irt::test {

struct Cuts {
  std::function<std::size_t(std::size_t)> below;  // a random number in [0, n)
  std::size_t every = 16;                         // one of so many prefixes is compared
};

// What the text says; throws std::logic_error with what was broken.
Plan check_plan(std::string_view text, int max_steps, int first, const Cuts& cuts);
Verdict check_verdict(std::string_view text, const Cuts& cuts);

}  // namespace irt::test
