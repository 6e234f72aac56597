// What a request's calls did and when: the raw material of reports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/message.h"
#include "models/decoder.h"
#include "sched/policy.h"

namespace irt {

enum class SpanOutcome { kRunning, kDone, kFailed, kCancelled };

// One run of a call on a lane. Times in microseconds of the driver's clock.
struct Span {
  LaneId lane = 0;
  std::string lane_name;
  Role role = Role::kPlanner;
  int step = 0;
  int attempt = 0;
  int retry = 0;
  bool speculative = false;         // when it was started
  TimePoint queued = 0;             // the scheduler decided to start it
  TimePoint started = 0;            // it was handed to the lane
  std::optional<TimePoint> cancel;  // the scheduler gave it up
  std::optional<TimePoint> ended;
  SpanOutcome outcome = SpanOutcome::kRunning;
  bool used = false;   // its result is part of the committed path
  std::string answer;  // what the model wrote
  StopReason stop = StopReason::kNone;

  Key key;
  Key image;  // judge: the image under judgement
};

struct DecisionRecord {
  TimePoint at = 0;
  SpeculationDecision decision;
};

// Of one request. Bounded: what comes over the limits is counted and dropped. Not thread-safe.
class Trace {
 public:
  static constexpr std::size_t kMaxSpans = 4096;
  static constexpr std::size_t kMaxDecisions = 1024;
  static constexpr std::size_t kMaxAnswerBytes = 64 * 1024;         // of one call
  static constexpr std::size_t kMaxAnswersBytes = 2 * 1024 * 1024;  // of all
  static constexpr std::size_t kNone = SIZE_MAX;

  // Returns the span's index, kNone over the limit.
  std::size_t open(const Call& call, const LaneInfo& lane, bool speculative, TimePoint now);
  void start(std::size_t span, TimePoint now);
  void cancel(std::size_t span, TimePoint now);
  void end(std::size_t span, SpanOutcome outcome, TimePoint now);
  void write(std::size_t span, std::string&& answer, StopReason stop);
  // Marks what the notice proves to be used.
  void note(const Notice& notice);
  // Keeps a decision that differs from the last one in its call, answer, reason or depth.
  void decide(const SpeculationDecision& decision, TimePoint now);

  [[nodiscard]] const std::vector<Span>& spans() const noexcept { return spans_; }
  [[nodiscard]] const std::vector<DecisionRecord>& decisions() const noexcept { return decisions_; }
  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }

 private:
  // The calls whose `what` is the image.
  void use(Role role, Key Span::* what, const Key& image);

  std::vector<Span> spans_;
  std::vector<DecisionRecord> decisions_;
  std::uint64_t dropped_ = 0;
  std::size_t answers_bytes_ = 0;
};

}  // namespace irt
