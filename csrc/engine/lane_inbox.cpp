#include "engine/lane_inbox.h"

#include <algorithm>
#include <utility>

namespace irt {

namespace {
constexpr std::size_t kMaxHints = 64;  // hints are droppable: the oldest goes
}

struct LaneInbox::State {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unordered_map<Key, WorkRef> live;  // until `forget`
  std::vector<WorkRef> waiting;           // not yet taken, text may be missing
  std::deque<Hint> hints;
};

LaneInbox::LaneInbox() : state_(std::make_shared<State>()) {}

void LaneInbox::start(const Call& call, bool speculative, const ImageStore& images,
                      TextBroker& texts) {
  auto work = std::make_shared<LaneWork>();
  work->call = call;
  work->speculative = speculative;
  const auto need = [&](const Key& key, bool may_be_white) {
    ImageRef image = key ? images.get(key) : nullptr;
    if (!image && !(may_be_white && !key)) {
      work->failure = Failure{ErrorCode::kInternal,
                              "[LaneInbox.start] image " + to_hex(key) + " is not in the store"};
    }
    work->images.push_back(std::move(image));
  };
  switch (call.kind) {
    case CallKind::kPlan:
      for (const Key& key : call.images) need(key, false);
      break;
    case CallKind::kGenerate: need(call.source, true); break;
    case CallKind::kJudge:
      need(call.source, true);
      need(call.image, false);
      break;
  }
  {
    const std::scoped_lock lock(state_->mutex);
    state_->live.emplace(call.key, work);
    state_->waiting.push_back(work);
  }
  if (work->failure) {
    state_->wake.notify_one();
    return;
  }
  texts.request(text_job_of(call),
                [state = state_, work](EncodedRef text, std::optional<Failure> failure) {
                  {
                    const std::scoped_lock lock(state->mutex);
                    work->text = std::move(text);
                    work->failure = std::move(failure);
                  }
                  state->wake.notify_one();
                });
}

void LaneInbox::promote(const Key& call) {
  const std::scoped_lock lock(state_->mutex);
  if (const auto it = state_->live.find(call); it != state_->live.end()) {
    it->second->speculative = false;
  }
}

void LaneInbox::cancel(const Key& call) {
  {
    const std::scoped_lock lock(state_->mutex);
    const auto it = state_->live.find(call);
    if (it == state_->live.end()) return;  // its terminal event is on the way
    it->second->cancelled = true;
  }
  state_->wake.notify_one();
}

void LaneInbox::hint(const Hint& hint) {
  {
    const std::scoped_lock lock(state_->mutex);
    if (state_->hints.size() >= kMaxHints) state_->hints.pop_front();
    state_->hints.push_back(hint);
  }
  state_->wake.notify_one();
}

bool LaneInbox::take(std::stop_token stop, bool busy, std::size_t room, Batch& out) {
  out.ready.clear();
  out.ended.clear();
  out.hint.reset();
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  const auto is_ended = [](const WorkRef& work) { return work->cancelled || work->failure; };
  const auto is_ready = [&](const WorkRef& work) { return work->text && !is_ended(work); };
  const auto something = [&] {
    return std::ranges::any_of(state.waiting, is_ended) || !state.hints.empty() ||
           (room > 0 && std::ranges::any_of(state.waiting, is_ready));
  };
  if (!busy && !state.wake.wait(lock, stop, something)) return false;
  if (stop.stop_requested()) return false;

  for (const WorkRef& work : state.waiting) {
    if (is_ended(work)) out.ended.push_back(work);
  }
  for (const bool speculative : {false, true}) {
    for (const WorkRef& work : state.waiting) {
      if (out.ready.size() < room && is_ready(work) && work->speculative == speculative) {
        out.ready.push_back(work);
      }
    }
  }
  std::erase_if(state.waiting, [&](const WorkRef& work) {
    return is_ended(work) || std::ranges::find(out.ready, work) != out.ready.end();
  });
  if (!busy && out.ready.empty() && out.ended.empty() && !state.hints.empty()) {
    out.hint = std::move(state.hints.front());
    state.hints.pop_front();
  }
  return true;
}

void LaneInbox::forget(const Key& call) {
  const std::scoped_lock lock(state_->mutex);
  state_->live.erase(call);
}

std::vector<WorkRef> LaneInbox::drain() {
  const std::scoped_lock lock(state_->mutex);
  state_->waiting.clear();
  state_->hints.clear();
  std::vector<WorkRef> left;
  for (auto& [key, work] : state_->live) left.push_back(work);
  state_->live.clear();
  return left;
}

}  // namespace irt
