// Turns the tokens of one answer into what the scheduler wants to know of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "engine/lane.h"
#include "models/decoder.h"

namespace irt {

struct AnswerToken {
  std::int64_t id = 0;
  std::string_view bytes;  // none for a control token
  double p_success = 0.0;  // by the logits at this place; of kJudge calls alone
};

// One object an answer. `take` reports partial results to `events` and says when decoding may stop.
// The token that ends a text is not shown to it.
class AnswerReader {
 public:
  virtual ~AnswerReader() = default;
  [[nodiscard]] virtual bool take(const AnswerToken& token, LaneEvents& events) = 0;
  [[nodiscard]] virtual LaneResult finish(StopReason stop) = 0;
};

// For a call of the planner or the critic, which outlives it. Without `stream_plan` or
// `early_verdict`, `take` never stops an answer.
[[nodiscard]] std::unique_ptr<AnswerReader> make_reader(const LaneCall& call);

}  // namespace irt
