// Greedy and counter-based sampling: the drawn token depends on (seed, index, logits) alone.
#pragma once

#include <cstdint>
#include <span>

namespace irt::rt {

struct SamplingParams {
  float temperature = 0.0F;  // 0 = greedy (ties: the lowest id)
  int top_k = 0;             // 0 = all
  float top_p = 1.0F;
  std::uint64_t seed = 0;
};

// Uniform in [0, 1) from a counter (splitmix64 of seed and index): no state, no order.
[[nodiscard]] double uniform(std::uint64_t seed, std::uint64_t index) noexcept;

[[nodiscard]] std::int64_t sample(std::span<const float> logits, const SamplingParams& params,
                                  std::uint64_t index);

// Probability mass of `yes` against `yes` and `no` together, in double, from raw logits.
[[nodiscard]] double p_success(std::span<const float> logits, std::span<const std::int64_t> yes,
                               std::span<const std::int64_t> no) noexcept;

}  // namespace irt::rt
