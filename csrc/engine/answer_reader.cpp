#include "engine/answer_reader.h"

#include <algorithm>
#include <utility>

#include "text/scanner.h"

namespace irt {

namespace {

class PlanReader final : public AnswerReader {
 public:
  explicit PlanReader(const LaneCall& call)
      : call_(call),
        streams_(call.call.optimizations.stream_plan),
        scanner_(call.call.max_steps, call.call.mode == PlanMode::kNarrative ? 1 : 0) {}

  bool take(const AnswerToken& token, LaneEvents& events) override {
    scanner_.feed(token.bytes);
    const std::vector<PlanStep>& steps = scanner_.closed();
    for (; streams_ && reported_ < steps.size(); ++reported_) {
      events.step_closed(call_, static_cast<int>(reported_), steps[reported_]);
    }
    return streams_ && scanner_.done();
  }

  LaneResult finish(StopReason /*stop*/) override { return scanner_.finish(); }

 private:
  const LaneCall& call_;
  bool streams_;
  PlanScanner scanner_;
  std::size_t reported_ = 0;
};

class VerdictReader final : public AnswerReader {
 public:
  explicit VerdictReader(const LaneCall& call)
      : call_(call), early_(call.call.optimizations.early_verdict) {}

  bool take(const AnswerToken& token, LaneEvents& events) override {
    if (!known_) marks_.push_back({length_, token.p_success});
    length_ += token.bytes.size();
    scanner_.feed(token.bytes);
    if (!known_ && scanner_.accepted()) {
      known_ = true;
      events.verdict_known(call_, *scanner_.accepted(), p_success());
    }
    return early_ && scanner_.done();
  }

  LaneResult finish(StopReason /*stop*/) override {
    Verdict verdict = scanner_.finish();
    if (verdict.readable) verdict.p_success = p_success();
    return verdict;
  }

 private:
  struct Mark {
    std::size_t offset;  // of the token's first byte in the answer
    double p;
  };

  // The verdict token is the one that carries the boolean's first byte. Control tokens have no
  // bytes, so the last mark at or before that byte is the one.
  [[nodiscard]] double p_success() const {
    const std::size_t byte = *scanner_.boolean_started_at();
    const auto after = std::ranges::upper_bound(marks_, byte, {}, &Mark::offset);
    return after == marks_.begin() ? 0.0 : std::prev(after)->p;
  }

  const LaneCall& call_;
  bool early_;
  VerdictScanner scanner_;
  std::vector<Mark> marks_;
  std::size_t length_ = 0;
  bool known_ = false;
};

}  // namespace

std::unique_ptr<AnswerReader> make_reader(const LaneCall& call) {
  if (call.call.role == Role::kPlanner) return std::make_unique<PlanReader>(call);
  return std::make_unique<VerdictReader>(call);
}

}  // namespace irt
