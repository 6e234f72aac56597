#include "engine/external_lane.h"

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "engine/driver.h"
#include "engine/leased_queue.h"

namespace irt {
namespace {

constexpr TimePoint kReportsPause = 1'000;  // microseconds until a report under way is over

struct Held {
  ExternalCall given;
  int steps = 0;  // that have closed
  bool cancelled = false;
};

bool fits(Role role, const ExternalAnswer& answer) {
  switch (role) {
    case Role::kPlanner: return std::holds_alternative<Plan>(answer);
    case Role::kGenerator: return std::holds_alternative<PixelBuffer>(answer);
    case Role::kCritic: return std::holds_alternative<Verdict>(answer);
  }
  return false;
}

}  // namespace

struct ExternalWork::Impl {
  using Queue = LeasedQueue<Held>;
  using Lock = Queue::Lock;

  Impl(LaneInfo lane, TimePoint lease_us, LaneEvents& sink, ImageStore& store, const Clock& time)
      : info(std::move(lane)),
        lease(lease_us),
        events(sink),
        images(store),
        clock(time),
        queue(clock, lease) {}

  const LaneInfo info;
  const TimePoint lease;
  LaneEvents& events;  // these two: not once the queue is closed
  ImageStore& images;
  const Clock clock;
  Queue queue;
  std::unordered_map<Key, std::uint64_t> ids;
  std::vector<std::uint64_t> cancels;  // to be told
  ExternalCounters counters;
  bool up = true;
  bool coming_up = false;  // the driver was asked
  std::optional<Timer> timer;

  // The call that is about to end.
  std::optional<Held> take(std::uint64_t id) {
    std::optional<Held> held = queue.take(id);
    if (held) {
      ids.erase(held->given.call.key);
      std::erase(cancels, id);
    } else if (!queue.closed()) {
      ++counters.strays;
    }
    return held;
  }

  // Reports the end of a call with no lock held; false where there is no such call.
  template <class Report>
  bool end(std::uint64_t id, Report report) {
    Lock lock = queue.lock();
    std::optional<Held> held = take(id);
    if (!held) return false;
    queue.unlocked(lock, [&] { report(held->given.call); });
    return true;
  }

  // Null where nothing is to be reported any more.
  Held* partial(std::uint64_t id) {
    if (!queue.touch(id)) {
      if (!queue.closed()) ++counters.strays;
      return nullptr;
    }
    Held* held = queue.find(id);
    return held->cancelled ? nullptr : held;
  }

  void made(const Call& call, ExternalAnswer answer) {
    if (!fits(info.role, answer)) {
      return events.failed(call.key, {ErrorCode::kBackendFailed, "[ExternalLane] " + info.name +
                                                                     " answered in the way of "
                                                                     "another role"});
    }
    if (auto* plan = std::get_if<Plan>(&answer)) return events.done(call.key, std::move(*plan));
    if (auto* verdict = std::get_if<Verdict>(&answer)) {
      return events.done(call.key, std::move(*verdict));
    }
    std::uint64_t hash = 0;
    try {
      hash = images.put(call.key, std::move(std::get<PixelBuffer>(answer)))->hash;
    } catch (const Error& error) {
      // A picture without pixels is the backend's mistake, one that does not fit is not.
      const bool limit = error.code() == ErrorCode::kLimitExceeded;
      return events.failed(call.key,
                           {limit ? error.code() : ErrorCode::kBackendFailed, error.what()});
    }
    events.done(call.key, Image{call.key, hash});
  }

  // ---- the lane's side
  void start(const Call& call, bool speculative) {
    Held held;
    held.given.call = call;
    held.given.speculative = speculative;
    bool found = true;
    const auto need = [&](const Key& key) {
      held.given.images.push_back(key ? images.get(key) : nullptr);
      found = found && (!key || held.given.images.back());
    };
    for (const Key& key : call.images) need(key);
    if (info.role != Role::kPlanner) need(call.source);
    if (info.role == Role::kCritic) need(call.image);
    {
      const Lock lock = queue.lock();
      if (!up || queue.closed()) return;  // the call has ended with the lane
      if (static_cast<int>(queue.size()) >= info.capacity) {
        throw Error(ErrorCode::kInternal, "[ExternalLane.start] all " +
                                              std::to_string(info.capacity) + " slots of " +
                                              info.name + " are taken");
      }
      if (found) {
        const std::uint64_t id = queue.add(std::move(held), !speculative);
        ids.emplace(call.key, id);
        queue.find(id)->given.id = id;
        return;
      }
    }
    throw Error(ErrorCode::kInternal, "[ExternalLane.start] an image of a call for " + info.name +
                                          " is not in the store");
  }

  void promote(const Key& call) {
    const Lock lock = queue.lock();
    const auto known = ids.find(call);
    if (known == ids.end()) return;
    queue.find(known->second)->given.speculative = false;
    queue.hurry(known->second);
  }

  void cancel(const Key& call) {
    Lock lock = queue.lock();
    const auto known = ids.find(call);
    if (known == ids.end()) return;
    const std::uint64_t id = known->second;
    Held* held = queue.find(id);
    if (held->cancelled) return;
    if (queue.handed_out(id)) {
      held->cancelled = true;
      cancels.push_back(id);
      queue.wake_all();
      return;
    }
    const std::optional<Held> taken = take(id);
    queue.unlocked(lock, [&] { events.cancelled(call); });
  }

  void revive() {
    const Lock lock = queue.lock();
    up = true;
    coming_up = false;
    queue.renew();
  }

  void close() {
    timer->stop();
    Lock lock = queue.lock();
    queue.close();
    queue.wait_for_reports(lock);
    std::vector<Held> left = queue.drain();
    ids.clear();
    cancels.clear();
    lock.unlock();
    for (const Held& held : left) events.cancelled(held.given.call.key);
  }
};

ExternalWork::ExternalWork(LaneInfo info, TimePoint lease, LaneEvents& events, ImageStore& images,
                           const Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(info), lease, events, images, clock)) {
  Impl& impl = *impl_;
  impl.timer.emplace(impl.clock, [this] { impl_->timer->set(expire(impl_->clock.now())); });
  impl.timer->set(impl.clock.now() + lease);
}

ExternalWork::~ExternalWork() { impl_->timer->stop(); }

ExternalPoll ExternalWork::poll(std::chrono::milliseconds timeout, std::size_t most) {
  Impl& impl = *impl_;
  ExternalPoll out;
  auto lock = impl.queue.lock();
  // What was said of lost calls must be over before the same calls can come back.
  if (!impl.up && !impl.coming_up && !impl.queue.closed() && !impl.queue.reporting()) {
    impl.coming_up = true;
    impl.queue.unlocked(lock, [&impl] { impl.events.up(impl.info.id); });
  }
  impl.queue.poll(
      lock, timeout, most, [&impl] { return !impl.cancels.empty(); },
      [&](std::uint64_t, const Held& held) {
        out.calls.push_back(held.given);
        ++impl.counters.handed_out;
      });
  out.cancelled.swap(impl.cancels);
  return out;
}

bool ExternalWork::step_closed(std::uint64_t call, PlanStep step) {
  auto lock = impl_->queue.lock();
  Held* held = impl_->partial(call);
  if (!held) return false;
  const Key key = held->given.call.key;
  const int index = held->steps++;
  impl_->queue.unlocked(lock, [&] { impl_->events.step_closed(key, index, std::move(step)); });
  return true;
}

bool ExternalWork::verdict_known(std::uint64_t call, bool accepted, double p_success) {
  auto lock = impl_->queue.lock();
  const Held* held = impl_->partial(call);
  if (!held) return false;
  const Key key = held->given.call.key;
  impl_->queue.unlocked(lock, [&] { impl_->events.verdict_known(key, accepted, p_success); });
  return true;
}

bool ExternalWork::progress(std::uint64_t call) {
  const auto lock = impl_->queue.lock();
  return impl_->queue.touch(call);
}

bool ExternalWork::wanted(std::uint64_t call) const {
  const auto lock = impl_->queue.lock();
  const Held* held = impl_->queue.find(call);
  return held && !held->cancelled;
}

bool ExternalWork::finish(std::uint64_t call, ExternalAnswer answer) {
  return impl_->end(call, [&](const Call& ended) { impl_->made(ended, std::move(answer)); });
}

bool ExternalWork::fail(std::uint64_t call, Failure failure) {
  return impl_->end(
      call, [&](const Call& ended) { impl_->events.failed(ended.key, std::move(failure)); });
}

bool ExternalWork::cancelled(std::uint64_t call) {
  return impl_->end(call, [&](const Call& ended) { impl_->events.cancelled(ended.key); });
}

const LaneInfo& ExternalWork::info() const noexcept { return impl_->info; }
TimePoint ExternalWork::now() const noexcept { return impl_->clock.now(); }

bool ExternalWork::closed() const {
  const auto lock = impl_->queue.lock();
  return impl_->queue.closed();
}

ExternalCounters ExternalWork::counters() const {
  const auto lock = impl_->queue.lock();
  return impl_->counters;
}

TimePoint ExternalWork::expire(TimePoint now) {
  Impl& impl = *impl_;
  auto lock = impl.queue.lock();
  if (!impl.up || impl.queue.closed()) return now + impl.lease;
  if (impl.queue.deadline(true) > now) return impl.queue.next_look(now, true);
  // An answer that is being reported still counts for its own call, not for the next of that key.
  if (impl.queue.reporting()) return now + kReportsPause;
  impl.up = false;
  ++impl.counters.lease_ended;
  (void)impl.queue.drain();
  impl.ids.clear();
  impl.cancels.clear();
  impl.queue.unlocked(lock, [&impl] {
    impl.events.down(
        impl.info.id,
        {ErrorCode::kBackendFailed,
         "[ExternalLane] the worker of " + impl.info.name + " gave no sign for " +
             std::to_string(static_cast<double>(impl.lease) / 1e6) + " s: it has died or hangs"});
  });
  return now + impl.lease;
}

ExternalLane::~ExternalLane() { work_->impl_->close(); }
const LaneInfo& ExternalLane::info() const noexcept { return work_->info(); }
void ExternalLane::start(const Call& call, bool speculative) {
  work_->impl_->start(call, speculative);
}
void ExternalLane::promote(const Key& call) { work_->impl_->promote(call); }
void ExternalLane::cancel(const Key& call) { work_->impl_->cancel(call); }
void ExternalLane::revive() { work_->impl_->revive(); }

std::shared_ptr<ExternalWork> add_external_lane(Driver& driver, LaneInfo info, TimePoint lease) {
  if (lease < 1'000 || info.capacity < 1) {
    throw Error(ErrorCode::kBadRequest,
                "[add_external_lane] give a lease of a millisecond or more, and a capacity of 1 or "
                "more");
  }
  info.id = driver.next_lane_id();
  auto work = std::make_shared<ExternalWork>(std::move(info), lease, driver, driver.images(),
                                             driver.clock());
  driver.add_lane(std::make_unique<ExternalLane>(work));
  return work;
}

}  // namespace irt
