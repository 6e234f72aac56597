// Events and commands in words, one line each: the log of a replayed schedule.
#pragma once

#include <cstdio>
#include <vector>

#include "core/message.h"

namespace irt::test {

void print_event(std::FILE* out, TimePoint now, const Event& event,
                 const std::vector<Command>& commands);

}  // namespace irt::test
