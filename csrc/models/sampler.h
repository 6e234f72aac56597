// Greedy and counter-based sampling: the drawn token depends on (seed, index, logits) alone.
#pragma once

#include <cstdint>
#include <span>

namespace irt {

struct SamplingParams {
  float temperature = 0.0F;  // 0 = greedy (ties: the lowest id)
  int top_k = 0;             // 0 = all
  float top_p = 1.0F;
  std::uint64_t seed = 0;
  // These ids are chosen as if their logits were greater by `bonus` (>= 0). The ids must outlive
  // the sequence.
  std::span<const std::int64_t> favoured = {};
  float bonus = 0.0F;
};

// Uniform in [0, 1) from a counter (splitmix64 of seed and index): no state, no order.
[[nodiscard]] double uniform(std::uint64_t seed, std::uint64_t index) noexcept;

// The id of the greatest logit; ties: the lowest id. 0 for an empty span.
[[nodiscard]] std::int64_t argmax(std::span<const float> logits) noexcept;

// Temperature, then top_k, then top_p, as Hugging Face orders them. Logits must be finite.
[[nodiscard]] std::int64_t sample(std::span<const float> logits, const SamplingParams& params,
                                  std::uint64_t index);

// False where any value is infinite or not a number.
[[nodiscard]] bool all_finite(std::span<const float> values) noexcept;

// Probability mass of `yes` against `yes` and `no` together, in double, from raw logits.
// Ids outside the vocabulary are ignored; 0.5 where no id is left.
[[nodiscard]] double p_success(std::span<const float> logits, std::span<const std::int64_t> yes,
                               std::span<const std::int64_t> no) noexcept;

}  // namespace irt
