// The text lane: encodings that a Python worker makes on request (templates and tokenizers live
// in Python), and a bounded cache of those that were made ahead.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/call.h"
#include "core/error.h"
#include "core/key.h"
#include "engine/leased_queue.h"
#include "engine/lru.h"

namespace irt {

// What is to be encoded, by the role that reads it. Equal jobs have equal keys.
struct TextJob {
  std::uint64_t id = 0;
  Role role = Role::kGenerator;
  PlanMode mode = PlanMode::kNarrative;  // planner
  int image_count = 0;                   // planner
  std::string text;      // planner: the request; generator: the prompt; critic: the used prompt
  std::string original;  // critic: the plan's prompt
};
[[nodiscard]] Key key_of(const TextJob& job);
[[nodiscard]] TextJob text_job_of(const Call& call);

// One image token for each image; `mask` only for kGenerate.
struct EncodedText {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> mask;
  bool cut = false;  // the text was longer than its encoder reads
};
using EncodedRef = std::shared_ptr<const EncodedText>;

// Thread-safe. A lane calls `request` with a callback that is run once, on the worker's thread or
// at once on the caller's when the encoding is cached; never under the broker's lock.
class TextBroker {
 public:
  using Callback = std::function<void(EncodedRef, std::optional<Failure>)>;
  static constexpr TimePoint kLease = 30'000'000;  // microseconds

  // `lease`: a job that a worker keeps for that long fails; when no worker has polled or answered
  // for that long, whatever waits fails.
  explicit TextBroker(std::size_t cache_entries, TimePoint lease = kLease);
  ~TextBroker() { close(); }
  TextBroker(const TextBroker&) = delete;
  TextBroker& operator=(const TextBroker&) = delete;
  void request(TextJob job, Callback callback);
  // The same without urgency; dropped, and `callback` with it, where too many wait.
  void prefetch(TextJob job, Callback callback = {});
  // For the worker: waits up to `timeout`, returns at most `most` jobs, urgent ones first; at once
  // none when the broker is closed.
  [[nodiscard]] std::vector<TextJob> poll(std::chrono::milliseconds timeout, std::size_t most);
  // A job is finished or failed once; an unknown id is ignored and counted.
  void finish(std::uint64_t job, EncodedText encoded);
  void fail(std::uint64_t job, Failure failure);
  // Fails what waits if the lease has run out at `now`; returns when to look again.
  TimePoint expire(TimePoint now) { return queue_.expire(now); }
  // Ends all waiting jobs with kCancelled and waits until no callback runs on another thread;
  // later requests fail at once. Not from a callback.
  void close();
  [[nodiscard]] bool closed() const;

  struct Counters {
    std::uint64_t requests = 0;
    std::uint64_t cache_hits = 0;
    std::uint64_t prefetches_dropped = 0;
    std::uint64_t strays = 0;  // answers to jobs that had ended
    std::uint64_t lost = 0;    // jobs that no worker answered within the lease
  };
  [[nodiscard]] Counters counters() const;

 private:
  struct Pending {
    TextJob job;
    Key key;
    std::vector<Callback> waiting;
    void end(const EncodedRef& encoded, const std::optional<Failure>& failure) const;
  };
  using Queue = LeasedQueue<Pending>;

  // True: the job waits, and `callback` with it. Else it is not to be made: `encoded` is set where
  // the encoding is known.
  bool ask(TextJob&& job, bool urgent, Callback& callback, EncodedRef& encoded);
  void end(std::uint64_t id, const EncodedRef& encoded, const std::optional<Failure>& failure);
  std::size_t end_these(const std::vector<Pending>& left, Queue::Lock& lock,
                        const Failure& failure);

  std::unordered_map<Key, std::uint64_t> ids_;  // of the jobs in the queue
  Lru<Key, EncodedRef> cache_;
  Counters counters_;
  Queue queue_;  // last: its timer's thread uses everything above
};

}  // namespace irt
