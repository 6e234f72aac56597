#include "engine/text_broker.h"

#include <unordered_map>
#include <utility>

#include "engine/leased_queue.h"
#include "engine/lru.h"
#include "engine/timer.h"

namespace irt {
namespace {

constexpr std::size_t kMostAhead = 512;  // prefetches that wait; a plan has 25 prompts at most

Failure closed() { return {ErrorCode::kCancelled, "[TextBroker] the engine was closed"}; }

struct Pending {
  TextJob job;
  Key key;
  std::vector<TextBroker::Callback> waiting;

  void end(const EncodedRef& encoded, const std::optional<Failure>& failure) const {
    for (const auto& callback : waiting) callback(encoded, failure);
  }
};

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

struct TextBroker::Impl {
  Impl(std::size_t cache_entries, TimePoint lease) : queue(clock, lease), cache(cache_entries) {}

  using Lock = LeasedQueue<Pending>::Lock;

  const Clock clock;
  LeasedQueue<Pending> queue;
  std::unordered_map<Key, std::uint64_t> ids;  // of the jobs in the queue
  Lru<Key, EncodedRef> cache;
  Counters counters;
  std::optional<Timer> timer;

  void add(TextJob job, const Key& key, bool urgent, Callback callback) {
    Pending pending{std::move(job), key, {}};
    if (callback) pending.waiting.push_back(std::move(callback));
    ids.emplace(key, queue.add(std::move(pending), urgent));
  }

  void end(std::uint64_t id, const EncodedRef& encoded, const std::optional<Failure>& failure) {
    Lock lock = queue.lock();
    const std::optional<Pending> pending = queue.take(id);
    if (!pending) {
      if (!queue.closed()) ++counters.strays;
      return;
    }
    ids.erase(pending->key);
    if (encoded) cache.put(pending->key, encoded);
    queue.unlocked(lock, [&] { pending->end(encoded, failure); });
  }

  std::size_t end_all(Lock& lock, const Failure& failure) {
    const std::vector<Pending> left = queue.drain();
    ids.clear();
    queue.unlocked(lock, [&] {
      for (const Pending& pending : left) pending.end(nullptr, failure);
    });
    return left.size();
  }
};

TextBroker::TextBroker(std::size_t cache_entries, TimePoint lease)
    : impl_(std::make_unique<Impl>(cache_entries, lease)) {
  Impl& impl = *impl_;
  impl.timer.emplace(impl.clock, [this] { impl_->timer->set(expire(impl_->clock.now())); });
  impl.timer->set(impl.clock.now() + lease);
}

TextBroker::~TextBroker() { close(); }

void TextBroker::request(TextJob job, Callback callback) {
  const Key key = key_of(job);
  Impl& impl = *impl_;
  EncodedRef ready;
  std::optional<Failure> failure;
  {
    const auto lock = impl.queue.lock();
    ++impl.counters.requests;
    if (impl.queue.closed()) {
      failure = closed();
    } else if (const EncodedRef* known = impl.cache.get(key)) {
      ++impl.counters.cache_hits;
      ready = *known;
    } else if (const auto same = impl.ids.find(key); same != impl.ids.end()) {
      impl.queue.find(same->second)->waiting.push_back(std::move(callback));
      impl.queue.hurry(same->second);
      return;
    } else {
      impl.add(std::move(job), key, true, std::move(callback));
      return;
    }
  }
  callback(std::move(ready), std::move(failure));
}

void TextBroker::prefetch(TextJob job, Callback callback) {
  const Key key = key_of(job);
  Impl& impl = *impl_;
  EncodedRef ready;
  {
    const auto lock = impl.queue.lock();
    if (impl.queue.closed()) return;
    if (const EncodedRef* known = impl.cache.get(key)) {
      ready = *known;
    } else if (const auto same = impl.ids.find(key); same != impl.ids.end()) {
      if (callback) impl.queue.find(same->second)->waiting.push_back(std::move(callback));
      return;
    } else if (impl.queue.ahead() >= kMostAhead) {
      ++impl.counters.prefetches_dropped;
      return;
    } else {
      impl.add(std::move(job), key, false, std::move(callback));
      return;
    }
  }
  if (callback) callback(std::move(ready), std::nullopt);
}

std::vector<TextJob> TextBroker::poll(std::chrono::milliseconds timeout, std::size_t most) {
  std::vector<TextJob> out;
  auto lock = impl_->queue.lock();
  impl_->queue.poll(
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
    impl_->end(job, std::make_shared<const EncodedText>(std::move(encoded)), std::nullopt);
  }
}

void TextBroker::fail(std::uint64_t job, Failure failure) {
  impl_->end(job, nullptr, std::move(failure));
}

TimePoint TextBroker::expire(TimePoint now) {
  Impl& impl = *impl_;
  auto lock = impl.queue.lock();
  if (impl.queue.deadline(false) <= now) {
    impl.counters.lost += impl.end_all(
        lock, {ErrorCode::kBackendFailed,
               "[TextBroker] the tokenizer worker has not answered within its lease: it has died "
               "or hangs, or another thread keeps Python's lock"});
  }
  return impl.queue.next_look(now, false);
}

void TextBroker::close() {
  impl_->timer->stop();
  auto lock = impl_->queue.lock();
  impl_->queue.close();
  impl_->end_all(lock, closed());
  impl_->queue.wait_for_reports(lock);
}

TextBroker::Counters TextBroker::counters() const {
  const auto lock = impl_->queue.lock();
  return impl_->counters;
}

}  // namespace irt
