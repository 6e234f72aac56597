#include "engine/model_lane.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace irt {

namespace {

constexpr int kFailedRunsUntilDown = 2;
constexpr std::size_t kMaxTasks = 64;  // work ahead is droppable: the oldest goes

using Task = std::function<void(RoleModel&)>;

bool has_ended(const LaneCallRef& call) { return call->cancelled || call->failure; }

}  // namespace

KeepImage keep_in(ImageStore& images) {
  return [&images](const Key& call, PixelBuffer pixels) {
    return Image{call, images.put(call, std::move(pixels))->hash};
  };
}

// All that the lane's thread shares with others.
struct ModelLane::Queue {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unordered_map<Key, LaneCallRef> live;  // started, not yet reported as ended
  std::vector<LaneCallRef> waiting;           // of these, those that are not admitted
  std::deque<Task> ahead;                     // for when there is nothing else to do
  bool cancelled = false;                     // an admitted call was, since the last turn

  void add_task(Task task) {
    {
      const std::scoped_lock lock(mutex);
      if (ahead.size() >= kMaxTasks) ahead.pop_front();
      ahead.push_back(std::move(task));
    }
    changed.notify_one();
  }
};

// What one turn of the loop has to do.
struct ModelLane::Turn {
  std::vector<LaneCallRef> ended;  // cancelled or failed before they could be admitted
  std::vector<LaneCallRef> ready;  // certain calls first, each group in order of arrival
  Task task;                       // only when there is nothing else
};

ModelLane::ModelLane(LaneInfo info, std::unique_ptr<RoleModel> model, LaneEvents& events,
                     const ImageStore& images, TextBroker& texts)
    : info_(std::move(info)),
      model_(std::move(model)),
      events_(events),
      images_(images),
      texts_(texts),
      queue_(std::make_shared<Queue>()) {
  info_.capacity = model_->capacity();
  thread_ = std::jthread([this](const std::stop_token& stop) { loop(stop); });
}

// The thread reports through this object: it ends before anything else goes.
ModelLane::~ModelLane() {
  thread_.request_stop();
  thread_.join();
}

// ---- other threads ----------------------------------------------------------------------------

void ModelLane::start(const Call& call, bool speculative) {
  auto made = std::make_shared<LaneCall>();
  made->call = call;
  made->started = RoleModel::Clock::now();
  made->speculative = speculative;
  const auto need = [&](const Key& key, bool optional) {
    ImageRef image = key ? images_.get(key) : nullptr;
    if (!image && !(optional && !key)) {
      made->failure = Failure{ErrorCode::kInternal,
                              "[ModelLane.start] image " + to_hex(key) + " is not in the store"};
    }
    made->images.push_back(std::move(image));
  };
  switch (call.role) {
    case Role::kPlanner:
      for (const Key& key : call.images) need(key, false);
      break;
    case Role::kGenerator: need(call.source, true); break;
    case Role::kCritic:
      need(call.source, true);
      need(call.image, false);
      break;
  }
  const bool complete = made->failure || !model_->reads_texts();
  {
    const std::scoped_lock lock(queue_->mutex);
    queue_->live.emplace(call.key, made);
    queue_->waiting.push_back(made);
  }
  if (complete) {
    queue_->changed.notify_one();
    return;
  }
  texts_.request(text_job_of(call),
                 [queue = queue_, made](EncodedRef text, std::optional<Failure> failure) {
                   {
                     const std::scoped_lock lock(queue->mutex);
                     made->text = std::move(text);
                     made->failure = std::move(failure);
                   }
                   queue->changed.notify_one();
                 });
}

void ModelLane::promote(const Key& call) {
  const std::scoped_lock lock(queue_->mutex);
  if (const auto it = queue_->live.find(call); it != queue_->live.end()) {
    it->second->speculative = false;
  }
}

void ModelLane::cancel(const Key& call) {
  {
    const std::scoped_lock lock(queue_->mutex);
    const auto it = queue_->live.find(call);
    if (it == queue_->live.end()) return;  // its terminal event is on the way
    it->second->cancelled = true;
    queue_->cancelled = true;
  }
  queue_->changed.notify_one();
}

void ModelLane::prefetch(const Prefetch& prefetch) {
  if (!model_->reads_texts()) return;
  if (prefetch.what == Prefetch::What::kImageFeatures) {
    if (!prefetch.image) return;
    queue_->add_task([this, key = prefetch.image](RoleModel& model) {
      if (const ImageRef image = images_.get(key)) model.prepare(image);
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
  while (take(stop, turn)) {
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
  std::unordered_map<Key, LaneCallRef> left;
  {
    const std::scoped_lock lock(queue_->mutex);
    left.swap(queue_->live);
    queue_->waiting.clear();
    queue_->ahead.clear();
  }
  for (const auto& [key, call] : left) events_.cancelled(key);
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
  forget(call.call.key);
  if (call.cancelled) {
    events_.cancelled(call.call.key);
  } else {
    events_.failed(call.call.key, *call.failure);
  }
}

void ModelLane::admit(const LaneCallRef& call, const std::stop_token& stop) {
  if (stop.stop_requested()) return;  // ends as cancelled, with the others
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
  forget(call->call.key);
  events_.failed(call->call.key, std::move(*failure));
}

void ModelLane::drop_cancelled() {
  for (std::size_t i = 0; i < active_.size();) {
    const LaneCallRef call = active_[i];
    if (call->cancelled && model_->cancel(call->call.key)) {
      cancelled(call->call.key);  // takes it out of `active_`
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
    const Key key = active_.back()->call.key;
    static_cast<void>(model_->cancel(key));
    failed(key, {ErrorCode::kBackendFailed, why});
  }
  if (++failed_runs_ < kFailedRunsUntilDown) return;
  events_.down(info_.id, {ErrorCode::kBackendFailed, "[" + info_.name + "] " + why});
}

bool ModelLane::forget(const Key& call) {
  std::erase_if(active_, [&call](const LaneCallRef& known) { return known->call.key == call; });
  const std::scoped_lock lock(queue_->mutex);
  return queue_->live.erase(call) > 0;
}

// ---- what the model reports -------------------------------------------------------------------

void ModelLane::step_closed(const Key& call, int index, PlanStep step) {
  events_.step_closed(call, index, std::move(step));
}

void ModelLane::verdict_known(const Key& call, bool accepted, double p_success) {
  events_.verdict_known(call, accepted, p_success);
}

void ModelLane::done(const Key& call, CallResult result) {
  if (forget(call)) events_.done(call, std::move(result));
}

void ModelLane::failed(const Key& call, Failure failure) {
  failure.message = "[" + info_.name + "] " + failure.message;
  if (forget(call)) events_.failed(call, std::move(failure));
}

void ModelLane::cancelled(const Key& call) {
  if (forget(call)) events_.cancelled(call);
}

void ModelLane::down(LaneId /*lane*/, Failure why) { events_.down(info_.id, std::move(why)); }

}  // namespace irt
