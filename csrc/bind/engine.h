// The driver as Python holds it.
#pragma once

#include <nanobind/nanobind.h>

#include "engine/driver.h"

namespace irt {

struct BoundEngine {
  explicit BoundEngine(const DriverConfig& config) : driver(config) {}
  // Threads are joined: Python must be able to go on meanwhile.
  ~BoundEngine() {
    const nanobind::gil_scoped_release unlocked;
    driver.close();
  }
  BoundEngine(const BoundEngine&) = delete;
  BoundEngine& operator=(const BoundEngine&) = delete;

  Driver driver;
};

}  // namespace irt
