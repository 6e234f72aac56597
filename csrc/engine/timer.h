// One thread that calls back at the last time it was given.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "core/request.h"

namespace irt {

// Microseconds since construction; never goes back.
class Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept {
    return std::chrono::duration_cast<std::chrono::microseconds>(Ticks::now() - start_).count();
  }
  [[nodiscard]] std::chrono::steady_clock::time_point real(TimePoint time) const noexcept {
    return start_ + std::chrono::microseconds(time);
  }

 private:
  using Ticks = std::chrono::steady_clock;
  Ticks::time_point start_ = Ticks::now();
};

// Thread-safe. `tick` runs on the timer's thread, never under its lock; it may call `set`.
class Timer {
 public:
  Timer(const Clock& clock, std::function<void()> tick);
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Replaces the time of the next tick; kNever = none.
  void set(TimePoint time);
  // Joins; no tick runs afterwards. Not from the timer's own thread.
  void stop();

 private:
  void run(const std::stop_token& stop);

  const Clock& clock_;
  std::function<void()> tick_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  TimePoint next_ = kNever;
  std::jthread thread_;  // last: it reads the members above
};

}  // namespace irt
