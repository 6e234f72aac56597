// The text lane: encodings that a Python worker makes on request (templates and tokenizers live
// in Python), and a bounded cache of those that were made ahead.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/call.h"
#include "core/error.h"
#include "core/key.h"

namespace irt {

// What is to be encoded. Equal jobs have equal keys.
struct TextJob {
  enum class Kind { kPlan, kGenerate, kJudge };
  std::uint64_t id = 0;
  Kind kind = Kind::kGenerate;
  PlanMode mode = PlanMode::kNarrative;  // kPlan
  int image_count = 0;                   // kPlan
  std::string text;                      // kPlan: request; kGenerate: prompt; kJudge: used prompt
  std::string original;                  // kJudge: the plan's prompt
};
[[nodiscard]] Key key_of(const TextJob& job);
[[nodiscard]] TextJob text_job_of(const Call& call);

// One image token for each image; `mask` only for kGenerate.
struct EncodedText {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> mask;
};
using EncodedRef = std::shared_ptr<const EncodedText>;

// Thread-safe. A lane calls `request` with a callback that is run once, on the worker's thread or
// at once on the caller's when the encoding is cached; never under the broker's lock.
class TextBroker {
 public:
  using Callback = std::function<void(EncodedRef, std::optional<Failure>)>;

  explicit TextBroker(std::size_t cache_entries);
  void request(TextJob job, Callback callback);
  // The same without urgency; dropped, and `callback` with it, where too many wait.
  void prefetch(TextJob job, Callback callback = {});
  // For the worker: waits up to `timeout`, returns at most `most` jobs, urgent ones first.
  [[nodiscard]] std::vector<TextJob> poll(std::chrono::milliseconds timeout, std::size_t most);
  // A job is finished or failed once; an unknown id is ignored (its engine was closed meanwhile).
  void finish(std::uint64_t job, EncodedText encoded);
  void fail(std::uint64_t job, Failure failure);
  // Ends all waiting jobs with kCancelled and waits until no callback runs on a worker's thread;
  // later requests fail at once. Not from a callback.
  void close();

  struct Counters {
    std::uint64_t requests = 0;
    std::uint64_t cache_hits = 0;
    std::uint64_t prefetches_dropped = 0;
  };
  [[nodiscard]] Counters counters() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace irt
