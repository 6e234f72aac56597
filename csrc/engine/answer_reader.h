// Turns the tokens of one answer into what the scheduler wants to know of it.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/call.h"
#include "core/key.h"
#include "core/result.h"
#include "engine/lane.h"

namespace irt {

// One object an answer. `take` reports partial results to `events` and says when decoding may stop.
class AnswerReader {
 public:
  virtual ~AnswerReader() = default;
  // `p` is p(success) at this token's position, read only by the verdict reader.
  [[nodiscard]] virtual bool take(std::string_view bytes, double p, LaneEvents& events) = 0;
  [[nodiscard]] virtual CallResult finish() = 0;
};

// For a kPlan or a kJudge call. With S1 (plan) or S3 (judge) off, `take` never stops an answer.
[[nodiscard]] std::unique_ptr<AnswerReader> make_reader(const Call& call);

}  // namespace irt
