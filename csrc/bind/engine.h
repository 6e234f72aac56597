// The driver as Python holds it.
#pragma once

#include <nanobind/nanobind.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "bind/gil.h"
#include "core/error.h"
#include "engine/driver.h"

namespace irt {

// What belongs to the process that made it: a fork copies its memory and its locks as they are, and
// none of its threads.
class OneProcess {
 public:
  [[nodiscard]] bool forked() const noexcept { return getpid() != owner_; }
  // Throws Error(kBadRequest) in another process.
  void check() const {
    if (!forked()) return;
    throw Error(ErrorCode::kBadRequest,
                "[Engine] it belongs to process " + std::to_string(owner_) +
                    ", from which this one was forked: load an engine here, after the fork");
  }

 private:
  const pid_t owner_ = getpid();
};

class BoundEngine : public OneProcess {
 public:
  explicit BoundEngine(const DriverConfig& config) : driver_(std::make_unique<Driver>(config)) {}
  // Threads are joined: Python must be able to go on meanwhile.
  ~BoundEngine() {
    if (forked()) {
      static_cast<void>(driver_.release());  // NOLINT: it waits for threads that are not here
      return;
    }
    const WithoutGil unlocked;
    driver_->close();
  }
  BoundEngine(const BoundEngine&) = delete;
  BoundEngine& operator=(const BoundEngine&) = delete;

  [[nodiscard]] Driver& driver() const {
    check();
    return *driver_;
  }

 private:
  std::unique_ptr<Driver> driver_;
};

}  // namespace irt
