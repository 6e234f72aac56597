// What the scheduler knows of a resource that executes calls of one role.
#pragma once

#include <cstdint>
#include <string>

#include "core/call.h"

namespace irt {

using LaneId = std::uint32_t;

struct LaneInfo {
  LaneId id = 0;
  Role role = Role::kGenerator;
  int capacity = 1;    // calls that may be under way at once
  std::string device;  // lanes of one device slow each other; equal strings = shared
  std::string name;
};

}  // namespace irt
