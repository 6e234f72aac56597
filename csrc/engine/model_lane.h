// The one lane of every role that runs in this process: a queue, a thread, and a model.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "engine/lane.h"

namespace irt {

// Calls wait here for their text; then the thread admits them, certain ones first, and steps the
// model while any is under way, each step over whatever has been admitted until then (continuous
// batching). A cancelled call ends at the next step; a run all of whose calls are cancelled is
// interrupted.
//
// Trouble. A run that fails ends the calls that were in it. Without memory they begin anew, half of
// them at first, and the lane takes fewer at once from then on, one more for every kGrowAfter calls
// that it ends; only a call that does not fit alone fails. Runs that fail in a row
// with nothing else under way take the lane down: its calls run elsewhere or later. It comes up
// again after a pause, which is doubled while the first run after it fails as well.
class ModelLane final : public Lane, private LaneEvents {
 public:
  // `info.capacity` is the model's. `events` and `texts` must outlive the lane.
  ModelLane(LaneInfo info, std::unique_ptr<RoleModel> model, LaneEvents& events, TextBroker& texts);
  ~ModelLane() override { close(); }
  ModelLane(const ModelLane&) = delete;
  ModelLane& operator=(const ModelLane&) = delete;

  static constexpr std::chrono::milliseconds kFirstPause{100};
  static constexpr std::chrono::milliseconds kLongestPause{3200};
  static constexpr int kGrowAfter = 16;

  [[nodiscard]] const LaneInfo& info() const noexcept override { return info_; }
  void start(const LaneCallRef& call) override;
  void cancel(const LaneCallRef& call) override;
  void prefetch(const Prefetch& prefetch, const ImageRef& image) override;
  void revive() override;
  void close() override;

 private:
  struct Queue;
  struct Turn;

  // ---- the thread
  void loop(const std::stop_token& stop);
  void turn(const std::stop_token& stop, Turn& turn);
  [[nodiscard]] bool take(const std::stop_token& stop, Turn& turn);
  void end_early(LaneCall& call);
  void admit(const LaneCallRef& call, const std::stop_token& stop);
  void drop_cancelled();
  void step(const std::stop_token& stop);
  // After what was thrown, inside the `catch`.
  void run_failed();
  [[nodiscard]] bool let_go(const LaneCall& call) noexcept;
  // Back into the queue, to be admitted once there is room again.
  void put_off(const LaneCallRef& call);
  void rest(const std::stop_token& stop);
  [[nodiscard]] Failure named(Failure failure) const noexcept;
  // Its terminal event is about to be reported; null when it was.
  LaneCallRef take_active(const LaneCall& call);

  // ---- what the model reports
  void step_closed(const LaneCall& call, int index, PlanStep step) override;
  void verdict_known(const LaneCall& call, bool accepted, double p_success) override;
  void done(const LaneCall& call, LaneResult result) override;
  void failed(const LaneCall& call, Failure failure) override;
  void cancelled(const LaneCall& call) override;
  void down(LaneId lane, Failure why) override;
  void stepping(std::span<const LaneCall* const> calls) override;

  LaneInfo info_;
  std::unique_ptr<RoleModel> model_;
  LaneEvents& events_;
  TextBroker& texts_;
  std::shared_ptr<Queue> queue_;  // shared with text callbacks, which may outlive the lane
  // The thread's alone:
  std::vector<LaneCallRef> active_;  // admitted, in that order
  std::vector<LaneCallRef> in_run_;  // scratch: those of a run that has failed
  std::size_t most_ = 0;             // calls that it takes at once: its memory holds no more
  int ended_ = 0;                    // calls, since `most_` has changed
  int failed_runs_ = 0;              // in a row
  Failure why_;                      // the last one
  std::chrono::milliseconds pause_ = kFirstPause;
  std::jthread thread_;  // it reports through this object: close() is called first
};

}  // namespace irt
