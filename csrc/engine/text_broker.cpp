#include "engine/text_broker.h"

#include <new>
#include <utility>

namespace irt {
namespace {

constexpr std::size_t kMostAhead = 512;  // prefetches that wait; a plan has 25 prompts at most

Failure closed_failure() { return {ErrorCode::kCancelled, "[TextBroker] the engine was closed"}; }

}  // namespace

Key key_of(const TextJob& job) {
  return KeyBuilder("irt.text.1")
      .add(static_cast<std::uint64_t>(job.role))
      .add(static_cast<std::uint64_t>(job.mode))
      .add(static_cast<std::uint64_t>(job.image_count))
      .add(job.text)
      .add(job.original)
      .finish();
}

TextJob text_job_of(const Call& call) {
  TextJob job;
  job.role = call.role;
  job.text = call.prompt;
  job.original = call.original;
  if (job.role == Role::kPlanner) {
    job.mode = call.mode;
    job.image_count = static_cast<int>(call.images.size());
  }
  return job;
}

TextBroker::TextBroker(std::size_t cache_entries, TimePoint lease)
    : cache_(cache_entries),
      queue_({}, lease, Queue::Idle::kIsFine, [this](Queue::Lock& lock, TimePoint now) {
        const Failure why{ErrorCode::kBackendFailed,  // before anything is taken out
                          "[TextBroker] the tokenizer worker has not answered within its lease: it "
                          "has died or hangs, or another thread keeps Python's lock"};
        counters_.lost += end_these(queue_.drain_overdue(now), lock, why);
      }) {}

void TextBroker::Pending::end(const EncodedRef& encoded,
                              const std::optional<Failure>& failure) const {
  for (const auto& callback : waiting) {
    try {
      callback(encoded, failure);
    } catch (const std::bad_alloc&) {  // it must be told something: this needs no memory
      callback(nullptr, Failure{ErrorCode::kBackendFailed, "out of memory"});
    }
  }
}

bool TextBroker::ask(TextJob&& job, bool urgent, Callback& callback, EncodedRef& encoded) {
  const Key key = key_of(job);
  const auto lock = queue_.lock();
  if (urgent) ++counters_.requests;
  if (queue_.closed()) return false;
  if (const EncodedRef* known = cache_.get(key)) {
    if (urgent) ++counters_.cache_hits;
    encoded = *known;
    return false;
  }
  auto same = ids_.find(key);
  if (same != ids_.end()) {
    if (urgent) queue_.hurry(same->second);
  } else if (!urgent && queue_.ahead() >= kMostAhead) {
    ++counters_.prefetches_dropped;
    return false;
  } else {
    same = ids_.emplace(key, queue_.add({std::move(job), key, {}}, urgent)).first;
  }
  if (callback) queue_.find(same->second)->waiting.push_back(std::move(callback));
  return true;
}

void TextBroker::request(TextJob job, Callback callback) {
  EncodedRef known;
  if (ask(std::move(job), true, callback, known)) return;
  callback(known, known ? std::nullopt : std::optional(closed_failure()));
}

void TextBroker::prefetch(TextJob job, Callback callback) {
  EncodedRef known;
  if (!ask(std::move(job), false, callback, known) && known && callback) {
    callback(known, std::nullopt);
  }
}

void TextBroker::end(std::uint64_t id, const EncodedRef& encoded,
                     const std::optional<Failure>& failure) {
  auto lock = queue_.lock();
  const std::optional<Pending> pending = queue_.take(id);
  if (!pending) {
    if (!queue_.closed()) ++counters_.strays;
    return;
  }
  ids_.erase(pending->key);
  try {
    if (encoded) cache_.put(pending->key, encoded);
  } catch (const std::bad_alloc&) {
    // It is encoded again when it is asked for again.
  }
  queue_.unlocked(lock, [&] { pending->end(encoded, failure); });
}

std::size_t TextBroker::end_these(const std::vector<Pending>& left, Queue::Lock& lock,
                                  const Failure& failure) {
  for (const Pending& pending : left) ids_.erase(pending.key);
  queue_.unlocked(lock, [&] {
    for (const Pending& pending : left) pending.end(nullptr, failure);
  });
  return left.size();
}

std::vector<TextJob> TextBroker::poll(std::chrono::milliseconds timeout, std::size_t most) {
  std::vector<TextJob> out;
  auto lock = queue_.lock();
  queue_.poll(
      lock, timeout, most, [] { return false; },
      [&out](std::uint64_t id, const Pending& pending) {
        out.push_back(pending.job);
        out.back().id = id;
      });
  return out;
}

void TextBroker::finish(std::uint64_t job, EncodedText encoded) {
  if (encoded.ids.empty()) {
    fail(job, {ErrorCode::kBackendFailed, "[TextBroker.finish] the encoding has no tokens"});
  } else {
    end(job, std::make_shared<const EncodedText>(std::move(encoded)), std::nullopt);
  }
}

void TextBroker::fail(std::uint64_t job, Failure failure) { end(job, nullptr, std::move(failure)); }

void TextBroker::close() {
  auto lock = queue_.close();
  end_these(queue_.drain(), lock, closed_failure());
  queue_.wait_for_reports(lock);
}

bool TextBroker::closed() const {
  const auto lock = queue_.lock();
  return queue_.closed();
}

TextBroker::Counters TextBroker::counters() const {
  const auto lock = queue_.lock();
  return counters_;
}

}  // namespace irt
