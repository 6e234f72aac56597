#include "engine/model_lane.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace irt {

namespace {

constexpr int kFailedRunsUntilDown = 2;
constexpr std::size_t kMaxTasks = 64;  // work ahead is droppable: the oldest goes

using Task = std::function<void(RoleModel&)>;

bool has_ended(const LaneCallRef& call) { return call->cancelled || call->failure; }

Failure too_large() noexcept {
  try {
    throw Error(ErrorCode::kBackendFailed,
                "there is not enough memory for this call alone: ask for a smaller picture or "
                "fewer and smaller input pictures, or give the lane's device more memory");
  } catch (...) {
    return current_failure();
  }
}

// A call that the model has let go of must be reported, whatever there is memory for.
Failure copy_of(const Failure& failure) noexcept {
  try {
    return failure;
  } catch (...) {
    return {failure.code, "no memory left"};  // short enough to need none
  }
}

}  // namespace

// All that the lane's thread shares with others.
struct ModelLane::Queue {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::vector<LaneCallRef> waiting;  // started, not yet admitted
  std::deque<Task> ahead;            // for when there is nothing else to do
  bool cancelled = false;            // an admitted call was, since the last turn
  bool up = true;                    // else what is started has ended with the lane
  // What the model's run is for; written by the lane's thread only.
  std::vector<LaneCallRef> busy;

  // A run for these calls begins, or none. False: nobody wants it, and it must not begin.
  bool work_for(std::span<const LaneCallRef> calls) {
    const std::scoped_lock lock(mutex);
    busy.assign(calls.begin(), calls.end());
    return calls.empty() || !in_vain();
  }
  [[nodiscard]] bool in_vain() const {
    return !busy.empty() && std::ranges::all_of(busy, [](const LaneCallRef& call) {
      return call->cancelled.load();
    });
  }

  template <class Change>
  void change(Change change) {
    {
      const std::scoped_lock lock(mutex);
      change();
    }
    changed.notify_one();
  }
  void add_task(Task task) {
    change([&] {
      if (ahead.size() >= kMaxTasks) ahead.pop_front();
      ahead.push_back(std::move(task));
    });
  }
};

// What one turn of the loop has to do.
struct ModelLane::Turn {
  std::vector<LaneCallRef> ended;  // cancelled or failed before they could be admitted
  std::vector<LaneCallRef> ready;  // certain calls first, each group in order of arrival
  Task task;                       // only when there is nothing else
};

ModelLane::ModelLane(LaneInfo info, std::unique_ptr<RoleModel> model, LaneEvents& events,
                     TextBroker& texts)
    : info_(std::move(info)),
      model_(std::move(model)),
      events_(events),
      texts_(texts),
      queue_(std::make_shared<Queue>()) {
  info_.capacity = model_->capacity();
  most_ = static_cast<std::size_t>(info_.capacity);
  active_.reserve(most_);
  in_run_.reserve(most_);
  queue_->busy.reserve(most_);
  queue_->waiting.reserve(4 * most_);
  thread_ = std::jthread([this](const std::stop_token& stop) { loop(stop); });
}

void ModelLane::close() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

// ---- other threads ----------------------------------------------------------------------------

void ModelLane::start(const LaneCallRef& call) {
  call->started = RoleModel::Clock::now();
  if (model_->reads_texts()) {
    texts_.request(text_job_of(call->call),
                   [queue = queue_, call](EncodedRef text, std::optional<Failure> failure) {
                     queue->change([&] {
                       call->text = std::move(text);
                       call->failure = std::move(failure);
                     });
                   });
  }
  queue_->change([&] {
    if (queue_->up) queue_->waiting.push_back(call);
  });
}

void ModelLane::cancel(const LaneCallRef& call) {
  queue_->change([&] {
    call->cancelled = queue_->cancelled = true;
    // Under the lock, so that it reaches this run and no later one.
    if (queue_->in_vain()) model_->interrupt();
  });
}

void ModelLane::revive() {
  queue_->change([&] { queue_->up = true; });
}

void ModelLane::prefetch(const Prefetch& prefetch, const ImageRef& image) {
  if (!model_->reads_texts()) return;
  if (prefetch.what == Prefetch::What::kImageFeatures) {
    if (!image) return;
    queue_->add_task([image = std::weak_ptr(image)](RoleModel& model) {
      if (const ImageRef still = image.lock()) model.prepare(still);
    });
    return;
  }
  TextJob job;
  job.text = prefetch.text;
  texts_.prefetch(std::move(job), [queue = queue_](EncodedRef text, std::optional<Failure>) {
    if (!text) return;
    queue->add_task([text = std::move(text)](RoleModel& model) { model.prepare(*text); });
  });
}

// ---- the thread -------------------------------------------------------------------------------

// Nothing that is thrown leaves it: a `catch` here means that there was no memory for the lane's
// own books, of which nothing is lost then.
void ModelLane::loop(const std::stop_token& stop) {
  const std::stop_callback interrupt(stop, [this] { model_->terminate(); });
  Turn turn;
  while (!stop.stop_requested()) {
    try {
      if (failed_runs_ >= kFailedRunsUntilDown && active_.empty()) {
        rest(stop);
      } else {
        this->turn(stop, turn);
      }
    } catch (...) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

void ModelLane::turn(const std::stop_token& stop, Turn& turn) {
  if (!take(stop, turn)) return;
  for (const LaneCallRef& call : turn.ended) end_early(*call);
  drop_cancelled();  // before the encoders run for what is new
  for (const LaneCallRef& call : turn.ready) admit(call, stop);
  if (turn.task) {
    try {
      turn.task(*model_);
    } catch (...) {
      // The call that needs this work will report the error.
    }
  }
  drop_cancelled();
  if (!active_.empty()) step(stop);
}

// Waits until there is something to do. False: the lane is to stop.
bool ModelLane::take(const std::stop_token& stop, Turn& turn) {
  turn.ended.clear();
  turn.ready.clear();
  turn.task = nullptr;
  Queue& queue = *queue_;
  const bool idle = active_.empty();
  const std::size_t room = most_ - std::min(most_, active_.size());
  const bool needs_text = model_->reads_texts();
  const auto is_ready = [&](const LaneCallRef& call) {
    return (call->text || !needs_text) && !has_ended(call);
  };
  std::unique_lock lock(queue.mutex);
  const auto something = [&] {
    return (idle ? !queue.ahead.empty() : queue.cancelled) ||
           std::ranges::any_of(queue.waiting, has_ended) ||
           (room > 0 && std::ranges::any_of(queue.waiting, is_ready));
  };
  if (idle) {
    if (!queue.changed.wait(lock, stop, something)) return false;
  } else if (const auto due = model_->next_step_at(); due > RoleModel::Clock::now()) {
    queue.changed.wait_until(lock, stop, due, something);
  }
  if (stop.stop_requested()) return false;
  queue.cancelled = false;

  std::ranges::copy_if(queue.waiting, std::back_inserter(turn.ended), has_ended);
  for (const bool speculative : {false, true}) {
    for (const LaneCallRef& call : queue.waiting) {
      if (turn.ready.size() < room && is_ready(call) && call->speculative == speculative) {
        turn.ready.push_back(call);
      }
    }
  }
  std::erase_if(queue.waiting, [&](const LaneCallRef& call) {
    return has_ended(call) || std::ranges::find(turn.ready, call) != turn.ready.end();
  });
  if (idle && turn.ready.empty() && turn.ended.empty() && !queue.ahead.empty()) {
    turn.task = std::move(queue.ahead.front());
    queue.ahead.pop_front();
  }
  return true;
}

void ModelLane::end_early(LaneCall& call) {
  if (call.cancelled) {
    events_.cancelled(call);
  } else {
    events_.failed(call, std::move(*call.failure));
  }
}

void ModelLane::admit(const LaneCallRef& call, const std::stop_token& stop) {
  if (stop.stop_requested()) return;
  if (!queue_->work_for({&call, 1})) {
    queue_->work_for({});
    return end_early(*call);
  }
  try {
    model_->admit(call);
    active_.push_back(call);
    queue_->work_for({});
    return;
  } catch (...) {
    queue_->work_for({});
    if (stop.stop_requested()) return;  // interrupted
    static_cast<void>(let_go(*call));
    if (call->cancelled) return end_early(*call);
    Failure failure = current_failure();
    if (out_of_memory()) {
      if (!active_.empty()) return put_off(call);
      failure = too_large();
    } else if (failure.code == ErrorCode::kBackendFailed) {
      ++failed_runs_;
      why_ = copy_of(failure);
    }
    events_.failed(*call, std::move(failure));
  }
}

void ModelLane::drop_cancelled() {
  for (std::size_t i = 0; i < active_.size();) {
    const LaneCallRef call = active_[i];
    if (call->cancelled && let_go(*call)) {
      cancelled(*call);  // takes it out of `active_`
    } else {
      ++i;
    }
  }
}

// What a model throws here is its own affair: the call has ended.
bool ModelLane::let_go(const LaneCall& call) noexcept {
  try {
    return model_->cancel(call);
  } catch (...) {
    return true;
  }
}

void ModelLane::step(const std::stop_token& stop) {
  if (!queue_->work_for(active_)) {
    drop_cancelled();  // what is left ends at a cancel point of its own
    if (active_.empty()) {
      queue_->work_for({});
      return;
    }
  }
  try {
    model_->step(*this);
    failed_runs_ = 0;
    pause_ = kFirstPause;
  } catch (...) {
    if (!stop.stop_requested()) run_failed();
    in_run_.clear();
  }
  queue_->work_for({});
}

void ModelLane::run_failed() {
  in_run_.clear();
  std::ranges::copy_if(active_, std::back_inserter(in_run_), [this](const LaneCallRef& call) {
    return std::ranges::find(queue_->busy, call) != queue_->busy.end();
  });
  if (in_run_.empty()) in_run_ = active_;  // what it worked for has ended: it goes wrong for all
  if (std::ranges::all_of(in_run_,
                          [](const LaneCallRef& call) { return call->cancelled.load(); })) {
    for (const LaneCallRef& call : in_run_) {  // interrupted
      static_cast<void>(let_go(*call));
      cancelled(*call);
    }
    return;
  }
  Failure why = current_failure();
  if (!out_of_memory()) {
    ++failed_runs_;
    why_ = copy_of(why);
  } else if (in_run_.size() > 1) {
    // What the model has still got is not known, so all of them begin anew, half of them at first.
    for (const LaneCallRef& call : in_run_) {
      static_cast<void>(let_go(*call));
      std::erase(active_, call);
    }
    for (std::size_t i = in_run_.size(); i-- > 0;) put_off(in_run_[i]);
    most_ = active_.size() + in_run_.size() / 2;
    return;
  } else {
    why = too_large();
  }
  for (const LaneCallRef& call : in_run_) {
    static_cast<void>(let_go(*call));
    failed(*call, copy_of(why));
  }
}

void ModelLane::put_off(const LaneCallRef& call) {
  most_ = std::max<std::size_t>(active_.size(), 1);
  ended_ = 0;
  queue_->change([&] { queue_->waiting.insert(queue_->waiting.begin(), call); });
}

// Down for a while.
void ModelLane::rest(const std::stop_token& stop) {
  Queue& queue = *queue_;
  queue.change([&] { queue.up = false; });
  down(info_.id, named(std::move(why_)));
  std::unique_lock lock(queue.mutex);
  queue.waiting.clear();
  queue.changed.wait_for(lock, stop, pause_, [] { return false; });
  if (stop.stop_requested()) return;
  pause_ = std::min(2 * pause_, kLongestPause);
  failed_runs_ = kFailedRunsUntilDown - 1;  // its first run decides
  lock.unlock();
  events_.up(info_.id);
  lock.lock();
  queue.changed.wait(lock, stop, [&queue] { return queue.up; });
}

Failure ModelLane::named(Failure failure) const noexcept {
  try {
    failure.message = "[" + info_.name + "] " + failure.message;
  } catch (...) {
    // Without memory for its name the reason is enough.
  }
  return failure;
}

LaneCallRef ModelLane::take_active(const LaneCall& call) {
  const auto found = std::ranges::find_if(
      active_, [&call](const LaneCallRef& known) { return known.get() == &call; });
  if (found == active_.end()) return nullptr;
  LaneCallRef taken = std::move(*found);
  active_.erase(found);
  if (most_ < static_cast<std::size_t>(info_.capacity) && ++ended_ >= kGrowAfter) {
    ++most_;
    ended_ = 0;
  }
  return taken;
}

// ---- what the model reports -------------------------------------------------------------------

void ModelLane::step_closed(const LaneCall& call, int index, PlanStep step) {
  events_.step_closed(call, index, std::move(step));
}

void ModelLane::verdict_known(const LaneCall& call, bool accepted, double p_success) {
  events_.verdict_known(call, accepted, p_success);
}

void ModelLane::done(const LaneCall& call, LaneResult result) {
  if (const LaneCallRef taken = take_active(call)) events_.done(*taken, std::move(result));
}

void ModelLane::failed(const LaneCall& call, Failure failure) {
  if (const LaneCallRef taken = take_active(call)) {
    events_.failed(*taken, named(std::move(failure)));
  }
}

void ModelLane::cancelled(const LaneCall& call) {
  if (const LaneCallRef taken = take_active(call)) events_.cancelled(*taken);
}

void ModelLane::down(LaneId lane, Failure why) { events_.down(lane, std::move(why)); }

void ModelLane::stepping(std::span<const LaneCall* const> calls) {
  const std::scoped_lock lock(queue_->mutex);
  queue_->busy.clear();
  std::ranges::copy_if(active_, std::back_inserter(queue_->busy), [&](const LaneCallRef& call) {
    return std::ranges::find(calls, call.get()) != calls.end();
  });
}

}  // namespace irt
