// The oracle: the obvious sequential loop, written from the rules and from nothing in csrc/sched.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/call.h"
#include "core/request.h"
#include "core/result.h"

namespace irt::test {

using Roles = std::function<std::variant<CallResult, Failure>(const Call&)>;

struct ReferenceResult {
  std::vector<StepResult> steps;    // committed
  std::vector<Attempt> unfinished;  // of the step at which a call failed
  bool finished = false;
  bool plan_truncated = false;
  int calls = 0;
  std::vector<Key> asked;  // the keys of these calls
};

[[nodiscard]] ReferenceResult run_reference(RequestId request, const RequestSpec& spec,
                                            const Roles& roles);

// Empty if equal; else what differs. Only what a canonical result contains is compared.
[[nodiscard]] std::string difference(const StepResult& got, const StepResult& want);
[[nodiscard]] std::string difference(const Attempt& got, const Attempt& want, bool with_verdict);

}  // namespace irt::test
