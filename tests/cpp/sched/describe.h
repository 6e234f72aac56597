// Events and commands in words, one line each: the log of a replayed schedule, and what its trace
// is hashed over.
#pragma once

#include <string>
#include <vector>

#include "core/message.h"
#include "sched/scheduler.h"

namespace irt::test {

[[nodiscard]] std::string describe(TimePoint now, const Event& event,
                                   const std::vector<Command>& commands,
                                   const std::vector<DecisionNote>& decisions);

}  // namespace irt::test
