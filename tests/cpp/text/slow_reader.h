// The obvious reader: the whole text at once, recursion, a tree. What the scanners must equal.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace irt::test {

Plan slow_plan(std::string_view text, int max_steps, int first);
Verdict slow_verdict(std::string_view text);
// Decoded code point by code point; every maximal ill-formed sequence is one U+FFFD.
std::string slow_clean(std::string_view bytes);

}  // namespace irt::test
