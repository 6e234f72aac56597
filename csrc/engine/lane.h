// What the engine's shell asks of something that executes calls, and what it may say back.
#pragma once

#include <memory>
#include <string>

#include "core/call.h"
#include "core/error.h"
#include "core/lane.h"
#include "core/message.h"
#include "core/result.h"

namespace irt {

// Where a lane reports to. Thread-safe; never blocks for long; may call back into the same lane's
// `start` or `cancel` before it returns, so a lane must not hold a lock of its own while reporting.
// Every started call gets exactly one of done / failed / cancelled.
class LaneEvents {
 public:
  virtual ~LaneEvents() = default;
  virtual void step_closed(const Key& call, int index, PlanStep step) = 0;
  virtual void verdict_known(const Key& call, bool accepted, double p_success) = 0;
  virtual void done(const Key& call, CallResult result) = 0;
  virtual void failed(const Key& call, Failure failure) = 0;
  virtual void cancelled(const Key& call) = 0;
  // The lane cannot go on: all of its calls end with it.
  virtual void down(LaneId lane, Failure why) = 0;
};

// A lane owns its thread(s). `start`, `promote`, `cancel` and `hint` only enqueue and return at
// once; they may be called by any thread. The destructor stops, ends every call as cancelled and
// joins. At most `info().capacity` calls are under way.
class Lane {
 public:
  virtual ~Lane() = default;
  [[nodiscard]] virtual const LaneInfo& info() const noexcept = 0;
  virtual void start(const Call& call, bool speculative) = 0;
  virtual void promote(const Key& /*call*/) {}
  virtual void cancel(const Key& call) = 0;
  virtual void hint(const Hint& /*hint*/) {}
  // Whether prompts that are known in advance are worth encoding for it (S5).
  [[nodiscard]] virtual bool reads_texts() const noexcept { return true; }
};

}  // namespace irt
