#include "engine/external_lane.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "engine/driver.h"
#include "text/characters.h"

namespace irt {

ExternalLane::ExternalLane(LaneInfo info, TimePoint lease, LaneEvents& events, const Clock& clock)
    : info_(std::move(info)),
      events_(events),
      queue_(clock, lease, Queue::Idle::kCounts,
             [this](Queue::Lock& lock, TimePoint) { lose(lock); }) {}

// ---- for the worker ---------------------------------------------------------------------------

ExternalPoll ExternalLane::poll(std::chrono::milliseconds timeout, std::size_t most) {
  ExternalPoll out;
  auto lock = queue_.lock();
  if (!up_ && !coming_up_ && !going_down_ && !queue_.closed()) {
    coming_up_ = true;
    queue_.unlocked(lock, [this] { events_.up(info_.id); });
  }
  queue_.poll(
      lock, timeout, most, [this] { return !cancels_.empty(); },
      [&](std::uint64_t id, const Held& held) {
        out.calls.push_back({id, held.call});
        ++counters_.handed_out;
      });
  out.cancelled.swap(cancels_);
  return out;
}

// The call that is about to end.
LaneCallRef ExternalLane::take(std::uint64_t id) {
  std::optional<Held> held = queue_.take(id);
  if (!held) {
    if (!queue_.closed()) ++counters_.strays;
    return nullptr;
  }
  ids_.erase(held->call.get());
  std::erase(cancels_, id);
  return std::move(held->call);
}

// Reports the end of a call with no lock held; false where there is no such call.
template <class Report>
bool ExternalLane::end(std::uint64_t id, Report report) {
  auto lock = queue_.lock();
  const LaneCallRef call = take(id);
  if (call) queue_.unlocked(lock, [&] { report(*call); });
  return call != nullptr;
}

// Null where nothing is to be reported any more.
ExternalLane::Held* ExternalLane::partial(std::uint64_t id) {
  if (!queue_.touch(id)) {
    if (!queue_.closed()) ++counters_.strays;
    return nullptr;
  }
  Held* held = queue_.find(id);
  return held->call->cancelled ? nullptr : held;
}

bool ExternalLane::step_closed(std::uint64_t id, PlanStep step) {
  auto lock = queue_.lock();
  Held* held = partial(id);
  if (!held) return false;
  const LaneCallRef call = held->call;
  const int index = held->steps++;
  queue_.unlocked(lock, [&] { events_.step_closed(*call, index, std::move(step)); });
  return true;
}

bool ExternalLane::verdict_known(std::uint64_t id, bool accepted, double p_success) {
  auto lock = queue_.lock();
  const Held* held = partial(id);
  if (!held) return false;
  const LaneCallRef call = held->call;
  queue_.unlocked(lock, [&] { events_.verdict_known(*call, accepted, p_success); });
  return true;
}

bool ExternalLane::wrote(std::uint64_t id, std::string_view answer, StopReason stop) {
  const auto lock = queue_.lock();
  const Held* held = partial(id);
  if (!held) return false;
  held->call->answer = clean_utf8(answer, Trace::kMaxAnswerBytes);
  held->call->stop = stop;
  return true;
}

bool ExternalLane::cut_prompt(std::uint64_t id) {
  const auto lock = queue_.lock();
  const Held* held = partial(id);
  if (held) held->call->prompt_cut = true;
  return held != nullptr;
}

bool ExternalLane::progress(std::uint64_t id) {
  const auto lock = queue_.lock();
  return queue_.touch(id);
}

bool ExternalLane::wanted(std::uint64_t id) {
  const auto lock = queue_.lock();
  const Held* held = queue_.find(id);
  return held && !held->call->cancelled;
}

bool ExternalLane::finish(std::uint64_t id, LaneResult result) {
  return end(id, [&](const LaneCall& call) { events_.done(call, std::move(result)); });
}

bool ExternalLane::fail(std::uint64_t id, Failure failure) {
  return end(id, [&](const LaneCall& call) { events_.failed(call, std::move(failure)); });
}

bool ExternalLane::cancelled(std::uint64_t id) {
  return end(id, [&](const LaneCall& call) { events_.cancelled(call); });
}

bool ExternalLane::closed() const {
  const auto lock = queue_.lock();
  return queue_.closed();
}

ExternalCounters ExternalLane::counters() const {
  const auto lock = queue_.lock();
  return counters_;
}

void ExternalLane::lose(Queue::Lock& lock) {
  // An answer that is being reported came in time.
  if (!up_ || queue_.reporting()) return;
  // First what needs memory: without it the timer tries the whole once more.
  Failure why{ErrorCode::kBackendFailed,
              "[ExternalLane] the worker of " + info_.name + " gave no sign for " +
                  std::to_string(static_cast<double>(queue_.lease()) / 1e6) +
                  " s: it has died or hangs"};
  (void)queue_.drain();
  up_ = false;
  going_down_ = true;
  const std::unique_ptr<bool, void (*)(bool*)> told(&going_down_,
                                                    [](bool* going) { *going = false; });
  ++counters_.lease_ended;
  ids_.clear();
  cancels_.clear();
  queue_.unlocked(lock, [&] { events_.down(info_.id, std::move(why)); });
}

// ---- for the driver ---------------------------------------------------------------------------

void ExternalLane::start(const LaneCallRef& call) {
  const auto lock = queue_.lock();
  if (!up_ || queue_.closed()) return;  // the call has ended with the lane
  const auto wanted = std::ranges::count_if(ids_, [](const auto& known) {
    return !known.first->cancelled.load();  // the others end as soon as their worker says so
  });
  if (wanted >= info_.capacity) {
    throw Error(ErrorCode::kInternal, "[ExternalLane.start] all " + std::to_string(info_.capacity) +
                                          " slots of " + info_.name + " are taken");
  }
  ids_.emplace(call.get(), queue_.add({call}, !call->speculative));
}

void ExternalLane::promote(const LaneCallRef& call) {
  Lane::promote(call);
  const auto lock = queue_.lock();
  if (const auto known = ids_.find(call.get()); known != ids_.end()) queue_.hurry(known->second);
}

void ExternalLane::cancel(const LaneCallRef& call) {
  auto lock = queue_.lock();
  const auto known = ids_.find(call.get());
  if (known == ids_.end() || call->cancelled.exchange(true)) return;
  const std::uint64_t id = known->second;
  if (queue_.handed_out(id)) {
    cancels_.push_back(id);
    queue_.wake_all();
  } else {
    (void)take(id);
    queue_.unlocked(lock, [&] { events_.cancelled(*call); });
  }
}

void ExternalLane::revive() {
  const auto lock = queue_.lock();
  up_ = true;
  coming_up_ = false;
  queue_.renew();
}

void ExternalLane::close() {
  auto lock = queue_.close();
  queue_.wait_for_reports(lock);
  (void)queue_.drain();
  ids_.clear();
  cancels_.clear();
}

std::shared_ptr<ExternalLane> add_external_lane(Driver& driver, LaneInfo info, TimePoint lease) {
  if (lease < 1'000 || info.capacity < 1) {
    throw Error(ErrorCode::kBadRequest,
                "[add_external_lane] give a lease of a millisecond or more, and a capacity of 1 or "
                "more");
  }
  info.id = driver.next_lane_id();
  auto lane = std::make_shared<ExternalLane>(std::move(info), lease, driver, driver.clock());
  driver.add_lane(lane);
  return lane;
}

}  // namespace irt
