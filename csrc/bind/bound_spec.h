// A request as Python writes it: its deadline is a duration until it is submitted.
#pragma once

#include "core/request.h"

namespace irt {

struct BoundSpec : RequestSpec {
  double timeout_s = 0.0;  // 0 = none
};

}  // namespace irt
