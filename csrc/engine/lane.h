// What runs calls: the lane that the driver talks to, and the model of a role inside a lane.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/call.h"
#include "core/error.h"
#include "core/message.h"
#include "core/result.h"
#include "engine/images.h"
#include "engine/text_broker.h"
#include "models/decoder.h"
#include "models/pixels.h"

namespace irt {

// One run of a call on a lane, with everything that its role reads. A call that was lost and is
// started again has another one: what is said of a run can never be taken for the other.
struct LaneCall {
  Call call;
  // plan: the input images; generate: earlier pictures where they count, then source or null;
  // judge: before (null = white), after. Held here, so that nobody else's release matters.
  std::vector<ImageRef> images;
  EncodedRef text;                 // null where the model reads no texts
  std::optional<Failure> failure;  // why it cannot be admitted
  std::chrono::steady_clock::time_point started;
  // For the trace, by the lane before it reports the end: the first bytes that a model wrote, valid
  // UTF-8, and why no token followed (kNone: nobody said).
  std::string answer;
  StopReason stop = StopReason::kNone;
  // By the lane before it reports the end: its model reads texts by itself, and did not read this
  // one to its end.
  bool prompt_cut = false;
  // Set by other threads at any time.
  std::atomic<bool> cancelled = false;
  std::atomic<bool> speculative = false;
};
using LaneCallRef = std::shared_ptr<LaneCall>;

using LaneResult = std::variant<Plan, PixelBuffer, Verdict>;

// Where a lane reports to. Thread-safe; never blocks for long; may call back into the same lane's
// `start` or `cancel` before it returns, so a lane must not hold a lock of its own while reporting.
// Every started call gets exactly one of done / failed / cancelled.
// The driver's throw nothing: what it cannot take down ends requests, never a lane.
class LaneEvents {
 public:
  virtual ~LaneEvents() = default;
  virtual void step_closed(const LaneCall& call, int index, PlanStep step) = 0;
  virtual void verdict_known(const LaneCall& call, bool accepted, double p_success) = 0;
  virtual void done(const LaneCall& call, LaneResult result) = 0;
  virtual void failed(const LaneCall& call, Failure failure) = 0;
  virtual void cancelled(const LaneCall& call) = 0;
  // The lane cannot go on for now: all of its calls end with it.
  virtual void down(LaneId lane, Failure why) = 0;
  // A lane that was down can go on: `revive` is called, then it gets calls again.
  virtual void up(LaneId /*lane*/) {}
  // Of a model to its lane, from inside `step`: the run that begins works for these calls only.
  virtual void stepping(std::span<const LaneCall* const> /*calls*/) {}
};

// The commands only enqueue and return at once; they may be called by any thread. The scheduler
// keeps at most `info().capacity` calls under way.
class Lane {
 public:
  virtual ~Lane() = default;
  [[nodiscard]] virtual const LaneInfo& info() const noexcept = 0;
  virtual void start(const LaneCallRef& call) = 0;
  virtual void promote(const LaneCallRef& call) { call->speculative = false; }
  virtual void cancel(const LaneCallRef& call) = 0;
  // `image`: of a prefetch of features; null = the white picture.
  virtual void prefetch(const Prefetch& /*prefetch*/, const ImageRef& /*image*/) {}
  // After `LaneEvents::up`, in order with the commands: those before it are about calls that ended
  // with the lane.
  virtual void revive() {}
  // Drops every call and joins the threads: nothing is reported afterwards.
  virtual void close() = 0;
};

// The model of one role. One thread runs it (but for `terminate`): that of a ModelLane, or the
// caller's (inline_roles.h). It knows nothing of queues.
class RoleModel {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~RoleModel() = default;
  // Calls that may be admitted at once.
  [[nodiscard]] virtual int capacity() const noexcept = 0;
  // Whether calls must bring their encoded text.
  [[nodiscard]] virtual bool reads_texts() const noexcept { return true; }
  // Takes a call up. What it throws fails this call and no other.
  virtual void admit(const LaneCallRef& call) = 0;
  // One token or denoising step of the admitted calls, or of those that fit into one batch
  // (`LaneEvents::stepping`). Reports what closes on the way, and every call that ends, which is
  // admitted no longer. What it throws fails the calls that it worked for; where there was no
  // memory, some of them are let go and admitted again later.
  virtual void step(LaneEvents& events) = 0;
  // Lets an admitted call go; its owner reports it. False: the model ends it at its next cancel
  // point, and `step` reports it.
  virtual bool cancel(const LaneCall& call) = 0;
  // When `step` has something to do. A model that computes always has.
  [[nodiscard]] virtual Clock::time_point next_step_at() const { return Clock::time_point::min(); }
  // Work ahead of a call that will probably come. What it throws is dropped.
  virtual void prepare(const EncodedText& /*text*/) {}
  virtual void prepare(const ImageRef& /*image*/) {}
  // From another thread: a run in progress throws soon; later ones are not touched.
  virtual void interrupt() noexcept {}
  // The same when the owner ends: no other run begins.
  virtual void terminate() noexcept { interrupt(); }
};

}  // namespace irt
