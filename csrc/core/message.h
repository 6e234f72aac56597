// What goes into the scheduler (events), and what comes out (commands, notices).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/call.h"
#include "core/error.h"
#include "core/request.h"
#include "core/result.h"

namespace irt {

using LaneId = std::uint32_t;

// What the scheduler knows of a lane, which executes calls of one role.
struct LaneInfo {
  LaneId id = 0;
  Role role = Role::kGenerator;
  int capacity = 1;    // calls that may be under way at once
  std::string device;  // lanes of one device slow each other; equal strings = shared
  std::string name;
};

// ---- events -------------------------------------------------------------------------------

struct Submit {
  RequestId request = 0;
  RequestSpec spec;
};
// A plan step has closed. `index` counts from 0; lanes report them in order.
struct StepClosed {
  Key call;
  int index = 0;
  PlanStep step;
};
// The boolean of a verdict is known; the answer may go on (the refined prompt).
struct VerdictKnown {
  Key call;
  bool accepted = false;
  double p_success = 0.0;
};
// Exactly one of these three ends every started call.
struct CallDone {
  Key call;
  CallResult result;
};
struct CallFailed {
  Key call;
  Failure failure;
};
struct CallCancelled {
  Key call;
};
struct LaneUp {
  LaneInfo lane;
};
// Every call that the lane still owns has ended with it.
struct LaneDown {
  LaneId lane = 0;
  Failure why;
};
struct CancelRequest {
  RequestId request = 0;
};
// The reader has taken everything, the terminal event included: the request may be forgotten.
struct Consumed {
  RequestId request = 0;
};
struct Tick {};
// Whether there is room for pictures. While there is little, no generate call is started but the
// certain ones of `only`.
struct ImageRoom {
  bool little = false;
  std::optional<RequestId> only{};
  friend bool operator==(const ImageRoom&, const ImageRoom&) = default;
};

using Event = std::variant<Submit, StepClosed, VerdictKnown, CallDone, CallFailed, CallCancelled,
                           LaneUp, LaneDown, CancelRequest, Consumed, Tick, ImageRoom>;

// ---- what a reader is told, in order ------------------------------------------------------

struct PlanStepReady {
  int index = 0;
  PlanStep step;
};
struct AttemptReady {
  int step = 0;     // index
  Attempt attempt;  // without its verdict
};
struct VerdictReady {
  int step = 0;
  int attempt = 0;
  Verdict verdict;
};
struct StepCommitted {
  int step = 0;
  StepResult result;
};
struct RequestEnded {
  Outcome outcome = Outcome::kFinished;
  std::optional<Failure> failure;
  bool plan_truncated = false;
};

using Notice = std::variant<PlanStepReady, AttemptReady, VerdictReady, StepCommitted, RequestEnded>;

// ---- commands -----------------------------------------------------------------------------

struct StartCall {
  LaneId lane = 0;
  Call call;
  bool speculative = false;
};
// A running speculative call has become part of the committed path.
struct PromoteCall {
  LaneId lane = 0;
  Key call;
};
struct CancelCall {
  LaneId lane = 0;
  Key call;
};
struct SendPrefetch {
  LaneId lane = 0;
  Prefetch prefetch;
};
// The trajectory needs the image no longer; readers and running calls hold references of their own.
struct ReleaseImage {
  RequestId request = 0;
  Key image;
};
struct Deliver {
  RequestId request = 0;
  Notice notice;
};
// Submit was not taken; nothing else will be said about the request.
struct Refuse {
  RequestId request = 0;
  Failure failure;
};

using Command =
    std::variant<StartCall, PromoteCall, CancelCall, SendPrefetch, ReleaseImage, Deliver, Refuse>;

}  // namespace irt
