#include "engine/text_broker.h"

#include <algorithm>
#include <deque>
#include <utility>

namespace irt {
namespace {

// Ahead of need more is not worth keeping: a plan has 25 prompts at most.
constexpr std::size_t kMostAhead = 512;

Failure closed() { return {ErrorCode::kCancelled, "[TextBroker] the engine was closed"}; }

struct Pending {
  TextJob job;
  Key key;
  bool urgent = false;
  std::vector<TextBroker::Callback> waiting;

  void end(const EncodedRef& encoded, const std::optional<Failure>& failure) {
    for (auto& callback : waiting) callback(encoded, failure);
  }
};

// Least recently used encodings go first.
class EncodedCache {
 public:
  explicit EncodedCache(std::size_t limit) : limit_(limit) {}

  EncodedRef find(const Key& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second);
    return found->second->second;
  }

  void put(const Key& key, EncodedRef encoded) {
    if (limit_ == 0 || index_.contains(key)) return;
    if (order_.size() == limit_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    order_.emplace_front(key, std::move(encoded));
    index_.emplace(key, order_.begin());
  }

 private:
  using Order = std::list<std::pair<Key, EncodedRef>>;
  std::size_t limit_;
  Order order_;
  std::unordered_map<Key, Order::iterator> index_;
};

}  // namespace

Key key_of(const TextJob& job) {
  return KeyBuilder("irt.text.1")
      .add(static_cast<std::uint64_t>(job.kind))
      .add(static_cast<std::uint64_t>(job.mode))
      .add(static_cast<std::uint64_t>(job.image_count))
      .add(job.text)
      .add(job.original)
      .finish();
}

TextJob text_job_of(const Call& call) {
  TextJob job;
  job.text = call.prompt;
  switch (call.role) {
    case Role::kPlanner:
      job.kind = TextJob::Kind::kPlan;
      job.mode = call.mode;
      job.image_count = static_cast<int>(call.images.size());
      break;
    case Role::kGenerator: job.kind = TextJob::Kind::kGenerate; break;
    case Role::kCritic:
      job.kind = TextJob::Kind::kJudge;
      job.original = call.original;
      break;
  }
  return job;
}

struct TextBroker::Impl {
  explicit Impl(std::size_t cache_entries) : cache(cache_entries) {}

  std::mutex mutex;
  std::condition_variable arrived;
  bool closed = false;
  std::uint64_t last_id = 0;
  int calling = 0;  // worker threads that run callbacks
  std::condition_variable called;
  std::unordered_map<std::uint64_t, Pending> jobs;  // queued or with the worker
  std::unordered_map<Key, std::uint64_t> ids;
  std::deque<std::uint64_t> urgent;
  std::deque<std::uint64_t> ahead;
  EncodedCache cache;
  Counters counters;

  std::uint64_t add(Pending pending) {
    const std::uint64_t id = ++last_id;
    pending.job.id = id;
    (pending.urgent ? urgent : ahead).push_back(id);
    ids.emplace(pending.key, id);
    jobs.emplace(id, std::move(pending));
    arrived.notify_one();
    return id;
  }

  // Takes the job out, wherever it stands; a job without callbacks if the id is unknown.
  // To be paired with `end`, which runs the callbacks.
  Pending take(std::uint64_t id) {
    ++calling;
    auto node = jobs.extract(id);
    if (node.empty()) return {};
    ids.erase(node.mapped().key);
    return std::move(node.mapped());
  }

  template <class Run>
  void end(Run run) {
    run();
    const std::lock_guard lock(mutex);
    if (--calling == 0) called.notify_all();
  }
};

TextBroker::TextBroker(std::size_t cache_entries) : impl_(std::make_shared<Impl>(cache_entries)) {}

void TextBroker::request(TextJob job, Callback callback) {
  const Key key = key_of(job);
  EncodedRef ready;
  std::optional<Failure> failure;
  {
    const std::lock_guard lock(impl_->mutex);
    Impl& impl = *impl_;
    ++impl.counters.requests;
    if (impl.closed) {
      failure = closed();
    } else if (ready = impl.cache.find(key); ready) {
      ++impl.counters.cache_hits;
    } else if (const auto known = impl.ids.find(key); known != impl.ids.end()) {
      Pending& pending = impl.jobs.at(known->second);
      pending.waiting.push_back(std::move(callback));
      const auto place = std::find(impl.ahead.begin(), impl.ahead.end(), known->second);
      if (!pending.urgent && place != impl.ahead.end()) {
        pending.urgent = true;
        impl.ahead.erase(place);
        impl.urgent.push_back(known->second);
      }
      return;
    } else {
      Pending pending{std::move(job), key, true, {}};
      pending.waiting.push_back(std::move(callback));
      impl.add(std::move(pending));
      return;
    }
  }
  callback(std::move(ready), std::move(failure));
}

void TextBroker::prefetch(TextJob job, Callback callback) {
  const Key key = key_of(job);
  EncodedRef ready;
  {
    const std::lock_guard lock(impl_->mutex);
    Impl& impl = *impl_;
    if (impl.closed) return;
    ready = impl.cache.find(key);
    if (const auto known = impl.ids.find(key); !ready && known != impl.ids.end()) {
      if (callback) impl.jobs.at(known->second).waiting.push_back(std::move(callback));
      return;
    }
    if (!ready && impl.ahead.size() >= kMostAhead) {
      ++impl.counters.prefetches_dropped;
      return;
    }
    if (!ready) {
      Pending pending{std::move(job), key, false, {}};
      if (callback) pending.waiting.push_back(std::move(callback));
      impl.add(std::move(pending));
      return;
    }
  }
  if (callback) callback(std::move(ready), std::nullopt);
}

std::vector<TextJob> TextBroker::poll(std::chrono::milliseconds timeout, std::size_t most) {
  Impl& impl = *impl_;
  std::unique_lock lock(impl.mutex);
  impl.arrived.wait_for(lock, timeout, [&impl] {
    return impl.closed || !impl.urgent.empty() || !impl.ahead.empty();
  });
  std::vector<TextJob> out;
  for (auto* queue : {&impl.urgent, &impl.ahead}) {
    while (out.size() < most && !queue->empty()) {
      const auto job = impl.jobs.find(queue->front());
      queue->pop_front();
      if (job != impl.jobs.end()) out.push_back(job->second.job);
    }
  }
  return out;
}

void TextBroker::finish(std::uint64_t job, EncodedText encoded) {
  if (encoded.ids.empty()) {
    fail(job, {ErrorCode::kBackendFailed, "[TextBroker.finish] the encoding has no tokens"});
    return;
  }
  auto ready = std::make_shared<const EncodedText>(std::move(encoded));
  Pending pending;
  {
    const std::lock_guard lock(impl_->mutex);
    pending = impl_->take(job);
    if (pending.job.id != 0) impl_->cache.put(pending.key, ready);
  }
  impl_->end([&pending, &ready] { pending.end(ready, std::nullopt); });
}

void TextBroker::fail(std::uint64_t job, Failure failure) {
  Pending pending;
  {
    const std::lock_guard lock(impl_->mutex);
    pending = impl_->take(job);
  }
  impl_->end([&pending, &failure] { pending.end(nullptr, failure); });
}

void TextBroker::close() {
  std::unordered_map<std::uint64_t, Pending> left;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->closed = true;
    left.swap(impl_->jobs);
    impl_->ids.clear();
    impl_->urgent.clear();
    impl_->ahead.clear();
    impl_->arrived.notify_all();
  }
  for (auto& [id, pending] : left) pending.end(nullptr, closed());
  std::unique_lock lock(impl_->mutex);
  impl_->called.wait(lock, [this] { return impl_->calling == 0; });
}

TextBroker::Counters TextBroker::counters() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->counters;
}

}  // namespace irt
