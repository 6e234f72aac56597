// Work that leaves C++: jobs that wait for a worker, jobs that a worker has, and the lease that
// tells when nobody is there any more.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/request.h"
#include "engine/timer.h"

namespace irt {

// Its owner takes `lock()` and passes it on; nothing else is called under it. Every job ends by
// `take` (its answer) or `drain` (nobody will answer), once.
//
// The lease: a worker shows that it is alive by polling and by touching the jobs that it has. The
// queue is overdue when nobody has done either for the lease (of a queue without jobs: only with
// `Idle::kCounts`), or when one job was not touched for that long. A timer of its own sees to it.
template <class Job>
class LeasedQueue {
 public:
  using Id = std::uint64_t;
  using Lock = std::unique_lock<std::mutex>;

  enum class Idle { kCounts, kIsFine };

  // `overdue` is called with the lock held, again after each lease for as long as it is so.
  LeasedQueue(const Clock& clock, TimePoint lease, Idle idle,
              std::function<void(Lock&, TimePoint)> overdue)
      : clock_(clock),
        lease_(lease),
        idle_(idle),
        overdue_(std::move(overdue)),
        heard_(clock.now()),
        timer_(clock_, [this] { timer_.set(expire(clock_.now())); }) {
    timer_.set(clock_.now() + lease_);
  }

  [[nodiscard]] Lock lock() const { return Lock(mutex_); }

  // ---- with the lock held
  Id add(Job job, bool urgent) {
    if (jobs_.empty()) heard_ = std::max(heard_, clock_.now());  // silence while idle is no sign
    const Id id = ++last_id_;
    jobs_.emplace(id, Entry{std::move(job), false, 0});
    (urgent ? urgent_ : ahead_).push_back(id);
    arrived_.notify_one();
    return id;
  }
  // A job that waits behind others is to be handed out before them.
  void hurry(Id id) {
    if (std::erase(ahead_, id) > 0) urgent_.push_back(id);
  }
  [[nodiscard]] Job* find(Id id) {
    const auto found = jobs_.find(id);
    return found == jobs_.end() ? nullptr : &found->second.job;
  }
  [[nodiscard]] bool handed_out(Id id) const { return jobs_.at(id).handed_out; }
  // The worker is at it. False: the job is unknown (it has ended, or was lost).
  bool touch(Id id) {
    heard_ = clock_.now();
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) return false;
    found->second.touched = heard_;
    return true;
  }
  [[nodiscard]] std::optional<Job> take(Id id) {
    heard_ = clock_.now();
    auto node = jobs_.extract(id);
    if (node.empty()) return std::nullopt;
    if (!node.mapped().handed_out && std::erase(urgent_, id) == 0) std::erase(ahead_, id);
    return std::move(node.mapped().job);
  }
  [[nodiscard]] std::vector<Job> drain() {
    std::vector<Job> left;
    left.reserve(jobs_.size());
    for (auto& [id, entry] : jobs_) left.push_back(std::move(entry.job));
    jobs_.clear();
    urgent_.clear();
    ahead_.clear();
    return left;
  }
  // All jobs where no worker is there; else those that one has kept for longer than the lease.
  [[nodiscard]] std::vector<Job> drain_overdue(TimePoint now) {
    if (polling_ == 0 && heard_ + lease_ <= now) return drain();
    std::vector<Job> stuck;
    stuck.reserve(jobs_.size());
    for (auto next = jobs_.begin(); next != jobs_.end();) {
      const auto entry = next++;
      if (!entry->second.handed_out || entry->second.touched + lease_ > now) continue;
      stuck.push_back(std::move(entry->second.job));
      jobs_.erase(entry);
    }
    return stuck;
  }
  [[nodiscard]] std::size_t size() const noexcept { return jobs_.size(); }
  [[nodiscard]] std::size_t ahead() const noexcept { return ahead_.size(); }

  // Waits up to `timeout` for jobs, or until `other` holds; hands out at most `most` as
  // give(id, job), urgent ones first, each group in the order of arrival.
  template <class Other, class Give>
  void poll(Lock& lock, std::chrono::milliseconds timeout, std::size_t most, Other other,
            Give give) {
    ++polling_;
    arrived_.wait_for(lock, timeout, [this, &other] {
      return closed_ || !urgent_.empty() || !ahead_.empty() || other();
    });
    --polling_;
    heard_ = clock_.now();
    for (auto* queue : {&urgent_, &ahead_}) {
      for (; most > 0 && !queue->empty(); --most) {
        const Id id = queue->front();
        queue->pop_front();
        Entry& entry = jobs_.at(id);
        entry.handed_out = true;
        entry.touched = heard_;
        give(id, entry.job);
      }
    }
  }
  void wake_all() { arrived_.notify_all(); }

  // Runs `report` without the lock, which is held again whatever it throws; `wait_for_reports`
  // waits for it.
  template <class Report>
  void unlocked(Lock& lock, Report report) {
    struct Reporting {
      LeasedQueue& queue;
      Lock& lock;
      ~Reporting() {
        lock.lock();
        if (--queue.reporting_ == 0) queue.reported_.notify_all();
      }
    };
    ++reporting_;
    lock.unlock();
    const Reporting until_the_end{*this, lock};
    report();
  }
  [[nodiscard]] bool reporting() const noexcept { return reporting_ > 0; }
  void wait_for_reports(Lock& lock) {
    reported_.wait(lock, [this] { return reporting_ == 0; });
  }

  // From now on every poll returns at once, and nothing is overdue. Without the lock, which it
  // returns.
  [[nodiscard]] Lock close() {
    timer_.stop();
    Lock lock(mutex_);
    closed_ = true;
    arrived_.notify_all();
    return lock;
  }
  [[nodiscard]] bool closed() const noexcept { return closed_; }

  // The lease starts anew.
  void renew() { heard_ = clock_.now(); }
  [[nodiscard]] TimePoint now() const noexcept { return clock_.now(); }
  [[nodiscard]] TimePoint lease() const noexcept { return lease_; }

  // Without the lock: what the timer does at `now`. Returns when to look again; nothing can become
  // overdue before.
  TimePoint expire(TimePoint now) {
    Lock lock(mutex_);
    if (!closed_ && deadline() <= now) overdue_(lock, now);
    const TimePoint next = deadline();
    return now + (next <= now ? lease_ : std::min(next - now, lease_));
  }

 private:
  struct Entry {
    Job job;
    bool handed_out = false;
    TimePoint touched = 0;
  };

  // When the lease runs out if nothing more is heard.
  [[nodiscard]] TimePoint deadline() const {
    const bool silent = polling_ == 0 && (!jobs_.empty() || idle_ == Idle::kCounts);
    TimePoint first = silent ? heard_ + lease_ : kNever;
    for (const auto& [id, entry] : jobs_) {
      if (entry.handed_out) first = std::min(first, entry.touched + lease_);
    }
    return first;
  }

  const Clock clock_;
  const TimePoint lease_;
  const Idle idle_;
  const std::function<void(Lock&, TimePoint)> overdue_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable reported_;
  std::unordered_map<Id, Entry> jobs_;
  std::deque<Id> urgent_;  // of the jobs that wait
  std::deque<Id> ahead_;
  Id last_id_ = 0;
  TimePoint heard_;
  int polling_ = 0;
  int reporting_ = 0;
  bool closed_ = false;
  Timer timer_;  // last: its thread uses everything above
};

}  // namespace irt
