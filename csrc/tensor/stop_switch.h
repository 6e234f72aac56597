// Inside of decoder.cpp: how another thread ends a step.
#pragma once

#include <mutex>

#include "core/error.h"
#include "tensor/ort.h"

namespace irt {

// Lets another thread end a step: it reaches the run in progress, and stays set for the step.
class StopSwitch {
 public:
  void begin_step() noexcept {
    const std::lock_guard lock(mutex_);
    in_step_ = true;
    stop_ = false;
  }
  void end_step() noexcept {
    const std::lock_guard lock(mutex_);
    in_step_ = false;
  }
  // The run to reach from now on, or null. Throws Error(kCancelled) where the step was stopped.
  void watch(Run* run) {
    const std::lock_guard lock(mutex_);
    current_ = run;
    if (stop_) throw Error(ErrorCode::kCancelled, "[BatchedDecoder.step] terminated");
  }
  void forget() noexcept {
    const std::lock_guard lock(mutex_);
    current_ = nullptr;
  }
  void stop() noexcept {
    const std::lock_guard lock(mutex_);
    if (!in_step_) return;
    stop_ = true;
    if (current_ != nullptr) current_->terminate();
  }

 private:
  std::mutex mutex_;
  bool in_step_ = false;
  bool stop_ = false;
  Run* current_ = nullptr;
};

}  // namespace irt
