// The one lane of every role that runs in this process: a queue, a thread, and a model.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "engine/lane.h"

namespace irt {

// Calls wait here for their text; then the thread admits them, certain ones first, and steps the
// model while any is under way, each step over whatever has been admitted until then (continuous
// batching). A cancelled call ends at the next step. A model that fails twice in a row takes its
// lane down for good.
class ModelLane final : public Lane, private LaneEvents {
 public:
  // `info.capacity` is the model's. `events` and `texts` must outlive the lane.
  ModelLane(LaneInfo info, std::unique_ptr<RoleModel> model, LaneEvents& events, TextBroker& texts);
  ~ModelLane() override { close(); }
  ModelLane(const ModelLane&) = delete;
  ModelLane& operator=(const ModelLane&) = delete;

  [[nodiscard]] const LaneInfo& info() const noexcept override { return info_; }
  void start(const LaneCallRef& call) override;
  void cancel(const LaneCallRef& call) override;
  void prefetch(const Prefetch& prefetch, const ImageRef& image) override;
  void close() override;

 private:
  struct Queue;
  struct Turn;

  // ---- the thread
  void loop(const std::stop_token& stop);
  [[nodiscard]] bool take(const std::stop_token& stop, Turn& turn);
  void end_early(const LaneCall& call);
  void admit(const LaneCallRef& call, const std::stop_token& stop);
  void drop_cancelled();
  void step(const std::stop_token& stop);
  void fail_all(const std::string& why);
  // Its terminal event is about to be reported; null when it was.
  LaneCallRef take_active(const LaneCall& call);

  // ---- what the model reports
  void step_closed(const LaneCall& call, int index, PlanStep step) override;
  void verdict_known(const LaneCall& call, bool accepted, double p_success) override;
  void done(const LaneCall& call, LaneResult result) override;
  void failed(const LaneCall& call, Failure failure) override;
  void cancelled(const LaneCall& call) override;
  void down(LaneId lane, Failure why) override;

  LaneInfo info_;
  std::unique_ptr<RoleModel> model_;
  LaneEvents& events_;
  TextBroker& texts_;
  std::shared_ptr<Queue> queue_;     // shared with text callbacks, which may outlive the lane
  std::vector<LaneCallRef> active_;  // admitted, in that order; the thread's alone
  int failed_runs_ = 0;              // in a row
  std::jthread thread_;              // it reports through this object: close() is called first
};

}  // namespace irt
