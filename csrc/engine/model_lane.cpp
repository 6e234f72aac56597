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

}  // namespace

// All that the lane's thread shares with others.
struct ModelLane::Queue {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::vector<LaneCallRef> waiting;  // started, not yet admitted
  std::deque<Task> ahead;            // for when there is nothing else to do
  bool cancelled = false;            // an admitted call was, since the last turn

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
  thread_ = std::jthread([this](const std::stop_token& stop) { loop(stop); });
}

void ModelLane::close() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

// ---- other threads ----------------------------------------------------------------------------

void ModelLane::start(const LaneCallRef& call) {
  call->started = RoleModel::Clock::now();
  queue_->change([&] { queue_->waiting.push_back(call); });
  if (!model_->reads_texts()) return;
  texts_.request(text_job_of(call->call),
                 [queue = queue_, call](EncodedRef text, std::optional<Failure> failure) {
                   queue->change([&] {
                     call->text = std::move(text);
                     call->failure = std::move(failure);
                   });
                 });
}

void ModelLane::cancel(const LaneCallRef& call) {
  queue_->change([&] { call->cancelled = queue_->cancelled = true; });
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

void ModelLane::loop(const std::stop_token& stop) {
  const std::stop_callback interrupt(stop, [this] { model_->terminate(); });
  Turn turn;
  while (failed_runs_ < kFailedRunsUntilDown && take(stop, turn)) {
    for (const LaneCallRef& call : turn.ended) end_early(*call);
    drop_cancelled();  // before the encoders run for what is new
    for (const LaneCallRef& call : turn.ready) admit(call, stop);
    if (turn.task) {
      try {
        turn.task(*model_);
      } catch (const std::exception&) {
        // The call that needs this work will report the error.
      }
    }
    drop_cancelled();
    if (!active_.empty()) step(stop);
  }
}

// Waits until there is something to do. False: the lane is to stop.
bool ModelLane::take(const std::stop_token& stop, Turn& turn) {
  turn = {};
  Queue& queue = *queue_;
  const bool idle = active_.empty();
  const std::size_t room = static_cast<std::size_t>(info_.capacity) - active_.size();
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

void ModelLane::end_early(const LaneCall& call) {
  if (call.cancelled) {
    events_.cancelled(call);
  } else {
    events_.failed(call, *call.failure);
  }
}

void ModelLane::admit(const LaneCallRef& call, const std::stop_token& stop) {
  if (stop.stop_requested()) return;
  if (call->cancelled) return end_early(*call);
  std::optional<Failure> failure;
  try {
    model_->admit(call);
    active_.push_back(call);
    return;
  } catch (const Error& error) {
    failure = Failure{error.code(), error.what()};
  } catch (const std::exception& error) {
    failure = Failure{ErrorCode::kBackendFailed, error.what()};
  }
  if (stop.stop_requested()) return;  // interrupted
  events_.failed(*call, std::move(*failure));
}

void ModelLane::drop_cancelled() {
  for (std::size_t i = 0; i < active_.size();) {
    const LaneCallRef call = active_[i];
    if (call->cancelled && model_->cancel(*call)) {
      cancelled(*call);  // takes it out of `active_`
    } else {
      ++i;
    }
  }
}

void ModelLane::step(const std::stop_token& stop) {
  try {
    model_->step(*this);
    failed_runs_ = 0;
  } catch (const std::exception& error) {
    if (!stop.stop_requested()) fail_all(error.what());
  }
}

void ModelLane::fail_all(const std::string& why) {
  while (!active_.empty()) {
    const LaneCallRef call = active_.back();
    static_cast<void>(model_->cancel(*call));
    failed(*call, {ErrorCode::kBackendFailed, why});
  }
  if (++failed_runs_ < kFailedRunsUntilDown) return;
  down(info_.id, {ErrorCode::kBackendFailed, "[" + info_.name + "] " + why});
}

LaneCallRef ModelLane::take_active(const LaneCall& call) {
  const auto found = std::ranges::find_if(
      active_, [&call](const LaneCallRef& known) { return known.get() == &call; });
  if (found == active_.end()) return nullptr;
  LaneCallRef taken = std::move(*found);
  active_.erase(found);
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
  failure.message = "[" + info_.name + "] " + failure.message;
  if (const LaneCallRef taken = take_active(call)) events_.failed(*taken, std::move(failure));
}

void ModelLane::cancelled(const LaneCall& call) {
  if (const LaneCallRef taken = take_active(call)) events_.cancelled(*taken);
}

void ModelLane::down(LaneId lane, Failure why) { events_.down(lane, std::move(why)); }

}  // namespace irt
