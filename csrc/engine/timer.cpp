#include "engine/timer.h"

#include <utility>

namespace irt {
namespace {

constexpr TimePoint kAgain = 10'000;

}  // namespace

Timer::Timer(const Clock& clock, std::function<void()> tick)
    : clock_(clock),
      tick_(std::move(tick)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

void Timer::set(TimePoint time) {
  {
    const std::lock_guard lock(mutex_);
    const bool sooner = time < next_;
    next_ = time;
    // A later time is seen when the thread wakes for the earlier one.
    if (!sooner) return;
  }
  changed_.notify_one();
}

void Timer::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void Timer::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const TimePoint target = next_;
    const auto moved = [this, target] { return next_ != target; };
    if (target == kNever) {
      changed_.wait(lock, stop, moved);
      continue;
    }
    if (changed_.wait_until(lock, stop, clock_.real(target), moved)) continue;
    if (stop.stop_requested()) return;
    next_ = kNever;
    lock.unlock();
    try {
      tick_();
    } catch (...) {  // no memory: once more
      set(clock_.now() + kAgain);
    }
    lock.lock();
  }
}

}  // namespace irt
